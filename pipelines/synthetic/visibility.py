"""Which joints the camera sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.schema import JOINTS
from pipelines.synthetic.body import Body
from pipelines.synthetic.camera import DISTANCE
from pipelines.synthetic.kinematics import Skeleton

# A joint is not hidden by the parts that meet in it, nor by those that hang on them.
_OWN = {
    "shoulder": ("upper_arm",),
    "elbow": ("upper_arm", "forearm"),
    "wrist": ("forearm", "palm", "thumb", "fingers"),
    "pinky": ("palm", "fingers", "thumb"),
    "index": ("palm", "fingers", "thumb"),
    "thumb": ("palm", "fingers", "thumb"),
    "hip": ("thigh",),
    "knee": ("thigh", "shank"),
    "ankle": ("shank", "foot"),
    "heel": ("shank", "foot"),
    "foot_index": ("foot",),
}
_FACE = JOINTS[: JOINTS.index("left_shoulder")]


def visible_joints(skeleton: Skeleton, body: Body) -> NDArray[np.bool_]:
    """Returns (T, 33) bool: no other part of the body lies between joint and camera."""
    limbs = [part for part in body.parts if part.layer == 1]
    flat = {name: p[:, :2] * (DISTANCE / (DISTANCE - p[:, 2:])) for name, p in skeleton.points.items()}
    # The head's own front side: (T,) z of each face point before the head's middle.
    out = np.ones((len(skeleton.head_rotation), len(JOINTS)), bool)
    for j, joint in enumerate(JOINTS):
        point, height = flat[joint], skeleton.points[joint][:, 2]
        side = joint.split("_")[0]
        own = {f"{side}_{part}" for part in _OWN.get(joint.removeprefix(f"{side}_"), ())}
        if joint in _FACE:
            out[:, j] &= height > skeleton.points["head"][:, 2] - 0.06
        for part in limbs:
            if part.name in own:
                continue
            start, axis = flat[part.start], flat[part.end] - flat[part.start]
            square = np.maximum(np.sum(axis * axis, -1), 1e-9)
            t = np.clip(np.sum((point - start) * axis, -1) / square, 0, 1)
            gap = np.linalg.norm(point - start - t[:, None] * axis, axis=-1)
            radius = part.start_radius + (part.end_radius - part.start_radius) * t
            z = skeleton.points[part.start][:, 2] * (1 - t) + skeleton.points[part.end][:, 2] * t
            out[:, j] &= ~((gap < 0.9 * radius) & (z > height + 0.05))
    return out
