"""What is converted of a trained fold: its network for clips, or the same for one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.inputs import spread
from pipelines.sampling import Sampling
from tfgma.answers import Answerer
from tfgma.bundle import STREAM
from tfgma.certificate import Limits
from tfgma.fold_clips import fold_clips
from tfgma.inference import TFLiteModel
from tfgma.latency import Runnable
from tfgma.models.families import FAMILIES
from tfgma.models.temporal_shift import RUNNING_MEAN
from tfgma.runs import read_run, study_of
from tfgma.streaming import StreamingModel, clip_steps
from tfgma.tflite import Clips, convert, save_model

CALIBRATION_CLIPS = 120
CALIBRATION_STEPS = 4
"""Of each of those clips, for files that stream: neighbouring frames are alike."""
LOSSES_OVER_CLIPS = 8
FINE_TUNING_STEPS = 200


@dataclass(frozen=True)
class ConversionTask:
    """What is converted: fold `fold` of `run` as `variants`, into `folder`, by `limits`.

    `streaming`: each variant also as a file that takes a frame at a time. `also`: outputs of the network that
    every file answers besides. `fine_tuning_steps`: of fine-tuning int8 files that need it.
    """

    run: Path
    fold: int
    variants: tuple[str, ...]
    folder: Path
    limits: Limits
    int8_io: bool = False
    streaming: bool = False
    also: tuple[str, ...] = ()
    fine_tuning_steps: int = FINE_TUNING_STEPS


@dataclass(frozen=True)
class Form:
    """A network for clips, or the same network for one frame at a time.

    `network`: of the clips. `saved_model`: of batch 1. `calibration`: inputs that its files may meet.
    `answers_of_file`: what a file answers for clips. `float_layer`: one that int8 files compute in float32.
    `int8_io`: whether they take and give int8. `losses_over`: so many inputs. `is_tuned`: whether the network
    is fine-tuned where int8 is off.
    """

    network: keras.Model
    saved_model: Path
    calibration: Clips
    answers_of_file: Callable[[bytes], Answerer]
    float_layer: str | None
    int8_io: bool
    losses_over: int
    is_tuned: bool


def form_of(name: str, task: ConversionTask, network: keras.Model, folder: Path) -> Form:
    """The form that files of a name have: "" for clips, STREAM for frames; its SavedModel is in `folder`."""

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
            is_tuned=True,
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
        is_tuned=False,
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
