"""What a network answers for the clips of a data set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from pipelines.schema import Feature
from tfgma.outputs import LOGITS, probabilities_of
from tfgma.runs import Predictions
from tfgma.xla import answers_on

Answerer = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Inputs by name, each (B, ...) -> (B, C) float64 probabilities."""


def answers_of(network: keras.Model) -> Answerer:
    """What `network` answers, as probabilities."""

    def answer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits = answers_on(network, inputs)[LOGITS]
        return keras.ops.convert_to_numpy(probabilities_of(np.asarray(logits, np.float64)))

    return answer


def predict(
    network: keras.Model, data: tf.data.Dataset, classes: Sequence[str], fold: int, side: str
) -> Predictions:
    """What `network` answers for every clip of `data`, as probabilities."""
    return predict_each({"": answers_of(network)}, data, classes, fold, side)[""]


def predict_each(
    answerers: Mapping[str, Answerer], data: tf.data.Dataset, classes: Sequence[str], fold: int, side: str
) -> dict[str, Predictions]:
    """What each of `answerers` answers for every clip of `data`, which is read once."""
    metas: list[dict[str, np.ndarray]] = []
    answers: dict[str, list[np.ndarray]] = {name: [] for name in answerers}
    with _alone():
        for inputs, meta in data.as_numpy_iterator():  # which every backend takes
            for name, answer in answerers.items():
                answers[name].append(answer(inputs))
            metas.append(meta)

    def column(name: str) -> np.ndarray:
        return np.concatenate([meta[name] for meta in metas])

    labels = column(Feature.LABEL)
    return {
        name: Predictions(
            classes=tuple(classes),
            folds=np.full(len(labels), fold),
            sides=np.full(len(labels), side),
            videos=np.char.decode(column(Feature.VIDEO).astype(bytes), "utf-8"),
            subjects=np.char.decode(column(Feature.SUBJECT).astype(bytes), "utf-8"),
            start_seconds=column(Feature.START_SECONDS),
            labels=labels,
            probabilities=np.concatenate(parts),
        )
        for name, parts in answers.items()
    }


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """During a training that several devices or processes share: each asks for itself."""
    shared = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(shared)


def deltas_of(
    network: keras.Model,
    files: Mapping[str, Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]],
    names: Sequence[str],
    data: tf.data.Dataset,
) -> dict[str, dict[str, dict[str, float]]]:
    """How far what each of `files` answers is from what `network` does, over the clips of `data`.

    Args:
        network: answers all of `names`.
        files: inputs of one clip -> all that a file answers, without the batch.
        names: of the answers that are compared.
        data: batches of one clip.

    Returns:
        File -> name -> `mean_delta` and `max_delta`, absolute.
    """
    deltas: dict[str, dict[str, list[np.ndarray]]] = {file: {name: [] for name in names} for file in files}
    for inputs, _ in data.as_numpy_iterator() if names else ():
        wanted = answers_on(network, inputs)
        for file, answer in files.items():
            found = answer(inputs)
            for name in names:
                off = np.abs(found[name] - keras.ops.convert_to_numpy(wanted[name])[0])
                deltas[file][name].append(off)
    return {
        file: {
            name: {"mean_delta": float(np.mean(values)), "max_delta": float(np.max(values))}
            for name, values in found.items()
        }
        for file, found in deltas.items()
    }


def join(parts: Sequence[Predictions]) -> Predictions:
    """The rows of all parts, in order."""
    names = [name for name in vars(parts[0]) if name != "classes"]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Predictions(classes=parts[0].classes, **arrays)
