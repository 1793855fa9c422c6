from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from tests.coverage_of_intervals import coverage
from tfgma import intervals
from tfgma.intervals import bca_interval, bootstrap_intervals, figure_intervals

pytestmark = pytest.mark.filterwarnings("error")


def mean_of(values):
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


@pytest.mark.parametrize("draw", [np.random.Generator.exponential, np.random.Generator.normal])
def test_equals_scipy_up_to_the_draws(draw):
    values = draw(np.random.default_rng(0), size=40)
    (found,) = bootstrap_intervals(mean_of(values), 40, rows=40, resamples=40_000)["mean"]
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=40_000, method="BCa", rng=1)
    np.testing.assert_allclose(found, theirs.confidence_interval, atol=0.02 * np.ptp(found))


def test_equals_scipy_for_the_same_draws():
    """Of continuous values, where no resample equals the value itself."""
    rng = np.random.default_rng(3)
    values = rng.exponential(size=25)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=999, method="BCa", rng=rng)
    left_out = (values.sum() - values) / 24
    found = bca_interval(values.mean(), theirs.bootstrap_distribution, left_out)
    np.testing.assert_allclose(found, theirs.confidence_interval, rtol=1e-9)


def test_a_subjects_clips_go_with_it():
    """Nine copies of every subject's clip are no more knowledge."""
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 30), rng.dirichlet([1, 1], 30)
    names = [f"s{number}" for number in range(30)]
    once = figure_intervals(labels, probabilities, names, ["a", "b"])
    often = figure_intervals(
        np.repeat(labels, 9), np.repeat(probabilities, 9, axis=0), np.repeat(names, 9), ["a", "b"]
    )
    assert once["accuracy"] == pytest.approx(often["accuracy"], abs=1e-9)
    assert once["auroc"]["b"] == pytest.approx(often["auroc"]["b"], abs=1e-9)
    low, high = once["accuracy"]
    apart = figure_intervals(
        np.repeat(labels, 9), np.repeat(probabilities, 9, axis=0), [str(i) for i in range(270)], ["a", "b"]
    )
    assert np.ptp(apart["accuracy"]) < 0.5 * (high - low)


def test_equal_seeds_give_equal_intervals_whatever_fits_into_memory(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.random(20)
    whole = bootstrap_intervals(mean_of(values), 20, rows=20)
    monkeypatch.setattr(intervals, "CELLS_AT_ONCE", 20 * 7)
    assert bootstrap_intervals(mean_of(values), 20, rows=20) == whole
    assert bootstrap_intervals(mean_of(values), 20, rows=20, seed=1) != whole


def test_none_where_the_bootstrap_knows_nothing():
    labels = np.array([0, 1, 0, 1])
    right = np.eye(2)[labels]
    found = figure_intervals(labels, right, list("abcd"), ["x", "y"])
    assert found["accuracy"] is None
    assert found["auroc"] == {"x": None, "y": None}
    # Three classes, all right: what lacks a class is no recall of two thirds.
    three = figure_intervals(np.arange(3), np.eye(3), list("abc"), ["x", "y", "z"])
    assert three["macro_recall"] is None
    one = figure_intervals(labels[:1], np.array([[0.6, 0.4]]), ["a"], ["x", "y"])
    assert set(one) == set(found)
    assert one["accuracy"] is None
    assert one["f1"] == {"x": None, "y": None}
    two = figure_intervals(labels[:2], np.array([[0.6, 0.4], [0.7, 0.3]]), ["a", "b"], ["x", "y"])
    assert two["macro_auroc"] is None
    # A class that one of thirty has is missing from 0.97^30 = 36 % of the resamples, of two in 3: more than
    # half.
    assert bca_interval(0.5, np.array([np.nan, np.nan, np.nan, 0.2, 0.6]), np.array([0.4, 0.6])) is None
    assert bca_interval(0.5, np.array([0.2, 0.6]), np.array([np.nan, np.nan])) is None
    assert bca_interval(np.nan, np.array([0.2, 0.6]), np.array([0.4, 0.6])) is None
    assert bca_interval(0.5, np.array([np.nan, 0.2, 0.4, 0.6]), np.array([0.4, 0.6])) is not None


def test_a_calibration_error_has_no_interval():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 30), rng.dirichlet([1, 1], 30)
    found = figure_intervals(labels, probabilities, [f"s{number}" for number in range(30)], ["a", "b"])
    assert found["ece"] is None
    assert found["brier"] is not None


def test_coverage_at_60_subjects_is_as_promised():
    """A few hundred simulated studies; tests/long has thousands."""
    for found in coverage(studies=300, resamples=500, seed=0).values():
        assert 0.93 <= found["bca"] <= 0.98  # 0.955 +- 2 standard errors of 300 studies
