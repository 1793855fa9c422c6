"""Turns one sequence of joints from a file into clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.clips import Clip, ends_clip
from pipelines.config import BuildConfig
from pipelines.joint_features import joint_features
from pipelines.keypoints import KeypointSequence, read_deeplabcut, read_openpose_folder, read_stam_features
from pipelines.process import ProcessReport
from pipelines.schema import FEATURE_JOINTS, JOINTS, RefusedError

MIN_SCORE_OF_A_BODY = 0.5
"""Share of the 18 joints that a frame must show to count as a frame with a body."""


def sequence_clips(
    path: Path,
    config: BuildConfig,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    report: ProcessReport | None = None,
) -> Iterator[Clip]:
    """The clips of a keypoint file or folder, in order of time; they have no pictures and no flow.

    Args:
        path: a folder of OpenPose, a DeepLabCut file, or a STAM sequence (.npy), whose features are taken as
            they are, at `config.clip.fps`.
        config: `keypoints` says what the files do not.
        start_seconds, end_seconds: the part to use.
        report: filled on the way.

    Raises:
        RefusedError: unreadable, fewer frames a second than clips need, too short for a clip, or no clip with
            enough of a body.
    """
    report = ProcessReport() if report is None else report
    spec = config.clip
    if path.suffix == ".npy":
        features, fps = read_stam_features(path), spec.fps
        pose = np.zeros((len(features), len(JOINTS), 3), np.float32)
        found = np.ones(len(features), bool)
    else:
        read = read_openpose_folder if path.is_dir() else read_deeplabcut
        sequence = read(path, config.keypoints.fps)
        fps = config.keypoints.fps
        features = joint_features(sequence.with_gaps(config.keypoints.min_score), fps=fps)
        pose = as_pose(sequence)
        seen = sequence.keypoints[..., 2] >= max(config.keypoints.min_score, np.finfo(np.float32).tiny)
        found = seen.mean(axis=1) >= MIN_SCORE_OF_A_BODY
    if fps < spec.fps:
        raise RefusedError(
            f"a sequence must have at least {spec.fps:g} frames a second. Received: {path.name} with "
            f"{fps:g}. Lower clip.fps"
        )
    indices = _grid(len(features), fps, spec.fps, start_seconds, end_seconds)
    report.decode.sampled, report.decode.frames = len(indices), len(features)
    report.decode.seconds = (len(features) - 1) / fps
    report.frames_with_body = int(found[indices].sum())
    for last in range(len(indices)):
        if not ends_clip(last, spec):
            continue
        window = indices[last - spec.num_flows : last + 1]
        quality = float(found[window].mean())
        if quality < config.quality.min_body_share:
            report.clips_left_out += 1
            continue
        report.clips += 1
        yield Clip(
            start_seconds=float(window[0] / fps),
            fps=spec.fps,
            rgb=np.zeros((0, spec.size, spec.size, 3), np.uint8),
            flow=np.zeros((0, spec.size, spec.size, 2), np.uint8),
            pose=pose[window],
            joint_features=features[window],
            mask_area=np.zeros(len(window), np.float32),
            quality=quality,
        )
    if not report.clips:
        raise RefusedError(
            f"a sequence must hold a clip of {spec.num_frames} frames at {spec.fps:g} a second with the body "
            f"in {config.quality.min_body_share:.0%} of them. Received: {path.name} with {len(indices)} "
            f"frames and {report.body_share:.0%} with a body. Shorten clip.clip_seconds"
        )


def _grid(count: int, fps: float, clip_fps: float, start: float, end: float | None) -> np.ndarray:
    """Frames nearest to the times start, start + 1 / clip_fps, ..."""
    until = min(count / fps, np.inf if end is None else end)
    number = max(0, int(np.floor((until - start) * clip_fps + 1e-6)))
    places = np.rint((start + np.arange(number) / clip_fps) * fps).astype(int)
    return places[places < count]


def as_pose(sequence: KeypointSequence) -> np.ndarray:
    """(T, 18, 3) joints of OpenPose -> (T, 33, 3) of ours; joints that it has not have score 0."""
    pose = np.zeros((len(sequence.keypoints), len(JOINTS), 3), np.float32)
    for index, name in enumerate(FEATURE_JOINTS):
        if name in JOINTS:
            pose[:, JOINTS.index(name)] = sequence.keypoints[:, index]
    return pose
