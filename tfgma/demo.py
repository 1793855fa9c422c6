"""The whole way on generated infants: videos, TFRecords, training, evaluation, export, prediction."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.build import build_dataset
from pipelines.schema import RefusedError
from pipelines.synthetic import SyntheticSettings, generate
from tfgma.chosen_tools import chosen_tools
from tfgma.config import StudyConfig, load_study
from tfgma.delivered import configs_folder
from tfgma.evaluation import evaluate
from tfgma.exporting import export
from tfgma.inference import Predictor
from tfgma.inspection import write_contact_sheet
from tfgma.report import write_report
from tfgma.runs import write_json
from tfgma.training import train

CONFIG = configs_folder() / "demo.yaml"
MARK = "demo.json"
SUBJECTS = 60
SECONDS = 11.0
VIDEOS = SyntheticSettings(width=480, height=360)
NEW_VIDEO_SEED_OFFSET = 1000

Progress = Callable[[int, int, str], None]


def run_demo(
    out: Path, *, config: Path | None, seed: int, workers: int, say: Callable[[str], None], progress: Progress
) -> dict[str, Any]:
    """Runs every step into `out`, says what was reached, and returns (and writes) the figures.

    A folder that an earlier demo wrote is emptied first.

    Raises:
        RefusedError: `out` holds something else, or a step refused.
    """
    study = load_study(config or CONFIG)
    begin = time.monotonic()
    _empty(out)
    figures: dict[str, Any] = {"seed": seed, "subjects": SUBJECTS, "seconds_of_video": SUBJECTS * SECONDS}
    write_json(out / MARK, figures)
    videos, dataset, bundle = out / "videos", out / "dataset", out / "bundle"

    clock = _Clock(say)
    generate(
        videos,
        VIDEOS,
        subjects=SUBJECTS,
        seconds=SECONDS,
        seed=seed,
        workers=workers,
        progress=lambda done, total: progress(done, total, "videos"),
    )
    clock.say(f"{SUBJECTS} generated infants, {SECONDS:g} s each: {videos}")
    index = build_dataset(
        videos, dataset, study.build, workers=workers, make_tools=chosen_tools(study.build), progress=progress
    )
    clips = sum(entry["clips"] for entry in index["videos"])
    clock.say(f"{clips} clips as TFRecords: {dataset}")
    sheet = write_contact_sheet(dataset, index, out / "contact_sheet.png")
    clock.say(f"what the networks see: {sheet}")

    metrics = _train_and_evaluate(study, dataset, out / "run", progress)
    clock.say(f"trained and evaluated: {out / 'run' / 'report.html'}")
    spatial = study.model_copy(update={"model": study.model.model_copy(update={"streams": "image"})})
    spatial_metrics = _train_and_evaluate(spatial, dataset, out / "run_spatial", progress)
    clock.say("trained the spatial stream alone, for comparison")
    certificate = export(out / "run", bundle, progress=progress)
    clock.say(f"SavedModel and four TFLite files: {bundle}")

    new = out / "new_video"
    generate(new, VIDEOS, subjects=3, seconds=SECONDS, seed=seed + NEW_VIDEO_SEED_OFFSET, workers=workers)
    with Predictor(bundle, "int8") as predictor:
        answers = [predictor.assess(video).as_json() for video in sorted(new.glob("*/*/*.mp4"))]
    clock.say("predicted three new infants with the int8 file")
    for answer in answers:
        truth = Path(answer["video"]).parts[-3]
        highest = f"{answer['predicted']} {max(answer['calibrated_probabilities'].values()):.2f}"
        say(f"  {truth}: answered {answer['verdict']} (highest: {highest})")

    subject = metrics["test"]["subject"]
    figures |= {
        "clips": clips,
        "chance": metrics["chance"],
        "test_subjects": subject["n"],
        "subject_accuracy": subject["accuracy"],
        "clip_accuracy": metrics["test"]["clip"]["accuracy"],
        "spatial_only_subject_accuracy": spatial_metrics["test"]["subject"]["accuracy"],
        "certificate": certificate,
        "predictions": answers,
        "step_seconds": clock.steps,
        "seconds": round(time.monotonic() - begin, 1),
        "report": str(out / "run" / "report.html"),
        "tensorboard_logs": str(out / "run"),
        "bundle": str(bundle),
    }
    write_json(out / MARK, figures)
    _summarize(figures, say)
    return figures


def _summarize(figures: dict[str, Any], say: Callable[[str], None]) -> None:
    certificate = figures["certificate"]
    int8, float32 = (certificate["variants"][name]["clip"] for name in ("int8", "float32"))
    clips = certificate["clips"]
    say("")
    say(
        f"{figures['test_subjects']} test subjects, never seen in training; chance is {figures['chance']:.2f}"
    )
    say(f"  subject accuracy, both streams:          {figures['subject_accuracy']:.2f}")
    say(f"  subject accuracy, spatial stream alone:  {figures['spatial_only_subject_accuracy']:.2f}")
    say(f"TFLite against Keras on {clips} clips of them")
    say(f"  int8 names the same class for {100 * (1 - int8['changed'] / clips):.1f} %")
    say(f"  float32 probabilities differ by at most {float32['max_delta']:.1e}")
    say(f"Report:       {figures['report']}")
    say(f"TensorBoard:  tensorboard --logdir {figures['tensorboard_logs']}")
    say(f"Bundle:       {figures['bundle']}")
    say(f"All in {figures['seconds']:.0f} s. Research use only.")


def _train_and_evaluate(study: StudyConfig, dataset: Path, run: Path, progress: Progress) -> dict[str, Any]:
    train(study, dataset, run, folds=[0], progress=progress)
    metrics = evaluate(run)
    write_report(run, metrics)
    return metrics


def _empty(out: Path) -> None:
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / MARK).exists()):
            raise RefusedError(f"--out must be a new folder or an earlier demo's. Received: {str(out)!r}")
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error.strerror})") from error


class _Clock:
    """Says each step with the time it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._last = say, time.monotonic()
        self.steps: dict[str, float] = {}

    def say(self, text: str) -> None:
        now = time.monotonic()
        self.steps[text] = round(now - self._last, 1)
        self._say(f"[{now - self._last:5.1f} s] {text}")
        self._last = now
