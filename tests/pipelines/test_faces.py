"""Regions of faces of bodies whose joints are known."""

import numpy as np
import pytest

from pipelines.faces import FACE_JOINTS, face_regions
from pipelines.schema import JOINTS

SIZE = 200
TORSO = 40.0


def body(face=(100, 60), *, neck=(100, 80), turned=0.0, score=1.0):
    """(33, 3): an upright body with a torso of TORSO px, its face spread 6 px around `face`."""
    joints = np.ones((len(JOINTS), 3))
    for name, x, y in (("shoulder", 12, 0), ("hip", 8, TORSO)):
        for side, sign in (("left", 1), ("right", -1)):
            joints[JOINTS.index(f"{side}_{name}"), :2] = np.add(neck, (sign * x, y))
    angles = np.arange(len(FACE_JOINTS))
    joints[list(FACE_JOINTS), :2] = face + 6 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    joints[list(FACE_JOINTS), 2] = score
    radians = np.radians(turned)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    joints[:, :2] = (joints[:, :2] - neck) @ turn + neck
    return joints


def regions(*bodies, found=None):
    found = np.ones(len(bodies), bool) if found is None else np.array(found)
    return face_regions(np.stack(bodies), found, SIZE)


def test_the_face_joints_are_nose_eyes_ears_and_mouth():
    assert [JOINTS[index] for index in FACE_JOINTS] == list(JOINTS[:11])


def test_a_still_face_is_a_disc_of_more_than_half_a_torso_around_its_middle():
    (first, second) = regions(body(), body())
    np.testing.assert_array_equal(first, second)
    y, x = np.nonzero(first)
    middle = body()[list(FACE_JOINTS), :2].mean(axis=0)
    assert np.hypot(x - middle[0], y - middle[1]).max() == pytest.approx(0.65 * TORSO, abs=1)
    assert first.sum() == pytest.approx(np.pi * (0.65 * TORSO) ** 2, rel=0.02)


def test_a_face_that_is_spread_wide_widens_its_region():
    wide = body()
    wide[JOINTS.index("left_ear"), :2] = 150, 60
    (region,) = regions(wide)
    middle = wide[list(FACE_JOINTS), :2].mean(axis=0)
    farthest = np.hypot(*(wide[list(FACE_JOINTS), :2] - middle).T).max()
    y, x = np.nonzero(region)
    assert np.hypot(x - middle[0], y - middle[1]).max() == pytest.approx(1.3 * farthest, abs=1)


def test_a_torso_that_looks_short_for_a_moment_does_not_make_the_head_smaller():
    short = body(face=(115, 55))
    for side in ("left", "right"):
        short[JOINTS.index(f"{side}_hip"), 1] -= TORSO / 2
    usual = regions(body(), body(face=(115, 55)), body())
    assert (regions(body(), short, body()) >= usual).all()


def test_frames_before_and_after_are_blanked_along():
    there = body(face=(130, 65))
    first, second, third = regions(body(), there, body())
    assert first[65, 130]
    assert third[65, 130]
    assert second[60, 100]


@pytest.mark.parametrize(
    "uncertain",
    [
        body(face=(140, 140), score=0.2),
        body(face=(40, 190)),  # far from the neck
        body(face=(100, 110)),  # between the shoulders and the hips
        body(turned=180),  # head for feet
    ],
    ids=["score", "far", "below", "turned"],
)
def test_an_uncertain_face_gets_the_way_between_the_nearest_certain_ones_and_its_own_place(uncertain):
    left, right = body(face=(85, 60)), body(face=(115, 60))
    start, *middle, end = regions(left, left, uncertain, uncertain, right, right)[[0, 2, 3, 5]]
    for region in middle:
        assert (region >= (start | end)).all()
        assert region.sum() > 1.3 * (start | end).sum()
        x, y = uncertain[list(FACE_JOINTS), :2].mean(axis=0).round().astype(int)
        assert region[y, x]
        assert not start[y, x]


def test_an_uncertain_face_at_either_end_takes_the_only_neighbour():
    found = regions(body(score=0.1), body(), body(score=0.1))
    for region in (found[0], found[2]):
        assert (region >= found[1]).all()
        assert region.sum() == pytest.approx(1.3**2 * found[1].sum(), rel=0.02)


def test_bodies_that_lie_either_way_are_all_uncertain():
    assert regions(body(), body(), body(turned=180), body(turned=180)).all()


def test_nothing_is_shown_without_a_body_or_where_no_face_is_certain():
    found = regions(body(), body(), body(), found=[True, False, True])
    assert found[1].all()
    assert not found[0].all()
    assert regions(body(score=0.1), body(score=0.4)).all()
    assert regions(body(), found=[False]).all()
