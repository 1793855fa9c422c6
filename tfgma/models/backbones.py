"""Image networks by name, for any number of input channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import MOMENTUM, classifier
from tfgma.models.efficientnet_lite import VARIANTS as LITE_VARIANTS
from tfgma.models.efficientnet_lite import efficientnet_lite
from tfgma.models.resnet import VARIANTS, resnet


def _application(name: str, input_shape: Sequence[int], *, width: int, prefix: str) -> keras.Model:
    builder = getattr(keras.applications, name)
    network = builder(
        input_shape=tuple(input_shape), include_top=False, weights=None, include_preprocessing=False
    )
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
    # `name=` of the builders breaks EfficientNetV2, so the finished network is wrapped.
    return keras.Model(network.input, network.output, name=f"{prefix}{name.lower()}")


def _resnet(variant: str, input_shape: Sequence[int], *, width: int, prefix: str) -> keras.Model:
    return resnet(variant, input_shape, width=width, prefix=prefix)


def _efficientnet_lite(variant: str, input_shape: Sequence[int], *, width: int, prefix: str) -> keras.Model:
    return efficientnet_lite(variant, input_shape, prefix=prefix)


BACKBONES: dict[str, Callable[..., keras.Model]] = {
    **{variant: partial(_resnet, variant) for variant in VARIANTS},
    **{variant: partial(_efficientnet_lite, variant) for variant in LITE_VARIANTS},
    "mobilenetv3_small": partial(_application, "MobileNetV3Small"),
    "mobilenetv3_large": partial(_application, "MobileNetV3Large"),
    "efficientnetv2_b0": partial(_application, "EfficientNetV2B0"),
}
"""name -> builder(input_shape, width=, prefix=)."""


def build_backbone(
    name: str, input_shape: Sequence[int], *, width: int = 64, prefix: str = ""
) -> keras.Model:
    """An image network without its head: (B, H, W, C) -> (B, H/32, W/32, features), float32.

    Args:
        name: a key of BACKBONES.
        input_shape: (H, W, C).
        width: channels of the first stage (residual networks; others have their own).
        prefix: what the layers' names begin with (keras.applications keep their own), such as `spatial-`.

    Raises:
        RefusedError: an unknown name.
    """
    if name not in BACKBONES:
        raise RefusedError(f'backbone must be one of {", ".join(BACKBONES)}. Received: "{name}"')
    return BACKBONES[name](input_shape, width=width, prefix=prefix)


PREFIX: Final = "image-"
"""Of all layers' names in an ImageClassifier; what follows is the published name."""


def ImageClassifier(  # noqa: N802 - reads as the network that it builds
    image_shape: Sequence[int],
    num_classes: int,
    *,
    backbone: str = "resnet50",
    width: int = 64,
    dropout: float = 0.0,
    name: str = "image",
) -> keras.Model:
    """One picture, one network: `image` (B, H, W, 3) float32 -> `logits` (B, num_classes) float32.

    Args:
        image_shape: (H, W, 3).
        num_classes: number of classes; 1 for a single logit.
        backbone: a key of BACKBONES.
        width: channels of a residual network's first stage.
        dropout: share of pooled features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown backbone, or no classes.
    """
    image = keras.Input(tuple(image_shape), name="image")
    # With a prefix, because TensorFlow takes no scope that begins with an underscore, as `_conv_stem` does.
    features = build_backbone(backbone, image_shape, width=width, prefix=PREFIX)(image)
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    head = f"{PREFIX}_fc" if backbone in LITE_VARIANTS else f"{PREFIX}fc"
    logits = classifier(pooled, num_classes, dropout, head)
    return keras.Model({"image": image}, {"logits": logits}, name=name)
