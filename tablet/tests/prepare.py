"""Makes what the tablet's tests need: a small trained bundle, its site, videos, and Python's answers to them.

    python tablet/tests/prepare.py OUT [--long]

With --long also what the long tests need.
What is there already is not made again; remove OUT to begin anew.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

TABLET = Path(__file__).parents[1]
TFGMA = [sys.executable, "-c", "from tfgma.cli import main; main()"]
SUBJECTS, SECONDS = 24, 8
"""Of the training's generated infants."""
CONFIG = """\
build:
  clip: {fps: 6, clip_seconds: 2, stride_seconds: 1, size: 64, max_flow_px: 8}
split: {folds: 4, val_share: 0.25, seed: 0}
model: {image_backbone: resnet10, flow_backbone: resnet10, image_width: 8, flow_width: 8}
inputs: {num_flows: 10}
train: {epochs: 40, batch_size: 8, learning_rate: 0.002, warmup_epochs: 1, picture_every: 100}
"""
FPS = 30
PARITY = ("plain", "large")
"""Videos that Python answers to, stage by stage."""


def tfgma(*arguments: object) -> None:
    """Runs the command; its refusal ends this program."""
    subprocess.run([*TFGMA, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def write(path: Path, frames: Iterator[np.ndarray], quality: int = 14) -> None:
    """Frames (H, W, 3) uint8 RGB, 30 a second, as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"crf": str(quality), "preset": "veryfast"}
        )
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read(path: Path) -> Iterator[np.ndarray]:
    """Frames as they are in the file."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def turned(path: Path, out: Path) -> None:
    """The file with a display matrix that turns it by a quarter: the pixels stay."""
    content = bytearray(path.read_bytes())
    head = content.index(b"tkhd") + 4
    matrix = head + (40 if content[head] == 0 else 52)
    one = 1 << 16
    content[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    out.write_bytes(content)


def videos(out: Path) -> None:
    """The videos, in the folder `out`."""
    tfgma("synthesize", out / "generated", "--subjects", 3, "--seconds", 10, "--seed", 91)
    first, second, _ = sorted((out / "generated").glob("*/*/video.mp4"))
    # Forth and back six times: a minute of movement without a break.
    forth = list(read(first))
    write(out / "minute.mp4", (frame for turn in range(6) for frame in forth[:: -1 if turn % 2 else 1]))
    short = [frame for frame, _ in zip(read(second), range(8 * FPS), strict=False)]
    write(out / "plain.mp4", iter(short))
    large = (np.repeat(np.repeat(frame, 2, 0), 2, 1) for frame in short[: 4 * FPS])
    write(out / "large.mp4", large, 20)
    turned(out / "plain.mp4", out / "turned.mp4")
    write(out / "two.mp4", (np.hstack([a, b]) for a, b in zip(short[: 5 * FPS], forth, strict=False)))
    write(out / "short.mp4", iter(short[:FPS]))
    noise = np.random.default_rng(0).integers(90, 130, (480, 640, 3), np.uint8)
    write(out / "nobody.mp4", (noise for _ in range(4 * FPS)))
    write(out / "dark.mp4", (frame // 16 for frame in short[: 4 * FPS]))
    (out / "broken.mp4").write_bytes(b"This is a letter, not a video.\n" * 400)
    _camera(out / "camera.mjpeg", iter(short))


def long_videos(out: Path) -> None:
    """Three minutes of 1920x1080, in the folder `out`: the minute of `videos` thrice, enlarged."""
    import cv2

    def large() -> Iterator[np.ndarray]:
        for _ in range(3):
            for frame in read(out.parent / "videos" / "minute.mp4"):
                canvas = np.zeros((1080, 1920, 3), np.uint8)
                canvas[:, 240:1680] = cv2.resize(frame, (1440, 1080))
                yield canvas

    write(out / "three_minutes.mp4", large(), 20)


def _camera(out: Path, frames: Iterator[np.ndarray]) -> None:
    """What Chromium's camera of tests plays: JPEG after JPEG."""
    import cv2

    with out.open("wb") as file:
        for frame in frames:
            file.write(cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes())


def bundle(out: Path) -> None:
    """A small network, trained on generated infants."""
    tfgma(
        "synthesize",
        out / "train",
        "--subjects",
        SUBJECTS,
        "--seconds",
        SECONDS,
        "--seed",
        4,
    )
    (out / "study.yaml").write_text(CONFIG, encoding="utf-8")
    tfgma(
        "build-tfrecords",
        out / "train",
        "--out",
        out / "dataset",
        "--config",
        out / "study.yaml",
        "--workers",
        2,
    )
    tfgma(
        "train", "--config", out / "study.yaml", "--data", out / "dataset", "--out", out / "run", "--fold", 0
    )
    limits = ("--max-changed-subjects", 99, "--max-accuracy-loss", 1)
    tfgma(
        "export", out / "run", "--out", out / "bundle", "--variant", "float32", "--variant", "int8", *limits
    )


def main() -> None:
    """The command line."""
    out = Path(sys.argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TABLET.parent), os.environ.get("PYTHONPATH", "")])
    made = {"bundle": bundle, "videos": videos}
    if "--long" in sys.argv:
        made["long_videos"] = long_videos
    for name, make in made.items():
        if not (out / f"{name}.made").exists():
            (out / name).mkdir(exist_ok=True)
            make(out / name)
            (out / f"{name}.made").touch()
    where = out / "bundle" / "bundle"
    asked = {video: (video, "float32") for video in (*PARITY, "turned")} | {"plain_int8": ("plain", "int8")}
    for name, (video, variant) in asked.items():
        answer = out / f"{name}.json"
        if not answer.exists():
            golden = [sys.executable, str(TABLET / "golden.py"), "make"]
            given = [str(out / "videos" / f"{video}.mp4"), str(where), str(answer), "--variant", variant]
            subprocess.run([*golden, *given], check=True)
    subprocess.run(
        [sys.executable, str(TABLET / "tests" / "vectors.py"), str(out / "vectors.json")], check=True
    )
    shutil.rmtree(out / "site", ignore_errors=True)
    tfgma("tablet", "site", where, "--out", out / "site")
    print(json.dumps({"out": str(out)}))


if __name__ == "__main__":
    main()
