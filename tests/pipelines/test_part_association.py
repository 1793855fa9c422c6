import numpy as np
import pytest

from pipelines.part_association import OPENPOSE_LIMBS, decode_people
from pipelines.schema import FEATURE_JOINTS, RefusedError

HEIGHT, WIDTH = 46, 62
SIGMA_PX = 7 / 8
"""Standard deviation of a joint's spot in the maps that the network is trained on, one pixel for 8."""

# The COCO model as OpenPose publishes it: joints by number, and where a limb's field lies among all maps, of
# which the first 19 are the joints and the background.
PUBLISHED_FIELDS = {
    (1, 2): (31, 32),
    (1, 5): (39, 40),
    (2, 3): (33, 34),
    (3, 4): (35, 36),
    (5, 6): (41, 42),
    (6, 7): (43, 44),
    (1, 8): (19, 20),
    (8, 9): (21, 22),
    (9, 10): (23, 24),
    (1, 11): (25, 26),
    (11, 12): (27, 28),
    (12, 13): (29, 30),
    (1, 0): (47, 48),
    (0, 14): (49, 50),
    (14, 16): (53, 54),
    (0, 15): (51, 52),
    (15, 17): (55, 56),
    (2, 16): (37, 38),
    (5, 17): (45, 46),
}
PUBLISHED_JOINTS = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar"
)

# x, y in pixels from the upper left corner, in the order of the joints, of a standing body.
BODY = np.array(
    [
        (15.3, 6.1),
        (15.5, 11.4),
        (11.2, 11.6),
        (8.4, 17.3),
        (7.7, 23.1),
        (19.8, 11.2),
        (22.6, 17.0),
        (23.5, 22.9),
        (12.8, 24.5),
        (12.2, 32.2),
        (12.0, 40.1),
        (18.1, 24.4),
        (18.9, 32.7),
        (19.2, 39.6),
        (13.9, 4.6),
        (16.8, 4.7),
        (12.1, 5.9),
        (18.6, 6.0),
    ]
)
RIGHT_ELBOW, RIGHT_WRIST, LEFT_ANKLE = 3, 4, 13
RIGHT_FOREARM = [16, 17]
"""Channels of its field."""


def moved(person, *by):
    return person + np.array(by)


def maps(*people, height=HEIGHT, width=WIDTH):
    """Heat maps and fields as the network is trained to give them: spots, and unit vectors along limbs.

    A joint that is NaN is not there. Where two people's limbs cross, the field is their mean.
    """
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    heatmap = np.zeros((height, width, 19), np.float32)
    for joint in range(18):
        for person in people:
            spot = np.exp(-((x - person[joint, 0]) ** 2 + (y - person[joint, 1]) ** 2) / (2 * SIGMA_PX**2))
            heatmap[..., joint] = np.maximum(heatmap[..., joint], np.nan_to_num(spot))
    heatmap[..., 18] = 1 - heatmap.max(axis=-1)
    paf = np.zeros((height, width, 38), np.float32)
    for (start, end), channels in PUBLISHED_FIELDS.items():
        total, count = np.zeros((height, width, 2)), np.zeros((height, width, 1))
        for person in people:
            line = person[end] - person[start]
            length = np.hypot(*line)
            unit = line / length
            along = (x - person[start, 0]) * unit[0] + (y - person[start, 1]) * unit[1]
            across = (x - person[start, 0]) * unit[1] - (y - person[start, 1]) * unit[0]
            inside = (along >= -1) & (along <= length + 1) & (np.abs(across) <= 1)
            total[inside] += np.nan_to_num(unit)
            count[inside] += 1
        paf[..., [channel - 19 for channel in channels]] = total / np.maximum(count, 1)
    return heatmap, paf


def assert_same_people(found, expected, atol=0.1):
    """`found` (people, 18, 3) against positions, whatever the order of people."""
    assert found.shape == (len(expected), 18, 3)
    first = np.array([person[1, 0] for person in expected])
    order = [np.argmin(np.abs(first - person[1, 0])) for person in found]
    assert sorted(order) == list(range(len(expected)))
    for person, number in zip(found, order, strict=True):
        there = ~np.isnan(expected[number][:, 0])
        np.testing.assert_allclose(person[there, :2], expected[number][there], atol=atol)
        assert (person[there, 2] > 0.5).all()
        assert (person[~there] == 0).all()


def test_joints_and_limbs_are_those_of_the_published_model():
    def short(name):
        side, _, part = name.rpartition("_")
        return side[:1].upper() + part.capitalize()

    assert " ".join(short(name) for name in FEATURE_JOINTS) == PUBLISHED_JOINTS
    limbs = [tuple(FEATURE_JOINTS.index(name) for name in limb) for limb in OPENPOSE_LIMBS]
    assert {limb: (19 + 2 * k, 20 + 2 * k) for k, limb in enumerate(limbs)} == PUBLISHED_FIELDS


def test_finds_one_person():
    found = decode_people(*maps(BODY))
    assert found.dtype == np.float32
    assert_same_people(found, [BODY])


def test_tells_two_people_apart():
    people = [BODY, moved(BODY, 28, 3)]
    assert_same_people(decode_people(*maps(*people)), people)


def test_keeps_crossing_limbs_with_their_people():
    """Each right wrist lies nearer to the other's right elbow than to its own."""
    first, second = BODY.copy(), moved(BODY, 26, 0)
    first[RIGHT_ELBOW], first[RIGHT_WRIST] = (8.4, 17.3), (38.0, 22.0)
    second[RIGHT_ELBOW], second[RIGHT_WRIST] = (36.0, 17.0), (10.0, 23.5)
    own = np.hypot(*(first[RIGHT_WRIST] - first[RIGHT_ELBOW]))
    assert np.hypot(*(first[RIGHT_WRIST] - second[RIGHT_ELBOW])) < own / 3
    assert_same_people(decode_people(*maps(first, second)), [first, second])


def test_keeps_a_body_that_lies_across_another_apart():
    turned = moved((BODY - BODY.mean(axis=0))[:, ::-1] * (1, -1), 30, 22)
    standing = moved(BODY, 14, 0)
    assert_same_people(decode_people(*maps(standing, turned)), [standing, turned], atol=0.5)


def test_prefers_the_nearer_of_two_joints_that_the_field_speaks_for():
    """Beyond half a map's height limbs count less."""
    person, other = BODY.copy(), BODY.copy()
    person[RIGHT_ELBOW], person[RIGHT_WRIST], other[RIGHT_WRIST] = (8.5, 40.5), (8.5, 30.5), (8.5, 8.5)
    heatmap, paf = maps(person)
    heatmap[..., RIGHT_WRIST] = np.maximum(heatmap[..., RIGHT_WRIST], maps(other)[0][..., RIGHT_WRIST])
    paf[..., RIGHT_FOREARM] = (0, -1)
    assert_same_people(decode_people(heatmap, paf), [person])


def test_a_limb_with_a_gap_is_none():
    heatmap, paf = maps(BODY)
    paf[19:22, :, RIGHT_FOREARM] = 0
    expected = BODY.copy()
    expected[RIGHT_WRIST] = np.nan
    assert_same_people(decode_people(heatmap, paf), [expected])


@pytest.mark.parametrize("offset", np.linspace(-0.5, 0.5, 9))
def test_positions_lie_between_pixels(offset):
    """Within the bias of a parabola for a bell; at a half, two pixels are the highest: they are one joint."""
    person = np.floor(BODY) + 0.5 + offset
    assert_same_people(decode_people(*maps(person)), [person], atol=0.06)


def test_positions_scale_with_the_maps():
    """The same person on maps eight times as large, as if they had been enlarged."""
    heatmap, paf = maps(BODY)
    large = [np.kron(array, np.ones((8, 8, 1), np.float32)) for array in (heatmap, paf)]
    found = decode_people(*large, smoothing_px=8 * SIGMA_PX)
    assert_same_people(found, [8 * BODY], atol=4)


def test_a_missing_joint_is_zero():
    person = BODY.copy()
    person[[RIGHT_WRIST, LEFT_ANKLE]] = np.nan
    (found,) = decode_people(*maps(person))
    assert (found[[RIGHT_WRIST, LEFT_ANKLE]] == 0).all()
    assert_same_people(found[None], [person])


def test_a_joint_at_the_edge_is_found():
    person = BODY.copy()
    person[RIGHT_WRIST] = (0.5, 20.5)
    assert_same_people(decode_people(*maps(person)), [person])


def test_half_a_person_stays_out_of_another():
    """Legs alone beside a whole body are a person of their own or none, never the other's."""
    legs = moved(BODY, 28, 0)
    legs[[joint for joint in range(18) if joint not in (8, 9, 10)]] = np.nan
    assert_same_people(decode_people(*maps(BODY, legs)), [BODY])
    found = decode_people(*maps(BODY, legs), min_joints=3)
    assert len(found) == 2
    assert (found[1] > 0).any(axis=1).sum() == 3  # the better person first


def test_drops_weak_people():
    heatmap, paf = maps(BODY)
    assert len(decode_people(0.3 * heatmap, 0.3 * paf, min_score=0.4)) == 1
    assert len(decode_people(0.3 * heatmap, 0.3 * paf, min_score=0.7)) == 0


def test_joints_without_limbs_are_no_person():
    heatmap, paf = maps(BODY)
    assert decode_people(heatmap, 0 * paf).shape == (0, 18, 3)
    assert decode_people(heatmap, -paf).shape == (0, 18, 3)


def test_empty_maps_hold_nobody():
    heatmap, paf = maps()
    found = decode_people(heatmap, paf)
    assert found.shape == (0, 18, 3)
    assert found.dtype == np.float32


@pytest.mark.parametrize("shape", [(46, 62), (46, 62, 18), (0, 62, 19), (1, 46, 62, 19)])
def test_refuses_other_heat_maps(shape):
    with pytest.raises(RefusedError, match=r"heatmap must have the shape \(h, w, 19\). Received: \("):
        decode_people(np.zeros(shape), np.zeros((46, 62, 38)))


@pytest.mark.parametrize("shape", [(46, 62, 37), (62, 46, 38), (46, 62)])
def test_refuses_fields_that_do_not_lie_on_the_heat_map(shape):
    with pytest.raises(RefusedError, match=r"paf must have the shape \(46, 62, 38\).*Received: \("):
        decode_people(np.zeros((46, 62, 19)), np.zeros(shape))
