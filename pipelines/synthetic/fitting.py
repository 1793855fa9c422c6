"""Angles of the generated body fitted to a recorded track of joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.schema import JOINTS, TORSO_JOINTS
from pipelines.synthetic.camera import DISTANCE
from pipelines.synthetic.kinematics import SHOULDER_DROP, TYPICAL, limb_angles, pose_skeleton, pose_trunk
from pipelines.synthetic.motion import ANGLES, REST, Array
from pipelines.synthetic.track import Track

FADE_SECONDS: Final = 0.5
"""How long a limb takes from the recorded movement to rest where it is lost, and back."""

_TORSO: Final = 1 - SHOULDER_DROP  # middle of the shoulders to middle of the hips, torso lengths
_STEEPEST_BEND: Final = np.deg2rad(25)  # of shoulders or hips against the trunk; beyond it is misread
_ROLL_SECONDS: Final = 0.5
_SIDES: Final = ("left", "right")
_LIMBS: Final = {
    "arm": ("shoulder", "elbow", "wrist", TYPICAL.upper_arm, TYPICAL.forearm),
    "leg": ("hip", "knee", "ankle", TYPICAL.thigh, TYPICAL.shank),
}
_FACE: Final = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
# Joints whose place about others tells angles without a closed form: joint, others.
_POINTERS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    *((name, ("left_shoulder", "right_shoulder")) for name in _FACE),
    *((f"{side}_{finger}", (f"{side}_wrist",)) for side in _SIDES for finger in ("index", "pinky")),
    *((f"{side}_foot_index", (f"{side}_ankle",)) for side in _SIDES),
)
_POINTED: Final = tuple(
    ANGLES.index(name)
    for name in (
        "neck_yaw",
        "neck_tilt",
        "neck_pitch",
        *(f"{s}_{j}" for s in _SIDES for j in ("wrist", "ankle")),
    )
)
_POINTED_REACH: Final = np.deg2rad(80)  # about rest
# Noise of a recorded joint over the spread of these angles, torso lengths a radian.
_PRIOR: Final = 0.02 / 0.5
_STEPS: Final = 8


@dataclass(frozen=True)
class Fit:
    """A recorded movement as the generated body makes it.

    Attributes:
        angles: (T, angles) float64, radians, in the order of motion.ANGLES.
        side_roll: (T,) float64, radians, as for kinematics.pose_skeleton.
        place: (T, 2) float64, torso lengths, how far the body lies from its usual place, body coordinates.
        roll_degrees: the body's usual direction in the frame, clockwise from head up.
        seconds_at_rest: part of the body -> how long it was not seen and therefore shown at rest, or held
            still if it is the trunk; parts that were always seen are left out.
    """

    angles: Array
    side_roll: Array
    place: Array
    roll_degrees: float
    seconds_at_rest: dict[str, float]


def fit_track(track: Track, fps: float) -> Fit:
    """The movement of a track at `fps` frames a second; the lengths of its bones stay behind.

    Limbs that the picture shortens turn out of its plane: upper arms, forearms and thighs toward the camera,
    shanks away from it.
    """
    xy, roll_degrees = _upright(track)
    angles = np.tile(REST, (len(xy), 1))
    side_roll, halves = _fit_trunk(angles, xy, fps)
    chest, pelvis = pose_trunk(angles, side_roll)
    for side in _SIDES:
        _fit_limb(angles, xy, side, "arm", chest, halves[0])
        _fit_limb(angles, xy, side, "leg", pelvis, halves[1])
    model = pose_skeleton(angles, TYPICAL, side_roll).points
    torso = np.stack([model[JOINTS[joint]] for joint in TORSO_JOINTS], axis=1)
    place = (xy[:, TORSO_JOINTS] - torso[..., :2]).mean(axis=1)
    _fit_pointed(angles, side_roll, place, xy)
    at_rest = _rest_unseen(angles, track.seen, fps)
    return Fit(angles, side_roll, place, roll_degrees, at_rest)


def _of(xy: Array, name: str) -> Array:
    return xy[:, JOINTS.index(name)]


def _middle(xy: Array, part: str) -> Array:
    return (_of(xy, f"left_{part}") + _of(xy, f"right_{part}")) / 2


def _upright(track: Track) -> tuple[Array, float]:
    """(T, 33, 2) torso lengths with the head up, the torso's usual middle at 0; its direction, degrees."""
    seen = track.seen[:, TORSO_JOINTS].all(axis=1)
    shoulders, hips = _middle(track.xy, "shoulder"), _middle(track.xy, "hip")
    down = (hips - shoulders)[seen]
    roll = np.arctan2(-down[:, 0].sum(), down[:, 1].sum())
    scale = max(float(np.median(np.linalg.norm(down, axis=1))), 1e-6) / _TORSO
    centre = np.median(((shoulders + hips) / 2)[seen], axis=0)
    # A row vector times this matrix turns it back by the roll.
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return (track.xy - centre) @ turn / scale, float(np.rad2deg(roll) % 360)


def _fit_trunk(angles: Array, xy: Array, fps: float) -> tuple[Array, tuple[float, float]]:
    """Fills in the trunk's angles; gives its roll to the side, and half the width of shoulders and hips."""
    down = _middle(xy, "hip") - _middle(xy, "shoulder")
    sway = np.arctan2(-down[:, 0], down[:, 1])
    left = np.stack([np.cos(sway), np.sin(sway)], axis=-1)
    # Limbs and face lie before the trunk: of a body on its side they are seen beside it.
    front = ["nose", *(f"{side}_{part}" for side in _SIDES for part in ("elbow", "wrist", "knee", "ankle"))]
    offsets = np.stack([_of(xy, name) for name in front], axis=1)
    offsets -= (_middle(xy, "hip") + _middle(xy, "shoulder"))[:, None] / 2
    beside = _averaged(np.nanmean(np.einsum("tnj,tj->tn", offsets, left), axis=1), 2 * _ROLL_SECONDS, fps)
    onto = np.where(beside < 0, -1.0, 1.0)
    tilts, rolls, halves = [], [], []
    for part, typical in (("shoulder", TYPICAL.shoulder_half), ("hip", TYPICAL.hip_half)):
        across = _of(xy, f"left_{part}") - _of(xy, f"right_{part}")
        wide = np.sum(across * left, axis=1)
        # Seen in full where the body lies flat; noise must not turn a flat one to and fro.
        full = max(0.95 * float(np.percentile(np.abs(wide), 80)), 1.6 * typical)
        high = across[:, 1] * left[:, 0] - across[:, 0] * left[:, 1]
        tilts.append(np.arcsin(np.clip(high / full, -1, 1)).clip(-_STEEPEST_BEND, _STEEPEST_BEND))
        level = np.clip(wide / full / np.cos(tilts[-1]), -1, 1)
        rolls.append(_averaged(onto * np.arccos(level), _ROLL_SECONDS, fps))
        halves.append(full / 2)
    angles[:, ANGLES.index("trunk_sway")] = sway
    angles[:, ANGLES.index("trunk_bend")] = tilts[0] - tilts[1]
    angles[:, ANGLES.index("trunk_twist")] = rolls[0] - rolls[1]
    return (rolls[0] + rolls[1]) / 2, (halves[0], halves[1])


def _fit_limb(angles: Array, xy: Array, side: str, limb: str, girdle: Array, half: float) -> None:
    """Fills in the four angles of an arm or leg, as far as its joints were ever seen."""
    root_name, bend_name, end_name, upper_typical, lower_typical = _LIMBS[limb]
    mirror = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
    root, bend, end = (_of(xy, f"{side}_{name}") for name in (root_name, bend_name, end_name))
    if np.isnan(bend).any():
        return
    start = _on_ray(root, half * mirror[0] * girdle[:, 2, 0])
    joint = _reach(start, bend, _length(bend - root, upper_typical), toward=True)
    upper = _local(joint - start, girdle, mirror)
    names = [f"{side}_{limb}_{angle}" for angle in ("abduction", "elevation", "twist")] + [
        f"{side}_{bend_name}"
    ]
    columns = [ANGLES.index(name) for name in names]
    if np.isnan(end).any():
        angles[:, columns[:2]] = _about_rest(limb_angles(upper, upper)[:, :2], columns[:2])
        return
    tip = _reach(joint, end, _length(end - bend, lower_typical), toward=limb == "arm")
    lower = _local(tip - joint, girdle, mirror)
    angles[:, columns] = _about_rest(limb_angles(upper, lower), columns)


def _length(seen: Array, typical: float) -> float:
    """A bone's length, torso lengths, from (T, 2) as seen: the picture shortens it but never lengthens it."""
    return max(float(np.percentile(np.linalg.norm(seen, axis=1), 90)), typical)


def _on_ray(xy: Array, z: Array) -> Array:
    """(T, 3) points at height z that the camera sees at xy, a place on the mattress."""
    return np.column_stack([xy * (1 - z / DISTANCE)[:, None], z])


def _reach(start: Array, xy: Array, length: float, *, toward: bool) -> Array:
    """(T, 3) the point seen at xy that lies `length` from `start`: of two, the one toward the camera or not.

    Where the bone does not reach that far, the point nearest to it.
    """
    base = np.column_stack([xy, np.zeros(len(xy))]) - start
    slope = np.column_stack([-xy / DISTANCE, np.ones(len(xy))])
    a, b = np.sum(slope * slope, axis=1), np.sum(slope * base, axis=1)
    root = np.sqrt(np.maximum(b * b - a * (np.sum(base * base, axis=1) - length**2), 0))
    return _on_ray(xy, (-b + (root if toward else -root)) / a)


def _local(vector: Array, girdle: Array, mirror: Array) -> Array:
    """(T, 3) directions in the coordinates of a left limb's girdle."""
    local = np.einsum("tji,tj->ti", girdle, vector) * mirror
    return local / np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-9)


def _about_rest(values: Array, columns: list[int]) -> Array:
    """Angles less whole turns, so that each lies within half a turn of rest."""
    return REST[columns] + np.remainder(values - REST[columns] + np.pi, 2 * np.pi) - np.pi


def _fit_pointed(angles: Array, side_roll: Array, place: Array, xy: Array) -> None:
    """Fills in the angles of neck, wrists and ankles by damped least squares, all frames at once."""

    def pointers(seen: dict[str, Array]) -> Array:
        return np.concatenate(
            [seen[a] - np.mean([seen[b] for b in base], axis=0) for a, base in _POINTERS], 1
        )

    def model() -> Array:
        points = pose_skeleton(angles, TYPICAL, side_roll).points
        return pointers(
            {name: (points[name][:, :2] + place) / (1 - points[name][:, 2:] / DISTANCE) for name in JOINTS}
        )

    wanted = pointers({name: _of(xy, name) for name in JOINTS})
    rest = REST[list(_POINTED)]
    for _ in range(_STEPS):
        at = model()
        missing = np.isnan(wanted)
        slopes = np.empty((*wanted.shape, len(_POINTED)))
        for k, column in enumerate(_POINTED):
            angles[:, column] += 1e-4
            slopes[..., k] = (model() - at) / 1e-4
            angles[:, column] -= 1e-4
        slopes[missing] = 0
        off = np.where(missing, 0, wanted - at)
        now = angles[:, _POINTED]
        normal = np.einsum("tri,trj->tij", slopes, slopes) + _PRIOR**2 * np.eye(len(_POINTED))
        pull = np.einsum("tri,tr->ti", slopes, off) + _PRIOR**2 * (rest - now)
        step = np.linalg.solve(normal, pull[..., None])[..., 0]
        angles[:, _POINTED] = np.clip(
            now + np.clip(step, -0.4, 0.4), rest - _POINTED_REACH, rest + _POINTED_REACH
        )


def _rest_unseen(angles: Array, seen: NDArray[np.bool_], fps: float) -> dict[str, float]:
    """Leads parts of the body to rest while they are not seen; gives for how many seconds each was not."""

    def all_of(*names: str) -> NDArray[np.bool_]:
        return np.logical_and.reduce([seen[:, JOINTS.index(name)] for name in names])

    seconds = {"trunk": float((~seen[:, TORSO_JOINTS].all(axis=1)).sum()) / fps}

    def rest(part: str, known: NDArray[np.bool_], *names: str) -> None:
        columns = [ANGLES.index(name) for name in names]
        share = _averaged(known.astype(np.float64), FADE_SECONDS, fps)[:, None]
        angles[:, columns] = share * angles[:, columns] + (1 - share) * REST[columns]
        seconds[part] = float((~known).sum()) / fps

    face = seen[:, [JOINTS.index(name) for name in _FACE]].sum(axis=1) >= 2
    rest("head", face, "neck_yaw", "neck_tilt", "neck_pitch")
    for side in _SIDES:
        for limb, parts in (("arm", ("upper arm", "forearm")), ("leg", ("thigh", "shank"))):
            _, bend, end, _, _ = _LIMBS[limb]
            upper = all_of(f"{side}_{bend}")
            lower = upper & all_of(f"{side}_{end}")
            rest(f"{side} {parts[0]}", upper, f"{side}_{limb}_abduction", f"{side}_{limb}_elevation")
            rest(f"{side} {parts[1]}", lower, f"{side}_{limb}_twist", f"{side}_{bend}")
    return {part: round(length, 3) for part, length in seconds.items() if length}


def _averaged(values: Array, seconds: float, fps: float) -> Array:
    """(T,) means over a window about each frame, the ends held."""
    half = min(round(seconds * fps / 2), len(values) - 1)
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")
