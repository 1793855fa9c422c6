"""MediaPipe's palm detector: where hands are in a square of a frame."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.detectors import Network, anchors, detections, groups
from pipelines.schema import RefusedError
from pipelines.squares import Square

FILE = "palm_detector.tflite"
# Cells a side of the detector's maps, with the palms that each cell may tell of (Zhang et al., 2020).
DETECTOR_CELLS = ((24, 2), (12, 6))
WRIST, MIDDLE_KNUCKLE = 0, 2
"""Of the detector's seven points of a palm."""


@dataclass(frozen=True)
class Palm:
    """A palm in a frame.

    `score` 0..1. `center`, `wrist`, `knuckle` (the middle finger's first): (2,) float64, pixels of the frame.
    `side_px`: side of the box around the palm.
    """

    score: float
    center: np.ndarray
    wrist: np.ndarray
    knuckle: np.ndarray
    side_px: float


class PalmNetwork:
    """The palm detector of a `.task` file, run by LiteRT."""

    def __init__(self, content: bytes, threads: int = 1) -> None:
        """Loads the network from the file's `content`."""
        self._detector = Network(content, threads)
        self._anchors = anchors(DETECTOR_CELLS)

    def detect(self, frame: np.ndarray, square: Square, min_score: float) -> list[Palm]:
        """Palms in a square of `frame` (H, W, 3) uint8 RGB, whatever their direction; best first."""
        size = self._detector.size
        picture = square.cut(frame, size)
        outputs = self._detector.run(picture / np.float32(255))
        scores, values = detections(outputs, self._anchors, size, min_score)
        palms = []
        for group in groups(values[:, 0], values[:, 1]):
            box = np.average(values[group], axis=0, weights=scores[group])
            points = square.points_in_frame(box * size, size)
            palms.append(
                Palm(
                    score=float(scores[group[0]]),
                    center=points[0],
                    wrist=points[2 + WRIST],
                    knuckle=points[2 + MIDDLE_KNUCKLE],
                    side_px=float(box[1].max() * square.side_px),
                )
            )
        return palms


def palm_network(model: Path, threads: int = 1) -> PalmNetwork | None:
    """The palm detector of a `.task` file; None if the file holds none, as MediaPipe's own of poses do.

    Raises:
        RefusedError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(model) as bundle:
            if FILE not in bundle.namelist():
                return None
            return PalmNetwork(bundle.read(FILE), threads)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RefusedError(
            f"pose.model must be a MediaPipe .task file. Received: {model.name} ({error})"
        ) from error
