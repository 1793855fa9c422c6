"""What computes: one of Keras's backends, chosen before Keras is imported, which asks for it once."""

from __future__ import annotations

import importlib.util
import os

from pipelines.schema import RefusedError

BACKENDS = ("tensorflow", "jax", "torch")
DATA_PARALLEL = "data-parallel"
"""The way to spread a training over devices: each holds the network and takes a part of every batch."""

VARIABLE = "KERAS_BACKEND"


def choose_backend(name: str) -> None:
    """Sets what Keras will be told, in this process and in those that it starts.

    Raises:
        RefusedError: the backend is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise RefusedError(
            f'--backend {name} needs {name}. Received: none installed. Call pip install "tfgma[{name}]"'
        )
    os.environ[VARIABLE] = name
