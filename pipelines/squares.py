"""Turned squares in a frame."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np

SIDES_PER_DOUBLING, CENTERS_PER_SIDE, GRID_DEGREES = 64, 256, 0.5
"""Steps of `Square.on_grid`: of sides, of centres, of angles."""

_PART_BITS, _PLACE_BITS = 5, 10
"""Of a place between pixels: as OpenCV's table of weights takes it, and as it is computed."""


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

    def on_grid(self) -> Self:
        """The nearest of the squares whose numbers are a hundredth apart.

        Squares that rounding on another machine moved by a thousandth of a pixel become the same one.
        """
        side = 2 ** (round(SIDES_PER_DOUBLING * math.log2(self.side_px)) / SIDES_PER_DOUBLING)
        step = side / CENTERS_PER_SIDE
        return replace(
            self,
            center_x=round(self.center_x / step) * step,
            center_y=round(self.center_y / step) * step,
            angle_degrees=round(self.angle_degrees / GRID_DEGREES) * GRID_DEGREES,
            side_px=side,
        )

    def cut(self, frame: np.ndarray, size: int) -> np.ndarray:
        """The square of `frame` (H, W[, C]) uint8, upright, as (size, size[, C]) uint8; 0 outside the frame.

        Linear between pixels, in whole numbers: the same bytes on every machine, which `cv2.warpAffine`, in
        float32 and with whatever instructions there are, does not give.
        """
        pixels, parts = _places(self, size)
        return cv2.remap(frame, pixels, parts, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

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


@functools.lru_cache(maxsize=8)
def _places(square: Square, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in the frame the upright picture's pixels lie, as `cv2.remap` takes it.

    Returns:
        (size, size, 2) int16 pixels, x then y, and (size, size) uint16 places in the table of weights.
    """
    scale, angle = square.side_px / size, math.radians(square.angle_degrees)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    from_center = np.arange(size) + 0.5 - size / 2
    # Places are a column's share plus a row's, each rounded; pixels are counted from their centres.
    shares = (
        (cos * from_center, square.center_x - 0.5 - sin * from_center),
        (sin * from_center, square.center_y - 0.5 + cos * from_center),
    )
    most, half = 1 << 29, 1 << (_PLACE_BITS - _PART_BITS - 1)
    places = []
    for pair in shares:
        whole = (np.clip(np.rint(one * (1 << _PLACE_BITS)), -most, most) for one in pair)
        column, row = (one.astype(np.int32) for one in whole)
        places.append((column[None] + row[:, None] + half) >> (_PLACE_BITS - _PART_BITS))
    limits = np.iinfo(np.int16)
    pixels = np.stack([np.clip(one >> _PART_BITS, limits.min, limits.max) for one in places], axis=-1)
    last = (1 << _PART_BITS) - 1
    parts = ((places[1] & last) << _PART_BITS) + (places[0] & last)
    return pixels.astype(np.int16), parts.astype(np.uint16)
