"""Turns a trained fold into a bundle: SavedModel, TFLite and ONNX files that decide as the network does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from pipelines.build import file_digest
from pipelines.files import folder_written_whole, refuse_taken
from pipelines.schema import RefusedError
from tfgma.answers import Answerer, answers_of, deltas_of, predict_each
from tfgma.backends import VARIABLE, choose_backend
from tfgma.bundle import (
    BUNDLE_FILE,
    BUNDLE_VERSION,
    CERTIFICATE_FILE,
    FLOW_FILE,
    ONNX,
    OUTPUT,
    STREAM,
    VARIANTS,
    CalibrationDescription,
    StateDescription,
    StreamingDescription,
    TensorDescription,
    certified_file,
    model_file,
    sealed,
)
from tfgma.calibration import COVERAGE, conformal_fits, fit_temperature
from tfgma.certificate import Candidate, Limits, Making, certify, decisions, failures, refuse_failed
from tfgma.comparison import FIGURES
from tfgma.config import StudyConfig
from tfgma.conversion import streamed, write_models
from tfgma.evaluation import fold_metrics
from tfgma.flow_file import has_flow_network, write_flow
from tfgma.fold_clips import fold_clips
from tfgma.forms import FINE_TUNING_STEPS, ConversionTask, answers_of_file, answers_of_stream, state_names
from tfgma.int8_file import MOST_MEAN_DELTA, int8_losses
from tfgma.intervals import LEVEL
from tfgma.latency import Runnable, machine, measure, opened
from tfgma.models.families import FAMILIES
from tfgma.models.temporal_shift import FrameMean
from tfgma.onnx_file import require_onnx
from tfgma.outputs import ATTENTION
from tfgma.pages import render
from tfgma.processes import run_apart
from tfgma.runs import (
    MODEL_FILE,
    REPORT_FILE,
    fold_folder,
    read_run,
    read_run_predictions,
    study_of,
    write_json,
)
from tfgma.scores import one_side, poolings, scores_by
from tfgma.streaming import StreamingModel
from tfgma.weights.pretrained import load_network

NOTICE = "Research use only. Not a medical device; not for diagnosis."
MEANINGS = {
    "image": "RGB of the upright masked body, the window's middle frame, (0..1 - mean) / std",
    "frames": "RGB of the upright masked body, frames spread over the window, (0..1 - mean) / std",
    "slow": "as frames, few of them",
    "fast": "as frames, all of them",
    "flow": "x0, y0, x1, y1, ... in -1..1 of max_flow_px, positive right and down",
    "pose": "joint features (x, y, velocity, acceleration, displacement) of 18 joints in short clips",
}
STREAM_MEANINGS = {
    "frame": "RGB of the upright masked body, (0..1 - mean) / std",
    "flow": "x, y from the frame before, in -1..1 of max_flow_px, positive right and down; 0 with the first",
}

ATTENTION_MEANINGS = {
    "alpha": "shares of the clip's moments, sum 1",
    "beta": "shares of 18 joints within each moment, sum 1",
}

Progress = Callable[[int, int, str], None]


def export(
    run: Path,
    out: Path,
    *,
    fold: int | None = None,
    variants: Sequence[str] = VARIANTS,
    limits: Limits | None = None,
    int8_io: bool = False,
    streaming: bool = False,
    attention: bool = False,
    fine_tuning_steps: int = FINE_TUNING_STEPS,
    isolated: bool = True,
    progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """Writes the bundle of one fold (default: the first trained) to `out`; returns its certificate.

    Every file is opened by its runtime, LiteRT or ONNX Runtime, and answers the fold's test clips; what it
    answers is compared with the network's answers on the Keras backend in use, which may be any.

    Args:
        run: a training's folder.
        out: the bundle's.
        fold: whose network.
        variants: of ALL_VARIANTS, and ONNX.
        limits: how far a file may be off; default `Limits()`.
        int8_io: whether the int8 file takes and gives int8.
        streaming: whether each variant is also written as a file that takes a frame at a time, whose inputs
            and states are float32.
        attention: whether every file also answers what the network weighed (ATTENTION).
        fine_tuning_steps: of the int8 file's weights under its rounding, where it differs; 0 for none.
        isolated: whether files are converted in a process of their own; if not, on TensorFlow alone.
        progress: is told steps done, of all, and what comes next.

    Raises:
        RefusedError: not a run, an untrained fold, an unknown variant, the data set is gone, `out` is not
            empty, a network that looks ahead cannot stream, one without attention cannot tell it, the
            network needs operators beyond the builtin ones, a file differs from the network by more than
            `limits`, or ONNX is asked for without its packages.
    """
    limits = limits or Limits()
    content = read_run(run)
    config = study_of(content)
    if fold is None:
        fold = min(content["trained_folds"], default=0)
    if fold not in content["trained_folds"]:
        raise RefusedError(f"--fold must be one of {content['trained_folds']}. Received: {fold}")
    files = {variant: model_file(variant) for variant in variants}
    if ONNX in files:
        require_onnx()
    if streaming and FAMILIES[config.model.family].streaming is None:
        able = ", ".join(name for name, family in FAMILIES.items() if family.streaming)
        raise RefusedError(
            f"--streaming needs a network that never looks ahead, of the family {able}. "
            f'Received: "{config.model.family}". Leave --streaming out, or train configs/stream_gma.yaml'
        )
    network = load_network(fold_folder(run, fold) / MODEL_FILE)
    if attention and not set(ATTENTION) <= network.output.keys():
        raise RefusedError(
            "--attention needs a network that tells what it weighed, of the family stam. "
            f'Received: "{config.model.family}". Leave --attention out, or train configs/stam_gma.yaml'
        )
    refuse_taken(out)
    steps = 2 * (len(files) + (len(streamed(variants)) if streaming else 0)) + 2
    with folder_written_whole(out) as building:
        task = ConversionTask(
            run.resolve(),
            fold,
            tuple(files),
            building.resolve(),
            limits,
            int8_io,
            streaming,
            ATTENTION if attention else (),
            fine_tuning_steps,
        )
        certificate = write_and_certify(
            task, isolated=isolated, tell=lambda number, text: progress(number, steps, text)
        )
        refuse_failed(certificate)
        write_json(building / CERTIFICATE_FILE, certificate)
        description = _describe(run, content, config, fold, network, building, certificate)
        if streaming:
            description["streaming"] = _describe_streaming(config, network)
        if attention:
            description["attention"] = {
                name: TensorDescription(
                    shape=network.output[name].shape[1:], meaning=ATTENTION_MEANINGS[name]
                ).model_dump()
                for name in ATTENTION
            }
        write_json(building / BUNDLE_FILE, sealed(description))
        card = render(
            "MODEL_CARD.md.j2", bundle=description, certificate=certificate, config=config, fold=fold
        )
        (building / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        page = render(
            "certificate.html.j2",
            certificate=certificate,
            run=content,
            figures=FIGURES,
            level_share=f"{100 * LEVEL:.0f} %",
            cell_paints=(),
            streaming=streaming,
            most_mean_delta=MOST_MEAN_DELTA,
            files=certified_files(certificate),
        )
        (building / REPORT_FILE).write_text(page, encoding="utf-8")
    progress(steps, steps, "done")
    return certificate


def write_and_certify(
    task: ConversionTask, *, isolated: bool = True, tell: Callable[[int, str], None] = lambda *_: None
) -> dict[str, Any]:
    """Writes a fold's SavedModel and other files and returns their certificate, whatever it says.

    `tell`: of twice as many steps as files, and two.

    Raises:
        RefusedError: as `export`, but for files that differ.
    """
    made = _write_models(task, tell, isolated)
    tell(len(made) + 1, "answers to the test clips")
    network = load_network(fold_folder(task.run, task.fold) / MODEL_FILE)
    contents = {name: (task.folder / certified_file(name)).read_bytes() for name in made}
    models: dict[str, Runnable] = {}
    answerers: dict[str, Answerer] = {"": answers_of(network)}
    for name, content in contents.items():
        if name.startswith(STREAM):
            models[name] = stream = StreamingModel(content)
            answerers[name] = answers_of_stream(stream)
        else:
            models[name] = opened(task.folder / certified_file(name))
            answerers[name] = answers_of_file(models[name])
    data = fold_clips(task.run, task.fold, "test", network)
    also = deltas_of(network, {name: model.outputs for name, model in models.items()}, task.also, data)
    answers = predict_each(answerers, data, read_run(task.run)["classes"], task.fold, "test")
    for form in ("", STREAM):
        # Both round weights and activations to 8 bits, so one ranking of layers tells of both.
        unexplained = [
            name
            for name in (f"{form}int8", f"{form}dynamic")
            if name in made
            and not made[name].losses
            and failures(name, decisions(answers[""], answers[name]), task.limits)
        ]
        if unexplained:
            tell(len(made) + 1, "which layers lose most")
            losses = _apart(partial(int8_losses, name=form), task, lambda *_: None, isolated)
            made |= {name: replace(made[name], losses=losses) for name in unexplained}
    candidates = {}
    for number, (name, content) in enumerate(contents.items(), start=len(made) + 2):
        tell(number, f"latency of {name}")
        costs = measure(task.folder / certified_file(name))
        operators = models[name].operators
        candidates[name] = Candidate(content, operators, answers[name], made[name], costs, also[name])
    calibration = _calibration(task.run, task.fold)
    certificate = certify(answers[""], candidates, task.limits, machine(), calibration)
    certificate["network_sha256"] = file_digest(fold_folder(task.run, task.fold) / MODEL_FILE)
    inputs = [tensor.name for tensor in network.inputs]
    if has_flow_network(study_of(read_run(task.run)).build, inputs):
        tell(2 * len(made) + 2, FLOW_FILE)
        found = _apart(write_flow, task, lambda *_: None, isolated)
        certificate["flow"] = found | measure(task.folder / FLOW_FILE)
    return certificate


def _write_models(
    task: ConversionTask, tell: Callable[[int, str], None], isolated: bool
) -> dict[str, Making]:
    now = "the SavedModel"

    def noted(number: int, text: str) -> None:
        nonlocal now
        now = text
        tell(number, text)

    try:
        return _apart(write_models, task, noted, isolated)
    except RefusedError as error:
        raise RefusedError(f"{error} (while it made {now})") from error


def _apart(
    function: Callable[..., Any], task: ConversionTask, tell: Callable[..., None], isolated: bool
) -> Any:
    """In a process of its own: the converter can end one by its failures, and takes TensorFlow's Keras."""
    if not isolated:
        return function(task, tell)
    before = os.environ.get(VARIABLE)
    choose_backend("tensorflow")
    try:
        return run_apart(function, task, tell=tell, what="the conversion", remedy="Leave a variant out")
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _describe(
    run: Path,
    content: dict[str, Any],
    config: StudyConfig,
    fold: int,
    network: keras.Model,
    folder: Path,
    certificate: dict[str, Any],
) -> dict[str, Any]:
    inputs = {
        tensor.name: TensorDescription(shape=tensor.shape[1:], meaning=MEANINGS[tensor.name]).model_dump()
        for tensor in network.inputs
    }
    return {
        "bundle_version": BUNDLE_VERSION,
        "classes": content["classes"],
        "sampling": config.inputs.model_dump(),
        "build": config.build.model_dump(),
        "inputs": inputs,
        "output": OUTPUT,
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(
                folder / name
                for name in (CERTIFICATE_FILE, *(one["file"] for one in certified_files(certificate)))
            )
        },
        "calibration": _calibration(run, fold).model_dump(),
        "metrics": fold_metrics(run, fold),
        "run": {
            "fold": fold,
            "dataset_sha256": content["dataset_sha256"],
            "environment": content["environment"],
        },
        "runtime": certificate["machine"]["ai_edge_litert"],
        "notice": NOTICE,
    }


def _calibration(run: Path, fold: int) -> CalibrationDescription:
    validation = one_side(read_run_predictions(run), fold, "val")
    subjects = scores_by("subject", validation, poolings(validation, "mean"))
    temperature = fit_temperature(subjects.labels, subjects.probabilities)
    return CalibrationDescription(
        temperature=temperature.value,
        fitted=temperature.fitted,
        fits=tuple(conformal_fits(subjects.labels, subjects.probabilities).tolist()),
        coverage=COVERAGE,
    )


def certified_files(certificate: dict[str, Any]) -> list[dict[str, Any]]:
    """What a certificate says of each file, that of flow last."""
    return [*certificate["variants"].values(), *([certificate["flow"]] if "flow" in certificate else [])]


def _describe_streaming(config: StudyConfig, network: keras.Model) -> dict[str, Any]:
    make = FAMILIES[config.model.family].streaming
    assert make is not None
    step = make(network)
    shapes = {tensor.name: tensor.shape[1:] for tensor in step.inputs}
    states = state_names(step)
    (frames,) = {layer.frames for layer in network.layers if isinstance(layer, FrameMean)}
    return StreamingDescription(
        frames=frames,
        inputs={
            name: TensorDescription(shape=shape, meaning=STREAM_MEANINGS[name])
            for name, shape in shapes.items()
            if name not in states
        },
        states={name: StateDescription(shape=shapes[name]) for name in sorted(states)},
    ).model_dump()
