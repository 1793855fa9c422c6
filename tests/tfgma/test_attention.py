from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from pipelines.schema import RefusedError
from tfgma.aggregation import average_by, label_by
from tfgma.attention import RIDGE, attend_by, fit_attention
from tfgma.metrics import log_loss


def draw(seed: int, subjects: int = 24, clips: int = 8) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Most clips are noise; some are sure and right."""
    rng = np.random.default_rng(seed)
    groups = [f"s{number:02d}" for number in range(subjects) for _ in range(clips)]
    labels = np.repeat(np.arange(subjects) % 3, clips)
    probabilities = rng.dirichlet(np.full(3, 8.0), len(groups))
    sure = rng.random(len(groups)) < 0.3
    probabilities[sure] = 0.05
    probabilities[sure, labels[sure]] = 0.9
    return groups, labels, probabilities


def test_sure_clips_count_more_and_others_subjects_are_answered_better() -> None:
    weights = fit_attention(*draw(0))
    groups, labels, probabilities = draw(1)
    truth = label_by(groups, labels)[1]
    names, attended = attend_by(weights)(groups, probabilities)
    same, averaged = average_by(groups, probabilities)
    assert names == same
    np.testing.assert_allclose(attended.sum(axis=1), 1)
    assert log_loss(truth, attended) < log_loss(truth, averaged) - 0.05
    assert weights[-1] < -0.3  # entropy counts against a clip


def test_the_weights_are_the_least_of_what_the_docstring_says() -> None:
    groups, labels, probabilities = draw(2, subjects=9, clips=4)
    truth = label_by(groups, labels)[1]

    def cost(weights: np.ndarray) -> float:
        return log_loss(truth, attend_by(weights)(groups, probabilities)[1]) + RIDGE / 2 * weights @ weights

    found = fit_attention(groups, labels, probabilities)
    slow = scipy.optimize.minimize(
        cost, np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}
    )
    assert cost(found) == pytest.approx(slow.fun, abs=1e-8)
    np.testing.assert_allclose(found, slow.x, atol=1e-3)


def test_the_order_of_clips_does_not_matter_and_no_weight_is_the_mean() -> None:
    groups, _, probabilities = draw(3)
    weights = np.array([0.5, -1.0, 2.0, -3.0])
    order = np.random.default_rng(0).permutation(len(groups))
    once = attend_by(weights)(groups, probabilities)
    again = attend_by(weights)([groups[i] for i in order], probabilities[order])
    assert once[0] == again[0]
    np.testing.assert_allclose(once[1], again[1], rtol=1e-12)
    plain = attend_by(np.zeros(4))(groups, probabilities)[1]
    np.testing.assert_allclose(plain, average_by(groups, probabilities)[1], rtol=1e-12)


def test_one_clip_a_subject_teaches_nothing() -> None:
    groups, labels, probabilities = draw(4, clips=1)
    np.testing.assert_allclose(fit_attention(groups, labels, probabilities), 0, atol=1e-9)


def test_a_subject_with_two_labels_is_refused() -> None:
    with pytest.raises(RefusedError, match="same label"):
        fit_attention(["a", "a"], np.array([0, 1]), np.full((2, 2), 0.5))
