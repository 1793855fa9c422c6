"""ONNX files of small networks answer as Keras does; what cannot be one or run is refused."""

from __future__ import annotations

import sys
from collections import Counter

import keras
import numpy as np
import onnx
import pytest

from pipelines.schema import RefusedError
from tests.contract import random_inputs
from tests.marks import usual_and_thorough
from tfgma.bundle import OUTPUT
from tfgma.latency import opened
from tfgma.models.families import FAMILIES
from tfgma.onnx_file import convert_onnx, large_kernels
from tfgma.onnx_model import ONNXModel
from tfgma.outputs import ATTENTION, LOGITS, probabilities_of

SHAPES = {
    "image": (32, 32, 3),
    "flow": (32, 32, 6),
    "frames": (4, 32, 32, 3),
    "slow": (2, 32, 32, 3),
    "fast": (8, 32, 32, 3),
    "pose": (2, 30, 18, 7),
}
STREAM = {"backbone": "resnet10", "width": 8}
SMALL = {
    "two_stream": {
        "image_backbone": "resnet10",
        "flow_backbone": "resnet10",
        "image_width": 8,
        "flow_width": 8,
    },
    "edge": {"width_coefficient": 0.25, "depth_coefficient": 0.5, "head_filters": 16},
    "image": STREAM,
    "frame_fusion": STREAM,
    "cnn_lstm": {**STREAM, "units": 6},
    "video": {"network": "x3d_xs", "width": 8},
    "slowfast": {"width": 8, "depths": (1, 1, 1, 1)},
    "two_stream_3d": {"image_backbone": "resnet10", "video_backbone": "slow_r50", "width": 8},
    "stam": {"features": 8},
    "temporal_shift": {"frames_backbone": "resnet10", "flow_backbone": "resnet10", "width": 8},
}
"""family -> options of a small network of it."""


def small(family: str) -> keras.Model:
    """A family's small network, of 3 classes or one logit, whose answers are not all certain."""
    keras.utils.set_random_seed(0)
    network = FAMILIES[family](SHAPES, 1 if family == "cnn_lstm" else 3, **SMALL[family])
    logits = np.abs(keras.ops.convert_to_numpy(network.predict_on_batch(clip(network))[LOGITS])).max()
    if logits > 2:
        for layer in network.layers:
            if isinstance(layer, keras.layers.Dense):
                layer.set_weights([value / logits for value in layer.get_weights()])
    return network


def clip(network: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    return random_inputs(network, batch=1, seed=seed)


def answer(network: keras.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    logits = np.asarray(network.predict_on_batch(inputs)[LOGITS], np.float64)
    return np.asarray(probabilities_of(logits))[0]


@pytest.mark.parametrize("family", usual_and_thorough(FAMILIES, usual=["two_stream", "stam"]))
def test_a_network_of_every_family_answers_the_same(family: str) -> None:
    network = small(family)
    model = ONNXModel(convert_onnx(network))
    assert model.input_shapes == {one.name: (1, *one.shape[1:]) for one in network.inputs}
    for seed in range(3):
        inputs = clip(network, seed)
        expected = answer(network, inputs)
        assert 0.001 < expected.min() < expected.max() < 0.999
        np.testing.assert_allclose(model(inputs), expected, atol=1e-5)
        np.testing.assert_array_equal(model(inputs), model(dict(reversed(inputs.items()))))


def constants(content: bytes) -> Counter[tuple[int, ...]]:
    """Shapes of a file's floating-point weights, and how many there are of each."""
    weights = onnx.load_from_string(content).graph.initializer
    return Counter(tuple(one.dims) for one in weights if one.data_type == onnx.TensorProto.FLOAT)


@pytest.mark.parametrize("trainable", [True, False])
def test_large_kernels_are_constants_though_the_exporter_has_not_seen_them(monkeypatch, trainable) -> None:
    network = small("edge")
    network.trainable = trainable
    inputs, whole = clip(network), convert_onnx(network)
    seen = []
    export = keras.Model.export
    monkeypatch.setattr("tfgma.onnx_file.APART", 40)
    monkeypatch.setattr(
        keras.Model,
        "export",
        lambda self, *args, **options: seen.append(options) or export(self, *args, **options),
    )
    assert len(large_kernels(network)) == 1
    content = convert_onnx(network)
    model = ONNXModel(content)
    assert "kernel_0" in seen[0]["input_signature"][0]
    assert model.input_shapes == ONNXModel(whole).input_shapes
    np.testing.assert_allclose(model(inputs), ONNXModel(whole)(inputs), atol=1e-6)
    assert constants(content) == constants(whole)


def test_what_a_network_weighs_is_answered_when_asked() -> None:
    network = small("stam")
    model = ONNXModel(convert_onnx(network, ATTENTION))
    inputs = clip(network)
    found = model.outputs(inputs)
    assert set(found) == {OUTPUT, *ATTENTION}
    expected = network.predict_on_batch(inputs)
    for name in ATTENTION:
        np.testing.assert_allclose(found[name], keras.ops.convert_to_numpy(expected[name])[0], atol=1e-5)
    np.testing.assert_array_equal(found[OUTPUT], model(inputs))


@pytest.fixture(scope="module")
def file() -> bytes:
    image = keras.Input((8, 8, 3), name="image")
    hidden = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(hidden))
    return convert_onnx(keras.Model({"image": image}, {LOGITS: logits}))


def test_batch_normalisation_is_within_the_convolution(file: bytes) -> None:
    operators = ONNXModel(file).operators
    assert "Conv" in operators
    assert not {"BatchNormalization", "Mul", "Sub", "Identity"} & set(operators)


def test_a_file_is_opened_by_its_name(file: bytes, tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(file)
    assert isinstance(opened(tmp_path / "model.onnx", 1), ONNXModel)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"flow": (1, 8, 8, 3)}, r"a clip must have the inputs image. Received: flow"),
        ({"image": (2, 8, 8, 3)}, r"a clip's image must be float32 of shape \(1, 8, 8, 3\)"),
    ],
)
def test_clips_of_another_shape_are_refused(file: bytes, inputs: dict, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        ONNXModel(file)({name: np.zeros(shape, np.float32) for name, shape in inputs.items()})


def test_a_damaged_file_is_refused(file: bytes) -> None:
    with pytest.raises(RefusedError, match=r"a model must be an ONNX file that this runtime knows. Received"):
        ONNXModel(file[: len(file) // 2])


def test_a_file_that_answers_something_else_is_refused(file: bytes) -> None:
    with pytest.raises(RefusedError, match=r"a model must answer probabilities. Received: probabilitees"):
        ONNXModel(file.replace(b"probabilities", b"probabilitees"))


@pytest.mark.parametrize("package", ["onnx", "tf2onnx", "onnxruntime"])
def test_the_extra_is_named_where_a_package_is_missing(package: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RefusedError, match=rf"needs the package {package}\..*pip install 'tfgma\[onnx\]'"):
        convert_onnx(keras.Model())
