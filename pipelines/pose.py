"""The body in a frame: its mask and its joints, whatever direction it lies in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipelines.bystanders import Bystanders
from pipelines.palm_network import palm_network
from pipelines.pose_network import MIN_TORSO_SCORE, Person, PoseNetworks
from pipelines.schema import JOINTS, MASK_SCORE, Box
from pipelines.squares import Square

MIN_OVERLAP = 0.3
"""A body found anew must cover the last one to this IoU."""

FORGET_AFTER = 18
"""After so many frames without a body, one may be found anywhere."""

MIN_DETECTION = 0.3
"""People that the detector is surer of than this are read; what is read decides."""

MIN_AGREEMENT = 0.5
"""Readings of a frame whose masks overlap to this IoU are of the same body."""

MIN_IN_BOX = 0.5
"""The body in a given box lies in it to this share."""

MOST_CANDIDATES = 4
"""Readings of one frame that are made at most, before the best are made again with care."""

MOST_CAREFUL = 2
"""Readings that are made again with care."""

STILL_CUTOFF_HZ, SPEED_WEIGHT, SPEED_CUTOFF_HZ = 0.05, 80.0, 1.0
"""MediaPipe's own smoothing of joints in video; speeds in squares a second."""

_FACE = tuple(index for index, name in enumerate(JOINTS) if "eye" in name or "mouth" in name)
_SPREAD_JOINTS = tuple(index for index in range(len(JOINTS)) if index not in _FACE)


@dataclass(frozen=True)
class Body:
    """A body found in a frame.

    `mask`: (H, W) bool, without what others cover. `joints`: (33, 3) float32, x and y in pixels of the frame,
    score 0..1. `presence`: (33,) float32, that the joint lies inside the picture, covered or not, 0..1.
    `certainty`: how sure the network is of the mask, 0..1. `people`, `hands`: others, and their hands near
    the body. `covered`: share of the body that these hide or hold.
    """

    mask: np.ndarray
    joints: np.ndarray
    presence: np.ndarray
    certainty: float = 1.0
    people: int = 0
    hands: int = 0
    covered: float = 0.0


class BodyFinder:
    """Finds a body in the first frame and follows it through the others.

    MediaPipe's detector expects heads up, so that it is asked four times, with the frame turned by quarters;
    what it finds is read in a square of its own direction, then with care in the better square that this
    gives, and once more in a mirror. From then on the body is read where it was in the frame before, and
    searched for again where that fails.
    Use as a context manager.
    """

    def __init__(
        self, model: Path, min_score: float = 0.5, threads: int = 1, careful: Path | None = None
    ) -> None:
        """Loads the networks from a `.task` file, and from a `.tflite` file the one for careful readings."""
        networks = PoseNetworks(model, threads, careful)
        self._networks: PoseNetworks | None = networks
        self._bystanders = Bystanders(networks, palm_network(model, threads))
        self._min_score = min_score
        self.restart()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Frees the networks."""
        self.close()

    def close(self) -> None:
        """Frees the networks."""
        self._networks = None

    def restart(self, box: Box | None = None) -> None:
        """Forgets the last video's body. `box`: where the next one is; by default it is the main body."""
        self._box = box
        self._forget()

    def _forget(self) -> None:
        self._bystanders.restart()
        self._square: Square | None = None
        self._smoother = JointSmoother()
        self._last_mask: np.ndarray | None = None
        self._missed = 0

    def find(self, frame: np.ndarray, seconds: float) -> Body | None:
        """The body in `frame` (H, W, 3) uint8 RGB at `seconds` of its video, or None."""
        person = self._follow(frame)
        readings: list[Person] | None = None
        mask = None if person is None else person.mask_in_frame(*frame.shape[:2])
        if person is None:
            assert self._networks is not None
            squares = _distinct([one.square for one in self._networks.detect_all(frame, MIN_DETECTION)])
            readings = [self._networks.read(frame, square) for square in squares[:MOST_CANDIDATES]]
            person = self._main_body(frame, readings)
            if person is not None:
                mask = self._steady_mask(frame, person)
                if self._last_mask is not None and overlap(mask > MASK_SCORE, self._last_mask) < MIN_OVERLAP:
                    person = None
        if person is None or mask is None:
            self._square = None
            self._smoother = JointSmoother()
            self._missed += 1
            if self._missed >= FORGET_AFTER:
                self._forget()
            return None
        others = self._bystanders.look(frame, seconds, person, readings)
        whole = mask > MASK_SCORE
        own = whole if others.cover is None else whole & (mask > others.cover)
        places = self._smoother.smooth(person.joints[:, :2], seconds, person.square.side_px)
        self._square, self._last_mask, self._missed = person.next_square, whole, 0
        return Body(
            mask=own,
            joints=np.hstack([places, person.joints[:, 2:]]).astype(np.float32),
            presence=person.presence,
            certainty=certainty(mask),
            people=others.people,
            hands=others.hands,
            covered=1 - int(np.count_nonzero(own)) / max(1, int(np.count_nonzero(whole))),
        )

    def _follow(self, frame: np.ndarray) -> Person | None:
        if self._square is None:
            return None
        assert self._networks is not None
        person = self._networks.read(frame, self._square)
        return person if self._believed(person) else None

    def _main_body(self, frame: np.ndarray, first: Sequence[Person]) -> Person | None:
        """The main body, or the one in the box, read with care where these `first` readings point."""
        assert self._networks is not None
        if self._box is not None:
            first = [person for person in first if share_in_box(person, frame, self._box) >= MIN_IN_BOX]
        best = sorted(first, key=prominence, reverse=True)
        better = _distinct([person.next_square for person in best])[:MOST_CAREFUL]
        again = [self._networks.read_carefully(frame, square) for square in better]
        people = [person for person in again if self._believed(person)]
        if not people:
            return None
        main = max(people, key=prominence).mask_in_frame(*frame.shape[:2]) > MASK_SCORE
        same = [
            one
            for one in people
            if overlap(one.mask_in_frame(*frame.shape[:2]) > MASK_SCORE, main) >= MIN_AGREEMENT
        ]
        return max(same, key=lambda one: certainty(one.mask))

    def _steady_mask(self, frame: np.ndarray, person: Person) -> np.ndarray:
        """(H, W) float32, that a pixel is the person's, 0..1: the mean with a reading in a mirror."""
        assert self._networks is not None
        mirrored = self._networks.mirrored_mask(frame, person.next_square)
        return (person.mask_in_frame(*frame.shape[:2]) + mirrored) / 2

    def _believed(self, person: Person) -> bool:
        return person.score >= self._min_score and person.torso_score >= MIN_TORSO_SCORE


class JointSmoother:
    """The 1 euro filter: slow joints are steadied, fast ones are left alone (Casiez et al., CHI 2012)."""

    def __init__(self) -> None:
        """Starts anew."""
        self._last: tuple[float, np.ndarray, np.ndarray] | None = None

    def smooth(self, places: np.ndarray, seconds: float, scale_px: float) -> np.ndarray:
        """`places` (N, 2) at `seconds` -> the same, smoothed.

        `scale_px`: size of the body, in which speeds are measured.
        """
        if self._last is None or seconds <= self._last[0]:
            self._last = (seconds, places, np.zeros_like(places))
            return places
        before, last, velocity = self._last
        passed = seconds - before
        share = _share(SPEED_CUTOFF_HZ, passed)
        velocity = velocity + share * ((places - last) / passed - velocity)
        speed = np.hypot(velocity[:, 0], velocity[:, 1])[:, None] / scale_px
        places = last + _share(STILL_CUTOFF_HZ + SPEED_WEIGHT * speed, passed) * (places - last)
        self._last = (seconds, places, velocity)
        return places


def _share(cutoff_hz: Any, seconds: float) -> Any:
    """How much of a step a low-pass filter takes after so much time."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * seconds))


def certainty(mask: np.ndarray) -> float:
    """How sure the network is of `mask` (H, W) float32: mean distance of its pixels from one half, 0..1."""
    support = mask[mask > 0.1]
    return float(np.abs(2 * support - 1).mean()) if support.size else 0.0


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two (H, W) bool masks; 0 where both are empty or their shapes differ."""
    if first.shape != second.shape:
        return 0.0
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def prominence(person: Person) -> float:
    """How much a person is the one that is filmed: all there, large, and clear."""
    area = float((person.mask > MASK_SCORE).mean()) * person.square.side_px**2
    return certainty(person.mask) * float(person.presence[list(_SPREAD_JOINTS)].mean()) * math.sqrt(area)


def share_in_box(person: Person, frame: np.ndarray, box: Box) -> float:
    """Share of a person's mask that lies in `box`."""
    height, width = frame.shape[:2]
    mask = person.mask_in_frame(height, width) > MASK_SCORE
    left, top = round(box[0] * width), round(box[1] * height)
    right, bottom = round((box[0] + box[2]) * width), round((box[1] + box[3]) * height)
    return int(np.count_nonzero(mask[top:bottom, left:right])) / max(1, int(np.count_nonzero(mask)))


def _distinct(squares: Sequence[Square]) -> list[Square]:
    """Squares without those that nearly repeat an earlier one."""
    kept: list[Square] = []
    for square in squares:
        if not any(square.is_like(other) for other in kept):
            kept.append(square)
    return kept
