from pathlib import Path

import numpy as np
import pytest

from pipelines.joint_features import LOWER_BODY, MIN_TRUNK_PX, joint_features, to_openpose_joints
from pipelines.schema import FEATURE_JOINTS, JOINT_FEATURES, JOINTS, MIRRORED_FEATURE_JOINTS, RefusedError

GOLDEN = Path(__file__).parents[1] / "golden" / "stam_pose_features.npz"
FPS = 30
HALF_A_STEP = 2.0**-24  # float32's rounding, as a share of the value
X, Y, VX, VY, AX, AY, DISPLACEMENT = range(7)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def joint(name):
    return FEATURE_JOINTS.index(name)


def still_body(frames=90):
    """(T, 18, 2): shoulders 60 px and hips 40 px apart, the trunk 100 px long, upright at (200, 100)."""
    body = np.full((len(FEATURE_JOINTS), 2), [200.0, 80.0])
    for names, half_width, y in (
        (("shoulder", "elbow", "wrist"), 30, 100),
        (("hip", "knee", "ankle"), 20, 200),
    ):
        for side, sign in (("right", -1), ("left", 1)):
            for depth, part in enumerate(names):
                body[joint(f"{side}_{part}")] = 200 + sign * half_width, y + 30 * depth
    body[joint("neck")] = 200, 100
    return np.tile(body, (frames, 1, 1))


def test_equals_the_published_features_wherever_those_are_known(golden):
    """The published ones are NaN where a window reaches beyond the sequence; ours are finite there."""
    expected = np.moveaxis(golden["features[:,::3]"], 0, -1)
    ours = joint_features(golden["keypoints"], fps=FPS)
    assert ours.shape == (240, 18, 7)
    assert ours.dtype == np.float32
    assert np.isfinite(ours).all()
    known = np.isfinite(expected)
    assert known.mean() > 0.85
    error = np.abs(ours[::3].astype(np.float64) - expected)[known]
    assert (error <= 1e-12 + HALF_A_STEP * np.abs(expected[known])).all()


def test_channels_are_those_of_the_schema():
    assert JOINT_FEATURES == ("x", "y", "vx", "vy", "ax", "ay", "displacement")
    assert FEATURE_JOINTS[LOWER_BODY[0]] == "right_hip"
    assert len(LOWER_BODY) == 6


def test_a_still_body_lies_on_its_own_axes_and_does_not_move():
    features = joint_features(still_body(), fps=FPS)
    for name, place in {
        "left_shoulder": (0.3, 0),
        "right_shoulder": (-0.3, 0),
        "nose": (0, -0.2),
        "left_wrist": (0.3, 0.6),
        "right_hip": (-0.2, 1),
        "left_ankle": (0.2, 1.6),
    }.items():
        np.testing.assert_allclose(features[:, joint(name), :2], np.tile(place, (90, 1)), atol=1e-6)
    assert np.abs(features[..., VX:]).max() < 1e-6


def test_turning_moving_and_scaling_the_picture_changes_nothing(golden):
    turn = 0.7
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    # The median takes x and y apart, so only quarter turns and unmoving bodies are free of the angle.
    np.testing.assert_allclose(
        joint_features(still_body() @ rotation * 1.7 + [30, -40], fps=FPS),
        joint_features(still_body(), fps=FPS),
        atol=1e-6,
    )
    moving = golden["keypoints"]
    np.testing.assert_allclose(
        joint_features(moving @ np.array([[0.0, 1.0], [-1.0, 0.0]]) * 2 + [500, 900], fps=FPS),
        joint_features(moving, fps=FPS),
        atol=1e-5,
    )


def test_speed_is_in_trunk_lengths_a_second_each_axis_in_its_own_channel():
    keypoints = still_body()
    moments = np.arange(90) / FPS
    keypoints[:, joint("left_wrist")] += np.stack([50 * moments, -20 * moments], axis=-1)
    wrist = joint_features(keypoints, fps=FPS)[:, joint("left_wrist")]
    np.testing.assert_allclose(wrist[:, VX], 0.5, atol=1e-6)
    np.testing.assert_allclose(wrist[:, VY], -0.2, atol=1e-6)
    np.testing.assert_allclose(wrist[:, [AX, AY]], 0, atol=1e-4)
    np.testing.assert_allclose(wrist[:, DISPLACEMENT], np.hypot(0.5, 0.2) / FPS, atol=1e-7)


def test_acceleration_is_in_trunk_lengths_a_second_squared():
    keypoints = still_body()
    keypoints[:, joint("left_ankle"), 1] += 100 * (np.arange(90) / FPS) ** 2
    ankle = joint_features(keypoints, fps=FPS)[:, joint("left_ankle")]
    np.testing.assert_allclose(ankle[30:70, AY], 2, atol=1e-3)
    np.testing.assert_allclose(ankle[30:70, AX], 0, atol=1e-3)


def test_gaps_lie_on_the_line_between_their_neighbours():
    keypoints = still_body()
    keypoints[:, joint("nose"), 0] += np.arange(90)
    whole = joint_features(keypoints, fps=FPS)
    keypoints[40:50, joint("nose")] = np.nan
    np.testing.assert_allclose(joint_features(keypoints, fps=FPS), whole, atol=1e-6)


def test_one_lost_coordinate_loses_the_joint():
    one, both = still_body(), still_body()
    one[30:60, joint("nose")] = [np.inf, 500]
    both[30:60, joint("nose")] = np.nan
    np.testing.assert_array_equal(joint_features(one, fps=FPS), joint_features(both, fps=FPS))


def test_a_mirrored_body_has_mirrored_features(golden):
    mirrored = golden["keypoints"][:, MIRRORED_FEATURE_JOINTS]
    mirrored = np.stack([640 - mirrored[..., 0], mirrored[..., 1]], axis=-1)
    expected = joint_features(golden["keypoints"], fps=FPS)[:, MIRRORED_FEATURE_JOINTS]
    expected = expected * [-1, 1, -1, 1, -1, 1, 1]
    np.testing.assert_allclose(joint_features(mirrored, fps=FPS), expected, atol=1e-5)


def test_a_joint_never_seen_is_zero_and_leaves_the_others():
    whole = joint_features(still_body(), fps=FPS)
    keypoints = still_body()
    keypoints[:, joint("left_ear")] = np.nan
    features = joint_features(keypoints, fps=FPS)
    assert not features[:, joint("left_ear")].any()
    others = [i for i in range(18) if i != joint("left_ear")]
    np.testing.assert_array_equal(features[:, others], whole[:, others])


@pytest.mark.parametrize("name", ["left_shoulder", "right_hip"])
def test_without_a_trunk_everything_is_zero(name):
    keypoints = still_body()
    keypoints[:, joint(name)] = np.nan
    assert not joint_features(keypoints, fps=FPS).any()


def test_frames_with_hips_upon_the_shoulders_are_bridged():
    keypoints = still_body(300)
    whole = joint_features(keypoints, fps=FPS)
    offset = np.array([0, 0.01 * MIN_TRUNK_PX])
    for side in ("right", "left"):
        shoulder = keypoints[:, joint(f"{side}_shoulder")]
        keypoints[100:160, joint(f"{side}_hip")] = shoulder[100:160] + offset
    features = joint_features(keypoints, fps=FPS)
    assert np.isfinite(features).all()
    assert np.abs(features[..., :2]).max() < 40  # while the smoothed trunk shrinks, then grows; not 10 000
    np.testing.assert_allclose(features[-1], whole[-1], atol=1e-6)


def test_shoulders_upon_each_other_give_no_axis_but_finite_features():
    keypoints = still_body()
    keypoints[:, joint("left_shoulder")] = keypoints[:, joint("right_shoulder")]
    with np.errstate(all="raise"):
        features = joint_features(keypoints, fps=FPS)
    assert not features[:, joint("nose")].any()
    assert features[:, joint("left_ankle"), :2].any()
    assert np.isfinite(features).all()


@pytest.mark.parametrize("fps", [1, 6, 30, 240])
@pytest.mark.parametrize("frames", [1, 2, 3, 7, 14, 28, 29])
def test_short_sequences_have_finite_features(golden, frames, fps):
    features = joint_features(golden["keypoints"][50 : 50 + frames], fps=fps)
    assert features.shape == (frames, 18, 7)
    assert np.isfinite(features).all()
    assert features[..., :2].any()


def test_a_single_frame_has_a_place_but_no_movement():
    features = joint_features(still_body(1), fps=FPS)
    np.testing.assert_allclose(features[0, joint("left_wrist"), :2], [0.3, 0.6], atol=1e-6)
    assert not features[..., VX:].any()


def test_one_second_still_shows_movement(golden):
    assert np.abs(joint_features(golden["keypoints"][50:80], fps=FPS)[..., VX]).max() > 0.1


@pytest.mark.parametrize(
    ("shape", "fps", "message"),
    [
        ((5, 17, 2), 30, r"keypoints must be .*Received: \(5, 17, 2\)"),
        ((5, 18, 3), 30, r"keypoints must be .*Received: \(5, 18, 3\)"),
        ((0, 18, 2), 30, r"at least one frame.*Received: \(0, 18, 2\)"),
        ((5, 18, 2), 0, r"fps must be a positive number\. Received: 0"),
        ((5, 18, 2), np.inf, r"fps must be a positive number\. Received: inf"),
    ],
)
def test_refuses_other_shapes_and_rates(shape, fps, message):
    with pytest.raises(RefusedError, match=message):
        joint_features(np.zeros(shape), fps=fps)


def test_openpose_joints_are_found_by_name_and_the_neck_between_the_shoulders():
    pose = np.zeros((2, len(JOINTS), 3), np.float32)
    pose[..., 0] = np.arange(len(JOINTS))
    pose[..., 1] = 100 + np.arange(len(JOINTS))
    pose[..., 2] = 1
    pose[1, JOINTS.index("left_shoulder"), 2] = 0.4
    out = to_openpose_joints(pose, min_score=0.5)
    assert out.shape == (2, 18, 2)
    for index, name in enumerate(FEATURE_JOINTS):
        if name != "neck":
            place = JOINTS.index(name)
            expected = np.nan if name == "left_shoulder" else place
            np.testing.assert_array_equal(out[:, index, 0], [place, expected])
    neck = (JOINTS.index("left_shoulder") + JOINTS.index("right_shoulder")) / 2
    np.testing.assert_array_equal(out[0, joint("neck")], [neck, 100 + neck])
    assert np.isnan(out[1, joint("neck")]).all()
    assert not np.isnan(to_openpose_joints(pose, min_score=0.3)).any()


def test_refuses_poses_of_other_joints():
    with pytest.raises(RefusedError, match=r"pose must be \(T, 33, 3\)\. Received: \(4, 18, 3\)"):
        to_openpose_joints(np.zeros((4, 18, 3)))
