"""A network that was fine-tuned under rounding answers in int8 as it did in float32."""

from __future__ import annotations

import keras
import numpy as np

from tests.tfgma.test_fake_quantization import clips, int8_file
from tfgma.fine_tuning import fine_tune
from tfgma.outputs import LOGITS

SHAPE = (12, 12, 4)
STEPS = 200


def uneven():
    """One channel is 20 times the others, which share its steps: few are left for them."""
    keras.utils.set_random_seed(5)
    image = x = keras.Input(SHAPE, name="image")
    for name in ("first", "uneven", "even"):
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name=name)(x)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model({"image": image}, {LOGITS: keras.layers.Dense(3)(pooled)})
    grown, bias = network.get_layer("uneven").get_weights()
    grown[..., 0] *= 20
    network.get_layer("uneven").set_weights([grown, bias])
    shrunk, bias = network.get_layer("even").get_weights()
    shrunk[:, :, 0] /= 20
    network.get_layer("even").set_weights([shrunk, bias])
    return network


def batches():
    for step in range(STEPS + 5):
        yield {"image": np.concatenate([clip["image"] for clip in clips(SHAPE, 8, seed=100 + step)])}


def copied(network):
    made = keras.models.clone_model(network)
    made.set_weights(network.get_weights())
    return made


def test_its_file_is_nearer_to_the_network(tmp_path):
    original = uneven()
    network, before = copied(original), copied(original)
    network.get_layer("first").trainable = False  # as where a study has trained some layers alone
    steps = []
    fine_tune(network, original, batches(), clips(SHAPE), learning_rate=5e-5, steps=STEPS, tell=steps.append)
    assert steps == list(range(1, STEPS + 1))
    for one, other in zip(before.layers, network.layers, strict=True):
        for then, now in zip(one.get_weights(), other.get_weights(), strict=True):
            assert np.abs(now - then).max() > 1e-5, one.name
    for then, now in zip(before.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)

    def off(file):
        """Of logits, in the mean over clips."""
        tested = clips(SHAPE, 40, seed=7)
        wanted = [np.asarray(original(clip, training=False)[LOGITS])[0] for clip in tested]
        return np.abs(np.array([file.outputs(clip)[LOGITS] for clip in tested]) - wanted).mean()

    plain, tuned = (
        off(int8_file(one, clips(SHAPE), tmp_path / name))
        for name, one in (("plain", before), ("tuned", network))
    )
    assert tuned < 0.7 * plain
