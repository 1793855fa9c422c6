"""A folder that explains one answer: a page, its figures as JSON, and the maps as arrays."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import InputSettings
from pipelines.files import refuse_taken, written_whole
from tfgma.assessment_content import clock
from tfgma.body_parts import PARTS
from tfgma.explanation import Deletion, Explanation
from tfgma.explanation_pictures import map_pictures
from tfgma.pages import CELL_PAINTS, render

PAGE = "explanation.html"
FIGURES = "explanation.json"
ARRAYS = "maps.npz"

METHODS = {
    "grad_cam": "Grad-CAM",
    "integrated_gradients": "integrated gradients",
    "attention": "the network's own attention",
}
STREAMS = {
    "image": "the middle frame",
    "frames": "the frames",
    "slow": "the slow frames",
    "fast": "the fast frames",
    "flow": "the movement",
    "pose": "the joints",
}


def write_explanation(out: Path, found: Explanation, settings: InputSettings) -> None:
    """Writes PAGE, FIGURES and ARRAYS to the folder `out`.

    Raises:
        RefusedError: `out` holds something.
    """
    refuse_taken(out)
    out.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{one.clip.start_seconds:g}s_{method}_{name}": values
        for one in found.maps
        for method, maps in (
            ("grad_cam", one.grad_cam),
            ("integrated_gradients", one.attributions),
            ("attention", one.attention),
        )
        for name, values in maps.items()
    }
    with written_whole(out / ARRAYS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    with written_whole(out / FIGURES) as temporary:
        temporary.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    page = render("explanation.html.j2", **_content(found, settings), cell_paints=CELL_PAINTS, arrays=ARRAYS)
    with written_whole(out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _content(found: Explanation, settings: InputSettings) -> dict[str, Any]:
    seconds = found.spec.clip_seconds
    length = found.clips[-1].start_seconds + seconds
    return {
        "found": found,
        "name": Path(found.video).name,
        "parts": _parts(found),
        "timeline": _timeline(found, length),
        "deletions": [vars(row) for row in deletion_rows(found)],
        "methods": METHODS,
        "streams": STREAMS,
        "clips": [
            {
                "begin": clock(one.clip.start_seconds),
                "end": clock(one.clip.start_seconds + seconds),
                "p": float(found.clips[one.number].probabilities[found.number]),
                "rows": [
                    (METHODS[row.method], STREAMS[row.input], b64encode(row.jpeg).decode())
                    for row in map_pictures(one, found.spec, settings)
                ],
            }
            for one in found.maps
        ],
    }


def _parts(found: Explanation) -> list[dict[str, Any]]:
    """For each part its mean effect, the spread over clips, and the bar's place in percent."""
    effects = found.part_effects
    mean = effects.mean(axis=0)
    full = max(1e-9, float(np.abs(mean).max()))
    spread = effects.std(axis=0, ddof=1) if len(effects) > 1 else [None] * len(PARTS)
    return [
        {
            "name": name.replace("_", " "),
            "effect": float(value),
            "spread": apart,
            "bar": _bar(float(value) / full),
        }
        for name, value, apart in zip(PARTS, mean, spread, strict=True)
    ]


def _bar(share: float) -> dict[str, float]:
    """-1..1 -> a bar from the middle, in percent of the track."""
    return {"left": 50 + 50 * min(share, 0), "width": 50 * abs(share)}


def _timeline(found: Explanation, length: float) -> dict[str, Any]:
    """Where clips and their spans lie, in percent of the video; strength 0..1 of spans' effects."""
    effects = np.stack([clip.spans[:, found.number] for clip in found.clips])
    full = max(1e-9, float(np.abs(effects).max()))
    width = min(found.spec.stride_seconds, found.spec.clip_seconds)
    clips, spans = [], []
    for clip, row in zip(found.clips, effects, strict=True):
        start, p = clip.start_seconds, float(clip.probabilities[found.number])
        clips.append(
            {
                "left": 100 * start / length,
                "width": 100 * width / length,
                "tenth": min(9, int(10 * p)),
                "title": f"{start:.1f} s: {found.explained} {p:.2f}",
            }
        )
        for (begin, end), effect in zip(found.spans_seconds, row, strict=True):
            if begin >= width:
                break
            spans.append(
                {
                    "left": 100 * (start + float(begin)) / length,
                    "width": 100 * (min(float(end), width) - float(begin)) / length,
                    "for": bool(effect >= 0),
                    "strength": abs(float(effect)) / full,
                    "title": f"{start + float(begin):.1f} s: {effect:+.2f} nats",
                }
            )
    return {"clips": clips, "spans": spans, "full": full, "end": clock(length)}


@dataclass(frozen=True)
class DeletionRow:
    """Means over clips of what `Deletion` says, and in how many clips the map was better than chance."""

    method: str
    input: str
    area: float
    random: float
    better: int
    clips: int


def deletion_rows(found: Explanation) -> list[DeletionRow]:
    """A row for each method and input."""
    groups: dict[tuple[str, str], list[Deletion]] = {}
    for one in found.maps:
        for deletion in one.deletions:
            groups.setdefault((deletion.method, deletion.input), []).append(deletion)
    return [
        DeletionRow(
            METHODS[method],
            STREAMS[name],
            _mean([one.area for one in group]),
            _mean([one.random for one in group]),
            sum(one.area < one.random for one in group),
            len(group),
        )
        for (method, name), group in groups.items()
    ]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
