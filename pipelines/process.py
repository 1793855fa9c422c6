"""Turns one video into clips, in one pass and bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from pipelines.alignment import Alignment, estimate_alignment, middle_square
from pipelines.clips import Clip, ends_clip, is_wanted
from pipelines.config import BuildConfig
from pipelines.fingerprints import Fingerprint, thumbnail
from pipelines.flow import ZERO_LEVEL, FlowEstimator, quantize_flow
from pipelines.joint_features import joint_features, to_openpose_joints
from pipelines.pose import Body
from pipelines.schema import JOINTS, RefusedError
from pipelines.tools import Finder, Flow
from pipelines.video import DecodeReport, SampledFrame, sample_frames

LOOK_AHEAD = 4
"""Decoded frames that may wait for the pose network."""

MOST_REPEATED = 0.3
"""A larger share of frames that repeat their neighbour means that the video is slower than the clips."""


@dataclass
class ProcessReport:
    """What happened to one video; filled while its clips are made.

    `fingerprint`: see pipelines.fingerprints; None of joints alone, which have no pictures.
    """

    decode: DecodeReport = field(default_factory=DecodeReport)
    frames_with_body: int = 0
    clips: int = 0
    clips_left_out: int = 0
    alignment: Alignment | None = None
    fingerprint: str | None = None

    @property
    def body_share(self) -> float:
        """Share of sampled frames in which a body was found."""
        return self.frames_with_body / self.decode.sampled if self.decode.sampled else 0.0


@dataclass(frozen=True)
class _Upright:
    """A sampled frame after alignment.

    `prepared`: the frame as the next flow takes it. `thumbnail`: for the
    fingerprint. `flow`: leads here from the frame before.
    """

    seconds: float
    rgb: np.ndarray
    prepared: np.ndarray
    thumbnail: np.ndarray
    mask: np.ndarray
    pose: np.ndarray
    found: bool
    flow: np.ndarray


def video_clips(
    path: Path,
    config: BuildConfig,
    finder: Finder,
    *,
    flow: Flow | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    report: ProcessReport | None = None,
) -> Iterator[Clip]:
    """The clips of a video, in order of time.

    Memory holds the frames of `config.alignment.seconds`, on which the transform is estimated, and one
    clip: it does not grow with the video. `flow`: by default what `config.flow.method` names.

    Raises:
        RefusedError: not a video, too short for a clip, too few frames a second, no body in it, or no clip
            with enough of it.
    """
    report = ProcessReport() if report is None else report
    spec = config.clip
    finder.restart()
    frames = sample_frames(
        path,
        spec.fps,
        long_side_px=config.long_side_px,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        wanted=lambda index: is_wanted(index, spec),
        report=report.decode,
    )
    flow = FlowEstimator(config.flow.method) if flow is None else flow
    upright = _set_upright(_find_bodies(frames, finder, report), config, flow, report)
    window: deque[_Upright] = deque(maxlen=spec.num_frames)
    fingerprint = Fingerprint(spec.fps)
    last_index = -1
    for index, frame in upright:
        if frame.found:
            fingerprint.add(index, frame.thumbnail)
        if index != last_index + 1:
            window.clear()
        last_index = index
        window.append(frame)
        if not ends_clip(index, spec):
            continue
        # After a stretch without anybody the window is not full: its first frames were never kept.
        clip = _clip(window, config) if len(window) == spec.num_frames else None
        if clip is not None and clip.quality >= config.quality.min_body_share:
            report.clips += 1
            yield clip
        else:
            report.clips_left_out += 1
    report.fingerprint = fingerprint.text()
    _refuse_fruitless(path, config, report)


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
    raise RefusedError(
        f"a clip must show the body in at least {config.quality.min_body_share:.0%} of its frames. Received: "
        f"{path.name} with {report.body_share:.0%} over the video and no such clip. Film the whole body from "
        "above, or lower quality.min_body_share"
    )


def _find_bodies(
    frames: Iterator[SampledFrame], finder: Finder, report: ProcessReport
) -> Iterator[tuple[SampledFrame, Body | None]]:
    """Frames with their bodies, found in a second thread while this one decodes, aligns and computes flow."""
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


def _set_upright(
    frames: Iterator[tuple[SampledFrame, Body | None]], config: BuildConfig, flow: Flow, report: ProcessReport
) -> Iterator[tuple[int, _Upright]]:
    """Aligned frames; the first ones wait until the transform is known."""
    waiting: list[tuple[SampledFrame, Body | None]] = []
    before: tuple[int, _Upright] | None = None

    def align(frame: SampledFrame, body: Body | None, alignment: Alignment) -> tuple[int, _Upright]:
        nonlocal before
        consecutive = before is not None and before[0] == frame.index - 1
        previous = before[1] if consecutive and before is not None else None
        before = frame.index, _align(frame, body, alignment, previous, flow, config)
        return before

    for frame, body in frames:
        if report.alignment is None:
            waiting.append((frame, body))
            if frame.seconds < waiting[0][0].seconds + config.alignment.seconds:
                continue
            if not any(early_body for _, early_body in waiting):
                # Nobody yet: these frames can make no clip, so they need not wait for the transform.
                report.clips_left_out += sum(ends_clip(early.index, config.clip) for early, _ in waiting)
                waiting = []
                continue
            report.alignment = _alignment(waiting, config)
            for early_frame, early_body in waiting:
                yield align(early_frame, early_body, report.alignment)
            waiting = []
        else:
            yield align(frame, body, report.alignment)
    if report.frames_with_body == 0:
        report.clips_left_out += sum(ends_clip(early.index, config.clip) for early, _ in waiting)
    elif waiting:
        report.alignment = _alignment(waiting, config)
        for early_frame, early_body in waiting:
            yield align(early_frame, early_body, report.alignment)


def _alignment(sampled: list[tuple[SampledFrame, Body | None]], config: BuildConfig) -> Alignment:
    spec = config.clip
    if not config.align_body:
        height, width = sampled[0][0].pixels.shape[:2]
        return middle_square(height, width, spec.size)
    step = max(1, round(config.alignment.every_seconds * spec.fps))
    # Frames without a body leave holes in the series, so sample what was found.
    poses = [body.joints for _, body in sampled if body is not None][::step]
    joints = np.stack(poses) if poses else np.zeros((0, len(JOINTS), 3), np.float32)
    return estimate_alignment(joints, spec.size, config.alignment.side_in_torsos)


def _align(
    frame: SampledFrame,
    body: Body | None,
    alignment: Alignment,
    previous: _Upright | None,
    flow_tool: Flow,
    config: BuildConfig,
) -> _Upright:
    size = config.clip.size
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
    if previous is None:
        flow = np.full((size, size, 2), ZERO_LEVEL, np.uint8)
    else:
        flow = quantize_flow(flow_tool.between(previous.prepared, prepared), config.clip.max_flow_px)
        if config.flow.masked and config.mask_body:
            # Flow belongs to the pixels of the frame it starts from.
            flow[previous.mask < 128] = ZERO_LEVEL
    return _Upright(frame.seconds, rgb, prepared, thumbnail(whole, mask), mask, pose, body is not None, flow)


def _clip(window: deque[_Upright], config: BuildConfig) -> Clip:
    frames = list(window)
    fps = config.clip.fps
    pose = np.stack([frame.pose for frame in frames])
    joints = to_openpose_joints(pose, config.keypoints.min_score)
    return Clip(
        start_seconds=frames[0].seconds,
        fps=fps,
        rgb=np.stack([frame.rgb for frame in frames]),
        flow=np.stack([frame.flow for frame in frames[1:]]),
        pose=pose,
        # Of the clip alone: a window of a long video must not wait for the video's end.
        joint_features=joint_features(joints, fps=fps),
        mask_area=np.array([frame.mask.mean() / 255 for frame in frames], np.float32),
        quality=float(np.mean([frame.found for frame in frames])),
    )
