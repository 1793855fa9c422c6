import cv2
import numpy as np
import pytest
import tensorflow as tf

from pipelines.flow import FlowEstimator, dequantize_flow, quantize_flow
from pipelines.schema import JOINTS, MIRRORED_JOINTS
from pipelines.transforms import (
    ClipPixels,
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
MAX_PX = 8


@pytest.fixture
def clip():
    rng = np.random.default_rng(5)
    image = cv2.GaussianBlur(rng.random((SIZE, SIZE, 3)).astype(np.float32), (0, 0), 2)
    flow = 10 * cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE, 6)).astype(np.float32), (0, 0), 3)
    pose = rng.uniform(10, 54, (4, len(JOINTS), 3)).astype(np.float32)
    frames = np.rint(255 * np.stack([image, image[::-1]])).astype(np.uint8)
    return ClipPixels(frames, quantize_flow(flow, MAX_PX), pose)


def vectors(clip):
    """(S, S, L, 2) float32 pixels."""
    return dequantize_flow(clip.flow, MAX_PX).reshape(*clip.flow.shape[:2], -1, 2)


CODE = MAX_PX / 127


def geometry(shift=(0.0, 0.0), scale=1.0, angle=0.0):
    return Geometry(np.float32(shift), np.float32(scale), np.float32(angle))


def test_flipping_twice_restores_the_clip(clip):
    again = apply_flip(apply_flip(clip))
    np.testing.assert_array_equal(again.frames, clip.frames)
    np.testing.assert_array_equal(again.flow, clip.flow)
    np.testing.assert_allclose(again.pose, clip.pose, atol=1e-5)


def test_a_flip_mirrors_pixels_negates_x_flow_and_swaps_joints(clip):
    flipped = apply_flip(clip)
    np.testing.assert_array_equal(flipped.frames, clip.frames[:, :, ::-1])
    np.testing.assert_array_equal(vectors(flipped)[..., 0], -vectors(clip)[:, ::-1, :, 0])
    np.testing.assert_array_equal(vectors(flipped)[..., 1], vectors(clip)[:, ::-1, :, 1])
    left, right = JOINTS.index("left_wrist"), JOINTS.index("right_wrist")
    assert MIRRORED_JOINTS[left] == right
    np.testing.assert_allclose(flipped.pose[:, left, 0], SIZE - clip.pose[:, right, 0], rtol=1e-6)
    np.testing.assert_array_equal(flipped.pose[:, left, 1:], clip.pose[:, right, 1:])


def test_no_movement_changes_nothing(clip):
    still = apply_geometry(clip, geometry())
    np.testing.assert_array_equal(still.frames, clip.frames)
    np.testing.assert_array_equal(still.flow, clip.flow)
    np.testing.assert_allclose(still.pose, clip.pose, atol=1e-5)


def test_whole_pixel_shifts_move_pictures_and_joints_alike(clip):
    moved = apply_geometry(clip, geometry(shift=(5, -3)))
    np.testing.assert_array_equal(moved.frames[:, :-3, 5:], clip.frames[:, 3:, :-5])
    np.testing.assert_array_equal(moved.flow[:-3, 5:], clip.flow[3:, :-5])
    np.testing.assert_allclose(moved.pose[..., :2], clip.pose[..., :2] + [5, -3], atol=1e-4)


def test_what_comes_in_from_outside_is_black_and_does_not_move(clip):
    moved = apply_geometry(clip, geometry(shift=(5, -3)))
    assert not moved.frames[:, :, :5].any()
    assert not moved.frames[:, -3:].any()
    assert not vectors(moved)[:, :5].any()
    assert not vectors(moved)[-3:].any()


def test_a_quarter_turn_turns_flow_vectors_too(clip):
    turned = apply_geometry(clip, geometry(angle=np.pi / 2))
    inner = slice(1, -1)
    quarter = np.rot90(clip.frames, -1, axes=(1, 2))
    np.testing.assert_allclose(turned.frames[:, inner, inner], quarter[:, inner, inner], atol=1)
    x, y = vectors(clip)[..., 0], vectors(clip)[..., 1]
    clockwise = np.stack([-y, x], axis=-1)  # right becomes down
    expected = np.rot90(clockwise, -1, axes=(0, 1))
    np.testing.assert_allclose(vectors(turned)[inner, inner], expected[inner, inner], atol=1.01 * CODE)
    cx, cy = clip.pose[..., 0] - 32, clip.pose[..., 1] - 32
    np.testing.assert_allclose(turned.pose[..., :2], np.stack([32 - cy, 32 + cx], axis=-1), atol=1e-3)


def test_flow_is_within_a_code_of_what_exact_resampling_gives(clip):
    """Against bilinear resampling and turning in float64."""
    turned = apply_geometry(clip, geometry(shift=(3.3, -1.7), scale=1.1, angle=0.3))
    cos, sin = 1.1 * np.cos(0.3), 1.1 * np.sin(0.3)
    linear = np.array([[cos, -sin], [sin, cos]])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    from_middle = np.stack([columns, rows], -1) - 31.5 - [3.3, -1.7]
    source = from_middle @ np.linalg.inv(linear).T + 31.5
    low = np.floor(source).astype(int)
    inside = ((low >= 0) & (low < SIZE - 1)).all(-1)
    x, y = np.where(inside[..., None], low, 0).transpose(2, 0, 1)
    right, down = np.where(inside[..., None], source - low, 0).transpose(2, 0, 1)[..., None, None]
    before = vectors(clip).astype(np.float64)
    between = (1 - down) * ((1 - right) * before[y, x] + right * before[y, x + 1])
    between += down * ((1 - right) * before[y + 1, x] + right * before[y + 1, x + 1])
    expected = np.clip(between @ linear.T, -MAX_PX, MAX_PX)
    error = np.abs(vectors(turned) - expected)[inside] / CODE
    assert inside.mean() > 0.6
    # OpenCV places samples within 1/32 px.
    assert np.quantile(error, 0.99) < 2
    assert error.mean() < 0.6


def test_faster_than_the_codes_tell_is_the_fastest_that_they_tell(clip):
    fast = clip._replace(flow=np.full_like(clip.flow, 1))
    grown = apply_geometry(fast, geometry(scale=1.5))
    assert set(np.unique(grown.flow)) == {1}


def test_flow_of_the_moved_pictures_equals_the_moved_flow():
    """Moves two pictures, computes their flow, and compares with the moved flow of the unmoved ones."""
    noise = np.random.default_rng(1).random((128, 128)).astype(np.float32)
    first = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    second = cv2.warpAffine(
        first, np.float32([[1, 0, 2], [0, 1, 1]]), (128, 128), borderMode=cv2.BORDER_REFLECT
    )
    true = quantize_flow(np.broadcast_to(np.float32([2, 1]), (128, 128, 2)), MAX_PX)
    frames = np.repeat(np.stack([first, second])[..., None], 3, axis=-1)
    moved = apply_geometry(
        ClipPixels(frames, true, np.zeros((2, 33, 3), np.float32)),
        geometry(shift=(4, 2), scale=1.2, angle=0.4),
    )
    measured = FlowEstimator("farneback").between(*moved.frames[..., 0])
    inner = slice(44, 84)
    difference = np.median(measured[inner, inner] - vectors(moved)[inner, inner, 0], axis=(0, 1))
    np.testing.assert_allclose(difference, 0, atol=0.15)


def test_light_keeps_black_black(clip):
    dark = clip._replace(frames=clip.frames.copy())
    dark.frames[:, :, :32] = 0
    lit = apply_photometry(dark, Photometry(np.float32([1.2, 1.0, 0.9]), np.float32(0.8)))
    assert not lit.frames[:, :, :32].any()
    expected = 255 * np.minimum(1, (dark.frames / 255) ** 0.8 * [1.2, 1.0, 0.9])
    np.testing.assert_allclose(lit.frames, expected, atol=0.51)
    assert np.abs(lit.frames.astype(float) - dark.frames).mean() > 1
    np.testing.assert_array_equal(lit.flow, dark.flow)


def test_a_clip_without_frames_or_without_flow_is_changed_all_the_same(clip):
    for bare in (clip._replace(frames=clip.frames[:0]), clip._replace(flow=clip.flow[..., :0])):
        changed = apply_photometry(
            apply_geometry(apply_flip(bare), geometry(shift=(5, -3))),
            Photometry(np.float32([1.2, 1.0, 0.9]), np.float32(0.8)),
        )
        assert [part.shape for part in changed] == [part.shape for part in bare]


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
