"""The lock box: subjects whom no network saw, asked about once, on the record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.build import INDEX, file_digest, read_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.schema import RefusedError
from tfgma.answers import join, predict
from tfgma.fitting import EVALUATION_BATCH
from tfgma.runs import (
    LOCK_BOX_FILE,
    MODEL_FILE,
    RUN_FILE,
    fold_folder,
    read_run,
    study_of,
    write_json,
    write_predictions,
)
from tfgma.weights.pretrained import load_network


def refuse_locked(
    content: Mapping[str, Any], entries: Iterable[Mapping[str, Any]], digests: Collection[str | None]
) -> None:
    """Nothing if no file of the lock box is among others, or if it was opened.

    Args:
        content: of run.json.
        entries: videos of dataset.json, of the run's own data set.
        digests: SHA-256 of the files that are asked about.

    Raises:
        RefusedError: one is, and nobody may know yet what the networks answer for it.
    """
    if content["lock_box"]["opened"]:
        return
    locked = set(content["lock_box"]["subjects"])
    found = sorted({one["subject"] for one in entries if one["sha256"] in digests} & locked)
    if found:
        raise RefusedError(
            "what is in the lock box stays there until the study is finished. Received: recordings of "
            f"{', '.join(found)}. Leave them out, or open it by tfgma evaluate --lock-box"
        )


def open_lock_box(run: Path) -> list[str]:
    """Lets every fold's network answer for the lock box; returns when it was opened, this time last.

    The time is written down in run.json before anything is answered. The answers lie in `lock_box.csv`. An
    opening that ended before there were answers (power, a full disk) is gone on with, under its own time.

    Raises:
        RefusedError: not a run, one without a lock box or with folds that are not trained, or a data set that
            is not there or has changed.
    """
    content = read_run(run)
    subjects = content["lock_box"]["subjects"]
    if not subjects:
        raise RefusedError(
            "--lock-box needs a run with a lock box. Received: one without. Set split.lock_box to the share "
            "of subjects to keep, and train again"
        )
    missing = sorted(set(range(len(content["folds"]))) - set(content["trained_folds"]))
    if missing:
        raise RefusedError(
            "a lock box is opened when the study is finished. Received: folds "
            f"{', '.join(map(str, missing))} not trained. Train all folds first"
        )
    dataset = Path(content["dataset"])
    index = read_index(dataset)
    if file_digest(dataset / INDEX) != content["dataset_sha256"]:
        raise RefusedError(
            "the lock box must be of the data set that the run was trained on. Received: a changed "
            f"dataset.json in {str(dataset)!r}. Put the old one back, or train again"
        )
    opened = content["lock_box"]["opened"]
    if not opened or (run / LOCK_BOX_FILE).exists():
        opened = [*opened, datetime.now(UTC).isoformat(timespec="seconds")]
        write_json(run / RUN_FILE, content | {"lock_box": {"subjects": subjects, "opened": opened}})
    study = study_of(content)
    answers = []
    for fold in content["trained_folds"]:
        network = load_network(fold_folder(run, fold) / MODEL_FILE)
        data = clip_dataset(
            shard_paths(dataset, index, subjects),
            batch_size=EVALUATION_BATCH,
            spec=study.build.clip,
            inputs=[tensor.name for tensor in network.inputs],
            settings=study.inputs,
            modalities=index["modalities"],
        )
        answers.append(predict(network, data, content["classes"], fold, "lock_box"))
    write_predictions(run / LOCK_BOX_FILE, join(answers))
    return opened
