import cv2
import numpy as np
import pytest

from pipelines.squares import Square


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_quarter_turns_are_numpys(quarter_turns):
    frame = np.arange(36, dtype=np.uint8).reshape(6, 6)
    square = Square(3, 3, 90 * quarter_turns, 6)
    turned = cv2.warpAffine(frame, square.pixel_matrix(6), (6, 6), flags=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(turned, np.rot90(frame, quarter_turns))


def test_points_come_back():
    square = Square(310, 190, 33, 150)
    points = np.random.default_rng(0).uniform(0, 400, (7, 3))
    there = square.points(points, 256)
    np.testing.assert_allclose(square.points_in_frame(there, 256), points, atol=1e-9)
    np.testing.assert_array_equal(there[:, 2], points[:, 2])


def test_feet_that_point_left_are_set_down():
    square = Square(100, 50, 90, 40)
    head, feet = np.array([110.0, 50.0]), np.array([90.0, 50.0])
    np.testing.assert_allclose(square.points(np.stack([head, feet]), 80), [[40, 20], [40, 60]], atol=1e-9)


def test_pixels_go_where_points_go():
    frame = np.zeros((400, 600), np.uint8)
    frame[240:244, 340:344] = 255
    square = Square(300, 200, 30, 250)
    warped = cv2.warpAffine(frame, square.pixel_matrix(224), (224, 224)).astype(float)
    y, x = np.mgrid[:224, :224] + 0.5
    found = np.array([(x * warped).sum(), (y * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(found, square.points(np.array([342.0, 242.0]), 224), atol=0.15)
