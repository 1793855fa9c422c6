from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from tfgma.metrics import classification_metrics
from tfgma.weighted_metrics import kappa_of, resampled_figures, weighted_figures

pytestmark = pytest.mark.filterwarnings("error")
NAMES = ["a", "b", "c", "d"]


def check(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> None:
    """Each weighting equals `classification_metrics` of the rows repeated that often."""
    found = weighted_figures(labels, probabilities, weights.astype(float))
    names = NAMES[: probabilities.shape[1]]
    for row, counts in enumerate(weights):
        repeated = np.repeat(np.arange(len(labels)), counts)
        expected = classification_metrics(labels[repeated], probabilities[repeated], names)
        assert found.keys() == expected.keys() - {"n", "confusion_matrix", "reliability"}
        for figure, values in found.items():
            wanted = expected[figure]
            wanted = list(wanted.values()) if isinstance(wanted, dict) else [wanted]
            wanted = [np.nan if value is None else value for value in wanted]
            np.testing.assert_allclose(np.atleast_1d(values[row]), wanted, atol=1e-9, rtol=0, err_msg=figure)


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("ties", [False, True])
def test_weights_are_repetitions(num_classes: int, ties: bool) -> None:
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, num_classes, 30)
    probabilities = rng.dirichlet(np.ones(num_classes), 30)
    if ties:
        probabilities = rng.multinomial(4, np.full(num_classes, 1 / num_classes), 30) / 4
    check(labels, probabilities, rng.multinomial(30, np.full(30, 1 / 30), 20))


def test_degenerate_rows() -> None:
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3):
        for _ in range(20):
            labels = rng.integers(0, 3, rows)
            probabilities = rng.dirichlet(np.ones(3), rows)
            check(labels, probabilities, rng.multinomial(rows, np.full(rows, 1 / rows), 3))
    check(np.array([1, 1, 1]), np.eye(3)[[1, 1, 1]], np.array([[1, 1, 1]]))  # one class on both sides
    check(np.array([1, 1, 1]), np.full((3, 2), 0.5), np.array([[0, 2, 1]]))


def test_kappa_equals_statsmodels() -> None:
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 20, (10, 4, 4)).astype(float)
    expected = [cohens_kappa(table).kappa for table in tables]
    np.testing.assert_allclose(kappa_of(tables), expected, atol=1e-9)
    assert np.isnan(kappa_of(np.diag([3.0, 0.0])[None])[0])


def test_a_class_that_was_not_drawn_is_unknown_and_one_that_nobody_has_is_not() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    probabilities = np.eye(4)[[0, 1, 1, 1, 2]]
    weights = np.array([[1.0, 1, 1, 1, 1], [1, 1, 1, 2, 0]])
    plain, found = (one(labels, probabilities, weights) for one in (weighted_figures, resampled_figures))
    for figure, values in found.items():
        np.testing.assert_array_equal(values[0], plain[figure][0])
        if values.ndim == 2:
            assert np.isnan(values[1, 2])
            np.testing.assert_array_equal(values[1, [0, 1, 3]], plain[figure][1, [0, 1, 3]])
    assert np.isnan(found["macro_f1"][1])
    assert np.isnan(found["balanced_accuracy"][1])
    assert found["accuracy"][1] == 0.8
    assert found["kappa"][1] == plain["kappa"][1]
