"""The commands as functions, for notebooks and other programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfgma.explanation import Explanation
    from tfgma.inference import Assessment

PathLike = str | os.PathLike[str]


def synthesize(
    out: PathLike, *, subjects: int, seconds: float = 20.0, seed: int = 0, workers: int = 1, **nuisances: Any
) -> Path:
    """Generated infants, as videos in `out/<class>/<subject>`; their movement is known.

    Args:
        out: a new or an empty folder.
        subjects: at least one for each class.
        seconds: of each video.
        seed: equal seeds give equal files.
        workers: processes.
        nuisances: fields of `pipelines.synthetic.SyntheticSettings`, such as `shake_px=2.0`.

    Returns:
        The folder.

    Raises:
        RefusedError: a number out of range, an unknown field, or a folder that holds something.
    """
    from pipelines.config import parse_settings
    from pipelines.synthetic import SyntheticSettings, generate

    settings = parse_settings(nuisances, SyntheticSettings, "synthesize")
    generate(Path(out), settings, subjects=subjects, seconds=seconds, seed=seed, workers=workers)
    return Path(out)


def build(
    source: PathLike,
    out: PathLike,
    *,
    config: PathLike | None = None,
    settings: Sequence[str] = (),
    workers: int = 1,
) -> dict[str, Any]:
    """Turns videos into TFRecords of upright, cut-out bodies, their optical flow and joints.

    Called again on the same folder it goes on, and does only what is new.

    Args:
        source: a folder `<class>/<subject>/*.mp4`, or a CSV manifest `video,subject,label,...`.
        out: the data set's folder.
        config: a study's YAML file, of which the section `build` counts.
        settings: changes to it, such as `"build.clip.size=96"`.
        workers: processes.

    Returns:
        The content of `dataset.json`: classes, settings, and of each video its clips or why it was left out.

    Raises:
        RefusedError: a source, a setting or a folder that cannot be used; the sentence says what to do.
    """
    from pipelines.build import build_dataset
    from tfgma.chosen_tools import chosen_tools
    from tfgma.config import load_study

    build = load_study(_path(config), tuple(settings)).build
    return build_dataset(Path(source), Path(out), build, workers=workers, make_tools=chosen_tools(build))


def train(
    dataset: PathLike,
    out: PathLike,
    *,
    config: PathLike | None = None,
    settings: Sequence[str] = (),
    folds: Sequence[int] | None = None,
    resume: bool = False,
) -> Path:
    """Trains a network for each fold; `tensorboard --logdir OUT` shows how.

    Args:
        dataset: a folder of `build`, with the same config.
        out: the run's folder, new or empty unless `resume`.
        config: a study's YAML file.
        settings: changes to it, such as `"train.epochs=20"`.
        folds: which; default all.
        resume: go on with the training in `out`.

    Returns:
        The run's folder.

    Raises:
        RefusedError: a data set, config or folder that cannot be used.
    """
    from tfgma.config import load_study
    from tfgma.training import train as train_folds

    study = load_study(_path(config), tuple(settings))
    train_folds(study, Path(dataset), Path(out), folds=folds, resume=resume)
    return Path(out)


def evaluate(run: PathLike, *, aggregation: str = "mean", by: Sequence[str] = ()) -> dict[str, Any]:
    """Figures by clip, video and subject, with intervals; writes `metrics.json` and `report.html` to the run.

    Args:
        run: a folder of `train`.
        aggregation: how clips become one answer: mean, median, log_odds or attention.
        by: columns of the manifest, a table for each.

    Returns:
        The content of metrics.json.

    Raises:
        RefusedError: not a run, no trained fold, or an unknown column.
    """
    from tfgma.evaluation import evaluate as evaluate_run
    from tfgma.report import write_report

    metrics = evaluate_run(Path(run), aggregation=aggregation, by=tuple(by))
    write_report(Path(run), metrics)
    return metrics


def explain(
    run: PathLike,
    video: PathLike,
    *,
    out: PathLike | None = None,
    fold: int | None = None,
    explained: str | None = None,
    maps: int = 3,
) -> Explanation:
    """Which parts of the body, seconds, pixels and joints a network's answer for a video rests on.

    Args:
        run: a folder of `train`.
        video: a file.
        out: a new or empty folder for a page, its figures and arrays; default none.
        fold: whose network; default one that has not seen the video's subject.
        explained: a class; default the most probable one.
        maps: clips of which pixels and joints are explained.

    Raises:
        RefusedError: not a run, an unknown fold or class, or a video that cannot be assessed.
    """
    from pipelines.files import refuse_taken
    from tfgma.explanation import explain as explain_video
    from tfgma.explanation_page import write_explanation
    from tfgma.runs import read_run, study_of

    if out is not None:
        refuse_taken(Path(out))
    found = explain_video(Path(run), Path(video), fold=fold, explained=explained, maps=maps)
    if out is not None:
        write_explanation(Path(out), found, study_of(read_run(Path(run))).inputs)
    return found


def export(
    run: PathLike, out: PathLike, *, fold: int | None = None, variants: Sequence[str] | None = None
) -> Path:
    """Writes a bundle: SavedModel and TFLite files, each certified to decide as the network does.

    Args:
        run: a folder of `train`.
        out: the bundle's folder, new or empty.
        fold: whose network; default the first trained.
        variants: float32, float16, dynamic, int8, int16, onnx; default the first four.

    Returns:
        The bundle's folder.

    Raises:
        RefusedError: an untrained fold, an unknown variant, or a file that differs from the network.
    """
    from tfgma.bundle import VARIANTS
    from tfgma.exporting import export as export_run

    export_run(Path(run), Path(out), fold=fold, variants=VARIANTS if variants is None else variants)
    return Path(out)


def predict(video: PathLike, bundle: PathLike, *, variant: str = "float32") -> Assessment:
    """Assesses a video by a bundle; needs no TensorFlow. Research use only.

    For many videos open `tfgma.inference.Predictor` once.

    Args:
        video: a file.
        bundle: a folder of `export`.
        variant: which of its TFLite files.

    Returns:
        `.verdict` (a class, or that there is none and why), `.probabilities` (C,), `.clip_probabilities`
        (N, C), `.start_seconds` (N,), `.as_json()`.

    Raises:
        RefusedError: a video that cannot be assessed, or a bundle that cannot be used.
    """
    from tfgma.inference import Predictor

    with Predictor(Path(bundle), variant) as predictor:
        return predictor.assess(Path(video))


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
