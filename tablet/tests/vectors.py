"""Writes what Python's pure functions answer to small inputs: python tablet/tests/vectors.py OUT.json."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np

from pipelines.alignment import estimate_alignment
from pipelines.camera import camera_movement, view
from pipelines.clips import Clip
from pipelines.config import InputSettings, QualitySettings
from pipelines.faces import face_regions
from pipelines.flow import FlowEstimator, quantize_flow
from pipelines.inputs import clip_inputs
from pipelines.pose import JointSmoother
from pipelines.quality import Figures, reasons_against, sharpness
from pipelines.schema import ClipSpec
from pipelines.squares import Square
from pipelines.video_pixels import Canvas
from pipelines.video_times import Damage, DecodeReport, steady_times
from tfgma.bundle import CalibrationDescription
from tfgma.verdict import verdict

FIGURE_NAMES = tuple(field.name for field in fields(Figures))
SPEC = ClipSpec(fps=6, clip_seconds=1, stride_seconds=1, size=32, max_flow_px=8)


def smooth_picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 with structure at several sizes."""
    rough = [cv2.GaussianBlur(rng.random((height, width, 3)), (0, 0), sigma) for sigma in (1.5, 5)]
    total = sum((one - one.min()) / (one.max() - one.min()) for one in rough)
    return (255 * total / 2).astype(np.uint8)


def poses(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 33, 3) float32: something like a body, trembling, now and then uncertain."""
    out = np.zeros((count, 33, 3), np.float32)
    out[..., :2] = rng.normal((100, 60), 5, (33, 2))
    out[:, 11, :2], out[:, 12, :2], out[:, 23, :2], out[:, 24, :2] = (
        (120, 90),
        (80, 92),
        (115, 160),
        (86, 161),
    )
    out[..., :2] += rng.normal(0, 2, (count, 33, 2))
    out[..., 2] = rng.uniform(0.4, 1, (count, 33))
    out[:, 11:13, 2] = out[:, 23:25, 2] = 0.9
    return out


def figures(rng: np.random.Generator) -> Figures:
    """Some that pass and some that do not."""
    values = dict(zip(FIGURE_NAMES, rng.uniform(0, 1, len(FIGURE_NAMES)).round(4).tolist(), strict=True))
    return Figures(**(values | {"camera_speed": None if rng.random() < 0.3 else values["camera_speed"]}))


# Two, three and more rows to one, of luma and of colour; odd sides; hardly any scaling.
SCALINGS = (
    *((186, 164, 180, "libx264"), (160, 120, 80, "libx264"), (200, 150, 160, "libvpx-vp9")),
    *((192, 108, 64, "libx264"), (91, 61, 80, "libvpx-vp9"), (61, 90, 30, "libvpx-vp9")),
    *((200, 150, 160, "libx264"), (130, 128, 128, "libx264"), (160, 120, 80, "libvpx-vp9")),
)
SITINGS = {"libx264": "left", "libvpx-vp9": "middle"}
MATRICES = {"bt709": 1, "smpte170m": 6}


def decoded(picture: np.ndarray, codec: str) -> av.VideoFrame:
    """A frame of a video of the picture, (H, W, 3) uint8."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return next(container.decode(video=0))


def scaled_pictures(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Decoded frames, and what Python's scaling makes of them."""
    found = []
    square = SimpleNamespace(sample_aspect_ratio=1, codec_context=None)
    for number, (width, height, long_side, codec) in enumerate(SCALINGS):
        frame = decoded(smooth_picture(rng, height, width), codec)
        planes = [
            np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width].ravel().tolist()
            for plane in frame.planes
        ]
        name, full = list(MATRICES)[number % 2], number % 3 == 1
        frame.colorspace, frame.color_range = MATRICES[name], 2 if full else 1
        pixels = Canvas(square, long_side).paint(frame)
        found.append(
            {"width": width, "height": height, "long_side": long_side, "planes": planes, "full": full}
            | {"matrix": name, "siting": SITINGS[codec], "pixels": pixels.ravel().tolist()}
        )
    return found


def cuts(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Squares of a frame, some of them partly outside, on the grid and cut out."""
    frame = smooth_picture(rng, 90, 120)
    found = []
    for number in range(8):
        x, y, side = rng.uniform((0, 0, 30), (120, 90, 300))
        square = Square(x, y, (0, 90, 180, 270, *rng.uniform(-180, 180, 4))[number], side)
        on_grid = square.on_grid()
        found.append(
            {"frame": frame.ravel().tolist(), "square": vars(square), "on_grid": vars(on_grid)}
            | {"cut": on_grid.cut(frame, 48).ravel().tolist(), "raw": square.cut(frame, 48).ravel().tolist()}
        )
    return found


def vectors() -> dict[str, Any]:
    """Inputs and answers by name."""
    rng = np.random.default_rng(5)
    found: dict[str, Any] = {"scalings": scaled_pictures(np.random.default_rng(6))}
    square = Square(81.5, 60.25, 37.0, 90.0)
    found["square"] = {"square": vars(square), "size": 64, "matrix": square.pixel_matrix(64).ravel().tolist()}
    found["cuts"] = cuts(np.random.default_rng(7))
    joints = poses(rng, 30)
    alignment = estimate_alignment(joints, 96)
    found["alignment"] = {"poses": joints.tolist(), "answer": vars(alignment)}
    smoother = JointSmoother()
    steps = [
        smoother.smooth(one[:, :2].astype(float), n / 6, 150.0).tolist() for n, one in enumerate(joints[:6])
    ]
    found["smoother"] = {"places": joints[:6, :, :2].tolist(), "answers": steps}
    found["faces"] = {
        "poses": joints[:8].tolist(),
        "found": [True] * 5 + [False] + [True] * 2,
        "answer": face_regions(
            joints[:8] * np.float32([0.5, 0.5, 1]), np.array([True] * 5 + [False] + [True] * 2), 96
        )
        .sum(axis=(1, 2))
        .tolist(),
    }
    first = smooth_picture(rng, 120, 160)
    move = np.array([[1.001, 0.004, 1.7], [-0.004, 1.001, -0.9]])
    second = cv2.warpAffine(first, move, (160, 120), borderMode=cv2.BORDER_REFLECT)
    mask = np.zeros((120, 160), bool)
    mask[40:80, 50:110] = True
    movement = camera_movement(view(first, mask), view(second, mask))
    estimator = FlowEstimator()
    flow = estimator.between(estimator.prepare(first), estimator.prepare(second))
    found["camera"] = {
        "first": first.ravel().tolist(),
        "second": second.ravel().tolist(),
        "mask": mask.astype(int).ravel().tolist(),
        "movement": None if movement is None else movement.ravel().tolist(),
        "sharpness": sharpness(estimator.prepare(first), mask),
        "flow": quantize_flow(flow, 8.0).ravel().tolist(),
    }
    rgb = rng.integers(0, 256, (7, 32, 32, 3), np.uint8)
    codes = rng.integers(1, 256, (6, 32, 32, 2), np.uint8)
    empty = np.zeros(0, np.float32)
    clip = Clip(0.0, 6.0, rgb, codes, empty, empty, empty, 1.0)
    settings = InputSettings(num_flows=4, num_frames=4, slow_every=2, mean=0.4, std=0.3)
    names = ("image", "frames", "slow", "fast", "flow")
    answers = clip_inputs(clip, names, SPEC, settings)
    found["inputs"] = {
        "spec": SPEC.model_dump(),
        "settings": settings.model_dump(),
        "rgb": rgb.reshape(7, -1).tolist(),
        "flow": codes.reshape(6, -1).tolist(),
        "answers": {name: value.ravel().astype(float).tolist() for name, value in answers.items()},
    }
    classes = ("FMs", "PR", "WMs")
    found["verdicts"] = []
    for fits in (rng.random(10), 0.7 + 0.3 * rng.random(25), 0.5 + 0.1 * rng.random(25), rng.random(3)):
        calibration = CalibrationDescription(
            temperature=1.7, fitted=True, fits=tuple(np.sort(fits)), coverage=0.9
        )
        for _ in range(8):
            given = rng.dirichlet((0.4, 0.4, 0.4))
            said = verdict(given, classes, calibration)
            found["verdicts"].append(
                {
                    "probabilities": given.tolist(),
                    "calibration": calibration.model_dump(),
                    "answer": said.answer,
                    "possible": list(said.possible),
                    "calibrated": said.probabilities.tolist(),
                }
            )
    limits = QualitySettings()
    found["reasons"] = {"limits": limits.model_dump(), "cases": []}
    for _ in range(30):
        one = figures(rng)
        found["reasons"]["cases"].append(
            {"figures": one.as_json(), "count": len(reasons_against(one, limits))}
        )
    times = [
        0,
        0.03,
        0.07,
        0.1,
        0.13,
        0.12,
        0.17,
        0.2,
        900.0,
        0.23,
        0.27,
        0.3,
        5.1,
        5.13,
        5.17,
        0.0,
        0.03,
        0.07,
        0.1,
    ]
    report = DecodeReport()
    steady = [seconds for seconds, _ in steady_times(iter([(float(t), None) for t in times]), Damage(report))]
    found["times"] = {
        "times": times,
        "answer": steady,
        "out_of_order": report.out_of_order,
        "clock_jumps": report.clock_jumps,
    }
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(vectors()), encoding="utf-8")
