"""An ONNX file behind its named inputs and output, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.bundle import OUTPUT
from tfgma.inference import THREADS, check_inputs


class ONNXModel:
    """An ONNX file that answers as `TFLiteModel` does."""

    def __init__(self, content: bytes, threads: int = THREADS) -> None:
        """Loads the file.

        Raises:
            RefusedError: not an ONNX file that answers `probabilities`, or ONNX Runtime is missing.
        """
        runtime = load("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait for the next clip in a loop take the processor from whatever else runs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._content = content
        try:
            self._session: Any = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # each kind of failure has a class of its own
            raise RefusedError(
                f"a model must be an ONNX file that this runtime knows. Received: {error}. "
                "Update onnxruntime, or export it again"
            ) from error
        outputs = sorted(one.name for one in self._session.get_outputs())
        if OUTPUT not in outputs:
            raise RefusedError(
                f"a model must answer {OUTPUT}. Received: {', '.join(outputs)}. Export it again"
            )

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape with the batch, which is 1."""
        return {
            one.name: tuple(one.shape) for one in sorted(self._session.get_inputs(), key=lambda i: i.name)
        }

    @property
    def operators(self) -> list[str]:
        """Names of the operators in the file, in order."""
        return [node.op_type for node in load("onnx", "onnx").load_from_string(self._content).graph.node]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Inputs by name, in any order, each (1, ...) float32 -> (C,) float32 probabilities.

        Raises:
            RefusedError: an input is missing, is not known, or has another shape or dtype.
        """
        return self.outputs(inputs)[OUTPUT]

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `__call__`, but all that the file answers, by name and without the batch."""
        check_inputs(inputs, self.input_shapes)
        names = [one.name for one in self._session.get_outputs()]
        return {
            name: values[0]
            for name, values in zip(names, self._session.run(names, dict(inputs)), strict=True)
        }
