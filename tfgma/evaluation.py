"""How well a run's networks do on clips, videos and subjects that they were not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.optional import load
from tfgma.aggregation import AGGREGATIONS, Aggregation
from tfgma.audit import audit_run
from tfgma.calibration import (
    COVERAGE,
    UNCERTAIN,
    apply_temperature,
    conformal_fits,
    conformal_ranks,
    conformal_sets,
    fit_temperature,
    least_validated,
)
from tfgma.intervals import LEVEL, METHOD, RESAMPLES, SEED, figure_intervals
from tfgma.metrics import SPECIFICITY, classification_metrics
from tfgma.raters import rater_agreement, read_raters
from tfgma.runs import (
    LOCK_BOX_FILE,
    METRICS_FILE,
    Predictions,
    read_predictions,
    read_run,
    read_run_predictions,
    write_json,
)
from tfgma.scores import LEVELS, Scores, averaged, one_side, poolings, scores_by
from tfgma.strata import strata_tables

SUMMARY = (
    "accuracy",
    "balanced_accuracy",
    "mcc",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "kappa",
    "macro_auroc",
    "macro_average_precision",
    "brier",
    "ece",
)
"""Figures whose mean and standard deviation over folds are given."""


def evaluate(
    run: Path,
    *,
    aggregation: str = "mean",
    by: Sequence[str] = (),
    raters: Path | None = None,
    lock_box: bool = False,
) -> dict[str, Any]:
    """Figures of a run, also written to metrics.json.

    Args:
        run: its folder.
        aggregation: how clips become a video's or a subject's answer, one of AGGREGATION_NAMES.
        by: columns of the manifest; a table for each.
        raters: a CSV with the columns subject, rater, label.
        lock_box: whether to open it, once nothing else can be refused; see `open_lock_box`.

    Returns:
        `test` and `val`: `side_metrics`; `test` has `intervals` at each level as well. The validation side
        has none: it chose the epoch, and the weights of attention. `calibration`: see `calibration_metrics`;
        `conformal`: see `conformal_metrics`; `strata`: see `strata_tables`; `raters`: see `rater_agreement`,
        None where none were given; `audit`: see `leak_audit`; and how all that was computed. Of a lock box
        that was opened, `lock_box` has its subjects, when it was opened, and the figures of all networks
        together.

    Raises:
        RefusedError: not a run, one without predictions, a subject with two labels, an unknown aggregation or
            column, ratings that cannot be used, or what `open_lock_box` refuses.
    """
    content = read_run(run)
    predictions = read_run_predictions(run)
    pooling = poolings(predictions, aggregation)
    test = predictions.where(predictions.sides == "test")
    # What can be refused comes before what takes time.
    strata = strata_tables(Path(content["dataset"]), by, test, pooling)
    subjects = scores_by("subject", test, pooling)
    agreement = None if raters is None else rater_agreement(read_raters(raters), subjects)
    if lock_box:
        from tfgma.lock_box import open_lock_box  # computes, so it needs a backend; figures alone need none

        open_lock_box(run)
        content = read_run(run)
    metrics: dict[str, Any] = {
        "classes": content["classes"],
        "chance": 1 / len(content["classes"]),
        "aggregation": aggregation,
        "specificity": SPECIFICITY,
        "interval": {"method": METHOD, "level": LEVEL, "resamples": RESAMPLES, "seed": SEED},
    }
    for side in ("test", "val"):
        metrics[side] = side_metrics(predictions.where(predictions.sides == side), pooling)
    for level in LEVELS:
        metrics["test"][level] |= _with_intervals(scores_by(level, test, pooling))
    right = int(np.sum(subjects.probabilities.argmax(axis=1) == subjects.labels))
    # Also where all answers are right, of which the bootstrap knows nothing.
    metrics["test"]["subject"]["exact_accuracy_interval"] = exact_interval(right, len(subjects.labels))
    metrics["calibration"] = calibration_metrics(predictions, pooling)
    metrics["conformal"] = conformal_metrics(predictions, pooling)
    metrics["strata"], metrics["raters"] = strata, agreement
    metrics["audit"] = audit_run(run, content, predictions)
    if (run / LOCK_BOX_FILE).exists():
        locked = read_predictions([run / LOCK_BOX_FILE])
        metrics["lock_box"] = content["lock_box"] | {
            level: _with_intervals(scores_by(level, locked, pooling)) for level in LEVELS
        }
    write_json(run / METRICS_FILE, metrics)
    return metrics


def fold_metrics(run: Path, fold: int) -> dict[str, Any]:
    """Test figures of one fold's network by `clip` and `subject`, as `tfgma predict` averages clips."""
    part = one_side(read_run_predictions(run), fold, "test")
    return {
        level: _figures(scores_by(level, part, {fold: AGGREGATIONS["mean"]})) for level in ("clip", "subject")
    }


def _figures(scores: Scores) -> dict[str, Any]:
    return classification_metrics(scores.labels, scores.probabilities, scores.classes)


def _with_intervals(scores: Scores) -> dict[str, Any]:
    intervals = figure_intervals(scores.labels, scores.probabilities, scores.subjects, scores.classes)
    return _figures(scores) | {"intervals": intervals}


def side_metrics(predictions: Predictions, pooling: Mapping[int, Aggregation]) -> dict[str, Any]:
    """Figures by clip, video and subject over all folds together, for each fold, and their spread over folds.

    `networks`: the least and the greatest number of networks that answered for a subject.
    """
    folds: list[dict[str, Any]] = []
    for fold in np.unique(predictions.folds):
        part = predictions.where(predictions.folds == fold)
        figures = {level: _figures(scores_by(level, part, pooling)) for level in LEVELS}
        folds.append({"fold": int(fold), **figures})
    spread = {}
    for level in LEVELS:
        spread[level] = {name: _mean_and_deviation([fold[level][name] for fold in folds]) for name in SUMMARY}
    networks = scores_by("subject", predictions, pooling).networks
    return {
        **{level: _figures(scores_by(level, predictions, pooling)) for level in LEVELS},
        "networks": [int(networks.min()), int(networks.max())],
        "folds": folds,
        "over_folds": spread,
    }


CALIBRATED = ("log_loss", "brier", "ece")


def calibration_metrics(predictions: Predictions, pooling: Mapping[int, Aggregation]) -> dict[str, Any]:
    """Log loss, Brier score and ECE of the test side, before and after a temperature fitted on validation.

    Returns:
        For the levels clip and subject: `temperatures`, one a fold, from that fold's validation answers at
        that level; `before` and `after`.
    """
    found: dict[str, Any] = {}
    for level in ("clip", "subject"):
        before, after, temperatures = [], [], []
        for fold in pooling:
            val, test = (
                scores_by(level, one_side(predictions, fold, side), pooling) for side in ("val", "test")
            )
            fitted = fit_temperature(val.labels, val.probabilities)
            temperatures.append({"fold": fold, "temperature": fitted.value, "fitted": fitted.fitted})
            before.append(test)
            after.append(test.with_probabilities(apply_temperature(test.probabilities, fitted.value)))
        found[level] = {"temperatures": temperatures}
        for when, parts in (("before", before), ("after", after)):
            figures = _figures(averaged(parts))
            found[level][when] = {name: figures[name] for name in (*CALIBRATED, "reliability")}
    return found


def conformal_metrics(predictions: Predictions, pooling: Mapping[int, Aggregation]) -> dict[str, Any]:
    """Sets of classes for the test subjects, made with the validation subjects of the networks that answered.

    The promise needs validation subjects that are like the test's. They chose the epoch, so they are answered
    a little better; `coverage` shows what came of it.

    Returns:
        `wanted`; `coverage` (share of test subjects whose set holds their class) with its exact binomial
        `coverage_interval`; `coverage_by_class` (None for a class without subjects); `assessed` (share with
        exactly one class in the set) and `accuracy_of_assessed` (None where nobody is); `validation_subjects`
        behind a set, least and greatest, and `validation_subjects_needed`, fewer than which make every set
        full; `subjects`: for each `subject`, `label`, `set`, and `answer`, the
        one class or UNCERTAIN.
    """
    ranks: dict[str, np.ndarray] = {}
    validated: dict[str, int] = {}
    for fold in pooling:
        val, test = (
            scores_by("subject", one_side(predictions, fold, side), pooling) for side in ("val", "test")
        )
        fits = conformal_fits(val.labels, val.probabilities)
        counts = conformal_ranks(fits, test.probabilities)
        for name, row in zip(test.names, counts, strict=True):
            ranks[name] = ranks.get(name, 0) + row
            validated[name] = validated.get(name, 0) + len(fits)
    scores = scores_by("subject", predictions.where(predictions.sides == "test"), pooling)
    behind = np.array([validated[name] for name in scores.names])
    sets = conformal_sets(np.stack([ranks[name] for name in scores.names]), behind)
    held = sets[np.arange(len(sets)), scores.labels]
    single = sets.sum(axis=1) == 1
    classes = np.array(scores.classes)
    by_class = {
        name: float(held[scores.labels == number].mean()) if (scores.labels == number).any() else None
        for number, name in enumerate(scores.classes)
    }
    return {
        "wanted": COVERAGE,
        "coverage": float(held.mean()),
        "coverage_interval": exact_interval(int(held.sum()), len(held)),
        "coverage_by_class": by_class,
        "assessed": float(single.mean()),
        "accuracy_of_assessed": float(held[single].mean()) if single.any() else None,
        "validation_subjects": [int(behind.min()), int(behind.max())],
        "validation_subjects_needed": least_validated(),
        "subjects": [
            {
                "subject": name,
                "label": str(classes[label]),
                "set": classes[row].tolist(),
                "answer": str(classes[row][0]) if row.sum() == 1 else UNCERTAIN,
            }
            for name, label, row in zip(scores.names, scores.labels, sets, strict=True)
        ],
    }


def exact_interval(successes: int, trials: int) -> list[float]:
    """Clopper and Pearson's interval of a share, at LEVEL."""
    found = load("scipy.stats", "train").binomtest(successes, trials).proportion_ci(LEVEL, method="exact")
    return [float(found.low), float(found.high)]


def _mean_and_deviation(values: list[float | None]) -> dict[str, float | None] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "sd": deviation, "folds": len(known)}
