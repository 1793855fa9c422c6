"""Other people and hands, told from the subject by networks whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.bystanders import LOOK_EVERY_SECONDS, Bystanders, arm_cover, foreign_palms
from pipelines.palm_network import Palm
from pipelines.pose_network import Detection, Person
from pipelines.schema import JOINTS
from pipelines.squares import Square

SIDE = 100.0
FRAME = np.zeros((200, 300, 3), np.uint8)
HERE, THERE = Square(80, 100, 0, SIDE), Square(220, 100, 90, SIDE)


def person(square, score=0.9):
    """Somebody who fills the middle of a square, hands at its left and right, feet at its bottom."""
    mask = np.zeros((64, 64), np.float32)
    mask[8:56, 20:44] = 0.9
    joints = np.ones((len(JOINTS), 3), np.float32)
    joints[:, :2] = (50, 50)
    for name, place in {"nose": (50, 15), "ear": (50, 15), "wrist": (20, 40), "index": (18, 40)}.items():
        for number, joint in enumerate(JOINTS):
            if name in joint:
                joints[number, :2] = (100 - place[0], place[1]) if "right" in joint else place
    for number, joint in enumerate(JOINTS):
        if "ankle" in joint or "foot" in joint:
            joints[number, :2] = (50, 90)
    joints[:, :2] = square.points_in_frame(joints[:, :2].astype(float), 100)
    return Person(score, joints, np.ones(len(JOINTS), np.float32), mask, square, square)


class KnownPeople:
    """Detects and reads the people it was given, by the place of their squares."""

    def __init__(self, *people):
        self.people, self.looks, self.reads = list(people), 0, 0

    def detect_all(self, frame, min_score):
        self.looks += 1
        return [Detection(0.9, one.square) for one in self.people]

    def read(self, frame, square):
        self.reads += 1
        found = [one for one in self.people if one.square.is_like(square)]
        return found[0] if found else person(square, score=0.1)


class KnownPalms:
    """Detects the palms it was given."""

    def __init__(self, *palms):
        self.palms, self.looks = list(palms), 0

    def detect(self, frame, square, min_score):
        self.looks += 1
        return self.palms


def palm(x, y, side=6.0, along=(0.0, -8.0)):
    center = np.array([x, y], float)
    return Palm(0.9, center, center - np.array(along) / 2, center + np.array(along) / 2, side)


def test_a_second_person_is_found_followed_and_covers_their_part_of_the_frame():
    networks = KnownPeople(person(HERE), person(THERE))
    others = Bystanders(networks, None)
    first = others.look(FRAME, 0.0, person(HERE))
    assert (first.people, first.hands) == (1, 0)
    assert first.cover[100, 220] == pytest.approx(0.9, abs=0.01)
    assert first.cover[100, 80] == 0
    assert others.look(FRAME, 0.2, person(HERE)).people == 1
    assert networks.looks == 1
    others.look(FRAME, LOOK_EVERY_SECONDS, person(HERE))
    assert networks.looks == 2


def test_who_has_left_is_no_longer_counted():
    networks = KnownPeople(person(HERE), person(THERE))
    others = Bystanders(networks, None)
    others.look(FRAME, 0.0, person(HERE))
    networks.people.pop()
    left = others.look(FRAME, 0.2, person(HERE))
    assert left.people == 0
    assert left.cover is None


def test_the_subject_is_nobody_else_however_they_are_read():
    turned = person(replace(HERE, angle_degrees=180, side_px=0.9 * SIDE))
    others = Bystanders(KnownPeople(person(HERE), turned), None)
    assert others.look(FRAME, 0.0, person(HERE)).people == 0


def test_whom_the_caller_has_read_is_not_looked_for_again():
    networks = KnownPeople(person(HERE), person(THERE))
    read = [person(HERE), person(THERE), person(Square(150, 20, 0, 40), score=0.1)]
    others = Bystanders(networks, None)
    assert others.look(FRAME, 0.0, person(HERE), read).people == 1
    assert (networks.looks, networks.reads) == (0, 0)
    # From now on the other one is followed.
    assert others.look(FRAME, 0.1, person(HERE)).people == 1
    assert (networks.looks, networks.reads) == (0, 1)
    assert Bystanders(networks, None).look(FRAME, 0.0, person(HERE), []).people == 0


def test_a_new_video_begins_anew():
    networks = KnownPeople(person(HERE), person(THERE))
    others = Bystanders(networks, None)
    others.look(FRAME, 50.0, person(HERE))
    others.restart()
    networks.people.pop()
    assert others.look(FRAME, 0.0, person(HERE)).people == 0
    assert networks.looks == 2


@pytest.mark.parametrize(
    ("place", "side", "foreign"),
    [
        ((50, 50), 6, True),  # on the belly
        ((20, 41), 6, False),  # the own hand
        ((81, 40), 6, False),  # the other one
        ((20, 41), 12, True),  # around the own hand, and too large for it
        ((52, 88), 6, False),  # a foot
        ((50, 16), 30, False),  # the face
    ],
)
def test_palms_that_are_not_the_subject_s(place, side, foreign):
    x, y = HERE.points_in_frame(np.array([place], float), 100)[0]
    assert bool(foreign_palms([palm(x, y, side)], person(HERE))) == foreign


def test_hands_are_looked_for_often_only_while_one_is_there():
    palms = KnownPalms(palm(80, 100))
    others = Bystanders(KnownPeople(), palms)
    for number in range(3):
        found = others.look(FRAME, number / 6, person(HERE))
        assert (found.people, found.hands) == (0, 1)
    palms.palms.clear()
    assert [others.look(FRAME, seconds, person(HERE)).hands for seconds in (0.5, 0.7, 0.9)] == [0, 0, 0]
    assert palms.looks == 4


def test_an_arm_goes_on_behind_the_wrist():
    cover = arm_cover(palm(150, 60, side=10, along=(0, -10)), 200, 300)
    assert set(np.unique(cover)) == {0, 1}
    # Fingers upwards, forearm downwards: knuckle at 55, wrist at 65.
    assert cover[48, 150] == cover[60, 150] == cover[90, 150] == 1
    assert cover[30, 150] == cover[115, 150] == cover[60, 165] == 0
