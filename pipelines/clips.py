"""Which sampled frames make a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.schema import ClipSpec


@dataclass(frozen=True)
class Clip:
    """A window of a video, as networks see it; T = flows, T + 1 frames.

    `rgb`: (T+1, S, S, 3) uint8, upright masked body. `flow`: (T, S, S, 2) uint8 codes (pipelines.flow).
    `pose`: (T+1, 33, 3) float32, x and y in pixels of the aligned frame, score. `joint_features`:
    (T+1, 18, 7) float32 (pipelines.joint_features). `mask_area`: (T+1,) float32, share of the aligned frame.
    `quality`: share of frames with a body found. What a clip does not hold has no frames: `rgb` and `flow` of
    keypoint files, and in records that were built without a modality its arrays.
    """

    start_seconds: float
    fps: float
    rgb: np.ndarray
    flow: np.ndarray
    pose: np.ndarray
    joint_features: np.ndarray
    mask_area: np.ndarray
    quality: float


def is_wanted(index: int, spec: ClipSpec) -> bool:
    """Whether the frame at grid point `index` belongs to any clip."""
    return index % spec.stride_frames < spec.num_frames if spec.stride_frames > spec.num_frames else True


def ends_clip(index: int, spec: ClipSpec) -> bool:
    """Whether the frame at grid point `index` is the last one of a clip."""
    first = index - spec.num_flows
    return first >= 0 and first % spec.stride_frames == 0
