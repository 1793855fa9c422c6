import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.models.openpose import openpose


@pytest.mark.thorough
def test_learns_saves_and_answers_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    shape = (48, 64, 3)  # smaller maps are mostly padding to the wide kernels: their gradients round to zero
    network = openpose(shape)
    assert {name: tensor.shape for name, tensor in network.output.items()} == {
        "paf": (None, 6, 8, 38),
        "heatmap": (None, 6, 8, 19),
    }
    rng = np.random.default_rng(0)
    image = rng.random((2, *shape), np.float32) - 0.5
    targets = {"paf": rng.random((2, 6, 8, 38), np.float32), "heatmap": rng.random((2, 6, 8, 19), np.float32)}
    network.compile(keras.optimizers.SGD(1.0), dict.fromkeys(targets, "mean_squared_error"), run_eagerly=True)
    before = network.get_weights()
    loss = network.train_on_batch({"image": image}, targets, return_dict=True)["loss"]
    assert np.isfinite(loss)
    pairs = zip(network.weights, before, network.get_weights(), strict=True)
    assert not [weight.path for weight, old, new in pairs if np.array_equal(old, new)]

    network.save(tmp_path / "openpose.keras")
    again = keras.saving.load_model(tmp_path / "openpose.keras", compile=False)
    first, second = network({"image": image}, training=False), again({"image": image}, training=False)
    assert first.keys() == second.keys() == targets.keys()
    for name in targets:
        ours, theirs = keras.ops.convert_to_numpy(first[name]), keras.ops.convert_to_numpy(second[name])
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1), (None, 64, 3), (0, 64, 3)])
def test_refuses_what_is_not_a_colour_picture(shape):
    with pytest.raises(RefusedError, match=r"image_shape must be \(H, W, 3\).*Received: \("):
        openpose(shape)


def test_refuses_sides_that_the_maps_do_not_cover():
    with pytest.raises(RefusedError, match=r"multiples of 8. Received: \(64, 60, 3\). Pad the picture"):
        openpose((64, 60, 3))
