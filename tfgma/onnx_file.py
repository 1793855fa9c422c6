"""A network as an ONNX file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
from keras import ops

from pipelines.optional import load
from tfgma.bundle import OUTPUT
from tfgma.outputs import LOGITS, probabilities_of

EXTRA = "onnx"
APART = 2**23
"""Values of a kernel: one of more is kept from the exporter, which holds tens of copies of each constant."""


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
    apart = {f"kernel_{number}": one for number, one in enumerate(large_kernels(network))}
    answering = _Answering(network, also, apart)
    shapes = {one.name: (1, *one.shape[1:]) for one in network.inputs}
    shapes |= {name: tuple(one.shape) for name, one in apart.items()}
    answering({name: keras.Input(batch_shape=shape, name=name) for name, shape in shapes.items()})
    signature = {
        name: keras.InputSpec(shape=shape, dtype="float32", name=name) for name, shape in shapes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        answering.export(path, format="onnx", input_signature=[signature], verbose=False)
        content = path.read_bytes()
    return _with_constants(content, apart) if apart else content


def large_kernels(network: keras.Model) -> list[keras.Variable]:
    """Kernels of dense layers whose values are more than APART."""
    kernels = [layer.kernel for layer in network._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    return [one for one in kernels if math.prod(one.shape) > APART]


class _Answering(keras.Model):
    """A network's inputs, and some of its weights -> `probabilities`, and `also` those of its outputs."""

    def __init__(self, network: keras.Model, also: Collection[str], apart: dict[str, keras.Variable]) -> None:
        super().__init__(name="answering")
        self.network = network
        self.also = list(also)
        self.apart = apart

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        clip = {one.name: inputs[one.name] for one in self.network.inputs}
        given = {id(one): inputs[name] for name, one in self.apart.items()}
        weights, others = (
            [given.get(id(one), one.value) for one in group]
            for group in (self.network.trainable_variables, self.network.non_trainable_variables)
        )
        found, _ = self.network.stateless_call(weights, others, clip, training=False)
        return {OUTPUT: probabilities_of(found[LOGITS])} | {name: found[name] for name in self.also}


def _with_constants(content: bytes, values: dict[str, keras.Variable]) -> bytes:
    """The same file, but for inputs of these names, which are constants."""
    onnx = load("onnx", EXTRA)
    graph = (model := onnx.load_from_string(content)).graph
    inputs = [one for one in graph.input if one.name not in values]
    del graph.input[:]
    graph.input.extend(inputs)
    for name, value in values.items():
        graph.initializer.append(onnx.numpy_helper.from_array(ops.convert_to_numpy(value), name))
    return model.SerializeToString()
