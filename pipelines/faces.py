"""Where a clip's frames show the face, from the body's joints, with much room to spare."""

from __future__ import annotations

import numpy as np

from pipelines.schema import JOINTS, TORSO_JOINTS

FACE_JOINTS = tuple(
    index
    for index, name in enumerate(JOINTS)
    if name == "nose" or any(part in name for part in ("eye", "ear", "mouth"))
)

RADIUS_IN_TORSOS = 0.65
"""An infant's head is large: ears lie up to 0.51 torso lengths from the middle of the joints found."""

BEYOND_JOINTS = 1.3
"""The region never ends nearer than this many times the farthest face joint."""

MIN_FACE_SCORE = 0.5
"""Mean score of the face joints from which on a frame's own face can be certain."""

MOST_FROM_NECK = 1.2
"""A face farther from the neck, in torso lengths, is misread."""

MOST_TURNED_DEGREES = 60.0
"""A torso turned by more than this from the clip's own direction is misread, and the face with it."""

LARGER = 1.3
"""Factor of regions that are taken from other frames."""


def face_regions(pose: np.ndarray, found: np.ndarray, size: int) -> np.ndarray:
    """What must be blanked of each frame of a clip.

    A disc around the face's middle, and with it those of the frames before and after. Where the face is
    uncertain: the way between the nearest certain faces before and after, wider, and what the frame itself
    shows. All of a frame without a body, and all of every frame where no face of the clip is certain.

    Args:
        pose: (T, 33, 3) float, x and y in pixels of the frame, score.
        found: (T,) bool, whether a body was found.
        size: side of the frames, pixels.

    Returns:
        (T, size, size) bool.
    """
    middles, radii, certain = _faces(pose, found)
    regions = np.zeros((len(pose), size, size), bool)
    known = np.flatnonzero(certain)
    for number, region in enumerate(regions):
        if not found[number] or not len(known):
            region[:] = True
            continue
        _draw(region, middles[number], middles[number], radii[number])
        before, after = known[known <= number][-1:], known[known >= number][:1]
        if certain[number]:
            for other in (number - 1, number + 1):
                if other in known:
                    _draw(region, middles[other], middles[other], radii[other])
            continue
        ends = np.concatenate([before, after])
        radius = LARGER * max(float(radii[number]), float(radii[ends].max()))
        _draw(region, middles[ends[0]], middles[ends[-1]], radius)
        _draw(region, middles[number], middles[number], radius)
    return regions


def _faces(pose: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles (T, 2) and radii (T,) of the faces in pixels, and which of them are certain, (T,) bool."""
    places = pose[..., :2].astype(np.float64)
    joints = places[:, list(FACE_JOINTS)]
    torso = places[:, list(TORSO_JOINTS)]
    neck, crotch = torso[:, :2].mean(axis=1), torso[:, 2:].mean(axis=1)
    spine = crotch - neck
    length = np.hypot(*spine.T)
    # A torso that bends towards the camera looks shorter; the head does not.
    lengths = np.maximum(length, np.median(length[found]) if found.any() else 0)
    middles = joints.mean(axis=1)
    farthest = np.hypot(*np.moveaxis(joints - middles[:, None], -1, 0)).max(axis=1)
    radii = np.maximum(RADIUS_IN_TORSOS * lengths, BEYOND_JOINTS * farthest)
    direction = spine / np.maximum(length, 1e-6)[:, None]
    usual = direction[found].sum(axis=0)
    usual /= max(1e-6, float(np.hypot(*usual)))
    certain = (
        found
        & (pose[:, list(FACE_JOINTS), 2].mean(axis=1) >= MIN_FACE_SCORE)
        & (np.hypot(*(middles - neck).T) <= MOST_FROM_NECK * lengths)
        & (direction @ usual >= np.cos(np.radians(MOST_TURNED_DEGREES)))
        # Heads lie on the other side of the neck than hips.
        & (((middles - neck) * direction).sum(axis=1) <= 0)
    )
    return middles, radii, certain


def _draw(region: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> None:
    """Sets to True what is nearer than `radius` to the way from `start` to `end`."""
    y, x = np.ogrid[: region.shape[0], : region.shape[1]]
    way = end - start
    along = (x - start[0]) * way[0] + (y - start[1]) * way[1]
    share = np.clip(along / max(1e-6, float(way @ way)), 0, 1)
    apart = np.hypot(x - start[0] - share * way[0], y - start[1] - share * way[1])
    region |= apart <= radius
