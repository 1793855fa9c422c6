"""Commands that measure tfgma."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from tfgma.bundle import ALL_VARIANTS
from tfgma.cli.console import print_json, print_table, progress_bar
from tfgma.cli.data import JSON, PATH, WORKERS
from tfgma.cli.speed import COMMANDS


@click.group()
def benchmark() -> None:
    """Measure tfgma: on generated infants, and beside other runtimes."""


for command in COMMANDS:
    benchmark.add_command(command)


@benchmark.command()
@click.argument("out", type=PATH)
@click.option("--subjects", type=int, default=60, show_default=True, help="Of each set of videos.")
@click.option(
    "--test-subjects", type=int, default=30, show_default=True, help="Of the contradicting test side."
)
@click.option("--seconds", type=float, default=15.0, show_default=True, help="Length of each video.")
@click.option("--folds", type=int, default=5, show_default=True, help="Train the first so many.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--method", "methods", multiple=True, help="Some of the seven; default all.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    help="methods, preprocessing or shuffled labels, of which what is there is not done again; default all.",
)
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="For every method.")
@WORKERS
@JSON
def study(
    out: Path,
    subjects: int,
    test_subjects: int,
    seconds: float,
    folds: int,
    seed: int,
    methods: tuple[str, ...],
    parts: tuple[str, ...],
    overrides: tuple[str, ...],
    workers: int,
    as_json: bool,
) -> None:
    """Compare seven methods, with and without preprocessing, and on shuffled labels. Takes hours; resumable.

    \b
    Example:
      tfgma benchmark study build/benchmark
      tfgma benchmark study build/benchmark --part preprocessing
    """
    from tfgma.benchmark import METHODS, PARTS, BenchmarkSize, run_benchmark, table

    size = BenchmarkSize(subjects, test_subjects, seconds, folds, seed, methods or METHODS, overrides)

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    with progress_bar("benchmark") as tell:
        results = run_benchmark(out, size, parts=parts or PARTS, workers=workers, say=say, progress=tell)
    if as_json:
        print_json(results)
    else:
        header = ["part", "method", "subject accuracy", "95 %", "over folds"]
        print_table(f"generated infants, in {out}", header, table(results))


@benchmark.command()
@click.argument("out", type=PATH)
@click.option("--search", "settings", type=PATH, help="A search's YAML file.  [default: the project's own]")
@click.option("--subjects", type=int, default=60, show_default=True, help="Generated infants.")
@click.option("--seconds", type=float, default=15.0, show_default=True, help="Length of each video.")
@click.option(
    "--folds", type=int, default=5, show_default=True, help="Train the first so many of what is chosen."
)
@click.option("--seed", type=int, default=1, show_default=True)
@WORKERS
@JSON
def edge(
    out: Path,
    settings: Path | None,
    subjects: int,
    seconds: float,
    folds: int,
    seed: int,
    workers: int,
    as_json: bool,
) -> None:
    """Search for small networks: time all, train those that are quick enough, publish the best. Resumable.

    \b
    Example:
      tfgma benchmark edge build/edge
    """
    from tfgma.edge_search import SEARCH, SearchSize, search, search_table

    size = SearchSize(subjects, seconds, folds, seed)

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    with progress_bar("edge") as tell:
        results = search(out, size, settings=settings or SEARCH, workers=workers, say=say, progress=tell)
    if as_json:
        print_json(results)
    else:
        header = ["candidate", "what", "times as fast", "MB", "validation", "chosen as", "test accuracy"]
        print_table(f"small networks, in {out}", header, search_table(results))


@benchmark.command()
@click.argument("out", type=PATH)
@click.option("--folds", type=click.IntRange(min=1), help="The first so many of each method; default all.")
@JSON
def export(out: Path, folds: int | None, as_json: bool) -> None:
    """What each TFLite variant costs the networks that `benchmark study OUT` has trained. Resumable.

    \b
    Example:
      tfgma benchmark export build/benchmark
    """
    from tfgma.benchmark_exports import certify_benchmark, exports_table

    with progress_bar("certify") as tell:
        results = certify_benchmark(out, folds=folds, progress=tell)
    if as_json:
        print_json(results)
    else:
        header = [
            "network",
            "variant",
            "size",
            "a clip",
            "changed subjects",
            "changed clips",
            "changed verdicts",
        ]
        header += ["subject accuracy", "points more"]
        print_table(f"test subjects of {out}; latency on 2 threads", header, exports_table(results))


@benchmark.command()
@click.argument("out", type=PATH)
@click.option("--config", "configs", multiple=True, type=PATH, help="A study's YAML file; repeatable.")
@click.option("--bundle", type=PATH, help="A bundle of tfgma export, in place of --config.")
@click.option(
    "--variant", "variants", multiple=True, type=click.Choice(ALL_VARIANTS), help="Repeatable; default all."
)
@click.option("--threads", multiple=True, type=click.IntRange(min=1), help="Repeatable.  [default: 1 2 4]")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, help="Turns of each.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    help="torch, torch-compiled, onnx or onnx-int8, or none; repeatable; default all.",
)
@click.option(
    "--classes", type=click.IntRange(min=2), default=3, show_default=True, help="Of networks of --config."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of made weights and clips.")
@JSON
def infer(
    out: Path,
    configs: tuple[Path, ...],
    bundle: Path | None,
    variants: tuple[str, ...],
    threads: tuple[int, ...],
    rounds: int,
    peers: tuple[str, ...],
    classes: int,
    seed: int,
    as_json: bool,
) -> None:
    """What a clip takes of the TFLite files, and of the same network in PyTorch and ONNX Runtime, in turn.

    \b
    Example:
      tfgma benchmark infer build/infer --config configs/two_stream_gma.yaml --threads 2
      tfgma benchmark infer build/infer --bundle saved_models/demo --peer none
    """
    from tfgma.benchmark_inference import PEERS, THREADS, benchmark_inference, inference_table

    with progress_bar("infer") as tell:
        results = benchmark_inference(
            out,
            configs=configs,
            bundle=bundle,
            variants=variants,
            threads=threads or THREADS,
            peers=() if peers == ("none",) else peers or tuple(PEERS),
            rounds=rounds,
            num_classes=classes,
            seed=seed,
            command=shlex.join(["tfgma", *sys.argv[1:]]),
            progress=tell,
        )
    if as_json:
        print_json(results)
    else:
        header = ["network", "contender", "threads", "median ms", "p95 ms", "processor ms"]
        header += ["times as fast as PyTorch"]
        title = f"a clip, in {results['rounds']} rounds, on {results['machine']['processor']}"
        print_table(title, header, inference_table(results))
