"""The ranges of values by which a TFLite file's tensors are to be quantised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

IDENTIFIER = b"TFL3"
THREADS = 2

Ranges = dict[str, tuple[float, float]]
"""Name of a tensor -> least and largest value."""


def measured_ranges(calibrated: bytes, clips: Iterable[Mapping[str, np.ndarray]]) -> Ranges:
    """What the tensors of a file hold while it answers `clips`.

    TFLite's own calibrator looks at a tensor when others have been computed: where a sum is written into the
    memory of its first operand, as those of residual blocks are, that operand seems to have the sum's range,
    often ten times its own. Here each tensor has memory of its own.

    Args:
        calibrated: a float32 file some of whose tensors have a range; the others are constants.
        clips: inputs by name, each (1, ...) float32.
    """
    # Without delegates, which do not tell what they hold.
    interpreter = Interpreter(
        model_content=calibrated,
        num_threads=THREADS,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    inputs = interpreter.get_signature_runner().get_input_details()
    numbers = [number for number, tensor in enumerate(_tensors(_unpacked(calibrated))) if _has_range(tensor)]
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    found: Ranges = {}
    for clip in clips:
        for name, detail in inputs.items():
            interpreter.set_tensor(detail["index"], clip[name])
        interpreter.invoke()
        for number in numbers:
            values = interpreter.get_tensor(number)
            low, high = found.get(names[number], (np.inf, -np.inf))
            found[names[number]] = min(low, float(values.min())), max(high, float(values.max()))
    return found


def with_ranges(calibrated: bytes, ranges: Ranges) -> bytes:
    """The same file, its tensors that have a range with those of `ranges`."""
    model = _unpacked(calibrated)
    for tensor in _tensors(model):
        if _has_range(tensor):
            low, high = ranges[tensor.name.decode()]
            tensor.quantization.min, tensor.quantization.max = [low], [high]
    builder = flatbuffers.Builder(len(calibrated))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _unpacked(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def _tensors(model: Any) -> list[Any]:
    (graph,) = model.subgraphs
    return list(graph.tensors)


def _has_range(tensor: Any) -> bool:
    quantization = tensor.quantization
    return quantization is not None and quantization.min is not None and len(quantization.min) == 1
