import json
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.models.backbones import BACKBONES, backbone
from tfgma.models.resnet import resnet
from tfgma.models.two_stream import FUSIONS, TwoStream

IMAGE, FLOW = (64, 64, 3), (64, 64, 8)
SMALL = {"image_backbone": "resnet10", "flow_backbone": "resnet10", "image_width": 8, "flow_width": 8}


def clips(batch=4):
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((batch, *IMAGE), np.float32),
        "flow": rng.uniform(-1, 1, (batch, *FLOW)).astype(np.float32),
    }


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("streams", ["both", "image", "flow"])
def test_builds_takes_a_step_saves_and_reloads(tmp_path, fusion, streams):
    keras.utils.set_random_seed(1)
    network = TwoStream(IMAGE, FLOW, 3, fusion=fusion, streams=streams, dropout=0.1, **SMALL)
    inputs = {tensor.name: clips()[tensor.name] for tensor in network.inputs}
    assert set(inputs) == {"both": {"image", "flow"}}.get(streams, {streams})
    network.compile("adam", {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    before = [weight.copy() for weight in network.get_weights()]
    network.train_on_batch(inputs, {"logits": np.array([0, 1, 2, 0])})
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, network.get_weights(), strict=True))
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    logits = network.predict_on_batch(inputs)["logits"]
    assert logits.shape == (4, 3)
    np.testing.assert_allclose(again.predict_on_batch(inputs)["logits"], logits, atol=1e-6)


def test_both_streams_reach_the_answer():
    network = TwoStream(IMAGE, FLOW, 3, **SMALL)
    inputs = clips()
    base = network.predict_on_batch(inputs)["logits"]
    for name in inputs:
        changed = network.predict_on_batch(inputs | {name: inputs[name][::-1]})["logits"]
        assert np.abs(changed - base).max() > 1e-4


def test_sum_is_the_sum_of_the_two_heads():
    network = TwoStream(IMAGE, FLOW, 3, fusion="sum", **SMALL)
    heads = keras.Model(
        network.input, [network.get_layer("spatial_fc").output, network.get_layer("temporal_fc").output]
    )
    spatial, temporal = heads.predict_on_batch(clips())
    np.testing.assert_allclose(network.predict_on_batch(clips())["logits"], spatial + temporal, atol=1e-5)


def test_sizes_are_those_of_the_published_network():
    """Two ResNet-50, the flow stem with 60 channels, 1x1 fusion 4096 -> 2048, a head of three."""
    network = TwoStream((224, 224, 3), (224, 224, 60), 3)
    resnet50, stem = 23_508_032 + 53_120, 49 * 64  # weights, and the normalisations' statistics
    expected = 2 * resnet50 + (60 - 3) * stem + 4096 * 2048 + 2048 + 2048 * 3 + 3
    assert network.count_params() == expected
    assert network.get_layer("spatial").output.shape == (None, 7, 7, 2048)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_takes_any_number_of_channels(name):
    network = backbone(name, (64, 64, 5), width=16, prefix="trunk")
    assert network.name == "trunk"
    assert network.output.shape[1:3] == (2, 2)


def test_flow_stem_is_the_rgb_stem_averaged_and_the_rest_is_taken_over(tmp_path):
    source = backbone("resnet10", IMAGE, width=8)
    path = str(tmp_path / "rgb.weights.h5")
    source.save_weights(path)
    network = backbone("resnet10", FLOW, width=8, weights=path)
    stem, rgb = network.get_weights()[0], source.get_weights()[0]
    assert stem.shape == (7, 7, 8, 8)
    for channel in range(8):
        np.testing.assert_allclose(stem[:, :, channel], rgb.mean(axis=2), atol=1e-7)
    for mine, theirs in zip(network.get_weights()[1:], source.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TwoStream(IMAGE, FLOW, 3, fusion="cat"), r'fusion must be one of .*Received: "cat"'),
        (lambda: TwoStream(IMAGE, FLOW, 3, streams="rgb"), r'streams must be one of .*Received: "rgb"'),
        (lambda: TwoStream(IMAGE, FLOW, 1), r"num_classes must be at least 2. Received: 1"),
        (lambda: backbone("vgg", IMAGE), r'backbone must be one of .*Received: "vgg"'),
        (lambda: resnet("resnet11", IMAGE), r'variant must be one of .*Received: "resnet11"'),
        (
            lambda: backbone("resnet10", IMAGE, weights="none.weights.h5"),
            r"weights must be a .weights.h5 file",
        ),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(RefusedError, match=message):
        build()


def published_weights(name, shape):
    """Weights that follow from a tensor's name in the published checkpoint alone."""
    import zlib

    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        return 1 + 0.1 * np.abs(noise)
    if leaf == "running_mean":
        return 0.1 * noise
    if len(shape) < 2:
        return (1.0 if leaf == "weight" else 0.0) + 0.1 * noise
    return noise / np.sqrt(np.prod(shape[1:]))


def published_name(stream, layer):
    """Keras layer name of a trunk -> tensor prefix of the published checkpoint."""
    import re

    inner = layer.removeprefix(f"{stream}_")
    inner = re.sub(r"^(layer\d)_(\d+)_", r"\1.\2.", inner)
    return f"{stream}." + inner.replace("downsample_conv", "downsample.0").replace(
        "downsample_bn", "downsample.1"
    )


def set_published_weights(network):
    for stream in ("spatial", "temporal"):
        for layer in network.get_layer(stream).layers:
            prefix = published_name(stream, layer.name)
            if isinstance(layer, keras.layers.Conv2D):
                h, w, i, o = layer.kernel.shape
                layer.set_weights([published_weights(f"{prefix}.weight", (o, i, h, w)).transpose(2, 3, 1, 0)])
            elif isinstance(layer, keras.layers.BatchNormalization):
                leaves = ("weight", "bias", "running_mean", "running_var")
                size = layer.gamma.shape
                layer.set_weights([published_weights(f"{prefix}.{leaf}", size) for leaf in leaves])
    for layer, prefix in (("conv1x1", "conv1x1"), ("classifier", "classifier.1")):
        kernel, bias = network.get_layer(layer).get_weights()
        i, o = kernel.shape[-2:]
        shape = (o, i, 1, 1) if kernel.ndim == 4 else (o, i)
        weight = published_weights(f"{prefix}.weight", shape)
        weight = weight.transpose(2, 3, 1, 0) if kernel.ndim == 4 else weight.T
        network.get_layer(layer).set_weights([weight, published_weights(f"{prefix}.bias", bias.shape)])


@pytest.mark.parametrize("name", ["two_stream_resnet18_conv1x1", "two_stream_resnet50_conv1x1"])
def test_answers_as_the_published_code_does(name):
    """Logits of the original PyTorch code for weights and inputs that follow from names."""
    import zlib

    golden = json.loads((Path(__file__).parents[1] / "golden" / "two_stream.json").read_text())[name]
    inputs = {}
    for key, (batch, channels, height, width) in golden["inputs"].items():
        seed = zlib.crc32(f"input:{key}".encode())
        noise = np.random.Generator(np.random.PCG64(seed)).standard_normal((batch, channels, height, width))
        inputs[key] = np.moveaxis(noise, 1, -1).astype(np.float32)
    variant = name.split("_")[2]
    network = TwoStream(
        inputs["image"].shape[1:], inputs["flow"].shape[1:], 3, image_backbone=variant, flow_backbone=variant
    )
    set_published_weights(network)
    expected = np.array(golden["logits"])
    answered = network.predict_on_batch(inputs)["logits"]
    assert np.abs(answered - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
