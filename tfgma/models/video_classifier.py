"""The 3D networks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import keras

from pipelines.schema import RefusedError
from tfgma.models.c3d import c3d
from tfgma.models.video_resnet import VARIANTS, video_resnet
from tfgma.models.x3d import DEPTHS, x3d

VIDEO_NETWORKS: Final[dict[str, Callable[..., keras.Model]]] = {
    **{variant: partial(video_resnet, variant) for variant in VARIANTS},
    **{variant: partial(x3d, variant) for variant in DEPTHS},
    "c3d": c3d,
}
"""name -> builder(frames_shape, num_classes, width=, dropout=, name=)."""


def VideoClassifier(  # noqa: N802 - reads as the network that it builds
    frames_shape: Sequence[int],
    num_classes: int,
    *,
    network: str = "slow_r50",
    width: int | None = None,
    dropout: float = 0.5,
) -> keras.Model:
    """A 3D network on frames: `frames` (B, T, H, W, C) float32 -> `logits` (B, num_classes) float32.

    Args:
        frames_shape: (T, H, W, C).
        num_classes: number of classes; 1 for a single logit.
        network: a key of VIDEO_NETWORKS.
        width: channels of the stem; by default the published number.
        dropout: share of features dropped in training.

    Raises:
        RefusedError: an unknown name, a shape too small for the network, or no classes.
    """
    if network not in VIDEO_NETWORKS:
        raise RefusedError(f'network must be one of {", ".join(VIDEO_NETWORKS)}. Received: "{network}"')
    sizes = {} if width is None else {"width": width}
    return VIDEO_NETWORKS[network](frames_shape, num_classes, dropout=dropout, **sizes)
