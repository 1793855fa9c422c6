"""Commands that measure tfgma on generated infants."""

from __future__ import annotations

from pathlib import Path

import click

from tfgma.cli.console import print_json, print_table, progress_bar
from tfgma.cli.data import JSON, PATH, WORKERS


@click.group()
def benchmark() -> None:
    """Measure tfgma on generated infants."""


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
        header = ["network", "variant", "size", "a clip", "changed subjects", "changed clips"]
        header += ["subject accuracy", "points more"]
        print_table(f"test subjects of {out}; latency on 2 threads", header, exports_table(results))
