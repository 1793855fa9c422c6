"""Joint-angle trajectories of each movement class.

The classes follow Prechtl's General Movements Assessment (Einspieler, Prechtl et al., 2004): writhing
movements (WMs), fidgety movements (FMs), poor repertoire (PR). Rest posture and the spread of posture
around it come from one distribution for all classes: the class lies in motion, not in a single frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# name: rest mean, rest deviation, lowest, highest (degrees), amplitude relative to the shoulder's
_LIMBS: Final[dict[str, tuple[float, float, float, float, float]]] = {
    "arm_abduction": (72, 26, 8, 150, 1.0),
    "arm_elevation": (16, 10, -4, 70, 0.8),
    "arm_twist": (28, 26, -40, 110, 0.8),
    "elbow": (78, 22, 8, 135, 1.1),
    "wrist": (0, 14, -45, 45, 0.9),
    "leg_abduction": (44, 10, 8, 78, 0.6),
    "leg_elevation": (30, 12, 0, 78, 0.9),
    "leg_twist": (226, 12, 185, 265, 0.5),
    "knee": (80, 18, 8, 128, 1.1),
    "ankle": (68, 10, 30, 105, 0.7),
}
_AXIS: Final[dict[str, tuple[float, float, float, float, float]]] = {
    "neck_yaw": (0, 16, -48, 48, 0.8),
    "neck_tilt": (0, 7, -24, 24, 0.4),
    "neck_pitch": (0, 5, -16, 16, 0.3),
    "trunk_bend": (0, 5, -18, 18, 0.25),
    "trunk_twist": (0, 6, -25, 25, 0.4),
    "trunk_sway": (0, 3, -12, 12, 0.15),
}
ANGLES: Final[tuple[str, ...]] = (
    *_AXIS,
    *(f"left_{name}" for name in _LIMBS),
    *(f"right_{name}" for name in _LIMBS),
)
"""Names of the joint angles, in the order of every angle array; definitions in kinematics.py."""

_TABLE: Final = np.array([*_AXIS.values(), *_LIMBS.values(), *_LIMBS.values()], dtype=np.float64)
_MEAN, _DEVIATION, _LOW, _HIGH = np.deg2rad(_TABLE[:, :4].T)
_GAIN = _TABLE[:, 4]

REST: Final = _MEAN
"""Mean posture at rest. (angles,) float64, radians."""

GROUPS: Final[dict[str, tuple[int, ...]]] = {
    group: tuple(i for i, name in enumerate(ANGLES) if name.startswith(prefixes))
    for group, prefixes in {
        "neck": ("neck",),
        "trunk": ("trunk",),
        "left_arm": ("left_arm", "left_elbow", "left_wrist"),
        "right_arm": ("right_arm", "right_elbow", "right_wrist"),
        "left_leg": ("left_leg", "left_knee", "left_ankle"),
        "right_leg": ("right_leg", "right_knee", "right_ankle"),
    }.items()
}
"""Angles that move together, by body part."""
LIMBS: Final = ("left_arm", "right_arm", "left_leg", "right_leg")
"""Those of GROUPS that can be moved alone."""

# Root mean square of posture around rest (shoulder's, radians): one number for all classes.
_POSTURE_SPREAD: Final = 0.25
_WRITHING_SHARE: Final = 0.85  # of that spread, what writhing itself contributes


@dataclass(frozen=True)
class Temper:
    """A subject's own tempo and amplitude, factors around 1 that do not depend on the class."""

    tempo: float
    amplitude: float


def sample_temper(rng: np.random.Generator) -> Temper:
    """A subject's tempo and amplitude."""
    return Temper(float(np.exp(rng.normal(0, 0.1))), float(np.exp(rng.normal(0, 0.15))))


def band_noise(
    rng: np.random.Generator, times: Array, channels: int, low_hz: float, high_hz: float, waves: int = 16
) -> Array:
    """Smooth noise: random sines between two frequencies. Returns (T, channels) float64, variance 1."""
    frequency = rng.uniform(low_hz, high_hz, (waves, channels))
    phase = rng.uniform(0, 2 * np.pi, (waves, channels))
    total = np.zeros((len(times), channels))
    for f, p in zip(frequency, phase, strict=True):
        total += np.sin(2 * np.pi * np.outer(times, f) + p)
    return total * np.sqrt(2 / waves)


def _drift(rng: np.random.Generator, times: Array, share: float) -> Array:
    return _POSTURE_SPREAD * share * band_noise(rng, times, len(ANGLES), 0.01, 0.06) * _GAIN


def _bump(times: Array, start: float, seconds: float) -> Array:
    """Out and back once, smoothly: 0 .. 1 .. 0."""
    s = np.clip((times - start) / seconds, 0, 1)
    return np.sin(np.pi * s) ** 2


def writhing(rng: np.random.Generator, times: Array, temper: Temper) -> Array:
    """WMs: slow ellipses of the whole body, now and then one limb stretched out. (T, angles) radians."""
    out = _drift(rng, times, np.sqrt(1 - _WRITHING_SHARE**2))
    step = times[1] - times[0] if len(times) > 1 else 0.0
    base_hz = rng.uniform(0.3, 0.42) * temper.tempo
    for group in GROUPS.values():
        columns = np.array(group)
        pace = 1 + 0.25 * band_noise(rng, times, 1, 0.05, 0.25)
        turns = np.cumsum(pace[:, 0]) * step * base_hz * rng.uniform(0.85, 1.15) + rng.uniform()
        # Neighbouring angles a quarter turn apart: the limb's end runs on an ellipse.
        lag = np.arange(len(columns)) * 0.25 + rng.uniform(-0.08, 0.08, len(columns))
        swell = np.exp(0.3 * band_noise(rng, times, 1, 0.04, 0.2))
        wave = np.sqrt(2) * np.sin(2 * np.pi * (turns[:, None] + lag))
        out[:, columns] += (
            _POSTURE_SPREAD * _WRITHING_SHARE * temper.amplitude * swell * wave * _GAIN[columns]
        )
    start = rng.uniform(0, 6)
    while start < times[-1]:
        limb = GROUPS[LIMBS[rng.integers(4)]]
        seconds = rng.uniform(1.8, 2.8)
        # The fourth angle of a limb is its flexion: stretching takes it down.
        out[:, limb[3]] -= rng.uniform(0.6, 1.0) * _bump(times, start, seconds)
        out[:, limb[0]] += rng.uniform(-0.3, 0.3) * _bump(times, start, seconds)
        start += rng.uniform(5, 11)
    return out


def fidgety(rng: np.random.Generator, times: Array, temper: Temper) -> Array:
    """FMs: small, continual, in all directions and joints, of variable acceleration. (T, angles) radians."""
    out = _drift(rng, times, 1.0)
    tempo = temper.tempo
    small = band_noise(rng, times, len(ANGLES), 0.7 * tempo, min(2.0 * tempo, 2.4))
    swell = np.exp(0.35 * band_noise(rng, times, len(ANGLES), 0.15, 0.6))
    return out + 0.054 * temper.amplitude * swell * small * np.maximum(_GAIN, 0.35)


def poor_repertoire(rng: np.random.Generator, times: Array, temper: Temper) -> Array:
    """PR: the same short sequence of few joints again and again, stillness between. (T, angles) radians."""
    out = _drift(rng, times, 1.0)
    limbs = rng.permutation(4)[: rng.integers(2, 4)]
    pattern = []
    delay = 0.0
    for limb in limbs:
        columns = np.array(GROUPS[LIMBS[limb]])
        # Shoulder or hip and elbow or knee in one fixed proportion: always the same path.
        reach = np.array([rng.uniform(0.2, 0.4), rng.uniform(0.15, 0.4), 0.0, rng.uniform(0.4, 0.65), 0.2])
        reach *= rng.choice([-1.0, 1.0], 5)
        pattern.append((columns, delay, rng.uniform(0.9, 1.2) / temper.tempo, reach * temper.amplitude))
        delay += rng.uniform(0.25, 0.5)
    period = rng.uniform(2.4, 3.1) / temper.tempo
    start = -rng.uniform(0, period)
    while start < times[-1]:
        size = 1 + 0.05 * rng.normal()
        # Skipped now and then: a long still phase.
        if rng.uniform() > 0.1:
            for columns, after, seconds, reach in pattern:
                out[:, columns] += size * np.outer(_bump(times, start + after, seconds), reach)
        start += period * (1 + 0.04 * rng.normal())
    return out


MOVEMENTS: Final[dict[str, Callable[[np.random.Generator, Array, Temper], Array]]] = {
    "WMs": writhing,
    "FMs": fidgety,
    "PR": poor_repertoire,
}
"""Class name -> its movement."""


def sample_rest(rng: np.random.Generator) -> Array:
    """Rest posture of a recording, whatever its class. (angles,) radians."""
    return _MEAN + _DEVIATION * np.clip(rng.normal(size=len(ANGLES)), -2, 2)


def sample_angles(rng: np.random.Generator, label: str, temper: Temper, num_frames: int, fps: float) -> Array:
    """Joint angles of one recording. Returns (T, angles) float64, radians, in the order of ANGLES."""
    times = np.arange(num_frames) / fps
    angles = sample_rest(rng) + MOVEMENTS[label](rng, times, temper)
    middle, half = (_LOW + _HIGH) / 2, (_HIGH - _LOW) / 2
    # Soft joint limits: straight in the middle, never beyond the ends.
    x = (angles - middle) / half
    return middle + half * np.sign(x) * np.where(
        np.abs(x) < 0.7, np.abs(x), 0.7 + 0.3 * np.tanh((np.abs(x) - 0.7) / 0.3)
    )
