"""Builds a data set folder: one shard a video, and dataset.json that says what is in it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipelines.clips import Clip
from pipelines.config import BuildConfig
from pipelines.files import PART, written_whole
from pipelines.manifest import Source, read_folds, read_sources
from pipelines.pose_model import pose_model
from pipelines.schema import FORMAT_VERSION, RefusedError
from pipelines.tools import MakeTools, standard_tools

INDEX = "dataset.json"
SHARDS = "shards"
BESIDE = ("contact_sheet.png",)
"""Other files that a data set's folder may hold; they do not keep a build from it."""

STAGES_VERSION = 4
"""Raised whenever the code of a stage changes what it writes; older shards are then made anew."""

UNEXPECTED = "failed unexpectedly"

Progress = Callable[[int, int, str], None]
"""Called with videos done, videos in all, and the last one's id."""


def build_dataset(
    source: Path,
    out: Path,
    config: BuildConfig,
    *,
    workers: int = 1,
    make_tools: MakeTools = standard_tools,
    progress: Progress = lambda done, total, name: None,
) -> dict[str, Any]:
    """Builds or completes the data set in `out` and returns its index (the content of dataset.json).

    A video that cannot be used is left out and listed with its reason; the others go on. Finished videos
    whose file and settings have not changed are not done again. `make_tools` gives each worker what finds
    bodies and flow; it is pickled.

    Raises:
        RefusedError: no videos, contradicting labels, `out` is something else or cannot be written, or not
            one video could be used.
    """
    sources = read_sources(source)
    folds = read_folds(source)
    classes = sorted({one.label for one in sources})
    finished = _prepare(out)
    # A new class moves the labels' numbers, so the classes are part of what a shard depends on.
    settings_key = f"{config.digest()}:{STAGES_VERSION}:{classes}"
    keys = {one.id: _video_key(one, settings_key) for one in sources}
    entries: dict[str, dict[str, Any]] = {}
    for one in sources:
        before = finished.get(one.id)
        if before and before["key"] == keys[one.id] and _is_whole(out, before):
            # What the shard does not hold may have changed since, such as the group.
            entries[one.id] = before | _manifest_facts(one)
    todo = [one for one in sources if one.id not in entries]
    done = len(entries)
    progress(done, len(sources), "")
    for identifier, entry in _process_all(todo, classes, out, config, workers, make_tools):
        # What failed unexpectedly is tried again by the next build.
        unexpected = (entry["left_out"] or "").startswith(UNEXPECTED)
        entries[identifier] = {**entry, "key": None if unexpected else keys[identifier]}
        done += 1
        write_index(out, _index(entries, sources, classes, folds, config))
        progress(done, len(sources), identifier)
    index = _index(entries, sources, classes, folds, config)
    write_index(out, index)
    _remove_strangers(out, index)
    if not any(entry["shard"] for entry in index["videos"]):
        reasons = {entry["left_out"] for entry in index["videos"]}
        raise RefusedError(
            f"at least one video must be usable. Received: {len(sources)} videos, all left out. "
            f"First reason: {sorted(reasons)[0]}"
        )
    return index


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file's bytes, or of a folder's files with their names; None if unreadable."""
    try:
        if path.is_dir():
            files = [(file.name, file_digest(file)) for file in sorted(path.iterdir()) if file.is_file()]
            return hashlib.sha256(repr(files).encode()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def write_index(out: Path, index: dict[str, Any]) -> None:
    """Writes dataset.json, all of it or nothing."""
    with written_whole(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def read_index(dataset: Path) -> dict[str, Any]:
    """The content of a data set's dataset.json.

    Raises:
        RefusedError: no data set there, or one of another format version.
    """
    path = dataset / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RefusedError(
            f"a data set must be a folder with {INDEX}. Received: {str(dataset)!r}. "
            "Make one with tfgma build-tfrecords"
        ) from error
    except ValueError as error:
        raise RefusedError(
            f"{INDEX} must be valid JSON. Received: {error} in {str(dataset)!r}. Delete {INDEX} and build "
            "the data set again: all shards are made anew"
        ) from error
    version = index.get("format_version") if isinstance(index, dict) else None
    if version != FORMAT_VERSION:
        raise RefusedError(
            f"a data set must have format version {FORMAT_VERSION}. Received: {version} in {str(dataset)!r}. "
            "Build it again with this version of tfgma, or use the version that built it"
        )
    return index


def _prepare(out: Path) -> dict[str, dict[str, Any]]:
    """Makes `out` ready to be written and returns the entries of videos that it already holds."""
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_ours(out))):
            raise RefusedError(
                f"--out must be a new folder or a data set. Received: {str(out)!r}, which holds other files"
            )
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
        probe = out / SHARDS / ".writable"
        probe.touch()
        probe.unlink()
        for leftover in (out / SHARDS).glob("*" + PART):
            leftover.unlink()
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error.strerror})") from error
    if not (out / INDEX).exists():
        return {}
    return {entry["id"]: entry for entry in read_index(out)["videos"]}


def _is_ours(out: Path) -> bool:
    return (out / INDEX).exists() or {path.name for path in out.iterdir()} <= {*BESIDE, SHARDS, INDEX + PART}


def _video_key(source: Source, settings_key: str) -> str:
    """Changes whenever what the shard holds would change."""
    facts = (file_digest(source.path), source.subject, source.label, source.start, source.end)
    return hashlib.sha256(f"{facts}:{settings_key}".encode()).hexdigest()


def _is_whole(out: Path, entry: dict[str, Any]) -> bool:
    """Whether a finished entry's shard is there unchanged (videos left out have none)."""
    return not entry["shard"] or file_digest(out / SHARDS / entry["shard"]) == entry["shard_sha256"]


def _process_all(
    todo: list[Source],
    classes: list[str],
    out: Path,
    config: BuildConfig,
    workers: int,
    make_tools: MakeTools,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Entries of videos as they are finished, in whatever order."""
    if not todo:
        return
    if todo[0].has_pictures and "mediapipe" in (config.pose.method, config.segmentation.method):
        pose_model(config.pose.model)  # fetched once, before the workers
    # Fresh processes: TensorFlow and MediaPipe do not survive a fork.
    with ProcessPoolExecutor(max_workers=max(1, workers), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(process_video, one, classes, out, config, make_tools): one for one in todo}
        try:
            for future in as_completed(futures):
                yield futures[future].id, future.result()
        except OSError as error:
            pool.shutdown(wait=False, cancel_futures=True)
            raise RefusedError(
                f"the data set must be writable to its end. Received: {error}. Free some space and start "
                "again; finished videos are kept"
            ) from error
        except BrokenProcessPool as error:
            raise RefusedError(
                f"a worker must not die. Received: {error}. Start again with fewer --workers; "
                "finished videos are kept"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def process_video(
    source: Source, classes: list[str], out: Path, config: BuildConfig, make_tools: MakeTools = standard_tools
) -> dict[str, Any]:
    """Writes one video's shard and returns its entry for dataset.json. Runs in a worker process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import cv2

    from pipelines.process import ProcessReport
    from pipelines.records import Identity, encode_clip, write_shard

    cv2.setNumThreads(1)  # the other cores belong to the other workers
    report = ProcessReport()
    identity = Identity(classes.index(source.label), source.label, source.subject, source.id)
    shard = out / SHARDS / f"{source.id}.tfrecord"
    left_out = None
    try:
        with contextlib.ExitStack() as held:
            clips = _clips(source, config, make_tools, report, held)
            write_shard(shard, (encode_clip(clip, identity, config.jpeg_quality) for clip in clips))
    except RefusedError as error:
        left_out = str(error)
    except OSError:
        raise  # the disk, not the video
    except Exception as error:  # one odd video must not end the work on a thousand others
        left_out = f"{UNEXPECTED}: {type(error).__name__}: {error}"
    if left_out:
        shard.unlink(missing_ok=True)
    return _entry(source, report, shard, left_out)


def _clips(
    source: Source, config: BuildConfig, make_tools: MakeTools, report: Any, held: contextlib.ExitStack
) -> Iterator[Clip]:
    from pipelines.process import video_clips
    from pipelines.sequences import sequence_clips

    if not source.has_pictures:
        return sequence_clips(
            source.path, config, start_seconds=source.start, end_seconds=source.end, report=report
        )
    tools = held.enter_context(make_tools(config))
    return video_clips(
        source.path,
        config,
        tools.finder,
        flow=tools.flow,
        start_seconds=source.start,
        end_seconds=source.end,
        report=report,
    )


def _entry(source: Source, report: Any, shard: Path, left_out: str | None) -> dict[str, Any]:
    decode = report.decode
    return {
        "id": source.id,
        "video": source.path.name,
        "sha256": file_digest(source.path),
        "subject": source.subject,
        "label": source.label,
        "start": source.start,
        "end": source.end,
        **_manifest_facts(source),
        "clips": 0 if left_out else report.clips,
        "clips_left_out": report.clips_left_out,
        "seconds": round(decode.seconds, 3),
        "quality": {
            "fps": round(decode.fps, 3),
            "body_share": round(report.body_share, 4),
            "repeated_frames": decode.repeated,
            "damaged": decode.damaged,
        },
        "fingerprint": report.fingerprint,
        "alignment": asdict(report.alignment) if report.alignment else None,
        "shard": None if left_out else shard.name,
        "shard_sha256": None if left_out else file_digest(shard),
        "left_out": left_out,
    }


def _manifest_facts(source: Source) -> dict[str, Any]:
    """What the manifest says of a video beside what its shard holds."""
    return {
        "group": source.group,
        "split": source.split,
        "age_weeks": source.age_weeks,
        "other": source.other,
    }


def _index(
    entries: dict[str, dict[str, Any]],
    sources: list[Source],
    classes: list[str],
    folds: list[dict[str, list[str]]],
    config: BuildConfig,
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "classes": classes,
        "pictures": sources[0].has_pictures,
        "folds": folds,
        "clip": config.clip.model_dump(),
        "config": config.model_dump(),
        "config_sha256": config.digest(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("tfgma", "tensorflow", "mediapipe", "opencv-contrib-python", "av", "numpy")
        },
        "videos": [entries[one.id] for one in sources if one.id in entries],
    }


def _remove_strangers(out: Path, index: dict[str, Any]) -> None:
    """Deletes shards that the index no longer names, such as those of removed videos."""
    named = {entry["shard"] for entry in index["videos"]}
    for path in (out / SHARDS).iterdir():
        if path.name not in named:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
