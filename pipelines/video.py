"""Frames of a video file at the times that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".wmv"})
"""File endings that count as videos when a folder is searched."""


MISSING_TAIL_SECONDS = 1.0
"""A file that ends this much before its announced length counts as damaged."""


@dataclass(frozen=True)
class SampledFrame:
    """One frame on the sampling grid.

    `index` counts grid points from the start, `seconds` is the frame's own time from the video's first
    frame, `pixels` is (H, W, 3) uint8 RGB, turned as the file's rotation metadata says.
    """

    index: int
    seconds: float
    pixels: np.ndarray


@dataclass
class DecodeReport:
    """What decoding found; filled while frames are read."""

    seconds: float = 0.0
    frames: int = 0
    damaged: str | None = None
    sampled: int = 0
    repeated: int = field(default=0)

    @property
    def fps(self) -> float:
        """Frames a second by the frames' own times."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else 0.0


def working_size(width: int, height: int, long_side_px: int) -> tuple[int, int]:
    """Width and height with the long side at most `long_side_px`, both even."""
    scale = min(1.0, long_side_px / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def sample_frames(
    path: Path,
    fps: float,
    *,
    long_side_px: int = 640,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    wanted: Callable[[int], bool] = lambda index: True,
    report: DecodeReport | None = None,
) -> Iterator[SampledFrame]:
    """The frames nearest to `start_seconds + k / fps`, k = 0, 1, ..., by their timestamps.

    Only frames whose grid index is `wanted` are converted to pixels. A damaged tail ends the stream and is
    noted in `report`.

    Raises:
        RefusedError: the file cannot be opened as a video or holds no frame.
    """
    report = DecodeReport() if report is None else report
    container = open_container(path)
    with container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if stream.codec_context.thread_count == 0:
            stream.codec_context.thread_count = 2
        origin: float | None = None
        previous: tuple[float, Any] | None = None
        index = 0
        for seconds_in_file, frame in _decoded(container, stream, report):
            if origin is None:
                origin = seconds_in_file
            seconds = seconds_in_file - origin
            report.frames += 1
            report.seconds = max(report.seconds, seconds)
            if end_seconds is not None and seconds > end_seconds + 1 / fps:
                break
            # Emit every grid point that this frame has passed: it or its predecessor is the nearest.
            first = True
            while seconds >= (target := start_seconds + index / fps) - 1e-6:
                if end_seconds is not None and target > end_seconds + 1e-6:
                    return
                chosen_time, chosen = seconds, frame
                if previous is not None and abs(previous[0] - target) < abs(seconds - target):
                    chosen_time, chosen = previous
                if not first:
                    report.repeated += 1
                first = False
                if wanted(index):
                    report.sampled += 1
                    yield SampledFrame(index, chosen_time, _pixels(chosen, long_side_px))
                index += 1
            previous = (seconds, frame)
        # The last frame stands until the next would come: a minute at 30 frames a second ends at 59.97 s.
        target = start_seconds + index / fps
        if previous is not None and target <= previous[0] + 0.5 / fps and wanted(index):
            report.sampled += 1
            yield SampledFrame(index, previous[0], _pixels(previous[1], long_side_px))
        if end_seconds is None and report.damaged is None:
            report.damaged = _missing_tail(stream, report.seconds)
        if report.frames == 0:
            raise RefusedError(
                f"a video must hold at least one frame that decodes. Received: {path.name}"
                + (f" ({report.damaged})" if report.damaged else "")
            )


def open_container(path: Path) -> Any:
    """The opened file.

    Raises:
        RefusedError: no such file, not a video, or no picture stream.
    """
    av = load("av", "runtime")
    if not path.is_file():
        raise RefusedError(f"a video must be an existing file. Received: {str(path)!r}")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RefusedError(
            f"a video must be a complete file that FFmpeg can open. Received: {path.name} ({reason}). "
            "Copy it again from the camera"
        ) from error
    if not container.streams.video:
        container.close()
        raise RefusedError(f"a video must have a picture stream. Received: {path.name}, which has none")
    return container


def _decoded(container: Any, stream: Any, report: DecodeReport) -> Iterator[tuple[float, Any]]:
    """Decoded frames with their times in seconds, ever increasing; stops at damage."""
    av = load("av", "runtime")
    last = -np.inf
    try:
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            # Broken headers can send time backwards; such frames have no place on the grid.
            if frame.time <= last:
                continue
            last = frame.time
            yield frame.time, frame
    except (av.FFmpegError, OSError) as error:
        report.damaged = str(getattr(error, "strerror", None) or error)


def _missing_tail(stream: Any, seconds: float) -> str | None:
    """Says so when a file ends well before the length that its header announces: it was cut off."""
    if not stream.duration:
        return None
    announced = float(stream.duration * stream.time_base)
    if seconds >= announced - max(MISSING_TAIL_SECONDS, 0.02 * announced):
        return None
    return f"cut off after {seconds:.1f} of {announced:.1f} s"


def _pixels(frame: Any, long_side_px: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB, scaled down to the working size and turned upright."""
    width, height = working_size(frame.width, frame.height, long_side_px)
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    quarter_turns = round(frame.rotation / 90) % 4  # counterclockwise, as FFmpeg's display matrix counts
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels
