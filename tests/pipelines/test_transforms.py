import cv2
import numpy as np
import pytest
import tensorflow as tf

from pipelines.flow import FlowEstimator
from pipelines.schema import JOINTS, MIRRORED_JOINTS
from pipelines.transforms import (
    ClipTensors,
    Geometry,
    GeometryRange,
    Photometry,
    apply_flip,
    apply_geometry,
    apply_photometry,
    sample_flip,
    sample_geometry,
    sample_photometry,
)

SIZE = 64


@pytest.fixture
def clip():
    rng = np.random.default_rng(5)
    image = cv2.GaussianBlur(rng.random((SIZE, SIZE, 3)).astype(np.float32), (0, 0), 2)
    flow = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE, 6)).astype(np.float32), (0, 0), 3)
    flow = np.moveaxis(flow.reshape(SIZE, SIZE, 3, 2), 2, 0)
    pose = rng.uniform(10, 54, (4, len(JOINTS), 3)).astype(np.float32)
    frames = np.stack([image, image[::-1]])
    return ClipTensors(tf.constant(frames), tf.constant(flow), tf.constant(pose))


def assert_close(first, second, atol=1e-6):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=atol)


def test_flipping_twice_restores_the_clip(clip):
    assert_close(apply_flip(apply_flip(clip)), clip, atol=1e-5)


def test_a_flip_mirrors_pixels_negates_x_flow_and_swaps_joints(clip):
    flipped = apply_flip(clip)
    np.testing.assert_array_equal(flipped.frames, clip.frames[:, :, ::-1])
    np.testing.assert_array_equal(flipped.flow[..., 0], -clip.flow[:, :, ::-1, 0])
    np.testing.assert_array_equal(flipped.flow[..., 1], clip.flow[:, :, ::-1, 1])
    left, right = JOINTS.index("left_wrist"), JOINTS.index("right_wrist")
    assert MIRRORED_JOINTS[left] == right
    np.testing.assert_allclose(flipped.pose[:, left, 0], SIZE - clip.pose[:, right, 0], rtol=1e-6)
    np.testing.assert_array_equal(flipped.pose[:, left, 1:], clip.pose[:, right, 1:])


def test_no_movement_changes_nothing(clip):
    still = Geometry(tf.zeros(2), tf.constant(1.0), tf.constant(0.0))
    assert_close(apply_geometry(clip, still), clip, atol=1e-5)


def test_whole_pixel_shifts_move_pictures_and_joints_alike(clip):
    moved = apply_geometry(clip, Geometry(tf.constant([5.0, -3.0]), tf.constant(1.0), tf.constant(0.0)))
    np.testing.assert_allclose(moved.frames[:, :-3, 5:], clip.frames[:, 3:, :-5], atol=1e-5)
    np.testing.assert_allclose(moved.flow[:, :-3, 5:], clip.flow[:, 3:, :-5], atol=1e-5)
    np.testing.assert_allclose(moved.pose[..., :2], clip.pose[..., :2] + [5, -3], atol=1e-4)


def test_a_quarter_turn_turns_flow_vectors_too(clip):
    turned = apply_geometry(clip, Geometry(tf.zeros(2), tf.constant(1.0), tf.constant(np.pi / 2, tf.float32)))
    quarter = np.rot90(clip.frames, -1, axes=(1, 2))
    np.testing.assert_allclose(turned.frames[:, 1:-1, 1:-1], quarter[:, 1:-1, 1:-1], atol=1e-4)
    x, y = clip.flow[..., 0], clip.flow[..., 1]
    clockwise = np.stack([-y, x], axis=-1)  # right becomes down
    expected = np.rot90(clockwise, -1, axes=(1, 2))
    np.testing.assert_allclose(turned.flow[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-4)
    cx, cy = clip.pose[..., 0] - 32, clip.pose[..., 1] - 32
    np.testing.assert_allclose(turned.pose[..., :2], np.stack([32 - cy, 32 + cx], axis=-1), atol=1e-3)


def test_flow_of_the_moved_pictures_equals_the_moved_flow():
    """Moves two pictures, computes their flow, and compares with the moved flow of the unmoved ones."""
    noise = np.random.default_rng(1).random((128, 128)).astype(np.float32)
    first = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 1, cv2.NORM_MINMAX)
    second = cv2.warpAffine(
        first, np.float32([[1, 0, 2], [0, 1, 1]]), (128, 128), borderMode=cv2.BORDER_REFLECT
    )
    geometry = Geometry(tf.constant([4.0, 2.0]), tf.constant(1.2), tf.constant(0.4))

    def move(picture):
        rgb = tf.constant(np.repeat(picture[..., None], 3, -1))
        empty = ClipTensors(rgb[None], tf.zeros((1, 128, 128, 2)), tf.zeros((2, 33, 3)))
        return (apply_geometry(empty, geometry).frames[0, ..., 0].numpy() * 255).astype(np.uint8)

    true = np.broadcast_to(np.float32([2, 1]), (1, 128, 128, 2))
    rgb = tf.constant(np.repeat(first[..., None], 3, -1))
    moved = apply_geometry(ClipTensors(rgb[None], tf.constant(true), tf.zeros((2, 33, 3))), geometry).flow[0]
    measured = FlowEstimator("farneback").between(move(first), move(second))
    inner = slice(44, 84)
    difference = np.median(measured[inner, inner] - moved[inner, inner], axis=(0, 1))
    np.testing.assert_allclose(difference, 0, atol=0.15)


def test_light_keeps_black_black(clip):
    dark = clip._replace(frames=tf.concat([tf.zeros((2, SIZE, 32, 3)), clip.frames[:, :, 32:]], axis=2))
    lit = apply_photometry(dark, Photometry(tf.constant([1.2, 1.0, 0.9]), tf.constant(0.8)))
    assert not lit.frames[:, :, :32].numpy().any()
    assert np.abs(lit.frames[:, :, 32:] - dark.frames[:, :, 32:]).mean() > 0.01
    assert lit.frames.numpy().max() <= 1
    np.testing.assert_array_equal(lit.flow, dark.flow)


def test_draws_stay_in_their_range_repeat_by_seed_and_vary():
    limits = GeometryRange(shift=0.1, scale=0.2, rotation_degrees=15)
    draws = [sample_geometry(tf.constant([3, i]), limits, SIZE) for i in range(200)]
    shifts = np.array([draw.shift for draw in draws])
    scales, angles = np.array([draw.scale for draw in draws]), np.degrees([draw.angle for draw in draws])
    assert np.abs(shifts).max() <= 6.4
    assert 1 / 1.2 - 1e-6 <= scales.min() < 0.87
    assert 1.15 < scales.max() <= 1.2 + 1e-6
    assert 13 < np.abs(angles).max() <= 15.001
    again = sample_geometry(tf.constant([3, 0]), limits, SIZE)
    np.testing.assert_array_equal(again.shift, draws[0].shift)
    flips = np.mean([sample_flip(tf.constant([1, i])).numpy() for i in range(400)])
    assert 0.4 < flips < 0.6
    gains = np.array([sample_photometry(tf.constant([1, i]), 0.2).gain for i in range(200)])
    assert 1.1 < gains.max() < 1.3


@pytest.mark.parametrize(
    "change",
    [
        apply_flip,
        lambda clip: apply_geometry(
            clip, Geometry(tf.constant([2.0, 1.0]), tf.constant(1.1), tf.constant(0.2))
        ),
        lambda clip: apply_photometry(clip, Photometry(tf.constant([1.1, 1.0, 0.9]), tf.constant(1.1))),
    ],
    ids=["flip", "geometry", "photometry"],
)
def test_eagerly_and_inside_tf_data_alike(clip, change):
    inside = next(iter(tf.data.Dataset.from_tensors(clip).map(change)))
    assert_close(inside, change(clip), atol=1e-5)
