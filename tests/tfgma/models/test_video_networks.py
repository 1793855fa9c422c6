from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from pipelines.schema import RefusedError
from tests.golden_networks import (
    description,
)
from tests.marks import usual_and_thorough
from tfgma.layers import FoldedConv3D
from tfgma.models.c3d import CONVOLUTIONS, c3d
from tfgma.models.slowfast import slowfast_r50
from tfgma.models.video_resnet import (
    VARIANTS,
    VIDEO_BACKBONES,
    c2d_r50,
    csn_r101,
    i3d_r50,
    r2plus1d_r50,
    slow_r50,
    video_backbone,
    video_resnet,
)
from tfgma.models.x3d import DEPTHS, x3d, x3d_l, x3d_m, x3d_s, x3d_xs
from tfgma.weights.layout import slots

PUBLISHED = {
    "slow_r50": slow_r50,
    "c2d_r50": c2d_r50,
    "i3d_r50": i3d_r50,
    "csn_r101": csn_r101,
    "r2plus1d_r50": r2plus1d_r50,
    "x3d_m": x3d_m,
}
SHORT = (1, 1, 1, 1)
SMALL = {
    **{name: partial(PUBLISHED[name], width=8, depths=SHORT) for name in VARIANTS},
    "x3d_m": partial(x3d_m, width=8, depths=(1, 2, 1, 1)),
    "c3d": partial(c3d, width=2),
}
USUAL = ("x3d_m", "c3d", "slow_r50")


def clips(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def learns_and_reloads(network, inputs, path):
    network.compile(
        "adam",
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        run_eagerly=keras.backend.backend() == "tensorflow",
    )
    before = [weight.copy() for weight in network.get_weights()]
    network.train_on_batch(inputs, {"logits": np.array([0, 2])})
    changed = [np.abs(a - b).max() > 0 for a, b in zip(before, network.get_weights(), strict=True)]
    assert np.mean(changed) > 0.9
    network.save(path)
    again = keras.saving.load_model(path, compile=False)
    logits = network.predict_on_batch(inputs)["logits"]
    assert logits.shape == (2, 3)
    # Eagerly and compiled, sums run in another order.
    np.testing.assert_allclose(again.predict_on_batch(inputs)["logits"], logits, atol=1e-5)


@pytest.mark.parametrize("name", usual_and_thorough(SMALL, USUAL))
def test_builds_takes_a_step_saves_and_reloads(tmp_path, name):
    keras.utils.set_random_seed(1)
    shape = (16, 16, 17, 2) if name == "c3d" else (5, 17, 16, 2)
    network = SMALL[name](shape, 3)
    learns_and_reloads(network, {"frames": clips(2, *shape)}, tmp_path / "network.keras")


def test_slowfast_builds_takes_a_step_saves_and_reloads(tmp_path):
    keras.utils.set_random_seed(1)
    slow, fast = (2, 17, 16, 3), (8, 17, 16, 2)
    network = slowfast_r50(slow, fast, 3, width=8, depths=SHORT)
    inputs = {"slow": clips(2, *slow), "fast": clips(2, *fast)}
    learns_and_reloads(network, inputs, tmp_path / "network.keras")


@pytest.mark.parametrize("name", SMALL)
def test_a_backbone_gives_the_features_under_the_head(name):
    shape = (16, 16, 16, 2) if name == "c3d" else (4, 16, 16, 2)
    keywords = {} if name == "c3d" else {"depths": SMALL[name].keywords["depths"]}
    width = 2 if name == "c3d" else 8
    backbone = VIDEO_BACKBONES[name](shape, prefix="rgb-", width=width, **keywords)
    network = SMALL[name](shape, 3)
    assert [layer.name for layer in backbone.layers if not layer.name.startswith("rgb-")] == []
    backbone.set_weights(network.get_weights()[:-2])
    kernel, bias = network.get_weights()[-2:]
    features = backbone.predict_on_batch(clips(2, *shape))
    logits = network.predict_on_batch({"frames": clips(2, *shape)})["logits"]
    np.testing.assert_allclose(features @ kernel + bias, logits, atol=1e-5)
    tensors = {
        tensor
        for tensor in slots(network)
        if not tensor.startswith(("blocks.5.proj", "blocks.6.proj", "fc8"))
    }
    assert {f"rgb.{tensor}" for tensor in tensors} == set(slots(backbone))


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"c3d"}))
def test_an_untrained_block_is_nearly_its_shortcut(name):
    """As many normalisations as there are sums begin at a tenth, the others at one."""
    network = SMALL[name]((2, 16, 16, 3), 3)
    sums = sum(isinstance(layer, keras.layers.Add) for layer in network.layers)
    gammas = [ops.convert_to_numpy(weight) for weight in network.weights if weight.path.endswith("/gamma")]
    assert sums > 3
    assert sum(np.allclose(gamma, 0.1) for gamma in gammas) == sums
    assert sum(np.allclose(gamma, 1) for gamma in gammas) == len(gammas) - sums


@pytest.mark.parametrize("name", ["x3d_xs", "x3d_s"])
def test_backbones_are_built_by_name(name):
    network = video_backbone(name, (2, 32, 32, 2), prefix="flow-", width=8)
    assert network.name == f"flow-{name}"
    assert network.output_shape == (None, 2048)
    whole = {"x3d_xs": x3d_xs, "x3d_s": x3d_s}[name]((2, 32, 32, 2), 3, width=8)
    assert len(network.get_weights()) == len(whole.get_weights()) - 2


def test_an_unknown_backbone_is_refused():
    with pytest.raises(RefusedError, match=r'video backbone must be one of slow_r50, .* Received: "slow"'):
        video_backbone("slow", (2, 32, 32, 2))


def test_two_backbones_fit_into_one_network(tmp_path):
    inputs = {
        "rgb": keras.Input((2, 16, 16, 3), name="rgb"),
        "flow": keras.Input((2, 16, 16, 2), name="flow"),
    }
    features = [
        VIDEO_BACKBONES["c2d_r50"](x.shape[1:], prefix=f"{name}-", width=8, depths=SHORT)(x)
        for name, x in inputs.items()
    ]
    network = keras.Model(inputs, keras.layers.Concatenate()(features))
    values = {"rgb": clips(2, 2, 16, 16, 3), "flow": clips(2, 2, 16, 16, 2)}
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    answer = network.predict_on_batch(values)
    assert answer.shape == (2, 2 * 32 * 8)
    np.testing.assert_allclose(again.predict_on_batch(values), answer, atol=1e-5)


def test_x3d_l_has_the_published_layers():
    """As many blocks as the paper says, of X3D-M's channels."""
    large = slots(x3d_l((1, 32, 32, 3), 400))
    blocks = {tensor.partition(".branch2")[0] for tensor in large if "branch2" in tensor}
    assert len(blocks) == 5 + 10 + 25 + 15
    for tensor, shape in description("x3d_m")["state_dict"].items():
        assert "num_batches_tracked" in tensor or large[tensor].fits(tuple(shape)), tensor


def c3d_by_the_paper(network, x):
    """The same weights in plain 3D layers of Keras, the last pooling padded with minus infinity."""
    for name, (_, frames, pixels) in CONVOLUTIONS.items():
        layer = network.get_layer(name)
        conv = keras.layers.Conv3D(layer.filters, 3, padding="same", activation="relu")
        conv.build(x.shape)
        conv.set_weights(layer.get_weights())
        x = ops.convert_to_numpy(conv(x))
        if name == "conv5b":
            x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        if pixels:
            x = ops.convert_to_numpy(keras.layers.MaxPooling3D((frames, pixels, pixels))(x))
    x = np.moveaxis(x, -1, 1).reshape(len(x), -1)
    for name in ("fc6", "fc7", "fc8"):
        kernel, bias = network.get_layer(name).get_weights()
        x = x @ kernel + bias
        x = x if name == "fc8" else np.maximum(x, 0)
    return x


@pytest.mark.parametrize("shape", [(16, 112, 112, 3), (18, 40, 23, 2), (35, 16, 16, 1)])
def test_c3d_is_the_papers_layers(shape):
    keras.utils.set_random_seed(3)
    network = c3d(shape, 3, width=2)
    x = clips(2, *shape)
    logits = network.predict_on_batch({"frames": x})["logits"]
    assert np.abs(logits).max() > 1e-3
    np.testing.assert_allclose(logits, c3d_by_the_paper(network, x), atol=1e-5)


def test_c3d_has_the_published_shapes():
    tensors = slots(c3d((16, 112, 112, 3), 487, width=64))
    convolutions = {name.partition(".")[0]: slot.shape for name, slot in tensors.items() if "weight" in name}
    assert convolutions == {
        "conv1": (64, 3, 3, 3, 3),
        "conv2": (128, 64, 3, 3, 3),
        "conv3a": (256, 128, 3, 3, 3),
        "conv3b": (256, 256, 3, 3, 3),
        "conv4a": (512, 256, 3, 3, 3),
        "conv4b": (512, 512, 3, 3, 3),
        "conv5a": (512, 512, 3, 3, 3),
        "conv5b": (512, 512, 3, 3, 3),
        "fc6": (4096, 8192),
        "fc7": (4096, 4096),
        "fc8": (487, 4096),
    }


def test_only_kernels_longer_than_a_frame_are_folded_3d_convolutions():
    """The others are plain 2D layers, which run and quantise best."""
    for name in VARIANTS:
        for layer in SMALL[name]((4, 16, 16, 3), 3).layers:
            assert not isinstance(layer, FoldedConv3D) or layer.kernel_size[0] > 1


@pytest.mark.parametrize("build", [slow_r50, x3d_m], ids=["resnet", "x3d"])
def test_wrong_numbers_of_stages_are_refused(build):
    with pytest.raises(RefusedError, match=r"depths must be four numbers of blocks. Received: \(1, 1\)"):
        build((4, 16, 16, 3), 3, depths=(1, 1))


def test_wrong_shapes_are_refused():
    with pytest.raises(RefusedError, match=r"at least 2 frames of 1 x 1 px. Received: \(1, 16, 16, 3\)"):
        i3d_r50((1, 16, 16, 3), 3)
    with pytest.raises(RefusedError, match=r"frames_shape must be .* Received: "):
        slow_r50((16, 16, 3), 3)
    with pytest.raises(RefusedError, match=r"frames_shape must be .* Received: "):
        x3d_m((None, 16, 16, 3), 3)
    with pytest.raises(RefusedError, match=r"at least 16 frames of 16 x 16 px. Received: "):
        c3d((15, 16, 16, 3), 3)


def test_unknown_variants_are_refused():
    with pytest.raises(RefusedError, match=r'variant must be one of slow_r50, .* Received: "slow"'):
        video_resnet("slow", (4, 16, 16, 3), 3)
    with pytest.raises(RefusedError, match=rf'variant must be one of {", ".join(DEPTHS)}. Received: "x3d"'):
        x3d("x3d", (4, 16, 16, 3), 3)


def test_no_class_is_refused():
    with pytest.raises(RefusedError, match=r"num_classes must be at least 1. Received: 0"):
        SMALL["slow_r50"]((4, 16, 16, 3), 0)


@pytest.mark.parametrize("fast", [(7, 16, 16, 3), (12, 16, 16, 3), (8, 16, 17, 3)])
def test_slowfast_refuses_frames_that_do_not_go_together(fast):
    small = {"width": 8, "depths": SHORT}
    if fast[0] == 7:  # the last of four frames may lack: a stride of 4 reaches as far
        assert slowfast_r50((2, 16, 16, 3), fast, 3, **small).output["logits"].shape == (None, 3)
        return
    with pytest.raises(RefusedError, match=r"fast_shape must have 4 frames for each .* Received: fast_shape"):
        slowfast_r50((2, 16, 16, 3), fast, 3, **small)


def test_slowfast_refuses_sizes_that_it_cannot_share():
    shapes = (2, 16, 16, 3), (8, 16, 16, 3)
    with pytest.raises(RefusedError, match=r"width must be a multiple of 8. Received: 12"):
        slowfast_r50(*shapes, 3, width=12)
    with pytest.raises(RefusedError, match=r"depths must be four numbers of blocks. Received: \(1,\)"):
        slowfast_r50(*shapes, 3, depths=(1,))
