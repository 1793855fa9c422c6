from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk

from pipelines.schema import RefusedError
from tfgma.metrics import classification_metrics

NAMES = ["WMs", "FMs", "PR", "other"]

pytestmark = pytest.mark.filterwarnings("error")


def measure(labels: Any, probabilities: Any, classes: list[str]) -> dict[str, Any]:
    """The figures, after a round trip through strict JSON."""
    found = classification_metrics(np.asarray(labels), np.asarray(probabilities), classes)
    back = json.loads(json.dumps(found, allow_nan=False))
    assert back == found
    return back


def certain(predicted: list[int], num_classes: int) -> np.ndarray:
    return np.eye(num_classes)[predicted]


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(num_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 60)])
    probabilities = rng.dirichlet(np.ones(num_classes), len(labels))
    predicted = probabilities.argmax(axis=1)
    names = NAMES[:num_classes]
    found = measure(labels, probabilities, names)

    assert found["n"] == len(labels)
    assert found["confusion_matrix"] == sk.confusion_matrix(labels, predicted).tolist()
    for key, value in {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "kappa": sk.cohen_kappa_score(labels, predicted),
        "macro_precision": sk.precision_score(labels, predicted, average="macro", zero_division=0),
        "macro_recall": sk.recall_score(labels, predicted, average="macro", zero_division=0),
        "macro_f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
    }.items():
        assert found[key] == pytest.approx(value, rel=1e-12), key
    for key, score in {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}.items():
        expected = score(labels, predicted, average=None, zero_division=0)
        assert found[key] == pytest.approx(dict(zip(names, expected, strict=True)), rel=1e-12), key
    if num_classes == 2:
        macro = sk.roc_auc_score(labels, probabilities[:, 1])
    else:
        macro = sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert found["macro_auroc"] == pytest.approx(macro, rel=1e-12)


def test_gives_hand_computed_values() -> None:
    # Confusion: 2 WMs right, 1 WMs called FMs, 1 FMs right, 1 PR called WMs, 1 PR right.
    labels = [0, 0, 0, 1, 2, 2]
    found = measure(labels, certain([0, 0, 1, 1, 0, 2], 3), NAMES[:3])
    assert found["confusion_matrix"] == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision"] == pytest.approx({"WMs": 2 / 3, "FMs": 1 / 2, "PR": 1})
    assert found["recall"] == pytest.approx({"WMs": 2 / 3, "FMs": 1, "PR": 1 / 2})
    assert found["f1"] == pytest.approx({"WMs": 2 / 3, "FMs": 2 / 3, "PR": 2 / 3})
    assert found["macro_precision"] == found["macro_recall"] == pytest.approx(13 / 18)
    assert found["balanced_accuracy"] == pytest.approx(13 / 18)
    # Chance agreement (3*3 + 1*2 + 2*1) / 36 = 13 / 36; kappa = (24 - 13) / (36 - 13).
    assert found["kappa"] == pytest.approx(11 / 23)
    # Matthews: (4*6 - 13) / sqrt((36 - 9 - 4 - 1) * (36 - 9 - 1 - 4)) = 11 / 22.
    assert found["mcc"] == pytest.approx(1 / 2)
    # PR against the rest: one of two PR above four others, the other level with them: (4 + 4 / 2) / 8.
    assert found["auroc"]["PR"] == pytest.approx(6 / 8)


def test_auroc_ranks_probabilities_and_not_predictions() -> None:
    # Every row is called WMs, yet the PR rows have the higher probability of PR.
    found = measure([0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], ["WMs", "PR"])
    assert found["auroc"] == {"WMs": 1.0, "PR": 1.0}
    assert found["accuracy"] == 0.5
    assert found["mcc"] == found["kappa"] == 0.0


def test_a_class_without_labels_lowers_macro_f1_and_has_no_auroc() -> None:
    found = measure([0, 1, 0, 1], certain([0, 1, 0, 1], 3), NAMES[:3])
    assert found["f1"] == {"WMs": 1.0, "FMs": 1.0, "PR": 0.0}
    assert found["macro_f1"] == found["macro_recall"] == found["macro_precision"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == found["mcc"] == found["kappa"] == 1.0
    assert found["auroc"] == {"WMs": 1.0, "FMs": 1.0, "PR": None}
    assert found["macro_auroc"] == 1.0
    assert found["confusion_matrix"] == [[2, 0, 0], [0, 2, 0], [0, 0, 0]]


def test_a_class_predicted_but_never_labelled_is_no_warning() -> None:
    found = measure([0, 1, 0], certain([0, 2, 2], 3), NAMES[:3])
    assert found["balanced_accuracy"] == pytest.approx(1 / 4)
    assert found["precision"]["PR"] == 0.0


@pytest.mark.parametrize("rows", [1, 5])
def test_one_class_on_both_sides(rows: int) -> None:
    found = measure([1] * rows, certain([1] * rows, 2), NAMES[:2])
    assert found["n"] == rows
    assert found["accuracy"] == found["balanced_accuracy"] == 1.0
    assert found["kappa"] is None
    assert found["mcc"] == 0.0
    assert found["auroc"] == {"WMs": None, "FMs": None}
    assert found["macro_auroc"] is None
    assert found["confusion_matrix"] == [[0, 0], [0, rows]]


@pytest.mark.parametrize("rows", [1, 5])
def test_one_class_always_taken_for_another(rows: int) -> None:
    found = measure([1] * rows, certain([0] * rows, 2), NAMES[:2])
    assert found["accuracy"] == found["balanced_accuracy"] == found["kappa"] == found["mcc"] == 0.0
    assert found["macro_f1"] == 0.0


def test_one_row_of_random_input_never_gives_nan_nor_a_warning() -> None:
    rng = np.random.default_rng(3)
    for rows in (1, 2, 3):
        for _ in range(30):
            measure(rng.integers(0, 3, rows), rng.dirichlet(np.ones(3), rows).astype(np.float32), NAMES[:3])


def test_of_equal_probabilities_the_first_counts() -> None:
    assert measure([0, 1], [[0.5, 0.5], [0.5, 0.5]], NAMES[:2])["confusion_matrix"] == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("labels", "classes", "sentence"),
    [
        ([0, 2], ["a", "b"], r"labels must be from 0 to 1\. Received: 2 in row 1\. Give"),
        ([-1, 0], ["a", "b"], r"labels must be from 0 to 1\. Received: -1 in row 0\. Give"),
        ([0.0, 1.0], ["a", "b"], r"labels must be integers.*dtype float64\. Give"),
        ([0, 1, 1], ["a", "b"], r"labels must be integers of shape \(2,\).*Received: shape \(3,\)"),
        ([[0], [1]], ["a", "b"], r"Received: shape \(2, 1\)"),
        ([0, 1], ["a", "b", "c"], r"one column a class\. Received: 2 columns for \['a', 'b', 'c'\]\. Give"),
        ([0, 1], ["a", "a"], r"two different names\. Received: \['a', 'a'\]\. Name each class once"),
        ([0, 1], ["a"], r"two different names\. Received: \['a'\]"),
    ],
)
def test_what_does_not_match_is_refused(labels: Any, classes: list[str], sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence):
        classification_metrics(np.asarray(labels), np.full((2, 2), 0.5), classes)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [([0.3, 0.3], "sum to one"), ([np.nan, 1.0], "be finite"), ([-1.0, 2.0], "between 0 and 1")],
)
def test_what_is_no_distribution_is_refused(row: list[float], sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence):
        classification_metrics(np.array([0]), np.array([row]), ["a", "b"])


def test_metrics_do_not_import_a_training_framework() -> None:
    code = (
        "import sys, numpy, tfgma.metrics\n"
        "tfgma.metrics.classification_metrics(numpy.array([0]), numpy.array([[1, 0]]), ['a', 'b'])\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "set()", result.stderr


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_figures_of_probabilities_equal_scikit_learn(num_classes: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, 60)])
    probabilities = rng.dirichlet(np.ones(num_classes), len(labels))
    if ties:  # eighths, of which many are equal
        whole = rng.multinomial(8, np.full(num_classes, 1 / num_classes), len(labels))
        probabilities = whole / 8
    names = NAMES[:num_classes]
    found = measure(labels, probabilities, names)
    for number, name in enumerate(names):
        is_class, scores = labels == number, probabilities[:, number]
        expected = sk.average_precision_score(is_class, scores)
        assert found["average_precision"][name] == pytest.approx(expected, abs=1e-9)
        assert found["auroc"][name] == pytest.approx(sk.roc_auc_score(is_class, scores), abs=1e-9)
        best = 0.0  # every threshold by hand
        for threshold in [*np.unique(scores), 2.0]:
            called = scores >= threshold
            if np.mean(~called[~is_class]) >= 0.9 - 1e-12:
                best = max(best, np.mean(called[is_class]))
        assert found["sensitivity_at_specificity"][name] == pytest.approx(best, abs=1e-9)
    assert found["brier"] == pytest.approx(
        sk.brier_score_loss(labels, probabilities, labels=range(num_classes), scale_by_half=False), abs=1e-9
    )
    clipped = np.clip(probabilities, 1e-8, 1)
    expected = -np.log(clipped[np.arange(len(labels)), labels]).mean()
    assert found["log_loss"] == pytest.approx(expected, abs=1e-9)
    if not ties:
        assert found["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities), abs=1e-9)
    error = 0.0
    for low in range(10):
        highest = probabilities.max(axis=1)
        inside = (highest > low / 10) & (highest <= (low + 1) / 10)
        if inside.any():
            right = probabilities.argmax(axis=1)[inside] == labels[inside]
            error += inside.mean() * abs(right.mean() - highest[inside].mean())
    assert found["ece"] == pytest.approx(error, abs=1e-9)
    assert sum(row["n"] for row in found["reliability"]) == len(labels)


def test_reliability_by_hand() -> None:
    # Three at 0.75, two of them right; one at 0.6, which is the upper edge of its bin, wrong.
    probabilities = [[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.4, 0.6]]
    found = measure([0, 1, 1, 0], probabilities, NAMES[:2])
    rows = {row["low"]: row for row in found["reliability"] if row["n"]}
    assert rows.keys() == {0.5, 0.7}
    assert rows[0.5] == {"low": 0.5, "high": 0.6, "n": 1, "probability": 0.6, "accuracy": 0.0}
    assert (rows[0.7]["n"], rows[0.7]["accuracy"]) == (3, pytest.approx(2 / 3))
    assert found["ece"] == pytest.approx(0.25 * 0.6 + 0.75 * (0.75 - 2 / 3))
    assert found["brier"] == pytest.approx(2 * (0.25**2 + 0.75**2 + 0.25**2 + 0.6**2) / 4)


def test_sensitivity_at_nine_of_ten() -> None:
    # Ten others, of which one stands above two of the three: 0.9 exactly is enough.
    scores = np.array([0.95, *np.linspace(0.1, 0.3, 9), 0.9, 0.8, 0.2])
    labels = np.array([0] * 10 + [1] * 3)
    found = measure(labels, np.column_stack([1 - scores, scores]), NAMES[:2])
    assert found["sensitivity_at_specificity"]["FMs"] == pytest.approx(2 / 3)


def test_one_side_only_has_no_ranking_but_precision_where_the_class_is() -> None:
    found = measure([1, 1], [[0.4, 0.6], [0.7, 0.3]], NAMES[:2])
    assert found["average_precision"] == {"WMs": None, "FMs": 1.0}
    assert found["sensitivity_at_specificity"] == {"WMs": None, "FMs": None}
    assert found["macro_average_precision"] == 1.0


def test_a_sure_error_has_a_finite_log_loss() -> None:
    assert measure([0], [[0.0, 1.0]], NAMES[:2])["log_loss"] == pytest.approx(-np.log(1e-8))
