import cv2
import numpy as np
import pytest

from pipelines.camera import as_if_still, camera_movement, in_square, shift_px, view
from pipelines.squares import Square

HEIGHT, WIDTH = 240, 320


def textured(seed, height=HEIGHT, width=WIDTH):
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 30, 225, cv2.NORM_MINMAX).astype(np.uint8)


def similarity(angle_degrees, scale, shift):
    """(2, 3): turns and scales about the frame's middle, then shifts; points count from pixel corners."""
    angle = np.radians(angle_degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    return np.hstack([linear, (middle - linear @ middle + shift)[:, None]])


def filmed(frame, movement):
    """The frame as the moved camera sees it."""
    matrix = movement.copy()
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return cv2.warpAffine(frame, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


@pytest.fixture
def body():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[70:170, 110:210] = True
    return mask


@pytest.mark.parametrize(
    ("angle", "scale", "shift"), [(0, 1, (3.4, -1.7)), (2, 1, (0, 0)), (-1, 1.02, (2, 5)), (0, 1, (0, 0))]
)
def test_the_background_tells_the_movement_whatever_the_body_does(body, angle, scale, shift):
    first = textured(0)
    movement = similarity(angle, scale, np.array(shift))
    second = filmed(first, movement)
    first[body], second[body] = textured(1)[body], np.roll(textured(1), (9, -12), (0, 1))[body]
    found = camera_movement(view(first, body), view(second, body))
    points = np.array([[0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]], float)
    apart = points @ (found - movement)[:, :2].T + (found - movement)[:, 2]
    assert np.abs(apart).max() < 0.15


def test_movements_are_in_pixels_of_the_full_frame():
    large = textured(0, 960, 1280)
    moved = cv2.warpAffine(large, np.float32([[1, 0, 10], [0, 1, -6]]), (1280, 960))
    found = camera_movement(view(large, None), view(moved, None))
    np.testing.assert_allclose(found, [[1, 0, 10], [0, 1, -6]], atol=0.2)


def test_a_toy_that_moves_does_not_count(body):
    first = textured(0)
    second = first.copy()
    second[:, 230:] = np.roll(first, 8, 0)[:, 230:]
    found = camera_movement(view(first, body), view(second, body))
    np.testing.assert_allclose(found, np.eye(2, 3), atol=0.05)


@pytest.mark.parametrize("second", [np.full((HEIGHT, WIDTH, 3), 90, np.uint8), textured(5)])
def test_nothing_is_said_where_the_background_tells_nothing(second):
    assert camera_movement(view(textured(0), None), view(second, None)) is None
    assert camera_movement(view(second, np.ones((HEIGHT, WIDTH), bool)), view(second, None)) is None


def test_a_still_camera_would_have_taken_the_same_frame():
    movement = similarity(3, 1.05, np.array([4, -2]))
    first = textured(0)
    again = as_if_still(filmed(first, movement), movement).astype(int)
    assert np.abs(again - first)[30:-30, 30:-30].mean() < 3
    assert np.abs(filmed(first, movement).astype(int) - first)[30:-30, 30:-30].mean() > 15


def test_a_movement_in_an_upright_square_moves_the_same_points():
    square, movement = Square(150, 100, 73, 180), similarity(2, 0.97, np.array([1, 5]))
    points = np.random.default_rng(0).random((5, 2)) * 200
    moved = points @ movement[:, :2].T + movement[:, 2]
    inside = in_square(movement, square.matrix(224))
    upright = square.points(points, 224)
    np.testing.assert_allclose(upright @ inside[:, :2].T + inside[:, 2], square.points(moved, 224))


def test_the_shift_is_a_root_mean_square_in_pixels():
    assert shift_px(np.array([[1, 0, 3], [0, 1, 4]]), 100, 200) == pytest.approx(5)
    assert shift_px(np.eye(2, 3), 100, 200) == 0
