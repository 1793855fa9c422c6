"""Parts of the body, and clips without them."""

import numpy as np
import pytest

from pipelines.flow import ZERO_LEVEL
from pipelines.schema import FEATURE_JOINTS, JOINTS
from tests.conftest import TINY, random_clip
from tfgma.body_parts import PARTS, part_joints, part_regions
from tfgma.occlusion import frozen, nothing, without_part

SIZE = 64


def lying_body(frames=1):
    """(T, 33, 3): upright in 64 px, the head above, the infant's left side on the right of the picture."""
    places = {"shoulder": (8, 24), "elbow": (18, 24), "wrist": (26, 24), "index": (29, 24), "hip": (5, 42)}
    places |= {"knee": (7, 51), "ankle": (8, 58), "foot_index": (9, 61)}
    pose = np.ones((frames, len(JOINTS), 3), np.float32)
    for index, name in enumerate(JOINTS):
        side, _, joint = name.partition("_")
        x, y = places.get(joint, (2, 11))
        pose[:, index, :2] = 32 + (x if side == "left" else -x), y
    pose[:, JOINTS.index("nose"), :2] = 32, 13
    return pose


def test_every_joint_belongs_to_one_part():
    found = [joint for part in PARTS for joint in part_joints(part)]
    assert sorted(found) == list(range(len(FEATURE_JOINTS)))


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ("head", (32, 11)),
        ("head", (32, 3)),
        ("trunk", (32, 33)),
        ("trunk", (27, 28)),
        ("left_arm", (55, 24)),
        ("left_arm", (63, 20)),
        ("right_arm", (8, 25)),
        ("left_leg", (40, 56)),
        ("right_leg", (24, 56)),
    ],
)
def test_pixels_belong_to_the_part_that_is_nearest(part, place):
    x, y = place
    assert PARTS[part_regions(lying_body(), SIZE)[0, y, x]] == part


def test_a_frame_without_a_body_is_divided_as_the_nearest_with_one():
    pose = lying_body(4)
    pose[0] = pose[3] = 0
    pose[2, :, 0] += 6
    regions = part_regions(pose, SIZE)
    np.testing.assert_array_equal(regions[0], regions[1])
    np.testing.assert_array_equal(regions[3], regions[2])
    assert (regions[1] != regions[2]).any()
    assert set(np.unique(part_regions(np.zeros_like(pose), SIZE))) == {PARTS.index("trunk")}


def test_without_a_part_the_rest_is_as_it_was():
    clip = random_clip()
    regions = np.zeros((TINY.num_frames, SIZE, SIZE), np.uint8)
    regions[:, 10:20, 30:40] = arm = PARTS.index("left_arm")
    found = without_part(clip, "left_arm", regions)
    gone = regions == arm
    assert (found.rgb[gone] == 0).all()
    assert (found.flow[gone[:-1]] == ZERO_LEVEL).all()
    np.testing.assert_array_equal(found.rgb[~gone], clip.rgb[~gone])
    np.testing.assert_array_equal(found.flow[~gone[:-1]], clip.flow[~gone[:-1]])
    joints = [FEATURE_JOINTS.index(name) for name in ("left_elbow", "left_wrist")]
    others = [index for index in range(len(FEATURE_JOINTS)) if index not in joints]
    np.testing.assert_array_equal(found.joint_features[:, others], clip.joint_features[:, others])
    assert np.abs(found.joint_features[:, joints, 2:]).max() == 0
    mean = clip.joint_features[:, joints, :2].mean(axis=0)
    np.testing.assert_allclose(
        found.joint_features[:, joints, :2], np.broadcast_to(mean, (7, 2, 2)), rtol=1e-6
    )
    assert clip.rgb[gone].max() > 0  # the clip itself is untouched


def test_what_is_frozen_does_not_move_and_the_rest_does():
    clip = random_clip()
    found = frozen(clip, 2, 4)
    assert (found.flow[2:4] == ZERO_LEVEL).all()
    np.testing.assert_array_equal(found.flow[[0, 1, 4, 5]], clip.flow[[0, 1, 4, 5]])
    for frame in (2, 3, 4):
        np.testing.assert_array_equal(found.rgb[frame], clip.rgb[2])
        np.testing.assert_array_equal(found.joint_features[frame, :, :2], clip.joint_features[2, :, :2])
        assert np.abs(found.joint_features[frame, :, 2:]).max() == 0
    np.testing.assert_array_equal(found.rgb[[0, 1, 5, 6]], clip.rgb[[0, 1, 5, 6]])
    np.testing.assert_array_equal(found.joint_features[[0, 1, 5, 6]], clip.joint_features[[0, 1, 5, 6]])


def test_nothing_is_black_and_still():
    found = nothing(random_clip())
    assert found.rgb.max() == 0
    assert (found.flow == ZERO_LEVEL).all()
    assert np.abs(found.joint_features[..., 2:]).max() == 0
    assert np.ptp(found.joint_features[..., :2], axis=0).max() == 0


def test_clips_of_joints_alone_are_taken_too():
    clip = random_clip()
    from dataclasses import replace

    bare = replace(clip, rgb=clip.rgb[:0], flow=clip.flow[:0])
    regions = part_regions(bare.pose, SIZE)
    for found in (without_part(bare, "head", regions), frozen(bare, 0, 3), nothing(bare)):
        assert len(found.rgb) == len(found.flow) == 0
        assert (found.joint_features != bare.joint_features).any()
