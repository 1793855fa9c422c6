"""X3D networks: few channels, convolved one by one (Feichtenhofer, CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import (
    FoldedDepthwiseConv3D,
    FoldFrames,
    StackFrames,
    UnstackFrames,
    classifier,
    clip_average,
    clip_shape,
    convolution,
    normalization,
)

DEPTHS: Final[dict[str, tuple[int, ...]]] = {
    "x3d_xs": (3, 5, 11, 7),
    "x3d_s": (3, 5, 11, 7),
    "x3d_m": (3, 5, 11, 7),
    "x3d_l": (5, 10, 25, 15),
}
"""Blocks of the four stages. XS, S and M are one network at 4 x 160, 13 x 160 and 16 x 224 (frames x px) in
the paper; L had 16 x 312."""

INNER = 2.25
"""Channels inside a block for each that leaves it."""
SQUEEZE = 0.0625
"""Channels that weigh a block's channels, for each of these."""
FEATURES = 2048
STEM_FRAMES = 5


def x3d(
    variant: str,
    frames_shape: Sequence[int],
    num_classes: int,
    *,
    width: int = 24,
    depths: Sequence[int] | None = None,
    dropout: float = 0.5,
    name: str | None = None,
) -> keras.Model:
    """An X3D network that classifies clips.

    Input `frames` (B, T, H, W, C) float32. Output: dict with `logits` (B, num_classes) float32.

    Args:
        variant: a key of DEPTHS.
        frames_shape: (T, H, W, C).
        num_classes: number of classes, at least 1.
        width: channels of the first stage, doubled in each; 24 in the published networks.
        depths: blocks of the four stages; by default the published ones.
        dropout: share of features dropped in training.
        name: the network's name; by default the variant's.

    Raises:
        RefusedError: an unknown variant, a shape without frames or pixels, other than four stages, no class.
    """
    shape, depths = _checked(variant, frames_shape, depths)
    inputs = keras.Input(shape, name="frames")
    features = _features(inputs, width, depths, "")
    logits = classifier(features, num_classes, dropout, "blocks-5-proj")
    return keras.Model({"frames": inputs}, {"logits": logits}, name=name or variant)


def x3d_backbone(
    variant: str,
    frames_shape: Sequence[int],
    *,
    prefix: str = "",
    width: int = 24,
    depths: Sequence[int] | None = None,
) -> keras.Model:
    """An X3D network without its head: (B, T, H, W, C) -> (B, 2048), float32.

    Args:
        variant: a key of DEPTHS.
        frames_shape: (T, H, W, C).
        prefix: what all names of layers begin with, such as "rgb-".
        width: channels of the first stage; 24 in the published networks.
        depths: blocks of the four stages; by default the published ones.

    Raises:
        RefusedError: as `x3d`.
    """
    shape, depths = _checked(variant, frames_shape, depths)
    inputs = keras.Input(shape, name=f"{prefix}frames")
    return keras.Model(inputs, _features(inputs, width, depths, prefix), name=f"{prefix}{variant}")


x3d_xs = partial(x3d, "x3d_xs")
x3d_s = partial(x3d, "x3d_s")
x3d_m = partial(x3d, "x3d_m")
x3d_l = partial(x3d, "x3d_l")


def _checked(
    variant: str, frames_shape: Sequence[int], depths: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if variant not in DEPTHS:
        raise RefusedError(f'variant must be one of {", ".join(DEPTHS)}. Received: "{variant}"')
    published = DEPTHS[variant]
    depths = published if depths is None else tuple(depths)
    if len(depths) != len(published):
        raise RefusedError(f"depths must be four numbers of blocks. Received: {depths}")
    return clip_shape(frames_shape), depths


def _features(inputs: keras.KerasTensor, width: int, depths: Sequence[int], prefix: str) -> keras.KerasTensor:
    frames = inputs.shape[1]
    x = FoldFrames(name=f"{prefix}fold")(inputs)
    # The published names say the opposite of what these two do.
    x = convolution(x, width, 3, 2, f"{prefix}blocks-0-conv-conv_t")
    over_time = FoldedDepthwiseConv3D(
        frames, (STEM_FRAMES, 1, 1), use_bias=False, name=f"{prefix}blocks-0-conv-conv_xy"
    )
    x = normalization(over_time(x), f"{prefix}blocks-0-norm")
    x = layers.ReLU(name=f"{prefix}blocks-0-relu")(x)
    inner = 0
    for number, depth in enumerate(depths):
        outer = width * 2**number
        inner = int(INNER * outer)
        for block in range(depth):
            path = f"{prefix}blocks-{number + 1}-res_blocks-{block}-"
            # Every second block weighs its channels.
            x = _block(x, frames, inner, outer, 2 if block == 0 else 1, block % 2 == 0, path)
    head = f"{prefix}blocks-5-pool-"
    x = normalization(convolution(x, inner, 1, 1, f"{head}pre_conv"), f"{head}pre_norm")
    x = layers.ReLU(name=f"{head}pre_relu")(x)
    x = clip_average(x, frames, f"{head}average")
    x = layers.Dense(FEATURES, use_bias=False, name=f"{head}post_conv")(x)
    return layers.ReLU(name=f"{head}post_relu")(x)


def _block(
    x: keras.KerasTensor, frames: int, inner: int, outer: int, stride: int, weigh: bool, prefix: str
) -> keras.KerasTensor:
    """A residual block: 1 x 1 x 1 to more channels, 3 x 3 x 3 of each, 1 x 1 x 1 to fewer."""
    branch = f"{prefix}branch2-"
    y = normalization(convolution(x, inner, 1, 1, f"{branch}conv_a"), f"{branch}norm_a")
    y = layers.ReLU(name=f"{branch}act_a")(y)
    each = FoldedDepthwiseConv3D(
        frames, (3, 3, 3), (1, stride, stride), use_bias=False, name=f"{branch}conv_b"
    )
    y = normalization(each(y), f"{branch}norm_b-0")
    if weigh:
        y = _weigh_channels(y, frames, f"{branch}norm_b-1-")
    y = layers.Activation("silu", name=f"{branch}act_b")(y)
    y = normalization(convolution(y, outer, 1, 1, f"{branch}conv_c"), f"{branch}norm_c", closing=True)
    if stride > 1 or x.shape[-1] != outer:
        changes_channels = x.shape[-1] != outer
        x = convolution(x, outer, 1, stride, f"{prefix}branch1_conv")
        if changes_channels:
            x = normalization(x, f"{prefix}branch1_norm")
    return layers.ReLU(name=f"{prefix}activation")(layers.Add(name=f"{prefix}add")([x, y]))


def _weigh_channels(x: keras.KerasTensor, frames: int, prefix: str) -> keras.KerasTensor:
    """Each channel times a weight that follows from all channels' means (Hu et al., CVPR 2018)."""
    channels = x.shape[-1]
    stacked = StackFrames(frames, name=f"{prefix}frames")(x)
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{prefix}average")(stacked)
    weights = layers.Dense(_squeezed(channels), "relu", name=f"{prefix}block-0")(weights)
    weights = layers.Dense(channels, "sigmoid", name=f"{prefix}block-2")(weights)
    weighed = layers.Multiply(name=f"{prefix}multiply")([stacked, weights])
    return UnstackFrames(frames, name=f"{prefix}fold")(weighed)


def _squeezed(channels: int) -> int:
    """The multiple of 8 nearest to SQUEEZE * channels, at least 8, and not below nine tenths of it."""
    wanted = channels * SQUEEZE
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found
