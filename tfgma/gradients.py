"""How a network's evidence for a class changes with what it is given, on any of Keras's backends.

Evidence is the log-odds of a class against all others, in nats: 0 at even odds, and unlike a logit it does
not change when all logits do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.optional import load
from tfgma.outputs import LOGITS

Arrays = dict[str, np.ndarray]

Evidence = Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, Arrays]]
"""Inputs by name, each (B, ...) float32 -> (B,) evidence and its gradient, as each input."""


def log_odds(logits: Any, number: int) -> Any:
    """(B, C) logits, or (B, 1) of the second of two classes -> (B,) log-odds of class `number`, nats."""
    if logits.shape[-1] == 1:
        return logits[:, 0] if number == 1 else -logits[:, 0]
    others = [logits[:, other] for other in range(logits.shape[-1]) if other != number]
    return logits[:, number] - ops.logsumexp(ops.stack(others, axis=-1), axis=-1)


def evidence_of(network: Callable[..., dict[str, Any]], number: int) -> Evidence:
    """What tells `network`'s evidence for class `number`, with gradients, as in inference.

    Args:
        network: a model or another callable that takes a dict of inputs and gives a dict with `logits`.
        number: index of the class.
    """

    def evidence(inputs: Mapping[str, Any]) -> Any:
        return log_odds(ops.cast(network(inputs, training=False)[LOGITS], "float32"), number)

    make = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}[keras.backend.backend()]
    return make(evidence)


def _by_tensorflow(evidence: Callable[[Mapping[str, Any]], Any]) -> Evidence:
    tf: Any = load("tensorflow", "train")

    @tf.function
    def both(inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            found = evidence(inputs)
        return found, tape.gradient(found, inputs, unconnected_gradients="zero")

    def answer(inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Arrays]:
        found, slopes = both({name: tf.constant(value) for name, value in inputs.items()})
        return found.numpy(), {name: slope.numpy() for name, slope in slopes.items()}

    return answer


def _by_jax(evidence: Callable[[Mapping[str, Any]], Any]) -> Evidence:
    jax: Any = load("jax", "jax")

    def total(inputs: dict[str, Any]) -> tuple[Any, Any]:
        found = evidence(inputs)
        return found.sum(), found

    both = jax.jit(jax.value_and_grad(total, has_aux=True))

    def answer(inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Arrays]:
        (_, found), slopes = both(dict(inputs))
        return np.asarray(found), {name: np.asarray(slope) for name, slope in slopes.items()}

    return answer


def _by_torch(evidence: Callable[[Mapping[str, Any]], Any]) -> Evidence:
    torch: Any = load("torch", "torch")

    def answer(inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Arrays]:
        given = {name: ops.convert_to_tensor(value).requires_grad_() for name, value in inputs.items()}
        with torch.enable_grad():
            found = evidence(given)
        slopes = torch.autograd.grad(
            found.sum(), list(given.values()), allow_unused=True, materialize_grads=True
        )
        arrays = [ops.convert_to_numpy(slope) for slope in slopes]
        return ops.convert_to_numpy(found.detach()), dict(zip(given, arrays, strict=True))

    return answer
