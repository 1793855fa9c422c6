"""Writes a trained fold's SavedModel, TFLite and ONNX files."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.build import read_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.sampling import Sampling
from tfgma.answers import Answerer, answers_of, predict_each
from tfgma.bundle import ONNX, model_file
from tfgma.certificate import Limits, Making, decisions, failures
from tfgma.inference import TFLiteModel
from tfgma.latency import Runnable
from tfgma.onnx_file import convert_onnx
from tfgma.runs import MODEL_FILE, Predictions, fold_folder, read_run, study_of
from tfgma.tflite import Int8Converter, convert, convert_int16, save_model
from tfgma.weights.pretrained import load_network

SAVED_MODEL = "saved_model"
CALIBRATION_CLIPS = 120
LOSSES_OVER_CLIPS = 8
MOST_MEAN_DELTA = 0.02
"""Of a clip's probability; int8 of networks that quantise well is off by a tenth of that."""


@dataclass(frozen=True)
class ConversionTask:
    """What is converted: fold `fold` of `run` as `variants`, into `folder`, by `limits`."""

    run: Path
    fold: int
    variants: tuple[str, ...]
    folder: Path
    limits: Limits
    int8_io: bool = False


def write_models(task: ConversionTask, tell: Callable[[int, str], None]) -> dict[str, Making]:
    """Writes the SavedModel and a file for each variant; returns how each was made.

    An int8 file that decides otherwise than the network for a subject of the validation side, or is off by
    more than MOST_MEAN_DELTA in the mean over its clips, computes in float32 where int8 loses most: in one
    tensor, two, four and so on, until it decides as the network, or half of them are float32.

    Raises:
        RefusedError: the network needs operators that are not builtin, or a package is missing.
    """
    network = load_network(fold_folder(task.run, task.fold) / MODEL_FILE)
    tell(0, "SavedModel")
    save_model(network, task.folder / SAVED_MODEL)
    made = {}
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        single = Path(folder)
        save_model(network, single, batch=1)
        for number, variant in enumerate(task.variants, start=1):
            tell(number, variant)
            made[variant] = Making()
            if variant == "int8":
                content, made[variant] = _int8(task, network, single)
            elif variant == ONNX:
                content = convert_onnx(network)
            elif variant == "int16":
                content = convert_int16(single, lambda: _calibration_clips(task, network))
            else:
                content = convert(single, variant)
            (task.folder / model_file(variant)).write_bytes(content)
    return made


def int8_losses(task: ConversionTask, tell: Callable[[int, str], None]) -> dict[str, float]:
    """Layer -> what int8 loses in it, the largest first."""
    network = load_network(fold_folder(task.run, task.fold) / MODEL_FILE)
    with tempfile.TemporaryDirectory() as folder:
        save_model(network, Path(folder), batch=1)
        return _by_layer(_int8_converter(task, network, Path(folder)).losses(LOSSES_OVER_CLIPS), network)


def _int8(task: ConversionTask, network: keras.Model, saved_model: Path) -> tuple[bytes, Making]:
    converter = _int8_converter(task, network, saved_model)
    data = fold_clips(task.run, task.fold, "val", network)
    classes = read_run(task.run)["classes"]

    def answers(answer: Answerer) -> Predictions:
        return predict_each({"": answer}, data, classes, task.fold, "val")[""]

    wanted = answers(answers_of(network))

    def decides_alike(content: bytes) -> bool:
        found = decisions(wanted, answers(answers_of_file(TFLiteModel(content))))
        return not failures("int8", found, task.limits) and found["clip"]["mean_delta"] <= MOST_MEAN_DELTA

    content = converter.convert(int8_io=task.int8_io)
    if decides_alike(content):
        return content, Making()
    # Asked only now: it takes longer than the conversion, and several times its memory.
    losses = converter.losses(LOSSES_OVER_CLIPS)
    floats: list[str] = []
    for count in rungs(len(losses)):
        floats = list(losses)[:count]
        content = converter.convert(floats, int8_io=task.int8_io)
        if decides_alike(content):
            break
    layers = layer_names(network)
    return content, Making(tuple(layer_of(name, layers) for name in floats), _by_layer(losses, network))


def _int8_converter(task: ConversionTask, network: keras.Model, saved_model: Path) -> Int8Converter:
    return Int8Converter(saved_model, lambda: _calibration_clips(task, network))


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


def fold_clips(
    run: Path, fold: int, side: str, network: keras.Model, sampling: Callable[[Any], Sampling] | None = None
) -> tf.data.Dataset:
    """Clips of one side of a fold, one at a time and as `network` takes them, with their meta.

    `sampling`: of the side's entries in dataset.json, which clips are taken, in an order that mixes subjects;
    default: each once, in order.
    """
    content = read_run(run)
    config = study_of(content)
    dataset = Path(content["dataset"])
    index = read_index(dataset)
    subjects = set(content["folds"][fold][side])
    entries = [entry for entry in index["videos"] if entry["shard"] and entry["subject"] in subjects]
    return clip_dataset(
        shard_paths(dataset, index, subjects),
        config.build.clip,
        batch_size=1,
        inputs=[tensor.name for tensor in network.inputs],
        settings=config.inputs,
        modalities=index["modalities"],
        shuffle=sampling is not None,
        seed=config.train.seed,
        sampling=sampling(entries) if sampling else None,
    )


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
