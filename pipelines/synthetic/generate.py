"""Sets of generated recordings on disk."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pipelines.schema import RefusedError
from pipelines.synthetic.recording import Recording, sample_recording, subject_name
from pipelines.synthetic.settings import SyntheticSettings
from pipelines.synthetic.texture import Image
from pipelines.synthetic.video import write_video

COLUMNS: Final = ("video", "subject", "label", "group", "age_weeks")
"""Columns of manifest.csv; videos are relative to its folder."""

MANIFEST: Final = "manifest.csv"

_UNFINISHED: Final = ".unfinished"

Row = dict[str, str | int]


@dataclass(frozen=True)
class Plan:
    """A recording to be made and where it goes.

    `make` takes `seed=` and can be sent to another process. `video` and `truth` are relative to the set's
    folder, `row` is what the manifest says of it.
    """

    make: Callable[..., Recording]
    video: str
    truth: str
    row: Row


def generate(
    out: Path,
    settings: SyntheticSettings | None = None,
    *,
    subjects: int,
    seconds: float = 20.0,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes `out/<class>/<subject>/video.mp4` for each subject, and `out/manifest.csv`.

    Subjects go round the classes in turn, one recording each. With `settings.ground_truth` each folder
    also holds truth.npz, see `write_recording`. Everything follows from `seed`: equal arguments give equal
    bytes, and subject i is the same whatever the number of subjects or workers. The set appears when it is
    complete; a failure leaves nothing behind.

    Args:
        out: a new or an empty folder.
        settings: nuisance factors; the defaults if None.
        subjects: at least one for each class.
        seconds: length of each video, at least one frame.
        seed: not negative.
        workers: processes; 1 works in this one.
        progress: called with (finished videos, all videos).

    Returns:
        Path of the manifest.

    Raises:
        RefusedError: a number out of range, or a folder that is not empty or cannot be written.
    """
    settings = settings or SyntheticSettings()
    _check_numbers(settings, subjects, seconds)
    plans = []
    for index in range(subjects):
        subject, label = subject_name(index), settings.classes[index % len(settings.classes)]
        folder = f"{label}/{subject}"
        row: Row = {"video": f"{folder}/video.mp4", "subject": subject, "label": label, "group": subject}
        make = partial(sample_recording, index, settings, seconds=seconds)
        plans.append(Plan(make, f"{folder}/video.mp4", f"{folder}/truth.npz", row))
    write_set(out, plans, COLUMNS, seed=seed, workers=workers, progress=progress)
    return out / MANIFEST


def write_set(
    out: Path,
    plans: Sequence[Plan],
    columns: Sequence[str],
    *,
    seed: int,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Makes all recordings of a set, with a manifest of these columns, or with none for no columns.

    The set appears when it is complete; a failure leaves nothing behind. Arguments and errors as for
    `generate`.
    """
    if seed < 0:
        raise RefusedError(f"seed must be 0 or above. Received: {seed}. Choose another seed")
    if workers < 1:
        raise RefusedError(f"workers must be at least 1. Received: {workers}. Use 1 for no extra process")
    made = _claim(out)
    stage = out / _UNFINISHED
    placed: list[Path] = []
    try:
        rows: dict[int, Row] = {}
        # Closed before the clean-up below: no worker may still write into the folder.
        with closing(_render_all(stage, plans, seed, workers)) as finished:
            for index, row in finished:
                rows[index] = row
                if progress is not None:
                    progress(len(rows), len(plans))
        names = sorted(path.name for path in stage.iterdir())
        if columns:
            _write_manifest(stage / MANIFEST, columns, [rows[index] for index in range(len(plans))])
            # The manifest comes last: where it lies, the set is complete.
            names.append(MANIFEST)
        for name in names:
            os.replace(stage / name, out / name)
            placed.append(out / name)
        stage.rmdir()
    except BaseException as error:
        for path in (stage, *placed):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if made:
            out.rmdir()
        if isinstance(error, OSError) and not isinstance(error, RefusedError):
            raise RefusedError(
                f"the output folder must be writable and have room. Received: {str(out)!r} ({error}). "
                "Choose another folder or free some space"
            ) from error
        raise


def _check_numbers(settings: SyntheticSettings, subjects: int, seconds: float) -> None:
    least = len(settings.classes)
    if subjects < least:
        raise RefusedError(
            f"subjects must be at least {least}, one for each of {', '.join(settings.classes)}. "
            f"Received: {subjects}. Ask for more subjects or fewer classes"
        )
    if not seconds * settings.fps >= 1:
        raise RefusedError(
            f"seconds must hold at least one frame at {settings.fps} frames a second. "
            f"Received: {seconds}. Ask for longer videos"
        )


def _claim(out: Path) -> bool:
    """Makes the output folder and its place for unfinished work; True if the folder is new."""
    if out.exists() and not out.is_dir():
        raise RefusedError(
            f"the output must be a folder. Received: the file {str(out)!r}. Choose another name"
        )
    try:
        if out.is_dir() and any(out.iterdir()):
            raise RefusedError(
                f"the output folder must be new or empty. Received: {str(out)!r}, which holds files. "
                "Remove them or choose another folder"
            )
        made = not out.exists()
        (out / _UNFINISHED).mkdir(parents=True)
    except OSError as error:
        raise RefusedError(
            f"the output folder must be writable. Received: {str(out)!r} ({error.strerror}). "
            "Choose another folder"
        ) from error
    return made


def _render_all(
    stage: Path, plans: Sequence[Plan], seed: int, workers: int
) -> Generator[tuple[int, Row], None, None]:
    """Index and manifest row of each recording, as they are finished."""
    if min(workers, len(plans)) == 1:
        for index, plan in enumerate(plans):
            yield index, _render_one(stage, plan, seed)
        return
    # Spawned, not forked: the parent may have threads of other libraries.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(plans)), mp_context=context) as pool:
        futures = {pool.submit(_render_one, stage, plan, seed): index for index, plan in enumerate(plans)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _render_one(stage: Path, plan: Plan, seed: int) -> Row:
    recording = plan.make(seed=seed)
    video = stage / plan.video
    video.parent.mkdir(parents=True, exist_ok=True)
    write_recording(video, stage / plan.truth, recording)
    if recording.age_weeks is None:
        return plan.row
    return {**plan.row, "age_weeks": recording.age_weeks}


def write_recording(video: Path, truth: Path, recording: Recording) -> None:
    """Writes the video and, when the settings ask for it, the truth into existing folders.

    The truth, an .npz file, holds
        masks: (M, H, ceil(W / 8)) uint8, body masks packed along x by np.packbits; `np.unpackbits(masks,
            axis=2, count=W)` gives (M, H, W) of 0 and 1.
        mask_frames: (M,) int64, the frames they belong to.
        joints: (T, 33, 3) float32 in the order of schema.JOINTS: x, y px of the frame, visibility 0 or 1.
        roll_degrees: () float64, the body's direction, clockwise from head up.
        width, height, fps: () int64.
    """
    settings = recording.settings
    masks: list[Image] = []

    def pictures() -> Iterator[Image]:
        for index, (picture, mask) in enumerate(recording.frames()):
            if settings.ground_truth and index % settings.mask_every == 0:
                masks.append(np.packbits(mask > 0, axis=1))
            yield picture

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one core a worker
    try:
        part = video.with_suffix(".part.mp4")
        write_video(part, pictures(), settings, np.random.default_rng(recording.noise_seed))
        os.replace(part, video)
    finally:
        cv2.setNumThreads(threads)
    if settings.ground_truth:
        np.savez_compressed(
            truth,
            masks=np.stack(masks),
            mask_frames=np.arange(0, len(recording.joints), settings.mask_every),
            joints=recording.joints,
            roll_degrees=np.float64(recording.roll_degrees),
            width=np.int64(settings.width),
            height=np.int64(settings.height),
            fps=np.int64(settings.fps),
        )


def _write_manifest(path: Path, columns: Sequence[str], rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
