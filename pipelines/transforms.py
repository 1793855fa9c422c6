"""Random changes of a training clip that keep its class."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from pipelines.flow import ZERO_LEVEL
from pipelines.schema import JOINT_FEATURES, MIRRORED_FEATURE_JOINTS, MIRRORED_JOINTS


class ClipPixels(NamedTuple):
    """What of a clip is changed, as it is stored: a quarter of the bytes that float32 would take.

    `frames`: (F, S, S, 3) uint8 RGB. `flow`: (S, S, 2L) uint8 codes of pipelines.flow, x0, y0, x1, y1, ....
    `pose`: (L+1, joints, 3) float32, x and y in pixels, score.
    """

    frames: np.ndarray
    flow: np.ndarray
    pose: np.ndarray


class GeometryRange(NamedTuple):
    """How far a clip may be moved: shares of the side, share of the size, degrees."""

    shift: float = 0.0
    scale: float = 0.0
    rotation_degrees: float = 0.0


class Geometry(NamedTuple):
    """A drawn movement: (2,) pixels right and down, () factor, () radians clockwise as seen; float32."""

    shift: tf.Tensor | np.ndarray
    scale: tf.Tensor | np.ndarray
    angle: tf.Tensor | np.ndarray


class Photometry(NamedTuple):
    """A drawn change of light: (3,) a gain a colour channel and () an exponent; float32."""

    gain: tf.Tensor | np.ndarray
    gamma: tf.Tensor | np.ndarray


def sample_flip(seed: tf.Tensor, probability: float = 0.5) -> tf.Tensor:
    """Whether to flip: () bool. `seed`: (2,) int."""
    return tf.random.stateless_uniform((), seed) < probability


def sample_geometry(seed: tf.Tensor, limits: GeometryRange, size: int) -> Geometry:
    """A movement within `limits` for frames of side `size`. `seed`: (2,) int."""
    draw = tf.random.stateless_uniform((4,), seed, -1.0, 1.0)
    return Geometry(
        shift=draw[:2] * limits.shift * size,
        scale=tf.exp(draw[2] * math.log1p(limits.scale)),
        angle=draw[3] * math.radians(limits.rotation_degrees),
    )


def sample_photometry(seed: tf.Tensor, strength: float) -> Photometry:
    """A change of light up to `strength` (0.2: gains within about 20 %). `seed`: (2,) int."""
    draw = tf.random.stateless_uniform((5,), seed, -1.0, 1.0) * math.log1p(strength)
    # One gain for the light, a smaller one a channel for its colour.
    return Photometry(gain=tf.exp(draw[0] + 0.3 * draw[1:4]), gamma=tf.exp(draw[4]))


def flip_joint_features(features: tf.Tensor) -> tf.Tensor:
    """(..., 18, 7) joint features of a mirrored body: signs of what points right, left and right swapped."""
    signs = tf.constant([-1.0 if name.endswith("x") else 1.0 for name in JOINT_FEATURES])
    return tf.gather(features, tf.constant(MIRRORED_FEATURE_JOINTS), axis=-2) * signs


def apply_flip(clip: ClipPixels) -> ClipPixels:
    """The clip in a mirror: x-flow negated, left and right joints swapped. Its own inverse."""
    pose = clip.pose[:, list(MIRRORED_JOINTS)]
    pose[..., 0] = clip.flow.shape[1] - pose[..., 0]
    height, width, channels = clip.flow.shape
    # By whole pixels, then by whole rows: a third of the time that one multiplication by channels takes.
    flow = np.take(clip.flow, np.arange(width)[::-1], axis=1).reshape(height, width * channels)
    # 255 times a code is the opposite code: uint8 wraps, and 128 is no movement.
    flow *= np.tile(np.array([255, 1], np.uint8), width * channels // 2)
    frames = [cv2.flip(frame, 1) for frame in clip.frames]
    return ClipPixels(
        frames=np.stack(frames) if frames else clip.frames,
        flow=flow.reshape(clip.flow.shape),
        pose=pose,
    )


def apply_geometry(clip: ClipPixels, geometry: Geometry) -> ClipPixels:
    """Moves, scales and turns frames about their middle, and their flow vectors and joints with them.

    Pixels are rounded to codes again: flow within one code of what was moved, bounded as all codes are.
    """
    height, width, channels = clip.flow.shape
    cos, sin = geometry.scale * np.cos(geometry.angle), geometry.scale * np.sin(geometry.angle)
    linear = np.array([[cos, -sin], [sin, cos]], np.float64)
    middle = np.array([width, height]) / 2
    # OpenCV counts from pixels' centres, joints from the frame's corner.
    center = middle - 0.5
    matrix = np.column_stack([linear, center + geometry.shift - linear @ center])

    def moved(picture: np.ndarray, outside: int) -> np.ndarray:
        # The border's colour has four channels, which repeat.
        return cv2.warpAffine(picture, matrix, (width, height), borderValue=(outside,) * 4)

    flow = clip.flow
    if channels:
        zero = np.full(2, ZERO_LEVEL)
        turn = np.column_stack([linear, zero - linear @ zero])
        vectors = moved(flow, ZERO_LEVEL).reshape(height, -1, 2)
        # 0 is no code.
        flow = np.maximum(cv2.transform(vectors, turn), 1).reshape(flow.shape)
    frames = [moved(frame, 0) for frame in clip.frames]
    pose = clip.pose.copy()
    pose[..., :2] = (pose[..., :2] - middle) @ linear.T + middle + geometry.shift
    return ClipPixels(np.stack(frames) if frames else clip.frames, flow, pose)


def apply_photometry(clip: ClipPixels, photometry: Photometry) -> ClipPixels:
    """Changes the light of all frames alike; black (outside the body) stays black."""
    levels = np.power(np.arange(256) / 255, photometry.gamma)[:, None] * photometry.gain
    table = np.rint(255 * np.minimum(levels, 1)).astype(np.uint8)[None]
    frames = [cv2.LUT(frame, table) for frame in clip.frames]
    return clip._replace(frames=np.stack(frames) if frames else clip.frames)
