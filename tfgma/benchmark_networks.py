"""Files of networks with made weights, which answer nothing but cost what trained ones do."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from pipelines.optional import load
from tfgma.bundle import ONNX, model_file
from tfgma.config import StudyConfig
from tfgma.networks import build_network
from tfgma.onnx_file import convert_onnx
from tfgma.onnx_model import ONNXModel
from tfgma.tflite import Int8Converter, convert, convert_int16, save_model

CALIBRATION_CLIPS = 4


def write_network(
    study: StudyConfig,
    folder: Path,
    variants: tuple[str, ...],
    num_classes: int,
    seed: int,
    tell: Callable[..., None],
) -> None:
    """Writes a study's network, whose weights are drawn by `seed`, as files of those variants.

    Raises:
        RefusedError: the network needs operators that are not builtin, or a package is missing.
    """
    unset = dict.fromkeys(name for name in type(study.model).model_fields if name.endswith("weights"))
    keras.utils.set_random_seed(seed)
    network = build_network(
        study.model_copy(update={"model": study.model.model_copy(update=unset)}), num_classes
    )
    shapes = {one.name: (1, *one.shape[1:]) for one in network.inputs}
    with tempfile.TemporaryDirectory() as saved:
        save_model(network, Path(saved), batch=1)
        for variant in variants:
            if variant == ONNX:
                content = convert_onnx(network)
            elif variant == "int8":
                content = Int8Converter(Path(saved), lambda: noises(shapes, seed)).convert()
            elif variant == "int16":
                content = convert_int16(Path(saved), lambda: noises(shapes, seed))
            else:
                content = convert(Path(saved), variant)
            (folder / model_file(variant)).write_bytes(content)


def write_onnx_int8(file: Path, out: Path, seed: int, tell: Callable[..., None]) -> None:
    """Writes an ONNX file with weights (by channel) and activations of 8 bits, as ONNX Runtime advises.

    Raises:
        RefusedError: a package is missing.
    """
    tools = load("onnxruntime.quantization", "onnx")
    clips = noises(ONNXModel(file.read_bytes()).input_shapes, seed)

    class Clips(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(clips, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        load("onnxruntime.quantization.shape_inference", "onnx").quant_pre_process(
            str(file),
            str(prepared),
            skip_symbolic_shape=True,  # which needs sympy; all shapes are given
        )
        tools.quantize_static(
            str(prepared),
            str(out),
            Clips(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
        )


def noises(shapes: dict[str, tuple[int, ...]], seed: int) -> Iterator[dict[str, np.ndarray]]:
    """CALIBRATION_CLIPS clips of noise in -1..1, each input (1, ...) float32."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None, CALIBRATION_CLIPS):
        yield {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
