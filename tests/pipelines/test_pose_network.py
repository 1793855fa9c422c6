import zipfile
from dataclasses import replace

import numpy as np
import pytest

from pipelines.optional import load_mediapipe
from pipelines.pose import overlap
from pipelines.pose_model import careful_model, pose_model
from pipelines.pose_network import PoseNetworks, refined
from pipelines.schema import MASK_SCORE, RefusedError
from pipelines.squares import Square
from pipelines.video import sample_frames


@pytest.fixture(scope="module")
def networks():
    return PoseNetworks(pose_model(), careful=careful_model())


@pytest.fixture(scope="module")
def frames(infants):
    return [next(sample_frames(video, 6)).pixels for video in sorted(infants.glob("*/*/video.mp4"))]


def mediapipe_answer(frame):
    """MediaPipe's own joints (33, 4), x, y, visibility, presence, with the mask (H, W), or None."""
    mediapipe = load_mediapipe()
    tasks = load_mediapipe("mediapipe.tasks.python")
    options = tasks.vision.PoseLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(pose_model())), output_segmentation_masks=True
    )
    with tasks.vision.PoseLandmarker.create_from_options(options) as landmarker:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
        result = landmarker.detect(image)
    if not result.pose_landmarks:
        return None
    height, width = frame.shape[:2]
    joints = [
        (mark.x * width, mark.y * height, mark.visibility, mark.presence) for mark in result.pose_landmarks[0]
    ]
    mask = result.segmentation_masks[0].numpy_view().reshape(height, width)
    return np.array(joints), mask > MASK_SCORE


def test_answers_are_mediapipes(networks, frames):
    overlaps, apart = [], []
    for frame in frames:
        for quarter_turns in range(4):
            turned = np.ascontiguousarray(np.rot90(frame, quarter_turns))
            expected, found = mediapipe_answer(turned), networks.detect(turned, 0, 0.5)
            assert bool(found) == (expected is not None)
            if expected is None:
                continue
            joints, mask = expected
            person = networks.read(turned, found[0].square)
            if joints[:, 2].mean() < 0.9:
                continue  # a body that the network misreads: a trembling answer tells nothing
            side = person.square.side_px
            apart.append(np.abs(person.joints[:, :2] - joints[:, :2]).mean() / side)
            np.testing.assert_allclose(person.joints[:, 2], joints[:, 2], atol=0.15)
            np.testing.assert_allclose(person.presence, joints[:, 3], atol=0.15)
            overlaps.append(overlap(person.mask_in_frame(*turned.shape[:2]) > MASK_SCORE, mask))
    assert len(overlaps) >= 9
    # A pixel that rounds otherwise already moves a joint by a thousandth of the square.
    assert np.mean(apart) < 0.004
    assert max(apart) < 0.0075
    assert min(overlaps) > 0.9
    assert np.median(overlaps) > 0.97


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_frame_is_turned_for_the_detector(networks, frames, quarter_turns):
    """What is seen in a frame turned by hand, and in one that the network turns, lies at the same place."""
    frame = frames[0][:, :480]
    by_hand = networks.detect(np.rot90(frame, quarter_turns), 0, 0.5)
    by_network = networks.detect(frame, quarter_turns, 0.5)
    assert len(by_hand) == len(by_network)
    for one, other in zip(by_hand, by_network, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.02)
        assert one.square.side_px == pytest.approx(other.square.side_px, rel=0.03)
        turned = (
            other.square.angle_degrees - one.square.angle_degrees - 90 * quarter_turns + 180
        ) % 360 - 180
        assert abs(turned) < 5


def test_nobody_is_detected_in_noise(networks):
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    assert networks.detect(noise, 0, 0.5) == []
    assert networks.read(noise, Square(320, 240, 0, 300)).score < 0.5


def test_a_mask_goes_back_where_it_was_read(networks, frames):
    """Reading in a square that is moved and turned moves nothing in the frame."""
    frame = frames[0]
    square = networks.read(frame, networks.detect(frame, 0, 0.5)[0].square).next_square
    moved = Square(square.center_x + 8, square.center_y - 6, square.angle_degrees + 8, square.side_px)
    masks = [networks.read(frame, one).mask_in_frame(*frame.shape[:2]) > 0.5 for one in (square, moved)]
    assert overlap(*masks) > 0.9


def test_a_bundle_without_the_networks_is_refused(tmp_path):
    path = tmp_path / "other.task"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("hand_detector.tflite", b"")
    with pytest.raises(RefusedError, match=r"must hold pose_detector.tflite.*Received: other.task"):
        PoseNetworks(path)
    with zipfile.ZipFile(path, "w") as bundle:
        for name in ("pose_detector", "pose_landmarks_detector"):
            bundle.writestr(f"{name}.tflite", b"no network")
    with pytest.raises(RefusedError, match=r"Received: other.task \("):
        PoseNetworks(path)


def test_a_point_goes_to_the_heat_around_it():
    heat = np.full((64, 64, 3), -20.0, np.float32)
    heat[20, 31, 0] = heat[20, 32, 0] = 5  # row 20, between columns 31 and 32
    heat[40, 40, 1] = -1  # too cold to be believed
    points = np.array([[30 * 4 + 2, 21 * 4 + 2], [39 * 4, 39 * 4], [-8, 300]], np.float32)
    found = refined(points, heat, 256)
    np.testing.assert_allclose(found, [[31.5 * 4, 20 * 4], [156, 156], [-8, 300]], atol=1e-3)


def test_a_mask_read_in_a_mirror_is_that_of_the_mirrored_frame(networks, frames):
    frame = frames[0]
    square = networks.detect_all(frame, 0.5)[0].square
    width = frame.shape[1]
    mirrored_square = replace(square, center_x=width - square.center_x, angle_degrees=-square.angle_degrees)
    expected = networks.read_carefully(np.ascontiguousarray(frame[:, ::-1]), mirrored_square)
    mask = networks.mirrored_mask(frame, square)
    np.testing.assert_allclose(mask[:, ::-1], expected.mask_in_frame(*frame.shape[:2]), atol=0.05)
    assert (
        overlap(mask > MASK_SCORE, networks.read(frame, square).mask_in_frame(*mask.shape) > MASK_SCORE) > 0.8
    )


def test_a_careful_reading_is_the_larger_networks(networks, frames):
    square = networks.detect_all(frames[0], 0.5)[0].square
    fast, careful = networks.read(frames[0], square), networks.read_carefully(frames[0], square)
    assert 0.8 < overlap(fast.mask > MASK_SCORE, careful.mask > MASK_SCORE) < 1
    alone = PoseNetworks(pose_model())
    np.testing.assert_array_equal(alone.read_carefully(frames[0], square).mask, fast.mask)


def test_a_careful_network_that_is_none_is_refused(tmp_path):
    (tmp_path / "careful.tflite").write_bytes(b"no network")
    with pytest.raises(RefusedError, match=r"careful pose network must be a TFLite file. Received: careful"):
        PoseNetworks(pose_model(), careful=tmp_path / "careful.tflite")
