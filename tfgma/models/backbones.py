"""Image networks by name, for any number of input channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np

from pipelines.schema import RefusedError
from tfgma.models.resnet import VARIANTS, resnet

STEM_INPUT_CHANNELS_AXIS = 2
"""Convolution kernels are (height, width, channels in, channels out)."""


def _application(name: str, input_shape: Sequence[int], *, width: int, prefix: str) -> keras.Model:
    builder = getattr(keras.applications, name)
    network = builder(
        input_shape=tuple(input_shape), include_top=False, weights=None, include_preprocessing=False
    )
    # `name=` of the builders breaks EfficientNetV2, so the finished network is wrapped.
    return keras.Model(network.input, network.output, name=prefix)


def _resnet(variant: str, input_shape: Sequence[int], *, width: int, prefix: str) -> keras.Model:
    return resnet(variant, input_shape, width=width, name=prefix)


BACKBONES: dict[str, Callable[..., keras.Model]] = {
    **{variant: partial(_resnet, variant) for variant in VARIANTS},
    "mobilenetv3_small": partial(_application, "MobileNetV3Small"),
    "mobilenetv3_large": partial(_application, "MobileNetV3Large"),
    "efficientnetv2_b0": partial(_application, "EfficientNetV2B0"),
}
"""name -> builder(input_shape, width=, prefix=)."""

RGB_CHANNELS = 3


def backbone(
    name: str,
    input_shape: Sequence[int],
    *,
    width: int = 64,
    weights: str | None = None,
    prefix: str | None = None,
) -> keras.Model:
    """An image network without its head: (B, H, W, C) -> (B, H/32, W/32, features), float32.

    Args:
        name: a key of BACKBONES.
        input_shape: (H, W, C).
        width: channels of the first stage (residual networks; others have their own).
        weights: a `.weights.h5` file of the same network for RGB pictures. For other numbers of channels its
            stem is averaged over RGB and repeated (Wang et al., ECCV 2016).
        prefix: the network's name.

    Raises:
        RefusedError: an unknown name, or weights of another network.
    """
    if name not in BACKBONES:
        raise RefusedError(f'backbone must be one of {", ".join(BACKBONES)}. Received: "{name}"')
    build = partial(BACKBONES[name], width=width, prefix=prefix or name)
    network = build(input_shape)
    if weights is None:
        return network
    source = build((*input_shape[:2], RGB_CHANNELS))
    try:
        source.load_weights(weights)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RefusedError(
            f"weights must be a .weights.h5 file of {name} for RGB. Received: {weights!r} ({reason})"
        ) from error
    network.set_weights(
        [
            _fit_stem(value, target.shape)
            for value, target in zip(source.get_weights(), network.weights, strict=True)
        ]
    )
    return network


def _fit_stem(value: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`value` itself, or for the stem its mean over RGB for each of the channels in `shape`."""
    if value.shape == tuple(shape):
        return value
    return np.repeat(value.mean(axis=STEM_INPUT_CHANNELS_AXIS, keepdims=True), shape[2], axis=2)
