"""A recorded track of joints at a steady rate, without its gaps, outliers and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipelines.schema import JOINTS, TORSO_JOINTS, RefusedError
from pipelines.synthetic.motion import Array

GAP_SECONDS: Final = 1.0
"""A shorter gap is bridged by a straight line; in a longer one the joint counts as unseen."""

OUTLIER: Final = 4.0
"""A joint is misread where it lies so many times farther from the median of its moments than most do."""

# Fidgety movements reach 2.4 a second: a parabola over 0.3 s keeps nine tenths of that and halves the noise.
SMOOTHING_SECONDS: Final = 0.3

_LIMB_JOINTS: Final = tuple(
    JOINTS.index(f"{side}_{part}")
    for side in ("left", "right")
    for part in ("elbow", "wrist", "knee", "ankle")
)


@dataclass(frozen=True)
class Track:
    """A person's joints over time, steady and smooth.

    Attributes:
        xy: (T, 33, 2) float64 in the order of schema.JOINTS, pixels, x right and y down; NaN for joints that
            were never seen.
        seen: (T, 33) bool, False there and in long gaps.
    """

    xy: Array
    seen: NDArray[np.bool_]


def steady_track(pose: NDArray[np.float32], fps: float, out_fps: float, min_score: float) -> Track:
    """A track as it can be re-animated.

    Args:
        pose: (T, 33, 3) float32, joints as in schema.JOINTS: x, y in pixels, score 0..1.
        fps: its frames a second.
        out_fps: frames a second wanted.
        min_score: joints below it, and those of score 0, count as not seen.

    Raises:
        RefusedError: no person, no trunk, or no limb.
    """
    known = (pose[..., 2] >= min_score) & (pose[..., 2] > 0) & np.isfinite(pose[..., :2]).all(axis=-1)
    _refuse_too_few_joints(known)
    moments = np.arange(len(pose)) / fps
    times = np.arange(max(1, round(len(pose) * out_fps / fps))) / out_fps
    nearest = np.clip(np.rint(times * fps).astype(int), 0, len(pose) - 1)
    xy = np.full((len(times), len(JOINTS), 2), np.nan)
    seen = np.zeros(xy.shape[:2], bool)
    for joint in np.flatnonzero(known.any(axis=0)):
        at = moments[known[:, joint]]
        whole = np.column_stack(
            [np.interp(moments, at, pose[known[:, joint], joint, axis]) for axis in (0, 1)]
        )
        smooth = _smoothed(_without_outliers(whole, fps), fps)
        xy[:, joint] = np.column_stack([np.interp(times, moments, column) for column in smooth.T])
        seen[:, joint] = _near(at, moments, fps)[nearest]
    return Track(xy, seen)


def _refuse_too_few_joints(known: NDArray[np.bool_]) -> None:
    if not known.any():
        raise RefusedError(
            f"a track must show a person. Received: {len(known)} frames without a joint. "
            "Choose another recording"
        )
    if not known[:, TORSO_JOINTS].all(axis=1).any():
        raise RefusedError(
            "a track must show both shoulders and both hips in one frame at least. "
            f"Received: none in {len(known)} frames. Choose a recording of the whole body"
        )
    if not known[:, _LIMB_JOINTS].any():
        raise RefusedError(
            "a track must show an elbow, wrist, knee or ankle. "
            f"Received: none in {len(known)} frames. Choose a recording of the whole body"
        )


def _near(at: Array, moments: Array, fps: float) -> NDArray[np.bool_]:
    """(T,) whether a joint last and next seen at the moments `at` is there, or in a gap that is short."""
    after = np.searchsorted(at, moments)
    before = np.searchsorted(at, moments, side="right") - 1
    start = np.where(before < 0, -np.inf, at[before])
    end = np.where(after == len(at), np.inf, at[np.minimum(after, len(at) - 1)])
    # At an end of the recording half a gap may be held.
    start = np.where(np.isinf(start), 2 * moments[0] - end, start)
    end = np.where(np.isinf(end), 2 * moments[-1] - start, end)
    # Two neighbouring frames lie 1 / fps apart without a gap.
    gap: NDArray[np.bool_] = end - start - 1 / fps <= GAP_SECONDS
    return gap


def _odd_window(seconds: float, fps: float, frames: int) -> int:
    """The odd number of frames nearest to a window's length, within the track's."""
    half = min(round((seconds * fps - 1) / 2), (frames - 1) // 2)
    return 2 * max(half, 0) + 1


def _windows(values: Array, window: int, turned: Literal["even", "odd"]) -> Array:
    """(T, 2) -> (T, 2, window) about each frame; beyond an end it comes back, or goes on turned."""
    half = window // 2
    padded = np.pad(values, ((half, half), (0, 0)), mode="reflect", reflect_type=turned)
    return sliding_window_view(padded, window, axis=0)


def _without_outliers(values: Array, fps: float) -> Array:
    """Places far from the median of those about them are replaced by it (Hampel's filter)."""
    # Coming back: an end that is misread must not be the middle of what follows it.
    windows = _windows(values, _odd_window(SMOOTHING_SECONDS, fps, len(values)), "even")
    median = np.median(windows, axis=-1)
    usual = np.median(np.linalg.norm(windows - median[..., None], axis=1), axis=-1)
    far = np.linalg.norm(values - median, axis=1) > OUTLIER * usual
    return np.where(far[:, None], median, values)


def _smoothed(values: Array, fps: float) -> Array:
    """Parabolas fitted about each frame (Savitzky and Golay, 1964)."""
    window = _odd_window(SMOOTHING_SECONDS, fps, len(values))
    offsets = np.arange(window) - window // 2
    powers = np.vander(offsets.astype(np.float64), min(3, window), increasing=True)
    weights = np.linalg.pinv(powers)[0]
    return _windows(values, window, "odd") @ weights
