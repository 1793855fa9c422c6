"""What MediaPipe's single-shot detectors share: running them, their cells, and boxes that repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.optional import load

SAME_BOX = 0.3
"""Boxes that overlap more (IoU) tell of the same thing."""


class Network:
    """A TFLite file with one square picture as its input, run by LiteRT."""

    def __init__(self, content: bytes, threads: int) -> None:
        """Loads the file's `content`.

        Raises:
            ValueError: it is no TFLite file.
        """
        runtime = load("ai_edge_litert.interpreter", "runtime")
        self._interpreter: Any = runtime.Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        (given,) = self._interpreter.get_input_details()
        self._input = given["index"]
        self._outputs = [one["index"] for one in self._interpreter.get_output_details()]
        self.size = int(given["shape"][1])

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        """Outputs for `picture` (size, size, 3) float32, without the batch axis."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]


def anchors(cells: Sequence[tuple[int, int]]) -> np.ndarray:
    """(N, 2) float64: middles of a detector's cells, as shares of its picture.

    `cells`: for each of its maps the cells a side, and how many things each cell may tell of.
    """
    middles = []
    for side, times in cells:
        y, x = (np.mgrid[:side, :side] + 0.5) / side
        middles.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), times, axis=0))
    return np.concatenate(middles)


def detections(
    outputs: Sequence[np.ndarray], anchor_points: np.ndarray, size: int, min_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """A detector's answers that score at least `min_score`, best first.

    Returns:
        (N,) scores 0..1, and (N, K, 2) float64: centre of the box, its size, then points; all as shares of
        the picture.
    """
    logits, boxes = sorted(outputs, key=lambda one: one.shape[-1])
    scores = sigmoid(logits[:, 0])
    likely = np.flatnonzero(scores >= min_score)
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    values = boxes[likely].reshape(len(likely), boxes.shape[-1] // 2, 2).astype(np.float64) / size
    is_place = np.arange(values.shape[1]) != 1
    values[:, is_place] += anchor_points[likely, None]
    return scores[likely], values


def groups(centers: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of boxes that tell of the same thing; boxes come best first, each is in one group."""
    left = np.arange(len(centers))
    while len(left):
        low = np.maximum(centers[left] - sizes[left] / 2, centers[left[0]] - sizes[left[0]] / 2)
        high = np.minimum(centers[left] + sizes[left] / 2, centers[left[0]] + sizes[left[0]] / 2)
        shared = np.clip(high - low, 0, None).prod(axis=1)
        union = sizes[left].prod(axis=1) + sizes[left[0]].prod() - shared
        same = shared > SAME_BOX * union
        same[0] = True
        yield left[same]
        left = left[~same]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Logits -> float32 0..1."""
    return (1 / (1 + np.exp(-np.clip(values, -50, 50)))).astype(np.float32)
