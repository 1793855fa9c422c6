"""Painted surfaces: cloth, skin and a face, as small pictures that stick to the body.

A limb's picture has its length along x and its girth along y; the middle row faces the camera. All
pictures are (h, w, 3) uint8 BGR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]  # BGR, 0..255

TEXELS: Final = 128  # texels a torso length
SIDE: Final = 256  # width and height of every limb's picture
FACE_WIDTH: Final = 512  # longitude -180..180 degrees
FACE_HEIGHT: Final = 256  # latitude -90..90 degrees


@dataclass(frozen=True)
class Cloth:
    """One garment's fabric."""

    pattern: str  # plain, striped, dotted, checked
    colour: Colour
    second: Colour
    spacing: float  # texels from stripe to stripe


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Colour from hue (0..1), saturation and value (0..1) to BGR 0..255."""
    pixel = np.array([[[hue * 360, saturation, value]]], np.float32)
    b, g, r = (cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0] * 255).tolist()
    return b, g, r


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> NDArray[np.float32]:
    """Blotches of about `cell` texels. Returns (h, w) float32, mean 0, standard deviation about 1."""
    coarse = rng.normal(size=(shape[0] // cell + 3, shape[1] // cell + 3)).astype(np.float32)
    fine = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (fine - fine.mean()) / max(float(fine.std()), 1e-6)


def sample_cloth(rng: np.random.Generator) -> Cloth:
    """A garment's fabric."""
    hue, saturation, value = rng.uniform(), rng.uniform(0.08, 0.65), rng.uniform(0.5, 0.95)
    pattern = str(rng.choice(["plain", "striped", "dotted", "checked"], p=[0.35, 0.3, 0.25, 0.1]))
    bright = 0.95 if value < 0.75 else 0.55
    second = hsv((hue + rng.choice([0.0, 0.08, 0.5])) % 1, saturation * rng.uniform(0.1, 0.9), bright)
    return Cloth(pattern, hsv(hue, saturation, value), second, float(rng.uniform(13, 24)))


def paint_cloth(rng: np.random.Generator, cloth: Cloth) -> Image:
    """A limb's picture of one fabric."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    s = cloth.spacing
    if cloth.pattern == "striped":
        share = np.clip(0.5 + 3 * np.sin(2 * np.pi * x / s), 0, 1)
    elif cloth.pattern == "checked":
        share = 0.5 * (np.sin(2 * np.pi * x / s) > 0) + 0.5 * (np.sin(2 * np.pi * y / s) > 0)
    elif cloth.pattern == "dotted":
        row = np.floor(y / s)
        dx = (x + 0.5 * s * (row % 2)) % s - s / 2
        dy = y % s - s / 2
        share = np.clip(0.26 * s - np.hypot(dx, dy) + 0.5, 0, 1)
    else:
        share = np.zeros_like(x)
    share = cv2.GaussianBlur(np.asarray(share, np.float32), (0, 0), 0.7)[..., None]
    colour = (1 - share) * np.array(cloth.colour) + share * np.array(cloth.second)
    # Folds run across the limb; fine blotches stand for the weave.
    folds = smooth_noise(rng, (SIDE, SIDE), 26) + 0.7 * cv2.resize(
        smooth_noise(rng, (SIDE // 3, SIDE), 9), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
    )
    shade = 1 + 0.06 * folds + 0.025 * smooth_noise(rng, (SIDE, SIDE), 3)
    return np.clip(colour * shade[..., None], 0, 255).astype(np.uint8)


def paint_skin(rng: np.random.Generator, skin: Colour) -> Image:
    """A limb's picture of bare skin."""
    shade = 1 + 0.03 * smooth_noise(rng, (SIDE, SIDE), 28) + 0.015 * smooth_noise(rng, (SIDE, SIDE), 5)
    red = 1 + 0.03 * smooth_noise(rng, (SIDE, SIDE), 40)
    colour = np.array(skin)[None, None] * shade[..., None]
    colour[..., 2] *= red
    return np.clip(colour, 0, 255).astype(np.uint8)


def join_along(first: Image, second: Image, column: int) -> Image:
    """The first picture up to a column, a hem, then the second."""
    if column >= SIDE:
        return first
    out = second.copy()
    out[:, :column] = first[:, :column]
    hem = slice(max(column - 4, 0), column)
    out[:, hem] = (out[:, hem] * 0.82).astype(np.uint8)
    out[:, column : column + 3] = (out[:, column : column + 3] * 0.78).astype(np.uint8)
    return out


def crease(picture: Image, columns: list[int]) -> Image:
    """Dark soft lines around the limb, such as a baby's wrist folds."""
    x = np.arange(SIDE)
    dark = np.ones(SIDE)
    for column in columns:
        dark -= 0.22 * np.exp(-(((x - column) / 2.2) ** 2))
    return (picture * dark[None, :, None]).astype(np.uint8)


def _face_xy(x: float, y: float) -> tuple[float, float]:
    """Point of the unit sphere seen at (x, y) from the front -> column and row of the face picture."""
    z = np.sqrt(max(1e-6, 1 - x * x - y * y))
    return (np.arctan2(x, z) / (2 * np.pi) + 0.5) * FACE_WIDTH, (np.arcsin(y) / np.pi + 0.5) * FACE_HEIGHT


def paint_head(rng: np.random.Generator, skin: Colour, hair: Colour, hairiness: float) -> Image:
    """A head's picture by longitude and latitude, its middle facing forward, its top the crown."""
    scale = 4
    base = cv2.resize(paint_skin(rng, skin), (FACE_WIDTH * scale, FACE_HEIGHT * scale)).astype(np.float32)
    tone = np.array(skin)

    def oval(
        x: float, y: float, rx: float, ry: float, colour: Colour | NDArray[np.float64], soft: float = 0.0
    ) -> None:
        column, row = _face_xy(x, y)
        per_radian = FACE_WIDTH / (2 * np.pi) * scale
        widen = 1 / np.sqrt(max(0.2, 1 - x * x - y * y))
        half = (max(1, round(rx * per_radian * widen)), max(1, round(ry * per_radian)))
        reach = max(half) + int(3 * soft * per_radian) + 2
        left, top = round(column * scale) - reach, round(row * scale) - reach
        stamp = np.zeros((2 * reach, 2 * reach), np.float32)
        cv2.ellipse(stamp, (reach, reach), half, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
        if soft:
            stamp = cv2.GaussianBlur(stamp, (0, 0), soft * per_radian)
        # The face lies far from the picture's borders: the box is never cut.
        region = base[top : top + 2 * reach, left : left + 2 * reach]
        region += stamp[..., None] * (np.asarray(colour, np.float32) - region)

    blush = np.clip(tone * np.array([0.86, 0.84, 1.03]), 0, 255)
    dark = tone * 0.62
    for sign in (-1, 1):
        oval(sign * 0.46, 0.42, 0.17, 0.15, blush, 0.08)
        oval(sign * 0.34, 0.1, 0.2, 0.12, tone * 0.86, 0.06)
    iris = hsv(rng.uniform(0.05, 0.62), 0.5, 0.3)
    open_eye = float(rng.uniform(0.065, 0.085))
    for sign in (-1, 1):
        x = sign * 0.34
        oval(x, 0.085, 0.135, open_eye + 0.022, dark * 0.7, 0.008)  # lashes and lid
        oval(x, 0.1, 0.125, open_eye, (232, 236, 238))
        oval(x + 0.005, 0.1, 0.072, 0.072, iris)
        oval(x + 0.005, 0.1, 0.036, 0.036, (15, 15, 15))
        oval(x + 0.03, 0.08, 0.016, 0.016, (250, 250, 250))
        brow = 0.6 * tone * 0.5 + 0.4 * np.array(hair)
        for step in range(5):
            u = (step - 2) / 2
            oval(x + 0.13 * u, -0.1 + 0.03 * u * u, 0.045, 0.02, brow, 0.012)
    oval(0, 0.22, 0.05, 0.14, np.clip(tone * 1.06, 0, 255), 0.03)
    oval(0, 0.31, 0.1, 0.075, np.clip(tone * 1.1, 0, 255), 0.025)
    oval(0, 0.385, 0.12, 0.03, tone * 0.78, 0.02)
    for sign in (-1, 1):
        oval(sign * 0.055, 0.355, 0.03, 0.02, dark * 0.7, 0.006)
    lip = np.clip(tone * np.array([0.72, 0.62, 0.92]), 0, 255)
    oval(0, 0.57, 0.19, 0.06, lip, 0.012)
    oval(0, 0.575, 0.16, 0.016, dark * 0.6, 0.006)
    oval(0, 0.7, 0.14, 0.03, tone * 0.85, 0.03)
    picture = cv2.resize(base, (FACE_WIDTH, FACE_HEIGHT), interpolation=cv2.INTER_AREA)
    return _hair(rng, picture, np.array(hair), hairiness)


def _hair(
    rng: np.random.Generator, picture: NDArray[np.float32], hair: NDArray[np.float64], amount: float
) -> Image:
    longitude, latitude = np.meshgrid(
        np.linspace(-np.pi, np.pi, FACE_WIDTH), np.linspace(-np.pi / 2, np.pi / 2, FACE_HEIGHT)
    )
    # The hairline stands high over the forehead and comes down behind the ears.
    line = -0.85 + 1.15 * np.clip((np.abs(longitude) - 0.7) / 1.3, 0, 1)
    ragged = 0.06 * smooth_noise(rng, picture.shape[:2], 7) + 0.05 * smooth_noise(rng, picture.shape[:2], 18)
    cover = np.clip((line - latitude + ragged) / 0.16, 0, 1) * amount
    strands = 1 + 0.12 * smooth_noise(rng, (FACE_HEIGHT // 4, FACE_WIDTH), 3).repeat(4, 0)[:FACE_HEIGHT]
    cover = cover[..., None]
    out = picture * (1 - cover) + cover * hair * strands[..., None]
    return np.clip(out, 0, 255).astype(np.uint8)
