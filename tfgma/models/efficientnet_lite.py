"""EfficientNet-Lite: EfficientNet without the parts that 8-bit arithmetic and small devices dislike.

Swish is a ReLU6, squeeze and excitation is left out, and neither the stem nor the head is scaled
(Tan & Le, ICML 2019, and TensorFlow's release of EfficientNet-Lite, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import Mixing, no_mixing, normalization

EPSILON = 1e-3
STEM_FILTERS = 32
HEAD_FILTERS = 1280
FILTERS_DIVISOR = 8


@dataclass(frozen=True)
class Scale:
    """What sets a variant apart: factors of filters and of repeats, and the side of its training pictures."""

    width: float
    depth: float
    side_px: int


VARIANTS: dict[str, Scale] = {
    "efficientnet_lite0": Scale(1.0, 1.0, 224),
    "efficientnet_lite1": Scale(1.0, 1.1, 240),
    "efficientnet_lite2": Scale(1.1, 1.2, 260),
    "efficientnet_lite3": Scale(1.2, 1.4, 280),
    "efficientnet_lite4": Scale(1.4, 1.8, 300),
}


@dataclass(frozen=True)
class Stage:
    """Blocks of one resolution; `stride` is the first block's, `expansion` is of a block's input channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite(
    variant: str, input_shape: Sequence[int], *, prefix: str = "", mixing: Mixing = no_mixing
) -> keras.Model:
    """An EfficientNet-Lite without its head.

    The published ImageNet weights expect RGB pictures of (value 0..255 - 127) / 128.

    Args:
        variant: a key of VARIANTS.
        input_shape: (H, W, C), any number of channels.
        prefix: what all layers' names begin with; what follows is the published name, with "-" for ".".
        mixing: what the branch of every block with a shortcut begins with.

    Returns:
        (B, H, W, C) float32 -> (B, H/32, W/32, 1280) float32, sizes rounded up.

    Raises:
        RefusedError: an unknown variant.
    """
    if variant not in VARIANTS:
        raise RefusedError(f'variant must be one of {", ".join(VARIANTS)}. Received: "{variant}"')
    scale = VARIANTS[variant]
    inputs = keras.Input(tuple(input_shape))
    x = lite_stem(inputs, STEM_FILTERS, prefix)
    x = lite_stages(x, range(len(STAGES)), scale.width, scale.depth, prefix, mixing)
    return keras.Model(inputs, lite_head(x, HEAD_FILTERS, prefix), name=f"{prefix}{variant}")


def lite_stem(x: keras.KerasTensor, filters: int, prefix: str) -> keras.KerasTensor:
    """The first convolution: (B, H, W, C) -> (B, H/2, W/2, filters)."""
    x = _conv(x, filters, f"{prefix}_conv_stem", size=3, stride=2)
    return _relu6(_norm(x, f"{prefix}_bn0"), f"{prefix}stem_relu")


def lite_stages(
    x: keras.KerasTensor,
    stages: Sequence[int],
    width: float,
    depth: float = 1.0,
    prefix: str = "",
    mixing: Mixing = no_mixing,
) -> keras.KerasTensor:
    """The blocks of those of STAGES, of scaled filters and repeats."""
    repeats = [
        stage.repeats if index in (0, len(STAGES) - 1) else math.ceil(depth * stage.repeats)
        for index, stage in enumerate(STAGES)
    ]
    for index in stages:
        stage, first = STAGES[index], sum(repeats[:index])
        for repeat in range(repeats[index]):
            stride = stage.stride if repeat == 0 else 1
            filters = lite_filters(stage.filters, width)
            x = _block(x, stage, stride, filters, f"{prefix}_blocks-{first + repeat}-", mixing)
    return x


def lite_head(x: keras.KerasTensor, filters: int, prefix: str) -> keras.KerasTensor:
    """The last convolution: (B, H, W, C) -> (B, H, W, filters)."""
    return _relu6(_norm(_conv(x, filters, f"{prefix}_conv_head"), f"{prefix}_bn1"), f"{prefix}head_relu")


def lite_filters(filters: int, width: float) -> int:
    """`filters` times `width`, to the nearest multiple of 8 that is not more than a tenth below."""
    wanted = filters * width
    nearest = max(FILTERS_DIVISOR, int(wanted / FILTERS_DIVISOR + 0.5) * FILTERS_DIVISOR)
    return nearest if nearest >= 0.9 * wanted else nearest + FILTERS_DIVISOR


def _block(
    x: keras.KerasTensor, stage: Stage, stride: int, filters: int, prefix: str, mixing: Mixing
) -> keras.KerasTensor:
    """An inverted bottleneck: more channels, depthwise, fewer channels; a shortcut where shapes agree."""
    shortcut = stride == 1 and x.shape[-1] == filters
    y = mixing(x, f"{prefix}shift") if shortcut else x
    if stage.expansion > 1:
        y = _conv(y, stage.expansion * x.shape[-1], f"{prefix}_expand_conv")
        y = _relu6(_norm(y, f"{prefix}_bn0"), f"{prefix}expand_relu")
    y = layers.DepthwiseConv2D(
        stage.kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{prefix}_depthwise_conv",
    )(y)
    y = _relu6(_norm(y, f"{prefix}_bn1"), f"{prefix}depthwise_relu")
    y = _norm(_conv(y, filters, f"{prefix}_project_conv"), f"{prefix}_bn2", closing=shortcut)
    if shortcut:
        y = layers.Add(name=f"{prefix}add")([y, x])
    return y


def _conv(
    x: keras.KerasTensor, filters: int, name: str, *, size: int = 1, stride: int = 1
) -> keras.KerasTensor:
    # Weights come from TensorFlow, so padding is its one-sided "same", in their PyTorch edition as well.
    return layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(),
        name=name,
    )(x)


def _norm(x: keras.KerasTensor, name: str, *, closing: bool = False) -> keras.KerasTensor:
    return normalization(x, name, closing=closing, epsilon=EPSILON)


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(max_value=6.0, name=name)(x)


def _initializer() -> keras.initializers.Initializer:
    # Not by fan_in: Keras counts all channels as inputs of a depthwise kernel.
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")
