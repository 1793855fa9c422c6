"""Commands of a study: train, evaluate, compare, export, predict, demo."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pipelines.schema import RefusedError
from tfgma.backends import BACKENDS, DATA_PARALLEL, choose_backend
from tfgma.bundle import ALL_VARIANTS, ONNX, VARIANTS
from tfgma.cli.console import print_json, print_table, progress_bar
from tfgma.cli.data import JSON, PATH, WORKERS

if TYPE_CHECKING:
    from tfgma.outcomes import Outcome


@click.command()
@click.option("--config", type=PATH, help="A study's YAML file.")
@click.option("--data", "dataset", type=PATH, help="A data set of tfgma build-tfrecords.")
@click.option("--out", type=PATH, required=True, help="The run's folder, new or empty unless --resume.")
@click.option("--fold", help="A fold's number, or all.  [default: all]")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Overrides the config.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the training in --out, by its own config and data, from its last whole epoch.",
)
@click.option("--backend", type=click.Choice(BACKENDS), help="What computes.  [default: tensorflow]")
@click.option(
    "--distribute",
    type=click.Choice([DATA_PARALLEL]),
    help="Share each batch among all devices of this machine, and on JAX of several.",
)
@click.option("--mlflow", metavar="URI", help="Logs to MLflow too: http://HOST:5000 or sqlite:///FILE.")
@JSON
def train(
    config: Path | None,
    dataset: Path | None,
    out: Path,
    fold: str | None,
    overrides: tuple[str, ...],
    resume: bool,
    backend: str | None,
    distribute: str | None,
    mlflow: str | None,
    as_json: bool,
) -> None:
    """Train a network a fold; TensorBoard logs lie in RUN/fold_K/logs.

    \b
    Example:
      tfgma train --config configs/demo.yaml --data dataset --out run --fold 0
      tensorboard --logdir run
      tfgma train --data dataset --out run --mlflow sqlite:///runs.db
    """
    if fold not in (None, "all") and not fold.isdigit():
        raise RefusedError(f"--fold must be a number or all. Received: {fold!r}")
    from tfgma.config import load_study
    from tfgma.runs import RUN_FILE, read_run, study_of

    study = None
    if resume and (out / RUN_FILE).exists():
        begun = read_run(out)
        dataset = dataset or Path(begun["dataset"])
        backend = backend or begun["backend"]
        if config is None:
            # What is overridden without a file is refused as what differs from the run's own.
            study = study_of(begun, overrides)
    if dataset is None:
        raise click.UsageError("Missing option '--data'.")
    if backend is not None:
        choose_backend(backend)
    from tfgma.tracking import tracked, tracked_before
    from tfgma.training import train as run_training

    folds: list[int] | Literal["all"] | None = None
    if fold is not None:
        folds = "all" if fold == "all" else [int(fold)]
    try:
        with tracked(mlflow or tracked_before(out)) as started, progress_bar("train", lines=True) as tell:
            run = run_training(
                study or load_study(config, overrides),
                dataset,
                out,
                folds=folds,
                resume=resume,
                distribute=distribute,
                progress=tell,
                started=started,
            )
    except KeyboardInterrupt:
        if (out / RUN_FILE).exists():
            click.echo(f"whole epochs are kept: tfgma train --out {out} --resume goes on", err=True)
        raise
    if as_json:
        print_json({"out": str(out), "trained_folds": run["trained_folds"]})
    else:
        click.echo(f"trained folds {run['trained_folds']} in {out}; tensorboard --logdir {out}")


AGGREGATION = click.option(
    "--aggregation",
    default="mean",
    show_default=True,
    help="How clips become one answer: mean, median, log_odds or attention.",
)


@click.command()
@click.argument("run", type=PATH)
@AGGREGATION
@click.option(
    "--by", multiple=True, metavar="COLUMN", help="A table by a column of the manifest; repeatable."
)
@click.option("--raters", type=PATH, help="A CSV subject,rater,label: kappa between raters and model.")
@click.option("--lock-box", is_flag=True, help="Ask about the subjects who were locked away; it is recorded.")
@JSON
def evaluate(
    run: Path, aggregation: str, by: tuple[str, ...], raters: Path | None, lock_box: bool, as_json: bool
) -> None:
    """Write RUN/metrics.json and RUN/report.html: by clip, video and subject, tested and validated.

    \b
    Example:
      tfgma evaluate run --by site --by age_weeks --raters second_raters.csv
    """
    from tfgma.evaluation import SUMMARY
    from tfgma.evaluation import evaluate as evaluate_run
    from tfgma.report import write_report

    metrics = evaluate_run(run, aggregation=aggregation, by=by, raters=raters, lock_box=lock_box)
    report = write_report(run, metrics)
    if as_json:
        print_json({**metrics, "report": str(report)})
        return
    subject = metrics["test"]["subject"]
    spread = metrics["test"]["over_folds"]["subject"]
    rows = [
        [
            name.replace("_", " "),
            f"{_figure(subject[name])}  {_interval(subject['intervals'][name])}",
            "-"
            if spread[name] is None
            else f"{_figure(spread[name]['mean'])} ± {_figure(spread[name]['sd'])}",
            *(_figure(metrics[side][level][name]) for side, level in SIDES_AND_LEVELS),
        ]
        for name in SUMMARY
    ]
    header = ["figure", "test, by subject, 95 %", "mean ± sd over folds"]
    header += [f"{side}, by {level}" for side, level in SIDES_AND_LEVELS]
    title = f"{subject['n']} test subjects; chance accuracy {metrics['chance']:.2f}; clips by {aggregation}"
    print_table(title, header, rows)
    for column, table in metrics["strata"].items():
        figures = [name for name in table[0] if name not in ("value", "subjects", "clips")]
        rows = [
            [
                row["value"],
                str(row["subjects"]),
                *(f"{_figure(row[name]['value'])}  {_interval(row[name]['interval'])}" for name in figures),
            ]
            for row in table
        ]
        print_table(f"test, by {column}", [column, "subjects", *(n.replace("_", " ") for n in figures)], rows)
    if metrics["raters"]:
        rows = [
            [
                f"{pair['first']} and {pair['second']}",
                str(pair["n"]),
                f"{_figure(pair['kappa'])}  {_interval(pair['kappa_interval'])}",
            ]
            for pair in metrics["raters"]["pairs"]
        ]
        print_table("agreement on test subjects", ["raters", "subjects", "kappa, 95 %"], rows)
    conformal = metrics["conformal"]
    needed = conformal["validation_subjects_needed"]
    click.echo(
        f"accuracy by subject, exact binomial 95 %: {_interval(subject['exact_accuracy_interval'])}\n"
        f"sets for {conformal['wanted']:.0%} coverage: {conformal['coverage']:.0%} of test subjects covered "
        f"({_interval(conformal['coverage_interval'])}), {conformal['assessed']:.0%} assessed, the others "
        f"not assessable / uncertain; {conformal['validation_subjects'][0]} validation subjects behind a "
        f"set, {needed} are needed"
    )
    if lock_box:
        found = metrics["lock_box"]
        click.echo(
            f"lock box, opened {', '.join(found['opened'])}: accuracy "
            f"{_figure(found['subject']['accuracy'])}  "
            f"{_interval(found['subject']['intervals']['accuracy'])} of {found['subject']['n']} subjects"
        )
    audit = metrics["audit"]
    findings = [text for check in audit["checks"] for text in check["findings"]]
    click.echo(f"leak audit: {audit['verdict']}{'; ' + findings[0] if findings else ''}")
    click.echo(f"report: {report}")


SIDES_AND_LEVELS = [("test", "video"), ("test", "clip"), ("val", "subject")]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _chance(p: float | None) -> str:
    return "no p" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"


@click.command()
@click.argument("run_a", type=PATH)
@click.argument("run_b", type=PATH)
@AGGREGATION
@JSON
def compare(run_a: Path, run_b: Path, aggregation: str, as_json: bool) -> None:
    """Compare two runs on the same test subjects: paired bootstrap, DeLong's and McNemar's tests.

    \b
    Example:
      tfgma compare run_two_stream run_image
    """
    from tfgma.comparison import compare as compare_runs

    found = compare_runs(run_a, run_b, aggregation=aggregation)
    if as_json:
        print_json({"a": str(run_a), "b": str(run_b), **found})
        return
    rows = [
        [
            name.replace("_", " "),
            *(_figure(one[key]) for key in ("a", "b", "difference")),
            _interval(one["interval"]),
        ]
        for name, one in found["differences"].items()
    ]
    header = ["figure", "a", "b", "a - b", "95 %"]
    print_table(f"{found['subjects']} test subjects; a is {run_a}, b is {run_b}", header, rows)
    for name, test in found["delong"].items():
        if test is not None:
            click.echo(f"DeLong, AUROC of {name}: {_figure(test['difference'])}, {_chance(test['p'])}")
    test = found["mcnemar"]
    click.echo(f"McNemar: {test['only_a']} right in a only, {test['only_b']} in b only, {_chance(test['p'])}")


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, help="The bundle's folder, such as saved_models/NAME.")
@click.option("--fold", type=int, help="Which fold's network; default the first trained.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    type=click.Choice(ALL_VARIANTS),
    help="Of the TFLite files; repeatable.  [default: all but int16]",
)
@click.option(
    "--max-changed-subjects",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Test subjects that a file may decide otherwise than the network.",
)
@click.option(
    "--max-accuracy-loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of test subjects by which fewer may be right.",
)
@click.option(
    "--fine-tune",
    "fine_tuning_steps",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Steps of training under int8's rounding, where its file is off; 0: none.",
)
@click.option("--onnx", is_flag=True, help="Also model.onnx, for ONNX Runtime; needs tfgma[onnx].")
@click.option("--int8-io", is_flag=True, help="The int8 file takes and gives int8, in place of float32.")
@click.option("--streaming", is_flag=True, help="Also files that take one frame at a time (temporal_shift).")
@click.option("--attention", is_flag=True, help="Every file also answers what the network weighed (stam).")
@click.option(
    "--tablet", type=PATH, help="Also write the site that runs the bundle on a tablet: docs/tablet.md."
)
@JSON
def export(
    run: Path,
    out: Path,
    fold: int | None,
    variants: tuple[str, ...],
    max_changed_subjects: int,
    max_accuracy_loss: float,
    fine_tuning_steps: int,
    onnx: bool,
    int8_io: bool,
    streaming: bool,
    attention: bool,
    tablet: Path | None,
    as_json: bool,
) -> None:
    """Write a bundle: SavedModel, and TFLite in float32, float16, dynamic range and int8, certified.

    Each file answers the fold's test clips; one that decides otherwise than the network is refused.

    \b
    Example:
      tfgma export run --out saved_models/demo
      tfgma export run --out saved_models/small --variant float32 --variant int8
      tfgma export run --out saved_models/both --onnx
      tfgma export run --out saved_models/live --streaming
      tfgma export run --out saved_models/joints --attention
      tfgma export run --out saved_models/demo --tablet site
    """
    from tfgma.certificate import Limits
    from tfgma.exporting import export as export_run
    from tfgma.models.families import FAMILIES
    from tfgma.runs import read_run, study_of
    from tfgma.tablet_site import refuse_beforehand, write_site

    variants = variants or VARIANTS
    if tablet:
        config = study_of(read_run(run))
        inputs = FAMILIES[config.model.family].inputs
        refuse_beforehand(tablet, out, config.build, inputs, variants, int8_io=int8_io)
    limits = Limits(changed_subjects=max_changed_subjects, accuracy_loss=max_accuracy_loss)
    with progress_bar("export") as tell:
        certificate = export_run(
            run,
            out,
            fold=fold,
            variants=(*variants, *((ONNX,) if onnx else ())),
            limits=limits,
            int8_io=int8_io,
            streaming=streaming,
            attention=attention,
            fine_tuning_steps=fine_tuning_steps,
            progress=tell,
        )
    if tablet:
        write_site(out, tablet)
    if as_json:
        print_json(
            {"out": str(out), "certificate": certificate} | ({"tablet": str(tablet)} if tablet else {})
        )
        return
    rows = [
        [
            found["file"],
            f"{found['bytes'] / 1e6:.2f} MB",
            f"{found['clip']['changed']}",
            f"{found['subject']['changed']}",
            f"{found['clip']['max_delta']:.2g}",
            " ".join(f"{one['median']:.3g}" for one in found["latency_ms"].values()),
        ]
        for found in certificate["variants"].values()
    ]
    print_table(
        f"{out}, against Keras on {certificate['clips']} clips of {certificate['subjects']} test subjects",
        [
            "file",
            "size",
            "changed clips",
            "changed subjects",
            "largest difference",
            "ms a clip (stream: a frame), 1 2 4 threads",
        ],
        rows,
    )


@click.command()
@click.argument("videos", nargs=-1, type=PATH)
@click.option("--model", "bundle", type=PATH, required=True, help="A bundle of tfgma export.")
@click.option("--variant", type=click.Choice(ALL_VARIANTS), default="float32", show_default=True)
@click.option(
    "--report", type=PATH, help="Folder for a page (HTML, PDF), an overlay (mp4) a video, an index, a table."
)
@click.option("--watch", type=PATH, help="Assess what arrives in this folder, until Ctrl-C; needs --report.")
@JSON
def predict(
    videos: tuple[Path, ...],
    bundle: Path,
    variant: str,
    report: Path | None,
    watch: Path | None,
    as_json: bool,
) -> None:
    """Assess new videos, or folders of them, with a bundle's TFLite file; TensorFlow is not needed.

    \b
    Example:
      tfgma predict infant.mp4 --model saved_models/demo
      tfgma predict recordings --model saved_models/demo --report pages
      tfgma predict --watch incoming --model saved_models/demo --report pages
    """
    from tfgma.assessment_content import Model
    from tfgma.assessment_report import AssessmentReport, assess_arrivals, assess_each
    from tfgma.inference import Predictor
    from tfgma.outcomes import refuse_within, videos_in

    if bool(videos) == bool(watch) or (watch and (as_json or not report)):
        raise click.UsageError("Give VIDEOS, or --watch with --report and without --json.")
    found = videos_in(videos)
    if report:
        refuse_within(report, [watch] if watch else videos)
    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(Predictor(bundle, variant))
        notice, pages = predictor.description.notice, None
        if report:
            model = Model(bundle.resolve().name, variant, predictor.description)
            pages = stack.enter_context(AssessmentReport(report, model))
        if watch and pages:
            click.echo(f"{notice}\nwaiting for videos in {watch}; pages: {pages.index}; Ctrl-C ends this")
            for outcome in assess_arrivals(predictor, watch, pages):
                _print_outcome(outcome)
        outcomes = list(assess_each(predictor, found, pages, stack.enter_context(progress_bar("predict"))))
    refused = [one.as_json() for one in outcomes if one.assessment is None]
    if as_json:
        done = [one.as_json() for one in outcomes if one.assessment is not None]
        answer = {"model": str(bundle), "variant": variant, "notice": notice, "videos": done}
        print_json(answer | {"refused": refused} | ({"report": str(report)} if report else {}))
    else:
        for outcome in outcomes:
            if outcome.assessment is not None:
                _print_outcome(outcome)
        if pages:
            click.echo(f"pages: {pages.index}")
        click.echo(notice)
    if refused:
        raise RefusedError("; ".join(one["reason"] for one in refused))


def _print_outcome(outcome: Outcome) -> None:
    one = outcome.assessment
    if one is None:
        click.echo(f"{outcome.video}: {outcome.verdict}; {outcome.reason}")
        return
    pairs = zip(one.classes, one.verdict.probabilities, strict=True)
    scores = "  ".join(f"{name} {p:.2f}" for name, p in pairs)
    click.echo(f"{outcome.video}: {outcome.verdict}  ({scores}; {one.report.clips} clips)")
    if outcome.reason:
        click.echo(f"  highest: {one.predicted}; {outcome.reason}")
    if one.report.decode.damaged:
        click.echo(f"  damaged: {one.report.decode.damaged}; what decodes was assessed")


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
