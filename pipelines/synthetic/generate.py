"""Whole data sets of generated recordings on disk."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pipelines.schema import RefusedError
from pipelines.synthetic.recording import Recording, sample_recording
from pipelines.synthetic.settings import SyntheticSettings
from pipelines.synthetic.texture import Image
from pipelines.synthetic.video import write_video

COLUMNS: Final = ("video", "subject", "label", "group", "age_weeks")
"""Columns of manifest.csv; videos are relative to its folder."""

_UNFINISHED: Final = ".unfinished"

Row = dict[str, str | int]


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
    _check_numbers(settings, subjects, seconds, seed, workers)
    made = _claim(out)
    stage = out / _UNFINISHED
    placed: list[Path] = []
    try:
        rows: dict[int, Row] = {}
        # Closed before the clean-up below: no worker may still write into the folder.
        with closing(_render_all(stage, settings, subjects, seconds, seed, workers)) as finished:
            for index, row in finished:
                rows[index] = row
                if progress is not None:
                    progress(len(rows), subjects)
        _write_manifest(stage / "manifest.csv", [rows[index] for index in range(subjects)])
        # The manifest comes last: where it lies, the set is complete.
        for name in (*settings.classes, "manifest.csv"):
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
    return out / "manifest.csv"


def _check_numbers(
    settings: SyntheticSettings, subjects: int, seconds: float, seed: int, workers: int
) -> None:
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
    if seed < 0:
        raise RefusedError(f"seed must be 0 or above. Received: {seed}. Choose another seed")
    if workers < 1:
        raise RefusedError(f"workers must be at least 1. Received: {workers}. Use 1 for no extra process")


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
    stage: Path, settings: SyntheticSettings, subjects: int, seconds: float, seed: int, workers: int
) -> Generator[tuple[int, Row], None, None]:
    """Index and manifest row of each recording, as they are finished."""
    if workers == 1:
        for index in range(subjects):
            yield index, _render_one(stage, settings, index, seconds, seed)
        return
    # Spawned, not forked: the parent may have threads of other libraries.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, subjects), mp_context=context) as pool:
        futures = {
            pool.submit(_render_one, stage, settings, index, seconds, seed): index
            for index in range(subjects)
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _render_one(stage: Path, settings: SyntheticSettings, index: int, seconds: float, seed: int) -> Row:
    recording = sample_recording(index, settings, seconds=seconds, seed=seed)
    folder = stage / recording.label / recording.subject
    folder.mkdir(parents=True)
    write_recording(folder, recording)
    return {
        "video": f"{recording.label}/{recording.subject}/video.mp4",
        "subject": recording.subject,
        "label": recording.label,
        "group": recording.subject,
        "age_weeks": recording.age_weeks,
    }


def write_recording(folder: Path, recording: Recording) -> None:
    """Writes video.mp4 and, when the settings ask for it, truth.npz into an existing folder.

    truth.npz holds
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
        part = folder / "video.part.mp4"
        write_video(part, pictures(), settings, np.random.default_rng(recording.noise_seed))
        os.replace(part, folder / "video.mp4")
    finally:
        cv2.setNumThreads(threads)
    if settings.ground_truth:
        np.savez_compressed(
            folder / "truth.npz",
            masks=np.stack(masks),
            mask_frames=np.arange(0, len(recording.joints), settings.mask_every),
            joints=recording.joints,
            roll_degrees=np.float64(recording.roll_degrees),
            width=np.int64(settings.width),
            height=np.int64(settings.height),
            fps=np.int64(settings.fps),
        )


def _write_manifest(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
