from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from tfgma.calibration import (
    COVERAGE,
    apply_temperature,
    conformal_fits,
    conformal_ranks,
    conformal_sets,
    fit_temperature,
    least_validated,
)


def draw(rng: np.random.Generator, rows: int, overconfidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from distributions, and these made surer by a known temperature."""
    logits = rng.normal(size=(rows, 3))
    true = scipy.special.softmax(logits, axis=1)
    labels = (rng.random(rows)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    return labels, scipy.special.softmax(logits * overconfidence, axis=1)


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_overconfidence(overconfidence: float) -> None:
    labels, probabilities = draw(np.random.default_rng(0), 20_000, overconfidence)
    found = fit_temperature(labels, probabilities)
    assert found.fitted
    assert found.value == pytest.approx(overconfidence, rel=0.05)
    # A finer search around it finds nothing better.
    losses = [
        -np.log(apply_temperature(probabilities, t)[np.arange(len(labels)), labels]).mean()
        for t in (0.99 * found.value, found.value, 1.01 * found.value)
    ]
    assert losses[1] < min(losses[0], losses[2])


def test_temperature_one_changes_nothing_and_the_class_never_changes() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    np.testing.assert_allclose(apply_temperature(probabilities, 1.0), probabilities, rtol=1e-12)
    for temperature in (0.1, 5.0):
        changed = apply_temperature(probabilities, temperature)
        assert (changed.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    # With two classes it divides the log-odds.
    np.testing.assert_allclose(
        apply_temperature(np.array([[0.2, 0.8]]), 2.0)[0, 1],
        scipy.special.expit(scipy.special.logit(0.8) / 2),
    )


def test_answers_that_are_all_right_have_no_temperature() -> None:
    found = fit_temperature(np.array([0, 1]), np.array([[0.6, 0.4], [0.3, 0.7]]))
    assert (found.value, found.fitted) == (1.0, False)


@pytest.mark.parametrize("validated", [5, 9, 19, 20, 50])
def test_sets_are_those_of_the_quantile(validated: int) -> None:
    """Split conformal prediction as usually written: 1 - p up to its ceil((n + 1) 0.9)-th smallest."""
    rng = np.random.default_rng(validated)
    labels, probabilities = draw(rng, validated, 1.0)
    candidates = np.concatenate([probabilities, draw(rng, 30, 1.0)[1]])  # the former tie
    ranks = conformal_ranks(conformal_fits(labels, probabilities), candidates)
    found = conformal_sets(ranks, np.full(len(candidates), validated))
    assert found.all() == (validated < least_validated())
    misfits = np.sort(1 - probabilities[np.arange(validated), labels])
    place = int(np.ceil((validated + 1) * COVERAGE - 1e-9))
    limit = misfits[place - 1] if place <= validated else np.inf
    np.testing.assert_array_equal(found, 1 - candidates <= limit)


def test_sets_hold_the_truth_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        labels, probabilities = draw(rng, 21, 4.0)  # overconfident, which must not matter
        ranks = conformal_ranks(conformal_fits(labels[:20], probabilities[:20]), probabilities[20:])
        held.append(conformal_sets(ranks, np.array([20]))[0, labels[20]])
    # ceil(21 * 0.9) / 21 = 0.905; two standard errors of 2000 are 0.013.
    assert np.mean(held) == pytest.approx(19 / 21, abs=0.014)
