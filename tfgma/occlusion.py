"""Clips of which something cannot be seen: a part of the body, a movement, or everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.clips import Clip
from pipelines.flow import ZERO_LEVEL
from pipelines.schema import JOINT_FEATURES
from tfgma.body_parts import PARTS, part_joints

PLACE = (JOINT_FEATURES.index("x"), JOINT_FEATURES.index("y"))


def without_part(clip: Clip, part: str, regions: np.ndarray) -> Clip:
    """The clip without `part` of PARTS: black, no movement; its joints lie still in their mean place.

    Args:
        clip: frames, flows and joints, or some of them.
        part: what is taken away.
        regions: of `part_regions`, (T+1, S, S).
    """
    gone = regions == PARTS.index(part)
    rgb, flow, features = clip.rgb.copy(), clip.flow.copy(), clip.joint_features.copy()
    if len(rgb):
        rgb[gone] = 0
    if len(flow):
        flow[gone[:-1]] = ZERO_LEVEL
    joints = part_joints(part)
    if len(features):
        features[:, joints] = _still(features[:, joints])
    return replace(clip, rgb=rgb, flow=flow, joint_features=features)


def frozen(clip: Clip, first: int, last: int) -> Clip:
    """The clip with no movement from frame `first` up to frame `last`: all of that shows frame `first`.

    Flows between those frames are 0, joints stay where they are at `first`.
    """
    rgb, flow, features = clip.rgb.copy(), clip.flow.copy(), clip.joint_features.copy()
    if len(rgb):
        rgb[first : last + 1] = rgb[first]
    if len(flow):
        flow[first:last] = ZERO_LEVEL
    if len(features):
        held = np.zeros_like(features[first])
        held[:, PLACE] = features[first][:, PLACE]
        features[first : last + 1] = held
    return replace(clip, rgb=rgb, flow=flow, joint_features=features)


def nothing(clip: Clip) -> Clip:
    """The clip of a body that is not seen: black, no movement, joints still in their mean place."""
    return replace(
        clip,
        rgb=np.zeros_like(clip.rgb),
        flow=np.full_like(clip.flow, ZERO_LEVEL),
        joint_features=_still(clip.joint_features) if len(clip.joint_features) else clip.joint_features,
    )


def _still(features: np.ndarray) -> np.ndarray:
    """(T, joints, 7) -> the same joints in their mean place, without movement."""
    out = np.zeros_like(features)
    out[..., PLACE] = features[..., PLACE].mean(axis=0)
    return out
