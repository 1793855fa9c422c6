"""Baselines that join several frames of a clip in one image network (Karpathy et al., CVPR 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import FoldFrames, UnfoldFrames, classifier, clip_shape
from tfgma.models.backbones import build_backbone
from tfgma.models.resnet import VARIANTS, resnet_stage, resnet_stem

FUSIONS: Final = ("early", "late", "slow")
GROUPS: Final = 4
"""Slow fusion starts from so many groups of frames and joins them in pairs, twice."""


def FrameFusion(  # noqa: N802 - reads as the network that it builds
    frames_shape: Sequence[int],
    num_classes: int,
    *,
    fusion: str = "late",
    backbone: str = "resnet50",
    width: int = 64,
    dropout: float = 0.0,
    name: str = "frame_fusion",
) -> keras.Model:
    """A classifier of frames: `frames` (B, T, H, W, C) float32 -> `logits` (B, num_classes) float32.

    Args:
        frames_shape: (T, H, W, C).
        num_classes: number of classes; 1 for a single logit.
        fusion: early stacks all frames as the stem's channels; late joins the features of the first and the
            last frame, found by one shared network; slow stacks the frames of four groups, and joins
            neighbouring groups after the first and after the second stage.
        backbone: a key of `tfgma.models.backbones.BACKBONES`; for slow fusion a residual network.
        width: channels of a residual network's first stage.
        dropout: share of features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown name, a shape that the fusion cannot take, or no classes.
    """
    if fusion not in FUSIONS:
        raise RefusedError(f'fusion must be one of {", ".join(FUSIONS)}. Received: "{fusion}"')
    count, height, columns, channels = clip_shape(frames_shape)
    frames = keras.Input((count, height, columns, channels), name="frames")
    if fusion == "early":
        trunk = build_backbone(backbone, (height, columns, count * channels), width=width, prefix="frames-")
        features = layers.GlobalAveragePooling2D(name="pool")(trunk(_as_channels(frames, "early")))
    elif fusion == "late":
        if count < 2:
            raise RefusedError(f"late fusion needs at least two frames. Received: {count}")
        trunk = build_backbone(backbone, (height, columns, channels), width=width, prefix="frames-")
        pair = [trunk(frames[:, place]) for place in (0, count - 1)]
        pooled = [layers.GlobalAveragePooling2D(name=f"pool{number}")(one) for number, one in enumerate(pair)]
        features = layers.Concatenate(name="concatenate")(pooled)
    else:
        features = _slow(frames, backbone, width)
    logits = classifier(features, num_classes, dropout, "fc")
    return keras.Model({"frames": frames}, {"logits": logits}, name=name)


def _slow(frames: keras.KerasTensor, backbone: str, width: int) -> keras.KerasTensor:
    if backbone not in VARIANTS:
        raise RefusedError(
            f'slow fusion needs a residual network, one of {", ".join(VARIANTS)}. Received: "{backbone}"'
        )
    _, count, height, columns, channels = frames.shape
    if count % GROUPS:
        raise RefusedError(f"slow fusion needs a multiple of {GROUPS} frames. Received: {count}")
    block, repeats = VARIANTS[backbone]
    groups = layers.Reshape((GROUPS, count // GROUPS, height, columns, channels), name="groups")(frames)
    x = _as_channels(FoldFrames(name="fold_groups")(groups), "group")
    x = resnet_stem(x, width, "frames-")
    left = GROUPS
    for stage, repeat in enumerate(repeats):
        x = resnet_stage(x, block, repeat, stage, width, "frames-")
        if left > 1:
            pairs = FoldFrames(name=f"fold_pairs{stage}")(
                layers.Reshape((left // 2, 2, *x.shape[1:]), name=f"pairs{stage}")(
                    UnfoldFrames(left, name=f"unfold{stage}")(x)
                )
            )
            x = _as_channels(pairs, f"pair{stage}")
            left //= 2
    return layers.GlobalAveragePooling2D(name="pool")(x)


def _as_channels(frames: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """(B, T, H, W, C) -> (B, H, W, T * C)."""
    _, count, height, width, channels = frames.shape
    last = layers.Permute((2, 3, 1, 4), name=f"{name}_frames_last")(frames)
    return layers.Reshape((height, width, count * channels), name=f"{name}_channels")(last)
