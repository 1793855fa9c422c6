"""The figures of `tfgma.metrics` under many weightings of the same rows at once, for resampling."""

from __future__ import annotations

import numpy as np

from tfgma.aggregation import LEAST_PROBABILITY
from tfgma.metrics import RELIABILITY_BINS, SPECIFICITY, reliability_bins


def weighted_figures(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """What `classification_metrics` would give if row n stood there `weights[b, n]` times.

    Args:
        labels: (N,) int, index of each row's class.
        probabilities: (N, C) float64.
        weights: (B, N) float64, whole numbers of at least 0.

    Returns:
        Under the names of `classification_metrics` a (B,) float64 array for each figure of all classes, (B,
        C) for those by class; NaN where that function gives None.
    """
    found = _counted(labels, probabilities, weights)
    found |= _ranked(labels, probabilities, weights)
    total = weights.sum(axis=1)
    num_classes = probabilities.shape[1]
    true = np.clip(probabilities[np.arange(len(labels)), labels], LEAST_PROBABILITY, 1)
    squares = np.sum((probabilities - np.eye(num_classes)[labels]) ** 2, axis=1)
    places, highest, right = reliability_bins(labels, probabilities)
    gaps = np.zeros((len(labels), RELIABILITY_BINS))
    gaps[np.arange(len(labels)), places] = right - highest
    return found | {
        "log_loss": weights @ -np.log(true) / total,
        "brier": weights @ squares / total,
        "ece": np.abs(weights @ gaps).sum(axis=1) / total,
    }


def resampled_figures(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """`weighted_figures`, but NaN for what a weighting cannot tell, as it lacks a class that the rows have.

    That is each figure of that class, and each mean over classes: a recall of zero because nobody of a class
    was drawn is no recall.
    """
    found = weighted_figures(labels, probabilities, weights)
    of_class = np.eye(probabilities.shape[1])[labels]
    missing = (weights @ of_class == 0) & of_class.any(axis=0)
    for figure, values in found.items():
        if values.ndim == 2:
            values[missing] = np.nan
        elif figure.startswith("macro_") or figure == "balanced_accuracy":
            values[missing.any(axis=1)] = np.nan
    return found


def _counted(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of the confusion matrix."""
    count = probabilities.shape[1]
    cells = np.eye(count * count)[labels * count + probabilities.argmax(axis=1)]
    confusion = (weights @ cells).reshape(-1, count, count)
    total = confusion.sum(axis=(1, 2))
    labelled, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    recall = _share(right, labelled, 0.0)
    precision = _share(right, predicted, 0.0)
    f1 = _share(2 * right, labelled + predicted, 0.0)
    agreement = right.sum(axis=1) * total - np.sum(labelled * predicted, axis=1)
    spread = (total**2 - np.sum(labelled**2, axis=1)) * (total**2 - np.sum(predicted**2, axis=1))
    present = labelled > 0
    return {
        "accuracy": right.sum(axis=1) / total,
        "balanced_accuracy": (recall * present).sum(axis=1) / present.sum(axis=1),
        "mcc": _share(agreement, np.sqrt(spread), 0.0),
        "kappa": kappa_of(confusion),
        "macro_precision": precision.mean(axis=1),
        "macro_recall": recall.mean(axis=1),
        "macro_f1": f1.mean(axis=1),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def kappa_of(confusion: np.ndarray) -> np.ndarray:
    """(B, C, C) counts -> (B,) Cohen's kappa, unweighted; NaN where both sides are one and the same class."""
    total = confusion.sum(axis=(1, 2))
    by_chance = np.sum(confusion.sum(axis=1) * confusion.sum(axis=2), axis=1)
    agreed = np.trace(confusion, axis1=1, axis2=2) * total
    return _share(agreed - by_chance, total**2 - by_chance, np.nan)


def _ranked(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each class's ranking against the rest."""
    auroc, precision, sensitivity = (
        np.full((len(weights), probabilities.shape[1]), np.nan) for _ in range(3)
    )
    for number, scores in enumerate(probabilities.T):
        order = np.argsort(-scores, kind="stable")
        # Rows of equal score come under one threshold.
        starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
        is_class = labels[order] == number
        ordered = weights[:, order]
        of_class = np.add.reduceat(np.where(is_class, ordered, 0), starts, axis=1)
        of_rest = np.add.reduceat(np.where(is_class, 0, ordered), starts, axis=1)
        hits, alarms = np.cumsum(of_class, axis=1), np.cumsum(of_rest, axis=1)
        positive, negative = hits[:, -1], alarms[:, -1]
        below = negative[:, None] - alarms
        auroc[:, number] = _share(
            np.sum(of_class * (below + of_rest / 2), axis=1), positive * negative, np.nan
        )
        precision[:, number] = _share(
            np.sum(of_class * _share(hits, hits + alarms, 0.0), axis=1), positive, np.nan
        )
        allowed = below >= (SPECIFICITY - 1e-12) * negative[:, None]
        sensitivity[:, number] = _share(np.max(np.where(allowed, hits, 0), axis=1), positive, np.nan)
        sensitivity[negative == 0, number] = np.nan
    return {
        "auroc": auroc,
        "average_precision": precision,
        "sensitivity_at_specificity": sensitivity,
        "macro_auroc": _mean_of_known(auroc),
        "macro_average_precision": _mean_of_known(precision),
    }


def _share(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    """`part / whole`, `otherwise` where `whole` is zero."""
    return np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole != 0)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """(B, C) -> (B,) means over the classes whose value is not NaN."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0).sum(axis=1), known.sum(axis=1).astype(float), np.nan)
