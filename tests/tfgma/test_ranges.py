"""Each tensor has the range that it has alone, and a file can be given other ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfgma.inference import TFLiteModel
from tfgma.outputs import LOGITS
from tfgma.ranges import measured_ranges, with_ranges
from tfgma.tflite import Int8Converter, save_model

BRANCH = "branch"


def clips(count=6):
    rng = np.random.default_rng(0)
    return [{"image": rng.uniform(0, 1, (1, 8, 8, 4)).astype(np.float32)} for _ in range(count)]


@pytest.fixture(scope="module")
def network():
    """A residual block whose branch is a hundredth of what it is added to, as those that are trained are."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 4), name="image")
    trunk = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="trunk")(image)
    branch = keras.layers.Conv2D(6, 3, padding="same", name=BRANCH)(trunk)
    added = keras.layers.ReLU()(keras.layers.Add()([branch, trunk]))
    pooled = keras.layers.GlobalAveragePooling2D()(added)
    network = keras.Model({"image": image}, {LOGITS: keras.layers.Dense(3)(pooled)})
    kernel, bias = network.get_layer(BRANCH).get_weights()
    network.get_layer(BRANCH).set_weights([0.01 * kernel, bias])
    return network


@pytest.fixture(scope="module")
def converter(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_model(network, folder, batch=1)
    return Int8Converter(folder, lambda: iter(clips()))


def named(ranges, layer):
    (found,) = [value for name, value in ranges.items() if f"/{layer}_1/" in name.rpartition(";")[2]]
    return found


def test_what_is_added_to_has_its_own_range_not_the_sums(network, converter):
    branch = keras.Model(network.input, network.get_layer(BRANCH).output)
    values = np.concatenate([branch.predict_on_batch(clip) for clip in clips()])
    assert named(converter.ranges, BRANCH) == pytest.approx((values.min(), values.max()), rel=1e-5)
    # And is rounded by it.
    interpreter = TFLiteModel(converter.convert())._interpreter
    (scale,) = [
        detail["quantization"][0]
        for detail in interpreter.get_tensor_details()
        if tuple(detail["shape"]) == (1, 8, 8, 6) and f"/{BRANCH}_1/" in detail["name"].rpartition(";")[2]
    ]
    assert scale == pytest.approx((values.max() - values.min()) / 255, rel=1e-2)


def test_ranges_are_of_all_clips_together(converter):
    content = converter._debugger.calibrated_model
    parts = [measured_ranges(content, [clip]) for clip in clips()]
    for name, (low, high) in converter.ranges.items():
        assert low == min(part[name][0] for part in parts)
        assert high == max(part[name][1] for part in parts)


def test_a_file_has_the_ranges_that_it_was_given(converter):
    content = converter._debugger.calibrated_model
    given = {name: (low - 1, high + 2) for name, (low, high) in converter.ranges.items()}
    changed = with_ranges(content, given)
    assert with_ranges(changed, converter.ranges) == with_ranges(content, converter.ranges)
    assert with_ranges(changed, given) == changed != with_ranges(content, converter.ranges)
    # What it answers in float32 is the same.
    assert measured_ranges(changed, clips()) == converter.ranges
