"""Run folders with answers of our own, without training."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from tfgma.runs import RUN_VERSION, Predictions, write_predictions

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


def write_run(run: Path, predictions: list[Predictions], dataset: Path | str = "nowhere") -> Path:
    """A run folder that `tfgma evaluate` and `tfgma compare` take."""
    run.mkdir()
    content = {
        "run_version": RUN_VERSION,
        "config": {},
        "dataset": str(dataset),
        "dataset_sha256": "0",
        "classes": list(predictions[0].classes),
        "folds": [{}] * len(predictions),
        "lock_box": {"subjects": [], "opened": []},
        "trained_folds": list(range(len(predictions))),
        "environment": {"packages": {}, "git": None},
    }
    (run / "run.json").write_text(json.dumps(content))
    for fold, part in enumerate(predictions):
        folder = run / f"fold_{fold}"
        folder.mkdir()
        write_predictions(folder / "predictions.csv", part)
        with (folder / "history.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", "loss", "val_loss", "val_accuracy"])
            writer.writerows([[0, 1.0, 1.0, 0.5], [1, 0.5, 0.8, 0.6]])
    return run


def write_dataset(out: Path, predictions: list[Predictions], column) -> Path:
    """A data set's index alone; `column(video)` gives an entry's age_weeks and further columns."""
    from pipelines.build import INDEX
    from pipelines.schema import FORMAT_VERSION

    out.mkdir()
    videos = sorted({name for part in predictions for name in part.videos.tolist()})
    entries = []
    for name in videos:
        age, other = column(name)
        entries.append(
            {"id": name, "label": "x", "group": "g", "split": None, "age_weeks": age, "other": other}
            | {"shard": f"{name}.tfrecord", "left_out": None}
        )
    (out / INDEX).write_text(json.dumps({"format_version": FORMAT_VERSION, "videos": entries}))
    return out
