"""Movement of the camera between two frames, from what lies outside the body."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

WORKING_SIDE = 320
"""Frames are looked at with this long side, px: enough for hundredths of a working frame's pixel."""

MOST_CORNERS, CORNER_QUALITY, CORNER_DISTANCE = 200, 0.01, 7
FOLLOWED = (15, 15)
"""The surroundings of a corner that are followed, working px."""

UNTIL = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)
"""Steps taken for a corner at most, and the step that is small enough, working px."""

BODY_MARGIN = 0.03
"""Corners keep this far from the body, in long sides: its edge moves with it."""

MOST_RETURN_ERROR = 0.5
"""A corner that does not come back to its place, followed forth and back, is left out; working px."""

MOST_RESIDUAL = 0.7
"""Corners that a movement explains to this, working px, speak for it."""

STILL_PX = 0.1
"""Movements below this are no movement: taking them off would blur the frame for nothing."""

MIN_CORNERS, MIN_AGREEING = 12, 0.4
"""So many corners, and this share of them, must speak for one movement, else it is not known."""


@dataclass(frozen=True)
class View:
    """A frame as `camera_movement` takes it.

    `grey`: (h, w) uint8. `outside`: (h, w) uint8, 255 off the body. `scale`: from the full frame to this.
    """

    grey: np.ndarray
    outside: np.ndarray
    scale: float


def view(frame: np.ndarray, body: np.ndarray | None) -> View:
    """`frame` (H, W, 3) uint8 RGB with the body's mask (H, W) bool, or None where there is none."""
    height, width = frame.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    outside = np.full(grey.shape, 255, np.uint8)
    if body is not None:
        small = cv2.resize(body.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
        margin = round(BODY_MARGIN * max(size))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
        outside[cv2.dilate(small, kernel) > 0] = 0
    return View(grey, outside, scale)


def camera_movement(first: View, second: View) -> np.ndarray | None:
    """The similarity that takes what stands still from its place in the first frame to that in the second.

    Corners of the background are followed (Lucas-Kanade) and the movement that most of them share is taken
    (RANSAC), so that toys and other people do not count.

    Returns:
        (2, 3) float64, pixels of the full frames; None where too little background agrees.
    """
    corners = cv2.goodFeaturesToTrack(
        first.grey, MOST_CORNERS, CORNER_QUALITY, CORNER_DISTANCE, mask=first.outside
    )
    if corners is None or len(corners) < MIN_CORNERS or first.grey.shape != second.grey.shape:
        return None
    follow = dict(winSize=FOLLOWED, criteria=UNTIL)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first.grey, second.grey, corners, None, **follow)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(second.grey, first.grey, moved, None, **follow)
    error = np.abs(back - corners).max(axis=(1, 2))
    kept = (found[:, 0] == 1) & (returned[:, 0] == 1) & (error < MOST_RETURN_ERROR)
    if np.count_nonzero(kept) < MIN_CORNERS:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(
        corners[kept], moved[kept], method=cv2.RANSAC, ransacReprojThreshold=MOST_RESIDUAL
    )
    if matrix is None or agree.sum() < max(MIN_CORNERS, MIN_AGREEING * np.count_nonzero(kept)):
        return None
    # Points here count from pixel centres, those of the project from corners.
    matrix[:, 2] += 0.5 - matrix[:, :2] @ np.array([0.5, 0.5])
    matrix[:, 2] /= first.scale
    return matrix


def shift_px(movement: np.ndarray, height: int, width: int) -> float:
    """How far a movement (2, 3) takes the frame's corners and middle, root mean square, pixels."""
    points = np.array([[0, 0], [width, 0], [0, height], [width, height], [width / 2, height / 2]], float)
    moved = points @ movement[:, :2].T + movement[:, 2]
    return float(np.sqrt(((moved - points) ** 2).sum(axis=1).mean()))


def as_if_still(frame: np.ndarray, movement: np.ndarray) -> np.ndarray:
    """The second frame as a camera that had not moved would have taken it.

    Flow from the first frame to this one is without the camera's movement, also where the background has too
    little texture to show it.

    Args:
        frame: (H, W[, C]) uint8.
        movement: (2, 3) in its pixels, as `camera_movement` gives it.
    """
    height, width = frame.shape[:2]
    matrix = movement.copy()
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(frame, matrix, (width, height), flags=flags)


def in_square(movement: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A movement (2, 3) of a frame's points as one of the points that `matrix` (2, 3) takes them to."""
    whole = [np.vstack([one, [0, 0, 1]]) for one in (movement, matrix)]
    return (whole[1] @ whole[0] @ np.linalg.inv(whole[1]))[:2]
