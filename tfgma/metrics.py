"""How well predicted classes and probabilities match the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.aggregation import check_probabilities


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
        `macro_auroc`, the mean over the classes that have one (None where none has); `confusion_matrix`
        (C, C) counts, a row a true class, a column a predicted one.

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
    auroc = [
        # With one side only there is no pair to rank.
        float(sk.roc_auc_score(truth == c, scores[:, c])) if 0 < np.sum(truth == c) < len(truth) else None
        for c in indices
    ]
    defined = [value for value in auroc if value is not None]
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
        "auroc": dict(zip(names, auroc, strict=True)),
        "macro_auroc": float(np.mean(defined)) if defined else None,
        "confusion_matrix": sk.confusion_matrix(truth, predicted, labels=indices).tolist(),
    }


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
