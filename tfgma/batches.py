"""Batches as keras.Model.fit takes them: inputs, each head's labels, and the clips' weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.dataset import as_written
from pipelines.mixing import Mixing, mix_inputs, mix_labels, sample_mixing
from pipelines.schema import Feature
from tfgma.distillation import SoftLabels


def for_fit(
    data: tf.data.Dataset,
    heads: Sequence[str],
    num_classes: int,
    *,
    one_logit: bool,
    class_weights: Sequence[float] | None = None,
    soft: SoftLabels | None = None,
    mixing: Mixing | None = None,
    size: int = 1,
    seed: int = 0,
    first: int = 0,
) -> tf.data.Dataset:
    """`(inputs, labels)` or, with class weights, `(inputs, labels, weights)` from batches `(inputs, meta)`.

    `labels`: for each of `heads` (B, 1) if `one_logit` else (B, C), float32. `weights`: (B,) float32, of
    mixed clips by the shares of their classes.

    Args:
        data: of pipelines.dataset.clip_dataset.
        heads: names of the outputs.
        num_classes: C.
        one_logit: two classes by one logit, of the second.
        class_weights: one for each class.
        soft: a teacher's answers for the clips, blended into their labels; weights are by the true class.
        mixing: draws anew for each batch, by `seed` and the batch's number.
        size: px a side of the pictures that are mixed.
        seed: of the mixing.
        first: number of the first batch of `data`.
    """

    @as_written
    def finish(
        number: tf.Tensor, batch: tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]
    ) -> tuple[Any, ...]:
        inputs, meta = batch
        true = tf.one_hot(meta[Feature.LABEL], num_classes)
        labels = soft.blended(true, meta) if soft else true
        if mixing:
            partner, own = _draw(mixing, tf.shape(labels)[0], size, seed, number)
            inputs = mix_inputs(inputs, partner, own)
            labels, true = mix_labels(labels, partner, own), mix_labels(true, partner, own)
        wanted = dict.fromkeys(heads, labels[:, 1:] if one_logit else labels)
        if class_weights is None:
            return inputs, wanted
        return inputs, wanted, tf.linalg.matvec(true, tf.constant(class_weights, tf.float32))

    return data.enumerate(first).map(finish, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def _draw(
    mixing: Mixing, batch: tf.Tensor, size: int, seed: int, number: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    def sample(batch: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sample_mixing(mixing, int(batch), size, (seed, int(number)))

    partner, own = tf.numpy_function(sample, [batch, number], (tf.int32, tf.float32))
    return tf.ensure_shape(partner, (None,)), tf.ensure_shape(own, (None, size, size))


class BatchVideos:
    """Remembers whose clips the last batches held, since no string reaches a training step."""

    KEPT = 64
    """Batches; more than are ever made ahead of the step that takes one."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._videos: dict[int, list[str]] = {}

    def noted(self, data: tf.data.Dataset, first: int = 0) -> tf.data.Dataset:
        """The same batches `(inputs, meta)`, noted as they pass; `first` is the first one's number."""

        @as_written
        def note(number: tf.Tensor, batch: tuple[Any, Any]) -> tuple[Any, Any]:
            tf.numpy_function(self._note, [number, batch[1][Feature.VIDEO]], [])
            return batch

        return data.enumerate(first).map(note)

    def of(self, number: int) -> list[str]:
        """Videos of a batch, each once."""
        return self._videos[number]

    def _note(self, number: np.ndarray, videos: np.ndarray) -> None:
        self._videos[int(number)] = sorted({video.decode() for video in videos})
        self._videos.pop(int(number) - self.KEPT, None)


class InputWait:
    """Measures how long training steps wait for their batches."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._seconds = 0.0

    def measured(self, data: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches; behind what makes them ahead of their time."""

        @as_written
        def note(asked: tf.Tensor, batch: tuple[Any, ...]) -> tuple[Any, ...]:
            tf.numpy_function(self._add, [tf.timestamp() - asked], [])
            return batch

        # A zip asks one after the other, so the clock is read when a step asks for its batch.
        clock = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
        options = tf.data.Options()
        # Nothing may ask ahead of the step.
        options.experimental_optimization.inject_prefetch = False
        # While the step is being traced, the first batches are made.
        options.experimental_warm_start = True
        return tf.data.Dataset.zip(clock, data).map(note).with_options(options)

    def taken(self) -> float:
        """Seconds since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _add(self, seconds: np.ndarray) -> None:
        self._seconds += float(seconds)
