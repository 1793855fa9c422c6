"""How long a TFLite or ONNX file takes for a clip, and how much memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.optional import load
from tfgma.bundle import FLOW, FLOW_FILE, ONNX, OUTPUT, model_file
from tfgma.inference import THREADS as DEFAULT_THREADS
from tfgma.inference import TFLiteModel
from tfgma.onnx_model import ONNXModel
from tfgma.processes import run_apart

THREADS = (1, 2, 4)
LEAST_RUNS = 20
LEAST_SECONDS = 0.5
WARM_UP_RUNS = 3


Runnable = TFLiteModel | ONNXModel


def opened(file: Path, threads: int = DEFAULT_THREADS) -> Runnable:
    """A file of an export, ready to answer.

    Raises:
        RefusedError: the file cannot be run.
    """
    content = file.read_bytes()
    if file.name == model_file(ONNX):
        return ONNXModel(content, threads)
    return TFLiteModel(content, threads, FLOW if file.name == FLOW_FILE else OUTPUT)


def measure(file: Path) -> dict[str, Any]:
    """Latency and memory of a file, in a process of its own.

    Returns:
        `latency_ms`: for 1, 2 and 4 threads `median` and `p95` over `runs` clips of noise;
        `peak_memory_bytes`: what the process, in which the runtime is there already, grew by, at most, from
        before it read the file until after the runs on one thread: the file, the runtime's copies of its
        weights, its arena and some of its code (None where the system does not tell).

    Raises:
        RefusedError: the file cannot be run, or the process was killed.
    """
    return run_apart(_measure, file, tell=lambda: None, what=f"the process that times {file.name}")


def machine() -> dict[str, Any]:
    """What latencies hold for."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "ai_edge_litert": importlib.metadata.version("ai-edge-litert"),
    }


def _measure(file: Path, tell: Callable[..., None]) -> dict[str, Any]:
    # The runtime's own code is not the file's.
    is_onnx = file.name == model_file(ONNX)
    load(*(("onnxruntime", "onnx") if is_onnx else ("ai_edge_litert.interpreter", "runtime")))
    before = _peak_memory_bytes()
    latency, grown = {}, None
    for threads in THREADS:
        latency[str(threads)] = _latency(opened(file, threads))
        if grown is None and before is not None:
            grown = (_peak_memory_bytes() or before) - before
    return {"latency_ms": latency, "peak_memory_bytes": grown}


def _latency(model: Runnable) -> dict[str, float]:
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in model.input_shapes.items()
    }
    for _ in range(WARM_UP_RUNS):
        model(inputs)
    taken: list[float] = []
    while len(taken) < LEAST_RUNS or sum(taken) < LEAST_SECONDS:
        begin = time.perf_counter()
        model(inputs)
        taken.append(time.perf_counter() - begin)
    median, p95 = 1000 * np.quantile(taken, (0.5, 0.95))
    return {"median": round(float(median), 3), "p95": round(float(p95), 3), "runs": len(taken)}


def _peak_memory_bytes() -> int | None:
    """Most memory that this process ever held; of Linux, where getrusage counts what its parent held."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
