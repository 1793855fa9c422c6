"""Builds a data set folder: one shard a video, and dataset.json that says what is in it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.clips import Clip
from pipelines.config import BuildConfig
from pipelines.files import PART, written_whole
from pipelines.interchange import FILES, remove_metadata, write_metadata
from pipelines.journal import Journal
from pipelines.manifest import Source, read_folds, read_sources
from pipelines.pseudonyms import LOG, Pseudonyms, log_of, read_key, refuse_mixture, write_log
from pipelines.schema import FORMAT_VERSION, RefusedError
from pipelines.tools import MakeTools, Tools, pose_models, standard_tools
from pipelines.workers import Crew, DaskCrew, LocalCrew, run_each

INDEX = "dataset.json"
SHARDS = "shards"
JOURNAL = "journal.jsonl"
"""There while a build is not finished: the entries of finished videos, one a line."""

BESIDE = ("contact_sheet.png", LOG, *FILES)
"""Other files that a data set's folder may hold; they do not keep a build from it."""

STAGES_VERSION = 6
"""Raised whenever the code of a stage changes what it writes of videos; older shards are then made anew."""

JOINT_STAGES_VERSION = 3
"""The same of files of joints."""

UNEXPECTED = "failed unexpectedly"
KILLED = "killed its worker"

INDEX_PAUSES = 20
"""While a build runs, dataset.json is written anew after so many times what the last writing took."""

Progress = Callable[[int, int, str], None]
"""Called with videos done, videos in all, and the last one's id."""


@dataclass
class BuildReport:
    """What a build did; filled on the way. All by the videos' ids."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    redone: dict[str, str] = field(default_factory=dict)
    """With the reason."""
    removed: list[str] = field(default_factory=list)
    """Videos that the source no longer names."""


def build_dataset(
    source: Path,
    out: Path,
    config: BuildConfig,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    key_file: Path | None = None,
    make_tools: MakeTools = standard_tools,
    progress: Progress = lambda done, total, name: None,
    report: BuildReport | None = None,
) -> dict[str, Any]:
    """Builds or completes the data set in `out` and returns its index (the content of dataset.json).

    A video that cannot be used is left out and listed with its reason; the others go on. Finished videos
    whose file and settings have not changed are not done again, however the build before ended.
    `make_tools` gives each worker what finds bodies and flow; it is pickled. `scheduler`: address of a Dask
    scheduler, whose workers then take the place of `workers` processes here. `key_file`: the key of a
    de-identified data set (`config.deidentify`), made if it is missing; it stays in this process.

    Raises:
        RefusedError: a key that is unusable, missing or not asked for, no videos, contradicting labels,
            `out` is something else, of another key, or cannot be written, the tools cannot be had, no
            scheduler there or workers that do not see the folders, or not one video could be used.
    """
    if config.deidentify != (key_file is not None):
        raise RefusedError(
            "de-identifying takes both --deidentify (or build.deidentify) and --key FILE. Received: "
            + ("--deidentify alone" if config.deidentify else "--key alone")
            + ". Give both or neither"
        )
    sources, folds = read_sources(source), read_folds(source)
    names = None if key_file is None else read_key(key_file, source, out)
    refuse_mixture(out, names)
    with LocalCrew(workers) if scheduler is None else DaskCrew(scheduler) as crew:
        return _build(sources, names, folds, out, config, crew, make_tools, progress, report or BuildReport())


def _build(
    originals: list[Source],
    names: Pseudonyms | None,
    folds: list[dict[str, list[str]]],
    out: Path,
    config: BuildConfig,
    crew: Crew,
    make_tools: MakeTools,
    progress: Progress,
    report: BuildReport,
) -> dict[str, Any]:
    """`build_dataset` by a crew."""
    sources = originals
    if names:
        sources, folds = names.sources(originals), names.folds(folds)
    classes = sorted({one.label for one in sources})
    # Workers get no other settings than those that the key holds.
    deciding = config.that_decide(pictures=sources[0].has_pictures)
    _prepare(out)
    if names and not (out / LOG).exists():
        # From the first moment it says whose folder this is.
        write_log(out, log_of(names, originals, [], "rgb" in deciding.modalities))
    original_of = {names.source(one).id: one for one in originals} if names else {}
    journal = Journal(out / JOURNAL)
    noted = {entry["id"]: entry for entry in journal.read()}
    listed = {entry["id"]: entry for entry in read_index(out)["videos"]} if (out / INDEX).exists() else {}
    finished = listed | noted
    settings = _settings_digest(deciding)
    keys = {one.id: _video_key(one, classes, settings, names) for one in sources}
    report.removed = [identifier for identifier in finished if identifier not in keys]
    # By their files, of which the first counts.
    gone = {finished[name]["sha256"]: finished[name] for name in reversed(report.removed)}
    entries: dict[str, dict[str, Any]] = {}
    for one in sources:
        before = finished.get(one.id)
        reason = _reason(before, keys[one.id], out, gone)
        if reason:
            report.redone[one.id] = reason
        elif before:
            entries[one.id] = before | _listing(one)
            report.kept.append(one.id)
        else:
            report.made.append(one.id)
    todo = [one for one in sources if one.id not in entries]
    remove_metadata(out)  # it comes back when it is true again
    progress(len(entries), len(sources), "")

    shown = with_network_digests(config) if names else config

    def write() -> None:
        write_index(out, _index(entries, sources, classes, folds, shown, deciding.modalities))
        if names:
            write_log(out, log_of(names, originals, list(entries.values()), "rgb" in deciding.modalities))

    next_write = 0.0
    try:
        if todo:
            # dataset.json is about to list the shards of the present settings alone. The journal keeps the
            # others, which are still there: whoever chose wrong settings can go back.
            journal.add(*(e for name, e in listed.items() if name not in entries and name not in noted))
        with contextlib.closing(_process_all(todo, classes, out, deciding, crew, make_tools)) as results:
            for identifier, entry in results:
                key = keys[identifier]
                _refuse_unseen(entry, key)
                # What failed unexpectedly is tried again by the next build.
                unexpected = (entry["left_out"] or "").startswith((UNEXPECTED, KILLED))
                if names:
                    entry = names.entry(entry, original_of[identifier])
                entries[identifier] = {**entry, "key": None if unexpected else key}
                journal.add(entries[identifier])
                begin = time.monotonic()
                if begin >= next_write:
                    write()
                    now = time.monotonic()
                    next_write = now + INDEX_PAUSES * (now - begin)
                progress(len(entries), len(sources), identifier)
        write()
    except OSError as error:
        raise RefusedError(
            f"the data set must be writable to its end. Received: {error}. Free some space and start "
            "again; finished videos are kept"
        ) from error
    except BaseException:
        if next_write:
            with contextlib.suppress(OSError):
                write()
        raise
    index = _index(entries, sources, classes, folds, shown, deciding.modalities)
    _remove_strangers(out, index)
    journal.remove()
    if not any(entry["shard"] for entry in index["videos"]):
        reasons = {entry["left_out"] for entry in index["videos"]}
        raise RefusedError(
            f"at least one video must be usable. Received: {len(sources)} videos, all left out. "
            f"First reason: {sorted(reasons)[0]}"
        )
    write_metadata(out, index)
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
    """Writes dataset.json, all of it or nothing; a video a line, so that no text of all is held in memory."""
    head = json.dumps({key: value for key, value in index.items() if key != "videos"}, indent=1)
    with written_whole(out / INDEX) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(head.removesuffix("\n}") + ',\n "videos": [')
        for number, video in enumerate(index["videos"]):
            file.write((",\n  " if number else "\n  ") + json.dumps(video))
        file.write("\n ]\n}\n")


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


def _prepare(out: Path) -> None:
    """Makes `out` ready to be written."""
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_ours(out))):
            raise RefusedError(
                f"--out must be a new folder or a data set. Received: {str(out)!r}, which holds other files"
            )
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
        probe = out / SHARDS / ".writable"
        probe.touch()
        probe.unlink()
        _sweep(out)
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error.strerror})") from error


def _sweep(out: Path) -> None:
    """Removes what was begun to be written."""
    for leftover in (out / SHARDS).glob("*" + PART):
        leftover.unlink(missing_ok=True)


def _is_ours(out: Path) -> bool:
    names = {path.name.removesuffix(PART) for path in out.iterdir()}
    return (out / INDEX).exists() or names <= {*BESIDE, SHARDS, JOURNAL, INDEX}


def _settings_digest(config: BuildConfig) -> str:
    """Of the settings; files of weights count by what is in them, not by where they are."""
    return config.with_network_files(lambda path: file_digest(Path(path)) or path).digest()


def with_network_digests(config: BuildConfig) -> BuildConfig:
    """The settings with SHA-256 in place of the paths of files of weights."""
    return config.with_network_files(lambda path: file_digest(Path(path)) or "unreadable")


def _video_key(source: Source, classes: list[str], settings: str, names: Pseudonyms | None) -> dict[str, Any]:
    """All that a shard depends on."""
    sha256 = file_digest(source.path)
    return {
        "sha256": names.file_hash(sha256) if names else sha256,
        "subject": source.subject,
        "label": source.label,
        "number": classes.index(source.label),
        "start": source.start,
        "end": source.end,
        "box": None if source.box is None else list(source.box),
        "settings": settings,
        "stages": STAGES_VERSION if source.has_pictures else JOINT_STAGES_VERSION,
    }


CHANGES = {
    "sha256": "its file changed",
    "subject": "it is another subject's",
    "label": "its label changed",
    "number": "the number of its class changed",
    "start": "the part of it to be used changed",
    "end": "the part of it to be used changed",
    "box": "the place of its subject changed",
    "settings": "settings that it depends on changed",
    "stages": "this version of tfgma makes it otherwise",
}


def _reason(
    before: dict[str, Any] | None,
    key: dict[str, Any],
    out: Path,
    gone: dict[str | None, dict[str, Any]],
) -> str | None:
    """Why a video must be done again; None if it must not, or is new. `gone`: former entries, by file."""
    if before is None:
        # In folders the name says the label, so another label is another name.
        was = gone.get(key["sha256"]) if key["sha256"] else None
        return f"it was {was['id']} before, with label {was['label']}" if was else None
    if before["key"] is None:
        return f"it {before['left_out']}"
    if not isinstance(before["key"], dict):
        return CHANGES["stages"]
    changed = [text for part, text in CHANGES.items() if before["key"].get(part) != key[part]]
    if changed:
        return changed[0]
    shard = before["shard"]
    # Videos left out have none.
    is_whole = not shard or file_digest(out / SHARDS / shard) == before["shard_sha256"]
    return None if is_whole else "its shard was damaged or lost"


def _refuse_unseen(entry: dict[str, Any], key: dict[str, Any]) -> None:
    if entry["sha256"] is None and key["sha256"] is not None:
        raise RefusedError(
            f"each worker must be able to read the videos. Received: {entry['video']}, which can be read "
            "here and could not be read by the worker it was given to. Put the videos into a folder that "
            "all workers see under the same path"
        )


def _process_all(
    todo: list[Source],
    classes: list[str],
    out: Path,
    config: BuildConfig,
    crew: Crew,
    make_tools: MakeTools,
) -> Generator[tuple[str, dict[str, Any]]]:
    """Entries of videos as they are finished, in whatever order."""
    if not todo:
        return
    if todo[0].has_pictures and "mediapipe" in (config.pose.method, config.segmentation.method):
        pose_models(config)  # fetched once, before the workers
    # Workers may stand in other folders.
    todo = [replace(one, path=one.path.absolute()) for one in todo]
    config = config.with_network_files(lambda path: str(Path(path).absolute()))
    with _mark(out.absolute()) as mark:
        task = functools.partial(
            _process,
            classes=classes,
            mark=mark,
            version=STAGES_VERSION,
            config=config,
            make_tools=make_tools,
        )
        # Its workers have ended before the mark is gone.
        with contextlib.closing(run_each(task, todo, crew)) as answers:
            for one, entry in answers:
                yield one.id, entry or _entry_of_killer(one, out)


@contextlib.contextmanager
def _mark(out: Path) -> Iterator[Path]:
    """A file in the folder of shards by which workers know that they see the same folder.

    At the end it goes, and so does what a worker that was ended in mid-work left behind.
    """
    mark = out / SHARDS / f".{secrets.token_hex(8)}{PART}"
    mark.touch()
    try:
        yield mark
    finally:
        _sweep(out)


def _process(
    source: Source, classes: list[str], mark: Path, version: int, config: BuildConfig, make_tools: MakeTools
) -> dict[str, Any]:
    """`process_video`, on what may be another machine."""
    here = platform.node()
    if version != STAGES_VERSION:
        raise RefusedError(
            f"each worker must have the tfgma that the build has. Received: stages of version "
            f"{STAGES_VERSION} on {here}, {version} here. Install the same version there"
        )
    if not mark.exists():
        raise RefusedError(
            f"each worker must see --out under the same path. Received: {here}, which sees no "
            f"{str(mark.parent)!r} of this build. Choose a folder that all workers share"
        )
    return process_video(source, classes, mark.parents[1], config, make_tools)


def process_video(
    source: Source, classes: list[str], out: Path, config: BuildConfig, make_tools: MakeTools = standard_tools
) -> dict[str, Any]:
    """Writes one video's shard and returns its entry for dataset.json. Runs in a worker process.

    Raises:
        RefusedError: the tools cannot be had, whatever the video.
        OSError: the shard cannot be written.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import cv2

    from pipelines.process import ProcessReport
    from pipelines.record_writer import Identity, encode_clip, write_shard

    cv2.setNumThreads(1)
    report = ProcessReport()
    identity = Identity(classes.index(source.label), source.label, source.subject, source.id)
    shard = out / SHARDS / f"{source.id}.tfrecord"
    left_out = None
    with contextlib.ExitStack() as held:
        tools = held.enter_context(make_tools(config)) if source.has_pictures else None
        try:
            clips = _clips(source, config, tools, report)
            write_shard(
                shard,
                (encode_clip(clip, identity, config.jpeg_quality, config.modalities) for clip in clips),
            )
        except RefusedError as error:
            left_out = str(error)
        except OSError:
            raise  # the disk, not the video
        except Exception as error:  # one odd video must not end the work on a thousand others
            # What a library says may name anything, so nothing of it goes into what is shared.
            said = "" if config.deidentify else f": {error}"
            left_out = f"{UNEXPECTED}: {type(error).__name__}{said}"
    if left_out:
        shard.unlink(missing_ok=True)
    return _entry(source, report, shard, left_out)


def _clips(source: Source, config: BuildConfig, tools: Tools | None, report: Any) -> Iterator[Clip]:
    from pipelines.process import video_clips
    from pipelines.sequences import sequence_clips

    if tools is None:
        return sequence_clips(
            source.path, config, start_seconds=source.start, end_seconds=source.end, report=report
        )
    return video_clips(
        source.path,
        config,
        tools.finder,
        flow=tools.flow,
        start_seconds=source.start,
        end_seconds=source.end,
        box=source.box,
        cores=1,  # the others belong to the other workers
        report=report,
    )


def _entry_of_killer(source: Source, out: Path) -> dict[str, Any]:
    """The entry of a video that ends whatever process works on it."""
    from pipelines.process import ProcessReport

    shard = out / SHARDS / f"{source.id}.tfrecord"
    shard.unlink(missing_ok=True)
    reason = (
        f"{KILLED}, also when it was tried alone: out of memory, or a damaged file. Give the machine more "
        "memory or convert the video with FFmpeg; the next build tries it again"
    )
    return _entry(source, ProcessReport(), shard, reason)


def _entry(source: Source, report: Any, shard: Path, left_out: str | None) -> dict[str, Any]:
    decode = report.decode
    return {
        "id": source.id,
        "sha256": file_digest(source.path),
        **_listing(source),
        "clips": 0 if left_out else report.clips,
        "clips_left_out": report.clips_left_out,
        "seconds": round(decode.seconds, 3),
        "quality": {
            "fps": round(decode.fps, 3),
            "body_share": round(report.body_share, 4),
            "repeated_frames": decode.repeated,
            "damaged": decode.damaged,
            **(report.means.figures().as_json() if source.has_pictures else {}),
        },
        "windows": [window.as_json() for window in report.windows],
        "fingerprint": report.fingerprint,
        "alignment": asdict(report.alignment) if report.alignment else None,
        "shard": None if left_out else shard.name,
        "shard_sha256": None if left_out else file_digest(shard),
        "left_out": left_out,
        **({} if source.file_name is None else {"faces": _faces(report, left_out)}),
    }


def _faces(report: Any, left_out: str | None) -> dict[str, int]:
    """How many frames of the shard's clips had their face blanked, and how many of them all."""
    if left_out:
        return {"frames": 0, "blanked_wholly": 0}
    return {"frames": report.faces_blanked, "blanked_wholly": report.frames_blanked}


def _listing(source: Source) -> dict[str, Any]:
    """What the source says of a video, whatever is in it."""
    return {
        "video": source.file_name or source.path.name,
        "subject": source.subject,
        "label": source.label,
        "group": source.group,
        "start": source.start,
        "end": source.end,
        "box": None if source.box is None else list(source.box),
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
    modalities: Sequence[str],
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "classes": classes,
        "modalities": list(modalities),
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
