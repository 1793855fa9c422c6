"""Which pixels and which joints belong to which part of the body."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from pipelines.schema import FEATURE_JOINTS, JOINTS, TORSO_JOINTS

PARTS: Final = ("head", "trunk", "left_arm", "right_arm", "left_leg", "right_leg")

_ENDS: Final = {"arm": ("shoulder", "elbow", "wrist", "index"), "leg": ("hip", "knee", "ankle", "foot_index")}
THICKNESS_IN_TORSOS: Final = {"head": 0.45, "trunk": 0.4, "arm": 0.1, "leg": 0.15}
"""How far a part reaches from its bones: what is nearer to a part's surface than to others' is its own."""


def part_joints(part: str) -> list[int]:
    """Indices into FEATURE_JOINTS: each joint belongs to one part, shoulders and hips to the trunk.

    >>> [FEATURE_JOINTS[index] for index in part_joints("left_arm")]
    ['left_elbow', 'left_wrist']
    """
    if part == "trunk":
        wanted = {"neck", *(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "hip"))}
    elif part == "head":
        wanted = {"nose", *(f"{side}_{joint}" for side in ("left", "right") for joint in ("eye", "ear"))}
    else:
        side, limb = part.split("_")
        wanted = {f"{side}_{joint}" for joint in _ENDS[limb][1:3]}
    return [index for index, name in enumerate(FEATURE_JOINTS) if name in wanted]


def part_regions(pose: np.ndarray, size: int) -> np.ndarray:
    """Which part each pixel belongs to: the one whose surface is nearest, or whose bones lie deepest below.

    Args:
        pose: (T, 33, 3) float, x and y in pixels of the frame, score; a frame without a body has only zeros
            and is divided as the nearest frame with one.
        size: S, side of the frames, px.

    Returns:
        (T, S, S) uint8, index into PARTS. Without a body in any frame all is trunk.
    """
    found = np.flatnonzero(pose[..., 2].max(axis=1) > 0)
    if not len(found):
        return np.full((len(pose), size, size), PARTS.index("trunk"), np.uint8)
    return np.stack([_regions(pose[found[np.abs(found - t).argmin()]], size) for t in range(len(pose))])


def _regions(pose: np.ndarray, size: int) -> np.ndarray:
    """(33, 3) -> (S, S) uint8."""
    places = {name: pose[index, :2].astype(np.float64) for index, name in enumerate(JOINTS)}
    torso = pose[list(TORSO_JOINTS), :2].astype(np.float64)
    neck, crotch = torso[:2].mean(axis=0), torso[2:].mean(axis=0)
    length = max(1.0, float(np.hypot(*(crotch - neck))))
    face = (places["left_ear"] + places["right_ear"] + places["nose"]) / 3
    bones = {"head": [(face, face)], "trunk": [(neck, crotch)]}
    for part in PARTS[2:]:
        side, limb = part.split("_")
        chain = [places[f"{side}_{joint}"] for joint in _ENDS[limb]]
        bones[part] = list(pairwise(chain))
    rows, columns = np.mgrid[:size, :size]
    pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
    apart = [
        np.min([_distance(pixels, start, end) for start, end in bones[part]], axis=0)
        - length * THICKNESS_IN_TORSOS[part.split("_")[-1]]
        for part in PARTS
    ]
    return np.argmin(apart, axis=0).astype(np.uint8)


def _distance(pixels: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(S, S, 2) x and y -> (S, S) px from the way between two points."""
    way = end - start
    share = np.clip((pixels - start) @ way / max(1e-6, float(way @ way)), 0, 1)
    return np.hypot(*np.moveaxis(pixels - start - share[..., None] * way, -1, 0))
