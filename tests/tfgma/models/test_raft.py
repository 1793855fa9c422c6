import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.models.raft import (
    BilinearUpsampling,
    ConvexUpsampling,
    CorrelationLookup,
    CorrelationPyramid,
    InstanceNormalization,
    raft_large,
    raft_small,
)

BUILDERS = {"raft_large": raft_large, "raft_small": raft_small}
SHAPE = (128, 128, 3)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def frames(batch):
    return {f"frame{number}": np.tanh(noise(batch, *SHAPE, seed=number)) for number in (0, 1)}


def answer(layer, *inputs):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, layer(*inputs))


def interpolated(image, x, y):
    """Bilinear value of `image` (h, w) at one position; 0 outside."""
    value = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                value += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "num_updates"), [("raft_large", 1), ("raft_small", 2)])
def test_takes_a_step_saves_and_reloads(tmp_path, name, num_updates):
    keras.utils.set_random_seed(1)
    network = BUILDERS[name](SHAPE, SHAPE, num_updates=num_updates)
    # One eager step spares TensorFlow the tracing; the other backends are quicker compiled.
    eager = keras.backend.backend() == "tensorflow"
    network.compile("sgd", {label: "mae" for label in network.output}, run_eagerly=eager)
    inputs = frames(1)
    before = [weight.copy() for weight in network.get_weights()]
    network.train_on_batch(inputs, {label: np.ones((1, 128, 128, 2)) for label in network.output})
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, network.get_weights(), strict=True))
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    answers, answers_again = network.predict_on_batch(inputs), again.predict_on_batch(inputs)
    assert set(answers) == set(answers_again) == {"flow", "flow0", "flow1"} - {f"flow{num_updates}"}
    for label, flow in answers.items():
        assert flow.shape == (1, 128, 128, 2)
        # Flow of tens of pixels: eager and compiled sums differ in the seventh digit.
        np.testing.assert_allclose(answers_again[label], flow, rtol=1e-6, atol=1e-5)


def test_pairs_of_a_batch_keep_apart_while_both_frames_count():
    network = raft_small(SHAPE, SHAPE, num_updates=1)
    inputs = frames(2)
    flow = network.predict_on_batch(inputs)["flow"]
    for pair in (0, 1):
        alone = {label: frame[pair : pair + 1] for label, frame in inputs.items()}
        np.testing.assert_allclose(network.predict_on_batch(alone)["flow"][0], flow[pair], atol=1e-4)
    for label in inputs:
        changed = network.predict_on_batch(inputs | {label: inputs[label][::-1]})["flow"]
        assert np.abs(changed - flow).max() > 1e-2


def test_instances_are_normalised_channel_by_channel():
    features = noise(2, 5, 6, 3) * 4 + 7
    mean = features.mean(axis=(1, 2), keepdims=True)
    expected = (features - mean) / np.sqrt(features.var(axis=(1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(answer(InstanceNormalization(1e-5), features), expected, atol=1e-5)


def test_pyramid_is_the_correlation_of_all_pairs():
    features0, features1 = noise(2, 6, 7, 16), noise(2, 6, 7, 16, seed=1)
    expected = np.einsum("bijc,bklc->bijkl", features0, features1) / 4
    fine, coarse = answer(CorrelationPyramid(2), features0, features1)
    np.testing.assert_allclose(fine, expected.reshape(2, 42, 6, 7), atol=1e-5)
    # The last of the seven columns has no partner.
    means = expected[..., :6].reshape(2, 42, 3, 2, 3, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(coarse, means, atol=1e-5)


def test_lookup_reads_windows_where_the_flow_leads():
    height, width, radius = 4, 5, 1
    levels = [noise(1, 20, 4, 5), noise(1, 20, 2, 2, seed=1)]
    # Whole and half steps, steps of odd fractions, and out of the map on all sides.
    flow = np.round(noise(1, height, width, 2, seed=2) * 4) / 2
    flow[0, 0, 0], flow[0, 1, 1], flow[0, 3, 4], flow[0, 2, 2] = (0, 0), (0.5, 0.5), (100, -100), (0.3, -1.7)
    found = answer(CorrelationLookup(radius), levels, flow)
    assert found.shape == (1, height, width, 2 * 9)
    for row in range(height):
        for column in range(width):
            x, y = column + flow[0, row, column, 0], row + flow[0, row, column, 1]
            expected = [
                interpolated(level[0, row * width + column], x / scale + dx, y / scale + dy)
                for level, scale in zip(levels, (1, 2), strict=True)
                for dx in (-1, 0, 1)
                for dy in (-1, 0, 1)
            ]
            np.testing.assert_allclose(found[0, row, column], expected, atol=1e-5)
    assert not found[0, 3, 4].any()


def test_convex_upsampling_weighs_the_nine_neighbours():
    flow, mask, factor = noise(2, 3, 4, 2), noise(2, 3, 4, 9 * 4, seed=1), 2
    found = answer(ConvexUpsampling(factor), flow, mask)
    assert found.shape == (2, 6, 8, 2)
    padded = np.pad(flow, ((0, 0), (1, 1), (1, 1), (0, 0))) * factor
    for row in range(6):
        for column in range(8):
            i, j = row // factor, column // factor
            fine = (row % factor) * factor + column % factor
            weights = np.exp(mask[:, i, j, fine :: factor**2])
            weights /= weights.sum(axis=1, keepdims=True)
            neighbours = padded[:, i : i + 3, j : j + 3].reshape(2, 9, 2)
            expected = np.einsum("bn,bna->ba", weights, neighbours)
            np.testing.assert_allclose(found[:, row, column], expected, atol=1e-5)


def test_bilinear_upsampling_keeps_the_corners():
    flow, factor = noise(2, 3, 4, 2), 2
    found = answer(BilinearUpsampling(factor), flow)
    assert found.shape == (2, 6, 8, 2)
    for row, y in enumerate(np.linspace(0, 2, 6)):
        for column, x in enumerate(np.linspace(0, 3, 8)):
            for pair in range(2):
                for axis in range(2):
                    expected = factor * interpolated(flow[pair, :, :, axis], x, y)
                    assert found[pair, row, column, axis] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("build", BUILDERS.values())
@pytest.mark.parametrize(
    ("shapes", "num_updates", "message"),
    [
        ((SHAPE, (128, 136, 3)), 1, r"must be equal\. Received: \(128, 128, 3\) and \(128, 136, 3\)"),
        (((128, 128, 1),) * 2, 1, r"must be \(H, W, 3\)\. Received: \(128, 128, 1\)"),
        (((128, 128),) * 2, 1, r"must be \(H, W, 3\)\. Received: \(128, 128\)"),
        (((128, 132, 3),) * 2, 1, r"multiples of 8 and at least 128\. Received: \(128, 132, 3\)"),
        (((120, 128, 3),) * 2, 1, r"multiples of 8 and at least 128\. Received: \(120, 128, 3\)"),
        (((None, 128, 3),) * 2, 1, r"multiples of 8 and at least 128\. Received: \(None, 128, 3\)"),
        ((SHAPE, SHAPE), 0, r"num_updates must be at least 1\. Received: 0"),
    ],
)
def test_refuses(build, shapes, num_updates, message):
    with pytest.raises(RefusedError, match=message):
        build(*shapes, num_updates=num_updates)
