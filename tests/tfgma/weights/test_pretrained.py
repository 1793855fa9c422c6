"""Networks that start from other weights, and which of their layers are then trained."""

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.contract import assert_learns_saves_and_reloads, frozen_layers
from tfgma.models.backbones import ImageClassifier, build_backbone
from tfgma.models.scopes import SCOPES, set_scope
from tfgma.models.stam import Stam
from tfgma.models.two_stream import TwoStream
from tfgma.models.two_stream_3d import TwoStream3D
from tfgma.models.video_classifier import VideoClassifier
from tfgma.weights.layout import load_tensors, slots
from tfgma.weights.pretrained import head_layers, load_all_but_other_head, load_network, load_trunk

IMAGE, FLOW, FRAMES = (32, 32, 3), (32, 32, 8), (2, 32, 32, 3)
SMALL = {"image_backbone": "resnet10", "flow_backbone": "resnet10", "image_width": 8, "flow_width": 8}


def two_stream(**options):
    return TwoStream(IMAGE, FLOW, 3, **SMALL, **options)


def tensors_of(network):
    return {name: slot.tensor() for name, slot in slots(network).items()}


@pytest.fixture
def imagenet(tmp_path):
    """A checkpoint of a ResNet for RGB pictures with a head of ten classes, as torchvision names it."""
    tensors = tensors_of(build_backbone("resnet10", IMAGE, width=8))
    tensors |= {"fc.weight": np.zeros((10, 64)), "fc.bias": np.zeros(10)}
    rng = np.random.default_rng(3)
    tensors = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in tensors.items()}
    tensors["bn1.num_batches_tracked"] = np.array(7)
    path = tmp_path / "imagenet.npz"
    np.savez(path, **tensors)
    return path, tensors


def test_tensors_go_in_and_come_out_the_same():
    network = two_stream()
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=slot.shape).astype(np.float32) for name, slot in slots(network).items()}
    load_tensors(network, given)
    for name, value in tensors_of(network).items():
        np.testing.assert_array_equal(value, given[name])


def test_a_trunk_takes_the_checkpoint_and_its_flow_stem_the_mean_over_colours(imagenet):
    path, tensors = imagenet
    network = two_stream()
    head = tensors_of(network)["classifier.1.weight"]
    load_trunk(network, path, "spatial-")
    load_trunk(network, path, "temporal-")
    found = tensors_of(network)
    for name, value in tensors.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        np.testing.assert_array_equal(found[f"spatial.{name}"], value)
        if name != "conv1.weight":
            np.testing.assert_array_equal(found[f"temporal.{name}"], value)
    mean = tensors["conv1.weight"].mean(axis=1)
    for channel in range(8):
        np.testing.assert_allclose(found["temporal.conv1.weight"][:, channel], mean, atol=1e-6)
    np.testing.assert_array_equal(found["classifier.1.weight"], head)


def test_a_converted_image_network_is_a_trunk_too(imagenet, tmp_path):
    """Its tensors carry a prefix of ours that the published ones have not."""
    path, tensors = imagenet
    source = ImageClassifier(IMAGE, 10, backbone="resnet10", width=8)
    assert load_all_but_other_head(source, path) == []
    source.save(tmp_path / "imagenet.keras")
    network = two_stream()
    load_trunk(network, tmp_path / "imagenet.keras", "temporal-")
    found = tensors_of(network)["temporal.layer4.0.conv2.weight"]
    np.testing.assert_array_equal(found, tensors["layer4.0.conv2.weight"])
    other = ImageClassifier(IMAGE, 3, backbone="resnet10", width=8)
    kept = load_all_but_other_head(other, tmp_path / "imagenet.keras")
    assert kept == ["image.fc.bias", "image.fc.weight"]
    np.testing.assert_array_equal(tensors_of(other)["image.bn1.weight"], tensors["bn1.weight"])


def test_a_head_of_other_classes_stays_and_the_rest_is_taken_over(tmp_path):
    source = Stam((2, 30, 18, 7), 4)
    source.save(tmp_path / "four.keras")
    network = Stam((2, 30, 18, 7), 2)
    before = tensors_of(network)
    kept = load_all_but_other_head(network, tmp_path / "four.keras")
    assert kept == ["output.1.bias", "output.1.weight"]
    wanted, found = tensors_of(source), tensors_of(network)
    for name, value in found.items():
        np.testing.assert_array_equal(value, before[name] if name in kept else wanted[name])
    assert load_all_but_other_head(Stam((2, 30, 18, 7), 4), tmp_path / "four.keras") == []


@pytest.mark.parametrize(
    ("network", "stem", "stage", "head"),
    [
        (
            two_stream,
            {"spatial-conv1", "spatial-bn1", "temporal-conv1", "temporal-bn1"},
            r"(spatial|temporal)-layer4-",
            {"classifier-1", "conv1x1"},
        ),
        pytest.param(
            lambda: VideoClassifier(FRAMES, 2, network="slow_r50", width=8),
            {"blocks-0-conv", "blocks-0-norm"},
            r"blocks-4-",
            {"blocks-5-proj"},
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            lambda: VideoClassifier(FRAMES, 2, network="x3d_xs", width=8),
            {"blocks-0-conv-conv_t", "blocks-0-conv-conv_xy", "blocks-0-norm"},
            r"blocks-4-",
            {"blocks-5-proj", "blocks-5-pool-pre_conv", "blocks-5-pool-pre_norm", "blocks-5-pool-post_conv"},
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            lambda: TwoStream3D(FRAMES, FLOW, 1, width=8, image_backbone="resnet10", streams="multi_single"),
            {"frames-blocks-0-conv", "frames-blocks-0-norm", "flow-conv1", "flow-bn1"},
            r"frames-blocks-4-|flow-layer4-",
            {"frames-fc", "flow-fc"},
            marks=pytest.mark.thorough,
        ),
        (
            lambda: Stam((2, 30, 18, 7), 2),
            {"sag-data_bn"},
            r"sag-st_gcn_networks-2-",
            {"output-1"},
        ),
    ],
    ids=["two_stream", "slow", "x3d", "two_stream_3d", "stam"],
)
def test_a_scope_trains_its_parts_only(network, stem, stage, head):
    import re

    def trained(scope):
        one = network()
        set_scope(one, scope, head_layers(one))
        return {variable.path.split("/")[-2] for variable in one.trainable_variables}

    assert trained("head") == head
    assert trained("stem+head") == head | stem
    last = trained("stage+head") - head
    assert last
    assert all(re.match(stage, name) for name in last)
    assert trained("all") == trained("scratch") > last | stem | head


def test_a_frozen_trunk_keeps_its_statistics_while_the_head_learns(tmp_path):
    network = two_stream()
    set_scope(network, "head", head_layers(network))
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in frozen_layers(network))
    assert_learns_saves_and_reloads(network, tmp_path)


def test_wrong_weights_are_refused(imagenet, tmp_path):
    path, tensors = imagenet
    wide = TwoStream(IMAGE, FLOW, 3, **(SMALL | {"image_width": 16}))
    with pytest.raises(RefusedError, match=r"tensor spatial\.\S+ of two_stream must have the shape"):
        load_trunk(wide, path, "spatial-")
    deep = TwoStream(IMAGE, FLOW, 3, **(SMALL | {"image_backbone": "resnet18"}))
    with pytest.raises(RefusedError, match=r"missing: spatial\.layer1\.1\."):
        load_trunk(deep, path, "spatial-")
    np.savez(tmp_path / "other.npz", **tensors, **{"a.weight": np.zeros(2), "b.weight": np.zeros(2)})
    with pytest.raises(RefusedError, match=r"at most one head. Received: other.npz"):
        load_trunk(two_stream(), tmp_path / "other.npz", "spatial-")
    (tmp_path / "broken.keras").write_bytes(b"no network")
    with pytest.raises(RefusedError, match=r"must be a \.keras file of this project.*broken\.keras"):
        load_network(tmp_path / "broken.keras")
    with pytest.raises(RefusedError, match=r'scope must be one of .*Received: "tail"'):
        set_scope(two_stream(), "tail", [])
    mobile = ImageClassifier(IMAGE, 2, backbone="mobilenetv3_small")
    for scope in set(SCOPES) - {"all", "scratch", "head"}:
        with pytest.raises(RefusedError, match=r"needs a network with a named (stem|stage). Received: image"):
            set_scope(mobile, scope, head_layers(mobile))
