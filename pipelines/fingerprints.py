"""Fingerprints of how a body moves in a video, by which copies of one recording find each other.

Pictures of two infants on one sheet look alike, so a perceptual hash of frames would take them for copies.
What is hashed here is change: each half second of the upright, cut-out body less the half second before, as
the signs of its lowest frequencies. The place, the light and the camera's scale and shake are gone by then,
and what is left is as good as never the same in two recordings.
"""

from __future__ import annotations

import base64

import cv2
import numpy as np

STEP_SECONDS = 0.5
MOST_STEPS = 2400
"""Of longer videos the first 20 minutes count."""

SIDE_PX = 32
FREQUENCIES = 8
MIN_CHANGE = 1.0
"""Grey levels, standard deviation over the picture; less is the noise of a camera and of the mask's edge."""

MIN_COMMON_STEPS = 8
"""Steps with movement that two videos must share to be compared: 4 s."""

SAME_FROM = 0.5
"""Agreement from which on two videos are one recording; see tests/long/test_fingerprint_figures.py."""

_BITS = FREQUENCIES**2
_MIRRORED = np.where(np.arange(_BITS) % FREQUENCIES % 2, -1, 1).astype(np.float32)


class Fingerprint:
    """Collects a video's fingerprint while its frames go by; holds two small pictures and one word a step."""

    def __init__(self, fps: float) -> None:
        """`fps`: frames a second of the sampling grid."""
        self._frames_in_step = max(1, round(fps * STEP_SECONDS))
        self._step, self._count = 0, 0
        self._sum = np.zeros((SIDE_PX, SIDE_PX), np.float32)
        self._before: np.ndarray | None = None
        self._words = bytearray()

    def add(self, index: int, rgb: np.ndarray, mask: np.ndarray) -> None:
        """The next frame in which a body was found.

        Args:
            index: its place on the sampling grid.
            rgb: (S, S, 3) uint8, upright body.
            mask: (S, S) uint8, 255 on the body.
        """
        step = index // self._frames_in_step
        while self._step < step and not self._full:
            self._end_step()
        if self._full:
            return
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        grey[mask < 128] = 0
        self._sum += cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        self._count += 1

    def text(self) -> str:
        """What `read_fingerprint` reads: base64 of 8 bytes a step, all zero where nothing moved."""
        if self._count:
            self._end_step()
        return base64.b64encode(bytes(self._words)).decode("ascii")

    @property
    def _full(self) -> bool:
        return self._step >= MOST_STEPS

    def _end_step(self) -> None:
        # Few frames stand for another time than the whole step's.
        enough = 2 * self._count > self._frames_in_step
        mean = self._sum / self._count if enough else None
        change = None if mean is None or self._before is None else mean - self._before
        self._words += _word(change)
        self._before = mean
        self._sum = np.zeros_like(self._sum)
        self._count = 0
        self._step += 1


def _word(change: np.ndarray | None) -> bytes:
    """Signs of the lowest frequencies of (32, 32) float32, and a first bit that says that there is one."""
    if change is None or change.std() < MIN_CHANGE:
        return bytes(_BITS // 8)
    positive = cv2.dct(change)[:FREQUENCIES, :FREQUENCIES] > 0
    positive[0, 0] = True  # the mean is the light's; its place holds the first bit
    return np.packbits(positive).tobytes()


def read_fingerprint(text: str) -> np.ndarray:
    """`Fingerprint.text` -> (steps, 64) float32: 1 and -1, all 0 in steps without movement."""
    words = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, _BITS // 8)
    bits = np.unpackbits(words, axis=1).astype(np.float32)
    return (2 * bits - 1) * bits[:, :1]


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """How much of two videos' movement is the same where they agree best, shifted in time or mirrored.

    Each shift that gives them at least MIN_COMMON_STEPS steps with movement in common is tried.

    Args:
        first, second: (steps, 64) float32 of `read_fingerprint`.

    Returns:
        Share of equal bits less the share of unequal ones: 1 for the same video, about 0 for two
        recordings, -1 where they have too few steps in common.
    """
    if min(len(first), len(second)) < MIN_COMMON_STEPS:
        return -1.0
    common = _along_shifts(first[:, :1] @ second[:, :1].T)
    enough = common >= MIN_COMMON_STEPS
    if not enough.any():
        return -1.0
    scores = [_along_shifts(first[:, 1:] @ (second * signs)[:, 1:].T) for signs in (1, _MIRRORED)]
    return float(max((score[enough] / common[enough]).max() for score in scores) / (_BITS - 1))


def _along_shifts(matrix: np.ndarray) -> np.ndarray:
    """(N, M) -> (N + M - 1,) sums along its diagonals."""
    rows, columns = matrix.shape
    # Rows padded by one less than they are many slide one place each when read with a shorter row.
    padded = np.pad(matrix[::-1], ((0, 0), (0, rows)))
    return padded.ravel()[: rows * (rows + columns - 1)].reshape(rows, rows + columns - 1).sum(axis=0)
