"""How well predicted classes and probabilities match the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.aggregation import LEAST_PROBABILITY, check_probabilities

SPECIFICITY = 0.9
"""Of `sensitivity_at_specificity`."""

RELIABILITY_BINS = 10
"""Equal parts of the highest probability's range, 0 to 1, of `reliability` and `ece`."""


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Every figure that a result page gives, ready for `json.dumps`: plain Python numbers, never NaN.

    The predicted class is the one of highest probability, of equal ones the first. A precision, recall or F1
    whose denominator is zero is 0, and the macro means run over all `classes`, so a class that the labels
    lack lowers them; `balanced_accuracy` is the mean recall over the classes that the labels have.

    Args:
        labels: (N,) int, index into `classes`, N >= 1.
        probabilities: (N, C) float, each row summing to one.
        classes: (C,) names, C >= 2, all different.

    Returns:
        `n`; `accuracy`, `balanced_accuracy`; `mcc` (Matthews; 0 where labels or predictions have one class
        only); `kappa` (Cohen, unweighted; None where labels and predictions are one and the same class);
        `macro_precision`, `macro_recall`, `macro_f1`; `precision`, `recall`, `f1` by class name; `auroc` by
        class name, that class against the rest (None where the labels have only one side), and
        `macro_auroc`, the mean over the classes that have one (None where none has);
        `average_precision` by class name (the step-wise sum of precision over recall, no interpolation; None
        where the labels lack the class), and `macro_average_precision` likewise;
        `sensitivity_at_specificity` by class name: of the thresholds at which at least SPECIFICITY of the
        others are below, the largest share of the class that is above (None where `auroc` is);
        `log_loss`, the mean of -ln p of the true class; `brier`, the mean over rows of the squared
        differences summed over classes, from 0 to 2 (with two classes twice the binary figure); `ece`, the
        expected calibration error of the predicted class, and `reliability`, the table behind it (see
        `reliability_table`); `confusion_matrix` (C, C) counts, a row a true class, a column a predicted one.

    Raises:
        RefusedError: shapes that do not match, labels that are not integers in [0, C), classes that are not
            at least two different names, probabilities that are not distributions.

    >>> found = classification_metrics(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]), ["WMs", "FMs"])
    >>> found["accuracy"], found["auroc"]["FMs"], found["confusion_matrix"]
    (0.5, 1.0, [[1, 0], [1, 0]])
    """
    names = _check_classes(classes)
    scores = check_probabilities(probabilities)
    if scores.shape[1] != len(names):
        raise RefusedError(
            f"probabilities must have one column a class. Received: {scores.shape[1]} columns for {names}. "
            "Give the classes that the model was trained on"
        )
    truth = _check_labels(labels, len(scores), len(names))
    return _measure(truth, scores, names)


def _measure(truth: np.ndarray, scores: np.ndarray, names: list[str]) -> dict[str, Any]:
    """The figures of `classification_metrics`, of checked input."""
    sk = load("sklearn.metrics", "train")
    indices = list(range(len(names)))
    predicted = scores.argmax(axis=1)
    present = np.unique(truth)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth, predicted, labels=indices, zero_division=0
    )
    each = [_ranking(truth == c, scores[:, c]) for c in indices]
    reliability = reliability_table(truth, scores)
    # One class on both sides: kappa is 0 / 0; Matthews is 0 by convention, and scikit-learn would warn.
    same = len(present) == 1 and bool((predicted == present[0]).all())
    return {
        "n": len(truth),
        "accuracy": float(np.mean(predicted == truth)),
        "balanced_accuracy": float(np.mean(recall[present])),
        "mcc": 0.0 if same else float(sk.matthews_corrcoef(truth, predicted)),
        "kappa": None if same else float(sk.cohen_kappa_score(truth, predicted, labels=indices)),
        "macro_precision": float(np.mean(precision)),
        "macro_recall": float(np.mean(recall)),
        "macro_f1": float(np.mean(f1)),
        "precision": _by_name(names, precision),
        "recall": _by_name(names, recall),
        "f1": _by_name(names, f1),
        **{figure: {name: one[figure] for name, one in zip(names, each, strict=True)} for figure in RANKING},
        "macro_auroc": _mean_of_known([one["auroc"] for one in each]),
        "macro_average_precision": _mean_of_known([one["average_precision"] for one in each]),
        "log_loss": log_loss(truth, scores),
        "brier": float(np.mean(np.sum((scores - np.eye(len(names))[truth]) ** 2, axis=1))),
        "ece": sum(
            row["n"] / len(truth) * abs(row["accuracy"] - row["probability"])
            for row in reliability
            if row["n"]
        ),
        "reliability": reliability,
        "confusion_matrix": sk.confusion_matrix(truth, predicted, labels=indices).tolist(),
    }


RANKING = ("auroc", "average_precision", "sensitivity_at_specificity")
"""Figures of one class against the rest, by its probability."""


def _ranking(is_class: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """The figures in RANKING; `is_class` (N,) bool, `scores` (N,) float."""
    sk = load("sklearn.metrics", "train")
    count = int(is_class.sum())
    if count == 0:
        return dict.fromkeys(RANKING)
    precision = float(sk.average_precision_score(is_class, scores))
    if count == len(is_class):  # no pair to rank
        return {"auroc": None, "average_precision": precision, "sensitivity_at_specificity": None}
    false_share, true_share, _ = sk.roc_curve(is_class, scores, drop_intermediate=False)
    # A share of a few is rounded; 9 of 10 is 0.9.
    allowed = 1 - false_share >= SPECIFICITY - 1e-12
    return {
        "auroc": float(sk.roc_auc_score(is_class, scores)),
        "average_precision": precision,
        "sensitivity_at_specificity": float(true_share[allowed].max()),
    }


def reliability_table(labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """How often predictions are right, by how probable they were said to be.

    Args:
        labels: (N,) int. probabilities: (N, C) float.

    Returns:
        One row for each of RELIABILITY_BINS equal bins of the highest probability, `low` < p <= `high`, zero
        in the first: `n`, `probability` (mean of the highest probability) and `accuracy`, both None where n
        is 0.
    """
    places, highest, right = reliability_bins(labels, probabilities)
    table = []
    for number in range(RELIABILITY_BINS):
        inside = places == number
        table.append(
            {
                "low": number / RELIABILITY_BINS,
                "high": (number + 1) / RELIABILITY_BINS,
                "n": int(inside.sum()),
                "probability": float(highest[inside].mean()) if inside.any() else None,
                "accuracy": float(right[inside].mean()) if inside.any() else None,
            }
        )
    return table


def reliability_bins(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) number of each row's bin, (N,) its highest probability, (N,) bool whether its class is right."""
    highest = probabilities.max(axis=1)
    edges = np.arange(1, RELIABILITY_BINS) / RELIABILITY_BINS
    return np.searchsorted(edges, highest, side="left"), highest, probabilities.argmax(axis=1) == labels


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -ln p of the true class, p >= LEAST_PROBABILITY; labels (N,), probabilities (N, C)."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.clip(true, LEAST_PROBABILITY, 1))))


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _by_name(names: list[str], values: np.ndarray) -> dict[str, float]:
    """`values` (C,) under the classes' names, as plain floats."""
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _check_classes(classes: Sequence[str]) -> list[str]:
    """`classes` as a list of at least two different names."""
    names = [str(name) for name in classes]
    if len(names) < 2 or len(set(names)) < len(names):
        raise RefusedError(
            f"classes must be at least two different names. Received: {names}. Name each class once"
        )
    return names


def _check_labels(labels: np.ndarray, length: int, num_classes: int) -> np.ndarray:
    """`labels` as (length,) int64 in [0, num_classes)."""
    values = np.asarray(labels)
    if values.shape != (length,) or values.dtype.kind not in "iu":
        raise RefusedError(
            f"labels must be integers of shape ({length},), one for each row of probabilities. "
            f"Received: shape {values.shape}, dtype {values.dtype}. Give the index of each row's class"
        )
    wrong = (values < 0) | (values >= num_classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise RefusedError(
            f"labels must be from 0 to {num_classes - 1}. Received: {int(values[row])} in row {row}. "
            "Give the index of each row's class"
        )
    return values.astype(np.int64)
