"""Random changes of a training clip that keep its class."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from pipelines.schema import JOINT_FEATURES, MIRRORED_FEATURE_JOINTS, MIRRORED_JOINTS


class ClipTensors(NamedTuple):
    """A clip as tensors.

    `frames`: (F, S, S, 3) float32 RGB 0..1. `flow`: (L, S, S, 2) float32, x then y, pixels.
    `pose`: (L+1, joints, 3) float32, x and y in pixels, score.
    """

    frames: tf.Tensor
    flow: tf.Tensor
    pose: tf.Tensor


class GeometryRange(NamedTuple):
    """How far a clip may be moved: shares of the side, share of the size, degrees."""

    shift: float = 0.0
    scale: float = 0.0
    rotation_degrees: float = 0.0


class Geometry(NamedTuple):
    """A drawn movement: pixels right and down, factor, radians clockwise as seen."""

    shift: tf.Tensor
    scale: tf.Tensor
    angle: tf.Tensor


class Photometry(NamedTuple):
    """A drawn change of light: a gain a colour channel and an exponent."""

    gain: tf.Tensor
    gamma: tf.Tensor


def sample_flip(seed: tf.Tensor, probability: float = 0.5) -> tf.Tensor:
    """Whether to flip: () bool. `seed`: (2,) int."""
    return tf.random.stateless_uniform((), seed) < probability


def flip_joint_features(features: tf.Tensor) -> tf.Tensor:
    """(..., 18, 7) joint features of a mirrored body: signs of what points right, left and right swapped."""
    signs = tf.constant([-1.0 if name.endswith("x") else 1.0 for name in JOINT_FEATURES])
    return tf.gather(features, tf.constant(MIRRORED_FEATURE_JOINTS), axis=-2) * signs


def apply_flip(clip: ClipTensors) -> ClipTensors:
    """The clip in a mirror: x-flow negated, left and right joints swapped. Its own inverse."""
    side = tf.cast(tf.shape(clip.frames)[2], tf.float32)
    pose = tf.gather(clip.pose, tf.constant(MIRRORED_JOINTS), axis=1)
    return ClipTensors(
        frames=tf.reverse(clip.frames, axis=[2]),
        flow=tf.reverse(clip.flow, axis=[2]) * tf.constant([-1.0, 1.0]),
        pose=tf.concat([side - pose[..., :1], pose[..., 1:]], axis=-1),
    )


def sample_geometry(seed: tf.Tensor, limits: GeometryRange, size: int) -> Geometry:
    """A movement within `limits` for frames of side `size`. `seed`: (2,) int."""
    draw = tf.random.stateless_uniform((4,), seed, -1.0, 1.0)
    return Geometry(
        shift=draw[:2] * limits.shift * size,
        scale=tf.exp(draw[2] * math.log1p(limits.scale)),
        angle=draw[3] * math.radians(limits.rotation_degrees),
    )


def apply_geometry(clip: ClipTensors, geometry: Geometry) -> ClipTensors:
    """Moves, scales and turns frames about their middle, and their flow vectors and joints with them."""
    shape = tf.shape(clip.frames)
    count, height, width = shape[0], shape[1], shape[2]
    flows = tf.shape(clip.flow)[0]
    cos, sin = geometry.scale * tf.cos(geometry.angle), geometry.scale * tf.sin(geometry.angle)
    linear = tf.stack([tf.stack([cos, -sin]), tf.stack([sin, cos])])
    middle = tf.cast(tf.stack([width, height]), tf.float32) / 2

    # All fields and frames go through one resampling, as channels.
    fields = tf.reshape(tf.transpose(clip.flow, [1, 2, 0, 3]), [height, width, flows * 2])
    pictures = tf.reshape(tf.transpose(clip.frames, [1, 2, 0, 3]), [height, width, count * 3])
    stack = tf.concat([pictures, fields], axis=-1)
    # The op wants output -> input, in pixel centres.
    inverse = tf.linalg.inv(linear)
    center = middle - 0.5
    offset = center - tf.linalg.matvec(inverse, center + geometry.shift)
    parameters = tf.stack(
        [inverse[0, 0], inverse[0, 1], offset[0], inverse[1, 0], inverse[1, 1], offset[1], 0.0, 0.0]
    )
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=stack[None],
        transforms=parameters[None],
        output_shape=tf.stack([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]
    moved.set_shape(stack.shape)
    frames = tf.transpose(tf.reshape(moved[..., : count * 3], [height, width, count, 3]), [2, 0, 1, 3])
    flow = tf.transpose(tf.reshape(moved[..., count * 3 :], [height, width, flows, 2]), [2, 0, 1, 3])
    flow = tf.einsum("lhwc,dc->lhwd", flow, linear)
    places = tf.einsum("tjc,dc->tjd", clip.pose[..., :2] - middle, linear) + middle + geometry.shift
    return ClipTensors(
        frames=tf.ensure_shape(frames, clip.frames.shape),
        flow=tf.ensure_shape(flow, clip.flow.shape),
        pose=tf.concat([places, clip.pose[..., 2:]], axis=-1),
    )


def sample_photometry(seed: tf.Tensor, strength: float) -> Photometry:
    """A change of light up to `strength` (0.2: gains within about 20 %). `seed`: (2,) int."""
    draw = tf.random.stateless_uniform((5,), seed, -1.0, 1.0) * math.log1p(strength)
    # One gain for the light, a smaller one a channel for its colour.
    return Photometry(gain=tf.exp(draw[0] + 0.3 * draw[1:4]), gamma=tf.exp(draw[4]))


def apply_photometry(clip: ClipTensors, photometry: Photometry) -> ClipTensors:
    """Changes the light of all frames alike; black (outside the body) stays black."""
    frames = tf.pow(tf.clip_by_value(clip.frames, 0.0, 1.0), photometry.gamma) * photometry.gain
    return clip._replace(frames=tf.clip_by_value(frames, 0.0, 1.0))
