"""A clip's posture and movement in a few numbers, by which recordings of two places can be compared."""

from __future__ import annotations

from typing import Final

import numpy as np

from pipelines.clips import Clip
from pipelines.schema import FEATURE_JOINTS, JOINT_FEATURES

HANDS: Final = tuple(FEATURE_JOINTS.index(f"{side}_wrist") for side in ("left", "right"))
FEET: Final = tuple(FEATURE_JOINTS.index(f"{side}_ankle") for side in ("left", "right"))
STILL: Final = 0.1
"""Trunk lengths a second, below which a hand or foot counts as still."""

POSE: Final = {
    "joint_score": "how sure the joints are, 0 to 1",
    "body_area": "body, share of the upright frame",
    "hands_reach": "hands from the middle line, trunk lengths",
    "feet_reach": "feet below the hips, trunk lengths",
}
MOVEMENT: Final = {
    "hand_speed": "speed of the hands, trunk lengths a second",
    "foot_speed": "speed of the feet, trunk lengths a second",
    "quickness": "acceleration by speed, 1 / s",
    "asymmetry": "faster by slower side, log2",
    "stillness": "moments in which hands and feet rest, share",
}


def pose_figures(clip: Clip) -> dict[str, float]:
    """Name of POSE -> its mean over the clip; empty of a clip without joints."""
    if not len(clip.joint_features):
        return {}
    x, y = (clip.joint_features[..., JOINT_FEATURES.index(axis)] for axis in "xy")
    return {
        "joint_score": float(clip.pose[..., 2].mean()),
        "body_area": float(clip.mask_area.mean()),
        "hands_reach": float(np.abs(x[:, HANDS]).mean()),
        "feet_reach": float(y[:, FEET].mean()) - 1,  # hips lie one trunk length below the shoulders
    }


def movement_figures(clip: Clip) -> dict[str, float]:
    """Name of MOVEMENT -> its value for the clip; empty of a clip without joints."""
    if not len(clip.joint_features):
        return {}
    names = JOINT_FEATURES.index
    speed = np.hypot(clip.joint_features[..., names("vx")], clip.joint_features[..., names("vy")])
    change = np.hypot(clip.joint_features[..., names("ax")], clip.joint_features[..., names("ay")])
    ends = [*HANDS, *FEET]
    mean = speed.mean(axis=0)
    sides = np.array([mean[[HANDS[side], FEET[side]]].mean() for side in (0, 1)])
    least = 1e-3
    return {
        "hand_speed": float(mean[list(HANDS)].mean()),
        "foot_speed": float(mean[list(FEET)].mean()),
        "quickness": float(change[:, ends].mean() / max(least, speed[:, ends].mean())),
        "asymmetry": float(np.abs(np.diff(np.log2(np.maximum(sides, least))))[0]),
        "stillness": float((speed[:, ends] < STILL).all(axis=1).mean()),
    }
