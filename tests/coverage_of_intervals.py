"""Simulated studies of 60 subjects whose true accuracy and AUROC are known: how often intervals hold them."""

from __future__ import annotations

import numpy as np
import scipy.special
import scipy.stats

from tfgma.intervals import bca_interval
from tfgma.weighted_metrics import weighted_figures

SUBJECTS = 60


def coverage(*, studies: int, resamples: int, seed: int) -> dict[str, dict[str, float]]:
    """Figure -> method (bca, percentile) -> share of studies whose interval holds the truth.

    In each study the true accuracy is drawn from 0.6 to 0.9 and the true AUROC from 0.65 to 0.95: at one
    accuracy alone, coverage jumps with whether it is a multiple of 1/60.
    """
    rng = np.random.default_rng(seed)
    without = 1 - np.eye(SUBJECTS)
    once = np.ones((1, SUBJECTS))
    held = {figure: {"bca": 0, "percentile": 0} for figure in ("accuracy", "auroc")}
    for _ in range(studies):
        weights = rng.multinomial(SUBJECTS, np.full(SUBJECTS, 1 / SUBJECTS), resamples).astype(float)
        labels = rng.integers(0, 2, SUBJECTS)
        accuracy, auroc = rng.uniform(0.6, 0.9), rng.uniform(0.65, 0.95)
        called = np.where(rng.random(SUBJECTS) < accuracy, labels, 1 - labels)
        # Scores of two normal distributions, as far apart as the AUROC asks for.
        apart = np.sqrt(2) * scipy.stats.norm.ppf(auroc)
        scores = scipy.stats.norm.cdf(rng.normal(size=SUBJECTS) + apart * (labels - 0.5))
        for figure, truth, second in (("accuracy", accuracy, called * 0.8 + 0.1), ("auroc", auroc, scores)):
            answers = np.column_stack([1 - second, second])
            whole, drawn, left_out = (
                weighted_figures(labels, answers, one)[figure].reshape(len(one), -1)[:, -1]
                for one in (once, weights, without)
            )
            ends = bca_interval(float(whole[0]), drawn, left_out)
            held[figure]["bca"] += ends is not None and ends[0] <= truth <= ends[1]
            low, high = np.nanpercentile(drawn, [2.5, 97.5])
            held[figure]["percentile"] += low <= truth <= high
    return {
        figure: {method: count / studies for method, count in counts.items()}
        for figure, counts in held.items()
    }


def coverage_of_others(*, skill: float, studies: int, resamples: int, seed: int) -> dict[str, float]:
    """Figure of all classes -> share of studies of three classes whose BCa interval holds the truth.

    `skill`: how far the true class's logit lies above the others', in standard deviations. The truth is the
    figure of 300,000 subjects.
    """
    rng = np.random.default_rng(seed)

    def study(subjects: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 3, subjects)
        logits = 1.5 * (rng.normal(size=(subjects, 3)) + skill * np.eye(3)[labels])
        return labels, scipy.special.softmax(logits, axis=1)

    many = weighted_figures(*study(300_000), np.ones((1, 300_000)))
    truth = {name: float(value[0]) for name, value in many.items() if value.ndim == 1}
    held = dict.fromkeys(truth, 0)
    for _ in range(studies):
        labels, answers = study(SUBJECTS)
        weights = rng.multinomial(SUBJECTS, np.full(SUBJECTS, 1 / SUBJECTS), resamples).astype(float)
        whole, drawn, left_out = (
            weighted_figures(labels, answers, one)
            for one in (np.ones((1, SUBJECTS)), weights, 1 - np.eye(SUBJECTS))
        )
        for name in held:
            ends = bca_interval(float(whole[name][0]), drawn[name], left_out[name])
            held[name] += ends is not None and ends[0] <= truth[name] <= ends[1]
    return {name: count / studies for name, count in held.items()}


def accuracy_coverage(*, accuracies: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Method -> (A,) exact coverage at each true accuracy, summed over 0 to 60 right answers."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(SUBJECTS, np.full(SUBJECTS, 1 / SUBJECTS), resamples).astype(float)
    covered = {method: np.zeros(len(accuracies)) for method in ("bca", "percentile")}
    for number in range(SUBJECTS + 1):
        right = np.arange(SUBJECTS) < number
        drawn = weights @ right / SUBJECTS
        left_out = (number - right) / (SUBJECTS - 1)
        share = scipy.stats.binom.pmf(number, SUBJECTS, accuracies)
        ends = bca_interval(number / SUBJECTS, drawn, left_out)
        for method, found in (("bca", ends), ("percentile", np.percentile(drawn, [2.5, 97.5]))):
            if found is not None:
                # 36 of 60 is not quite 0.6.
                inside = (found[0] <= accuracies + 1e-9) & (accuracies - 1e-9 <= found[1])
                covered[method] += share * inside
    return covered
