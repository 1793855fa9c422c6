"""Whether one run does better than another on the same test subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.intervals import LEVEL, METHOD, RESAMPLES, SEED, bootstrap_intervals
from tfgma.runs import read_run_predictions
from tfgma.scores import Scores, poolings, scores_by
from tfgma.weighted_metrics import resampled_figures, weighted_figures

FIGURES = (
    "accuracy",
    "balanced_accuracy",
    "mcc",
    "kappa",
    "macro_f1",
    "macro_auroc",
    "macro_average_precision",
    "brier",
)
"""Figures whose difference is given."""


def compare(run_a: Path, run_b: Path, *, aggregation: str = "mean") -> dict[str, Any]:
    """Differences between two runs, a minus b, paired by test subject.

    Returns:
        `subjects`, their number; `differences`: for each of FIGURES `a`, `b`, `difference`, and its
        `interval`, of the differences in each bootstrap resample of subjects; `delong`: for each class
        against the rest (with two classes the second alone, the first being its mirror) what `delong` gives,
        None where the test side has only one side of it; `mcnemar`: see there.

    Raises:
        RefusedError: one is not a run, or their classes, test subjects or labels differ.
    """
    a, b = _test_scores(run_a, aggregation), _test_scores(run_b, aggregation)
    b = _in_order_of(a, b)
    classes = list(enumerate(a.classes))[1 if len(a.classes) == 2 else 0 :]
    return {
        "aggregation": aggregation,
        "classes": list(a.classes),
        "subjects": len(a.labels),
        "interval": {"method": METHOD, "level": LEVEL, "resamples": RESAMPLES, "seed": SEED},
        "differences": differences(a, b),
        "delong": {
            name: delong(a.labels == number, a.probabilities[:, number], b.probabilities[:, number])
            for number, name in classes
        },
        "mcnemar": mcnemar(
            a.probabilities.argmax(axis=1) == a.labels, b.probabilities.argmax(axis=1) == b.labels
        ),
    }


def differences(a: Scores, b: Scores) -> dict[str, dict[str, Any]]:
    """For each of FIGURES `a`, `b`, `difference` (a - b) and its `interval`, subjects drawn together.

    Args:
        a, b: answers to the same rows.
    """
    names, owner = np.unique(np.asarray(a.subjects), return_inverse=True)
    weights = np.ones((1, len(a.labels)))

    def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
        of_rows = weights[:, owner]
        of_a, of_b = (resampled_figures(one.labels, one.probabilities, of_rows) for one in (a, b))
        return {name: of_a[name] - of_b[name] for name in FIGURES}

    of_a, of_b = (weighted_figures(one.labels, one.probabilities, weights) for one in (a, b))
    intervals = bootstrap_intervals(difference, len(names), rows=len(a.labels))
    return {
        name: {
            "a": _plain(of_a[name][0]),
            "b": _plain(of_b[name][0]),
            "difference": _plain(of_a[name][0] - of_b[name][0]),
            "interval": intervals[name][0],
        }
        for name in FIGURES
    }


def delong(is_class: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, float | None] | None:
    """DeLong's test of two AUROC on the same subjects (DeLong, DeLong and Clarke-Pearson, 1988).

    Args:
        is_class: (N,) bool. a, b: (N,) float, the two runs' scores.

    Returns:
        `a`, `b`, `difference`, its `standard_error`, `interval` (normal, of LEVEL), `z` and two-sided `p`;
        the last three None where the standard error is zero or one side has a single subject; None where a
        side is empty.
    """
    positive, negative = np.flatnonzero(is_class), np.flatnonzero(~is_class)
    if not len(positive) or not len(negative):
        return None
    ranks = load("scipy.stats", "train").rankdata
    of_positive, of_negative = [], []
    for scores in (a, b):
        among_all = ranks(scores)
        # Share of the other side that a subject stands above, ties by half.
        of_positive.append((among_all[positive] - ranks(scores[positive])) / len(negative))
        of_negative.append(1 - (among_all[negative] - ranks(scores[negative])) / len(positive))
    areas = [float(np.mean(one)) for one in of_positive]
    difference = areas[0] - areas[1]
    found: dict[str, Any] = {"a": areas[0], "b": areas[1], "difference": difference}
    found |= dict.fromkeys(("standard_error", "interval", "z", "p"))
    if min(len(positive), len(negative)) < 2:
        return found
    variance = sum(np.var(one - other, ddof=1) / len(one) for one, other in (of_positive, of_negative))
    error = float(np.sqrt(variance))
    found["standard_error"] = error
    if error > 1e-12:
        normal = load("scipy.stats", "train").norm
        reach = float(normal.ppf((1 + LEVEL) / 2)) * error
        found["interval"] = [difference - reach, difference + reach]
        found["z"] = difference / error
        found["p"] = float(2 * normal.sf(abs(difference) / error))
    return found


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> dict[str, Any]:
    """McNemar's exact test of two runs' answers to the same subjects.

    Args:
        right_a, right_b: (N,) bool, whether each answer is right.

    Returns:
        `both_right`, `only_a`, `only_b`, `both_wrong`, and two-sided `p`: of a fair coin for `only_a` of
        `only_a + only_b`; 1 where that is zero.
    """
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(~right_a & right_b))
    p = load("scipy.stats", "train").binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return {
        "both_right": int(np.sum(right_a & right_b)),
        "only_a": only_a,
        "only_b": only_b,
        "both_wrong": int(np.sum(~right_a & ~right_b)),
        "p": float(p),
    }


def _test_scores(run: Path, aggregation: str) -> Scores:
    predictions = read_run_predictions(run)
    pooling = poolings(predictions, aggregation)
    return scores_by("subject", predictions.where(predictions.sides == "test"), pooling)


def _in_order_of(a: Scores, b: Scores) -> Scores:
    """`b` with the columns of `a`; refused where they do not pair."""
    if set(a.classes) != set(b.classes):
        raise RefusedError(
            f"two runs must have the same classes. Received: {', '.join(a.classes)} and "
            f"{', '.join(b.classes)}. Compare runs of one study"
        )
    if a.names != b.names:
        only = sorted(set(a.names) ^ set(b.names))
        raise RefusedError(
            f"two runs must have tested the same subjects. Received: {len(a.names)} and {len(b.names)}, of "
            f"which {len(only)} in one only, such as {only[0]!r}. Train both on the same folds"
        )
    columns = [b.classes.index(name) for name in a.classes]
    labels = np.array([a.classes.index(b.classes[label]) for label in b.labels])
    if (labels != a.labels).any():
        row = int(np.argmax(labels != a.labels))
        raise RefusedError(
            f"two runs must have the same labels. Received: {a.names[row]!r} as "
            f"{a.classes[a.labels[row]]!r} and as {a.classes[labels[row]]!r}. Train both on the same labels"
        )
    return Scores(a.classes, b.names, b.subjects, labels, b.probabilities[:, columns], b.networks)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
