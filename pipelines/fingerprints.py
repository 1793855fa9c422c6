"""Fingerprints of how a body moves in a video, by which copies of one recording find each other.

Pictures of two infants on one sheet look alike, so a perceptual hash of frames would take them for copies.
What is hashed here is change: each half second of the upright body less the half second before, where either
has body, as the signs of its lowest frequencies, as in pHash. A place that stands still, the light and the
camera's scale are gone by then, and what is left is as good as never the same in two recordings. Only frames
that clips use are seen: with gaps between clips, copies cut elsewhere may be missed.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np

STEP_SECONDS = 1 / 3
WINDOW_SECONDS = 0.5
"""A step compares the mean pictures of two windows that follow each other."""

MOST_STEPS = 3600
"""Of longer videos the first 20 minutes count."""

SIDE_PX = 32
FREQUENCIES = 8
MIN_CHANGE = 1.0
"""Grey levels, standard deviation over the picture; less is the noise of a camera."""

MIN_COMMON_STEPS = 12
"""Steps with movement that two videos must share to be compared: 4 s."""

SAME_FROM = 0.45
"""Agreement from which on two videos are one recording.

Half way between what 2,628 pairs of different recordings reached at most, 0.29, and what 64 copies reached at
least, 0.59; tests/long/test_fingerprint_figures.py measures such figures anew.
"""

BITS = FREQUENCIES**2
_ODD = np.flatnonzero(np.arange(BITS) % FREQUENCIES % 2 == 1)
_EVEN = np.setdiff1d(np.arange(1, BITS), _ODD)
_MOVES = np.array([0])
"""Where a word says that there is one."""

_VIDEOS_AT_ONCE = 32


def thumbnail(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 upright frame with its place, (S, S) uint8 mask -> (32, 32, 2) uint8, grey and mask."""
    both = cv2.merge([cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), mask])
    return cv2.resize(both, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


class Fingerprint:
    """Collects a video's fingerprint while its frames go by; holds a second of small pictures."""

    def __init__(self, fps: float) -> None:
        """`fps`: frames a second of the sampling grid."""
        self._frames_in_step = max(1, round(fps * STEP_SECONDS))
        self._frames_in_window = max(1, round(fps * WINDOW_SECONDS))
        self._recent: deque[np.ndarray | None] = deque(maxlen=2 * self._frames_in_window)
        self._frames = 0
        self._words = bytearray()

    def add(self, index: int, thumbnail: np.ndarray) -> None:
        """The next frame in which a body was found.

        Args:
            index: its place on the sampling grid; frames that are never given break the windows they are in.
            thumbnail: what the function of this name gives.
        """
        most = MOST_STEPS * self._frames_in_step
        while self._frames < min(index, most):
            self._push(None)
        if self._frames < most:
            self._push(thumbnail)

    def text(self) -> str:
        """What `read_fingerprint` reads: base64 of 8 bytes a step, all zero where nothing moved."""
        return base64.b64encode(bytes(self._words)).decode("ascii")

    def _push(self, picture: np.ndarray | None) -> None:
        self._recent.append(picture)
        self._frames += 1
        if self._frames % self._frames_in_step:
            return
        seen = [one for one in self._recent if one is not None]
        if len(seen) < 2 * self._frames_in_window:
            self._words += bytes(BITS // 8)
            return
        grey, mask = np.moveaxis(np.stack(seen).astype(np.float32), -1, 0)
        before, now = np.split(grey, 2)
        # The edge of a mask trembles, the still picture beneath it does not: so it weighs the change and is
        # not part of it.
        weight = cv2.GaussianBlur(mask.max(axis=0) / 255, (0, 0), 1)
        self._words += _word((now.mean(axis=0) - before.mean(axis=0)) * weight)


def _word(change: np.ndarray) -> bytes:
    """Signs of the lowest frequencies of (32, 32) float32, and a first bit that says that there is one."""
    if change.std() < MIN_CHANGE:
        return bytes(BITS // 8)
    positive = cv2.dct(change)[:FREQUENCIES, :FREQUENCIES] > 0
    positive[0, 0] = True  # the mean is the light's; its place holds the first bit
    return np.packbits(positive).tobytes()


def read_fingerprint(text: str) -> np.ndarray:
    """`Fingerprint.text` -> (steps, 64) float32: 1 and -1, all 0 in steps without movement."""
    words = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, BITS // 8)
    bits = np.unpackbits(words, axis=1).astype(np.float32)
    return (2 * bits - 1) * bits[:, :1]


def agreements(signs: Sequence[np.ndarray]) -> np.ndarray:
    """How much of each two videos' movement is the same where they agree best, shifted in time or mirrored.

    Each shift that gives them at least MIN_COMMON_STEPS steps with movement in common is tried; all shifts of
    many pairs are computed at once, as cross-correlations through the Fourier transform.

    Args:
        signs: of V videos, each (steps, 64) float32 of `read_fingerprint`.

    Returns:
        (V, V) float32, symmetric: share of equal bits less the share of unequal ones: 1 for the same video,
        about 0 for two recordings, -1 where they have too few steps in common.
    """
    # Videos of one length together, so that little is padded.
    order = np.argsort([len(one) for one in signs], kind="stable")
    blocks = [order[start : start + _VIDEOS_AT_ONCE] for start in range(0, len(order), _VIDEOS_AT_ONCE)]
    found = np.full((len(signs), len(signs)), -1, np.float32)
    for number, rows in enumerate(blocks):
        for columns in blocks[: number + 1]:
            shifts = max(2, len(signs[rows[-1]]) + len(signs[columns[-1]]) - 1)
            length = 1 << (shifts - 1).bit_length()
            best = _best_of_all_shifts(
                *(_spectra([signs[i] for i in part], length) for part in (rows, columns))
            )
            found[np.ix_(rows, columns)] = best
            found[np.ix_(columns, rows)] = best.T
    return found


def read_words(text: str) -> np.ndarray:
    """`Fingerprint.text` -> (steps,) uint64, the bits of each step; 0 in steps without movement."""
    return np.frombuffer(base64.b64decode(text), np.uint64)


def word_of(places: np.ndarray) -> np.uint64:
    """The word whose bits at `places`, of BITS in the order of `read_fingerprint`, are set, and no other."""
    return np.packbits(np.isin(np.arange(BITS), places)).view(np.uint64)[0]


MOVES = word_of(_MOVES)
TURNED_BY_A_MIRROR = word_of(_ODD)


def agreement_at(first: np.ndarray, second: np.ndarray, shift: int) -> float:
    """As `agreements`, of two videos' words where step `shift` of the first is the second's step 0."""
    begin, end = max(0, shift), min(len(first), shift + len(second))
    if begin >= end:
        return -1.0
    one, other = first[begin:end], second[begin - shift : end - shift]
    unequal = (one ^ other)[(one & other & MOVES) > 0]
    if len(unequal) < MIN_COMMON_STEPS:
        return -1.0
    every = int(np.bitwise_count(unequal).sum())
    odd = int(np.bitwise_count(unequal & TURNED_BY_A_MIRROR).sum())
    equal_less_unequal = len(unequal) * len(_EVEN) - 2 * (every - odd)
    in_a_mirror_or_not = abs(len(unequal) * len(_ODD) - 2 * odd)
    return (equal_less_unequal + in_a_mirror_or_not) / len(unequal) / (BITS - 1)


def _spectra(signs: Sequence[np.ndarray], length: int) -> np.ndarray:
    """N videos' (steps, 64) -> (length // 2 + 1, N, 64) complex64."""
    padded = np.zeros((length, len(signs), BITS), np.float32)
    for number, one in enumerate(signs):
        padded[: len(one), number] = one
    return np.fft.rfft(padded, axis=0)


def _best_of_all_shifts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two blocks' spectra, N and M videos -> (N, M) float32 of `agreements`."""
    conjugate = second.conj().transpose(0, 2, 1)

    def sums(channels: np.ndarray) -> np.ndarray:
        """(length, N, M), at each shift the sum over the common steps; of signs, so whole numbers."""
        return np.rint(np.fft.irfft(first[..., channels] @ conjugate[:, channels], axis=0))

    common, even, odd = (sums(channels) for channels in (_MOVES, _EVEN, _ODD))
    # A mirror turns the sign of every frequency that is odd from left to right.
    share = (even + np.abs(odd)) / np.maximum(common, 1) / (BITS - 1)
    return np.where(common >= MIN_COMMON_STEPS, share, -1).max(axis=0)
