"""A training's folder: what is in it and how it is read and written."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import parse_overrides, parse_settings
from pipelines.files import written_whole
from pipelines.schema import RefusedError
from tfgma._version import git_state
from tfgma.aggregation import label_by
from tfgma.config import StudyConfig

RUN_FILE = "run.json"
PREDICTIONS = "predictions.csv"
MODEL_FILE = "model.keras"
HISTORY = "history.csv"
TIMING_FILE = "timing.csv"
LOGS = "logs"
"""Of TensorBoard."""
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
LOCK_BOX_FILE = "lock_box.csv"
"""What every fold's network answers for the lock box, once that was opened; as predictions.csv."""
RUN_VERSION = 3

COLUMNS = ["fold", "split", "video", "subject", "start_seconds", "label"]
"""Of predictions.csv, before p_<class>..."""


@dataclass(frozen=True)
class Predictions:
    """What a network answered for clips; N rows.

    `probabilities`: (N, C) float64. `labels`: (N,) int, index into `classes`. `sides`: train, val or test.
    """

    classes: tuple[str, ...]
    folds: np.ndarray
    sides: np.ndarray
    videos: np.ndarray
    subjects: np.ndarray
    start_seconds: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    def where(self, chosen: np.ndarray) -> Predictions:
        """The rows for which `chosen` (N,) bool is true."""
        arrays = {name: value[chosen] for name, value in vars(self).items() if name != "classes"}
        return Predictions(classes=self.classes, **arrays)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_run(run: Path) -> dict[str, Any]:
    """The content of run.json.

    Raises:
        RefusedError: no run there, or one of another version.
    """
    try:
        content = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"RUN must be a folder that tfgma train wrote. Received: {str(run)!r} ({error})"
        ) from error
    if content.get("run_version") != RUN_VERSION:
        raise RefusedError(
            f"a run must have version {RUN_VERSION}. Received: {content.get('run_version')} in {str(run)!r}. "
            "Train again"
        )
    return content


def study_of(run: dict[str, Any], overrides: tuple[str, ...] = ()) -> StudyConfig:
    """The settings that a run was trained with, or those with `section.key=value` over them."""
    return parse_settings(parse_overrides(run["config"], overrides), StudyConfig, RUN_FILE)


def fold_folder(run: Path, fold: int) -> Path:
    """Where fold `fold` keeps its model, logs and predictions."""
    return run / f"fold_{fold}"


def read_run_predictions(run: Path) -> Predictions:
    """All folds' predictions of a run.

    Raises:
        RefusedError: no run, what `read_predictions` refuses, or a subject with two labels.
    """
    folds = read_run(run)["trained_folds"]
    if not folds:
        raise RefusedError(
            f"RUN must have a fold that is trained to its end. Received: none in {str(run)!r}. "
            f"Call tfgma train --out {run} --resume"
        )
    predictions = read_predictions([fold_folder(run, fold) / PREDICTIONS for fold in folds])
    label_by(predictions.subjects.tolist(), predictions.labels)  # refuses
    return predictions


def environment() -> dict[str, Any]:
    """Versions and the state of the source tree, for the record."""
    packages = ("tfgma", "tensorflow", "jax", "torch", "keras", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages if _is_installed(name)},
        "git": git_state(),
    }


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes predictions.csv: fold, split, video, subject, start_seconds, label, then p_<class>..."""
    header = [*COLUMNS, *(f"p_{name}" for name in predictions.classes)]
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i in range(len(predictions.labels)):
            row = [predictions.folds[i], predictions.sides[i], predictions.videos[i], predictions.subjects[i]]
            row += [f"{predictions.start_seconds[i]:.3f}", predictions.classes[predictions.labels[i]]]
            writer.writerow(row + [f"{p:.8f}" for p in predictions.probabilities[i]])


def read_predictions(paths: Sequence[Path]) -> Predictions:
    """The rows of several predictions.csv, one after the other.

    Raises:
        RefusedError: a file is missing, has no rows or other columns than the first, or a row is damaged.
    """
    rows: list[dict[str, str]] = []
    header: list[str] = []
    for path in paths:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                found = list(reader.fieldnames or [])
                rows += list(reader)
        except OSError as error:
            raise RefusedError(
                f"a run must have {PREDICTIONS} for each fold. Received: {error}. Train the fold again"
            ) from error
        if found[: len(COLUMNS)] != COLUMNS or found != (header := header or found):
            raise RefusedError(
                f"{PREDICTIONS} must have the columns {', '.join(header or COLUMNS)} and one for each class, "
                f"the same in every fold. Received: {', '.join(found)} in {str(path)!r}. Train the fold again"
            )
    if not rows:
        raise RefusedError(f"{PREDICTIONS} must have rows. Received: none in {[str(path) for path in paths]}")
    classes = tuple(name.removeprefix("p_") for name in header[len(COLUMNS) :])
    index = {name: number for number, name in enumerate(classes)}
    try:
        return Predictions(
            classes=classes,
            folds=np.array([int(row["fold"]) for row in rows]),
            sides=np.array([row["split"] for row in rows]),
            videos=np.array([row["video"] for row in rows]),
            subjects=np.array([row["subject"] for row in rows]),
            start_seconds=np.array([float(row["start_seconds"]) for row in rows]),
            labels=np.array([index[row["label"]] for row in rows]),
            probabilities=np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(
            f"{PREDICTIONS} must hold a number for each class, and a label that is one of them. "
            f"Received: {error} in one of {[str(path) for path in paths]}. Train the fold again"
        ) from error
