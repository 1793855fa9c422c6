"""How fast `tfgma predict` is from its start to its answer, and how much memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.schema import RefusedError
from tfgma.speed.sources import infants

VARIANT = "float32"
COMMAND = """
import atexit
from tfgma.cli.main import main
told = lambda: [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
atexit.register(lambda: print("\\n" + told(), end="", flush=True))
main()
"""
"""What the command `tfgma` does, which then tells its largest resident memory: what the system tells a parent
counts the parent's own."""


def measure_predict(
    out: Path,
    bundle: Path,
    *,
    subjects: int,
    seconds: float,
    rounds: int,
    workers: int,
    tell: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """`tfgma predict` as a command of its own, on one generated 640x480 video and on all of them.

    Args:
        out: where videos are made and lie.
        bundle: whose float32 file answers.
        subjects: videos.
        seconds: length of each.
        rounds: how often the one video is answered for; the median counts.
        workers: processes that make the videos.
        tell: is told.

    Returns:
        `ratios`: `predict_realtime`, seconds of video for a second of the command, start included.
        `seconds`: of the command on one video, each time. `overhead_seconds`: of those, what is left
        of the median when the seconds of the video's share of a batch are taken off.
        `peak_memory_bytes`: of the command on all videos, resident.

    Raises:
        RefusedError: the bundle cannot be run, or the command failed.
    """
    tell(0, rounds + 2, "videos")
    videos = sorted(infants(out, subjects, seconds, workers).glob("*/*/video.mp4"))
    taken = []
    for number in range(rounds):
        tell(number + 1, rounds + 2, "one video")
        taken.append(_command(videos[:1], bundle)[0])
    tell(rounds + 1, rounds + 2, "all videos")
    all_seconds, peak = _command(videos, bundle)
    more = (all_seconds - float(np.median(taken))) / max(1, len(videos) - 1)
    return {
        "ratios": {"predict_realtime": round(seconds / float(np.median(taken)), 3)},
        "seconds": taken,
        "seconds_all_videos": all_seconds,
        "overhead_seconds": round(float(np.median(taken)) - more, 3),
        "peak_memory_bytes": peak,
        "videos": len(videos),
        "video_seconds": seconds,
    }


def _command(videos: Sequence[Path], bundle: Path) -> tuple[float, int]:
    """Seconds and the largest resident bytes of the command."""
    arguments = ["predict", *map(str, videos), "--model", str(bundle), "--variant", VARIANT, "--json"]
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - begin
    if done.returncode:
        raise RefusedError(f"tfgma predict must answer for the videos. Received: {done.stderr.strip()}")
    *answer, peak = done.stdout.splitlines()
    answered = len(json.loads("\n".join(answer))["videos"])
    if answered != len(videos):
        raise RefusedError(f"tfgma predict must answer for {len(videos)} videos. Received: {answered}")
    return took, 1024 * int(peak.split()[1])
