"""What a classifier's outputs mean: which of them are trained, and which probabilities they stand for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from keras import ops

LOGITS: Final = "logits"
"""The answer of every classifier: (B, C), or (B, 1) for the second of two classes."""

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
