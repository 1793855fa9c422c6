"""Whether XLA compiles what Keras calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import keras


def jit_compile() -> Literal["auto", False]:
    """For `keras.Model.compile`: Keras's own choice, but on TensorFlow without a GPU no XLA.

    There TensorFlow's own kernels take 0.21 to 0.92 of XLA's time for a training step of the networks of
    configs/bench and of the published two-stream one, and XLA compiles anew for each size of a batch.
    """
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        return False
    return "auto"


def answers_on(network: keras.Model, batch: Mapping[str, Any]) -> Any:
    """What `network.predict_on_batch` answers for a batch, by XLA only where that is chosen for training."""
    if jit_compile() is False:
        network.jit_compile = False
    return network.predict_on_batch(batch)
