"""How well a run's networks do on clips and on subjects that they were not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfgma.aggregation import average_by, label_by
from tfgma.metrics import classification_metrics
from tfgma.runs import (
    LOCK_BOX_FILE,
    METRICS_FILE,
    PREDICTIONS,
    Predictions,
    fold_folder,
    read_predictions,
    read_run,
    write_json,
)

SUMMARY = ("accuracy", "mcc", "macro_precision", "macro_recall", "macro_f1", "kappa", "macro_auroc")
"""Figures whose mean and standard deviation over folds are given."""


def evaluate(run: Path) -> dict[str, Any]:
    """Figures of a run, also written to metrics.json.

    Returns:
        `{side: {"clip": figures, "subject": figures, "folds": [...], "over_folds": {...}}}` for the sides
        test and val. Probabilities are averaged over a subject's clips. Of a lock box that was opened,
        `lock_box` has its subjects, when it was opened, and the figures of all folds' networks together.

    Raises:
        RefusedError: not a run, or one without predictions.
    """
    content = read_run(run)
    predictions = read_run_predictions(run)
    metrics: dict[str, Any] = {"classes": content["classes"], "chance": 1 / len(content["classes"])}
    for side in ("test", "val"):
        metrics[side] = side_metrics(predictions.where(predictions.sides == side))
    if (run / LOCK_BOX_FILE).exists():
        metrics["lock_box"] = {
            **content["lock_box"],
            **lock_box_metrics(read_predictions([run / LOCK_BOX_FILE])),
        }
    write_json(run / METRICS_FILE, metrics)
    return metrics


def read_run_predictions(run: Path) -> Predictions:
    """All folds' predictions of a run."""
    folds = read_run(run)["trained_folds"]
    return read_predictions([fold_folder(run, fold) / PREDICTIONS for fold in folds])


def side_metrics(predictions: Predictions) -> dict[str, Any]:
    """Figures over all folds together, for each fold, and their spread over folds."""
    folds: list[dict[str, Any]] = []
    for fold in np.unique(predictions.folds):
        part = predictions.where(predictions.folds == fold)
        folds.append({"fold": int(fold), "clip": clip_metrics(part), "subject": subject_metrics(part)})
    spread = {}
    for level in ("clip", "subject"):
        spread[level] = {name: _mean_and_deviation([fold[level][name] for fold in folds]) for name in SUMMARY}
    return {
        "clip": clip_metrics(predictions),
        "subject": subject_metrics(predictions),
        "folds": folds,
        "over_folds": spread,
    }


def lock_box_metrics(predictions: Predictions) -> dict[str, Any]:
    """Figures of the mean answer of several networks, by clip and by subject."""
    starts = zip(predictions.videos, predictions.start_seconds, strict=True)
    clips = [f"{video}\x00{start}" for video, start in starts]
    figures = {}
    for level, keys in (("clip", clips), ("subject", predictions.subjects.tolist())):
        _, probabilities = average_by(keys, predictions.probabilities)
        _, labels = label_by(keys, predictions.labels)
        figures[level] = classification_metrics(labels, probabilities, predictions.classes)
    return figures


def clip_metrics(predictions: Predictions) -> dict[str, Any]:
    """Figures with every clip counted once."""
    return classification_metrics(predictions.labels, predictions.probabilities, predictions.classes)


def subject_metrics(predictions: Predictions) -> dict[str, Any]:
    """Figures with every subject counted once a fold, by the mean probability of its clips."""
    _, labels, probabilities = subject_scores(predictions)
    return classification_metrics(labels, probabilities, predictions.classes)


def subject_scores(predictions: Predictions) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, (G,) labels and (G, C) mean probabilities of the subjects."""
    # Validation subjects recur in several folds, each time answered by another network.
    keys = [
        f"{subject}\x00{fold}" for subject, fold in zip(predictions.subjects, predictions.folds, strict=True)
    ]
    names, probabilities = average_by(keys, predictions.probabilities)
    _, labels = label_by(keys, predictions.labels)
    return [name.partition("\x00")[0] for name in names], labels, probabilities


def _mean_and_deviation(values: list[float | None]) -> dict[str, float | None] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "sd": deviation, "folds": len(known)}
