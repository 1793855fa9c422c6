"""How far figures would move with other subjects of the same kind: bootstrap intervals.

Subjects are drawn again with replacement, all clips of a subject with it, since clips of one child are not
independent. The intervals are bias-corrected and accelerated (BCa; Efron 1987): at 60 subjects they hold the
truth as often as they say, plain percentiles less often, above all where figures are near one
(docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipelines.optional import load
from tfgma.weighted_metrics import resampled_figures

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0
METHOD = "subject bootstrap, BCa"

BIASED = ("ece",)
"""Figures without an interval: chance alone makes a calibration error, so resamples of few subjects lie above
what many would show."""

CELLS_AT_ONCE = 1_000_000
"""Weights held at one time: memory must not grow with resamples times clips."""

Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]
"""(B, S) how often each subject counts -> figures, (B,) or (B, C) each, NaN where undefined."""


def figure_intervals(
    labels: np.ndarray, probabilities: np.ndarray, subjects: Sequence[str], classes: Sequence[str]
) -> dict[str, Any]:
    """Intervals of the figures of `classification_metrics`, under the same names and as JSON takes them.

    Args:
        labels: (N,) int. probabilities: (N, C) float. subjects: (N,) whose row each is. classes: (C,) names.

    Returns:
        `[low, high]` for each figure of all classes, `{class: [low, high]}` for those by class; None for
        BIASED ones and where `bootstrap_intervals` gives none.
    """
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    scores = np.asarray(probabilities, np.float64)

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return resampled_figures(np.asarray(labels), scores, weights[:, owner])

    found = bootstrap_intervals(statistic, len(names), rows=len(owner))
    found |= {figure: [None] for figure in BIASED}
    return {
        figure: values[0] if len(values) == 1 else dict(zip(classes, values, strict=True))
        for figure, values in found.items()
    }


def bootstrap_intervals(
    statistic: Statistic, num_subjects: int, *, rows: int, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, list[list[float] | None]]:
    """LEVEL intervals of each figure of `statistic`, one a column.

    Resamples in which a figure is undefined, for example because a class was not drawn, are left out. There
    is no interval where the figure itself or half of the resamples are undefined, nor where it would be a
    single value: of answers that are all right every resample is all right, which says nothing.

    Args:
        statistic: figures of weightings.
        num_subjects: S.
        rows: how many rows the statistic weighs, to keep memory bounded.
        resamples: B.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    step = max(1, CELLS_AT_ONCE // rows)
    whole = statistic(np.ones((1, num_subjects)))
    drawn = [
        statistic(rng.multinomial(num_subjects, np.full(num_subjects, 1 / num_subjects), count).astype(float))
        for count in _parts(resamples, step)
    ]
    without = []
    for first in range(0, num_subjects if num_subjects > 1 else 0, step):
        left_out = np.arange(first, min(first + step, num_subjects))
        weights = np.ones((len(left_out), num_subjects))
        weights[np.arange(len(left_out)), left_out] = 0
        without.append(statistic(weights))
    if not without:
        return {figure: [None] * value[0].size for figure, value in whole.items()}
    found: dict[str, list[list[float] | None]] = {}
    for figure, value in whole.items():
        columns = value.reshape(1, -1).T
        values = np.concatenate([part[figure] for part in drawn]).reshape(resamples, -1).T
        others = np.concatenate([part[figure] for part in without]).reshape(num_subjects, -1).T
        found[figure] = [
            bca_interval(float(one[0]), many, rest)
            for one, many, rest in zip(columns, values, others, strict=True)
        ]
    return found


def bca_interval(value: float, resampled: np.ndarray, left_out: np.ndarray) -> list[float] | None:
    """The bias-corrected and accelerated interval of LEVEL, or None; NaN are left out.

    Args:
        value: the figure of all subjects.
        resampled: (B,) the figure of each resample.
        left_out: (S,) the figure without each subject.
    """
    normal = load("scipy.stats", "train").norm
    known, rest = resampled[~np.isnan(resampled)], left_out[~np.isnan(left_out)]
    if np.isnan(value) or 2 * len(known) < len(resampled) or not len(rest):
        return None
    # Of an accuracy many resamples equal the value itself: half of these count as below it.
    below = np.mean(known < value - 1e-12) + np.mean(np.abs(known - value) <= 1e-12) / 2
    bias = normal.ppf(np.clip(below, 0.5 / len(known), 1 - 0.5 / len(known)))
    pulls = np.mean(rest) - rest
    power = np.sum(pulls**2) ** 1.5
    acceleration = np.sum(pulls**3) / (6 * power) if power > 0 else 0.0
    ends = bias + normal.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    shares = normal.cdf(bias + ends / (1 - acceleration * ends))
    low, high = np.quantile(known, shares)
    return [float(low), float(high)] if high - low > 1e-12 else None


def _parts(count: int, size: int) -> list[int]:
    """`count` as parts of at most `size`."""
    return [min(size, count - first) for first in range(0, count, size)]
