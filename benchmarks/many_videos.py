"""What thousands of videos cost, step by step: to build, build again, inspect, split, train and evaluate.

    .venv/bin/python benchmarks/many_videos.py build/many_videos

Tiny videos of moving noise, each of a subject of its own, go through every step, for growing numbers of them;
a body is not looked for. Prints milliseconds a video, and writes them as FOLDER/many_videos.json and as a
picture. A step that is quadratic shows as a line that rises.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from matplotlib.figure import Figure

from pipelines.build import build_dataset, read_index
from pipelines.verify import verify_dataset
from tests.conftest import write_video
from tests.faults import CHEAP, cheap_tools
from tfgma.config import SplitSettings
from tfgma.latency import machine
from tfgma.protocol import protocol_of
from tfgma.runs import write_json

COUNTS = (1_000, 3_000, 10_000)
FPS, FRAMES, SIDE, BLOCK = 6, 12, 64, 8
TFGMA = Path(sys.executable).with_name("tfgma")
STUDY = (
    *("model.family=image", "model.backbone=resnet10", "model.width=4"),
    *("train.epochs=2", "train.batch_size=32", "train.warmup_epochs=0"),
)


def main() -> None:
    """Prints a row a number of videos."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for count in sorted(options.counts):
        row = {"videos": count, **costs(options.folder / str(count), count, options.workers)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    found = {"machine": machine(), "workers": options.workers, "milliseconds a video": rows}
    write_json(options.folder / "many_videos.json", found)
    draw(rows, options.folder / "many_videos.png")


def costs(folder: Path, count: int, workers: int) -> dict[str, float]:
    """Step -> milliseconds a video, in a folder that is removed at the end."""
    videos, dataset, run = folder / "videos", folder / "dataset", folder / "run"
    shutil.rmtree(folder, ignore_errors=True)
    with get_context("spawn").Pool(workers) as pool:
        pool.starmap(make, [(videos, number) for number in range(count)], chunksize=50)
    found = {}

    def step(name: str, do: Callable[[], object]) -> None:
        begin, processor = time.perf_counter(), time.process_time()
        do()
        found[name] = 1000 * (time.perf_counter() - begin) / count
        found[f"{name}, this process"] = 1000 * (time.process_time() - processor) / count

    def build() -> None:
        index = build_dataset(videos, dataset, CHEAP, workers=workers, make_tools=cheap_tools)
        assert all(entry["shard"] for entry in index["videos"]), "a video was left out"

    step("build", build)
    step("build again", build)
    step("verify", lambda: verify_dataset(dataset, read_index(dataset)))
    step("copies and splits", lambda: protocol_of(read_index(dataset), SplitSettings()))
    clip = [f"build.clip.{name}={value}" for name, value in CHEAP.clip.model_dump().items()]
    changes = [part for change in (*STUDY, *clip) for part in ("--set", change)]
    step("inspect", lambda: call("inspect", dataset))
    step("train a fold", lambda: call("train", "--data", dataset, "--out", run, "--fold", 0, *changes))
    step("evaluate", lambda: call("evaluate", run))
    with (run / "fold_0" / "timing.csv").open(encoding="utf-8") as file:
        names, *epochs = [line.strip().split(",") for line in file]
    found["second epoch"] = 1000 * float(epochs[1][names.index("train_seconds")]) / count
    found["dataset.json, kB"] = (dataset / "dataset.json").stat().st_size / 1000 / count
    found["report.html, kB"] = (run / "report.html").stat().st_size / 1000 / count
    shutil.rmtree(folder)
    return {name: round(value, 3) for name, value in found.items()}


def make(videos: Path, number: int) -> None:
    """Two seconds of blocks of noise that drift: a picture and a movement like no other's."""
    rng = np.random.default_rng(number)
    blocks = rng.integers(0, 256, (2 * SIDE // BLOCK, 2 * SIDE // BLOCK, 3), np.uint8)
    picture = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)
    way = rng.integers(-6, 7, (FRAMES, 2)).cumsum(0) + rng.integers(0, SIDE, 2)
    frames = [np.roll(picture, tuple(shift), (0, 1))[:SIDE, :SIDE] for shift in way]
    write_video(videos / "ab"[number % 2] / f"s{number:06d}" / "video.mp4", frames, fps=FPS)


def call(*arguments: object) -> None:
    """A command of tfgma."""
    subprocess.run([str(part) for part in (TFGMA, *arguments)], check=True, capture_output=True)


def draw(rows: list[dict[str, float]], file: Path) -> None:
    """A line a step: milliseconds a video over their number."""
    figure = Figure(figsize=(8.0, 5.0))
    axes = figure.subplots()
    counts = [row["videos"] for row in rows]
    # Most steps run in processes of their own; of this one only what it adds to a build says something.
    shown = [name for name in rows[0] if name != "videos" and not name.endswith((", kB", ", this process"))]
    for name in [*shown, "build, this process"]:
        axes.plot(counts, [row[name] for row in rows], marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("videos")
    axes.set_ylabel("milliseconds a video")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(file, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
