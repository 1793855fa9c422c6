import numpy as np
import pytest

from pipelines.alignment import circular_mean_degrees, estimate_alignment, middle_square
from pipelines.schema import JOINTS, RefusedError

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = (
    JOINTS.index(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)


def pose(center, length, degrees, width=30.0):
    """A pose whose neck-to-crotch line is turned by `degrees` from straight down towards the left."""
    out = np.zeros((len(JOINTS), 3), np.float32)
    angle = np.radians(degrees)
    down, right = np.array([-np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), np.sin(angle)])
    for joint, along, across in [
        (LEFT_SHOULDER, -0.5, 0.5),
        (RIGHT_SHOULDER, -0.5, -0.5),
        (LEFT_HIP, 0.5, 0.5),
        (RIGHT_HIP, 0.5, -0.5),
    ]:
        out[joint, :2] = center + along * length * down + across * width * right
        out[joint, 2] = 1
    return out


@pytest.mark.parametrize("degrees", [0, 37, 90, 135, 180, -60])
def test_the_aligned_torso_is_upright_centred_and_of_known_length(degrees):
    poses = np.stack([pose((300, 200), 80, degrees)] * 3)
    alignment = estimate_alignment(poses, 224)
    aligned = alignment.aligned(poses[0])
    neck = aligned[[LEFT_SHOULDER, RIGHT_SHOULDER], :2].mean(axis=0)
    crotch = aligned[[LEFT_HIP, RIGHT_HIP], :2].mean(axis=0)
    # side = 3 * length / 0.8, so the torso takes 0.8 / 3 of it.
    np.testing.assert_allclose(crotch - neck, [0, 224 * 0.8 / 3], atol=1e-3)
    np.testing.assert_allclose((neck + crotch) / 2, [112, 112], atol=1e-3)
    # The infant's left is on the picture's right.
    assert aligned[LEFT_SHOULDER, 0] > aligned[RIGHT_SHOULDER, 0]


def test_pixels_go_where_points_go():
    frame = np.zeros((400, 600), np.uint8)
    frame[240:244, 340:344] = 255
    alignment = estimate_alignment(pose((300, 200), 80, 30)[None], 224)
    warped = alignment.warp(frame).astype(float)
    ys, xs = np.mgrid[:224, :224] + 0.5
    found = np.array([(xs * warped).sum(), (ys * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(found, alignment.aligned(np.array([342.0, 242.0])), atol=0.15)


def test_angles_are_averaged_on_the_circle():
    assert circular_mean_degrees(np.array([170.0, -170.0])) == pytest.approx(180)
    poses = np.stack([pose((300, 200), 80, angle) for angle in (174, -176, 178, -174)])
    assert abs(estimate_alignment(poses, 224).angle_degrees) == pytest.approx(180, abs=4)


def test_only_the_middle_half_by_torso_length_counts():
    good = [pose((300, 200), 80 + i, 0) for i in range(4)]
    wild = [pose((30, 20), 500, 0), pose((590, 390), 400, 0), pose((0, 0), 20, 0), pose((9, 9), 15, 0)]
    alignment = estimate_alignment(np.stack(wild[:2] + good + wild[2:]), 224)
    assert alignment.center_x == pytest.approx(300)
    assert alignment.side_px == pytest.approx(81.5 * 3 / 0.8)


def test_poses_without_a_whole_torso_do_not_count():
    hidden = pose((10, 10), 200, 90)
    hidden[LEFT_HIP, 2] = 0.2
    seen = pose((300, 200), 80, 0)
    assert estimate_alignment(np.stack([hidden, seen]), 224).center_x == pytest.approx(300)
    with pytest.raises(
        RefusedError, match=r"both shoulders and both hips.*Received: 1 frames with a body, none"
    ):
        estimate_alignment(hidden[None], 224)


def test_a_body_that_turns_is_refused():
    poses = np.stack([pose((300, 200), 80, angle) for angle in (0, 90, 180, 270) * 2])
    with pytest.raises(RefusedError, match=r"lies in one direction.*Received: 0.00 over"):
        estimate_alignment(poses, 224)


def test_the_middle_square_keeps_pixels():
    frame = np.random.default_rng(0).integers(0, 256, (100, 140, 3), np.uint8)
    np.testing.assert_array_equal(middle_square(100, 140, 100).warp(frame), frame[:, 20:120])
