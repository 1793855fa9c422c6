"""The place of a recording: background, clutter, light, moving toys."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.background import FAMILIES, paint_background
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.motion import Array, band_noise
from pipelines.synthetic.settings import SyntheticSettings
from pipelines.synthetic.surface import Light
from pipelines.synthetic.texture import Colour, Image, hsv

_MARGIN = 32  # px of ground beyond each edge of the frame, for the hand-held camera


@dataclass(frozen=True)
class Toy:
    """A thing that swings near the frame's edge: (T, 2) float64 px, x and y."""

    path: Array
    radius: float
    colour: Colour
    second: Colour
    corners: int


@dataclass(frozen=True)
class Scene:
    """The place of one recording, without the body."""

    family: str
    light: Light
    ground: Image = field(repr=False)  # BGRA, twice as fast to move as BGR, with a margin on each side
    toys: tuple[Toy, ...] = ()

    def frame(self, index: int, camera: Camera, size: tuple[int, int]) -> Image:
        """The place as filmed, without the body: (H, W, 3) uint8 BGR; size is (width, height)."""
        shake = camera.shake[index]
        if np.allclose(shake, np.eye(2, 3)):
            still = self.ground[_MARGIN : _MARGIN + size[1], _MARGIN : _MARGIN + size[0]]
            picture = cv2.cvtColor(still, cv2.COLOR_BGRA2BGR)
        else:
            moved = shake.copy()
            moved[:, 2] -= shake[:, :2] @ np.array([_MARGIN, _MARGIN])
            wide = cv2.warpAffine(self.ground, moved, size, borderMode=cv2.BORDER_REFLECT)
            picture = cv2.cvtColor(wide, cv2.COLOR_BGRA2BGR)
        for toy in self.toys:
            _draw_toy(picture, toy, shake[:, :2] @ toy.path[index] + shake[:, 2])
        return picture


def background_family(rng: np.random.Generator, settings: SyntheticSettings, label: str) -> str:
    """Family of a recording's background, as `background_by_class` rules."""
    families = list(FAMILIES)
    # Drawn in every mode, so that the modes differ in nothing else.
    drawn = int(rng.integers(len(families)))
    if settings.background_by_class == "random":
        return families[drawn]
    index = settings.classes.index(label)
    if settings.background_by_class == "against":
        index = (index + 1) % len(settings.classes)
    return families[index % len(families)]


def sample_scene(rng: np.random.Generator, settings: SyntheticSettings, label: str, camera: Camera) -> Scene:
    """The place of one recording; the class matters for the background's family alone."""
    family = background_family(rng, settings, label)
    ground_rng, light_rng, toy_rng = rng.spawn(3)
    light, map_ = _sample_light(light_rng, settings)
    shape = (settings.height + 2 * _MARGIN, settings.width + 2 * _MARGIN)
    ground = paint_background(ground_rng, family, shape)
    for _ in range(int(ground_rng.integers(0, settings.clutter + 1))):
        _lay_toy(ground_rng, ground, camera)
    lit = np.clip(ground * map_[..., None] * np.array(light.colour, np.float32), 0, 255).astype(np.uint8)
    toys = tuple(
        _sample_toy(toy_rng, settings, camera)
        for _ in range(int(toy_rng.integers(0, settings.distractors + 1)))
    )
    return Scene(family, light, cv2.cvtColor(lit, cv2.COLOR_BGR2BGRA), toys)


def _sample_light(rng: np.random.Generator, settings: SyntheticSettings) -> tuple[Light, NDArray[np.float32]]:
    """Lamp, and its brightness over the ground, (h, w) float32 around 1."""
    angle = rng.uniform(0, 2 * np.pi)
    slant = np.deg2rad(rng.uniform(15, 50))
    direction = (
        float(np.cos(angle) * np.sin(slant)),
        float(np.sin(angle) * np.sin(slant)),
        float(np.cos(slant)),
    )
    brightness = rng.uniform(*settings.light)
    cast = 1 + settings.colour_cast * rng.uniform(-1, 1, 3)
    colour = brightness * cast
    ambient = rng.uniform(0.42, 0.6)
    light = Light(
        direction,
        float(ambient),
        float(1.08 - ambient),
        (float(colour[0]), float(colour[1]), float(colour[2])),
    )
    y = np.linspace(-1, 1, settings.height + 2 * _MARGIN, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, settings.width + 2 * _MARGIN, dtype=np.float32)
    fall = settings.light_gradient * rng.uniform(0, 1)
    slope = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    return light, (1 + np.float32(fall / 2) * slope / np.float32(np.sqrt(2))).astype(np.float32)


def _away_from_body(
    rng: np.random.Generator, camera: Camera, width: int, height: int, nearest: float
) -> Array:
    """A spot in the frame at least `nearest` torso lengths from the body's long axis, or else a corner."""
    head = camera.rotation() @ np.array([0.0, -1.0])
    for _ in range(30):
        spot = rng.uniform([0, 0], [width, height])
        offset = (spot - camera.centre_px) / camera.torso_px
        beyond = offset - np.clip(offset @ head, -1.1, 1.2) * head
        if np.linalg.norm(beyond) > nearest:
            return spot
    return np.array([rng.choice([0.0, width]), rng.choice([0.0, height])])


def _lay_toy(rng: np.random.Generator, ground: Image, camera: Camera) -> None:
    """Draws one block, ball or ring on the ground, with its shadow."""
    height, width = ground.shape[0] - 2 * _MARGIN, ground.shape[1] - 2 * _MARGIN
    spot = _away_from_body(rng, camera, width, height, 0.95) + _MARGIN
    radius = camera.torso_px * rng.uniform(0.1, 0.28)
    toy = Toy(spot[None], radius, _toy_colour(rng), _toy_colour(rng), int(rng.choice([0, 0, 3, 4, 4, 6])))
    shadow = np.full(ground.shape[:2], 255, np.uint8)
    cv2.circle(shadow, np.round(spot + 0.15 * radius).astype(int).tolist(), round(radius), 140, -1)
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.2 * radius, 0.5))
    cv2.multiply(ground, cv2.merge([shadow] * 3), dst=ground, scale=1 / 255)
    _draw_toy(ground, toy, spot)


def _toy_colour(rng: np.random.Generator) -> Colour:
    return hsv(rng.uniform(), rng.uniform(0.4, 0.85), rng.uniform(0.5, 0.95))


def _sample_toy(rng: np.random.Generator, settings: SyntheticSettings, camera: Camera) -> Toy:
    """A toy that swings at the edge of the frame, at its own pace."""
    times = np.arange(len(camera.shake)) / settings.fps
    spot = _away_from_body(rng, camera, settings.width, settings.height, 1.55)
    radius = camera.torso_px * rng.uniform(0.1, 0.2)
    swing = rng.uniform(0.05, 0.2) * camera.torso_px
    pace = rng.uniform(0.2, 1.2)
    angle = rng.uniform(0, 2 * np.pi)
    wave = (
        np.sin(2 * np.pi * pace * times + rng.uniform(0, 6)) + 0.4 * band_noise(rng, times, 1, 0.1, 0.6)[:, 0]
    )
    path = spot + swing * wave[:, None] * np.array([np.cos(angle), np.sin(angle)])
    return Toy(path, float(radius), _toy_colour(rng), _toy_colour(rng), int(rng.choice([0, 3, 4, 5])))


def _draw_toy(picture: Image, toy: Toy, spot: Array) -> None:
    centre = np.round(spot * 16).astype(int)
    radius = round(toy.radius * 16)
    if toy.corners == 0:
        cv2.circle(picture, centre.tolist(), radius, toy.colour, -1, cv2.LINE_AA, 4)
        cv2.circle(picture, centre.tolist(), round(0.55 * radius), toy.second, -1, cv2.LINE_AA, 4)
        gleam = (centre - 0.4 * radius).astype(int).tolist()
        cv2.circle(picture, gleam, round(0.16 * radius), (250, 250, 250), -1, cv2.LINE_AA, 4)
        return
    turn = toy.radius + np.arange(toy.corners) * 2 * np.pi / toy.corners
    rim = np.stack([np.cos(turn), np.sin(turn)], -1) * radius
    cv2.fillPoly(picture, [(centre + rim).astype(np.int32)], toy.colour, cv2.LINE_AA, 4)
    cv2.fillPoly(picture, [(centre + 0.6 * rim).astype(np.int32)], toy.second, cv2.LINE_AA, 4)
