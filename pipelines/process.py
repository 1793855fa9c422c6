"""Turns one video into clips, in one pass and bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.alignment import Alignment, estimate_alignment, middle_square
from pipelines.camera import STILL_PX, View, as_if_still, camera_movement, in_square, shift_px, view
from pipelines.clips import Clip, ends_clip, is_wanted
from pipelines.config import BuildConfig
from pipelines.faces import face_regions
from pipelines.fingerprints import Fingerprint, thumbnail
from pipelines.flow import ZERO_LEVEL, FlowEstimator, quantize_flow
from pipelines.joint_features import joint_features, to_openpose_joints
from pipelines.pose import Body
from pipelines.quality import NOBODY, Figures, Means, frame_figures, mean_figures, reasons_against
from pipelines.schema import JOINTS, Box, RefusedError
from pipelines.tools import Finder, Flow
from pipelines.video import DecodeReport, SampledFrame, sample_frames

LOOK_AHEAD = 4
"""Decoded frames that may wait for the pose network."""

FLOWS_BEHIND = 32
"""Frames whose flow may not be computed yet while later ones are set upright."""

MOST_REPEATED = 0.3
"""A larger share of frames that repeat their neighbour means that the video is slower than the clips."""


@dataclass(frozen=True)
class Window:
    """A clip's figures, and why it was left out; no reasons if it was not."""

    start_seconds: float
    figures: Figures
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for dataset.json."""
        return {
            "start_seconds": round(self.start_seconds, 3),
            "reasons": list(self.reasons),
            **self.figures.as_json(),
        }


@dataclass
class ProcessReport:
    """What happened to one video; filled while its clips are made.

    `fingerprint`: see pipelines.fingerprints; None of joints alone, which have no pictures. `faces_blanked`:
    frames of clips; `frames_blanked`: those of them of which nothing is left.
    """

    decode: DecodeReport = field(default_factory=DecodeReport)
    frames_with_body: int = 0
    clips: int = 0
    clips_left_out: int = 0
    alignment: Alignment | None = None
    means: Means = field(default_factory=Means)
    windows: list[Window] = field(default_factory=list)
    fingerprint: str | None = None
    faces_blanked: int = 0
    frames_blanked: int = 0

    @property
    def body_share(self) -> float:
        """Share of sampled frames in which a body was found."""
        return self.frames_with_body / self.decode.sampled if self.decode.sampled else 0.0


@dataclass(frozen=True)
class Observed:
    """A sampled frame with what was found in it.

    `movement`: the camera's since the frame before, (2, 3), where that is known.
    """

    frame: SampledFrame
    body: Body | None
    figures: Figures
    movement: np.ndarray | None


@dataclass(frozen=True)
class _Upright:
    """A sampled frame after alignment.

    `prepared`: the frame as the next flow takes it. `thumbnail`: for the
    fingerprint. `flow`: waits for the codes (S, S, 2) uint8 of the flow that leads here from the frame
    before, which may still be computed.
    """

    seconds: float
    rgb: np.ndarray
    prepared: np.ndarray
    thumbnail: np.ndarray
    mask: np.ndarray
    pose: np.ndarray
    figures: Figures
    flow: Callable[[], np.ndarray]


_Later = Callable[[Callable[[], np.ndarray]], Callable[[], np.ndarray]]
"""Takes what computes an array, and answers with what waits for it."""


def video_clips(
    path: Path,
    config: BuildConfig,
    finder: Finder,
    *,
    flow: Flow | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    box: Box | None = None,
    cores: int = 2,
    report: ProcessReport | None = None,
) -> Iterator[Clip]:
    """The clips of a video, in order of time.

    Memory holds the frames of `config.alignment.seconds`, on which the transform is estimated, and one
    clip: it does not grow with the video. `flow`: by default what `config.flow.method` names.
    `box`: where the subject is at first, if it is not the main body. `cores`: that it may keep busy, 1 or
    2; with two, bodies are found in one thread and flow is computed in another.

    Raises:
        RefusedError: not a video, too short for a clip, too few frames a second, no body in it, or no clip
            that can be assessed.
    """
    report = ProcessReport() if report is None else report
    spec = config.clip
    finder.restart(box)
    frames = sample_frames(
        path,
        spec.fps,
        long_side_px=config.long_side_px,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        threads=cores,
        wanted=lambda index: is_wanted(index, spec),
        report=report.decode,
    )
    flow = FlowEstimator(config.flow.method) if flow is None else flow
    observed = observe(_find_bodies(frames, finder, report, cores), report.means)
    with _beside(cores) as later:
        yield from _windows(_set_upright(observed, config, flow, report, later), config, report)
    _refuse_fruitless(path, config, report)


def _windows(
    upright: Iterator[tuple[int, _Upright]], config: BuildConfig, report: ProcessReport
) -> Iterator[Clip]:
    """The clips that can be assessed, of numbered frames; the video's fingerprint at the end."""
    spec = config.clip
    window: deque[_Upright] = deque(maxlen=spec.num_frames)
    fingerprint = Fingerprint(spec.fps)
    last_index = -1
    for index, frame in upright:
        if frame.figures.body:
            fingerprint.add(index, frame.thumbnail)
        if index != last_index + 1:
            window.clear()
        last_index = index
        window.append(frame)
        if not ends_clip(index, spec):
            continue
        # After a stretch without anybody the window is not full: its first frames were never kept.
        if len(window) < spec.num_frames:
            report.clips_left_out += 1
            continue
        figures = mean_figures([frame.figures for frame in window])
        reasons = tuple(reasons_against(figures, config.quality))
        report.windows.append(Window(window[0].seconds, figures, reasons))
        if reasons:
            report.clips_left_out += 1
        else:
            report.clips += 1
            yield _clip(window, config, figures, report)
    report.fingerprint = fingerprint.text()


@contextmanager
def _beside(cores: int) -> Iterator[_Later]:
    """With two cores what is given is computed in a thread, one after the other; with one at once."""

    def at_once(compute: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
        found = compute()
        return lambda: found

    if cores == 1:
        yield at_once
        return
    pool, behind = ThreadPoolExecutor(1), deque[Future[np.ndarray]]()

    def in_thread(compute: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
        behind.append(pool.submit(compute))
        if len(behind) > FLOWS_BEHIND:  # nobody may ask for them: not of a clip that is left out
            behind.popleft().result()
        return behind[-1].result

    try:
        yield in_thread
    finally:
        pool.shutdown(cancel_futures=True)


def _refuse_fruitless(path: Path, config: BuildConfig, report: ProcessReport) -> None:
    """Says why a video gave no clip, if it gave none."""
    decode, spec = report.decode, config.clip
    if decode.repeated > MOST_REPEATED * decode.sampled:
        raise RefusedError(
            f"a video must have at least {spec.fps:g} frames a second. "
            f"Received: {path.name} with {decode.fps:.2f}. Lower clip.fps or film at a higher rate"
        )
    if report.clips:
        return
    if report.clips_left_out == 0:
        damaged = f" (damaged: {decode.damaged})" if decode.damaged else ""
        raise RefusedError(
            f"a video must last at least one clip of {spec.clip_seconds:g} s. "
            f"Received: {path.name} with {decode.seconds:.1f} s{damaged}. Film longer or shorten "
            "clip.clip_seconds"
        )
    if report.frames_with_body == 0:
        raise RefusedError(
            f"a video must show a person. Received: {path.name} with {decode.sampled} sampled frames, none "
            "of them with a body. Film the whole body from above in good light"
        )
    # The whole video's figures say it best; where they would do, each clip fails by its own.
    reasons = reasons_against(report.means.figures(), config.quality)
    if not reasons:
        reasons = next((list(window.reasons) for window in report.windows), ["its clips have gaps"])
    raise RefusedError(
        f"a video must have a clip that can be assessed. Received: {path.name}, where {'; '.join(reasons)}. "
        "Film the whole body from above in good light, or change the limits under quality"
    )


def _find_bodies(
    frames: Iterator[SampledFrame], finder: Finder, report: ProcessReport, cores: int
) -> Iterator[tuple[SampledFrame, Body | None]]:
    """Frames with their bodies; with two cores found in a thread while the other steps are taken."""
    if cores == 1:
        for frame in frames:
            body = finder.find(frame.pixels, frame.seconds)
            report.frames_with_body += body is not None
            yield frame, body
        return
    waiting: deque[tuple[SampledFrame, Future[Body | None]]] = deque()

    def first() -> tuple[SampledFrame, Body | None]:
        frame, future = waiting.popleft()
        body = future.result()
        report.frames_with_body += body is not None
        return frame, body

    # One thread: the finder remembers the frame before, so it must see them in order.
    with ThreadPoolExecutor(1) as pool:
        for frame in frames:
            waiting.append((frame, pool.submit(finder.find, frame.pixels, frame.seconds)))
            if len(waiting) > LOOK_AHEAD:
                yield first()
        while waiting:
            yield first()


def observe(frames: Iterator[tuple[SampledFrame, Body | None]], means: Means) -> Iterator[Observed]:
    """Frames with their figures, which are added to `means`, and the camera's movement."""
    before: tuple[SampledFrame, View] | None = None
    for frame, body in frames:
        seen = view(frame.pixels, None if body is None else body.mask)
        movement, speed = None, None
        if before is not None and before[0].index == frame.index - 1:
            movement = camera_movement(before[1], seen)
            passed = frame.seconds - before[0].seconds
            if movement is not None and passed > 0:
                height, width = frame.pixels.shape[:2]
                speed = shift_px(movement, height, width) / max(height, width) / passed
        figures = NOBODY if body is None else _figures(frame.pixels, body, speed)
        means.add(figures)
        before = frame, seen
        yield Observed(frame, body, figures, movement)


def _figures(frame: np.ndarray, body: Body, camera_speed: float | None) -> Figures:
    return frame_figures(
        frame,
        body.mask,
        body.joints,
        body.presence,
        mask_certainty=body.certainty,
        covered=body.covered,
        people=body.people,
        hands=body.hands,
        camera_speed=camera_speed,
    )


def _set_upright(
    frames: Iterator[Observed], config: BuildConfig, flow: Flow, report: ProcessReport, later: _Later
) -> Iterator[tuple[int, _Upright]]:
    """Aligned frames; the first ones wait until the transform is known."""
    waiting: deque[Observed] = deque()
    before: tuple[int, _Upright] | None = None

    def align(observed: Observed, alignment: Alignment) -> tuple[int, _Upright]:
        nonlocal before
        index = observed.frame.index
        consecutive = before is not None and before[0] == index - 1
        previous = before[1] if consecutive and before is not None else None
        before = index, _align(observed, alignment, previous, flow, config, later)
        return before

    for observed in frames:
        waiting.append(observed)
        if report.alignment is None:
            if observed.frame.seconds < waiting[0].frame.seconds + config.alignment.seconds:
                continue
            if not any(early.body for early in waiting):
                # Nobody yet: these frames can make no clip, so they need not wait for the transform.
                report.clips_left_out += sum(ends_clip(early.frame.index, config.clip) for early in waiting)
                waiting.clear()
                continue
            report.alignment = _alignment(waiting, config)
        # Two for one: what waited is caught up with while bodies are found in later frames.
        for _ in range(min(2, len(waiting))):
            yield align(waiting.popleft(), report.alignment)
    if report.frames_with_body == 0:
        report.clips_left_out += sum(ends_clip(early.frame.index, config.clip) for early in waiting)
    elif waiting:
        report.alignment = report.alignment or _alignment(waiting, config)
        for early in waiting:
            yield align(early, report.alignment)


def _alignment(sampled: Sequence[Observed], config: BuildConfig) -> Alignment:
    spec = config.clip
    if not config.align_body:
        height, width = sampled[0].frame.pixels.shape[:2]
        return middle_square(height, width, spec.size)
    step = max(1, round(config.alignment.every_seconds * spec.fps))
    # Frames without a body leave holes in the series, so sample what was found.
    poses = [one.body.joints for one in sampled if one.body is not None][::step]
    joints = np.stack(poses) if poses else np.zeros((0, len(JOINTS), 3), np.float32)
    return estimate_alignment(joints, spec.size, config.alignment.side_in_torsos)


def _align(
    observed: Observed,
    alignment: Alignment,
    previous: _Upright | None,
    flow_tool: Flow,
    config: BuildConfig,
    later: _Later,
) -> _Upright:
    size, frame, body = config.clip.size, observed.frame, observed.body
    whole = alignment.warp(frame.pixels)
    # Flow is computed before the cut: the edge of a mask trembles, the picture beneath it does not.
    prepared = flow_tool.prepare(whole)
    if body is None:
        mask = np.zeros((size, size), np.uint8)
        pose = np.zeros((len(JOINTS), 3), np.float32)
    else:
        mask = alignment.warp(body.mask.astype(np.uint8) * 255)
        pose = alignment.aligned(body.joints)
    rgb = cv2.multiply(whole, cv2.merge([mask] * 3), scale=1 / 255) if config.mask_body else whole
    second = prepared
    if previous is not None and config.flow.remove_camera and observed.movement is not None:
        movement = in_square(observed.movement, alignment.matrix(size))
        if shift_px(movement, size, size) > STILL_PX:
            second = flow_tool.prepare(as_if_still(whole, movement))
    flow = later(partial(_flow_codes, previous, second, flow_tool, config))
    return _Upright(frame.seconds, rgb, prepared, thumbnail(whole, mask), mask, pose, observed.figures, flow)


def _flow_codes(
    previous: _Upright | None, second: np.ndarray, flow_tool: Flow, config: BuildConfig
) -> np.ndarray:
    """(S, S, 2) uint8 codes of the flow from the frame before to `second`, no movement without one."""
    if previous is None:
        return np.full((config.clip.size, config.clip.size, 2), ZERO_LEVEL, np.uint8)
    flow = quantize_flow(flow_tool.between(previous.prepared, second), config.clip.max_flow_px)
    if config.flow.masked and config.mask_body:
        # Flow belongs to the pixels of the frame it starts from.
        flow[previous.mask < 128] = ZERO_LEVEL
    return flow


def _blank_faces(rgb: np.ndarray, pose: np.ndarray, found: np.ndarray, report: ProcessReport) -> None:
    """Fills the faces of `rgb` (T+1, S, S, 3) with what lies around a body: black."""
    regions = face_regions(pose, found, rgb.shape[1])
    rgb[regions] = 0
    report.faces_blanked += len(rgb)
    report.frames_blanked += int(regions.all(axis=(1, 2)).sum())


def _clip(window: deque[_Upright], config: BuildConfig, figures: Figures, report: ProcessReport) -> Clip:
    frames = list(window)
    fps = config.clip.fps
    pose = np.stack([frame.pose for frame in frames])
    joints = to_openpose_joints(pose, config.keypoints.min_score)
    rgb = np.stack([frame.rgb for frame in frames])
    if config.deidentify:
        _blank_faces(rgb, pose, np.array([frame.figures.body > 0 for frame in frames]), report)
    return Clip(
        start_seconds=frames[0].seconds,
        fps=fps,
        rgb=rgb,
        flow=np.stack([frame.flow() for frame in frames[1:]]),
        pose=pose,
        # Of the clip alone: a window of a long video must not wait for the video's end.
        joint_features=joint_features(joints, fps=fps),
        mask_area=np.array([frame.mask.mean() / 255 for frame in frames], np.float32),
        quality=figures.body,
    )
