"""What a trained network answers for the clips that another one is trained on, as soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.dataset import as_written
from pipelines.schema import Feature, RefusedError
from tfgma.answers import predict
from tfgma.config import TrainSettings
from tfgma.fold_clips import fold_clips
from tfgma.runs import MODEL_FILE, Predictions, fold_folder, read_run
from tfgma.weights.pretrained import load_network

TINY = 1e-7
"""No probability counts as less, so that a logarithm stays finite."""


@dataclass(frozen=True)
class SoftLabels:
    """A teacher's answers for N clips, and how much they count.

    `keys`: (N,) str, see `clip_keys`. `probabilities`: (N, C) float32. `share`: of the teacher in a label,
    0..1; the rest is the true class.
    """

    keys: np.ndarray
    probabilities: np.ndarray
    share: float

    def blended(self, labels: tf.Tensor, meta: dict[str, tf.Tensor]) -> tf.Tensor:
        """(B, C) float32 labels of one class each, with the teacher's answers for these clips in them."""
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(self.keys), tf.range(len(self.keys), dtype=tf.int32)
            ),
            default_value=-1,
        )
        rows = table.lookup(clip_keys(meta[Feature.VIDEO], meta[Feature.START_SECONDS]))
        return (1 - self.share) * labels + self.share * tf.gather(self.probabilities, rows)


@as_written
def clip_keys(videos: tf.Tensor, start_seconds: tf.Tensor) -> tf.Tensor:
    """(B,) string: what a clip is known by in every data set built of the same videos with the same windows.

    Args:
        videos: (B,) string.
        start_seconds: (B,) float32.
    """
    return tf.strings.join([videos, tf.strings.as_string(start_seconds, precision=3)], "@")


def softened(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(N, C) float32: softmax of the logits, divided by `temperature`, that gave (N, C) `probabilities`.

    Source: Hinton, Vinyals and Dean, arXiv:1503.02531.

    >>> softened(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    powers = np.maximum(probabilities, TINY) ** (1 / temperature)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def refuse_other_folds(teacher: Path, run: dict[str, Any], folds: Sequence[int]) -> None:
    """Raises where a teacher saw what its student is chosen or tested on, or answers for other classes.

    Args:
        teacher: a run's folder.
        run: the student's run.json.
        folds: that are trained.

    Raises:
        RefusedError: not a run, other classes, another division into folds, or a fold that it was not
            trained on.
    """
    found = read_run(teacher)
    if found["classes"] != run["classes"]:
        raise RefusedError(
            f"train.teacher must answer for the data's classes, {', '.join(run['classes'])}. "
            f"Received: {', '.join(found['classes'])} of {str(teacher)!r}. Train a teacher on these data"
        )
    for fold in folds:
        if fold not in found["trained_folds"]:
            raise RefusedError(
                f"train.teacher must be trained on each fold that its student is. Received: folds "
                f"{found['trained_folds']} of {str(teacher)!r}, without {fold}. Train that fold too"
            )
        if found["folds"][fold] != {side: list(names) for side, names in run["folds"][fold].items()}:
            raise RefusedError(
                "train.teacher must have its student's folds, or it would have seen who that is tested on. "
                f"Received: other subjects on the sides of fold {fold} in {str(teacher)!r}. Train both "
                "with the same settings of split, on data of the same subjects"
            )


def soft_labels(settings: TrainSettings, fold: int, data: tf.data.Dataset) -> SoftLabels | None:
    """What the teacher of the settings answers for the fold's train side; None without a teacher.

    Args:
        settings: of the student's training.
        fold: whose teacher is asked.
        data: batches `(inputs, meta)` of the student's train side, each clip once; only meta is looked at.

    Raises:
        RefusedError: the teacher's data set is gone, or holds not all clips that the student learns from.
    """
    if settings.teacher is None:
        return None
    teacher = Path(settings.teacher)
    network = load_network(fold_folder(teacher, fold) / MODEL_FILE)
    answers = predict(
        network, fold_clips(teacher, fold, "train", network), read_run(teacher)["classes"], fold, "train"
    )
    keys = _keys(answers)
    known = set(keys.tolist())
    for _, meta in data:
        for key in clip_keys(meta[Feature.VIDEO], meta[Feature.START_SECONDS]).numpy():
            if key not in known:
                raise RefusedError(
                    "train.teacher must have been trained on the clips that its student learns from. "
                    f"Received: a teacher that does not know {key.decode()} (video@seconds). Build both data "
                    "sets from the same videos with the same clip.fps, clip_seconds and stride_seconds"
                )
    return SoftLabels(
        keys, softened(answers.probabilities, settings.teacher_temperature), settings.teacher_share
    )


def _keys(answers: Predictions) -> np.ndarray:
    return clip_keys(tf.constant(answers.videos), tf.constant(answers.start_seconds, tf.float32)).numpy()
