"""Recorded tracks of joints shown as movements of generated infants, without the recorded child."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.config import KeypointSettings
from pipelines.keypoints import (
    DEEPLABCUT_HEADER,
    KeypointSequence,
    read_deeplabcut,
    read_openpose_folder,
    read_stam_features,
)
from pipelines.manifest import Source, read_sources
from pipelines.schema import FEATURE_JOINTS, JOINTS, RefusedError
from pipelines.sequences import as_pose
from pipelines.synthetic import SyntheticSettings
from pipelines.synthetic.fitting import fit_track
from pipelines.synthetic.generate import Plan, Row, write_set
from pipelines.synthetic.recording import follow_recording, subject_name
from pipelines.synthetic.track import steady_track

DEFAULTS: Final[dict[str, Any]] = {"shake_px": 0.0}
"""Nuisance factors other than the generator's own: a recorded track brings its camera's shake along."""

COLUMNS: Final = ("video", "subject", "label", "group")


@dataclass(frozen=True)
class Shown:
    """A written video.

    `video` is relative to the output folder. `seconds_at_rest`: part of the body -> how long it was not seen,
    as in `pipelines.synthetic.fitting.Fit`.
    """

    video: str
    seconds: float
    seconds_at_rest: dict[str, float]


def reanimate(
    poses: Path,
    out: Path,
    settings: SyntheticSettings | None = None,
    *,
    fps: float = 30.0,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Shown]:
    """Writes `out/<name>.mp4` for one recording, `out/<class>/<subject>/video.mp4` for a set with classes.

    Looks, place and light follow from `seed`. Of the recording nothing but the movement stays: bones have the
    generated body's lengths, subjects of a set are numbered in its order, and `out/manifest.csv` lists
    them. A subject's further recordings are video_2.mp4 and so on. With `settings.ground_truth` there is a
    truth.npz for each, as `pipelines.synthetic.generate.write_recording` says.

    Args:
        poses: DeepLabCut's .csv or .h5; OpenPose's folder of JSON; a .npy of poses (T, 33, 3), joints as in
            `pipelines.schema.JOINTS`, or of STAM; or a set of such, as for `pipelines.manifest.read_sources`.
        out: a new or an empty folder.
        settings: nuisance factors; `roll_degrees` and `classes` do not count, the recording has its own.
        fps: frames a second of the recordings; the video has those of `settings`.
        seed, workers, progress: as for `pipelines.synthetic.generate`.

    Raises:
        RefusedError: nothing there, videos instead of joints, a track without a person, trunk or limb, a
            background by class, or a number out of range; and as `pipelines.synthetic.generate`.
    """
    settings = settings or SyntheticSettings(**DEFAULTS)
    _check(settings, fps)
    if _is_one_track(poses):
        sources = [Source(poses.resolve().stem, poses, "", "", "")]
    else:
        sources = read_sources(poses)
        if sources[0].has_pictures:
            raise RefusedError(
                f"--motion must name recorded joints. Received: the video {sources[0].path.name}. "
                "Track its joints first, with DeepLabCut or OpenPose"
            )
    subjects = {name: index for index, name in enumerate(dict.fromkeys(one.subject for one in sources))}
    groups = {name: index for index, name in enumerate(dict.fromkeys(one.group for one in sources))}
    recordings_of: dict[str, int] = {}
    plans, shown = [], []
    for source in sources:
        track = steady_track(_read_pose(source, fps), fps, settings.fps, KeypointSettings().min_score)
        fit = fit_track(track, settings.fps)
        index = subjects[source.subject]
        number = recordings_of[source.subject] = recordings_of.get(source.subject, 0) + 1
        suffix = "" if number == 1 else f"_{number}"
        video, truth = f"{source.id}.mp4", "truth.npz"
        if source.label:
            folder = f"{_folder_name(source.label)}/{subject_name(index)}"
            video, truth = f"{folder}/video{suffix}.mp4", f"{folder}/truth{suffix}.npz"
        make = partial(follow_recording, index, settings, fit, label=source.label)
        row: Row = {
            "video": video,
            "subject": subject_name(index),
            "label": source.label,
            "group": f"group_{groups[source.group] + 1:03d}",
        }
        plans.append(Plan(make, video, truth, row))
        shown.append(Shown(video, len(fit.angles) / settings.fps, fit.seconds_at_rest))
    columns = COLUMNS if sources[0].label else ()
    write_set(out, plans, columns, seed=seed, workers=workers, progress=progress)
    return shown


def _check(settings: SyntheticSettings, fps: float) -> None:
    if not (math.isfinite(fps) and fps > 0):
        raise RefusedError(f"frames a second must be a positive number. Received: {fps}")
    if settings.background_by_class != "random":
        raise RefusedError(
            "backgrounds of re-animated recordings must be random. "
            f"Received: background_by_class={settings.background_by_class}. Leave it away"
        )


def _is_one_track(poses: Path) -> bool:
    """Whether it is one recording, not a set."""
    if poses.is_dir():
        return next(poses.glob("*_keypoints.json"), None) is not None
    if not poses.is_file():
        raise RefusedError(
            f"--motion must name an existing file or folder of joints. Received: {str(poses)!r}"
        )
    if poses.suffix.lower() in (".npy", ".h5"):
        return True
    if poses.suffix.lower() != ".csv":
        raise RefusedError(
            "recorded joints must be a .csv, .h5 or .npy, or a folder of OpenPose's JSON files. "
            f"Received: {str(poses)!r}"
        )
    with poses.open("rb") as file:
        # A manifest opens otherwise.
        return file.read(64).lstrip(b"\xef\xbb\xbf").startswith(DEEPLABCUT_HEADER[0].encode())


def _read_pose(source: Source, fps: float) -> np.ndarray:
    """(T, 33, 3) float32 of the part of a recording that its row names."""
    path = source.path
    if path.suffix.lower() == ".npy":
        pose = _read_array(path)
    else:
        read = read_openpose_folder if path.is_dir() else read_deeplabcut
        pose = as_pose(read(path))
    end = None if source.end is None else round(source.end * fps)
    return pose[round(source.start * fps) : end]


def _read_array(path: Path) -> np.ndarray:
    """(T, 33, 3) float32 from a .npy file of poses or of STAM, whose joints are in trunk lengths."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise RefusedError(
            f"recorded joints in a .npy must be an array of NumPy. Received: {path} ({error})"
        ) from error
    shape: tuple[int, ...] = getattr(array, "shape", ())
    if len(shape) == 3 and shape[1:] == (len(JOINTS), 3) and array.dtype.kind == "f":
        return np.asarray(array, np.float32)
    if len(shape) != 3 or shape[2] != len(FEATURE_JOINTS):
        raise RefusedError(
            f"an array of recorded joints must be (T, {len(JOINTS)}, 3) float, or as STAM's "
            f"(channels, T, {len(FEATURE_JOINTS)}). Received: {shape} in {path}"
        )
    places = read_stam_features(path)[..., :2]
    # What STAM never saw is 0 throughout.
    score = np.broadcast_to((places != 0).any(axis=(0, 2))[None, :, None], (*places.shape[:2], 1))
    return as_pose(KeypointSequence(np.concatenate([places, score], axis=-1).astype(np.float32), None))


def _folder_name(label: str) -> str:
    """A class as a folder's name."""
    return re.sub(r"[^\w-]+", "-", label)
