from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.aggregation import AGGREGATIONS, average_by, check_probabilities, label_by, log_odds_by, median_by


def draw(rng: np.random.Generator, rows: int, num_classes: int) -> np.ndarray:
    return rng.dirichlet(np.ones(num_classes), rows)


def test_average_by_gives_hand_computed_means_in_sorted_order() -> None:
    names, means = average_by(["s2", "s10", "s2"], np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]]))
    assert names == ["s10", "s2"]
    np.testing.assert_allclose(means, [[0.3, 0.7], [0.7, 0.3]], rtol=1e-12)
    assert means.dtype == np.float64


def test_average_by_equals_a_loop_over_groups() -> None:
    rng = np.random.default_rng(0)
    groups = rng.choice(list("abcdefg"), 200).tolist()
    probabilities = draw(rng, 200, 3).astype(np.float32)
    names, means = average_by(groups, probabilities)
    assert names == sorted(set(groups))
    for name, mean in zip(names, means, strict=True):
        rows = [row for group, row in zip(groups, probabilities, strict=True) if group == name]
        np.testing.assert_allclose(mean, np.mean(rows, axis=0, dtype=np.float64), rtol=1e-12)


def test_probabilities_are_averaged_and_not_logits() -> None:
    # One clip is nearly certain of class 0, two lean to class 1: logits would elect class 0.
    probabilities = np.array([[0.9999, 0.0001], [0.2, 0.8], [0.2, 0.8]])
    _, means = average_by(["s"] * 3, probabilities)
    assert np.log(probabilities).mean(axis=0).argmax() == 0
    assert means[0].argmax() == 1


def test_average_by_takes_names_as_an_array_and_gives_plain_strings() -> None:
    names, _ = average_by(np.array(["b", "a"]), np.array([[1.0, 0.0], [0.0, 1.0]]))  # type: ignore[arg-type]
    assert names == ["a", "b"]
    assert all(type(name) is str for name in names)


def test_label_by_goes_with_average_by() -> None:
    groups = ["s2", "s10", "s2", "s1"]
    names, labels = label_by(groups, np.array([1, 2, 1, 0]))
    assert names == average_by(groups, np.full((4, 2), 0.5))[0] == ["s1", "s10", "s2"]
    assert labels.tolist() == [0, 2, 1]
    assert labels.dtype == np.int64


def test_a_group_with_two_labels_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match=r"same label\. Received: labels \[0, 2\] for 'twin'\. Correct"):
        label_by(["a", "twin", "twin", "b", "twin"], np.array([1, 0, 2, 1, 0]))


def test_labels_of_another_kind_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"labels must be integers.*dtype float64"):
        label_by(["a", "b"], np.array([0.0, 1.0]))
    with pytest.raises(RefusedError, match=r"labels must be integers.*shape \(1, 2\)"):
        label_by(["a", "b"], np.array([[0, 1]]))
    with pytest.raises(RefusedError, match=r"each row of labels\. Received: 1 names, 2 rows\. Give"):
        label_by(["a"], np.array([0, 1]))


@pytest.mark.parametrize(
    ("probabilities", "sentence"),
    [
        (np.array([0.5, 0.5]), r"shape \(N, C\).*Received: shape \(2,\), dtype float64\. Give"),
        (np.zeros((0, 3)), r"N >= 1.*Received: shape \(0, 3\)"),
        (np.ones((2, 1)), r"C >= 2.*Received: shape \(2, 1\)"),
        (np.array([["a", "b"]]), r"must be numbers.*dtype <U1"),
        (np.array([[0.5, 0.5], [np.nan, 1.0]]), r"be finite\. Received: \[nan, 1\.0\] in row 1\. Leave"),
        (np.array([[np.inf, 0.0]]), r"be finite\. Received: \[inf, 0\.0\] in row 0"),
        (np.array([[-0.5, 1.5]]), r"between 0 and 1\. Received: \[-0\.5, 1\.5\] in row 0\. Apply softmax"),
        (np.array([[0.0, 1.0], [0.4, 0.4]]), r"sum to one.*Received: \[0\.4, 0\.4\] in row 1\. Apply"),
        (np.array([[0.5, 0.52]]), r"sum to one"),
    ],
)
def test_what_is_no_distribution_is_refused(probabilities: np.ndarray, sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence):
        check_probabilities(probabilities)
    with pytest.raises(RefusedError, match=sentence):
        average_by(["a"] * len(probabilities), probabilities)


def test_rounded_answers_of_small_models_are_distributions() -> None:
    rng = np.random.default_rng(1)
    exact = draw(rng, 1000, 3)
    check_probabilities(exact.astype(np.float16))
    check_probabilities(np.round(exact * 256) / 256)  # what a full int8 model answers
    check_probabilities(np.array([[0, 1]]))
    check_probabilities(np.array([[np.nextafter(np.float32(1), np.float32(2)), 0.0]], np.float32))


def test_names_must_match_rows_and_not_be_empty() -> None:
    rows = np.full((2, 2), 0.5)
    with pytest.raises(RefusedError, match=r"each row of probabilities\. Received: 3 names, 2 rows\. Give"):
        average_by(["a", "b", "c"], rows)
    with pytest.raises(RefusedError, match=r"at least one character\. Received: '' in row 1\. Name"):
        average_by(["a", ""], rows)


def test_aggregation_needs_numpy_only() -> None:
    # A tablet-side install has neither scikit-learn nor TensorFlow.
    code = "import sys, tfgma.aggregation; print({'sklearn', 'tensorflow', 'keras'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "set()", result.stderr


def test_medians_by_hand() -> None:
    rows = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.0, 0.0, 1.0], [0.2, 0.5, 0.3]])
    names, found = median_by(["a", "a", "a", "b"], rows)
    assert names == ["a", "b"]
    np.testing.assert_allclose(found, [[0.6 / 0.9, 0.2 / 0.9, 0.1 / 0.9], [0.2, 0.5, 0.3]])
    np.testing.assert_allclose(median_by(["a"] * 3, np.eye(3))[1], np.full((1, 3), 1 / 3))  # all medians zero


def test_log_odds_are_averaged_and_sure_errors_stay_finite() -> None:
    two = np.array([[0.1, 0.9], [0.6, 0.4], [0.3, 0.7]])
    logits = np.log(two[:, 1] / two[:, 0]).mean()
    np.testing.assert_allclose(log_odds_by(["a"] * 3, two)[1][0, 1], 1 / (1 + np.exp(-logits)))
    rows = draw(np.random.default_rng(0), 6, 3)
    _, found = log_odds_by(list("aabbbb"), rows)
    expected = np.exp([np.log(rows[:2]).mean(axis=0), np.log(rows[2:]).mean(axis=0)])
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(log_odds_by(["a", "a"], np.eye(2))[1], [[0.5, 0.5]])


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_aggregation_gives_distributions_whatever_the_order(name: str) -> None:
    rng = np.random.default_rng(0)
    groups, rows = rng.choice(list("abc"), 40).tolist(), draw(rng, 40, 3)
    order = rng.permutation(40)
    names, found = AGGREGATIONS[name](groups, rows)
    again, shuffled = AGGREGATIONS[name]([groups[i] for i in order], rows[order])
    assert names == again == ["a", "b", "c"]
    np.testing.assert_allclose(found, shuffled, rtol=1e-12)
    check_probabilities(found)
    np.testing.assert_allclose(AGGREGATIONS[name](list("abc"), rows[:3])[1], rows[:3], rtol=1e-6)
    with pytest.raises(RefusedError, match="sum to one"):
        AGGREGATIONS[name](["a"], np.array([[0.2, 0.2]]))
