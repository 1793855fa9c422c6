"""What an infant lies on: still pictures of several families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.texture import Colour, Image, hsv, smooth_noise

Canvas = NDArray[np.float32]  # (h, w, 3) BGR, 0..255


def _grid(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Canvas, Canvas]:
    """Turned and shifted coordinates of the ground, pixels, each (h, w)."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = c * x + s * y, c * y - s * x
    # A blanket's threads wander.
    u += 3 * smooth_noise(rng, shape, 120)
    v += 3 * smooth_noise(rng, shape, 120)
    return u + np.float32(rng.uniform(0, 999)), v + np.float32(rng.uniform(0, 999))


def _mix(share: Canvas, first: Colour, second: Colour) -> Canvas:
    part = share[..., None]
    return (np.array(first, np.float32) * (1 - part) + np.array(second, np.float32) * part).astype(np.float32)


def _wrinkled(rng: np.random.Generator, picture: Canvas, depth: float) -> Canvas:
    """Folds of cloth: light on one flank, dark on the other."""
    shape = picture.shape[:2]
    relief = smooth_noise(rng, shape, 90) + 0.6 * np.abs(smooth_noise(rng, shape, 60)) * 2
    slope = cv2.Sobel(cv2.GaussianBlur(relief, (0, 0), 6), cv2.CV_32F, 1, 1, ksize=5)
    slope /= max(float(np.abs(slope).max()), 1e-6)
    weave = 0.015 * smooth_noise(rng, shape, 2)
    return picture * (1 + depth * slope + weave)[..., None]


def _striped_blanket(rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
    u, _ = _grid(rng, shape)
    period = rng.uniform(34, 80)
    hue = rng.uniform(-0.04, 0.12) % 1  # reds to yellows
    share = np.clip(0.5 + 4 * np.sin(2 * np.pi * u / period), 0, 1)
    share = np.maximum(share, 0.6 * np.clip(4 * np.sin(2 * np.pi * u / period * 3) - 3.2, 0, 1))
    ground = _mix(share, hsv(hue, rng.uniform(0.2, 0.5), 0.85), hsv(hue, 0.1, 0.95))
    return _wrinkled(rng, ground, 0.5)


def _checked_blanket(rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
    u, v = _grid(rng, shape)
    period = rng.uniform(40, 90)
    hue = rng.uniform(0.5, 0.7)  # blues
    share = 0.5 * (np.sin(2 * np.pi * u / period) > 0) + 0.5 * (np.sin(2 * np.pi * v / period) > 0)
    share = cv2.GaussianBlur(share.astype(np.float32), (0, 0), 1.0)
    ground = _mix(share, hsv(hue, 0.1, 0.95), hsv(hue, rng.uniform(0.35, 0.6), 0.6))
    return _wrinkled(rng, ground, 0.45)


def _printed_blanket(rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
    hue = rng.uniform(0.25, 0.42)  # greens
    ground = np.empty((*shape, 3), np.float32)
    ground[:] = hsv(hue, rng.uniform(0.15, 0.4), rng.uniform(0.6, 0.9))
    step = int(rng.integers(46, 80))
    prints = [hsv(rng.uniform(), rng.uniform(0.2, 0.6), rng.uniform(0.5, 1)) for _ in range(3)]
    for row, y in enumerate(range(-step, shape[0] + step, step)):
        for x in range(-step, shape[1] + step, step):
            spot = np.array([x + (row % 2) * step / 2, y]) + rng.uniform(-6, 6, 2)
            radius = step * rng.uniform(0.12, 0.24)
            points = int(rng.integers(3, 9))
            turn = rng.uniform(0, 2 * np.pi) + np.arange(2 * points) * np.pi / points
            reach = radius * np.where(np.arange(2 * points) % 2, rng.uniform(0.5, 1.0), 1.0)
            star = spot + reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], -1)
            colour = prints[rng.integers(3)]
            cv2.fillPoly(ground, [np.round(star * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    return _wrinkled(rng, ground, 0.45)


def _wooden_floor(rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
    u, v = _grid(rng, shape)
    plank = rng.uniform(50, 90)
    board = np.floor(v / plank).astype(int)
    board -= board.min()
    tones = rng.normal(0, 0.07, int(board.max()) + 2)
    shift = rng.uniform(0, 400, int(board.max()) + 2)
    grain = np.sin(0.25 * v + 5 * np.sin(u / 90 + shift[board]) + shift[board])
    shade = 1 + tones[board] + 0.045 * grain + 0.03 * smooth_noise(rng, shape, 3)
    gap = (np.abs(v % plank) < 2) | ((u + shift[board]) % 380 < 2)
    shade = np.where(gap, 0.5, shade).astype(np.float32)
    colour = np.array(hsv(rng.uniform(0.055, 0.09), rng.uniform(0.35, 0.6), rng.uniform(0.5, 0.8)))
    return (cv2.GaussianBlur(shade, (0, 0), 0.7)[..., None] * colour).astype(np.float32)


def _puzzle_mat(rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
    u, v = _grid(rng, shape)
    side = rng.uniform(110, 170)
    hue = rng.uniform()
    colours = np.array(
        [hsv((hue + 0.25 * k) % 1, rng.uniform(0.3, 0.6), rng.uniform(0.65, 0.95)) for k in range(4)]
    )
    # Teeth: each tile's border swings into its neighbour.
    across = u + 0.05 * side * np.sign(np.sin(2 * np.pi * v / side * 3))
    down = v + 0.05 * side * np.sign(np.sin(2 * np.pi * u / side * 3))
    i, j = np.floor(across / side).astype(int), np.floor(down / side).astype(int)
    ground = colours[(i + 2 * j + (i * j) % 3) % 4].astype(np.float32)
    tile = (i * 64 + j).astype(np.float32)
    seam = cv2.morphologyEx(tile, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    ground *= np.where(seam, 0.65, 1 + 0.03 * smooth_noise(rng, shape, 3))[..., None]
    return ground.astype(np.float32)


def _crib(rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
    height, width = shape
    hue = rng.uniform(0.75, 0.95)  # pinks
    sheet = np.empty((height, width, 3), np.float32)
    sheet[:] = hsv(hue, rng.uniform(0.05, 0.2), rng.uniform(0.8, 0.97))
    sheet = _wrinkled(rng, sheet, 0.6)
    wood = np.array(hsv(rng.uniform(0.06, 0.1), rng.uniform(0.1, 0.5), rng.uniform(0.6, 0.95)), np.float32)
    wall = np.array(hsv(rng.uniform(), 0.15, rng.uniform(0.3, 0.6)), np.float32)
    # Bars along two opposite edges, as seen from above the mattress.
    depth = int(min(shape) * rng.uniform(0.1, 0.15))
    gap, bar = int(rng.integers(26, 40)), int(rng.integers(8, 13))
    for lower in (False, True):
        rows = slice(height - depth, height) if lower else slice(0, depth)
        stripe = np.arange(width) % gap < bar
        round_shade = 0.75 + 0.25 * np.sin(np.pi * (np.arange(width) % gap + 0.5) / bar)
        sheet[rows] = np.where(stripe[None, :, None], wood * round_shade[None, :, None], wall)
        rail = slice(height - depth, height - depth + 8) if lower else slice(depth - 8, depth)
        sheet[rail] = wood * 0.85
    return sheet


FAMILIES: Final[dict[str, Callable[[np.random.Generator, tuple[int, int]], Canvas]]] = {
    "striped": _striped_blanket,
    "checked": _checked_blanket,
    "wood": _wooden_floor,
    "printed": _printed_blanket,
    "puzzle": _puzzle_mat,
    "crib": _crib,
}
"""Background family -> its picture, (h, w, 3) float32 BGR."""


def paint_background(rng: np.random.Generator, family: str, shape: tuple[int, int]) -> Image:
    """A still background of one family, (h, w, 3) uint8 BGR, h and w in pixels."""
    return np.clip(FAMILIES[family](rng, shape), 0, 255).astype(np.uint8)
