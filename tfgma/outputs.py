"""What a classifier's outputs mean: which are trained, and of what features they are which probabilities."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import keras
from keras import ops

LOGITS: Final = "logits"
"""The answer of every classifier: (B, C), or (B, 1) for the second of two classes."""

ATTENTION: Final = ("alpha", "beta")
"""What STAM says it weighed: shares of a clip's moments, and in each of them of the joints."""

FEATURES: Final = "features"

PART_PREFIX: Final = "logits_"
"""Heads that are trained each by a loss of its own begin with this; `logits` then is their mean."""


def probabilities_of(logits: Any) -> Any:
    """(B, C) or (B, 1) logits -> (B, C) or (B, 2) probabilities, in the logits' dtype."""
    if logits.shape[-1] == 1:
        second = ops.sigmoid(logits)
        return ops.concatenate([1 - second, second], axis=-1)
    return ops.softmax(logits, axis=-1)


def trained_outputs(names: Collection[str]) -> list[str]:
    """The outputs that a loss is put on."""
    return sorted(name for name in names if name.startswith(PART_PREFIX)) or [LOGITS]


def with_features(network: keras.Model) -> keras.Model:
    """A network that gives `logits`, and as `features` (B, F) what they are made from."""
    return keras.Model(network.input, {LOGITS: network.output[LOGITS], FEATURES: features_of(network)})


def features_of(network: keras.Model) -> keras.KerasTensor:
    """(B, F) what the dense layers behind `logits` take, those of several heads side by side."""
    tensors = _before_dense(network.output[LOGITS])
    return ops.concatenate(tensors, axis=-1) if len(tensors) > 1 else tensors[0]


def _before_dense(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Inputs, each once, of the dense layers that are nearest before `tensor`."""
    operation, node, _ = tensor._keras_history
    taken = operation._inbound_nodes[node].input_tensors
    if isinstance(operation, keras.layers.Dense):
        return list(taken)
    found = [one for part in taken for one in _before_dense(part)]
    return list({id(one): one for one in found}.values())
