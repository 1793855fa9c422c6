"""MediaPipe's two pose networks: where people are in a frame, and one person's joints with their mask."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from pipelines.detectors import Network, anchors, detections, groups, sigmoid
from pipelines.schema import JOINTS, TORSO_JOINTS, RefusedError
from pipelines.squares import Square

# Cells a side of the detector's maps, with the people that each cell may tell of (Bazarevsky et al., 2020).
DETECTOR_CELLS = ((28, 2), (14, 2), (7, 6))
MARGIN = 1.25
"""Side of the square that a person is read in, in lengths of the circle around the body."""
MIN_TORSO_SCORE = 0.5
"""Below this mean score of shoulders and hips, what was found is not taken for a body."""
FILES = ("pose_detector.tflite", "pose_landmarks_detector.tflite")
POINTS = len(JOINTS) + 6
"""The second network's points: the joints, then six more, of which the first two span the square."""


HEAT_KERNEL, MIN_HEAT = 7, 0.5
"""Cells around a point whose heat corrects it, if one is at least so certain; MediaPipe's values."""


@dataclass(frozen=True)
class Detection:
    """A person somewhere in a frame: `score` 0..1, and the `square` to read them in."""

    score: float
    square: Square


@dataclass(frozen=True)
class Person:
    """One person, read in a square of the frame.

    `score`: that there is a person, 0..1. `joints`: (33, 3) float32, x and y in pixels of the frame,
    visibility 0..1. `presence`: (33,) float32, that the joint lies inside the picture, 0..1. `mask`: (S, S)
    float32, that a pixel of the upright picture is the person's, 0..1. `square`: what was read.
    `next_square`: where to read them in the next frame, on the grid of squares.
    """

    score: float
    joints: np.ndarray
    presence: np.ndarray
    mask: np.ndarray
    square: Square
    next_square: Square

    @property
    def torso_score(self) -> float:
        """Mean score of shoulders and hips, 0..1."""
        return float(self.joints[list(TORSO_JOINTS), 2].mean())

    def mask_in_frame(self, height: int, width: int) -> np.ndarray:
        """`mask` as (height, width) float32 of the frame."""
        return mask_in_frame(self.mask, self.square, height, width)


class PoseNetworks:
    """Both networks of a MediaPipe `.task` file, run by LiteRT."""

    def __init__(self, model: Path, threads: int = 1, careful: Path | None = None) -> None:
        """Loads the networks. `careful`: a larger reader for `read_carefully`; by default it is the same one.

        Raises:
            RefusedError: a file does not hold them.
        """
        try:
            with zipfile.ZipFile(model) as bundle:
                files = [
                    bundle.read(f"{name}.tflite") for name in ("pose_detector", "pose_landmarks_detector")
                ]
            self._detector, self._reader = (Network(content, threads) for content in files)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise RefusedError(
                f"pose.model must hold {' and '.join(FILES)}. Received: {model.name} ({error})"
            ) from error
        self._careful = self._reader
        if careful is not None:
            try:
                self._careful = Network(careful.read_bytes(), threads)
            except (OSError, ValueError) as error:
                raise RefusedError(
                    f"the careful pose network must be a TFLite file. Received: {careful.name} ({error})"
                ) from error
        self._anchors = anchors(DETECTOR_CELLS)

    def detect(self, frame: np.ndarray, quarter_turns: int, min_score: float) -> list[Detection]:
        """People in `frame` (H, W, 3) uint8 RGB, which is turned by so many quarters for it; best first.

        The network expects heads up, more or less.
        """
        height, width = frame.shape[:2]
        whole = Square(width / 2, height / 2, 90.0 * quarter_turns, float(max(height, width)))
        size = self._detector.size
        picture = whole.cut(frame, size)
        outputs = self._detector.run(picture / np.float32(127.5) - np.float32(1))
        # Centre and size of the face's box, then four points: hips, top of the circle, and two more.
        scores, values = detections(outputs, self._anchors, size, min_score)
        people = []
        for group in groups(values[:, 0], values[:, 1]):
            weights = scores[group]
            points = np.average(values[group, 2:4], axis=0, weights=weights) * size
            hips, top = whole.points_in_frame(points, size)
            people.append(Detection(float(weights[0]), _square(hips, top)))
        return people

    def detect_all(self, frame: np.ndarray, min_score: float) -> list[Detection]:
        """People in `frame` (H, W, 3) uint8 RGB whatever their direction, some of them twice; best first.

        Their squares are on the grid of squares.
        """
        found = [one for turns in range(4) for one in self.detect(frame, turns, min_score)]
        on_grid = [replace(one, square=one.square.on_grid()) for one in found]
        return sorted(on_grid, key=lambda one: -one.score)

    def read(self, frame: np.ndarray, square: Square) -> Person:
        """The person in a square of `frame` (H, W, 3) uint8 RGB."""
        return _read(self._reader, frame, square)

    def read_carefully(self, frame: np.ndarray, square: Square) -> Person:
        """As `read`, by the larger network: three times as slow."""
        return _read(self._careful, frame, square)

    def mirrored_mask(self, frame: np.ndarray, square: Square) -> np.ndarray:
        """(H, W) float32: the mask of `frame` (H, W, 3) uint8 RGB, read carefully in a mirror, 0..1.

        The network answers a mirrored picture a little differently: the mean of both is better than either.
        """
        size = self._careful.size
        picture = np.ascontiguousarray(square.cut(frame, size)[:, ::-1])
        outputs = {one.shape: one for one in self._careful.run(picture / np.float32(255))}
        mask = np.ascontiguousarray(sigmoid(outputs[size, size, 1][:, ::-1, 0]))
        return mask_in_frame(mask, square, *frame.shape[:2])


def _read(network: Network, frame: np.ndarray, square: Square) -> Person:
    size = network.size
    picture = square.cut(frame, size)
    outputs = {one.shape: one for one in network.run(picture / np.float32(255))}
    points, mask = outputs[5 * POINTS,].reshape(POINTS, 5), outputs[size, size, 1]
    (heat,) = (one for shape, one in outputs.items() if shape[2:] == (POINTS,))
    placed = square.points_in_frame(refined(points[:, :2], heat, size), size)
    joints = np.hstack([placed[: len(JOINTS)], sigmoid(points[: len(JOINTS), 3:4])]).astype(np.float32)
    return Person(
        score=float(outputs[1,][0]),
        joints=joints,
        presence=sigmoid(points[: len(JOINTS), 4]),
        mask=sigmoid(mask[..., 0]),
        square=square,
        next_square=_square(placed[len(JOINTS)], placed[len(JOINTS) + 1]).on_grid(),
    )


def mask_in_frame(mask: np.ndarray, square: Square, height: int, width: int) -> np.ndarray:
    """The upright `mask` (S, S) float32 of a square as (height, width) float32 of the frame."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mask, square.pixel_matrix(len(mask)), (width, height), flags=flags)


def refined(points: np.ndarray, heat: np.ndarray, size: int) -> np.ndarray:
    """Points moved to the middle of the heat around them, where there is some.

    Args:
        points: (N, 2) pixels of a picture of `size` a side, x then y.
        heat: (cells, cells, N) logits of each point's place.

    Returns:
        (N, 2) float64 pixels.
    """
    cells, reach = len(heat), HEAT_KERNEL // 2
    places = (points * (cells / size)).astype(int)
    numbers = np.flatnonzero(((places >= 0) & (places < cells)).all(axis=1))
    steps = np.arange(-reach, reach + 1)
    x, y = (places[numbers, axis, None] + steps for axis in (0, 1))
    inside = ((y >= 0) & (y < cells))[:, :, None] & ((x >= 0) & (x < cells))[:, None, :]
    at = np.clip(y, 0, cells - 1)[:, :, None], np.clip(x, 0, cells - 1)[:, None, :], numbers[:, None, None]
    windows = np.where(inside, sigmoid(heat[at]), 0).astype(np.float64)
    sure = windows.max(axis=(1, 2), initial=0) >= MIN_HEAT
    numbers, windows = numbers[sure], windows[sure]
    moved = np.stack([windows.sum(axis=1) @ steps, windows.sum(axis=2) @ steps], axis=1)
    out = points.astype(np.float64)
    moved /= windows.sum(axis=(1, 2))[:, None]
    out[numbers] = (places[numbers] + moved) * (size / cells)
    return out


def _square(hips: np.ndarray, top: np.ndarray) -> Square:
    """The square around a circle given by its centre and its point over the head."""
    x, y = top - hips
    radius = max(1.0, math.hypot(x, y))
    return Square(float(hips[0]), float(hips[1]), math.degrees(math.atan2(x, -y)), 2 * MARGIN * radius)
