"""A network sees the same numbers whether its inputs are scaled before it or within."""

import keras
import numpy as np
import pytest

from pipelines.config import InputSettings
from pipelines.dataset import clip_dataset
from pipelines.record_writer import Identity, encode_clip, write_shard
from tests.conftest import TINY, random_clip
from tfgma.stored_inputs import of_stored_inputs

SETTINGS = InputSettings(num_frames=3, slow_every=2, pose_frames=3, pose_stride=2, mean=0.45, std=0.225)
EVERY = ("image", "frames", "slow", "fast", "flow", "pose")


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "a.tfrecord"
    who = Identity(0, "FMs", "anna", "v")
    write_shard(path, [encode_clip(random_clip(seed), who) for seed in range(3)])
    return path


def inputs_of(shard, **options):
    ((inputs, _),) = clip_dataset([shard], TINY, batch_size=3, inputs=EVERY, settings=SETTINGS, **options)
    return {name: value.numpy() for name, value in inputs.items()}


def mirror(inputs):
    """A network that answers with its inputs."""
    tensors = {name: keras.Input(value.shape[1:], name=name) for name, value in inputs.items()}
    return keras.Model(
        tensors, {f"{name}_seen": keras.layers.Identity()(one) for name, one in tensors.items()}
    )


def test_stored_inputs_are_seen_as_scaled_ones(shard):
    expected, stored = inputs_of(shard), inputs_of(shard, stored=True)
    assert {name for name, value in stored.items() if value.dtype == np.uint8} == set(EVERY) - {"pose"}
    network = keras.Model(*of_stored_inputs(mirror(expected), SETTINGS))
    seen = network.predict_on_batch(stored)
    for name in EVERY:
        assert expected[name].dtype == np.float32
        np.testing.assert_allclose(seen[f"{name}_seen"], expected[name], rtol=0, atol=1e-6)
    still = stored["flow"] == 128
    assert still.any()
    assert (seen["flow_seen"][still] == 0).all()


def test_a_network_may_be_called_as_its_input_is():
    image = keras.Input((8, 8, 3), name="image")
    network = keras.Model({"image": image}, {"mean": keras.ops.mean(image, axis=(1, 2, 3))}, name="image")
    inputs, outputs = of_stored_inputs(network, InputSettings())
    found = keras.Model(inputs, outputs).predict_on_batch({"image": np.full((1, 8, 8, 3), 51, np.uint8)})
    np.testing.assert_allclose(found["mean"], [0.2], atol=1e-6)


def test_what_scales_has_no_weights_and_is_exact_in_low_precision(shard):
    stored = inputs_of(shard, stored=True)
    inputs = {name: stored[name] for name in ("image", "flow")}
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = keras.Model(*of_stored_inputs(mirror(inputs), SETTINGS))
    finally:
        keras.config.set_dtype_policy("float32")
    assert network.variables == []
    seen = np.asarray(network.predict_on_batch(inputs)["flow_seen"], np.float32)
    # Rounded to eight bits once, at the network, and not before 128 is taken off.
    np.testing.assert_allclose(seen, (inputs["flow"] - 128.0) / 127, rtol=2**-8)
