"""Trains a study's folds into a run, each in a process of its own, from where it was."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import keras

from pipelines.build import INDEX, file_digest, read_index
from pipelines.files import full_disk_refused, held
from pipelines.schema import RefusedError
from tfgma.callbacks import Progress, over_folds
from tfgma.checkpoints import CHECKPOINT
from tfgma.config import StudyConfig, flat
from tfgma.distillation import refuse_other_folds
from tfgma.distribution import is_follower
from tfgma.fitting import FoldTask, sampling_of, train_fold
from tfgma.losses import class_weights
from tfgma.processes import KilledError, run_apart
from tfgma.protocol import protocol_of
from tfgma.runs import RUN_FILE, RUN_VERSION, environment, fold_folder, read_run, study_of, write_json
from tfgma.suitability import as_built, refuse_other_build, refuse_unfit
from tfgma.tracking import Started


def train(
    config: StudyConfig,
    dataset: Path,
    out: Path,
    *,
    folds: Sequence[int] | Literal["all"] | None = None,
    resume: bool = False,
    distribute: str | None = None,
    isolated: bool = True,
    progress: Progress = lambda done, total, text: None,
    started: Started = lambda run, settings: None,
) -> dict[str, Any]:
    """Trains the chosen folds into the run folder `out`; returns the content of run.json.

    Args:
        config: the study.
        dataset: its data set.
        out: a new or empty folder; with `resume`, also one that holds a training of the same study and data.
        folds: which; None for all, but with `resume` for those that were chosen before, to which others are
            added.
        resume: go on where that training was: finished folds stay, an unfinished one goes on from its last
            whole epoch.
        distribute: see tfgma.distribution; with `resume`, as before.
        isolated: each fold in a process of its own, whose memory goes back at its end. False for callers who
            have changed something in this process.
        progress: told of each epoch, of those of all chosen folds.
        started: called once nothing is left to be refused, see tfgma.tracking.

    Raises:
        RefusedError: no data set there, one of another ClipSpec than the config's, or without a modality that
            the network takes, too few subjects, an unknown fold, a leak (a subject, a group or a recording on
            two sides of a fold), `out` is not empty, or what it holds is of another study; the disk
            is full; what `tfgma.fitting.train_fold` refuses. What is refused before a step is trained leaves
            no run.
    """
    index = read_index(dataset)
    config = as_built(config, index)
    refuse_other_build(index, config.build)
    refuse_unfit(config, index)
    protocol = protocol_of(index, config.split)
    splits = protocol.folds
    chosen = range(len(splits)) if folds is None or isinstance(folds, str) else folds
    for fold in chosen:
        if not 0 <= fold < len(splits):
            raise RefusedError(
                f"--fold must lie between 0 and {len(splits) - 1}, or be all. Received: {fold}"
            )
    run = {
        "run_version": RUN_VERSION,
        "config": config.model_dump(),
        "dataset": str(dataset.resolve()),
        "dataset_sha256": file_digest(dataset / INDEX),
        "classes": index["classes"],
        "folds": [vars(split) for split in splits],
        "lock_box": {"subjects": list(protocol.lock_box), "opened": []},
        "backend": keras.backend.backend(),
        "distribute": distribute,
        "chosen_folds": sorted(chosen),
        "trained_folds": [],
        "environment": environment(),
        "resumed": [],
    }
    if resume and (out / RUN_FILE).exists():
        run, is_new = _resumed(read_run(out), run, [] if folds is None else chosen), False
    else:
        is_new = not is_follower(distribute)
    for fold in run["chosen_folds"]:
        # Refuses what a fold's classes cannot give before hours of work on the folds before it.
        class_weights(config.train, index["classes"], sampling_of(config, index, splits[fold]).class_counts())
    if config.train.teacher is not None:
        refuse_other_folds(Path(config.train.teacher), run, run["chosen_folds"])
    if is_new:
        _make_new(out, run)
    follows = is_follower(distribute)
    with (
        full_disk_refused(out, "call tfgma train --resume"),
        _folder(out, follows=follows) as folder,
        _gone_unless_begun(out) if is_new else contextlib.nullcontext(),
    ):
        if not is_new:
            if folder == out:
                # Another training may have ended a fold between the reading and the lock.
                run["trained_folds"] = read_run(out)["trained_folds"]
            write_json(folder / RUN_FILE, run)
        if folder == out:
            started(out, flat(run["config"]) | {"data": run["dataset_sha256"]})
        for number, fold in enumerate(run["chosen_folds"]):
            if fold in run["trained_folds"]:
                continue
            place = fold_folder(folder, fold)
            if not (place / CHECKPOINT).exists():
                shutil.rmtree(place, ignore_errors=True)
            task = FoldTask(config, dataset, index, splits[fold], fold, place, distribute)
            tell = over_folds(progress, number, len(run["chosen_folds"]))
            if isolated:
                run_apart(
                    train_fold,
                    task,
                    tell=tell,
                    what="a fold's process",
                    remedy="Then call tfgma train --resume",
                )
            else:
                train_fold(task, tell)
            run["trained_folds"] = sorted([*run["trained_folds"], fold])
            write_json(folder / RUN_FILE, run)
    return run


def _resumed(found: dict[str, Any], wanted: dict[str, Any], folds: Sequence[int]) -> dict[str, Any]:
    """The run that goes on, with the folds that are asked for beside those that were.

    Raises:
        RefusedError: it is of other data, settings, backend or distribution.
    """
    if found["dataset_sha256"] != wanted["dataset_sha256"]:
        raise RefusedError(
            f"--resume needs the data set that the run was begun on, SHA-256 {found['dataset_sha256'][:12]}. "
            f"Received: {wanted['dataset_sha256'][:12]} in {wanted['dataset']!r}. Give that data set, or "
            "train into a new folder"
        )
    # A run of before has not the settings that were added since: it was trained by their defaults.
    before, now = flat(study_of(found).model_dump()), flat(wanted["config"])
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise RefusedError(
                f"--resume needs the settings that the run was begun with, {key}={before.get(key)}. "
                f"Received: {now.get(key)}. Leave --config and --set out, or train into a new folder"
            )
    if found["backend"] != wanted["backend"]:
        raise RefusedError(
            f"--resume needs the backend that the run was begun on, {found['backend']}. Received: "
            f"{wanted['backend']}. Choose that, or train into a new folder"
        )
    # Runs of before do not say.
    distributed = found.get("distribute", wanted["distribute"])
    if distributed != wanted["distribute"]:
        raise RefusedError(
            f"--resume needs --distribute as the run was begun, {distributed or 'without'}. Received: "
            f"{wanted['distribute'] or 'without'}. Call it as then, or train into a new folder"
        )
    again = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "environment": wanted["environment"]}
    return found | {
        "dataset": wanted["dataset"],  # which may have been moved
        "distribute": distributed,
        "chosen_folds": sorted({*found["chosen_folds"], *folds}),
        "resumed": [*found["resumed"], again],
    }


def _make_new(out: Path, run: dict[str, Any]) -> None:
    if (out / RUN_FILE).exists():
        raise RefusedError(
            f"--out must be a new or empty folder. Received: {str(out)!r}, which holds a run. "
            "Choose another, or go on with this one by --resume"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise RefusedError(
                f"--out must be a new or empty folder. Received: {str(out)!r}, which holds files"
            )
        write_json(out / RUN_FILE, run)
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error.strerror})") from error


@contextlib.contextmanager
def _gone_unless_begun(out: Path) -> Iterator[None]:
    """Empties a new run's folder if it is refused before any fold wrote a file."""
    try:
        yield
    except KilledError:  # to be called again as it is
        raise
    except RefusedError:
        if not any(path.is_file() for path in out.glob("*/**/*")):
            for path in out.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        raise


@contextlib.contextmanager
def _folder(out: Path, *, follows: bool) -> Iterator[Path]:
    """Where this process writes: the run's folder, or one to throw away if another writes the run."""
    if not follows:
        with held(out):
            yield out
        return
    with tempfile.TemporaryDirectory(prefix="tfgma-") as scratch:
        for checkpoint in out.glob(f"*/{CHECKPOINT}"):
            (Path(scratch) / checkpoint.parent.name).mkdir()
            shutil.copy(checkpoint, Path(scratch) / checkpoint.parent.name)
        yield Path(scratch)
