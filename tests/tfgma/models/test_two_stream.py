import functools

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.contract import assert_learns_saves_and_reloads
from tests.marks import usual_and_thorough
from tfgma.models.backbones import BACKBONES, ImageClassifier, build_backbone
from tfgma.models.resnet import resnet
from tfgma.models.two_stream import FUSIONS, TwoStream

IMAGE, FLOW = (64, 64, 3), (64, 64, 8)
FORMS = [*(("both", fusion) for fusion in FUSIONS), ("image", "sum"), ("flow", "concat")]
SMALL = {"image_backbone": "resnet10", "flow_backbone": "resnet10", "image_width": 8, "flow_width": 8}


def clips(batch=4):
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((batch, *IMAGE), np.float32),
        "flow": rng.uniform(-1, 1, (batch, *FLOW)).astype(np.float32),
    }


@pytest.mark.parametrize("form", usual_and_thorough(FORMS, usual=[("both", "conv1x1"), ("flow", "concat")]))
def test_builds_takes_a_step_saves_and_reloads(tmp_path, form):
    streams, fusion = form
    network = TwoStream(IMAGE, FLOW, 3, fusion=fusion, streams=streams, dropout=0.1, **SMALL)
    assert set(network.input) == {"both": {"image", "flow"}}.get(streams, {streams})
    assert network.output["logits"].shape == (None, 3)
    assert_learns_saves_and_reloads(network, tmp_path)


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
        network.input, [network.get_layer("spatial-fc").output, network.get_layer("temporal-fc").output]
    )
    spatial, temporal = heads.predict_on_batch(clips())
    np.testing.assert_allclose(network.predict_on_batch(clips())["logits"], spatial + temporal, atol=1e-5)


def test_sizes_are_those_of_the_published_network():
    """Two ResNet-50, the flow stem with 60 channels, 1x1 fusion 4096 -> 2048, a head of three."""
    network = TwoStream((224, 224, 3), (224, 224, 60), 3)
    resnet50, stem = 23_508_032 + 53_120, 49 * 64  # weights, and the normalisations' statistics
    expected = 2 * resnet50 + (60 - 3) * stem + 4096 * 2048 + 2048 + 2048 * 3 + 3
    assert network.count_params() == expected
    assert network.get_layer("spatial-resnet50").output.shape == (None, 7, 7, 2048)


@pytest.mark.parametrize(("name", "branches"), [("resnet18", 8), ("resnet50", 16), ("efficientnet_lite0", 9)])
def test_an_untrained_block_is_nearly_its_shortcut(name, branches):
    """Its branch's last normalisation multiplies by a tenth; one in a block without a shortcut by one."""
    gammas = [
        keras.ops.convert_to_numpy(w) for w in narrow_backbone(name).weights if w.path.endswith("/gamma")
    ]
    small = [gamma for gamma in gammas if np.allclose(gamma, 0.1)]
    assert len(small) == branches
    assert sum(np.allclose(gamma, 1) for gamma in gammas) == len(gammas) - branches


@functools.cache
def narrow_backbone(name):
    return build_backbone(name, (64, 64, 5), width=16, prefix="trunk-")


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_moving_averages_follow_within_the_steps_of_a_small_study(name):
    """After 100 steps on the same numbers, mean and deviation are theirs, not those at the start."""
    norms = [
        layer for layer in narrow_backbone(name).layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) > 10
    assert all(layer.momentum**100 < 1e-3 for layer in norms)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_takes_any_number_of_channels(name):
    network = narrow_backbone(name)
    assert network.name.startswith("trunk-")
    assert network.output.shape[1:3] == (2, 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TwoStream(IMAGE, FLOW, 3, fusion="cat"), r'fusion must be one of .*Received: "cat"'),
        (lambda: TwoStream(IMAGE, FLOW, 3, streams="rgb"), r'streams must be one of .*Received: "rgb"'),
        (
            lambda: TwoStream(IMAGE, FLOW, 0),
            r"num_classes must be at least 1. Received: 0",
        ),
        (lambda: ImageClassifier(IMAGE, 0), r"num_classes must be at least 1. Received: 0"),
        (lambda: build_backbone("vgg", IMAGE), r'backbone must be one of .*Received: "vgg"'),
        (lambda: resnet("resnet11", IMAGE), r'variant must be one of .*Received: "resnet11"'),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(RefusedError, match=message):
        build()
