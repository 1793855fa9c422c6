"""Commands of a study: train, evaluate, export, predict, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.schema import RefusedError
from tfgma.bundle import VARIANTS
from tfgma.cli.console import print_json, print_table, progress_bar
from tfgma.cli.data import JSON, PATH, WORKERS


@click.command()
@click.option("--config", type=PATH, help="A study's YAML file.")
@click.option("--data", "dataset", type=PATH, required=True, help="A data set of tfgma build-tfrecords.")
@click.option("--out", type=PATH, required=True, help="The run's folder, new or empty.")
@click.option("--fold", default="all", show_default=True, help="A fold's number, or all.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Overrides the config.")
@JSON
def train(
    config: Path | None, dataset: Path, out: Path, fold: str, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Train a network a fold; TensorBoard logs lie in RUN/fold_K/logs.

    \b
    Example:
      tfgma train --config configs/demo.yaml --data dataset --out run --fold 0
      tensorboard --logdir run
    """
    if fold != "all" and not fold.isdigit():
        raise RefusedError(f"--fold must be a number or all. Received: {fold!r}")
    from tfgma.config import load_study
    from tfgma.training import train as run_training

    study = load_study(config, overrides)
    folds = None if fold == "all" else [int(fold)]
    with progress_bar("train") as tell:
        run = run_training(study, dataset, out, folds=folds, progress=tell)
    if as_json:
        print_json({"out": str(out), "trained_folds": run["trained_folds"]})
    else:
        click.echo(f"trained folds {run['trained_folds']} in {out}; tensorboard --logdir {out}")


@click.command()
@click.argument("run", type=PATH)
@click.option("--lock-box", is_flag=True, help="Ask about the subjects who were locked away; it is recorded.")
@JSON
def evaluate(run: Path, lock_box: bool, as_json: bool) -> None:
    """Write RUN/metrics.json and RUN/report.html: clips and subjects of the test and validation sides.

    \b
    Example:
      tfgma evaluate run
    """
    from tfgma.evaluation import SUMMARY
    from tfgma.evaluation import evaluate as evaluate_run
    from tfgma.report import write_report

    if lock_box:
        from tfgma.lock_box import open_lock_box

        open_lock_box(run)
    metrics = evaluate_run(run)
    report = write_report(run, metrics)
    if as_json:
        print_json({**metrics, "report": str(report)})
        return
    rows = [
        [name.replace("_", " "), *(_figure(metrics[side][level][name]) for side, level in SIDES_AND_LEVELS)]
        for name in SUMMARY
    ]
    header = ["figure", *(f"{side}, by {level}" for side, level in SIDES_AND_LEVELS)]
    print_table(f"chance accuracy {metrics['chance']:.2f}", header, rows)
    if lock_box:
        found = metrics["lock_box"]
        click.echo(
            f"lock box, opened {', '.join(found['opened'])}: accuracy "
            f"{_figure(found['subject']['accuracy'])} of {found['subject']['n']} subjects"
        )
    click.echo(f"report: {report}")


SIDES_AND_LEVELS = [("test", "subject"), ("test", "clip"), ("val", "subject")]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, help="The bundle's folder, such as saved_models/NAME.")
@click.option("--fold", type=int, help="Which fold's network; default the first trained.")
@JSON
def export(run: Path, out: Path, fold: int | None, as_json: bool) -> None:
    """Write a bundle: SavedModel, and TFLite in float32, float16, dynamic range and int8, each compared.

    \b
    Example:
      tfgma export run --out saved_models/demo
    """
    from tfgma.export import export as export_run

    with progress_bar("export") as tell:
        bundle = export_run(run, out, fold=fold, progress=tell)
    if as_json:
        print_json({"out": str(out), "agreement": bundle["agreement"]})
        return
    rows = [
        [
            f"model_{variant}.tflite",
            f"{(out / f'model_{variant}.tflite').stat().st_size / 1e6:.2f} MB",
            f"{100 * figures['same_class']:.1f} % of {figures['clips']:g} clips",
            f"{figures['max_difference']:.2g}",
        ]
        for variant, figures in bundle["agreement"].items()
    ]
    print_table(
        f"{out}, against Keras on test clips", ["file", "size", "same class", "largest difference"], rows
    )


@click.command()
@click.argument("videos", nargs=-1, required=True, type=PATH)
@click.option("--model", "bundle", type=PATH, required=True, help="A bundle of tfgma export.")
@click.option("--variant", type=click.Choice(VARIANTS), default="float32", show_default=True)
@JSON
def predict(videos: tuple[Path, ...], bundle: Path, variant: str, as_json: bool) -> None:
    """Assess new videos with a bundle's TFLite file; TensorFlow is not needed.

    \b
    Example:
      tfgma predict infant.mp4 --model saved_models/demo
    """
    from tfgma.inference import Predictor

    done: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    with Predictor(bundle, variant) as predictor, progress_bar("predict") as tell:
        for number, video in enumerate(videos):
            tell(number, len(videos), video.name)
            try:
                done.append(predictor.assess(video).as_json())
            except RefusedError as error:
                refused.append({"video": str(video), "reason": str(error)})
    if as_json:
        notice = predictor.description.notice
        print_json(
            {"model": str(bundle), "variant": variant, "notice": notice, "videos": done, "refused": refused}
        )
    else:
        for answer in done:
            scores = "  ".join(f"{name} {p:.2f}" for name, p in answer["probabilities"].items())
            click.echo(f"{answer['video']}: {answer['predicted']}  ({scores}; {len(answer['clips'])} clips)")
            if answer["damaged"]:
                click.echo(f"  damaged: {answer['damaged']}; what decodes was assessed")
        click.echo(predictor.description.notice)
    if refused:
        raise RefusedError("; ".join(one["reason"] for one in refused))


@click.command()
@click.option(
    "--out", type=PATH, default=Path("build/demo"), show_default=True, help="Folder for everything."
)
@click.option("--config", type=PATH, help="Default: configs/demo.yaml of the checkout.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the generated infants.")
@WORKERS
@JSON
def demo(out: Path, config: Path | None, seed: int, workers: int, as_json: bool) -> None:
    """Take generated infants all the way: videos, TFRecords, training, evaluation, export, prediction.

    \b
    Example:
      tfgma demo --out build/demo
    """
    from tfgma.demo import run_demo

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    with progress_bar("demo") as tell:
        figures = run_demo(out, config=config, seed=seed, workers=workers, say=say, progress=tell)
    if as_json:
        print_json(figures)
