"""Largest error of every network against the published code's answers, on the Keras backend in use.

KERAS_BACKEND=tensorflow .venv/bin/python benchmarks/golden_errors.py
KERAS_BACKEND=jax .venv-jax/bin/python benchmarks/golden_errors.py
KERAS_BACKEND=torch .venv-torch/bin/python benchmarks/golden_errors.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np

from tests.golden_networks import REFERENCE, answer_errors, our_inputs, our_options, published_checkpoint
from tfgma.weights.convert import convert
from tfgma.weights.pretrained import load_network


def main() -> None:
    """Prints one JSON object: name -> parameters, error as a share of max(1, largest published value)."""
    found = {}
    for path in sorted(REFERENCE.glob("*.json")):
        name = path.stem
        with tempfile.TemporaryDirectory() as folder:
            checkpoint, out = Path(folder) / "checkpoint.npz", Path(folder) / "network.keras"
            np.savez(checkpoint, **published_checkpoint(name))
            convert(checkpoint, name, out, our_options(name))
            network = load_network(out)
        inputs = our_inputs(name)
        answers = network.predict_on_batch({tensor.name: inputs[tensor.name] for tensor in network.inputs})
        errors = answer_errors(name, answers).values()
        found[name] = {
            "parameters": network.count_params(),
            "error": float(f"{max(error / max(1, largest) for error, largest in errors):.2g}"),
        }
        print(name, found[name], file=sys.stderr)
    print(json.dumps({"backend": keras.backend.backend(), "networks": found}, indent=1))


if __name__ == "__main__":
    main()
