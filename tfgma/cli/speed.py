"""Commands that measure tfgma's speed beside what people use today."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfgma.cli.console import print_json, print_table, progress_bar
from tfgma.cli.data import JSON, PATH, WORKERS

OUT = click.argument("out", type=PATH)
SUBJECTS = click.option(
    "--subjects",
    type=click.IntRange(min=3),
    default=4,
    show_default=True,
    help="Generated infants; a multiple of --workers keeps all of them busy.",
)
SECONDS = click.option(
    "--seconds", type=click.FloatRange(min=6), default=60.0, show_default=True, help="Of each video."
)
ROUNDS = click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of each."
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["tensorflow", "jax", "torch"]),
    default="tensorflow",
    show_default=True,
    help="Of Keras.",
)
BUNDLE = click.option(
    "--bundle", type=PATH, required=True, help="A bundle of tfgma export with a float32 file."
)


@click.command("all")
@OUT
@BUNDLE
@ROUNDS
@WORKERS
@JSON
def every(out: Path, bundle: Path, rounds: int, workers: int, as_json: bool) -> None:
    """All of these and infer, each in turn with its competitors: a table and a picture. Takes an hour.

    \b
    Example:
      tfgma benchmark all build/speed --bundle saved_models/demo
    """
    from tfgma.speed.every import measure_all

    command = shlex.join(["tfgma", *sys.argv[1:]])
    with progress_bar("all") as tell:
        found = measure_all(out, bundle, rounds=rounds, workers=workers, command=command, tell=tell)
    _show(out, "all", found, as_json)


def _measured(name: str, out: Path, as_json: bool, measure: Callable[..., dict[str, Any]]) -> None:
    from tfgma.speed.results import kept

    with progress_bar(name) as tell:
        found = kept(out, name, measure(tell), shlex.join(["tfgma", *sys.argv[1:]]))
    _show(out, name, found, as_json)


def _show(out: Path, name: str, found: dict[str, Any], as_json: bool) -> None:
    from tfgma.speed.results import ratios_table

    if as_json:
        print_json(found)
    else:
        title = f"on {found['machine']['cores']} cores of {found['machine']['processor']}"
        print_table(title, ["ratio", "times as fast"], ratios_table(found))
        click.echo(f"All figures: {out / f'{name}.json'}")


@click.command()
@OUT
@SUBJECTS
@SECONDS
@click.option(
    "--reference-seconds",
    type=click.FloatRange(min=1),
    default=2.0,
    show_default=True,
    help="Of one video, for the published route, which takes minutes for each.",
)
@ROUNDS
@WORKERS
@JSON
def preprocess(
    out: Path,
    subjects: int,
    seconds: float,
    reference_seconds: float,
    rounds: int,
    workers: int,
    as_json: bool,
) -> None:
    """From video to shard: tfgma, and the published route (U-2-Net, OpenPose, PNG files), in turn.

    \b
    Example:
      tfgma benchmark preprocess build/speed
    """
    from tfgma.speed.preprocess import measure_preprocess

    _measured(
        "preprocess",
        out,
        as_json,
        lambda tell: measure_preprocess(
            out,
            subjects=subjects,
            seconds=seconds,
            reference_seconds=reference_seconds,
            rounds=rounds,
            workers=workers,
            tell=tell,
        ),
    )


@click.command()
@OUT
@SUBJECTS
@SECONDS
@click.option("--clips", type=click.IntRange(min=1), default=12, show_default=True, help="Of the data set.")
@ROUNDS
@WORKERS
@JSON
def records(
    out: Path, subjects: int, seconds: float, clips: int, rounds: int, workers: int, as_json: bool
) -> None:
    """What frames and flow take on the disk, lose, and take to be read, by several codecs.

    \b
    Example:
      tfgma benchmark records build/speed --json
    """
    from tfgma.speed.codecs import measure_records

    options: dict[str, Any] = {
        "subjects": subjects,
        "seconds": seconds,
        "clips": clips,
        "rounds": rounds,
        "workers": workers,
    }
    _measured("records", out, as_json, lambda tell: measure_records(out, **options, tell=tell))


@click.command("input")
@OUT
@SUBJECTS
@SECONDS
@ROUNDS
@WORKERS
@JSON
def input_pipeline(
    out: Path, subjects: int, seconds: float, rounds: int, workers: int, as_json: bool
) -> None:
    """Clips a second, ready for a step: from records, and by PyTorch's loader from PNG files, in turn.

    \b
    Example:
      tfgma benchmark input build/speed
    """
    from tfgma.speed.input import measure_input

    options: dict[str, Any] = {"subjects": subjects, "seconds": seconds, "rounds": rounds, "workers": workers}
    _measured("input", out, as_json, lambda tell: measure_input(out, **options, tell=tell))


@click.command()
@OUT
@BACKEND
@ROUNDS
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of each.")
@click.option("--compiled/--no-compiled", default=True, show_default=True, help="Also by torch.compile.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="Of each.",
)
@JSON
def train(
    out: Path, backend: str, rounds: int, threads: int, compiled: bool, precision: str, as_json: bool
) -> None:
    """A training step of the published two-stream network: by Keras, and by PyTorch, in turn.

    \b
    Example:
      tfgma benchmark train build/speed --threads 2
    """
    from tfgma.speed.train import measure_train

    options: dict[str, Any] = {
        "backend": backend,
        "rounds": rounds,
        "threads": threads,
        "compiled": compiled,
        "precision": precision,
    }
    _measured("train", out, as_json, lambda tell: measure_train(**options, tell=tell))


@click.command()
@OUT
@BUNDLE
@SUBJECTS
@SECONDS
@ROUNDS
@WORKERS
@JSON
def predict(
    out: Path, bundle: Path, subjects: int, seconds: float, rounds: int, workers: int, as_json: bool
) -> None:
    """The command tfgma predict from its start to its answer: how fast, and how much memory.

    \b
    Example:
      tfgma benchmark predict build/speed --bundle saved_models/demo
    """
    from tfgma.speed.predict import measure_predict

    options: dict[str, Any] = {"subjects": subjects, "seconds": seconds, "rounds": rounds, "workers": workers}
    _measured("predict", out, as_json, lambda tell: measure_predict(out, bundle, **options, tell=tell))


COMMANDS = (preprocess, records, input_pipeline, train, predict, every)
"""Of the group benchmark."""
