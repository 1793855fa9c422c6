"""Writes what Python computes of a video at every stage, and compares it with what the app computed.

    python tablet/golden.py make VIDEO BUNDLE OUT.json [--variant int8]
    python tablet/golden.py compare OUT.json STAGES.json [--json]

OUT.json has the shape of the app's own stages (tablet/src/worker/messages.ts).
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import pipelines.process as process
from pipelines.inputs import clip_inputs
from tfgma.inference import Predictor

PICTURES_EVERY = 30
"""Whole pictures of so many frames are kept, as the app keeps them."""


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def make(video: Path, bundle: Path, variant: str) -> dict[str, Any]:
    """What Python computes, stage by stage."""
    kept: dict[str, Any] = {"pixels": [], "frames": [], "upright": [], "clips": []}
    observe, align = process.observe, process._align

    def observed(frames: Any, means: Any) -> Any:
        for one in observe(frames, means):
            pixels, body = one.frame.pixels, one.body
            height, width = pixels.shape[:2]
            if one.frame.index % PICTURES_EVERY == 0:
                kept["pixels"].append(
                    {"index": one.frame.index, "width": width, "height": height, "rgb": _text(pixels)}
                )
            kept["frames"].append(
                {
                    "index": one.frame.index,
                    "seconds": one.frame.seconds,
                    "mask": None if body is None else _text(np.packbits(body.mask)),
                    "joints": None if body is None else body.joints.tolist(),
                    "figures": one.figures.as_json(),
                }
            )
            yield one

    def aligned(one: Any, *rest: Any) -> Any:
        upright = align(one, *rest)
        parts = {"grey": upright.prepared, "mask": upright.mask, "flow": upright.flow()}
        kept["upright"].append(
            {"index": one.frame.index} | {name: _text(part) for name, part in parts.items()}
        )
        return upright

    process.observe, process._align = observed, aligned
    report = process.ProcessReport()
    begun = time.perf_counter()
    try:
        with Predictor(bundle, variant) as predictor:
            build, description = predictor.description.build, predictor.description
            for clip in process.video_clips(
                video, build, predictor._tools.finder, flow=predictor._tools.flow, report=report
            ):
                inputs = clip_inputs(clip, description.inputs, build.clip, description.sampling)
                kept["clips"].append(
                    {"startSeconds": clip.start_seconds, "probabilities": predictor._model(inputs).tolist()}
                )
    finally:
        process.observe, process._align = observe, align
    kept["milliseconds"] = {"all": 1000 * (time.perf_counter() - begun)}
    with Predictor(bundle, variant) as predictor:
        kept["answer"] = predictor.assess(video).as_json()
    found = report.alignment
    kept["alignment"] = found and {
        "centerX": found.center_x,
        "centerY": found.center_y,
        "angleDegrees": found.angle_degrees,
        "sidePx": found.side_px,
        "size": found.size,
    }
    return kept


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8)


def compare(python: dict[str, Any], app: dict[str, Any]) -> dict[str, Any]:
    """How far the app is from Python, by stage, in the order of the stages."""
    found: dict[str, Any] = {}
    pairs = list(zip(python["pixels"], app["pixels"], strict=True))
    off = np.concatenate([_bytes(a["rgb"]).astype(int) - _bytes(b["rgb"]) for a, b in pairs])
    found["pixels"] = {
        "mean_difference": float(np.abs(off).mean()),
        "most": int(np.abs(off).max()),
        "same_size": all((a["width"], a["height"]) == (b["width"], b["height"]) for a, b in pairs),
    }
    times = [
        (a["index"], b["index"], a["seconds"] - b["seconds"])
        for a, b in zip(python["frames"], app["frames"], strict=False)
    ]
    found["times"] = {
        "frames": [len(python["frames"]), len(app["frames"])],
        "same_index": all(a == b for a, b, _ in times),
        "most_seconds": max(abs(apart) for *_, apart in times),
    }
    overlaps, apart, disagree, figures = [], [], 0, {}
    for a, b in zip(python["frames"], app["frames"], strict=False):
        if (a["mask"] is None) != (b["mask"] is None):
            disagree += 1
            continue
        for name, value in a["figures"].items():
            if value is not None and b["figures"][name] is not None:
                figures.setdefault(name, []).append(abs(value - b["figures"][name]))
        if a["mask"] is None:
            continue
        first, second = (np.unpackbits(_bytes(one["mask"])) for one in (a, b))
        overlaps.append(float((first & second).sum() / max(1, (first | second).sum())))
        joints = np.array(a["joints"])[:, :2] - np.array(b["joints"])[:, :2]
        apart.append(np.hypot(joints[:, 0], joints[:, 1]))
    found["body"] = {
        "found_differently": disagree,
        "mask_iou_median": float(np.median(overlaps)),
        "mask_iou_least": float(np.min(overlaps)),
        "joints_px_median": float(np.median(apart)),
        "joints_px_most": float(np.max(apart)),
    }
    found["figures"] = {name: float(np.max(values)) for name, values in figures.items()}
    found["alignment"] = {
        name: abs(value - app["alignment"][name]) for name, value in python["alignment"].items()
    }
    for name in ("grey", "mask", "flow"):
        off = np.concatenate(
            [
                np.abs(_bytes(a[name]).astype(int) - _bytes(b[name]))
                for a, b in zip(python["upright"], app["upright"], strict=True)
            ]
        )
        found[f"upright_{name}"] = {"mean_difference": float(off.mean()), "most": int(off.max())}
    first, second = (np.array([clip["probabilities"] for clip in one["clips"]]) for one in (python, app))
    found["probabilities"] = {
        "clips": [len(first), len(second)],
        "most": float(np.abs(first - second).max()) if first.shape == second.shape else None,
        "same_class": float((first.argmax(1) == second.argmax(1)).mean())
        if first.shape == second.shape
        else None,
    }
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("video", type=Path)
    making.add_argument("bundle", type=Path)
    making.add_argument("out", type=Path)
    making.add_argument("--variant", default="float32")
    comparing = commands.add_parser("compare")
    comparing.add_argument("python", type=Path)
    comparing.add_argument("app", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        given.out.write_text(json.dumps(make(given.video, given.bundle, given.variant)), encoding="utf-8")
        return
    both = [json.loads(path.read_text(encoding="utf-8")) for path in (given.python, given.app)]
    json.dump(compare(*both), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
