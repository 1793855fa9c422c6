"""Residual 3D networks with the layers of PyTorchVideo's, in one table with the other video networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import (
    FoldedConv3D,
    FoldedDepthwiseConv3D,
    FoldFrames,
    TemporalMaxPooling,
    TemporalStride,
    classifier,
    clip_average,
    clip_shape,
    convolution,
    normalization,
    strided_length,
)
from tfgma.models.c3d import c3d_backbone
from tfgma.models.x3d import x3d_backbone

R50: Final = (3, 4, 6, 3)
R101: Final = (3, 4, 23, 3)
ONES: Final = ((1,), (1,), (1,), (1,))
EXPANSION = 4
"""Channels of a block's answer for each of its inner ones."""


@dataclass(frozen=True)
class Variant:
    """What tells one residual 3D network from another.

    `stem_frames`: length of the stem's kernel. `stem_pool`: pooling 3 x 3 after the stem. `middle_pool`:
    pooling of pairs of frames after the first stage. `temporal`: for each stage the lengths of its blocks'
    first kernels, in turn. `middle`: a block's second convolution: spatial (1 x 3 x 3), depthwise (3 x 3 x 3
    of each channel), factorised (3 x 1 x 1, then 1 x 3 x 3). `strides`, `temporal_strides`: of each stage.
    """

    depths: tuple[int, ...] = R50
    stem_frames: int = 1
    stem_pool: bool = True
    middle_pool: bool = False
    temporal: tuple[tuple[int, ...], ...] = ONES
    middle: str = "spatial"
    strides: tuple[int, ...] = (1, 2, 2, 2)
    temporal_strides: tuple[int, ...] = (1, 1, 1, 1)


VARIANTS: Final[dict[str, Variant]] = {
    "slow_r50": Variant(temporal=((1,), (1,), (3,), (3,))),
    "c2d_r50": Variant(middle_pool=True),
    "i3d_r50": Variant(stem_frames=5, middle_pool=True, temporal=((3,), (3, 1), (3, 1), (1, 3))),
    "csn_r101": Variant(depths=R101, stem_frames=3, middle="depthwise", temporal_strides=(1, 2, 2, 2)),
    "r2plus1d_r50": Variant(
        stem_pool=False, middle="factorised", strides=(2, 2, 2, 2), temporal_strides=(1, 1, 2, 2)
    ),
}
"""Slow: Feichtenhofer et al., ICCV 2019. C2D: Wang et al., CVPR 2018. I3D: Carreira and Zisserman, CVPR 2017.
CSN: Tran et al., ICCV 2019. R(2+1)D: Tran et al., CVPR 2018."""


def video_resnet(
    variant: str,
    frames_shape: Sequence[int],
    num_classes: int,
    *,
    width: int = 64,
    depths: Sequence[int] | None = None,
    dropout: float = 0.5,
    name: str | None = None,
) -> keras.Model:
    """A residual 3D network that classifies clips.

    Input `frames` (B, T, H, W, C) float32. Output: dict with `logits` (B, num_classes) float32.

    Args:
        variant: a key of VARIANTS.
        frames_shape: (T, H, W, C); c2d_r50 and i3d_r50 pool pairs of frames and need two.
        num_classes: number of classes, at least 1.
        width: channels of the stem; 64 in the published networks.
        depths: blocks of the four stages; by default the published ones.
        dropout: share of features dropped in training.
        name: the network's name; by default the variant's.

    Raises:
        RefusedError: an unknown variant, a shape that is too small, other than four stages, no class.
    """
    spec, shape, depths = _checked(variant, frames_shape, depths)
    inputs = keras.Input(shape, name="frames")
    features = _features(inputs, spec, width, depths, "")
    head = f"blocks-{_last_block(spec) + 1}-proj"
    logits = classifier(features, num_classes, dropout, head)
    return keras.Model({"frames": inputs}, {"logits": logits}, name=name or variant)


def video_resnet_backbone(
    variant: str,
    frames_shape: Sequence[int],
    *,
    prefix: str = "",
    width: int = 64,
    depths: Sequence[int] | None = None,
) -> keras.Model:
    """A residual 3D network without its head: (B, T, H, W, C) -> (B, 32 * width), float32.

    Args:
        variant: a key of VARIANTS.
        frames_shape: (T, H, W, C).
        prefix: what all names of layers begin with, such as "rgb-".
        width: channels of the stem; 64 in the published networks.
        depths: blocks of the four stages; by default the published ones.

    Raises:
        RefusedError: as `video_resnet`.
    """
    spec, shape, depths = _checked(variant, frames_shape, depths)
    inputs = keras.Input(shape, name=f"{prefix}frames")
    return keras.Model(inputs, _features(inputs, spec, width, depths, prefix), name=f"{prefix}{variant}")


slow_r50 = partial(video_resnet, "slow_r50")
c2d_r50 = partial(video_resnet, "c2d_r50")
i3d_r50 = partial(video_resnet, "i3d_r50")
csn_r101 = partial(video_resnet, "csn_r101")
r2plus1d_r50 = partial(video_resnet, "r2plus1d_r50")

VIDEO_BACKBONES: Final[dict[str, Callable[..., keras.Model]]] = {
    **{variant: partial(video_resnet_backbone, variant) for variant in VARIANTS},
    **{variant: partial(x3d_backbone, variant) for variant in ("x3d_xs", "x3d_s", "x3d_m", "x3d_l")},
    "c3d": c3d_backbone,
}
"""name -> builder(frames_shape, prefix=, width=, ...) of a network (B, T, H, W, C) -> (B, features)."""


def video_backbone(
    name: str, frames_shape: Sequence[int], *, prefix: str = "", width: int | None = None
) -> keras.Model:
    """A video network without its head: (B, T, H, W, C) -> (B, features), float32.

    Args:
        name: a key of VIDEO_BACKBONES.
        frames_shape: (T, H, W, C), any number of channels.
        prefix: what all names of layers begin with, such as "rgb-".
        width: channels of the stem; by default the published number.

    Raises:
        RefusedError: an unknown name, or a shape that is too small for the network.
    """
    if name not in VIDEO_BACKBONES:
        raise RefusedError(f'video backbone must be one of {", ".join(VIDEO_BACKBONES)}. Received: "{name}"')
    sizes = {} if width is None else {"width": width}
    return VIDEO_BACKBONES[name](frames_shape, prefix=prefix, **sizes)


def stem(
    x: keras.KerasTensor, frames: int, width: int, kernel_frames: int, pool: bool, prefix: str
) -> keras.KerasTensor:
    """Convolution of kernel_frames x 7 x 7, and pooling, on folded frames; both halve rows and columns."""
    if kernel_frames == 1:
        x = convolution(x, width, 7, 2, f"{prefix}conv")
    else:
        kernel = (kernel_frames, 7, 7)
        x = FoldedConv3D(width, frames, kernel, (1, 2, 2), use_bias=False, name=f"{prefix}conv")(x)
    x = layers.ReLU(name=f"{prefix}relu")(normalization(x, f"{prefix}norm"))
    if pool:
        # After a ReLU zero padding equals the minus infinity padding of a pooling layer.
        x = layers.ZeroPadding2D(1, name=f"{prefix}pool_pad")(x)
        x = layers.MaxPooling2D(3, 2, name=f"{prefix}pool")(x)
    return x


def stage(
    x: keras.KerasTensor,
    frames: int,
    inner: int,
    depth: int,
    prefix: str,
    *,
    temporal: Sequence[int] = (1,),
    middle: str = "spatial",
    stride: int = 1,
    temporal_stride: int = 1,
) -> tuple[keras.KerasTensor, int]:
    """Bottleneck blocks on folded frames; returns their answer, and how many frames a clip has left.

    Args:
        x: (B * frames, H, W, C).
        frames: frames of one clip.
        inner: channels inside the blocks; EXPANSION times as many leave.
        depth: number of blocks.
        prefix: what all names of layers begin with.
        temporal: lengths of the blocks' first kernels, in turn.
        middle: the blocks' second convolution, as `Variant` says.
        stride, temporal_stride: of the first block.
    """
    for number, kernel_frames in enumerate(islice(cycle(temporal), depth)):
        strides = (temporal_stride, stride) if number == 0 else (1, 1)
        block = f"{prefix}res_blocks-{number}-"
        x = _block(x, frames, inner, kernel_frames, middle, strides, block)
        frames = strided_length(frames, strides[0])
    return x, frames


def _checked(
    variant: str, frames_shape: Sequence[int], depths: Sequence[int] | None
) -> tuple[Variant, tuple[int, ...], tuple[int, ...]]:
    if variant not in VARIANTS:
        raise RefusedError(f'variant must be one of {", ".join(VARIANTS)}. Received: "{variant}"')
    spec = VARIANTS[variant]
    shape = clip_shape(frames_shape, min_frames=2 if spec.middle_pool else 1)
    depths = spec.depths if depths is None else tuple(depths)
    if len(depths) != len(spec.depths):
        raise RefusedError(f"depths must be four numbers of blocks. Received: {depths}")
    return spec, shape, depths


def _last_block(spec: Variant) -> int:
    return len(spec.depths) + spec.middle_pool


def _features(
    inputs: keras.KerasTensor, spec: Variant, width: int, depths: Sequence[int], prefix: str
) -> keras.KerasTensor:
    frames = inputs.shape[1]
    x = FoldFrames(name=f"{prefix}fold")(inputs)
    x = stem(x, frames, width, spec.stem_frames, spec.stem_pool, f"{prefix}blocks-0-")
    block = 0
    for number, depth in enumerate(depths):
        block += 1
        x, frames = stage(
            x,
            frames,
            width * 2**number,
            depth,
            f"{prefix}blocks-{block}-",
            temporal=spec.temporal[number],
            middle=spec.middle,
            stride=spec.strides[number],
            temporal_stride=spec.temporal_strides[number],
        )
        if number == 0 and spec.middle_pool:
            block += 1
            pool = TemporalMaxPooling(frames, 2, name=f"{prefix}blocks-{block}-pool")
            x, frames = pool(x), frames // 2
    return clip_average(x, frames, f"{prefix}average")


def _block(
    x: keras.KerasTensor,
    frames: int,
    inner: int,
    kernel_frames: int,
    middle: str,
    strides: tuple[int, int],
    prefix: str,
) -> keras.KerasTensor:
    """A residual block: 1 x 1 x 1 (or longer), the middle one with the strides, 1 x 1 x 1."""
    branch, outer = f"{prefix}branch2-", inner * EXPANSION
    if kernel_frames == 1:
        y = convolution(x, inner, 1, 1, f"{branch}conv_a")
    else:
        kernel = (kernel_frames, 1, 1)
        y = FoldedConv3D(inner, frames, kernel, use_bias=False, name=f"{branch}conv_a")(x)
    y = layers.ReLU(name=f"{branch}act_a")(normalization(y, f"{branch}norm_a"))
    y = _middle(y, frames, inner, middle, strides, f"{branch}conv_b")
    y = layers.ReLU(name=f"{branch}act_b")(normalization(y, f"{branch}norm_b"))
    y = normalization(convolution(y, outer, 1, 1, f"{branch}conv_c"), f"{branch}norm_c", closing=True)
    if strides != (1, 1) or x.shape[-1] != outer:
        if strides[0] > 1:
            x = TemporalStride(frames, strides[0], name=f"{prefix}branch1_frames")(x)
        x = convolution(x, outer, 1, strides[1], f"{prefix}branch1_conv")
        x = normalization(x, f"{prefix}branch1_norm")
    return layers.ReLU(name=f"{prefix}activation")(layers.Add(name=f"{prefix}add")([x, y]))


def _middle(
    x: keras.KerasTensor, frames: int, inner: int, middle: str, strides: tuple[int, int], name: str
) -> keras.KerasTensor:
    temporal_stride, stride = strides
    if middle == "depthwise":
        every = (temporal_stride, stride, stride)
        return FoldedDepthwiseConv3D(frames, (3, 3, 3), every, use_bias=False, name=name)(x)
    if middle == "factorised":
        over_time = FoldedConv3D(
            inner, frames, (3, 1, 1), (temporal_stride, 1, 1), use_bias=False, name=f"{name}-conv_t"
        )
        x = layers.ReLU(name=f"{name}-relu")(normalization(over_time(x), f"{name}-norm"))
        return convolution(x, inner, 3, stride, f"{name}-conv_xy")
    return convolution(x, inner, 3, stride, name)
