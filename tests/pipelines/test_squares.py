import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipelines.squares import Square

SQUARES = [
    Square(81.5, 60.25, 37.0, 90.0),
    Square(20.0, 95.0, -140.0, 160.0),
    Square(70.3, 40.9, 90.0, 33.0),
    Square(5.0, 5.0, 251.0, 700.0),
]


def smooth_frame():
    rough = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(rough, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_quarter_turns_are_numpys(quarter_turns):
    frame = np.arange(36, dtype=np.uint8).reshape(6, 6)
    square = Square(3, 3, 90 * quarter_turns, 6)
    turned = cv2.warpAffine(frame, square.pixel_matrix(6), (6, 6), flags=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(turned, np.rot90(frame, quarter_turns))
    np.testing.assert_array_equal(square.cut(frame, 6), np.rot90(frame, quarter_turns))


@pytest.mark.parametrize("square", SQUARES)
def test_a_cut_is_linear_between_the_four_pixels_around_a_place(square):
    frame, size = smooth_frame(), 64
    inverse = cv2.invertAffineTransform(square.pixel_matrix(size))
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    # To the next 32nd of a pixel, as OpenCV's table of weights has them.
    x, y = (np.rint(32 * (one[0] * column + one[1] * row + one[2])).astype(int) for one in inverse)
    padded = np.zeros((2000, 2000, 3), int)
    padded[900:1020, 900:1060] = frame
    left, top, right, down = (x >> 5) + 900, (y >> 5) + 900, (x & 31)[..., None], (y & 31)[..., None]
    above = padded[top, left] * (32 - right) + padded[top, left + 1] * right
    below = padded[top + 1, left] * (32 - right) + padded[top + 1, left + 1] * right
    expected = (above * (32 - down) + below * down + 512) >> 10
    found = square.cut(frame, size)
    assert found.dtype == np.uint8
    # A place that lies in the middle of two 32nds may fall to either: up to a 32nd of 255 apart.
    assert np.mean(found != expected) < 0.02
    np.testing.assert_allclose(found, expected, atol=8)


@pytest.mark.parametrize("square", SQUARES)
def test_a_cut_is_opencvs_own_but_for_its_rounding(square):
    frame = smooth_frame()
    wanted = cv2.warpAffine(frame, square.pixel_matrix(64), (64, 64), flags=cv2.INTER_LINEAR)
    apart = np.abs(square.cut(frame, 64).astype(int) - wanted)
    assert apart.mean() < 0.5
    assert apart.max() <= 12


def test_a_cut_far_outside_is_black():
    frame = np.full((120, 160), 255, np.uint8)
    for far in (1e3, -1e3, 4e4, -4e7):
        assert not Square(far, 60, 12, 90).cut(frame, 32).any()
    assert Square(80, 60, 12, 40).cut(frame, 32).all()


def test_a_cut_is_the_same_whatever_the_processor_can():
    """OpenCV's own warp is not: it rounds otherwise where a product and a sum are one instruction."""
    program = (
        "import hashlib, numpy as np; from pipelines.squares import Square;"
        "frame = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8);"
        "print(hashlib.sha256(Square(161.7, 119.2, 37.3, 233.3).cut(frame, 128)).hexdigest())"
    )
    found = set()
    newer = "AVX512_SKX,AVX512-SKX,AVX2,FMA3"
    for without in ("", newer, f"{newer},AVX,SSE4_2,SSE4_1"):
        environment = os.environ | {"OPENCV_CPU_DISABLE": without}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        found.add(run.stdout.split()[-1])
    assert len(found) == 1


def test_the_grid_takes_up_what_rounding_moves():
    rng = np.random.default_rng(2)
    changed = 0
    for _ in range(500):
        x, y, angle, side = rng.uniform((0, 0, -180, 50), (640, 480, 180, 900))
        square = Square(x, y, angle, side)
        on_grid = square.on_grid()
        assert on_grid.on_grid() == on_grid
        assert max(abs(on_grid.center_x - x), abs(on_grid.center_y - y)) <= on_grid.side_px / 511
        assert abs(on_grid.angle_degrees - angle) <= 0.25
        assert abs(np.log2(on_grid.side_px / side)) <= 1 / 128 + 1e-9
        moved = Square(*(np.array([x, y, angle, side]) + rng.uniform(-1e-3, 1e-3, 4)))
        changed += moved.on_grid() != on_grid
    assert changed <= 5


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
