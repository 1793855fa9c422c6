"""What a page about an assessed video shows, as plain values, and where it lies."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.files import distinct_names
from pipelines.quality import without_value
from tfgma.bundle import BundleDescription, model_file
from tfgma.inference import Assessment
from tfgma.verdict import probability_intervals

TELLING = 3
"""Moments for the most probable class that a page shows."""
CONTRARY = 1
"""Moments that speak most against it."""
TICKS = 6
"""At most so many times along a timeline, but its ends."""
STEPS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)

QUALITY = {
    "body": "body found, share of frames",
    "torso": "shoulders and hips seen, share of frames",
    "visible": "arms and legs inside the picture, 0 to 1",
    "mask_certainty": "outline certain, 0 to 1",
    "sharpness": "sharpness, 0 to 1",
    "brightness": "brightness of the body, 0 to 1",
    "covered": "hidden by others, share of the body",
    "camera_speed": "camera moves, picture lengths a second",
}
"""Figures of the whole video, in words."""


INDEX_FILE = "index.html"


@dataclass(frozen=True)
class Model:
    """What answered: a `variant` of the bundle of that `name`."""

    name: str
    variant: str
    description: BundleDescription

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.description.files[model_file(self.variant)]


@dataclass(frozen=True)
class Place:
    """Where a video's `page` lies in the report's folder, and what the video is called there."""

    page: str
    label: str

    @property
    def sheet(self) -> str:
        """The page's name as PDF."""
        return f"{Path(self.page).stem}.pdf"

    @property
    def film(self) -> str:
        """The overlay's name, beside the page."""
        return f"{Path(self.page).stem}_overlay.mp4"


def places(videos: Sequence[Path]) -> list[Place]:
    """A place for each video.

    >>> [place.page for place in places([Path("a/one.mp4"), Path("b/one.mp4"), Path("b/index.mov")])]
    ['a__one__mp4.html', 'b__one__mp4.html', 'index_.html']
    """
    whole = [Path(os.path.abspath(video)) for video in videos]  # without `..`, links as they are
    root = Path(os.path.commonpath([video.parent for video in whole])) if whole else Path()
    names = [f"{name}.html" for name in distinct_names(whole, root)]
    return [
        Place(f"{Path(name).stem}_.html" if name == INDEX_FILE else name, video.relative_to(root).as_posix())
        for name, video in zip(names, whole, strict=True)
    ]


def place_below(root: Path, video: Path) -> Place:
    """A place for a video of a folder to which others come.

    >>> place_below(Path("in"), Path("in/ward 3/one.mp4"))
    Place(page='ward 3__one_mp4.html', label='ward 3/one.mp4')
    """
    inside = video.relative_to(root)
    name = "__".join([*inside.parts[:-1], f"{inside.stem}_{inside.suffix[1:]}"])
    return Place(f"{name}.html", inside.as_posix())


@dataclass(frozen=True)
class Content:
    """Of one video.

    `rows`: for each class its `name`, calibrated `probability`, `interval` and whether it is `possible`.
    `timeline`: see `_timeline`. `moments`: see `_moments`. `quality`: figures of the whole video, in words.
    `left_out`: why clips were, and how many.
    """

    rows: list[dict[str, Any]]
    timeline: dict[str, Any]
    moments: list[dict[str, Any]]
    quality: list[tuple[str, str]]
    left_out: list[tuple[str, int]]


def content_of(one: Assessment, description: BundleDescription) -> Content:
    """What is shown of an assessment by that bundle."""
    return Content(
        rows=_rows(one),
        timeline=_timeline(one, description),
        moments=_moments(one, description.build.clip.clip_seconds),
        quality=_quality(one),
        left_out=Counter(
            without_value(reason) for window in one.report.windows for reason in window.reasons
        ).most_common(),
    )


def _rows(one: Assessment) -> list[dict[str, Any]]:
    """For each class its calibrated probability, the interval, and whether it is possible."""
    said = one.verdict
    intervals = probability_intervals(one.clip_probabilities, one.calibration.temperature)
    return [
        {
            "name": name,
            "probability": float(said.probabilities[number]),
            "interval": None if intervals is None else intervals[number].tolist(),
            "possible": name in said.possible,
        }
        for number, name in enumerate(one.classes)
    ]


def _timeline(one: Assessment, description: BundleDescription) -> dict[str, Any]:
    """Where clips lie, in percent of the video's length, and what each class's probability is there."""
    spec = description.build.clip
    length = max(one.report.decode.seconds, float(one.start_seconds[-1]) + spec.clip_seconds)
    width = min(spec.stride_seconds, spec.clip_seconds)

    def place(start: float) -> dict[str, float]:
        return {"left": 100 * start / length, "width": 100 * min(width, length - start) / length}

    starts = one.start_seconds.tolist()
    return {
        "classes": [
            {
                "name": name,
                "cells": [
                    place(start) | {"start": start, "p": p, "tenth": min(9, int(10 * p + 1e-9))}
                    for start, p in zip(starts, one.clip_probabilities[:, number].tolist(), strict=True)
                ],
            }
            for number, name in enumerate(one.classes)
        ],
        "left_out": [
            place(window.start_seconds) | {"start": window.start_seconds, "why": "; ".join(window.reasons)}
            for window in one.report.windows
            if window.reasons
        ],
        "ticks": [{"left": 100 * at / length, "text": clock(at)} for at in _ticks(length)],
        "clip_seconds": spec.clip_seconds,
    }


def _ticks(length: float) -> list[float]:
    step = next((step for step in STEPS_SECONDS if length / step <= TICKS), STEPS_SECONDS[-1])
    return np.arange(0, length, step).tolist()


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(75.4), clock(59.6)
    ('1:15', '1:00')
    """
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def telling(scores: np.ndarray, starts: np.ndarray, clip_seconds: float, most: int) -> list[int]:
    """Clips of the highest scores that do not overlap, the highest first.

    >>> telling(np.array([0.9, 0.8, 0.7]), np.array([0.0, 1.0, 2.0]), 2.0, 3)
    [0, 2]
    """
    found: list[int] = []
    for number in np.argsort(-scores, kind="stable").tolist():
        if len(found) < most and all(abs(starts[number] - starts[other]) >= clip_seconds for other in found):
            found.append(number)
    return found


def _moments(one: Assessment, clip_seconds: float) -> list[dict[str, Any]]:
    """The clips that tell most for the most probable class, and then those that tell most against it."""
    predicted = one.classes.index(one.predicted)
    scores = one.clip_probabilities[:, predicted]
    contra = [
        number
        for number in telling(-scores, one.start_seconds, clip_seconds, CONTRARY)
        if one.clip_probabilities[number].argmax() != predicted
    ]
    pro = [n for n in telling(scores, one.start_seconds, clip_seconds, TELLING) if n not in contra]
    return [
        {
            "begin": clock(one.start_seconds[number]),
            "end": clock(one.start_seconds[number] + clip_seconds),
            "answer": one.classes[int(one.clip_probabilities[number].argmax())],
            "p": float(one.clip_probabilities[number].max()),
            "against": number in contra,
            "picture": one.pictures[number],
        }
        for number in (*pro, *contra)
    ]


def _quality(one: Assessment) -> list[tuple[str, str]]:
    decode = one.report.decode
    figures = one.report.means.figures().as_json()
    rows = [
        ("length", f"{decode.seconds:.1f} s"),
        ("frames a second", f"{decode.fps:.2f}"),
        ("clips assessed", f"{one.report.clips}"),
        ("clips left out", f"{one.report.clips_left_out}"),
    ]
    rows += [(text, f"{value:.2f}") for name, text in QUALITY.items() if (value := figures[name]) is not None]
    if decode.damaged:
        rows.append(("damaged", f"{decode.damaged}; what decodes was assessed"))
    return rows
