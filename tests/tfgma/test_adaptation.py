"""A site's own temperature and threshold."""

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.adaptation import LEAST_SUBJECTS, fit_site
from tfgma.bundle import CalibrationDescription
from tfgma.calibration import conformal_fits, conformal_ranks, conformal_sets

OLD = CalibrationDescription(
    temperature=1.0, fitted=True, fits=tuple(np.linspace(0.7, 0.99, 30)), coverage=0.9
)


class Bundle:
    """As much of one as counts here."""

    calibration = OLD


def site(count, seed, *, sureness=6.0):
    """Labels, and probabilities that are surer than they should be; three classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    logits = rng.normal(size=(count, 3))
    logits[np.arange(count), labels] += 1.2
    powers = np.exp(sureness * logits)
    return labels, powers / powers.sum(axis=1, keepdims=True)


def test_the_temperature_is_the_sites_and_its_interval_holds_the_truth():
    held = better = 0
    for seed in range(60):
        labels, probabilities = site(40, seed)
        found = fit_site(labels, probabilities, Bundle)
        low, high = found.temperature_interval
        # Logits of unit noise and a shift of 1.2 are calibrated when multiplied by 1.2; these are by six.
        held += low <= 6 / 1.2 <= high
        assert low <= found.temperature <= high
        better += found.log_loss_after < found.log_loss_before
    print(f"\nthe interval holds the temperature in {held} of 60")
    assert better > 50
    assert 52 <= held <= 60  # 95 % expected


def test_new_subjects_of_the_site_are_covered_as_expected():
    inside = []
    for seed in range(60):
        labels, probabilities = site(30, seed)
        found = fit_site(labels, probabilities, Bundle)
        fits = conformal_fits(labels, probabilities)
        others, answers = site(2000, 1000 + seed)
        ranks = conformal_ranks(fits, answers)
        sets = conformal_sets(ranks, np.full(len(others), len(fits)), OLD.coverage)
        share = sets[np.arange(len(others)), others].mean()
        inside.append(found.coverage_expected[0] <= share <= found.coverage_expected[1])
        # What the figures call the threshold is where the sets begin.
        assert answers[~sets].max() < found.threshold <= answers[sets].min()
    assert np.mean(inside) > 0.85  # 95 % expected; 60 tries


def test_answers_that_are_all_right_keep_their_temperature():
    labels = np.arange(24) % 3
    found = fit_site(labels, np.eye(3)[labels] * 0.9 + 0.1 / 3, Bundle)
    assert (found.temperature, found.fitted, found.temperature_interval) == (1.0, False, None)
    assert found.accuracy == 1
    assert found.coverage_before == 1


def test_the_bundles_own_sets_are_judged_on_the_site():
    labels = np.zeros(20, int)
    probabilities = np.tile([0.8, 0.1, 0.1], (20, 1))
    probabilities[:5] = 0.6, 0.3, 0.1
    found = fit_site(labels, probabilities, Bundle)
    assert found.threshold_before == pytest.approx(sorted(OLD.fits)[2])
    assert found.coverage_before == 0.75
    assert found.coverage_before_interval[0] < 0.75 < found.coverage_before_interval[1]
    assert found.threshold == pytest.approx(0.6)


def test_few_subjects_are_refused():
    labels, probabilities = site(LEAST_SUBJECTS - 1, 0)
    with pytest.raises(RefusedError, match="at least 20 subjects of known class"):
        fit_site(labels, probabilities, Bundle)
