"""Writes a trained fold's SavedModel, TFLite and ONNX files."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.inputs import spread
from pipelines.sampling import Sampling
from tfgma.answers import Answerer, answers_of, predict_each
from tfgma.bundle import ONNX, STREAM, certified_file
from tfgma.certificate import Limits, Making, decisions, failures
from tfgma.fold_clips import fold_clips
from tfgma.inference import TFLiteModel
from tfgma.latency import Runnable
from tfgma.models.families import FAMILIES
from tfgma.models.temporal_shift import RUNNING_MEAN
from tfgma.onnx_file import convert_onnx
from tfgma.runs import MODEL_FILE, Predictions, fold_folder, read_run, study_of
from tfgma.streaming import StreamingModel, clip_steps
from tfgma.tflite import Clips, Int8Converter, convert, convert_int16, save_model
from tfgma.weights.pretrained import load_network

SAVED_MODEL = "saved_model"
CALIBRATION_CLIPS = 120
CALIBRATION_STEPS = 4
"""Of each of those clips, for files that stream: neighbouring frames are alike."""
LOSSES_OVER_CLIPS = 8
MOST_MEAN_DELTA = 0.02
"""Of a clip's probability; int8 of networks that quantise well is off by a tenth of that."""


@dataclass(frozen=True)
class ConversionTask:
    """What is converted: fold `fold` of `run` as `variants`, into `folder`, by `limits`.

    `streaming`: each variant also as a file that takes a frame at a time. `also`: outputs of the network that
    every file answers besides.
    """

    run: Path
    fold: int
    variants: tuple[str, ...]
    folder: Path
    limits: Limits
    int8_io: bool = False
    streaming: bool = False
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """A network for clips, or the same network for one frame at a time.

    `network`: of the clips. `saved_model`: of batch 1. `calibration`: inputs that its files may meet.
    `answers_of_file`: what a file answers for clips. `float_layer`: one that int8 files compute in float32.
    `int8_io`: whether they take and give int8. `losses_over`: so many inputs.
    """

    network: keras.Model
    saved_model: Path
    calibration: Clips
    answers_of_file: Callable[[bytes], Answerer]
    float_layer: str | None
    int8_io: bool
    losses_over: int

    def int8_converter(self) -> Int8Converter:
        """Measures what int8 is made by."""
        return Int8Converter(
            self.saved_model,
            self.calibration,
            lambda tensor: layer_of(tensor, {RUNNING_MEAN}) == self.float_layer,
        )


def write_models(task: ConversionTask, tell: Callable[[int, str], None]) -> dict[str, Making]:
    """Writes the SavedModel and a file for each variant; returns how each was made.

    An int8 file that decides otherwise than the network for a subject of the validation side, or is off by
    more than MOST_MEAN_DELTA in the mean over its clips, computes in float32 where int8 loses most: in one
    tensor, two, four and so on, until it decides as the network, or half of them are float32.

    Returns:
        Variant, with STREAM before it for files that take a frame at a time -> how it was made.

    Raises:
        RefusedError: the network needs operators that are not builtin, or a package is missing.
    """
    network = load_network(fold_folder(task.run, task.fold) / MODEL_FILE)
    tell(0, "SavedModel")
    save_model(network, task.folder / SAVED_MODEL, also=task.also)
    made: dict[str, Making] = {}
    for name in ("", STREAM) if task.streaming else ("",):
        with tempfile.TemporaryDirectory(dir=task.folder) as folder:
            form = _form(name, task, network, Path(folder))
            for variant in streamed(task.variants) if name == STREAM else task.variants:
                file = f"{name}{variant}"
                tell(len(made) + 1, file)
                made[file] = Making()
                if variant == "int8":
                    content, made[file] = _int8(task, form)
                elif variant == ONNX:
                    content = convert_onnx(network, task.also)
                elif variant == "int16":
                    content = convert_int16(form.saved_model, form.calibration)
                else:
                    content = convert(form.saved_model, variant)
                (task.folder / certified_file(file)).write_bytes(content)
    return made


def streamed(variants: Sequence[str]) -> list[str]:
    """Those that are also written for one frame at a time: the TFLite files."""
    return [variant for variant in variants if variant != ONNX]


def int8_losses(task: ConversionTask, tell: Callable[[int, str], None], name: str = "") -> dict[str, float]:
    """Layer -> what int8 loses in it, the largest first; `name`: "" for clips, STREAM for frames."""
    network = load_network(fold_folder(task.run, task.fold) / MODEL_FILE)
    with tempfile.TemporaryDirectory() as folder:
        form = _form(name, task, network, Path(folder))
        return _by_layer(form.int8_converter().losses(form.losses_over), network)


def _form(name: str, task: ConversionTask, network: keras.Model, folder: Path) -> Form:
    """Written to `folder`."""

    def clips() -> Iterator[dict[str, np.ndarray]]:
        return _calibration_clips(task, network)

    if name != STREAM:
        save_model(network, folder, batch=1, also=task.also)
        return Form(
            network=network,
            saved_model=folder,
            calibration=clips,
            answers_of_file=lambda content: answers_of_file(TFLiteModel(content)),
            float_layer=None,
            int8_io=task.int8_io,
            losses_over=LOSSES_OVER_CLIPS,
        )
    streaming = FAMILIES[study_of(read_run(task.run)).model.family].streaming
    assert streaming is not None
    step = streaming(network)
    save_model(step, folder, batch=1, also=state_names(step))
    return Form(
        network=network,
        saved_model=folder,
        calibration=lambda: _calibration_steps(convert(folder, "float32"), clips()),
        answers_of_file=lambda content: answers_of_stream(StreamingModel(content)),
        # A sum without an end has no scale in 8 bits, and its number of frames needs more than 256 values.
        float_layer=RUNNING_MEAN,
        int8_io=False,
        losses_over=LOSSES_OVER_CLIPS * CALIBRATION_STEPS,
    )


def _calibration_steps(
    float_file: bytes, clips: Iterator[dict[str, np.ndarray]]
) -> Iterator[dict[str, np.ndarray]]:
    """Frames spread over each of `clips`, with the states that they meet."""
    model = StreamingModel(float_file)
    for clip in clips:
        model.reset()
        steps = list(clip_steps(clip))
        chosen = spread(min(CALIBRATION_STEPS, len(steps)), len(steps))
        for number, inputs in enumerate(steps):
            if number in chosen:
                yield {name: values[None] for name, values in inputs.items()} | model.states
            model.step(**inputs)


def state_names(step: keras.Model) -> list[str]:
    """What a network that takes a frame at a time gives for the next frame."""
    return [name for name in step.output if name in step.input]


def _int8(task: ConversionTask, form: Form) -> tuple[bytes, Making]:
    converter = form.int8_converter()
    data = fold_clips(task.run, task.fold, "val", form.network)
    classes = read_run(task.run)["classes"]

    def answers(answer: Answerer) -> Predictions:
        return predict_each({"": answer}, data, classes, task.fold, "val")[""]

    wanted = answers(answers_of(form.network))

    def decides_alike(content: bytes) -> bool:
        found = decisions(wanted, answers(form.answers_of_file(content)))
        return not failures("int8", found, task.limits) and found["clip"]["mean_delta"] <= MOST_MEAN_DELTA

    content = converter.convert(int8_io=form.int8_io)
    if decides_alike(content):
        return content, Making()
    # Asked only now: it takes longer than the conversion, and several times its memory.
    losses = converter.losses(form.losses_over)
    floats: list[str] = []
    for count in rungs(len(losses)):
        floats = list(losses)[:count]
        content = converter.convert(floats, int8_io=form.int8_io)
        if decides_alike(content):
            break
    layers = layer_names(form.network)
    return content, Making(tuple(layer_of(name, layers) for name in floats), _by_layer(losses, form.network))


def _by_layer(losses: dict[str, float], network: keras.Model) -> dict[str, float]:
    """Of a layer's tensors the largest loss, which comes first."""
    layers = layer_names(network)
    found: dict[str, float] = {}
    for name, loss in losses.items():
        found.setdefault(layer_of(name, layers), loss)
    return found


def layer_names(network: keras.Model) -> set[str]:
    """Of all layers, those within layers too."""
    found = set()
    for layer in network.layers:
        found |= {layer.name} | (layer_names(layer) if hasattr(layer, "layers") else set())
    return found


def layer_of(tensor: str, layers: set[str]) -> str:
    """The innermost of `layers` that a file's tensor is made in, or the tensor's own name.

    >>> layer_of("net_1/trunk_1/conv1_2/add;net_1/trunk_1/conv1_2/Relu", {"trunk", "conv1"})
    'conv1'
    """
    for part in reversed(tensor.partition(";")[0].split("/")):
        # Keras numbers layers when a network is called again.
        for name in (part, part.rpartition("_")[0]):
            if name in layers:
                return name
    return tensor


def rungs(tensors: int) -> list[int]:
    """How many of so many tensors are computed in float32, one try after the other: 1, 2, 4 to half."""
    return list(itertools.takewhile(lambda count: count <= tensors // 2, (2**n for n in itertools.count())))


def answers_of_file(model: Runnable) -> Answerer:
    """What a file answers, for batches of one."""
    return lambda inputs: model(inputs).astype(np.float64)[None]


def answers_of_stream(model: StreamingModel) -> Answerer:
    """What a file that takes a frame at a time answers after the last one, for batches of one."""
    return lambda inputs: model.answer(inputs).astype(np.float64)[None]


def _calibration_clips(task: ConversionTask, network: keras.Model) -> Any:
    """Inputs of clips that stand for the training side: of all classes alike, and of many subjects."""
    data = fold_clips(task.run, task.fold, "train", network, representative)
    return (inputs for inputs, _ in data.take(CALIBRATION_CLIPS).as_numpy_iterator())


def representative(entries: list[dict[str, Any]]) -> Sampling:
    """Draws about CALIBRATION_CLIPS clips, as many of each class, and of each subject at most as many."""
    subjects = {entry["subject"] for entry in entries}
    return Sampling(
        clips=tuple(entry["clips"] for entry in entries),
        subjects=tuple(entry["subject"] for entry in entries),
        classes=tuple(entry["label"] for entry in entries),
        clips_per_subject=max(1, -(-CALIBRATION_CLIPS // len(subjects))),
        balanced=True,
    )
