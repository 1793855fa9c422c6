"""SlowFast networks: few frames in depth, many frames in brief (Feichtenhofer et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import (
    FoldedConv3D,
    FoldFrames,
    classifier,
    clip_average,
    clip_shape,
    normalization,
    strided_length,
)
from tfgma.models.video_resnet import R50, stage, stem

FAST_SHARE = 8
"""The slow path's channels for each of the fast path's."""
FUSION_STRIDE = 4
"""Frames of the fast path for each of the slow path's."""
FUSION_FRAMES = 7
SLOW_TEMPORAL = (1, 1, 3, 3)
STRIDES = (1, 2, 2, 2)


def slowfast_r50(
    slow_shape: Sequence[int],
    fast_shape: Sequence[int],
    num_classes: int,
    *,
    width: int = 64,
    depths: Sequence[int] = R50,
    dropout: float = 0.5,
    name: str = "slowfast_r50",
) -> keras.Model:
    """A SlowFast network that classifies clips.

    Inputs by name: `slow` (B, T, H, W, C) float32, every fourth of the frames of `fast` (B, 4T, H, W, C)
    float32. Output: dict with `logits` (B, num_classes) float32.

    Args:
        slow_shape: (T, H, W, C).
        fast_shape: (4T, H, W, C).
        num_classes: number of classes, at least 1.
        width: channels of the slow stem, a multiple of 8; 64 in the published network.
        depths: blocks of the four stages.
        dropout: share of features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: shapes that do not fit together, other than four stages, a width that is no multiple of
            8, no class.
    """
    slow_shape, fast_shape = clip_shape(slow_shape), clip_shape(fast_shape)
    if strided_length(fast_shape[0], FUSION_STRIDE) != slow_shape[0] or fast_shape[1:3] != slow_shape[1:3]:
        raise RefusedError(
            f"fast_shape must have {FUSION_STRIDE} frames for each of slow_shape's, of as many rows and "
            f"columns. Received: fast_shape {fast_shape}, slow_shape {slow_shape}"
        )
    if len(depths) != len(STRIDES):
        raise RefusedError(f"depths must be four numbers of blocks. Received: {tuple(depths)}")
    if width < FAST_SHARE or width % FAST_SHARE:
        raise RefusedError(f"width must be a multiple of {FAST_SHARE}. Received: {width}")

    inputs = {"slow": keras.Input(slow_shape, name="slow"), "fast": keras.Input(fast_shape, name="fast")}
    slow_frames, fast_frames = slow_shape[0], fast_shape[0]
    slow = FoldFrames(name="slow_fold")(inputs["slow"])
    fast = FoldFrames(name="fast_fold")(inputs["fast"])
    slow = stem(slow, slow_frames, width, 1, True, "blocks-0-multipathway_blocks-0-")
    fast = stem(fast, fast_frames, width // FAST_SHARE, 5, True, "blocks-0-multipathway_blocks-1-")
    for number, depth in enumerate(depths):
        slow = _fuse(slow, fast, fast_frames, f"blocks-{number}-multipathway_fusion-")
        inner, path = width * 2**number, f"blocks-{number + 1}-multipathway_blocks-"
        temporal = (SLOW_TEMPORAL[number],)
        stride = STRIDES[number]
        slow, _ = stage(slow, slow_frames, inner, depth, f"{path}0-", temporal=temporal, stride=stride)
        fast, _ = stage(
            fast, fast_frames, inner // FAST_SHARE, depth, f"{path}1-", temporal=(3,), stride=stride
        )
    averages = [
        clip_average(slow, slow_frames, "slow_average"),
        clip_average(fast, fast_frames, "fast_average"),
    ]
    features = layers.Concatenate(name="concatenate")(averages)
    logits = classifier(features, num_classes, dropout, "blocks-6-proj")
    return keras.Model(inputs, {"logits": logits}, name=name)


def _fuse(slow: keras.KerasTensor, fast: keras.KerasTensor, frames: int, prefix: str) -> keras.KerasTensor:
    """`slow` with the fast path's channels beside its own, at its own frames."""
    x = FoldedConv3D(
        2 * fast.shape[-1],
        frames,
        (FUSION_FRAMES, 1, 1),
        (FUSION_STRIDE, 1, 1),
        use_bias=False,
        name=f"{prefix}conv_fast_to_slow",
    )(fast)
    x = layers.ReLU(name=f"{prefix}relu")(normalization(x, f"{prefix}norm"))
    return layers.Concatenate(name=f"{prefix}concatenate")([slow, x])
