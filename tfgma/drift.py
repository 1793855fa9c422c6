"""Whether two groups of subjects differ, figure by figure, and how large a difference would be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError

ALPHA = 0.05
"""Of all figures together (Holm 1979)."""
LEAST_SUBJECTS = 5


@dataclass(frozen=True)
class Drift:
    """One figure of two groups of subjects.

    `before`, `now`: 25th, 50th and 75th percentile. `higher`: the probability that a subject of now has a
    higher figure than one of before, ties half (Mann and Whitney); 0.5 where they are alike. `distance`:
    largest distance of the two distribution functions (Kolmogorov and Smirnov), `p` its chance if they were
    alike, `adjusted` that for all figures together.
    """

    figure: str
    before: tuple[float, float, float]
    now: tuple[float, float, float]
    higher: float
    distance: float
    p: float
    adjusted: float

    @property
    def changed(self) -> bool:
        """Whether chance is no good explanation."""
        return self.adjusted < ALPHA


def drifts(before: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray]) -> list[Drift]:
    """A row for each figure that both have, in the order of `before`.

    Args:
        before, now: figure -> (subjects,) float, one value for each independent subject, NaN where unknown.

    Raises:
        RefusedError: fewer than LEAST_SUBJECTS on either side, in every figure.
    """
    stats = load("scipy.stats", "train")
    known = {}
    for name in before:
        if name in now:
            sides = [np.asarray(side[name], np.float64) for side in (before, now)]
            sides = [side[np.isfinite(side)] for side in sides]
            if min(map(len, sides)) >= LEAST_SUBJECTS:
                known[name] = sides
    if not known:
        raise RefusedError(
            f"drift needs at least {LEAST_SUBJECTS} subjects before and now. Received: "
            f"{max(map(len, before.values()), default=0)} and {max(map(len, now.values()), default=0)}"
        )
    tests = {name: stats.ks_2samp(*sides) for name, sides in known.items()}
    adjusted = holm([test.pvalue for test in tests.values()])
    rows = []
    for (name, (old, new)), level in zip(known.items(), adjusted, strict=True):
        above = stats.mannwhitneyu(new, old).statistic / (len(new) * len(old))
        ends = [tuple(np.percentile(side, [25, 50, 75]).tolist()) for side in (old, new)]
        rows.append(
            Drift(
                name,
                ends[0],
                ends[1],
                float(above),
                float(tests[name].statistic),
                float(tests[name].pvalue),
                level,
            )
        )
    return rows


def least_distance(before: int, now: int, figures: int) -> float:
    """The distance from which on one of so many figures, of so many subjects, counts as changed; at most 1.

    >>> round(least_distance(1000, 20, 10), 2), least_distance(5, 5, 20)
    (0.4, 1.0)
    """
    ks = load("scipy.stats", "train").ks_2samp

    def seen(moved: int) -> tuple[bool, float]:
        """Of `now` subjects so many lie beyond all that were before, the others among them."""
        new = np.linspace(0, 1, now)
        new[now - moved :] = 2
        test = ks(np.linspace(0, 1, before), new)
        return test.pvalue < ALPHA / figures, float(test.statistic)

    low, high = 0, now
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle)[0] else (middle, high)
    return seen(high)[1]


def holm(levels: Sequence[float]) -> list[float]:
    """Adjusted levels of several tests, at most 1; under ALPHA in any of them: in 5 % of cases at most."""
    order = np.argsort(levels)
    steps = np.maximum.accumulate(np.array(levels)[order] * np.arange(len(levels), 0, -1))
    adjusted = np.empty(len(levels))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted.tolist()
