"""Which clips of a subject count more: a small attention that is fitted on validation subjects.

Clip i with probabilities p_i weighs exp(w . f(p_i)), its features f being the C probabilities and their
entropy as a share of ln C; a group's answer is the weighted mean of its clips' probabilities. The order of
the clips does not matter, and w = 0 is the plain mean, towards which a ridge pulls: w minimises the
validation subjects' mean -ln p of their class plus RIDGE / 2 * |w|^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.optional import load
from tfgma.aggregation import LEAST_PROBABILITY, Aggregation, average_by, label_by

RIDGE = 0.1
"""A weight of one costs what 0.05 nats a subject cost; a validation side has few subjects."""


def fit_attention(groups: Sequence[str], labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The weights w, (C + 1,) float64.

    Args:
        groups: (N,) subject of each validation clip. labels: (N,) int. probabilities: (N, C) float.

    Raises:
        RefusedError: as `average_by` and `label_by`.
    """
    names, truth = label_by(groups, labels)
    scores = np.asarray(probabilities, np.float64)
    features = _features(scores)
    index = np.searchsorted(names, np.asarray(groups))

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        shares = _shares(features @ weights, index, len(names))
        pooled = _sums(shares[:, None] * scores, index, len(names))
        true = pooled[np.arange(len(names)), truth]
        # d pooled / d w = the sum over clips of share * (p of the true class - pooled) * features.
        pull = shares * (scores[np.arange(len(scores)), truth[index]] - true[index])
        known = true > LEAST_PROBABILITY
        gradient = -np.where(known, 1 / np.maximum(true, LEAST_PROBABILITY), 0)[index] * pull @ features
        loss = -np.mean(np.log(np.maximum(true, LEAST_PROBABILITY)))
        return loss + RIDGE / 2 * weights @ weights, gradient / len(names) + RIDGE * weights

    start = np.zeros(features.shape[1])
    return load("scipy.optimize", "train").minimize(cost, start, jac=True, method="L-BFGS-B").x


def attend_by(weights: np.ndarray) -> Aggregation:
    """The aggregation with the weights of `fit_attention`."""

    def attend(groups: Sequence[str], probabilities: np.ndarray) -> tuple[list[str], np.ndarray]:
        names, _ = average_by(groups, probabilities)  # checks both
        scores = np.asarray(probabilities, np.float64)
        index = np.searchsorted(names, np.asarray(groups))
        shares = _shares(_features(scores) @ weights, index, len(names))
        return names, _sums(shares[:, None] * scores, index, len(names))

    return attend


def _features(scores: np.ndarray) -> np.ndarray:
    """(N, C) probabilities -> (N, C + 1), all between 0 and 1."""
    entropy = -np.sum(scores * np.log(np.clip(scores, LEAST_PROBABILITY, 1)), axis=1)
    return np.column_stack([scores, entropy / np.log(scores.shape[1])])


def _shares(heights: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """(N,) heights -> (N,) softmax within each of `count` groups."""
    top = np.full(count, -np.inf)
    np.maximum.at(top, index, heights)
    powers = np.exp(heights - top[index])
    return powers / np.bincount(index, powers, count)[index]


def _sums(values: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """(N, C) -> (count, C) sums over groups."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    return sums
