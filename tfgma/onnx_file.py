"""A network as an ONNX file."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

import keras

from pipelines.optional import load
from tfgma.bundle import OUTPUT
from tfgma.outputs import LOGITS, probabilities_of

EXTRA = "onnx"


def require_onnx() -> None:
    """Imports nothing but what tells whether ONNX files can be made and run.

    Raises:
        RefusedError: a package of the extra is missing; the message names both.
    """
    for name in ("onnx", "tf2onnx", "onnxruntime"):
        load(name, EXTRA)


def convert_onnx(network: keras.Model, also: Collection[str] = ()) -> bytes:
    """A network as an ONNX file of batch 1, on TensorFlow alone.

    It takes inputs by their names and answers `probabilities`, and `also` those of the network's outputs.

    Raises:
        RefusedError: the packages are missing.
    """
    require_onnx()
    outputs = {OUTPUT: probabilities_of(network.output[LOGITS])}
    answering = keras.Model(network.input, outputs | {name: network.output[name] for name in also})
    signature = {
        tensor.name: keras.InputSpec(shape=(1, *tensor.shape[1:]), dtype="float32", name=tensor.name)
        for tensor in network.inputs
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        answering.export(path, format="onnx", input_signature=[signature], verbose=False)
        return path.read_bytes()
