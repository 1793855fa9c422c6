"""Pictures of clips and of results, as arrays."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import cv2
import numpy as np

from pipelines.clips import Clip
from pipelines.flow import dequantize_flow
from pipelines.optional import load
from pipelines.schema import FEATURE_JOINTS
from tfgma.metrics import reliability_table

LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))

JOINT_COLOR = (60, 230, 90)
STRIP_SIDE = 128
"""Side of a skeleton's picture, px."""

BONES = (
    ("neck", "nose"),
    *((f"{side}_{first}", f"{side}_{second}") for side in ("left", "right") for first, second in LIMBS),
    *(("neck", f"{side}_{joint}") for side in ("left", "right") for joint in ("shoulder", "hip")),
)


def flow_colors(flow: np.ndarray, full_px: float) -> np.ndarray:
    """(H, W, 2) float pixels -> (H, W, 3) uint8 RGB: direction as hue, speed as strength.

    `full_px`: the speed that is shown in full strength.
    """
    speed, angle = cv2.cartToPolar(
        np.ascontiguousarray(flow[..., 0], np.float32), np.ascontiguousarray(flow[..., 1], np.float32)
    )
    hue = np.rint(angle * (90 / math.pi)) % 180
    strength = np.clip(speed / full_px, 0, 1) * 255
    hsv = np.dstack([hue, np.full_like(hue, 255), strength]).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def full_speed(flows: Sequence[np.ndarray]) -> float:
    """Pixels that only the fastest hundredth of a clip's flows (H, W, 2) moves by: its own full strength."""
    return max(1.0, float(np.percentile(np.hypot(*np.moveaxis(np.stack(flows), -1, 0)), 99)))


def clip_strip(clip: Clip, max_flow_px: float, *, columns: int = 5, outline: bool = False) -> np.ndarray:
    """(rows * S, columns * S, 3) uint8 RGB: frames, the same with joints, and the flow that leads on.

    `outline`: of frames that are cut out, a row more, with the outline of what was kept. What the clip does
    not hold has no row; joints without frames are drawn on black. Of joints alone, one row:
    (S, columns * S, 3), in the body's own axes.
    """
    if not len(clip.rgb) and not len(clip.flow):
        return _joint_strip(clip.joint_features, columns)
    steps = np.linspace(0, len(clip.mask_area) - 2, columns).round().astype(int)
    rows = []
    black = np.zeros((*clip.flow.shape[1:3], 3), np.uint8)
    frames = [np.ascontiguousarray(clip.rgb[step]) for step in steps] if len(clip.rgb) else [black] * columns
    if len(clip.rgb):
        rows.append(frames)
        if outline:
            rows.append([outlined(frame, cut_out(frame)) for frame in frames])
    if len(clip.pose):
        rows.append([draw_joints(frame, clip.pose[step]) for frame, step in zip(frames, steps, strict=True)])
    if len(clip.flow):
        flows = [dequantize_flow(clip.flow[step], max_flow_px) for step in steps]
        full = full_speed(flows)
        rows.append([flow_colors(flow, full) for flow in flows])
    return np.vstack([np.hstack(row) for row in rows])


def _joint_strip(features: np.ndarray, columns: int) -> np.ndarray:
    """(T, 18, 7) joint features -> (S, columns * S, 3) uint8 RGB: a skeleton a moment, one scale for all."""
    places = features[..., :2]
    low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    scale = 0.9 * STRIP_SIDE / max(1e-6, float((high - low).max()))
    pixels = np.rint((places - (low + high) / 2) * scale + STRIP_SIDE / 2).astype(int)
    drawn = []
    for step in np.linspace(0, len(features) - 1, columns).round().astype(int):
        canvas = np.full((STRIP_SIDE, STRIP_SIDE, 3), 16, np.uint8)
        for first, second in BONES:
            ends = (tuple(map(int, pixels[step, FEATURE_JOINTS.index(name)])) for name in (first, second))
            cv2.line(canvas, *ends, JOINT_COLOR, 1, cv2.LINE_AA)
        for x, y in pixels[step]:
            cv2.circle(canvas, (int(x), int(y)), 2, JOINT_COLOR, -1, cv2.LINE_AA)
        drawn.append(canvas)
    return np.hstack(drawn)


def draw_joints(frame: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """A copy of `frame` (S, S, 3) uint8 with the joints of `pose` (33, 3) that score at least 0.5."""
    out = frame.copy()
    radius = max(1, frame.shape[0] // 90)
    for x, y, score in pose:
        if score >= 0.5:
            cv2.circle(out, (int(x), int(y)), radius, JOINT_COLOR, -1, cv2.LINE_AA)
    return out


def outlined(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`frame` (H, W, 3) uint8 with what lies outside `mask` (H, W) bool darkened, and its outline."""
    out = np.where(mask[..., None], frame, frame // 3)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, JOINT_COLOR, max(1, max(frame.shape) // 250), cv2.LINE_AA)
    return out


CUT_LEVEL = 16
"""What is darker was cut out; JPEG leaves traces of the body beside its edge."""


def cut_out(frame: np.ndarray) -> np.ndarray:
    """(H, W) bool where a cut-out `frame` (H, W, 3) uint8 was kept: what is not black, without holes."""
    seen = (frame.max(axis=-1) > CUT_LEVEL).astype(np.uint8)
    # One pixel's opening takes JPEG's specks; what is dark inside the body is part of it.
    seen = cv2.morphologyEx(seen, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(seen, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(seen), outlines, -1, 1, cv2.FILLED).astype(bool)


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """`picture` (H, W, 3) uint8 as large as fits into (side, side, 3), on grey."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    out = np.full((side, side, 3), 32, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = small
    return out


def with_caption(picture: np.ndarray, text: str) -> np.ndarray:
    """`picture` (H, W, 3) uint8 beneath a line of text."""
    bar = np.full((22, picture.shape[1], 3), 32, np.uint8)
    cv2.putText(bar, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([bar, picture])


def contact_sheet(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one shape in rows of `columns`, the last row filled with grey."""
    blank = np.full_like(pictures[0], 32)
    filled = list(pictures) + [blank] * (-len(pictures) % columns)
    rows = [np.hstack(filled[i : i + columns]) for i in range(0, len(filled), columns)]
    return np.vstack(rows)


def confusion_picture(matrix: np.ndarray, classes: Sequence[str], title: str) -> np.ndarray:
    """(C, C) counts, rows are the true classes -> (H, W, 3) uint8 RGB."""
    figure = load("matplotlib.figure", "runtime").Figure(figsize=(3.6, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues", vmin=0)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    for (row, column), count in np.ndenumerate(matrix):
        dark = count > np.max(matrix) / 2
        axes.text(column, row, f"{count:g}", ha="center", va="center", color="white" if dark else "black")
    return figure_pixels(figure)


def roc_picture(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], title: str
) -> np.ndarray:
    """Each class against the rest -> (H, W, 3) uint8 RGB; one of all labels or of none has no curve.

    Args:
        labels: (N,) int. probabilities: (N, C) float.
        classes: (C,) names.
        title: of the picture.
    """
    sk = load("sklearn.metrics", "train")
    figure = load("matplotlib.figure", "runtime").Figure(figsize=(4.2, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
    for number, name in enumerate(classes):
        is_class = labels == number
        if is_class.all() or not is_class.any():
            axes.plot([], [], label=f"{name}: not defined")
            continue
        false_share, true_share, _ = sk.roc_curve(is_class, probabilities[:, number])
        area = sk.auc(false_share, true_share)
        axes.plot(false_share, true_share, label=f"{name}: area {area:.2f}, n = {is_class.sum()}")
    axes.set_xlabel("share of the others that are named so")
    axes.set_ylabel("share of the class that is named so")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure_pixels(figure)


def reliability_picture(labels: np.ndarray, probabilities: np.ndarray, title: str) -> np.ndarray:
    """How often answers are right, by how probable they were said to be -> (H, W, 3) uint8 RGB.

    Args:
        labels: (N,) int. probabilities: (N, C) float.
        title: of the picture.
    """
    table = [row for row in reliability_table(labels, probabilities) if row["n"]]
    figure = load("matplotlib.figure", "runtime").Figure(figsize=(4.2, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="calibrated")
    said, right = ([row[name] for row in table] for name in ("probability", "accuracy"))
    axes.plot(said, right, marker="o", label="answers")
    for row in table:
        axes.annotate(
            str(row["n"]), (row["probability"], row["accuracy"]), (4, 4), textcoords="offset points"
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("probability of the answered class")
    axes.set_ylabel("share that is right")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure_pixels(figure)


def figure_pixels(figure: object) -> np.ndarray:
    """A matplotlib figure -> (H, W, 3) uint8 RGB."""
    load("matplotlib.backends.backend_agg", "runtime").FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")  # type: ignore[attr-defined]
    return cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR_RGB)


def png_bytes(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB -> PNG."""
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
