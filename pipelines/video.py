"""Frames of a video file at the times that are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.schema import RefusedError
from pipelines.video_file import decoded_frames, open_video
from pipelines.video_pixels import Canvas, working_size
from pipelines.video_times import HOLE_SECONDS, Damage, DecodeReport, announced_seconds, steady_times

__all__ = ["SUFFIXES", "DecodeReport", "SampledFrame", "sample_frames", "working_size"]

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".wmv"}
)
"""File endings that count as videos when a folder is searched."""


@dataclass(frozen=True)
class SampledFrame:
    """One frame on the sampling grid.

    `index` counts grid points from the start, `seconds` is the frame's own time from the video's first
    frame, `pixels` is (H, W, 3) uint8 RGB, upright as the file's display matrix says, with square pixels.
    """

    index: int
    seconds: float
    pixels: np.ndarray


def sample_frames(
    path: Path,
    fps: float,
    *,
    long_side_px: int = 640,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    threads: int = 2,
    wanted: Callable[[int], bool] = lambda index: True,
    report: DecodeReport | None = None,
) -> Iterator[SampledFrame]:
    """The frames nearest to `start_seconds + k / fps`, k = 0, 1, ..., by their timestamps.

    Only frames whose grid index is `wanted` are converted to pixels; all have the size of the first. Grid
    points in a hole of the video, with no frame near them, are left out. What does not decode is passed over
    and noted in `report`. `threads`: so many decode.

    Raises:
        RefusedError: the file cannot be opened as a video, or no frame of it decodes (too large ones do
            not).
    """
    report = DecodeReport() if report is None else report
    damage = Damage(report)
    container, stream = open_video(path, threads)

    def deinterlaced() -> None:
        report.deinterlaced += 1

    def point(index: int) -> float:
        return start_seconds + index / fps

    def sampled(index: int, seconds: float, frame: Any) -> SampledFrame:
        report.sampled += 1
        return SampledFrame(index, seconds, canvas.paint(frame))

    with container:
        canvas = Canvas(stream, long_side_px)
        times = decoded_frames(container, stream, failed=damage.failed, deinterlaced=deinterlaced)
        previous: tuple[float, Any] | None = None
        index = 0
        last_point = math.inf if end_seconds is None else end_seconds + 1e-6
        for seconds, frame in steady_times(times, damage):
            canvas.see(frame)
            report.frames += 1
            report.seconds = seconds
            # Emit every grid point that this frame has passed: it or its predecessor is the nearest.
            first = True
            while seconds >= (target := point(index)) - 1e-6:
                if target > last_point:
                    return
                chosen_time, chosen = seconds, frame
                if previous is not None and abs(previous[0] - target) < abs(seconds - target):
                    chosen_time, chosen = previous
                if previous is not None and abs(chosen_time - target) > HOLE_SECONDS / 2:
                    behind = max(index + 1, math.ceil((seconds - HOLE_SECONDS / 2 - start_seconds) * fps))
                    report.left_out += behind - index
                    index = behind
                    continue
                if not first:
                    report.repeated += 1
                first = False
                if wanted(index):
                    yield sampled(index, chosen_time, chosen)
                index += 1
            previous = (seconds, frame)
        if end_seconds is None:
            damage.ended(announced_seconds(container, stream))
        # The last frame stands until the next would come: a minute at 30 frames a second ends at 59.97 s.
        if (
            previous is not None
            and point(index) <= min(previous[0] + 0.5 / fps, last_point)
            and wanted(index)
        ):
            yield sampled(index, *previous)
        if report.frames == 0:
            raise RefusedError(
                "a video must hold at least one frame that decodes, of at most 8192x4320 pixels. "
                f"Received: {path.name}"
                + (f" ({report.damaged})" if report.damaged else "")
                + ". Copy it again from the camera"
            )
