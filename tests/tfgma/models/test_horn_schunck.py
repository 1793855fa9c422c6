"""Horn and Schunck's flow: values, the border, batches, saving."""

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.models.horn_schunck import horn_schunck, warp

SIDE = 64


def scene(x, y):
    """A smooth picture 0..255 at any positions."""
    return 127.5 + 60 * np.sin(0.21 * x + 0.3) * np.cos(0.17 * y) + 60 * np.sin(0.13 * (x + 1.3 * y))


def frame(move):
    """(1, SIDE, SIDE, 3) float32 -1..1 of the scene, after `move`(x, y) px to the right and down."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    right, down = move(x, y)
    grey = scene(x - right, y - down) / 127.5 - 1
    return np.repeat(grey[None, ..., None], 3, axis=-1).astype(np.float32)


def flow_between(first, second, **settings):
    # As it is called, not compiled: a thousand operators, each of them quick.
    network = horn_schunck(first.shape[1:], second.shape[1:], **settings)
    return keras.ops.convert_to_numpy(network({"frame0": first, "frame1": second})["flow"])


def still(x, y):
    return 0 * x, 0 * y


@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (0.5, -0.25), (3.0, 1.0), (-2.0, 6.0)])
def test_a_moved_picture_has_its_movement(right, down):
    flow = flow_between(frame(still), frame(lambda x, y: (right + 0 * x, down + 0 * y)))
    assert flow.shape == (1, SIDE, SIDE, 2)
    assert flow.dtype == np.float32
    # Away from what came in over the border.
    inner = flow[0, 20:-20, 20:-20]
    np.testing.assert_allclose(inner.mean(axis=(0, 1)), [right, down], atol=0.03)
    assert np.abs(inner - [right, down]).max() < 0.4
    if right == down == 0:
        assert np.abs(flow).max() < 1e-6


def test_a_movement_that_changes_with_place_is_followed():
    def turned(x, y):
        return 0.05 * (y - SIDE / 2), -0.05 * (x - SIDE / 2)

    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    flow = flow_between(frame(still), frame(turned))[0]
    error = np.linalg.norm(flow - np.stack(turned(x, y), axis=-1), axis=-1)
    assert error[10:-10, 10:-10].mean() < 0.15
    assert np.linalg.norm(np.stack(turned(x, y), axis=-1), axis=-1)[10:-10, 10:-10].mean() > 0.7


def test_pairs_of_a_batch_keep_apart():
    moved = [frame(lambda x, y, d=d: (d + 0 * x, 0 * y)) for d in (1.0, -2.0)]
    both = flow_between(np.concatenate([frame(still)] * 2), np.concatenate(moved))
    for pair, second in enumerate(moved):
        np.testing.assert_allclose(both[pair], flow_between(frame(still), second)[0], atol=1e-4)


def test_more_updates_come_nearer():
    second = frame(lambda x, y: (4 + 0 * x, 0 * y))
    errors = []
    for settings in ({"warps": 1, "updates": 2}, {"warps": 3, "updates": 20}):
        flow = flow_between(frame(still), second, **settings)[0, 10:-10, 10:-10]
        errors.append(np.abs(flow - [4, 0]).mean())
    assert errors[1] < 0.5 * errors[0]


def test_what_is_warped_lies_where_the_flow_leads():
    y, x = np.mgrid[:8, :8].astype(np.float32)
    values = np.stack([x, y], axis=-1)[None]  # each pixel tells its place
    flow = np.random.default_rng(0).uniform(-3, 3, (1, 8, 8, 2)).astype(np.float32)
    found = keras.ops.convert_to_numpy(warp(keras.ops.convert_to_tensor(values), flow))
    np.testing.assert_allclose(found, np.clip(values + flow, 0, 7), atol=1e-5)


def test_is_saved_and_read_again(tmp_path):
    network = horn_schunck((SIDE, SIDE, 3), (SIDE, SIDE, 3), smoothness=7, warps=1, updates=2)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    rng = np.random.default_rng(0)
    pair = {name: rng.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32) for name in ("frame0", "frame1")}
    found, expected = (keras.ops.convert_to_numpy(one(pair)["flow"]) for one in (again, network))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected).max() > 0.01
    assert not network.weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((16, 16, 3), (24, 16, 3)), r"must both be \(H, W, 3\). Received: \(16, 16, 3\) and \(24, 16, 3\)"),
        (((16, 16, 1), (16, 16, 1)), r"must both be \(H, W, 3\)"),
        (((16, 20, 3), (16, 20, 3)), r"multiples of 8 and at least 16. Received: \(16, 20, 3\). Pad"),
        (((8, 16, 3), (8, 16, 3)), r"at least 16. Received: \(8, 16, 3\)"),
    ],
)
def test_other_shapes_are_refused(arguments, message):
    with pytest.raises(RefusedError, match=message):
        horn_schunck(*arguments)


@pytest.mark.parametrize("settings", [{"warps": 0}, {"updates": 0}])
def test_no_warp_or_update_is_refused(settings):
    with pytest.raises(RefusedError, match=r"warps and updates must be at least 1. Received: "):
        horn_schunck((16, 16, 3), (16, 16, 3), **settings)
