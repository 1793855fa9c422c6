"""Fine-tunes a network under the rounding of its int8 file, so that the file answers as the network did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import keras
import tensorflow as tf

from tfgma.fake_quantization import channel_axes, fake_quantized, rounded_kernel
from tfgma.outputs import LOGITS


def fine_tune(
    network: keras.Model,
    original: keras.Model,
    batches: Iterable[dict[str, Any]],
    clips: Iterable[dict[str, Any]],
    *,
    float_layers: Collection[str] = (),
    learning_rate: float,
    steps: int,
    tell: Callable[[int], None] = lambda done: None,
) -> None:
    """Changes the weights of `network`; while it learns, its activations keep the ranges of before.

    Kernels and activations are rounded as in the file, gradients pass the rounding (Jacob et al.,
    arXiv:1712.05877, 3), batch normalisation keeps its statistics, and nothing is dropped. What is minimised
    is the squared difference between its logits and those of `original`, so no label is needed, and clips
    about which the network is sure count as well. The rate falls along a cosine to zero. On TensorFlow only.

    Args:
        network: functional, of named inputs, with the weights of `original`.
        original: answers in float32.
        batches: at least `steps` of the network's inputs by name, each (B, ...) float32.
        clips: as `batches`; the activations' ranges are measured over them.
        float_layers: those that the file computes in float32.
        learning_rate: of the first step.
        steps: how many batches are learnt from.
        tell: is told how many steps are done.
    """
    for layer in network._flatten_layers():
        layer.trainable = True  # also what the study had frozen: it is rounded as well
    rounded = fake_quantized(network, clips, float_layers)
    weights, others = rounded.trainable_variables, rounded.non_trainable_variables
    axes = channel_axes(network, float_layers)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    optimizer.build(weights)

    def held(variable: keras.Variable) -> tf.Tensor:
        value = tf.convert_to_tensor(variable.value)
        axis = axes.get(id(variable))
        return value if axis is None else rounded_kernel(value, axis)

    @tf.function
    def step(inputs: dict[str, tf.Tensor]) -> None:
        wanted = original(inputs, training=False)[LOGITS]
        with tf.GradientTape() as tape:
            values = [held(one) for one in weights], [tf.convert_to_tensor(one.value) for one in others]
            answers, _ = rounded.stateless_call(*values, inputs, training=False)
            loss = tf.reduce_mean(tf.square(answers[LOGITS] - wanted))
        optimizer.apply(tape.gradient(loss, [one.value for one in weights]), weights)

    for done, inputs in enumerate(batches, start=1):
        step(inputs)
        tell(done)
        if done == steps:
            return
