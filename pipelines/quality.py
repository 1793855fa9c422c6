"""What can be said of a recording before it is assessed, and whether that is enough."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import cv2
import numpy as np

from pipelines.config import QualitySettings
from pipelines.schema import JOINTS, TORSO_JOINTS

LIMBS = tuple(
    JOINTS.index(f"{side}_{part}")
    for side in ("left", "right")
    for part in ("elbow", "wrist", "hip", "knee", "ankle")
)
MIN_JOINT_SCORE = 0.5
SHARPNESS_SIDE = 256
"""The body's part of the frame is judged at this size, so that sharpness does not depend on the camera's."""

BLUR_TAPS = 9
"""Length of the filter that sharpness is tried with (Crete et al., 2007)."""


@dataclass(frozen=True)
class Figures:
    """What is seen in one frame, or on average over several.

    `body`: share of frames with a body. `torso`: with both shoulders and hips seen. `visible`: how sure it is
    that the limb which is least so lies inside the picture, 0..1. `mask_certainty`: how sure the network is
    of the mask, 0..1. `sharpness`: 0..1, share of the detail that a blur would take away. `brightness`: mean
    grey of the body, 0..1. `covered`: share of the body that other people and their hands hide or hold.
    `other_people`, `hands`: share of frames in which these are seen. `camera_speed`: long sides of the frame
    that the camera moves a second; None where it is not known. All but the first are of the frames with a
    body; they are 0 where there is none.
    """

    body: float
    torso: float
    visible: float
    mask_certainty: float
    sharpness: float
    brightness: float
    covered: float
    other_people: float
    hands: float
    camera_speed: float | None

    def as_json(self) -> dict[str, float | None]:
        """Plain values, rounded to four digits."""
        return {
            name: None if value is None else round(float(value), 4) for name, value in asdict(self).items()
        }


_NAMES = tuple(field.name for field in fields(Figures))

NOBODY = Figures(0, 0, 0, 0, 0, 0, 0, 0, 0, None)


def frame_figures(
    frame: np.ndarray,
    mask: np.ndarray,
    joints: np.ndarray,
    presence: np.ndarray,
    *,
    mask_certainty: float,
    covered: float,
    people: int,
    hands: int,
    camera_speed: float | None,
) -> Figures:
    """The figures of one frame with a body.

    Args:
        frame: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        joints: (33, 3), pixels and score 0..1.
        presence: (33,), that a joint lies inside the picture, 0..1.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return Figures(
        body=1.0,
        torso=float((joints[list(TORSO_JOINTS), 2] >= MIN_JOINT_SCORE).all()),
        visible=float(presence[list(LIMBS)].min()),
        mask_certainty=mask_certainty,
        sharpness=sharpness(grey, mask),
        brightness=float(grey[mask].mean()) / 255 if mask.any() else 0.0,
        covered=covered,
        other_people=float(people > 0),
        hands=float(hands > 0),
        camera_speed=camera_speed,
    )


def sharpness(grey: np.ndarray, mask: np.ndarray) -> float:
    """Share of the differences between neighbours that a further blur takes away, 0 (blurred) to 1 (sharp).

    Args:
        grey: (H, W) uint8.
        mask: (H, W) bool; the rectangle around it is judged.
    """
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    if not width or not height:
        return 0.0
    part = grey[y : y + height, x : x + width]
    scale = min(1.0, SHARPNESS_SIDE / max(part.shape))
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
    shares = []
    for axis, kernel in ((0, (1, BLUR_TAPS)), (1, (BLUR_TAPS, 1))):
        steps = np.abs(np.diff(part, axis=axis))
        lost = np.maximum(0, steps - np.abs(np.diff(cv2.blur(part, kernel), axis=axis)))
        shares.append(float(lost.sum() / max(1e-6, steps.sum())))
    return min(shares)


class Means:
    """Means of frames' figures: the first over all frames, the others over those with a body."""

    def __init__(self) -> None:
        """Of no frame yet."""
        self._sums: dict[str, float] = dict.fromkeys(_NAMES, 0.0)
        self._counts: dict[str, int] = dict.fromkeys(_NAMES, 0)

    def add(self, figures: Figures) -> None:
        """One more frame."""
        for name in _NAMES if figures.body else ("body",):
            value = getattr(figures, name)
            if value is not None:
                self._sums[name] += value
                self._counts[name] += 1

    def figures(self) -> Figures:
        """The means so far."""
        if not self._sums["body"]:
            return NOBODY
        means = {name: self._sums[name] / count if count else None for name, count in self._counts.items()}
        return Figures(**means)  # type: ignore[arg-type]


def mean_figures(frames: Sequence[Figures]) -> Figures:
    """The means of several frames' figures."""
    means = Means()
    for one in frames:
        means.add(one)
    return means.figures()


def reasons_against(figures: Figures, limits: QualitySettings) -> list[str]:
    """Why something with these figures cannot be assessed; empty if it can. Each names figure and limit."""
    if not figures.body:
        return ["nobody is seen"]
    at_least = (
        ("the body is found in {value:.1%} of the frames, not {limit:.1%}", "body", limits.min_body_share),
        ("the torso is seen in {value:.1%} of the frames, not {limit:.1%}", "torso", limits.min_torso_share),
        (
            "arms and legs lie inside the picture to {value:.1%}, not {limit:.1%}",
            "visible",
            limits.min_visible,
        ),
        (
            "the outline of the body is certain to {value:.1%}, not {limit:.1%}",
            "mask_certainty",
            limits.min_mask_certainty,
        ),
        ("sharpness is {value:.3f}, not {limit:.3f}", "sharpness", limits.min_sharpness),
        ("it is too dark: brightness is {value:.3f}, not {limit:.3f}", "brightness", limits.min_brightness),
    )
    at_most = (
        (
            "it is too bright: brightness is {value:.3f}, over {limit:.3f}",
            "brightness",
            limits.max_brightness,
        ),
        (
            "other people or their hands cover {value:.1%} of the body, over {limit:.1%}",
            "covered",
            limits.max_covered,
        ),
        (
            "the camera moves {value:.2f} picture lengths a second, over {limit:.2f}",
            "camera_speed",
            limits.max_camera_speed,
        ),
    )
    reasons = []
    for checks, sign in ((at_least, -1), (at_most, 1)):
        for text, name, limit in checks:
            value = getattr(figures, name)
            if value is not None and sign * (value - limit) > 0:
                reasons.append(text.format(value=value, limit=limit))
    return reasons


def without_value(reason: str) -> str:
    """A reason against a clip without the clip's own figure; the limit stays.

    >>> without_value("sharpness is 0.123, not 0.300")
    'sharpness is …, not 0.300'
    """
    return re.sub(r"\d+(\.\d+)?%?", "…", reason, count=1)
