"""How far probabilities can be believed: a temperature, and sets that hold the truth as often as promised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.optional import load
from tfgma.aggregation import LEAST_PROBABILITY
from tfgma.metrics import log_loss

TEMPERATURES = (0.05, 20.0)
"""Where it is looked for."""

COVERAGE = 0.9
"""Share of subjects whose set shall hold their class."""

UNCERTAIN = "not assessable / uncertain"
"""The answer where a conformal set does not hold exactly one class."""


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by; one, and not `fitted`, where validation cannot tell."""

    value: float
    fitted: bool


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> Temperature:
    """The temperature of least log loss (Guo et al., ICML 2017).

    Answers that are all right would ask for a temperature of zero, which makes every later error a sure one:
    then none is fitted.

    Args:
        labels: (N,) int. probabilities: (N, C) float, of validation rows only.
    """
    if (probabilities.argmax(axis=1) == labels).all():
        return Temperature(1.0, fitted=False)
    found = load("scipy.optimize", "train").minimize_scalar(
        lambda log_value: log_loss(labels, apply_temperature(probabilities, float(np.exp(log_value)))),
        bounds=np.log(TEMPERATURES),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return Temperature(float(np.exp(found.x)), fitted=True)


def temperature_interval(labels: np.ndarray, probabilities: np.ndarray, fitted: float) -> list[float]:
    """Where the temperature may lie, 95 %: what is not much less likely than the `fitted` one (Wilks 1938).

    An end that lies beyond TEMPERATURES is the end of those. Percentiles of a bootstrap are too narrow for so
    few subjects.

    Args:
        labels: (N,) int, of independent subjects. probabilities: (N, C) float. fitted: of `fit_temperature`.
    """
    most = float(load("scipy.stats", "train").chi2.ppf(0.95, 1)) / 2

    def lost(log_value: float) -> float:
        found = log_loss(labels, apply_temperature(probabilities, float(np.exp(log_value))))
        return len(labels) * (found - best) - most

    best = log_loss(labels, apply_temperature(probabilities, fitted))
    solve = load("scipy.optimize", "train").brentq
    ends = np.log(TEMPERATURES)
    return [float(np.exp(solve(lost, end, np.log(fitted)) if lost(end) > 0 else end)) for end in ends]


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(N, C) probabilities whose logits, ln p (p >= LEAST_PROBABILITY), are divided by `temperature`."""
    logits = np.log(np.clip(probabilities, LEAST_PROBABILITY, 1)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def conformal_fits(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How well each validation subject fits its own class: that class's probability, (V,), sorted.

    Args:
        labels: (V,) int. probabilities: (V, C) float, of validation subjects.
    """
    return np.sort(probabilities[np.arange(len(labels)), labels])


def conformal_ranks(fits: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """How many validation subjects fit their class no better than each candidate would fit each class.

    Args:
        fits: (V,) float, of `conformal_fits`. candidates: (N, C) float, probabilities.

    Returns:
        (N, C) int counts.
    """
    return np.searchsorted(fits, candidates, side="right")


def least_validated(coverage: float = COVERAGE) -> int:
    """How many validation subjects a set needs, with fewer than which it is full."""
    return round(1 / (1 - coverage)) - 1


def conformal_sets(ranks: np.ndarray, validated: np.ndarray, coverage: float = COVERAGE) -> np.ndarray:
    """Sets that hold the true class for at least `coverage` of exchangeable subjects.

    A class is in the set where (ranks + 1) / (validated + 1) is above 1 - coverage: split conformal
    prediction (Vovk et al. 2005); with ranks and numbers added over several networks, the cross-conformal one
    (Vovk 2015).

    Args:
        ranks: (N, C) int, of `conformal_ranks`. validated: (N,) int, validation subjects behind each row.
        coverage: 0..1.

    Returns:
        (N, C) bool. With fewer validation subjects than `least_validated` every set is full.
    """
    # One part in a thousand million: (ranks + 1) that should equal the limit is not in.
    return ranks + 1 > (1 - coverage) * (validated[:, None] + 1) + 1e-9
