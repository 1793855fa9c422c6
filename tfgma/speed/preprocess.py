"""What a second of video takes on its way to a shard, and what it takes on the published route."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.build import build_dataset
from pipelines.config import BuildConfig
from tfgma.speed.reference_route import reference_turn
from tfgma.speed.sources import infants
from tfgma.turns import Waiting, interleaved, times_as_fast


def measure_preprocess(
    out: Path,
    *,
    subjects: int,
    seconds: float,
    reference_seconds: float,
    rounds: int,
    workers: int,
    tell: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Seconds of work for a second of generated 640x480 video at 30 frames a second, in turn.

    `build`: everything that `tfgma build-tfrecords` does with `workers` processes, their start included.
    `build_one_worker`: with one. `build_dis`: with flow by DIS in place of Farneback's. `reference`: the
    published route, with as many threads as workers.

    Args:
        out: where videos are made and lie.
        subjects: videos of each build.
        seconds: length of each.
        reference_seconds: of the first video, that the published route takes.
        rounds: turns of each.
        workers: processes.
        tell: is told.

    Raises:
        RefusedError: a process was killed.
    """
    tell(0, rounds + 1, "videos")
    videos = infants(out, subjects, seconds, workers)
    first = sorted(videos.glob("*/*/video.mp4"))[0]
    environment = {
        "TF_NUM_INTRAOP_THREADS": str(workers),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }

    def build(count: int, flow: str = "farneback") -> Callable[[], float]:
        config = BuildConfig.model_validate({"flow": {"method": flow}})

        def turn() -> float:
            shard = out / "build"
            shutil.rmtree(shard, ignore_errors=True)
            begin = time.perf_counter()
            index = build_dataset(videos, shard, config, workers=count)
            took = time.perf_counter() - begin
            return took / sum(entry["seconds"] for entry in index["videos"])

        return turn

    with contextlib.ExitStack() as stack:
        reference = Waiting(
            "the published route", reference_turn, first, reference_seconds, environment=environment
        )
        turns = {
            "build": build(workers),
            "build_one_worker": build(1),
            "build_dis": build(workers, "dis"),
            "reference": stack.enter_context(reference).turn,
        }
        taken = interleaved(turns, rounds, lambda number: tell(number + 1, rounds + 1, "turns"))
    shutil.rmtree(out / "build", ignore_errors=True)
    return {
        "ratios": {
            "preprocess_vs_reference": times_as_fast(taken["reference"], taken["build"]),
            "preprocess_realtime": times_as_fast(1.0, taken["build"]),
            "preprocess_realtime_dis": times_as_fast(1.0, taken["build_dis"]),
            "preprocess_realtime_one_worker": times_as_fast(1.0, taken["build_one_worker"]),
        },
        "seconds_per_second": {name: found.tolist() for name, found in taken.items()},
    }
