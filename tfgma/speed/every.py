"""All measurements of speed, one after the other, as one table and one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tfgma.benchmark_inference import benchmark_inference
from tfgma.delivered import configs_folder
from tfgma.speed.codecs import measure_records
from tfgma.speed.input import measure_input
from tfgma.speed.predict import measure_predict
from tfgma.speed.preprocess import measure_preprocess
from tfgma.speed.results import kept
from tfgma.speed.train import measure_train

SUBJECTS, SECONDS, REFERENCE_SECONDS, CLIPS, THREADS = 4, 60.0, 2.0, 12, 2
INPUT_SUBJECTS = 8
"""So many videos that the start of each pass over their clips weighs little, as with a lab's own."""

PICTURE = "all.png"
INFER_PEERS = ("torch", "torch-compiled", "onnx", "onnx-int8")

Tell = Callable[[int, int, str], None]


def measure_all(
    out: Path, bundle: Path, *, rounds: int, workers: int, command: str, tell: Tell
) -> dict[str, Any]:
    """Writes OUT/NAME.json of each, OUT/all.json and a picture of the ratios; returns what is in all.json.

    Args:
        out: where videos, data and results lie.
        bundle: that predict answers with.
        rounds: turns of each contender.
        workers: processes of a build and of PyTorch's loader.
        command: is written down.
        tell: is told.

    Returns:
        `ratios` of all, and each measurement's figures by its name.

    Raises:
        RefusedError: a package of a competitor is missing, or a process was killed.
    """
    size = {"subjects": SUBJECTS, "seconds": SECONDS}
    common: dict[str, Any] = {**size, "rounds": rounds, "workers": workers}
    parts: dict[str, Callable[[Tell], dict[str, Any]]] = {
        "preprocess": lambda tell: measure_preprocess(
            out, reference_seconds=REFERENCE_SECONDS, **common, tell=tell
        ),
        "records": lambda tell: measure_records(out, clips=CLIPS, **common, tell=tell),
        "input": lambda tell: measure_input(out, **{**common, "subjects": INPUT_SUBJECTS}, tell=tell),
        "train": lambda tell: measure_train(
            backend="tensorflow", rounds=rounds, threads=THREADS, compiled=True, tell=tell
        ),
        "predict": lambda tell: measure_predict(out, bundle, **common, tell=tell),
        "infer": lambda tell: _inference(out, rounds, command, tell),
    }
    found = {}
    for number, (name, measure) in enumerate(parts.items()):

        def part(done: int, total: int, text: str, number: int = number, name: str = name) -> None:
            tell(1000 * number + 1000 * done // max(1, total), 1000 * len(parts), f"{name}: {text}")

        found[name] = kept(out, name, measure(part), command)
    content = kept(out, "all", together(found), command)
    draw(content["ratios"], out / PICTURE)
    tell(1, 1, "done")
    return content


def together(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`ratios` of all parts, and each part's figures by its name."""
    ratios = {name: value for part in parts.values() for name, value in part["ratios"].items()}
    return {"ratios": ratios, **{name: dict(part) for name, part in parts.items()}}


def draw(ratios: Mapping[str, float], file: Path) -> None:
    """A bar a ratio, on a scale where twice as fast and half as fast are as far from equal."""
    figure = Figure(figsize=(8.0, 0.8 + 0.4 * len(ratios)))
    axes = figure.subplots()
    names = list(ratios)[::-1]
    values = [ratios[name] for name in names]
    axes.barh(names, [value - 1 for value in values], left=1, color="#3a6ea5")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="black", linewidth=0.8)
    for place, value in enumerate(values):
        axes.annotate(f" {value:.3g} x", (max(value, 1), place), va="center")
    axes.set_xlabel("ratio; beyond 1 is better")
    axes.margins(x=0.2)
    figure.savefig(file, dpi=120, bbox_inches="tight")


def _inference(out: Path, rounds: int, command: str, tell: Tell) -> dict[str, Any]:
    study = configs_folder() / "two_stream_gma.yaml"
    found = benchmark_inference(
        out / "infer",
        configs=[study],
        variants=("float32", "int8"),
        threads=(THREADS,),
        peers=INFER_PEERS,
        rounds=rounds,
        command=command,
        progress=tell,
    )
    rows = {row["contender"]: row for row in found["networks"][study.stem]}
    ratios = {
        f"infer_{name}_vs_torch_eager": row["times_torch"]
        for name, row in rows.items()
        if name != "torch" and row.get("times_torch")
    }
    return {"ratios": ratios, "networks": found["networks"]}
