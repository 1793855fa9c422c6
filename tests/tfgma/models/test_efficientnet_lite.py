import json
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.golden_networks import TOLERANCE, noise, published_tensor
from tfgma.models import efficientnet_lite as room
from tfgma.models.efficientnet_lite import STEM_FILTERS, VARIANTS, efficientnet_lite
from tfgma.weights.layout import load_tensors, slots

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "efficientnet_lite.json").read_text())


def classifier(variant, shape, num_classes):
    """The whole published network."""
    image = keras.Input(shape, name="image")
    features = efficientnet_lite(variant, shape)(image)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return keras.Model({"image": image}, {"logits": keras.layers.Dense(num_classes, name="_fc")(pooled)})


@pytest.fixture
def without_chance(monkeypatch):
    """Weights begin as zeros: JAX compiles a generator of numbers for every shape, which takes long."""
    monkeypatch.setattr(room, "_initializer", keras.initializers.Zeros)


@pytest.mark.usefixtures("without_chance")
@pytest.mark.parametrize("side", [64, 75])
def test_answers_as_the_published_code_does(side):
    """Maps of even sides are padded on one side before a stride, maps of odd sides (75, 19) on both."""
    network = classifier("efficientnet_lite0", (side, side, 3), 1000)
    load_tensors(network, {name: published_tensor(name, slot.shape) for name, slot in slots(network).items()})
    # Large enough that the ReLU6 of the first layers cuts.
    image = np.moveaxis(noise("input:image", (2, 3, side, side)) * 30, 1, -1).astype(np.float32)
    logits = keras.ops.convert_to_numpy(network.predict_on_batch({"image": image})["logits"])
    expected = GOLDEN["lite0"][str(side)]
    error = np.abs(logits[:, ::40] - np.array(expected["logits"])).max()
    assert error <= TOLERANCE * max(1, expected["max"])


@pytest.mark.usefixtures("without_chance")
@pytest.mark.parametrize("variant", VARIANTS)
def test_tensors_have_the_published_names_and_shapes(variant):
    network = classifier(variant, (64, 64, 3), 1000)
    lines = [f"{name} {','.join(map(str, slot.shape))}" for name, slot in sorted(slots(network).items())]
    crc32 = zlib.crc32("\n".join(lines).encode())
    assert {"tensors": len(lines), "crc32": crc32} == GOLDEN["tensors"][variant]


@pytest.mark.usefixtures("without_chance")
@pytest.mark.parametrize("side", [64, 75, 33])
def test_maps_are_a_32nd_of_the_picture_for_any_number_of_channels(side):
    network = efficientnet_lite("efficientnet_lite0", (side, side, 5), prefix="temporal-")
    assert network.output.shape == (None, -(-side // 32), -(-side // 32), 1280)
    assert network.name == "temporal-efficientnet_lite0"
    stem = slots(network)["temporal._conv_stem.weight"]
    assert stem.shape == (STEM_FILTERS, 5, 3, 3)
    assert all(name.startswith("temporal.") for name in slots(network))


def test_a_step_changes_weights_and_a_file_keeps_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "STAGES", room.STAGES[:3])
    network = classifier("efficientnet_lite0", (64, 64, 3), 3)
    image = noise("image", (2, 64, 64, 3)).astype(np.float32)
    network.compile(
        optimizer=keras.optimizers.SGD(1.0),
        loss={"logits": keras.losses.CategoricalCrossentropy(from_logits=True)},
        # JAX compiles each operation of an eager step by itself, which takes minutes.
        run_eagerly=keras.config.backend() != "jax",
    )
    before = network.get_weights()
    network.train_on_batch({"image": image}, {"logits": np.eye(3, dtype=np.float32)[:2]})
    assert all(np.any(old != new) for old, new in zip(before, network.get_weights(), strict=True))
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(again.predict_on_batch({"image": image})["logits"]),
        keras.ops.convert_to_numpy(network.predict_on_batch({"image": image})["logits"]),
        atol=1e-5,  # of logits up to 6; an eager step rounds differently from a compiled one
    )


def test_an_unknown_variant_is_refused():
    with pytest.raises(RefusedError, match=r'variant must be one of .*Received: "efficientnet_lite5"'):
        efficientnet_lite("efficientnet_lite5", (64, 64, 3))
