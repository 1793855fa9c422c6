"""Position, velocity, acceleration and displacement of body joints, free of camera and body size.

The recipe is the one of STAM (Nguyen-Thai et al., IEEE JBHI 2021). Its first step, to centre the image and
divide by its height, is left out: the body's own axes and length take both back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pipelines.schema import FEATURE_JOINTS, JOINTS, RefusedError

SMOOTHING_SECONDS: Final = 0.5
MOTION_SECONDS: Final = 0.25
SHORTEST_FULL_WINDOWS_SECONDS: Final = 2.0
"""Shorter sequences get shorter windows in proportion, so that half of their frames keep whole windows."""

MIN_TRUNK_PX: Final = 1.0
"""A shorter trunk is a misread pose: it would blow up all lengths of that frame."""

LOWER_BODY: Final = tuple(i for i, n in enumerate(FEATURE_JOINTS) if n.endswith(("hip", "knee", "ankle")))
UPPER_BODY: Final = tuple(i for i in range(len(FEATURE_JOINTS)) if i not in LOWER_BODY)
SHOULDERS: Final = tuple(FEATURE_JOINTS.index(n) for n in ("right_shoulder", "left_shoulder"))
HIPS: Final = tuple(FEATURE_JOINTS.index(n) for n in ("right_hip", "left_hip"))


def to_openpose_joints(pose: np.ndarray, min_score: float = 0.5) -> np.ndarray:
    """Poses of `pipelines.schema.JOINTS` as OpenPose's 18 joints; the neck lies between the shoulders.

    Args:
        pose: (T, 33, 3) float, x and y in pixels, score 0..1.
        min_score: joints below it count as not seen, and the neck with either shoulder.

    Returns:
        (T, 18, 2) float64, x and y in pixels, NaN where not seen.

    Raises:
        RefusedError: another shape.
    """
    if pose.ndim != 3 or pose.shape[1:] != (len(JOINTS), 3):
        raise RefusedError(f"pose must be (T, {len(JOINTS)}, 3). Received: {pose.shape}")
    seen = np.where(pose[..., 2:] >= min_score, pose[..., :2].astype(np.float64), np.nan)
    out = np.empty((len(pose), len(FEATURE_JOINTS), 2))
    for index, name in enumerate(FEATURE_JOINTS):
        if name != "neck":
            out[:, index] = seen[:, JOINTS.index(name)]
    out[:, FEATURE_JOINTS.index("neck")] = out[:, SHOULDERS].mean(axis=1)
    return out


def joint_features(keypoints: np.ndarray, *, fps: float) -> np.ndarray:
    """Seven features of each joint at each moment, in the body's own axes.

    Gaps are interpolated and positions smoothed over 0.5 s. The upper body is then seen from between the
    shoulders along the line through them, the lower body likewise from the hips, one trunk length below;
    x points to the subject's left, y from the shoulders down. Velocity and acceleration are means over
    the last 0.25 s.

    Every answer is finite: where a window reaches beyond the sequence, the nearest whole one counts; a joint
    never seen is 0, and so is everything when a shoulder or hip is never seen. Sequences under 2 s are
    smoothed over less, and where no whole window of movement is left, there is no movement.

    Args:
        keypoints: (T, 18, 2) float, OpenPose's joints, x right and y down in pixels, NaN where not seen.
        fps: frames a second.

    Returns:
        (T, 18, 7) float32, channels as in `pipelines.schema.JOINT_FEATURES`: lengths in trunk lengths, times
        in seconds, displacement since the frame before.

    Raises:
        RefusedError: another shape, no frame, or a frame rate that is not positive.
    """
    if keypoints.ndim != 3 or keypoints.shape[1:] != (len(FEATURE_JOINTS), 2) or not len(keypoints):
        raise RefusedError(
            f"keypoints must be (T, {len(FEATURE_JOINTS)}, 2) with at least one frame. "
            f"Received: {keypoints.shape}"
        )
    if not (math.isfinite(fps) and fps > 0):
        raise RefusedError(f"fps must be a positive number. Received: {fps}")
    frames = len(keypoints)
    smoothing = _window_frames(SMOOTHING_SECONDS, fps, frames)
    motion = _window_frames(MOTION_SECONDS, fps, frames)

    seen = np.isfinite(keypoints).all(axis=-1, keepdims=True)
    pixels = _without_gaps(np.where(seen, keypoints.astype(np.float64), np.nan))
    position = _on_body(_centered(_centered(pixels, smoothing, np.median), smoothing, np.mean))
    step = _difference(position)
    velocity = _trailing_mean(_without_gaps(step) * fps, motion)
    acceleration = _trailing_mean(_without_gaps(_difference(velocity)) * fps, motion)
    displacement = np.sqrt((step**2).sum(axis=-1, keepdims=True))
    features = np.concatenate([position, velocity, acceleration, displacement], axis=-1)
    return np.nan_to_num(_without_gaps(features)).astype(np.float32)


def _window_frames(seconds: float, fps: float, frames: int) -> int:
    """Frames in a window, the nearest whole number, the smaller of two as near."""
    shortened = min(1.0, frames / (fps * SHORTEST_FULL_WINDOWS_SECONDS))
    return max(1, math.ceil(seconds * fps * shortened - 0.5))


def _without_gaps(values: np.ndarray) -> np.ndarray:
    """NaN along the first axis, interpolated between neighbours, held at both ends; all-NaN series stay."""
    columns = values.reshape(len(values), -1).copy()
    moments = np.arange(len(values))
    for column in columns.T:
        known = np.isfinite(column)
        if known.any() and not known.all():
            column[~known] = np.interp(moments[~known], moments[known], column[known])
    return columns.reshape(values.shape)


def _centered(values: np.ndarray, window: int, statistic: Callable[..., np.ndarray]) -> np.ndarray:
    """Statistic over `window` frames about each frame; NaN where they reach beyond the sequence."""
    return _over_windows(values, window, statistic, before=window // 2)


def _trailing_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the last `window` frames up to each frame; NaN where they begin before the sequence."""
    return _over_windows(values, window, np.mean, before=window - 1)


def _over_windows(
    values: np.ndarray, window: int, statistic: Callable[..., np.ndarray], before: int
) -> np.ndarray:
    out = np.full_like(values, np.nan)
    whole = statistic(sliding_window_view(values, window, axis=0), axis=-1)
    out[before : before + len(whole)] = whole
    return out


def _difference(values: np.ndarray) -> np.ndarray:
    """What changed since the frame before; NaN in the first frame."""
    return np.diff(values, axis=0, prepend=np.full_like(values[:1], np.nan))


def _on_body(pixels: np.ndarray) -> np.ndarray:
    """(T, 18, 2) in pixels -> in trunk lengths along the body's axes; NaN without a body."""
    shoulders, hips = pixels[:, SHOULDERS], pixels[:, HIPS]
    trunk = _length(shoulders.mean(axis=1) - hips.mean(axis=1))
    trunk = np.where(trunk >= MIN_TRUNK_PX, trunk, np.nan)
    out = np.empty_like(pixels)
    for joints, pair, below in ((UPPER_BODY, shoulders, 0.0), (LOWER_BODY, hips, 1.0)):
        leftwards = pair[:, 1] - pair[:, 0]
        width = _length(leftwards)
        cos, sin = np.split(leftwards / np.where(width > 0, width, np.nan), 2, axis=-1)
        x, y = np.moveaxis(pixels[:, joints] - pair.mean(axis=1)[:, None], -1, 0)
        out[:, joints, 0] = (x * cos + y * sin) / trunk
        out[:, joints, 1] = (y * cos - x * sin) / trunk + below
    return out


def _length(vectors: np.ndarray) -> np.ndarray:
    """(T, 2) -> (T, 1)."""
    return np.hypot(vectors[:, 0], vectors[:, 1])[:, None]
