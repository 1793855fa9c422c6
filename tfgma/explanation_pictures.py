"""Maps of what counted, drawn over the frames that they are of; faces are blurred."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.clips import Clip
from pipelines.config import InputSettings
from pipelines.inputs import PICTURES, frame_indices, pose_starts, window_flows
from pipelines.schema import FEATURE_JOINTS, ClipSpec
from tfgma.clip_pictures import COLUMNS, without_faces
from tfgma.explanation import ClipMaps
from tfgma.pictures import BONES, STRIP_SIDE

FOR = (255, 140, 0)
AGAINST = (60, 140, 255)
BONE_COLOR = (150, 150, 150)
SMOOTHING = 1 / 40
"""Single pixels' attributions are noise: standard deviation of the blur, as a share of the side."""
FULL = 99.5
"""Percentile of a map that is drawn in full strength."""
DIM = 0.55
JPEG_QUALITY = 88
SIDE_PX = 192


@dataclass(frozen=True)
class MapPicture:
    """A row of pictures: what of (a method's name), of which input, and a JPEG."""

    method: str
    input: str
    jpeg: bytes


def map_pictures(one: ClipMaps, spec: ClipSpec, settings: InputSettings) -> list[MapPicture]:
    """A row for each map of a clip."""
    clip = one.clip
    frames = (
        without_faces(clip)
        if len(clip.rgb)
        else np.zeros((spec.num_frames, spec.size, spec.size, 3), np.uint8)
    )
    found = []
    for method, maps in (("grad_cam", one.grad_cam), ("integrated_gradients", one.attributions)):
        for name, relevance in maps.items():
            if name == "pose":
                row = _pose_row(relevance, method, frames, clip, spec, settings)
            else:
                row = _row(_by_moment(relevance, method, name), name, frames, spec, settings)
            found.append(MapPicture(method, name, _jpeg(row)))
    if one.attention:
        shares = one.attention["alpha"][:, None] * one.attention["beta"]
        row = _joint_row(shares, frames, clip, spec, settings)
        found.append(MapPicture("attention", "pose", _jpeg(row)))
    return found


def _by_moment(relevance: np.ndarray, method: str, name: str) -> np.ndarray:
    """A map of either method -> (T, h, w)."""
    if method == "grad_cam":
        return relevance
    if name == "flow":
        height, width, channels = relevance.shape
        return np.moveaxis(relevance.reshape(height, width, channels // 2, 2).sum(axis=-1), -1, 0)
    return relevance.sum(axis=-1)[None] if relevance.ndim == 3 else relevance.sum(axis=-1)


def _row(
    relevance: np.ndarray, name: str, frames: np.ndarray, spec: ClipSpec, settings: InputSettings
) -> np.ndarray:
    """(T, h, w) of one input -> a row of moments with the map over them."""
    length = window_flows(spec, settings)
    start = (spec.num_flows - length) // 2
    shown = [
        start + place
        for place in (frame_indices(name, length, settings) if name in PICTURES else range(length))
    ]
    # A stream that takes the whole clip as one picture has one map; its middle frame stands for it.
    columns = min(COLUMNS, len(relevance))
    places = (
        [len(relevance) // 2]
        if columns == 1
        else np.linspace(0, len(relevance) - 1, columns).round().astype(int)
    )
    size = frames.shape[1]
    large = np.stack(
        [_smooth(cv2.resize(relevance[place], (size, size)), relevance.shape[1]) for place in places]
    )
    full = max(1e-12, float(np.percentile(np.abs(large), FULL)))
    drawn = []
    for place, heat in zip(places, large, strict=True):
        moment = (
            shown[len(shown) // 2]
            if len(relevance) == 1
            else shown[place * (len(shown) - 1) // (len(relevance) - 1)]
        )
        drawn.append(_heated(frames[moment], heat / full))
    return np.hstack([_fit(picture) for picture in drawn])


def _smooth(values: np.ndarray, cells: int) -> np.ndarray:
    """What has a cell for each pixel, blurred; coarse maps are smooth."""
    if cells < len(values):
        return values
    return cv2.GaussianBlur(values, (0, 0), SMOOTHING * len(values))


def _heated(frame: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The frame in grey and dimmed, what speaks for the class orange over it, and against it blue."""
    grey = np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=-1) * DIM + 30
    strength = np.clip(np.abs(heat), 0, 1)[..., None]
    paint = np.where(heat[..., None] >= 0, np.array(FOR), np.array(AGAINST))
    return (grey * (1 - 0.85 * strength) + paint * 0.85 * strength).astype(np.uint8)


def _pose_row(
    relevance: np.ndarray,
    method: str,
    frames: np.ndarray,
    clip: Clip,
    spec: ClipSpec,
    settings: InputSettings,
) -> np.ndarray:
    """(clips, T, 18[, features]) -> the joints of each short clip."""
    joints = relevance.mean(axis=1) if method == "grad_cam" else relevance.sum(axis=(1, 3))
    return _joint_row(joints, frames, clip, spec, settings)


def _joint_row(
    shares: np.ndarray, frames: np.ndarray, clip: Clip, spec: ClipSpec, settings: InputSettings
) -> np.ndarray:
    """(clips, 18) signed -> skeletons of some short clips, a disc on each joint."""
    length = window_flows(spec, settings)
    starts = pose_starts(length, settings)
    places = np.unique(np.linspace(0, len(starts) - 1, COLUMNS).round().astype(int))
    full = max(1e-12, float(np.abs(shares).max()))
    features = clip.joint_features[..., :2]
    low, high = features.min(axis=(0, 1)), features.max(axis=(0, 1))
    scale = 0.85 * STRIP_SIDE / max(1e-6, float((high - low).max()))
    drawn = []
    for place in places:
        middle = (spec.num_flows - length) // 2 + starts[place] + settings.pose_frames // 2
        points = np.rint((features[middle] - (low + high) / 2) * scale + STRIP_SIDE / 2).astype(int)
        canvas = np.full((STRIP_SIDE, STRIP_SIDE, 3), 16, np.uint8)
        for first, second in BONES:
            ends = (tuple(map(int, points[FEATURE_JOINTS.index(name)])) for name in (first, second))
            cv2.line(canvas, *ends, BONE_COLOR, 1, cv2.LINE_AA)
        for (x, y), share in zip(points, shares[place], strict=True):
            radius = max(1, round(10 * float(np.sqrt(abs(share) / full))))
            cv2.circle(canvas, (int(x), int(y)), radius, FOR if share >= 0 else AGAINST, -1, cv2.LINE_AA)
        drawn.append(canvas)
    return np.hstack([_fit(picture) for picture in drawn])


def _fit(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
