"""Checkpoint to `.keras` for every network whose answers are known."""

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.golden_networks import (
    REFERENCE,
    assert_answers_as_published,
    our_inputs,
    our_options,
    published_checkpoint,
)
from tests.marks import usual_and_thorough
from tfgma.models.catalogue import NETWORKS
from tfgma.weights.convert import convert
from tfgma.weights.layout import slots
from tfgma.weights.pretrained import load_network

NAMES = sorted(path.stem for path in REFERENCE.glob("*.json"))
USUAL = [name for name in NAMES if name.startswith(("stam", "two_stream_resnet18_conv1x1"))]
STAM_ATTENTION = {"alpha": 1e-6, "beta": 1e-6}


@pytest.mark.parametrize("name", usual_and_thorough(NAMES, USUAL))
def test_converted_checkpoint_answers_as_the_published_code_does(tmp_path, name):
    """Through the file, the converter and the saved network."""
    checkpoint, out = tmp_path / "checkpoint.npz", tmp_path / "network.keras"
    np.savez(checkpoint, **published_checkpoint(name))
    written = convert(checkpoint, name, out, our_options(name))
    network = load_network(out)
    assert written["parameters"] == network.count_params()
    inputs = our_inputs(name)
    answers = network.predict_on_batch({tensor.name: inputs[tensor.name] for tensor in network.inputs})
    assert_answers_as_published(name, answers, STAM_ATTENTION)


@pytest.fixture
def stam(tmp_path):
    """A small checkpoint."""
    return published_checkpoint("stam_uniform3"), tmp_path


def written(tensors, folder):
    path = folder / "checkpoint.npz"
    np.savez(path, **tensors)
    return path


def test_classes_are_those_of_the_checkpoint(stam):
    tensors, folder = stam
    tensors["output.1.weight"] = np.zeros((5, 128), np.float32)
    tensors["output.1.bias"] = np.zeros(5, np.float32)
    found = convert(written(tensors, folder), "stam_uniform3", folder / "out.keras")
    assert found["outputs"]["logits"] == [5]


def test_flow_channels_are_those_of_the_checkpoint(tmp_path):
    tensors = published_checkpoint("temporal_resnet34")
    found = convert(written(tensors, tmp_path), "temporal_resnet34", tmp_path / "out.keras")
    assert found["inputs"] == {"flow": [224, 224, 12]}


def test_an_image_network_takes_the_published_names(tmp_path):
    """torchvision's `conv1.weight` ... `fc.bias`, which in our network lie behind a prefix."""
    network = NETWORKS["resnet18"]({"image": (64, 64, 3)}, 7)
    rng = np.random.default_rng(0)
    tensors = {
        name.removeprefix("image."): rng.normal(size=slot.shape).astype(np.float32)
        for name, slot in slots(network).items()
    }
    assert {"conv1.weight", "layer1.0.bn1.running_var", "layer4.1.conv2.weight", "fc.bias"} <= set(tensors)
    found = convert(written(tensors, tmp_path), "resnet18", tmp_path / "out.keras", ["image_shape=64,64,3"])
    assert found["outputs"] == {"logits": [7]}
    stored = slots(load_network(tmp_path / "out.keras"))
    for name, value in tensors.items():
        np.testing.assert_array_equal(stored[f"image.{name}"].tensor(), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"extra.weight": np.zeros(3)}, r"Received: 1 unknown: extra\.weight"),
        (lambda t: {k: v for k, v in t.items() if k != "sag.fcn.weight"}, r"1 missing: sag\.fcn\.weight"),
        (lambda t: t | {"sag.fcn.weight": np.zeros((64, 128))}, r"sag\.fcn\.weight .* shape \(128, 128\)"),
        (lambda t: {k: v for k, v in t.items() if "output" not in k}, r"must hold output\.1\.bias"),
    ],
)
def test_wrong_tensors_are_named_and_nothing_is_written(stam, change, message):
    tensors, folder = stam
    with pytest.raises(RefusedError, match=message):
        convert(written(change(tensors), folder), "stam_uniform3", folder / "out.keras")
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.npz"]


@pytest.mark.parametrize(
    ("network", "out", "options", "message"),
    [
        ("stam_uniform4", "o.keras", [], r'Received: "stam_uniform4". Like it are'),
        ("stam_uniform3", "o.h5", [], r"--out must end in \.keras. Received: 'o\.h5'"),
        ("stam_uniform3", "checkpoint.keras", [], r"--out must be a new file"),
        ("stam_uniform3", "o.keras", ["cat=3"], r"must be one of pose_shape, num_classes. Received: 'cat=3'"),
        ("stam_uniform3", "o.keras", ["num_classes=two"], r"whole numbers of at least 1.*'two'"),
        ("stam_uniform3", "o.keras", ["num_classes=2,3"], r"num_classes must be one whole number"),
        ("stam_uniform3", "o.keras", ["pose_shape=9,30"], r"must have 4 lengths.*9,30,18,7. Received: 9,30"),
        ("stam_uniform3", "o.keras", ["pose_shape=9,30,0,7"], r"whole numbers of at least 1"),
        ("stam_uniform3", "o.keras", ["num_classes=3"], r"output\.1\.\w+ of stam must have the shape \(3"),
    ],
)
def test_wrong_arguments_are_refused(stam, network, out, options, message):
    tensors, folder = stam
    (folder / "checkpoint.keras").touch()
    with pytest.raises(RefusedError, match=message):
        convert(written(tensors, folder), network, folder / out, options)


def test_every_known_answer_has_a_network():
    assert set(NAMES) <= set(NETWORKS)
