"""How fast videos become shards: minutes of video a minute, by size of the frames and number of workers.

    .venv/bin/python benchmarks/build_speed.py

Four generated infants of a minute each are built with the published settings (6 frames a second, clips of 5
s, 224 px, Farneback's flow), everything included: start of the processes, hashes, writing to the disk. The
large videos are the small ones scaled up and encoded anew. Each size is built in turn by one worker and by
two, the whole repeated; the best turn counts, since what else runs can only slow a turn down.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import av

from pipelines.build import build_dataset
from pipelines.config import BuildConfig
from pipelines.synthetic import SyntheticSettings, generate

SIZES = {"640x480": None, "1920x1080": (1920, 1080)}
VIDEOS = 4


def scaled(video: Path, out: Path, size: tuple[int, int]) -> None:
    """The same video in frames of another size."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        origin = source.streams.video[0]
        stream = target.add_stream("libx264", rate=origin.average_rate, options={"preset": "veryfast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for frame in source.decode(origin):
            target.mux(stream.encode(frame.reformat(*size)))
        target.mux(stream.encode())


def build_seconds(videos: Path, out: Path, config: BuildConfig, workers: int) -> tuple[float, float]:
    """Wall seconds of a build, and the seconds of video in it."""
    begin = time.monotonic()
    index = build_dataset(videos, out, config, workers=workers)
    took = time.monotonic() - begin
    shutil.rmtree(out)
    assert all(entry["shard"] for entry in index["videos"]), "a video was left out"
    return took, sum(entry["seconds"] for entry in index["videos"])


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each video")
    options = parser.parse_args()
    config = BuildConfig()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = SyntheticSettings(classes=("WMs", "FMs"))
        generate(root / "640x480", settings, subjects=VIDEOS, seconds=options.seconds, seed=5, workers=2)
        for video in sorted((root / "640x480").glob("*/*/video.mp4")):
            for name, size in SIZES.items():
                if size:
                    scaled(video, root / name / video.relative_to(root / "640x480"), size)
        best: dict[tuple[str, int], float] = {}
        for turn in range(options.turns):
            for name in SIZES:
                for workers in (1, 2):
                    took, seconds = build_seconds(root / name, root / "out", config, workers)
                    speed = seconds / took
                    best[name, workers] = max(best.get((name, workers), 0.0), speed)
                    print(f"turn {turn}: {name}, {workers} workers: {speed:.2f}", flush=True)
        print("\n| frames | one worker | two workers | two over one |")
        print("|---|---|---|---|")
        for name in SIZES:
            one, two = best[name, 1], best[name, 2]
            print(f"| {name} | {one:.1f} x real time | {two:.1f} x | {two / one:.2f} |")


if __name__ == "__main__":
    main()
