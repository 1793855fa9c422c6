"""Everybody in a frame but the subject: other people, and hands that reach in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from pipelines.palm_network import Palm, PalmNetwork
from pipelines.pose_network import MIN_TORSO_SCORE, Person, PoseNetworks
from pipelines.schema import JOINTS, MASK_SCORE
from pipelines.squares import Square

LOOK_EVERY_SECONDS = 3.0
"""Somebody new is looked for so often; who was seen is followed from frame to frame."""

MIN_PERSON_SCORE = 0.5
MIN_DETECTION = 0.5
MIN_PALM_SCORE = 0.7
SAME_PERSON = 0.4
"""Somebody whose mask lies in the subject's to this share, or covers it so, is the subject read again."""

# In sides of the square that the subject is read in, about five torsos.
LARGEST_OWN_PALM = 0.09
OWN_HAND_REACH, OWN_FOOT_REACH, OWN_FACE_REACH = 0.06, 0.10, 0.12
"""A palm so near a hand of the subject is that hand; feet and faces are now and then taken for palms."""

# In lengths from the wrist to the middle knuckle.
FINGERS, FOREARM = 0.9, 3.0

_HANDS = tuple(JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("wrist", "index"))
_FEET = tuple(
    JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "foot_index")
)
_FACE = tuple(JOINTS.index(name) for name in ("nose", "left_ear", "right_ear"))


@dataclass(frozen=True)
class Others:
    """Who else is in a frame.

    `people`, `hands`: how many. `cover`: (H, W) float32, how surely a pixel is theirs, 0..1; None of nobody.
    """

    people: int = 0
    hands: int = 0
    cover: np.ndarray | None = None


@dataclass
class Bystanders:
    """Looks for others now and then, and follows whom it has seen."""

    networks: PoseNetworks
    palms: PalmNetwork | None
    _squares: list[Square] = field(default_factory=list)
    _hands_near: bool = False
    _next_look: float = -np.inf

    def restart(self) -> None:
        """Forgets the last video."""
        self._squares, self._hands_near, self._next_look = [], False, -np.inf

    def look(
        self, frame: np.ndarray, seconds: float, subject: Person, readings: Sequence[Person] | None = None
    ) -> Others:
        """Who else is in `frame` (H, W, 3) uint8 RGB at `seconds` of its video.

        `readings`: everybody in this frame, where the caller has looked already.
        """
        due = readings is not None or seconds >= self._next_look
        squares = list(self._squares)
        if due:
            self._next_look = seconds + LOOK_EVERY_SECONDS
            if readings is None:
                squares += [one.square for one in self.networks.detect_all(frame, MIN_DETECTION)]
        people = self._people(frame, subject, squares, readings or ())
        self._squares = [person.next_square for person in people]
        hands: list[Palm] = []
        if self.palms is not None and (due or self._hands_near):
            hands = foreign_palms(self.palms.detect(frame, subject.square, MIN_PALM_SCORE), subject)
        self._hands_near = bool(hands)
        if not people and not hands:
            return Others()
        height, width = frame.shape[:2]
        covers = [person.mask_in_frame(height, width) for person in people]
        covers += [arm_cover(palm, height, width) for palm in hands]
        return Others(len(people), len(hands), np.maximum.reduce(covers))

    def _people(
        self, frame: np.ndarray, subject: Person, squares: Sequence[Square], readings: Sequence[Person]
    ) -> list[Person]:
        height, width = frame.shape[:2]
        known: list[np.ndarray] = []
        people: list[Person] = []
        read = {one.square: one for one in readings}
        for square in [*squares, *read]:
            if square.is_like(subject.square) or any(square.is_like(one.square) for one in people):
                continue
            person = read.get(square) or self.networks.read(frame, square)
            if person.score < MIN_PERSON_SCORE or person.torso_score < MIN_TORSO_SCORE:
                continue
            known = known or [subject.mask_in_frame(height, width) > MASK_SCORE]
            mask = person.mask_in_frame(height, width) > MASK_SCORE
            if mask.any() and not any(_same(mask, one) for one in known):
                people.append(person)
                known.append(mask)
        return people


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    shared = int(np.count_nonzero(first & second))
    return shared >= SAME_PERSON * min(int(np.count_nonzero(first)), int(np.count_nonzero(second)))


def foreign_palms(palms: list[Palm], subject: Person) -> list[Palm]:
    """Palms that are not the subject's: too large, or too far from where its own hands are."""
    side = subject.square.side_px

    def near(palm: Palm, joints: tuple[int, ...]) -> float:
        apart = subject.joints[list(joints), :2] - palm.center
        return float(np.hypot(apart[:, 0], apart[:, 1]).min()) / side

    return [
        palm
        for palm in palms
        if near(palm, _FACE) > OWN_FACE_REACH
        and (
            palm.side_px > LARGEST_OWN_PALM * side
            or (near(palm, _HANDS) > OWN_HAND_REACH and near(palm, _FEET) > OWN_FOOT_REACH)
        )
    ]


def arm_cover(palm: Palm, height: int, width: int) -> np.ndarray:
    """(height, width) float32: 1 on the hand with its forearm, which goes on beyond the wrist; else 0."""
    cover = np.zeros((height, width), np.uint8)
    along = palm.knuckle - palm.wrist

    def line(start: np.ndarray, end: np.ndarray, thickness: float) -> None:
        ends = (tuple(np.rint(point).astype(int).tolist()) for point in (start, end))
        cv2.line(cover, *ends, 1, max(1, round(thickness)))

    line(palm.knuckle + FINGERS * along, palm.wrist, 0.9 * palm.side_px)
    line(palm.wrist, palm.wrist - FOREARM * along, 0.75 * palm.side_px)
    return cover.astype(np.float32)
