"""A network under one runtime, in a process of its own that waits between its clips."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.inference import TFLiteModel
from tfgma.onnx_model import ONNXModel
from tfgma.torch_network import torch_network
from tfgma.turns import Waiting

SEED = 0


@dataclass(frozen=True)
class Contender:
    """`file`, if there is one, on `threads` threads by `runtime`: tflite, onnx, torch or torch-compiled."""

    name: str
    runtime: str
    file: Path | None
    threads: int


def waiting(contender: Contender) -> Waiting:
    """A contender in its process, which answers `turn(clips)` with what `_timed` gives.

    Raises:
        RefusedError: the runtime cannot run the file; the process was killed.
    """
    environment = {
        # OpenMP's threads would take the processor from the others while they wait.
        "OMP_NUM_THREADS": str(contender.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        # Weights are constants for torch.compile too.
        "TORCHINDUCTOR_FREEZING": "1",
    }
    return Waiting(contender.name, _load, contender, environment=environment)


def _load(contender: Contender) -> Callable[[int], np.ndarray]:
    assert contender.file is not None
    content = contender.file.read_bytes()
    if contender.runtime.startswith("torch"):
        return partial(_timed, _torch_answer(contender, content))
    model = (ONNXModel if contender.runtime == "onnx" else TFLiteModel)(content, contender.threads)
    answer = partial(model, noise(model.input_shapes))
    answer()
    return partial(_timed, answer)


def _torch_answer(contender: Contender, content: bytes) -> Callable[[], Any]:
    torch = load("torch", "torch")
    torch.set_num_threads(contender.threads)
    network = torch_network(content).to(memory_format=torch.channels_last)
    shapes = {
        one.name: tuple(length.dim_value for length in one.type.tensor_type.shape.dim)
        for one in load("onnx", "onnx").load_from_string(content).graph.input
    }
    clip = [torch.from_numpy(values) for values in noise(shapes).values()]
    answer = torch.compile(network) if contender.runtime == "torch-compiled" else network

    def one() -> Any:
        with torch.inference_mode():
            return answer(*clip).numpy()[0]

    try:
        one()
    except RefusedError:
        raise
    except Exception as error:  # of the compiler, each of a class of its own
        reason = str(error).strip().splitlines()[0]
        raise RefusedError(f"PyTorch must run the network. Received: {reason}") from error
    return one


def noise(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A clip of noise in -1..1, each (1, ...) float32; the same for each contender."""
    return {
        name: np.random.default_rng(SEED).uniform(-1, 1, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def _timed(answer: Callable[[], Any], clips: int) -> np.ndarray:
    """Answers so many clips, after one that is not timed.

    Returns:
        (clips, 2) milliseconds: by the clock, and of the processor, all threads together.
    """
    answer()
    taken = np.empty((clips, 2))
    for row in taken:
        clock, processor = time.perf_counter(), time.process_time()
        answer()
        row[:] = 1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)
    return taken
