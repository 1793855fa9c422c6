"""How fast a network's TFLite files are beside the same network under other runtimes."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.files import distinct_names
from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.benchmark_networks import write_network, write_onnx_int8
from tfgma.bundle import ALL_VARIANTS, ONNX, VARIANTS, checked_file, model_file, read_bundle
from tfgma.config import load_study
from tfgma.contenders import Contender, waiting
from tfgma.latency import machine
from tfgma.processes import run_apart
from tfgma.runs import write_json
from tfgma.turns import interleaved

RESULTS = "infer.json"
NETWORKS = "networks"
THREADS = (1, 2, 4)
ROUNDS = 10
CLIPS_A_TURN = 3
BASELINE = "torch"
ONNX_INT8 = "onnx-int8"
PEERS = {
    BASELINE: ("torch", "onnx"),
    "torch-compiled": ("torch", "onnx"),
    "onnx": ("onnxruntime",),
    ONNX_INT8: ("onnxruntime", "onnx"),
}
"""name -> packages, each of the extra torch or onnx."""
NOT_AVAILABLE = "not_available"

Progress = Callable[[int, int, str], None]


def benchmark_inference(
    out: Path,
    *,
    configs: Sequence[Path] = (),
    bundle: Path | None = None,
    variants: Sequence[str] = (),
    threads: Sequence[int] = THREADS,
    peers: Sequence[str] = tuple(PEERS),
    rounds: int = ROUNDS,
    num_classes: int = 3,
    seed: int = 0,
    command: str = "",
    progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """Times a clip of noise under each runtime, in turn; writes and returns the content of OUT/infer.json.

    Args:
        out: a folder, new or one of before, whose networks are made anew.
        configs: studies whose networks are made, with weights drawn by `seed`.
        bundle: an export in place of configs; its `model.onnx` is what the peers run.
        variants: of ALL_VARIANTS; default: all but int16, or those that the bundle holds.
        threads: of each contender.
        peers: of PEERS.
        rounds: how often each contender has its turn of CLIPS_A_TURN clips.
        num_classes: of the networks of `configs`.
        seed: of weights and of the clips that int8 is calibrated on.
        command: is written down.
        progress: is told.

    Returns:
        `command`, `machine`, `versions`, `rounds`, `clips_a_turn`, `networks`: name -> rows of `contender`,
        `threads` and what `figures` gives, or `not_available`, why not.

    Raises:
        RefusedError: neither configs nor a bundle, an unknown variant or peer, a peer's package is missing,
            or a network cannot be converted.
    """
    for peer in peers:
        if peer not in PEERS:
            raise RefusedError(f'--peer must be one of {", ".join(PEERS)}. Received: "{peer}"')
        for package in PEERS[peer]:
            load(package, "torch" if package == "torch" else "onnx")
    for variant in variants:
        model_file(variant)
    if bool(configs) == bool(bundle):
        raise RefusedError(
            f"either --config or --bundle must be given. Received: {'both' if bundle else 'neither'}"
        )
    sources = [bundle] if bundle else list(configs)
    steps = len(sources) * (1 + len(threads) * rounds)
    results: dict[str, list[dict[str, Any]]] = {}
    for number, (source, name) in enumerate(zip(sources, distinct_names(sources, Path()), strict=True)):
        before = number * steps // len(sources)
        progress(before, steps, f"{name}: files")
        folder = out / NETWORKS / name
        folder.mkdir(parents=True, exist_ok=True)
        if bundle:
            files = bundle_files(bundle, variants)
        else:
            asked = tuple(variants or VARIANTS)
            write = (load_study(source), folder, (*asked, ONNX) if peers else asked, num_classes, seed)
            run_apart(write_network, *write, tell=lambda *_: None, what=f"the conversion of {source.name}")
            files = {
                variant: folder / model_file(variant) for variant in (*asked, *((ONNX,) if peers else ()))
            }
        if ONNX_INT8 in peers and ONNX in files:
            files[ONNX_INT8] = folder / "model_int8.onnx"
            int8 = (files[ONNX], files[ONNX_INT8], seed)
            run_apart(write_onnx_int8, *int8, tell=lambda *_: None, what=f"the conversion to {ONNX_INT8}")
        results[name] = []
        for row, count in enumerate(threads):
            done = before + 1 + row * rounds

            def tell(turn: int, done: int = done, what: str = f"{name}, {count} threads") -> None:
                progress(done + turn, steps, what)

            results[name] += _timed(contenders(files, peers, count), rounds, tell)
    content = {
        "command": command,
        "machine": machine(),
        "versions": _versions(),
        "rounds": rounds,
        "clips_a_turn": CLIPS_A_TURN,
        "networks": results,
    }
    write_json(out / RESULTS, content)
    progress(steps, steps, "done")
    return content


def bundle_files(bundle: Path, variants: Sequence[str]) -> dict[str, Path]:
    """Variant -> file of a bundle, whole as they were exported, and the ONNX file if there is one.

    Raises:
        RefusedError: not a bundle; a file that is asked for is missing or is another.
    """
    description = read_bundle(bundle)
    held = [name for name in (*ALL_VARIANTS, ONNX) if model_file(name) in description.files]
    asked = [*(variants or [name for name in held if name != ONNX]), *([ONNX] if ONNX in held else [])]
    for name in asked:
        checked_file(bundle, description, model_file(name))
    return {name: bundle / model_file(name) for name in asked}


def contenders(files: Mapping[str, Path], peers: Sequence[str], threads: int) -> list[Contender]:
    """Who has a turn: the TFLite files, then the peers, of which some may have no file."""
    ours = [Contender(name, "tflite", file, threads) for name, file in files.items() if name in ALL_VARIANTS]
    theirs = [
        Contender(ONNX_INT8, ONNX, files.get(ONNX_INT8), threads)
        if peer == ONNX_INT8
        else Contender(peer, peer, files.get(ONNX), threads)
        for peer in peers
    ]
    return ours + theirs


def time_in_turn(contenders: Sequence[Contender], rounds: int = ROUNDS) -> dict[str, dict[str, Any]]:
    """What `figures` gives of contenders by name, each in a process of its own, all in one run.

    Raises:
        RefusedError: one cannot be run, or its process was killed.
    """
    with contextlib.ExitStack() as stack:
        turns = {
            one.name: partial(stack.enter_context(waiting(one)).turn, CLIPS_A_TURN) for one in contenders
        }
        return figures(interleaved(turns, rounds))


def figures(taken: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Figures of name -> (rounds, clips, 2) milliseconds, by the clock and of the processor.

    Returns:
        name -> `median_ms` and `p95_ms` of a clip, `processor_ms`, the median over all threads together, and
        `times_torch`: PyTorch's time over this one's, the median over rounds, each by its own median (None
        where PyTorch was not asked).
    """
    baseline = np.median(taken[BASELINE][..., 0], axis=1) if BASELINE in taken else None
    found = {}
    for name, times in taken.items():
        median, p95 = np.quantile(times[..., 0], (0.5, 0.95))
        ratio = None if baseline is None else float(np.median(baseline / np.median(times[..., 0], axis=1)))
        found[name] = {
            "median_ms": round(float(median), 3),
            "p95_ms": round(float(p95), 3),
            "processor_ms": round(float(np.median(times[..., 1])), 3),
            "times_torch": None if ratio is None else round(ratio, 3),
        }
    return found


def inference_table(results: Mapping[str, Any]) -> list[list[str]]:
    """Rows: network, contender, threads, median, 95th percentile, processor, times as fast as PyTorch."""
    rows = []
    for network, found in results["networks"].items():
        for one in found:
            begin = [network, one["contender"], str(one["threads"])]
            if NOT_AVAILABLE in one:
                rows.append([*begin, f"not available: {one[NOT_AVAILABLE]}", "", "", ""])
            else:
                times = one["times_torch"]
                cost = [f"{one[key]:.3g}" for key in ("median_ms", "p95_ms", "processor_ms")]
                rows.append([*begin, *cost, "-" if times is None else f"{times:.2f}"])
    return rows


def _timed(candidates: Sequence[Contender], rounds: int, tell: Callable[[int], None]) -> list[dict[str, Any]]:
    """One row a contender; the processes of all wait for their turns, and end here."""
    missing = {}
    with contextlib.ExitStack() as stack:
        turns = {}
        for one in candidates:
            try:
                if one.file is None:
                    raise RefusedError("the bundle must hold model.onnx. Export it again with --onnx")
                turns[one.name] = partial(stack.enter_context(waiting(one)).turn, CLIPS_A_TURN)
            except RefusedError as error:
                missing[one.name] = str(error)
        found = figures(interleaved(turns, rounds, tell))
    return [
        {"contender": one.name, "threads": one.threads}
        | (found[one.name] if one.name in found else {NOT_AVAILABLE: missing[one.name]})
        for one in candidates
    ]


def _versions() -> dict[str, str]:
    found = {}
    for name in ("ai-edge-litert", "onnxruntime", "torch", "tf2onnx", "keras", "tensorflow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
