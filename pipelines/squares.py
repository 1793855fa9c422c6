"""Turned squares in a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Square:
    """A square that holds a body upright.

    `center_x`, `center_y`: its centre, pixels of the frame. `angle_degrees`: the body's direction from head
    to feet, measured from straight down towards the frame's left (0 when the head is up, 90 when the feet
    point left). `side_px`: its side in pixels of the frame.
    """

    center_x: float
    center_y: float
    angle_degrees: float
    side_px: float

    def matrix(self, size: int) -> np.ndarray:
        """(2, 3) float64: a point of the frame -> a point of the upright picture of `size` pixels a side."""
        scale = size / self.side_px
        angle = math.radians(self.angle_degrees)
        # Turn by minus the angle, so that head to feet points straight down.
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        linear = np.array([[cos, sin], [-sin, cos]])
        offset = size / 2 - linear @ np.array([self.center_x, self.center_y])
        return np.hstack([linear, offset[:, None]])

    def pixel_matrix(self, size: int) -> np.ndarray:
        """`matrix` for `cv2.warpAffine`, which counts from pixel centres; points count from pixel corners."""
        matrix = self.matrix(size)
        matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
        return matrix

    def points(self, points: np.ndarray, size: int) -> np.ndarray:
        """`points` (..., 2 or more), x and y first, in pixels of the frame -> of the upright picture."""
        matrix = self.matrix(size)
        out = points.copy()
        out[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
        return out

    def points_in_frame(self, points: np.ndarray, size: int) -> np.ndarray:
        """The inverse of `points`."""
        matrix = self.matrix(size)
        out = points.copy()
        out[..., :2] = (points[..., :2] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        return out

    def is_like(self, other: Square) -> bool:
        """Whether a body would be read alike in both."""
        small, large = sorted((self.side_px, other.side_px))
        apart = math.hypot(self.center_x - other.center_x, self.center_y - other.center_y)
        turned = abs((self.angle_degrees - other.angle_degrees + 180) % 360 - 180)
        return apart < 0.1 * small and large < 1.2 * small and turned < 15
