"""Writes tensorflow_addons.json: what tensorflow-addons 0.23 answers on TensorFlow 2.15.

tensorflow-addons cannot be imported with Keras 3, so this runs in an environment of its own:

    python3.11 -m venv addons
    addons/bin/python -m pip install 'tensorflow==2.15.1' 'tensorflow-addons==0.23.0' 'numpy<2'
    addons/bin/python tests/golden/make_tensorflow_addons.py

Numbers are written with nine significant digits, which give every float32 back exactly; NaN is null.
"""

from __future__ import annotations

import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

OUT = Path(__file__).with_name("tensorflow_addons.json")
WEIGHTAGES = (None, "linear", "quadratic")
AVERAGES = (None, "micro", "macro", "weighted")
STEPS = 10


def plain(value: Any) -> Any:
    """`value` as JSON: floats with the nine digits that a float32 needs, NaN as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, tf.Tensor, np.generic)):
        return plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.9g}")
    return value


# ---- metrics -----------------------------------------------------------------------------------------------


def kappa(
    labels: np.ndarray, probabilities: np.ndarray, weightage: str | None, weights: np.ndarray | None = None
) -> tf.Tensor:
    """Cohen's kappa of `labels` (N,) and `probabilities` (N, C)."""
    num_classes = probabilities.shape[1]
    metric = tfa.metrics.CohenKappa(num_classes=num_classes, weightage=weightage, sparse_labels=True)
    # Of two classes, tensorflow-addons takes the second one's probability and cuts it at 0.5.
    metric.update_state(labels, probabilities[:, 1] if num_classes == 2 else probabilities, weights)
    return metric.result()


def metrics_case(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Inputs and answers of the metrics. labels (N,) int, probabilities (N, C) and weights (N,) float32."""
    num_classes = probabilities.shape[1]
    one_hot = np.eye(num_classes, dtype=np.float32)[labels]
    matthews = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=num_classes)
    matthews.update_state(one_hot, probabilities)
    f1 = {}
    for average in AVERAGES:
        metric = tfa.metrics.F1Score(num_classes=num_classes, average=average)
        metric.update_state(one_hot, probabilities)
        f1[average or "none"] = metric.result()
    return {
        "labels": labels,
        "probabilities": probabilities,
        "weights": weights,
        "kappa": {w or "none": kappa(labels, probabilities, w) for w in WEIGHTAGES},
        "weighted_kappa": {w or "none": kappa(labels, probabilities, w, weights) for w in WEIGHTAGES},
        "matthews": matthews.result(),
        "f1": f1,
    }


def draw_predictions(rng: np.random.Generator, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(N, C) float32 probabilities, right more often than not, none close to a tie."""
    logits = rng.normal(size=(len(labels), num_classes))
    logits[np.arange(len(labels)), labels] += 1.0
    logits[np.arange(len(labels)), logits.argmax(axis=1)] += 0.1
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def all_metrics() -> dict[str, Any]:
    """The named metrics cases."""
    rng = np.random.default_rng(20)
    labels = {
        "three_classes": (rng.integers(0, 3, 40), 3),
        "two_classes": (rng.integers(0, 2, 30), 2),
        "a_class_without_labels": (rng.choice([0, 2, 3], 30), 4),
    }
    cases = {}
    for name, (truth, num_classes) in labels.items():
        weights = rng.integers(1, 5, len(truth)).astype(np.float32)
        cases[name] = metrics_case(truth, draw_predictions(rng, truth, num_classes), weights)
    only = np.full((5, 3), (0.7, 0.2, 0.1), np.float32)
    cases["one_class_only"] = metrics_case(np.zeros(5, np.int64), only, np.ones(5, np.float32))
    return cases


# ---- focal loss --------------------------------------------------------------------------------------------


def focal_case(
    targets: np.ndarray, predictions: np.ndarray, alpha: float, gamma: float, from_logits: bool
) -> dict[str, Any]:
    """Arguments and the loss by reduction. targets and predictions (N, K) float32."""
    values = {}
    for reduction in ("none", "sum_over_batch_size", "sum"):
        loss = tfa.losses.SigmoidFocalCrossEntropy(
            from_logits=from_logits, alpha=alpha, gamma=gamma, reduction=reduction
        )
        values[reduction] = loss(targets, predictions)
    return {"alpha": alpha, "gamma": gamma, "from_logits": from_logits, "values": values}


def focal_losses() -> dict[str, Any]:
    """Logits, their sigmoids, and the losses of both."""
    rng = np.random.default_rng(21)
    targets = rng.integers(0, 2, (8, 3)).astype(np.float32)
    logits = rng.normal(scale=2.0, size=(8, 3)).astype(np.float32)
    probabilities = tf.sigmoid(logits).numpy()
    settings = [(0.25, 2.0), (0.6, 1.5), (0.0, 2.0), (0.25, 0.0), (0.0, 0.0)]
    cases = [
        focal_case(targets, logits if from_logits else probabilities, alpha, gamma, from_logits)
        for alpha, gamma in settings
        for from_logits in (False, True)
    ]
    return {"targets": targets, "logits": logits, "probabilities": probabilities, "cases": cases}


# ---- optimizers --------------------------------------------------------------------------------------------


def walk(optimizer: Any, start: dict[str, np.ndarray], gradients: dict[str, np.ndarray]) -> dict[str, list]:
    """Each variable's values after each of STEPS steps on given gradients (STEPS, ...)."""
    variables = {name: tf.Variable(value, name=name) for name, value in start.items()}
    path: dict[str, list] = {name: [] for name in variables}
    for step in range(STEPS):
        optimizer.apply_gradients([(tf.constant(gradients[n][step]), v) for n, v in variables.items()])
        for name, variable in variables.items():
            path[name].append(variable.numpy())
    return path


def optimizers() -> dict[str, Any]:
    """Start, gradients, and the paths of AdamW and SGDW under the arguments beside them."""
    rng = np.random.default_rng(22)
    start = {
        "kernel": rng.normal(size=(3, 2)).astype(np.float32),
        "bias": rng.normal(size=(2,)).astype(np.float32),
    }
    gradients = {
        name: rng.normal(scale=0.1, size=(STEPS, *value.shape)).astype(np.float32)
        for name, value in start.items()
    }
    rates = {"learning_rate": 0.01, "weight_decay": 0.004}
    adam = {
        "defaults": rates,
        "large_epsilon": {**rates, "epsilon": 0.05, "beta_1": 0.8, "beta_2": 0.95},
        "amsgrad": {**rates, "amsgrad": True, "beta_2": 0.5},
        "without_bias": {**rates, "exclude_from_weight_decay": ["bias"]},
    }
    cases = [
        {"class": "AdamW", "name": name, "arguments": arguments}
        | {"path": walk(tfa.optimizers.AdamW(**arguments), start, gradients)}
        for name, arguments in adam.items()
    ]
    sgd = {**rates, "momentum": 0.9}
    for nesterov in (False, True):
        arguments = {**sgd, "nesterov": nesterov}
        path = walk(tfa.optimizers.SGDW(**arguments), start, gradients)
        name = "nesterov" if nesterov else "momentum"
        cases.append({"class": "SGDW", "name": name, "arguments": arguments, "path": path})

    decay = {"decay_steps": 3, "decay_rate": 0.5}
    scheduled = {
        name: tf.keras.optimizers.schedules.ExponentialDecay(rate, **decay) for name, rate in rates.items()
    }
    path = walk(tfa.optimizers.AdamW(**scheduled), start, gradients)
    schedule = {"class": "AdamW", "name": "both_decayed", "arguments": rates, "decay": decay, "path": path}
    return {"start": start, "gradients": gradients, "cases": [*cases, schedule]}


def main() -> None:
    """Computes everything, writes OUT."""
    versions = {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "tensorflow_addons": tfa.__version__,
        "numpy": np.__version__,
    }
    answers = {
        "versions": versions,
        "metrics": all_metrics(),
        "focal": focal_losses(),
        "optimizers": optimizers(),
    }
    text = json.dumps(plain(answers), allow_nan=False, separators=(",", ":"))
    # One section a line: short, and a change shows where it is.
    for section in answers:
        text = text.replace(f'"{section}":', f'\n"{section}":', 1)
    OUT.write_text(text + "\n", encoding="utf-8")
    print(f"{OUT}: {len(text) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
