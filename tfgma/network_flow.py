"""Flow by a network on RGB frames, whichever library runs it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two frames (1, S', S', 3) float32 -1..1 -> (1, S', S', 2) float32 pixels."""


class NetworkFlow:
    """Flow of frames of `size` px, by a network that takes frames of `side` px."""

    def __init__(self, size: int, side: int, answer: Answer) -> None:
        """Remembers the network; frames get a border to `side`, which the flow is cut from."""
        self._size, self._border, self._answer = size, side - size, answer

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8 RGB -> (1, S', S', 3) float32 -1..1."""
        border = self._border
        wide = cv2.copyMakeBorder(frame, 0, border, 0, border, cv2.BORDER_REPLICATE) if border else frame
        return (wide.astype(np.float32) / 127.5 - 1)[None]

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Two prepared frames -> (S, S, 2) float32, x then y, pixels, positive right and down."""
        return np.ascontiguousarray(self._answer(first, second)[0, : self._size, : self._size])
