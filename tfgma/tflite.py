"""A network as a SavedModel and as TFLite files of builtin operators."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert import mlir_quantize

from pipelines.schema import RefusedError
from tfgma.bundle import OUTPUT
from tfgma.outputs import LOGITS, probabilities_of
from tfgma.ranges import measured_ranges, with_ranges

SIGNATURE = "serving_default"

FOREIGN = re.compile(r"\btf\.[A-Z]\w+")
"""What the converter calls an operator of TensorFlow that has no builtin form."""

Clips = Callable[[], Iterator[dict[str, np.ndarray]]]
"""Gives clips one after the other, as inputs by name, each (1, ...) float32."""


def save_model(
    network: keras.Model, path: Path, batch: int | None = None, also: Collection[str] = ()
) -> None:
    """Writes a SavedModel: named inputs -> `probabilities`, and `also` those of the network's outputs.

    It takes any batch size by default.
    """

    def answer(inputs: dict[str, Any]) -> dict[str, Any]:
        found = network(inputs, training=False)
        with tf.name_scope(OUTPUT):
            probabilities = probabilities_of(found[LOGITS])
        return {OUTPUT: probabilities} | {name: found[name] for name in also}

    save_signature(network, path, answer, batch)


def save_signature(
    network: keras.Model,
    path: Path,
    answer: Callable[[dict[str, Any]], dict[str, Any]],
    batch: int | None = None,
) -> None:
    """Writes a SavedModel: the network's inputs by their names -> what `answer` makes of them, by name."""
    archive = keras.export.ExportArchive()
    archive.track(network)
    specs = {
        tensor.name: tf.TensorSpec((batch, *tensor.shape[1:]), tf.float32, name=tensor.name)
        for tensor in network.inputs
    }
    archive.add_endpoint(SIGNATURE, answer, input_signature=[specs])
    archive.write_out(str(path), verbose=False)


def convert(saved_model: Path, variant: str) -> bytes:
    """A network as a TFLite file of batch 1 that needs no clips to be made.

    Args:
        saved_model: what `save_model` wrote with batch 1. From the network's concrete functions the file held
            variables and answered NaN.
        variant: float32; float16 (weights); dynamic (int8 weights, by channel).

    Raises:
        RefusedError: the network needs an operator that is not builtin; it is named.
    """
    converter = _converter(saved_model)
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return _refusing_foreign(converter.convert)


def convert_int16(saved_model: Path, clips: Clips) -> bytes:
    """As int8, but of activations 16 bits; their kernels are slow, and their answers are nearly float32's.

    Raises:
        RefusedError: as `convert`.
    """
    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    converter.representative_dataset = clips
    return _refusing_foreign(converter.convert)


class Int8Converter:
    """A network whose activations were measured once, as int8 files of batch 1.

    Weights are quantised by channel, activations by tensor. `ranges`: of the activations.
    """

    def __init__(
        self, saved_model: Path, clips: Clips, is_float: Callable[[str], bool] = lambda name: False
    ) -> None:
        """Measures what every operator gives for `clips`, which stand for all.

        Args:
            saved_model: as `convert` takes it.
            clips: inputs of one clip after the other.
            is_float: tells tensors, by name, that are made in float32 whatever `convert` is told.

        Raises:
            RefusedError: as `convert`.
        """
        converter = _converter(saved_model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        # One clip tells which tensors need a range.
        converter.representative_dataset = lambda: itertools.islice(clips(), 1)
        self._clips = clips
        self._debugger = _refusing_foreign(
            lambda: tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=clips)
        )
        calibrated = self._debugger.calibrated_model
        self.ranges = measured_ranges(calibrated, clips())
        self._debugger.calibrated_model = with_ranges(calibrated, self.ranges)
        self._floats = [name for name in self.ranges if is_float(name)]
        answers = _output_names(calibrated)
        self._answers = [
            name for name in self.ranges if name == answers.get(OUTPUT) or name.startswith(f"{OUTPUT}/")
        ]

    def convert(self, floats: Sequence[str] = (), *, int8_io: bool = False) -> bytes:
        """The file.

        What makes probabilities of logits computes in float32 too, unless outputs are int8: an int8 softmax
        knows none but the multiples of 1/256.

        Args:
            floats: the operators that make these tensors (names of `losses`) compute in float32.
            int8_io: whether inputs and outputs are int8 too, in place of float32.
        """
        kind = tf.int8 if int8_io else tf.float32
        answers = [] if int8_io else self._answers
        return mlir_quantize(
            self._debugger.calibrated_model,
            input_data_type=kind,
            output_data_type=kind,
            denylisted_nodes=[*self._floats, *answers, *floats],
        )

    def losses(self, clips: int) -> dict[str, float]:
        """Tensor -> what int8 loses where it is made, over the first so many clips, the largest first.

        The loss is the root of noise to signal, of 1 for a channel of which nothing is left: the squared
        differences between the int8 operator and the float32 one on the same inputs, over the variance of the
        float32 one's answer, by channel and then their mean.
        """
        # Given the file and not the converter, it keeps every tensor until it has been compared.
        debugger: Any = tf.lite.experimental.QuantizationDebugger(
            quant_debug_model_content=self._debugger.get_debug_quantized_model(),
            debug_dataset=lambda: self._in_order(debugger._quant_interpreter, clips),
            debug_options=tf.lite.experimental.QuantizationDebugOptions(
                layer_direct_compare_metrics={LOSS: _noise_to_signal}
            ),
        )
        debugger.run()
        found = {}
        for key, figures in debugger.layer_statistics.items():
            name, _ = debugger._get_operand_name_and_index(key)
            found[name] = float(figures[LOSS])
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _in_order(self, interpreter: Any, count: int) -> Iterator[list[np.ndarray]]:
        """Clips as lists, in the order in which the file has its inputs."""
        names = [
            detail["name"].removeprefix(f"{SIGNATURE}_").partition(":")[0]
            for detail in interpreter.get_input_details()
        ]
        for inputs in itertools.islice(self._clips(), count):
            yield [inputs[name] for name in names]


LOSS = "noise_to_signal"


def _noise_to_signal(exact: np.ndarray, quantised: np.ndarray, scale: float, zero_point: int) -> float:
    # One scale serves all channels, so those of small values lose most: by channel this shows.
    exact = exact.reshape(-1, exact.shape[-1])
    noise = exact - (quantised.reshape(exact.shape).astype(np.float32) - zero_point) * scale
    signal = exact.var(axis=0)
    alive = signal > 0
    shares = np.mean(noise[:, alive] ** 2, axis=0) / signal[alive]
    return float(np.sqrt(np.mean(np.minimum(shares, 1)))) if alive.any() else 0.0


def _output_names(content: bytes) -> dict[str, str]:
    """Output by its name in the signature -> its tensor's name in the file."""
    details = Interpreter(model_content=content).get_signature_runner().get_output_details()
    return {name: detail["name"] for name, detail in details.items()}


def _converter(saved_model: Path) -> Any:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def _refusing_foreign(convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except Exception as error:  # the converter's own class is not public
        foreign = sorted(set(FOREIGN.findall(str(error))))
        if not foreign:
            raise
        raise RefusedError(
            f"a network must consist of TFLite's builtin operators. Received: {', '.join(foreign)}. "
            "Choose another network, or write its layer with builtin operators"
        ) from error
