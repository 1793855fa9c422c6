"""A network under one runtime, in a process of its own that waits between its clips."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.inference import TFLiteModel
from tfgma.onnx_model import ONNXModel
from tfgma.processes import end_with_parent
from tfgma.torch_network import torch_network

SEED = 0


@dataclass(frozen=True)
class Contender:
    """`file`, if there is one, on `threads` threads by `runtime`: tflite, onnx, torch or torch-compiled."""

    name: str
    runtime: str
    file: Path | None
    threads: int


class Waiting:
    """A contender in its process. Use as a context manager."""

    def __init__(self, contender: Contender) -> None:
        """Starts the process and loads the network.

        Raises:
            RefusedError: the runtime cannot run the file; the process was killed.
        """
        self._what = f"the process of {contender.name}"
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(contender.threads,)
        )
        try:
            self._answer(self._pool.submit(_load, contender))
        except BaseException:
            self._pool.shutdown()
            raise

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Ends the process."""
        self._pool.shutdown()

    def turn(self, clips: int) -> np.ndarray:
        """Answers so many clips, after one that is not timed.

        Returns:
            (clips, 2) milliseconds: by the clock, and of the processor, all threads together.

        Raises:
            RefusedError: the process was killed.
        """
        return self._answer(self._pool.submit(_turn, clips))

    def _answer(self, future: Future) -> Any:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise RefusedError(
                f"{self._what} must come to its end. Received: {error}. Give it more memory if the system "
                "took it. Call again"
            ) from error


_answer_one: Callable[[], Any]


def _begin(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    # OpenMP's threads would take the processor from the others while they wait.
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    # Weights are constants for torch.compile too.
    os.environ["TORCHINDUCTOR_FREEZING"] = "1"


def _load(contender: Contender) -> None:
    global _answer_one
    assert contender.file is not None
    content = contender.file.read_bytes()
    if contender.runtime.startswith("torch"):
        _answer_one = _torch_answer(contender, content)
    else:
        model = (ONNXModel if contender.runtime == "onnx" else TFLiteModel)(content, contender.threads)
        clip = noise(model.input_shapes)
        _answer_one = lambda: model(clip)  # noqa: E731 - what is called is chosen here
    _answer_one()


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


def _turn(clips: int) -> np.ndarray:
    _answer_one()
    taken = np.empty((clips, 2))
    for row in taken:
        clock, processor = time.perf_counter(), time.process_time()
        _answer_one()
        row[:] = 1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)
    return taken
