"""One rigid transform a video that sets the body upright in the middle of a square."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipelines.schema import TORSO_JOINTS, RefusedError
from pipelines.squares import Square

MIN_JOINT_SCORE = 0.5
MIN_TORSO_PX = 8.0
"""Torsos shorter than this are a misread pose, or too small to show movement."""
MIN_STEADINESS = 0.5
"""Mean resultant length of the torso's directions, 1 when all agree, 0 when they cancel out."""


@dataclass(frozen=True)
class Alignment(Square):
    """Where the upright square lies in the frame, and the `size` of the aligned frame, pixels a side."""

    size: int

    def warp(self, image: np.ndarray) -> np.ndarray:
        """`image` (H, W[, C]) uint8 -> (size, size[, C]) uint8; outside the frame is 0."""
        return self.cut(image, self.size)

    def aligned(self, points: np.ndarray) -> np.ndarray:
        """`points` (..., 2 or more), x and y first, in pixels of the frame -> of the aligned frame."""
        return self.points(points, self.size)


def circular_mean_degrees(angles: np.ndarray) -> float:
    """Mean direction of `angles` (N,) in degrees, without regard to where the circle is cut."""
    radians = np.radians(angles)
    return math.degrees(math.atan2(np.sin(radians).mean(), np.cos(radians).mean()))


def estimate_alignment(poses: np.ndarray, size: int, side_in_torsos: float = 3 / 0.8) -> Alignment:
    """The robust transform of a video from sampled poses.

    Each pose with all four torso joints gives a centre, a torso length and an angle; sorted by length, the
    middle half is averaged (Hashimoto et al., MICCAI 2022), angles on the circle.

    Args:
        poses: (N, 33, 3) float, x and y in pixels of the frame, score 0..1.
        size: side of the aligned frame, pixels.
        side_in_torsos: side of the square in torso lengths.

    Raises:
        RefusedError: no pose has all four torso joints, or the torso's direction is not steady.
    """
    torsos = poses.reshape(-1, poses.shape[-2], 3)[:, list(TORSO_JOINTS)]
    torsos = torsos[(torsos[..., 2] >= MIN_JOINT_SCORE).all(axis=1)][..., :2].astype(np.float64)
    neck, crotch = torsos[:, :2].mean(axis=1), torsos[:, 2:].mean(axis=1)
    spine = crotch - neck
    length = np.hypot(spine[:, 0], spine[:, 1])
    usable = length >= MIN_TORSO_PX
    if not usable.any():
        raise RefusedError(
            "a video must show both shoulders and both hips in at least one sampled frame. "
            f"Received: {len(poses)} frames with a body, none of them with all four at a torso length of "
            f"{MIN_TORSO_PX:g} px or more. Film the whole body from above"
        )
    torsos, spine, length = torsos[usable], spine[usable], length[usable]
    order = np.argsort(length, kind="stable")
    quarter = len(order) // 4
    middle = order[quarter : len(order) - quarter]
    angles = np.degrees(np.arctan2(-spine[middle, 0], spine[middle, 1]))
    steadiness = float(np.abs(np.exp(1j * np.radians(angles)).mean()))
    if steadiness < MIN_STEADINESS:
        raise RefusedError(
            "a video must show one body that lies in one direction (steadiness of the torso's direction at "
            f"least {MIN_STEADINESS:g}). Received: {steadiness:.2f} over {len(middle)} poses. "
            "Cut the video where the person turns"
        )
    center = torsos[middle].mean(axis=(0, 1))
    return Alignment(
        center_x=float(center[0]),
        center_y=float(center[1]),
        angle_degrees=circular_mean_degrees(angles),
        side_px=float(side_in_torsos * length[middle].mean()),
        size=size,
    )


def middle_square(height: int, width: int, size: int) -> Alignment:
    """The largest square in the middle of the frame, unturned: what an ablation without alignment sees."""
    return Alignment(width / 2, height / 2, 0.0, float(min(height, width)), size)
