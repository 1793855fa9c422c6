import cv2
import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.golden_networks import (
    description,
)
from tfgma.models.u2net import u2net
from tfgma.weights.layout import COUNTER, slots

OUTPUTS = {"d0", "d1", "d2", "d3", "d4", "d5", "d6"}
PUBLISHED = tuple(description("u2net")["inputs"]["image"][axis] for axis in (2, 3, 1))
ODD = (37, 45, 3)


@pytest.fixture(scope="module")
def odd():
    """A network for pictures whose sides stay odd or become so on most levels."""
    return u2net(ODD)


def test_holds_the_published_tensors_only(odd):
    published = {key for key in description("u2net")["state_dict"] if not key.endswith(COUNTER)}
    assert slots(odd).keys() == published


def test_every_size_is_known_and_whole(odd):
    assert {name: tensor.shape for name, tensor in odd.output.items()} == {
        name: (None, *ODD[:2], 1) for name in OUTPUTS
    }
    assert odd.get_layer("pool12").output.shape[1:3] == (19, 23)
    assert odd.get_layer("stage1-pool5").output.shape[1:3] == (2, 2)


def test_pooling_keeps_the_last_row_and_column_of_odd_maps(odd):
    image = -1 - np.arange(5 * 3, dtype=np.float32).reshape(1, 5, 3, 1)  # largest at the upper left
    pooled = keras.ops.convert_to_numpy(odd.get_layer("pool12")(image))[0, ..., 0]
    np.testing.assert_array_equal(pooled, image[0, ::2, ::2, 0])


def test_enlarges_as_opencv_does(odd):
    layer = odd.get_layer("stage1d-input-resize")
    coarse = np.random.default_rng(0).random((1, 19, 23, 1), np.float32)
    ours = keras.ops.convert_to_numpy(layer(coarse))[0, ..., 0]
    np.testing.assert_allclose(ours, cv2.resize(coarse[0, ..., 0], ODD[1::-1]), atol=1e-5)


@pytest.mark.thorough
def test_learns_saves_and_answers_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    network = u2net(ODD)
    rng = np.random.default_rng(0)
    image = rng.random((2, *ODD), np.float32)
    mask = (rng.random((2, *ODD[:2], 1)) < 0.5).astype(np.float32)
    # Operation by operation is quicker than a graph for one step, but not on JAX.
    eagerly = keras.backend.backend() != "jax"
    # A small step: normalisation over two pictures' tiny deepest maps gives steep gradients.
    network.compile(
        keras.optimizers.SGD(1e-3), dict.fromkeys(OUTPUTS, "binary_crossentropy"), run_eagerly=eagerly
    )
    before = network.get_weights()
    loss = network.train_on_batch({"image": image}, dict.fromkeys(OUTPUTS, mask), return_dict=True)["loss"]
    assert np.isfinite(loss)
    pairs = zip(network.weights, before, network.get_weights(), strict=True)
    assert not [weight.path for weight, old, new in pairs if np.array_equal(old, new)]

    network.save(tmp_path / "u2net.keras")
    again = keras.saving.load_model(tmp_path / "u2net.keras", compile=False)
    first, second = network({"image": image}, training=False), again({"image": image}, training=False)
    assert first.keys() == second.keys() == OUTPUTS
    for name in OUTPUTS:
        answer = keras.ops.convert_to_numpy(first[name])
        assert 0 <= answer.min() < answer.max() <= 1
        np.testing.assert_allclose(answer, keras.ops.convert_to_numpy(second[name]), atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1), (None, 64, 3), (0, 64, 3)])
def test_refuses_what_is_not_a_colour_picture(shape):
    with pytest.raises(RefusedError, match=r"image_shape must be \(H, W, 3\).*Received: \("):
        u2net(shape)
