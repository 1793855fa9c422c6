"""The camera above the mattress: points in space to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.motion import Array, band_noise
from pipelines.synthetic.settings import SyntheticSettings

DISTANCE = 7.0  # camera's height over the mattress, torso lengths


@dataclass(frozen=True)
class Camera:
    """How one recording is filmed.

    Attributes:
        roll_degrees: body's direction in the picture, clockwise from head up.
        torso_px: length of a torso lying on the mattress.
        centre_px: (2,) float64, where the middle of the body's length lies, x and y.
        shake: (T, 2, 3) float64, what the hand does: still picture to filmed picture, pixels.
    """

    roll_degrees: float
    torso_px: float
    centre_px: Array
    shake: Array

    def rotation(self) -> Array:
        """(2, 2) float64: body's x and y to the picture's."""
        angle = np.deg2rad(self.roll_degrees)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def project(self, points: Array) -> tuple[Array, Array]:
        """Points (T, n, 3), torso lengths -> (T, n, 2) x, y in px, and (T, n) px a torso length there."""
        scale = self.torso_px * DISTANCE / (DISTANCE - points[..., 2])
        # The middle of a lying infant, legs drawn up, is the middle of the torso.
        flat = points[..., :2] @ self.rotation().T * scale[..., None] + self.centre_px
        moved = np.einsum("tij,tnj->tni", self.shake[:, :, :2], flat) + self.shake[:, None, :, 2]
        return moved, scale


def still(num_frames: int) -> Array:
    """(T, 2, 3) float64 shake of a hand that does not."""
    return np.tile(np.eye(2, 3), (num_frames, 1, 1))


def sample_camera(rng: np.random.Generator, settings: SyntheticSettings, num_frames: int) -> Camera:
    """How one recording is filmed."""
    short = min(settings.width, settings.height)
    roll = float(rng.uniform(*settings.roll_degrees))
    torso_px = float(rng.uniform(*settings.torso_share)) * short
    offset = rng.uniform(-1, 1, 2) * settings.offset_share * short
    centre = np.array([settings.width, settings.height]) / 2 + offset
    times = np.arange(num_frames) / settings.fps
    hand = settings.shake_px * band_noise(rng, times, 3, 0.3, 3.0)
    # Root mean square of the shift is over both axes together.
    shift, turn = hand[:, :2] / np.sqrt(2), hand[:, 2] / short
    shake = np.zeros((num_frames, 2, 3))
    shake[:, 0, 0] = shake[:, 1, 1] = np.cos(turn)
    shake[:, 0, 1], shake[:, 1, 0] = -np.sin(turn), np.sin(turn)
    middle = np.array([settings.width, settings.height]) / 2
    shake[:, :, 2] = middle + shift - np.einsum("tij,j->ti", shake[:, :, :2], middle)
    return Camera(roll, torso_px, centre, shake)
