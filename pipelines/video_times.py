"""Times of decoded frames, in seconds that only grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

HOLE_SECONDS = 2.0
"""A longer time without a frame is a hole in the video, not a low frame rate."""

SILENT_HOLE_SECONDS = 0.25
"""A hole already, where the frames before came at a steady pace."""

SMALL_STEP_BACK_SECONDS = 0.5
"""A frame that comes late by less is out of order; by more, the clock may have started anew."""

MOST_HOLE_SECONDS = 600.0
"""A longer step forward is a clock that was set, not time that passed."""

MISSING_TAIL_SECONDS = 1.0
"""A file that ends this much before its announced length counts as damaged."""

FRAMES_NEAR_FAILURE = 16
"""A decoder with threads and reordering tells of a failure some frames early or late."""

FRAMES_OF_A_PACE = 10
"""So many intervals show whether a video keeps a steady pace."""

ORDINARY_INTERVAL_SECONDS = 1 / 30
"""Between frames, until the video has shown its own."""


@dataclass
class DecodeReport:
    """What decoding found; filled while frames are read.

    `seconds`: from the first frame to the last. `damaged`: None for a sound file, else what is missing, in
    words. `lost_seconds`: the same as a number. `repeated`: grid points that got the same frame as the one
    before. `left_out`: grid points without a frame near them. `failures`: packets that did not decode.
    `out_of_order`: frames left out because their time had passed. `clock_jumps`: how often the file's clock
    was set. `deinterlaced`: frames that were made from two fields.
    """

    seconds: float = 0.0
    frames: int = 0
    damaged: str | None = None
    sampled: int = 0
    repeated: int = 0
    left_out: int = 0
    lost_seconds: float = 0.0
    failures: int = 0
    out_of_order: int = 0
    clock_jumps: int = 0
    deinterlaced: int = 0

    @property
    def fps(self) -> float:
        """Frames a second by the frames' own times."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else 0.0


class Damage:
    """Collects what a video lacks, and keeps `report` up to date with it."""

    def __init__(self, report: DecodeReport) -> None:
        """`report` is filled as damage is told."""
        self.report = report
        self.holes = 0
        self._hole_seconds = 0.0
        self._near = 0
        self._tail: tuple[float, float] | None = None

    def failed(self) -> None:
        """Something did not decode; the frames around it tell how long it was."""
        self.report.failures += 1
        self._near = FRAMES_NEAR_FAILURE
        self._say()

    def interval(self, seconds: float, usual: float, longest: float) -> None:
        """The next frame comes after `seconds`, where `usual` seconds are ordinary and `longest` was seen."""
        missing = seconds - usual
        # Some demuxers step over damage without a word.
        silent = missing > SILENT_HOLE_SECONDS and seconds > 4 * longest
        if seconds > HOLE_SECONDS or silent or (self._near and missing > 0.5 * usual):
            self.holes += 1
            self._hole_seconds += missing
            self._say()
        self._near = max(0, self._near - 1)

    def jumped(self) -> None:
        """The file's clock was set to another time."""
        self.report.clock_jumps += 1
        self._say()

    def ended(self, announced_seconds: float | None) -> None:
        """No frame follows; the header announced a length, unless None."""
        # After a jump the announced length is as doubtful as the clock.
        if announced_seconds is None or self.report.clock_jumps:
            return
        missing = announced_seconds - self.report.seconds
        # What failed to decode just before the end is missing there, however short.
        least = 0.1 if self._near else max(MISSING_TAIL_SECONDS, 0.02 * announced_seconds)
        if missing > least:
            self._tail = (missing, announced_seconds)
            self._say()

    def _say(self) -> None:
        report, words = self.report, []
        if self.holes:
            words.append(f"{self._hole_seconds:.1f} s in the middle are missing (holes: {self.holes})")
        if report.clock_jumps:
            words.append(f"the clock jumps (times: {report.clock_jumps})")
        if self._tail is not None:
            missing, announced = self._tail
            words.append(
                f"cut off after {announced - missing:.1f} of {announced:.1f} s, {missing:.1f} s are missing"
            )
        if report.failures:
            words.append(f"packets that do not decode: {report.failures}")
        report.lost_seconds = self._hole_seconds + (self._tail[0] if self._tail else 0.0)
        report.damaged = "; ".join(words) or None


def steady_times(frames: Iterator[tuple[float | None, Any]], damage: Damage) -> Iterator[tuple[float, Any]]:
    """The frames with their seconds from the first one, ever growing.

    A frame without a time follows its predecessor at the usual interval. A frame whose time has passed is
    left out. A step by more (`HOLE_SECONDS` forward, `SMALL_STEP_BACK_SECONDS` back) counts once the next
    frame confirms it, so that one wrong stamp moves nothing: back, the clock was set and time goes on;
    forward, there is a hole, or beyond `MOST_HOLE_SECONDS` the clock was set as well.
    """
    report = damage.report
    intervals: deque[float] = deque(maxlen=31)
    last, shift = 0.0, 0.0
    started = False
    waiting: tuple[float, Any] | None = None
    for time, frame in frames:
        usual = median(intervals) if intervals else ORDINARY_INTERVAL_SECONDS
        longest = max(intervals) if len(intervals) >= FRAMES_OF_A_PACE else HOLE_SECONDS
        if not started:
            started = True
            shift = -(time or 0.0)
            yield 0.0, frame
            continue
        follows = waiting[0] if waiting is not None else last
        seconds = follows + usual if time is None else time + shift
        if waiting is not None:
            held, held_frame = waiting
            waiting = None
            if _confirmed(last, held, seconds):
                if held <= last or held - last > MOST_HOLE_SECONDS:
                    moved = last + usual - held
                    shift, held, seconds = shift + moved, held + moved, seconds + moved
                    damage.jumped()
                damage.interval(held - last, usual, longest)
                last = held
                yield last, held_frame
            else:
                report.out_of_order += 1
        step = seconds - last
        if step > HOLE_SECONDS or step < -SMALL_STEP_BACK_SECONDS:
            waiting = (seconds, frame)
        elif step <= 0:
            report.out_of_order += 1
        else:
            damage.interval(step, usual, longest)
            intervals.append(step)
            last = seconds
            yield last, frame
    report.out_of_order += waiting is not None


def _confirmed(last: float, held: float, following: float) -> bool:
    """Whether the frame after one that stepped far stands by it, and not by the one before."""
    if held <= last:
        return held < following <= last
    return 0 < following - held <= max(HOLE_SECONDS, 1.5 * (held - last))


def announced_seconds(container: Any, stream: Any) -> float | None:
    """Seconds from the first frame to the last by the file's header; None where it does not say."""
    rate = stream.average_rate or Fraction(30)
    if container.format.name == "avi":
        # FFmpeg makes the length of a cut AVI fit the bytes that are there; the number of frames stays.
        return (stream.frames - 1) / float(rate) if stream.frames else None
    lengths = []
    if stream.duration:
        lengths.append(float(stream.duration * stream.time_base))
    elif tag := stream.metadata.get("DURATION"):
        lengths.append(_clock_seconds(tag))
    if container.duration:
        # An edit list shortens the presentation, not the track; sound can lengthen it.
        lengths.append(container.duration / 1e6)
    if not lengths or min(lengths) <= 0:
        return None
    # Matroska counts from zero, not from the first frame.
    start = (container.start_time or 0) / 1e6 if container.format.name.startswith("matroska") else 0.0
    return max(0.0, min(lengths) - start - 1 / float(rate))


def _clock_seconds(text: str) -> float:
    """Seconds of Matroska's "HH:MM:SS.nnn"; 0 for anything else."""
    try:
        hours, minutes, seconds = text.strip("\0 ").split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    except ValueError:
        return 0.0
