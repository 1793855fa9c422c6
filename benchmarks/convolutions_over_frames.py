"""A training step and an answer of a C3D: stacked 2D convolutions against 3D ones, in turn.

Prints, for the current Keras backend, the ratio of the median times, stacked / 3D; below 1 is faster.

    .venv/bin/python benchmarks/convolutions_over_frames.py
    KERAS_BACKEND=jax .venv-every/bin/python benchmarks/convolutions_over_frames.py
"""

from __future__ import annotations

import statistics
import time

import keras
import numpy as np
from keras import layers, ops

from tfgma.layers import FoldedConv3D
from tfgma.models.c3d import c3d

BATCH, FRAMES, SIDE, WIDTH, CLASSES = 16, 16, 96, 8, 3
TURNS = 4


class In3D(FoldedConv3D):
    """The same layer as a 3D convolution."""

    def call(self, inputs):
        """Unfolds, convolves, folds."""
        clips = ops.reshape(inputs, (-1, self.frames, *inputs.shape[1:]))
        found = ops.conv(clips, self.kernel, 1, "same", data_format="channels_last")
        return ops.reshape(found, (-1, *found.shape[2:])) + self.bias


def with_3d(network: keras.Model) -> keras.Model:
    """A copy of `network`, with its weights, whose convolutions are 3D ones."""

    def made(layer: layers.Layer) -> layers.Layer:
        kind = In3D if isinstance(layer, FoldedConv3D) else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=made)
    copy.set_weights(network.get_weights())
    return copy


def seconds(step, arguments) -> float:
    """Of one call."""
    begin = time.perf_counter()
    step(*arguments)
    return time.perf_counter() - begin


def main() -> None:
    """Prints two ratios."""
    rng = np.random.default_rng(0)
    clips = {"frames": rng.random((BATCH, FRAMES, SIDE, SIDE, 3), np.float32)}
    labels = {"logits": np.arange(BATCH) % CLASSES}
    stacked = c3d((FRAMES, SIDE, SIDE, 3), CLASSES, width=WIDTH, dropout=0)
    networks = {"stacked": stacked, "3D": with_3d(stacked)}
    answers = [network.predict_on_batch(clips)["logits"] for network in networks.values()]
    np.testing.assert_allclose(*answers, atol=1e-4)
    for network in networks.values():
        network.compile("adam", {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    for what, arguments in {"train_on_batch": (clips, labels), "predict_on_batch": (clips,)}.items():
        times = {name: [] for name in networks}
        for _ in range(TURNS + 1):
            for name, network in networks.items():
                times[name].append(seconds(getattr(network, what), arguments))
        medians = {name: statistics.median(found[1:]) for name, found in times.items()}
        shown = ", ".join(f"{name} {median:.2f} s" for name, median in medians.items())
        print(
            f"{keras.backend.backend()} {what}: {shown}, ratio {medians['stacked'] / medians['3D']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
