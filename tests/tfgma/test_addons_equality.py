"""What tensorflow-addons 0.23 would give, Keras, scikit-learn and `tfgma.metrics` give with equal answers.

tensorflow-addons cannot be imported with Keras 3. Its answers on TensorFlow 2.15 lie in
tests/golden/tensorflow_addons.json, written by tests/golden/make_tensorflow_addons.py. C classes, K outputs
a row; `found` is `classification_metrics(labels, probabilities, classes)`.

| tensorflow_addons                               | here                                                     |
|-------------------------------------------------|----------------------------------------------------------|
| metrics.CohenKappa(C)                           | found["kappa"]; None where it gives NaN (one class only) |
| metrics.CohenKappa(C, weightage=w)              | sklearn cohen_kappa_score(labels=range(C), weights=w)    |
| CohenKappa.update_state(..., sample_weight=s)   | cohen_kappa_score(..., sample_weight=s)                  |
| metrics.MatthewsCorrelationCoefficient(C)       | found["mcc"]                                             |
| metrics.F1Score(C, average=None)                | found["f1"]                                              |
| metrics.F1Score(C, average="macro")             | found["macro_f1"]                                        |
| metrics.F1Score(C, average="micro", "weighted") | sklearn f1_score(labels=range(C), zero_division=0)       |
| losses.SigmoidFocalCrossEntropy(alpha, gamma)   | K * keras.losses.BinaryFocalCrossentropy(                |
|                                                 |   apply_class_balancing=True, alpha, gamma) (a)          |
| ... alpha=0                                     | apply_class_balancing=False                              |
| ... gamma=0, from_logits                        | the same                                                 |
| ... reduction="none" (default), "sum",          | the same names (default "sum_over_batch_size")           |
|     "sum_over_batch_size"                       |                                                          |
| optimizers.AdamW(wd, lr)                        | keras.optimizers.AdamW(lr, weight_decay=wd / lr) (b)     |
| ... lr and wd by schedules, wd(t) = c lr(t)     | learning_rate=schedule, weight_decay=c                   |
| ... lr by a schedule, wd constant               | none: Keras decays both together                         |
| ... beta_1, beta_2, epsilon, amsgrad            | the same (c)                                             |
| ... exclude_from_weight_decay=[regex]           | .exclude_from_weight_decay(var_names=[regex])            |
| optimizers.SGDW(wd, lr, momentum, nesterov)     | keras.optimizers.SGD(lr, momentum, nesterov,             |
|                                                 |   weight_decay=wd / lr) (b)                              |

(a) tensorflow-addons sums the losses of a row's K outputs, Keras takes their mean. From probabilities,
    tensorflow-addons also adds 1e-7 inside the logarithm: its cross-entropy is smaller by up to 1e-7 / p,
    p the probability given to the true answer.
(b) Keras multiplies the decay by the learning rate, tensorflow-addons does not.
(c) Both add epsilon to the root of the second moment before its bias is corrected.
Of equal highest probabilities F1Score counts every class as predicted, `classification_metrics` the first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from tfgma.metrics import classification_metrics

GOLDEN = json.loads(
    Path(__file__).parents[1].joinpath("golden", "tensorflow_addons.json").read_text(encoding="utf-8")
)
METRICS: dict[str, dict[str, Any]] = GOLDEN["metrics"]
FOCAL: dict[str, Any] = GOLDEN["focal"]
OPTIMIZERS: dict[str, Any] = GOLDEN["optimizers"]
CASES: dict[str, dict[str, Any]] = {f"{case['class']}-{case['name']}": case for case in OPTIMIZERS["cases"]}

FLOAT32 = 1e-6
"""Relative: tensorflow-addons computes metrics in float32."""

with_labels_of_two_classes = pytest.mark.parametrize("name", [n for n in METRICS if n != "one_class_only"])


def float32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def test_golden_comes_from_the_versions_named() -> None:
    assert GOLDEN["versions"]["tensorflow_addons"] == "0.23.0"
    assert GOLDEN["versions"]["tensorflow"].startswith("2.15.")
    assert list(METRICS) == ["three_classes", "two_classes", "a_class_without_labels", "one_class_only"]


# ---- metrics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_classification_metrics(name: str) -> None:
    case = METRICS[name]
    classes = [f"class {number}" for number in range(len(case["probabilities"][0]))]
    found = classification_metrics(np.array(case["labels"]), float32(case["probabilities"]), classes)
    assert found["mcc"] == pytest.approx(case["matthews"], rel=FLOAT32)
    assert list(found["f1"].values()) == pytest.approx(case["f1"]["none"], rel=FLOAT32)
    assert found["macro_f1"] == pytest.approx(case["f1"]["macro"], rel=FLOAT32)
    if name == "one_class_only":
        assert found["kappa"] is case["kappa"]["none"] is None
    else:
        # One minus a ratio: of the ratio's rounding, not of kappa's.
        assert found["kappa"] == pytest.approx(case["kappa"]["none"], abs=FLOAT32)


@with_labels_of_two_classes
@pytest.mark.parametrize("weightage", ["none", "linear", "quadratic"])
def test_cohen_kappa_score(name: str, weightage: str) -> None:
    case = METRICS[name]
    probabilities = float32(case["probabilities"])
    arguments = {
        "labels": range(probabilities.shape[1]),
        "weights": None if weightage == "none" else weightage,
    }
    predicted = probabilities.argmax(axis=1)
    plain = cohen_kappa_score(case["labels"], predicted, **arguments)
    weighted = cohen_kappa_score(case["labels"], predicted, sample_weight=case["weights"], **arguments)
    assert plain == pytest.approx(case["kappa"][weightage], abs=FLOAT32)
    assert weighted == pytest.approx(case["weighted_kappa"][weightage], abs=FLOAT32)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("average", ["none", "micro", "macro", "weighted"])
def test_f1_score(name: str, average: str) -> None:
    case = METRICS[name]
    probabilities = float32(case["probabilities"])
    found = f1_score(
        case["labels"],
        probabilities.argmax(axis=1),
        labels=range(probabilities.shape[1]),
        average=None if average == "none" else average,
        zero_division=0,
    )
    np.testing.assert_allclose(found, case["f1"][average], rtol=FLOAT32)


# ---- focal loss --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "sum", "sum_over_batch_size"])
@pytest.mark.parametrize(
    "case", FOCAL["cases"], ids=lambda c: f"alpha{c['alpha']}-gamma{c['gamma']}-logits{c['from_logits']}"
)
def test_focal_loss(case: dict[str, Any], reduction: str) -> None:
    targets = float32(FOCAL["targets"])
    predictions = float32(FOCAL["logits" if case["from_logits"] else "probabilities"])
    loss = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=case["alpha"] != 0,
        alpha=case["alpha"],
        gamma=case["gamma"],
        from_logits=case["from_logits"],
        reduction=reduction,
    )
    found = targets.shape[1] * keras.ops.convert_to_numpy(loss(targets, predictions))
    expected = case["values"][reduction]
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# ---- optimizers --------------------------------------------------------------------------------------------


def build(case: dict[str, Any]) -> keras.optimizers.Optimizer:
    """The Keras optimizer that walks as the tensorflow-addons one of `case` did."""
    arguments = dict(case["arguments"])
    arguments["weight_decay"] /= arguments["learning_rate"]
    without_decay = arguments.pop("exclude_from_weight_decay", None)
    if "decay" in case:
        arguments["learning_rate"] = keras.optimizers.schedules.ExponentialDecay(
            arguments["learning_rate"], **case["decay"]
        )
    kind = {"AdamW": keras.optimizers.AdamW, "SGDW": keras.optimizers.SGD}[case["class"]]
    optimizer = kind(**arguments)
    if without_decay:
        optimizer.exclude_from_weight_decay(var_names=without_decay)
    return optimizer


def walk(optimizer: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    """Each variable's values (steps, ...) after each of the golden's gradients."""
    variables = {
        name: keras.Variable(float32(value), name=name) for name, value in OPTIMIZERS["start"].items()
    }
    gradients = {name: float32(value) for name, value in OPTIMIZERS["gradients"].items()}
    path: dict[str, list[np.ndarray]] = {name: [] for name in variables}
    for step in range(len(gradients["bias"])):
        optimizer.apply([keras.ops.array(gradients[n][step]) for n in variables], list(variables.values()))
        for name, variable in variables.items():
            path[name].append(np.array(keras.ops.convert_to_numpy(keras.ops.copy(variable))))
    return {name: np.stack(values) for name, values in path.items()}


def distance(path: dict[str, np.ndarray], case: dict[str, Any]) -> float:
    """Greatest difference of any value at any step from the golden's."""
    assert {name: values.shape for name, values in path.items()} == {
        name: np.shape(values) for name, values in case["path"].items()
    }
    return max(float(np.abs(values - float32(case["path"][name])).max()) for name, values in path.items())


@pytest.mark.parametrize("name", CASES)
def test_optimizer_walks_the_same_ten_steps(name: str) -> None:
    case = CASES[name]
    assert len(case["path"]["bias"]) == 10
    # Values are around 1, each step about 0.01: some roundings of float32.
    assert distance(walk(build(case)), case) < 2e-6


@pytest.mark.parametrize("name", CASES)
def test_the_same_number_as_weight_decay_walks_elsewhere(name: str) -> None:
    case = CASES[name]
    optimizer = build(case)
    optimizer.weight_decay = case["arguments"]["weight_decay"]
    assert distance(walk(optimizer), case) > 1e-3


def test_the_golden_tells_the_arguments_apart() -> None:
    adam = [case for name, case in CASES.items() if name.startswith("AdamW")]
    sgd = [case for name, case in CASES.items() if name.startswith("SGDW")]
    for cases in (adam, sgd):
        for first in cases:
            for second in cases:
                if first is not second:
                    path = {name: float32(values) for name, values in first["path"].items()}
                    assert distance(path, second) > 1e-3, (first["name"], second["name"])
