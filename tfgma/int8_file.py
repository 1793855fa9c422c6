"""An int8 file that decides as its network does: where it must, fine-tuned or in part float32."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from tfgma.answers import Answerer, answers_of, predict_each
from tfgma.certificate import Making, decisions, failures
from tfgma.fine_tuning import fine_tune
from tfgma.fitting import augmentation_of
from tfgma.fold_clips import fold_clips
from tfgma.forms import ConversionTask, Form, form_of
from tfgma.models.temporal_shift import RUNNING_MEAN
from tfgma.runs import MODEL_FILE, Predictions, fold_folder, read_run, study_of
from tfgma.tflite import Int8Converter, save_model
from tfgma.weights.pretrained import load_network

TUNED_ABOVE = 0.003
"""Mean over clips of how far a probability is off: an int8 file of more is fine-tuned."""
MOST_MEAN_DELTA = 0.02
"""The same: a file of more computes some layers in float32."""
TUNING_BATCH = 8
TUNING_SHARE = 0.05
"""Learning rate of fine-tuning, of the study's."""
LEAST_TUNING_RATE = 1e-5


def make_int8(
    task: ConversionTask, form: Form, say: Callable[[str], None] = lambda text: None
) -> tuple[bytes, Making]:
    """The file, and how it was made.

    One that decides otherwise than the network for a subject of the validation side, or is off by more than
    TUNED_ABOVE in the mean over its clips, is made anew of weights that were fine-tuned under its rounding.
    If that still decides otherwise, or is off by more than MOST_MEAN_DELTA, the file computes in float32
    where int8 loses most: in one tensor, two, four and so on, until it decides as the network, or half of
    them are float32; and then it is fine-tuned with those in float32.

    Args:
        task: of which fold, and by which limits.
        form: of the file.
        say: is told what is done.
    """
    data = fold_clips(task.run, task.fold, "val", form.network)
    classes = read_run(task.run)["classes"]

    def answers(answer: Answerer) -> Predictions:
        return predict_each({"": answer}, data, classes, task.fold, "val")[""]

    wanted = answers(answers_of(form.network))

    def made(converter: Int8Converter, floats: Sequence[str] = ()) -> tuple[tuple[bool, float], bytes]:
        """Whether it is beyond the limits; how far a probability is off, in the mean over clips; the file."""
        content = converter.convert(floats, int8_io=form.int8_io)
        found = decisions(wanted, answers(form.answers_of_file(content)))
        delta = found["clip"]["mean_delta"] if found["valid"] else 1.0
        return (bool(failures("int8", found, task.limits)), delta), content

    def tuned(float_layers: Sequence[str] = ()) -> Int8Converter:
        return _tuned(task, form, float_layers, say)

    converter = _converter(form)
    off, content = made(converter)
    is_tuned = form.is_tuned and task.fine_tuning_steps > 0
    if off > (False, TUNED_ABOVE) and is_tuned:
        off_tuned, tuned_content = made(tuned())
        if off_tuned <= min(off, (False, MOST_MEAN_DELTA)):
            return tuned_content, Making(fine_tuning_steps=task.fine_tuning_steps)
    if off <= (False, MOST_MEAN_DELTA):
        return content, Making()
    # Asked only now: it takes longer than the conversion, and several times its memory.
    losses = converter.losses(form.losses_over)
    floats: list[str] = []
    for count in rungs(len(losses)):
        floats = list(losses)[:count]
        off, content = made(converter, floats)
        if off <= (False, MOST_MEAN_DELTA):
            break
    layers = layer_names(form.network)
    making = Making(tuple(layer_of(name, layers) for name in floats), _by_layer(losses, form.network))
    if off > (False, TUNED_ABOVE) and is_tuned:
        off_tuned, tuned_content = made(tuned(making.float_layers), floats)
        if off_tuned < off:
            return tuned_content, replace(making, fine_tuning_steps=task.fine_tuning_steps)
    return content, making


def _tuned(
    task: ConversionTask,
    form: Form,
    float_layers: Sequence[str],
    say: Callable[[str], None],
) -> Int8Converter:
    """Makes int8 of the network after fine-tuning under its rounding."""
    config, steps = study_of(read_run(task.run)), task.fine_tuning_steps
    trained = fold_folder(task.run, task.fold) / MODEL_FILE
    network = load_network(trained)
    batches = fold_clips(
        task.run,
        task.fold,
        "train",
        form.network,
        batch_size=TUNING_BATCH,
        shuffle=True,
        cache=config.train.cache,
        augmentation=augmentation_of(config.augment),
        epochs=range(steps),
    )
    fine_tune(
        network,
        form.network,
        (inputs for inputs, _ in batches),
        _batched(form.calibration()),
        float_layers=float_layers,
        learning_rate=max(LEAST_TUNING_RATE, TUNING_SHARE * config.train.learning_rate),
        steps=steps,
        tell=lambda done: say(f"int8, fine-tuning step {done} of {steps}"),
    )
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        save_model(network, Path(folder), batch=1, also=task.also)
        return Int8Converter(Path(folder), form.calibration)


def _batched(clips: Iterator[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    while several := list(itertools.islice(clips, TUNING_BATCH)):
        yield {name: np.concatenate([one[name] for one in several]) for name in several[0]}


def _converter(form: Form) -> Int8Converter:
    return Int8Converter(
        form.saved_model,
        form.calibration,
        lambda tensor: layer_of(tensor, {RUNNING_MEAN}) == form.float_layer,
    )


def int8_losses(task: ConversionTask, tell: Callable[[int, str], None], name: str = "") -> dict[str, float]:
    """Layer -> what int8 loses in it, the largest first; `name`: "" for clips, STREAM for frames."""
    network = load_network(fold_folder(task.run, task.fold) / MODEL_FILE)
    with tempfile.TemporaryDirectory() as folder:
        form = form_of(name, task, network, Path(folder))
        return _by_layer(_converter(form).losses(form.losses_over), network)


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
