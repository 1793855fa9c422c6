"""Batches as keras.Model.fit takes them: inputs, each head's labels, and the clips' weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.mixing import Mixing, mix_inputs, mix_labels, sample_mixing
from pipelines.schema import Feature


def for_fit(
    data: tf.data.Dataset,
    heads: Sequence[str],
    num_classes: int,
    *,
    one_logit: bool,
    class_weights: Sequence[float] | None = None,
    mixing: Mixing | None = None,
    size: int = 1,
    seed: int = 0,
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
        mixing: draws anew in each epoch, by `seed`.
        size: px a side of the pictures that are mixed.
        seed: of the mixing.
    """

    def finish(
        inputs: dict[str, tf.Tensor], meta: dict[str, tf.Tensor], number: tf.Tensor
    ) -> tuple[Any, ...]:
        labels = tf.one_hot(meta[Feature.LABEL], num_classes)
        if mixing:
            partner, own = _draw(mixing, tf.shape(labels)[0], size, number)
            inputs, labels = mix_inputs(inputs, partner, own), mix_labels(labels, partner, own)
        wanted = dict.fromkeys(heads, labels[:, 1:] if one_logit else labels)
        if class_weights is None:
            return inputs, wanted
        return inputs, wanted, tf.linalg.matvec(labels, tf.constant(class_weights, tf.float32))

    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    numbered = tf.data.Dataset.zip(data, numbers).map(lambda batch, number: (*batch, number))
    return numbered.map(finish, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def _draw(mixing: Mixing, batch: tf.Tensor, size: int, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    def sample(batch: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sample_mixing(mixing, int(batch), size, int(number))

    partner, own = tf.numpy_function(sample, [batch, number], (tf.int32, tf.float32))
    return tf.ensure_shape(partner, (None,)), tf.ensure_shape(own, (None, size, size))


class BatchVideos:
    """Remembers whose clips the batches of the epoch held, since no string reaches a training step."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._videos: dict[int, list[str]] = {}

    def noted(self, data: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches `(inputs, meta)`, noted as they pass."""

        def note(number: tf.Tensor, batch: tuple[Any, Any]) -> tuple[Any, Any]:
            tf.numpy_function(self._note, [number, batch[1][Feature.VIDEO]], [])
            return batch

        return data.enumerate().map(note)

    def of(self, step: int) -> list[str]:
        """Videos of the epoch's batch `step`, counted from 0, each once."""
        return self._videos[step]

    def _note(self, number: np.ndarray, videos: np.ndarray) -> None:
        self._videos[int(number)] = sorted({video.decode() for video in videos})
