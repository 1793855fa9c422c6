"""Which of the joints that OpenPose found belong to one person (Cao et al., CVPR 2017)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from pipelines.schema import FEATURE_JOINTS, RefusedError

OPENPOSE_LIMBS: Final[tuple[tuple[str, str], ...]] = (
    ("neck", "right_hip"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("neck", "left_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("neck", "right_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("right_shoulder", "right_ear"),
    ("neck", "left_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("left_shoulder", "left_ear"),
    ("neck", "nose"),
    ("nose", "right_eye"),
    ("nose", "left_eye"),
    ("right_eye", "right_ear"),
    ("left_eye", "left_ear"),
)
"""Limb k points from its first joint to its second; part affinity field 2k is its x, 2k + 1 its y."""

SMOOTHING_PX: Final = 3 / 8
"""The published 3 px of a picture whose maps have one pixel for 8."""
MIN_JOINT_SCORE: Final = 0.1
MIN_AFFINITY: Final = 0.05
MIN_AFFINE_SHARE: Final = 0.8
"""Share of a limb's samples that must reach MIN_AFFINITY."""
SAMPLES: Final = 10
"""Points on a limb at which the field is read, both ends among them."""
FREE_LENGTH: Final = 0.5
"""In heights of the map: limbs longer than this are less likely the longer they are."""
MIN_JOINTS: Final = 4
MIN_PERSON_SCORE: Final = 0.4
"""Sum of a person's joint scores and limb scores, for each joint."""


@dataclass(eq=False)
class _Person:
    """Joints that limbs have joined so far: joint -> number of its peak."""

    peaks: dict[int, int] = field(default_factory=dict)
    limb_score: float = 0.0


@dataclass(frozen=True)
class _Limb:
    """A connection between peak `start_peak` of joint `start` and `end_peak` of `end`."""

    start: int
    start_peak: int
    end: int
    end_peak: int
    score: float


def decode_people(
    heatmap: np.ndarray,
    paf: np.ndarray,
    *,
    smoothing_px: float = SMOOTHING_PX,
    min_joints: int = MIN_JOINTS,
    min_score: float = MIN_PERSON_SCORE,
) -> np.ndarray:
    """The people in the maps of OpenPose's COCO model.

    Args:
        heatmap: (h, w, 19) float, score of each of FEATURE_JOINTS, then of the background.
        paf: (h, w, 38) float, x and y of the unit vector along each of OPENPOSE_LIMBS.
        smoothing_px: standard deviation of the smoothing before joints are sought, pixels of the map; 0 for
            none, more where the maps were enlarged.
        min_joints: people with fewer joints are dropped.
        min_score: people with a smaller sum of joint and limb scores for each joint are dropped.

    Returns:
        (people, 18, 3) float32, the best first: x, y, score 0..1 of each of FEATURE_JOINTS; all three are 0
        where a joint was not found. x and y count pixels of the map from its upper left corner, the middle of
        the first pixel being (0.5, 0.5): times the picture's width / w, height / h they are the picture's.

    Raises:
        RefusedError: maps of another shape.
    """
    joints, limbs = len(FEATURE_JOINTS), len(OPENPOSE_LIMBS)
    if heatmap.ndim != 3 or heatmap.shape[2] != joints + 1 or 0 in heatmap.shape:
        raise RefusedError(f"heatmap must have the shape (h, w, {joints + 1}). Received: {heatmap.shape}")
    if paf.shape != (*heatmap.shape[:2], 2 * limbs):
        raise RefusedError(
            f"paf must have the shape {(*heatmap.shape[:2], 2 * limbs)}, as the heatmap's size asks. "
            f"Received: {paf.shape}"
        )
    peaks = [_find_peaks(heatmap[..., joint], smoothing_px) for joint in range(joints)]
    people = _assemble(_find_limbs(peaks, paf))

    decoded, scores = [], []
    for person in people:
        pose = np.zeros((joints, 3), np.float32)
        for joint, number in person.peaks.items():
            pose[joint] = peaks[joint][number]
        total = float(pose[:, 2].sum()) + person.limb_score
        if len(person.peaks) < min_joints or total < min_score * len(person.peaks):
            continue
        pose[list(person.peaks), :2] += 0.5  # from pixel centres to pixel corners
        decoded.append(pose)
        scores.append(total)
    order = np.argsort(-np.array(scores), kind="stable")
    return np.array([decoded[number] for number in order], np.float32).reshape(-1, joints, 3)


def _find_peaks(scores: np.ndarray, smoothing_px: float) -> np.ndarray:
    """(peaks, 3) float64: x and y of each local maximum, counted from pixel centres, then its score."""
    scores = np.ascontiguousarray(scores, np.float32)
    smooth = scores
    if smoothing_px > 0:
        smooth = cv2.GaussianBlur(scores, (0, 0), smoothing_px, borderType=cv2.BORDER_REPLICATE)
    highest = cv2.dilate(smooth, np.ones((3, 3), np.uint8))
    top = (smooth == highest) & (smooth > MIN_JOINT_SCORE)
    # A peak between pixels has several highest ones: together they are one peak.
    count, labels, _, middles = cv2.connectedComponentsWithStats(top.astype(np.uint8), connectivity=8)
    found = []
    for label in range(1, count):
        rows, columns = np.nonzero(labels == label)
        nearest = np.argmin((columns - middles[label, 0]) ** 2 + (rows - middles[label, 1]) ** 2)
        y, x = int(rows[nearest]), int(columns[nearest])
        found.append((x + _vertex(smooth[y], x), y + _vertex(smooth[:, x], y), scores[y, x]))
    return np.array(found, np.float64).reshape(-1, 3)


def _vertex(values: np.ndarray, index: int) -> float:
    """Where the parabola through a maximum and its two neighbours is highest, -0.5..0.5 from `index`."""
    if not 0 < index < len(values) - 1:
        return 0.0
    before, here, after = (float(value) for value in values[index - 1 : index + 2])
    bend = 2 * here - before - after
    return 0.5 * (after - before) / bend if bend > 0 else 0.0


def _find_limbs(peaks: list[np.ndarray], paf: np.ndarray) -> list[_Limb]:
    """Every connection that the fields speak for, the surest first."""
    found = []
    for number, names in enumerate(OPENPOSE_LIMBS):
        start, end = (FEATURE_JOINTS.index(name) for name in names)
        scores = _score_limbs(peaks[start], peaks[end], paf[..., 2 * number : 2 * number + 2])
        for one, other in np.argwhere(scores > 0).tolist():
            found.append(_Limb(start, one, end, other, float(scores[one, other])))
    return sorted(found, key=lambda limb: -limb.score)


def _score_limbs(starts: np.ndarray, ends: np.ndarray, field_of_limb: np.ndarray) -> np.ndarray:
    """(starts, ends) float64: mean of the field along each line from start to end, 0 where it is no limb."""
    if len(starts) == 0 or len(ends) == 0:
        return np.zeros((len(starts), len(ends)))
    height = field_of_limb.shape[0]
    lines = ends[None, :, :2] - starts[:, None, :2]
    length = np.maximum(np.hypot(lines[..., 0], lines[..., 1]), 1e-6)
    directions = lines / length[..., None]
    steps = np.linspace(0, 1, SAMPLES)[:, None]
    points = starts[:, None, None, :2] + steps * lines[:, :, None]  # (starts, ends, samples, xy)
    columns, rows = np.moveaxis(np.rint(points).astype(int), -1, 0)
    affinity = (field_of_limb[rows, columns] * directions[:, :, None]).sum(axis=-1)
    scores = affinity.mean(axis=-1) + np.minimum(FREE_LENGTH * height / length - 1, 0)
    limbs = (affinity > MIN_AFFINITY).mean(axis=-1) >= MIN_AFFINE_SHARE
    return np.where(limbs & (scores > 0), scores, 0.0)


def _assemble(limbs: list[_Limb]) -> list[_Person]:
    """People from limbs, the surest first; a limb that would give someone a second nose is left out.

    So no joint gets two limbs of a kind either: that is a greedy matching of each kind's two ends.
    """
    people: list[_Person] = []
    owners: dict[tuple[int, int], _Person] = {}
    for limb in limbs:
        parts = {limb.start: limb.start_peak, limb.end: limb.end_peak}
        sides = []
        for part in parts.items():
            if part not in owners:
                owners[part] = _Person(dict([part]))
                people.append(owners[part])
            sides.append(owners[part])
        person, other = sides
        if person is not other:
            if person.peaks.keys() & other.peaks.keys():
                continue
            people.remove(other)
            person.peaks |= other.peaks
            person.limb_score += other.limb_score
            for part in other.peaks.items():
                owners[part] = person
        person.limb_score += limb.score
    return people
