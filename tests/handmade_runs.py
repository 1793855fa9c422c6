"""Run folders with answers of our own, without training."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from pipelines.build import INDEX, file_digest
from tfgma.config import StudyConfig
from tfgma.runs import LOCK_BOX_FILE, RUN_VERSION, Predictions, write_predictions

CLASSES = ("FMs", "PR", "WMs")


def answers(folds, *, classes=CLASSES, clips=4, videos=2, skill=0.5, seed=0) -> list[Predictions]:
    """One entry a fold, of `folds` [(val subjects, test subjects)] by number; subject i is of class i % C.

    Each subject has `videos` videos of `clips` clips; `skill` is the mean probability that is added to the
    truth.
    """
    rng = np.random.default_rng(seed)
    found = []
    for fold, sides in enumerate(folds):
        rows = [
            (side, number, video, clip)
            for side, subjects in zip(("val", "test"), sides, strict=True)
            for number in subjects
            for video in range(videos)
            for clip in range(clips)
        ]
        labels = np.array([number % len(classes) for _, number, _, _ in rows])
        shares = skill * rng.random(len(rows))
        probabilities = (1 - shares[:, None]) * rng.dirichlet(np.ones(len(classes)), len(rows))
        probabilities[np.arange(len(rows)), labels] += shares
        found.append(
            Predictions(
                classes=tuple(classes),
                folds=np.full(len(rows), fold),
                sides=np.array([side for side, *_ in rows]),
                videos=np.array([f"s{number:03d}_v{video}" for _, number, video, _ in rows]),
                subjects=np.array([f"s{number:03d}" for _, number, _, _ in rows]),
                start_seconds=np.array([5.0 * clip for *_, clip in rows]),
                labels=labels,
                probabilities=probabilities,
            )
        )
    return found


def fold_of(part: Predictions, everybody: set[str]) -> dict[str, list[str]]:
    """The sides that the answers are of; all others were trained on."""
    sides = {side: sorted(set(part.subjects[part.sides == side].tolist())) for side in ("val", "test")}
    return {"train": sorted(everybody - set(sides["val"]) - set(sides["test"])), **sides}


def write_run(
    run: Path,
    predictions: list[Predictions],
    dataset: Path | str = "nowhere",
    *,
    lock_box: Predictions | None = None,
) -> Path:
    """A run folder that `tfgma evaluate` and `tfgma compare` take; `lock_box`: answers for an opened one."""
    run.mkdir()
    everybody = {name for part in predictions for name in part.subjects.tolist()}
    locked = [] if lock_box is None else sorted(set(lock_box.subjects.tolist()))
    content = {
        "run_version": RUN_VERSION,
        "config": StudyConfig().model_dump(),
        "dataset": str(dataset),
        "dataset_sha256": file_digest(Path(dataset) / INDEX) or "0",
        "classes": list(predictions[0].classes),
        "folds": [fold_of(part, everybody - set(locked)) for part in predictions],
        "lock_box": {"subjects": locked, "opened": ["2030-01-02T03:04:05+00:00"] if locked else []},
        "trained_folds": list(range(len(predictions))),
        "environment": {"packages": {}, "git": None},
    }
    (run / "run.json").write_text(json.dumps(content))
    if lock_box is not None:
        write_predictions(run / LOCK_BOX_FILE, lock_box)
    for fold, part in enumerate(predictions):
        folder = run / f"fold_{fold}"
        folder.mkdir()
        write_predictions(folder / "predictions.csv", part)
        with (folder / "history.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", "loss", "val_loss", "val_accuracy"])
            writer.writerows([[0, 1.0, 1.0, 0.5], [1, 0.5, 0.8, 0.6], [2, 0.4, 0.9, 0.6]])
    return run


def write_dataset(
    out: Path, predictions: list[Predictions], column=lambda video: (None, {}), left_out=()
) -> Path:
    """A data set's index alone; `column(video)` gives an entry's age_weeks and further columns.

    `left_out`: pairs of a further video and the sentence for which it was left out.
    """
    from pipelines.schema import FORMAT_VERSION

    out.mkdir()
    rows = [
        (video, subject, part.classes[label])
        for part in predictions
        for video, subject, label in zip(
            part.videos.tolist(), part.subjects.tolist(), part.labels, strict=True
        )
    ]
    entries = []
    for name, subject, label in sorted(set(rows)):
        age, other = column(name)
        clips = len({start for part in predictions for start in part.start_seconds[part.videos == name]})
        entries.append(
            {
                "id": name,
                "subject": subject,
                "label": label,
                "group": subject,
                "split": None,
                "age_weeks": age,
            }
            | {"other": other, "shard": f"{name}.tfrecord", "left_out": None, "sha256": f"file of {name}"}
            | {"fingerprint": "", "clips": clips, "clips_left_out": 0, "seconds": 36.0, "windows": []}
        )
    for name, reason in left_out:
        entries.append(entries[0] | {"id": name, "shard": None, "left_out": reason, "clips": 0})
    (out / INDEX).write_text(json.dumps({"format_version": FORMAT_VERSION, "videos": entries}))
    return out
