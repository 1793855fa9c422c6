"""Joint angles of a lying body turned into points in space.

Body coordinates: x to the infant's left (image right, head up), y from head to feet, z from the
mattress to the camera, in torso lengths (middle of the shoulders to middle of the hips), the origin
in the middle of the torso.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.schema import JOINTS
from pipelines.synthetic.motion import ANGLES, Array

_FACE: Final[dict[str, tuple[float, float]]] = {
    "nose": (0.0, 0.30),
    "left_eye_inner": (0.22, 0.10),
    "left_eye": (0.34, 0.09),
    "left_eye_outer": (0.47, 0.10),
    "right_eye_inner": (-0.22, 0.10),
    "right_eye": (-0.34, 0.09),
    "right_eye_outer": (-0.47, 0.10),
    "mouth_left": (0.18, 0.58),
    "mouth_right": (-0.18, 0.58),
}
"""Face points on the unit sphere of the head: x to the infant's left, y to the chin."""

_FLOOR: Final = -0.2  # no joint's centre sinks deeper into the mattress


@dataclass(frozen=True)
class Proportions:
    """Lengths of a body, in torso lengths."""

    shoulder_half: float
    hip_half: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shank: float
    foot: float
    head: tuple[float, float, float]  # half width, half height, half depth
    girth: float  # factor on all radii


TYPICAL: Final = Proportions(
    shoulder_half=0.345,
    hip_half=0.185,
    upper_arm=0.46,
    forearm=0.42,
    hand=0.3,
    thigh=0.52,
    shank=0.5,
    foot=0.33,
    head=(0.365, 0.44, 0.4),
    girth=1.0,
)
"""Proportions of an infant of some three months, the middle of those that are drawn."""

SHOULDER_DROP: Final = 0.03
"""The shoulders lie this much below the neck's root, torso lengths."""


@dataclass(frozen=True)
class Skeleton:
    """A body's movement in space.

    Attributes:
        points: name -> (T, 3) float64, torso lengths, body coordinates.
        head_rotation: (T, 3, 3) float64, head coordinates to body coordinates.
        arm_twist: side -> (T,) radians, how far cloth and skin turn around the arm.
    """

    points: dict[str, Array]
    head_rotation: Array
    arm_twist: dict[str, Array]


def sample_proportions(rng: np.random.Generator) -> Proportions:
    """Proportions of one infant, about TYPICAL."""

    def about(value: float, spread: float = 0.06) -> float:
        return value * float(np.exp(spread * np.clip(rng.normal(), -2, 2)))

    head = about(1.0, 0.05)
    width, height, depth = TYPICAL.head
    return Proportions(
        shoulder_half=about(TYPICAL.shoulder_half),
        hip_half=about(TYPICAL.hip_half),
        upper_arm=about(TYPICAL.upper_arm),
        forearm=about(TYPICAL.forearm),
        hand=about(TYPICAL.hand),
        thigh=about(TYPICAL.thigh),
        shank=about(TYPICAL.shank),
        foot=about(TYPICAL.foot),
        head=(width * head, height * head, depth * head),
        girth=about(TYPICAL.girth, 0.08),
    )


def head_surface(x: float, y: float) -> tuple[float, float, float]:
    """Point on the unit sphere seen at (x, y) from the front."""
    return x, y, float(np.sqrt(max(0.0, 1 - x * x - y * y)))


def _rotation(axis: int, angle: Array) -> Array:
    """(T,) radians -> (T, 3, 3) rotation about one axis."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = c
    out[:, i, j], out[:, j, i] = -s, s
    return out


def _turned(rotation: Array, vector: NDArray[np.float64] | tuple[float, float, float]) -> Array:
    return np.einsum("tij,j->ti" if np.ndim(vector) == 1 else "tij,tj->ti", rotation, np.asarray(vector))


def _unit(vector: Array) -> Array:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-6)


def _limb(abduction: Array, elevation: Array, twist: Array, flexion: Array) -> tuple[Array, Array]:
    """Directions (T, 3) of a left limb's upper and lower part in its girdle's coordinates.

    Abduction 0 lies along the trunk to the feet, 90 degrees points sideways; elevation lifts toward the
    camera; flexion bends the lower part off the upper one, in the plane that twist turns from the image
    plane (0: outward and headward) toward the camera (90 degrees).
    """
    ca, sa, ce, se = np.cos(abduction), np.sin(abduction), np.cos(elevation), np.sin(elevation)
    upper = np.stack([ce * sa, ce * ca, se], -1)
    outward = np.stack([ca, -sa, np.zeros_like(ca)], -1)
    lifted = np.stack([-se * sa, -se * ca, ce], -1)
    bend = np.cos(twist)[:, None] * outward + np.sin(twist)[:, None] * lifted
    return upper, np.cos(flexion)[:, None] * upper + np.sin(flexion)[:, None] * bend


def limb_angles(upper: Array, lower: Array) -> Array:
    """(T, 4) abduction, elevation, twist, flexion, radians: what `_limb` turns into these directions."""
    elevation = np.arcsin(np.clip(upper[:, 2], -1, 1))
    abduction = np.arctan2(upper[:, 0], upper[:, 1])
    zero = np.zeros_like(abduction)
    _, outward = _limb(abduction, elevation, zero, zero + np.pi / 2)
    _, lifted = _limb(abduction, elevation, zero + np.pi / 2, zero + np.pi / 2)
    across, toward = np.sum(lower * outward, -1), np.sum(lower * lifted, -1)
    flexion = np.arctan2(np.hypot(across, toward), np.sum(lower * upper, -1))
    return np.stack([abduction, elevation, np.arctan2(toward, across), flexion], -1)


def pose_trunk(angles: Array, side_roll: Array | float = 0.0) -> tuple[Array, Array]:
    """Rotations (T, 3, 3) of chest and pelvis to body coordinates; arguments as for `pose_skeleton`."""
    a = {name: angles[:, ANGLES.index(name)] for name in ("trunk_sway", "trunk_bend", "trunk_twist")}
    chest = _rotation(2, a["trunk_sway"] + a["trunk_bend"] / 2)
    pelvis = _rotation(2, a["trunk_sway"] - a["trunk_bend"] / 2)
    return (
        chest @ _rotation(1, side_roll + a["trunk_twist"] / 2),
        pelvis @ _rotation(1, side_roll - a["trunk_twist"] / 2),
    )


def pose_skeleton(angles: Array, size: Proportions, side_roll: Array | float = 0.0) -> Skeleton:
    """Points of a body in each frame.

    Args:
        angles: (T, angles) float64, radians, in the order of ANGLES.
        size: the body's lengths.
        side_roll: (T,) radians, how far the body rolls onto its left side from its back.
    """
    a = {name: angles[:, i] for i, name in enumerate(ANGLES)}
    chest, pelvis = pose_trunk(angles, side_roll)
    waist = np.zeros((len(angles), 3))
    neck = waist + _turned(chest, (0.0, -0.5, 0.0))
    tail = waist + _turned(pelvis, (0.0, 0.5, 0.0))
    points = {
        "waist": waist,
        "neck": neck,
        "tail": tail,
        "chest": waist + _turned(chest, (0.0, -0.22, 0.02)),
        "belly": waist + _turned(pelvis, (0.0, 0.16, 0.03)),
    }
    head = chest @ _rotation(2, a["neck_tilt"]) @ _rotation(1, a["neck_yaw"]) @ _rotation(0, a["neck_pitch"])
    # The head rolls on the mattress about the neck's root, its middle 1.15 half heights above.
    lean = chest @ _rotation(2, a["neck_tilt"])
    points["head"] = neck + _turned(lean, (0.0, -1.17 * size.head[1], 0.08))
    points["head"][:, 0] += 0.1 * np.sin(a["neck_yaw"])
    points["chin"] = points["head"] + _turned(lean, (0.0, 0.75 * size.head[1], -0.08))
    for name, (x, y) in _FACE.items():
        points[name] = points["head"] + _turned(head, np.array(head_surface(x, y)) * size.head)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        points[f"{side}_ear"] = points["head"] + _turned(head, np.array([sign * 0.98, 0.2, -0.1]) * size.head)
        mirror = np.array([sign, 1.0, 1.0])
        points.update(_arm(side, mirror, a, chest, neck, size))
        points.update(_leg(side, mirror, a, pelvis, tail, size))
    return Skeleton(points, head, {side: a[f"{side}_arm_twist"] for side in ("left", "right")})


def _grounded(point: Array) -> Array:
    """The mattress bears: z stays above the floor, smoothly."""
    above = point.copy()
    above[:, 2] = _FLOOR + np.logaddexp(0, 20 * (point[:, 2] - _FLOOR)) / 20
    return above


def _arm(
    side: str, mirror: Array, a: dict[str, Array], chest: Array, neck: Array, size: Proportions
) -> dict[str, Array]:
    upper, lower = _limb(
        a[f"{side}_arm_abduction"], a[f"{side}_arm_elevation"], a[f"{side}_arm_twist"], a[f"{side}_elbow"]
    )
    upper, lower = _turned(chest, upper * mirror), _turned(chest, lower * mirror)
    shoulder = neck + _turned(chest, (mirror[0] * size.shoulder_half, SHOULDER_DROP, 0.0))
    elbow = _grounded(shoulder + size.upper_arm * upper)
    wrist = _grounded(elbow + size.forearm * lower)
    lower = _unit(wrist - elbow)
    # Toward the thumb: with the hands beside the head, the thumbs look at each other.
    thumbward = _unit(np.cross(lower, np.array([0.0, 0.0, 1.0])) * mirror[0] + np.array([0.0, 0.0, 0.15]))
    bend = a[f"{side}_wrist"][:, None]
    along = _unit(np.cos(bend) * lower + np.sin(bend) * thumbward)
    thumbward = _unit(thumbward - np.sum(thumbward * along, -1, keepdims=True) * along)
    hand = size.hand
    return {
        f"{side}_yoke": neck + _turned(chest, (0.68 * mirror[0] * size.shoulder_half, 0.09, 0.03)),
        f"{side}_shoulder": shoulder,
        f"{side}_elbow": elbow,
        f"{side}_wrist": wrist,
        f"{side}_knuckles": wrist + 0.5 * hand * along,
        f"{side}_fingertips": wrist + 0.86 * hand * along + np.array([0.0, 0.0, 0.12 * hand]),
        f"{side}_index": wrist + 0.66 * hand * along + 0.14 * hand * thumbward,
        f"{side}_pinky": wrist + 0.6 * hand * along - 0.18 * hand * thumbward,
        f"{side}_thumb_root": wrist + 0.22 * hand * along + 0.16 * hand * thumbward,
        f"{side}_thumb": wrist + 0.5 * hand * along + 0.36 * hand * thumbward,
    }


def _leg(
    side: str, mirror: Array, a: dict[str, Array], pelvis: Array, tail: Array, size: Proportions
) -> dict[str, Array]:
    upper, lower = _limb(
        a[f"{side}_leg_abduction"], a[f"{side}_leg_elevation"], a[f"{side}_leg_twist"], a[f"{side}_knee"]
    )
    upper, lower = _turned(pelvis, upper * mirror), _turned(pelvis, lower * mirror)
    hip = tail + _turned(pelvis, (mirror[0] * size.hip_half, 0.0, 0.0))
    knee = _grounded(hip + size.thigh * upper)
    ankle = _grounded(knee + size.shank * lower)
    lower = _unit(ankle - knee)
    toward_camera = np.array([0.25 * mirror[0], 0.15, 1.0])
    front = _unit(toward_camera - (lower @ toward_camera)[:, None] * lower)
    bend = a[f"{side}_ankle"][:, None]
    along = _unit(np.cos(bend) * lower + np.sin(bend) * front)
    return {
        f"{side}_hip": hip,
        f"{side}_knee": knee,
        f"{side}_ankle": ankle,
        f"{side}_heel": ankle - 0.15 * size.foot * along + 0.12 * size.foot * lower,
        f"{side}_foot_index": ankle + 0.75 * size.foot * along + 0.1 * size.foot * lower,
    }


def schema_joints(points: dict[str, Array]) -> Array:
    """(T, 33, 3) float64, torso lengths: the points that pose estimators name, in the order of JOINTS."""
    return np.stack([points[name] for name in JOINTS], axis=1)
