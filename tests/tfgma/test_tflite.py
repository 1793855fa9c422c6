"""TFLite files of small networks answer as Keras does; what cannot be a file or run is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import Builder

from pipelines.schema import RefusedError
from tfgma.bundle import ALL_VARIANTS
from tfgma.inference import TFLiteModel
from tfgma.models.stam import Stam
from tfgma.outputs import LOGITS, probabilities_of
from tfgma.tflite import Int8Converter, convert, convert_int16, save_model

TOLERANCES = {"float32": 1e-6, "float16": 2e-3, "dynamic": 0.02, "int8": 0.03, "int16": 0.02}
"""The weights of the last three have 8 bits."""


def clips(count=24):
    rng = np.random.default_rng(0)
    return [
        {
            "flow": rng.uniform(-1, 1, (1, 8, 8, 4)).astype(np.float32),
            "image": rng.uniform(0, 2, (1, 8, 8, 3)).astype(np.float32),
        }
        for _ in range(count)
    ]


def two_inputs(spread=1.0):
    """(8, 8, 3) and (8, 8, 4) -> 3 classes. `spread`: by how much one channel within outgrows the others."""
    keras.utils.set_random_seed(3)
    image, flow = keras.Input((8, 8, 3), name="image"), keras.Input((8, 8, 4), name="flow")
    joined = keras.layers.Concatenate()([image, flow])
    hidden = keras.layers.Conv2D(6, 3, activation="relu", name="first")(joined)
    uneven = keras.layers.Conv2D(6, 1, use_bias=False, activation="relu", name="uneven")(hidden)
    even = keras.layers.Conv2D(6, 1, use_bias=False, activation="relu", name="even")(uneven)
    pooled = keras.layers.GlobalAveragePooling2D()(even)
    network = keras.Model(
        {"image": image, "flow": flow}, {LOGITS: keras.layers.Dense(3, name="classifier")(pooled)}
    )
    scales = np.array([spread, 1, 1, 1, 1, 1], np.float32)
    network.get_layer("uneven").set_weights([(np.eye(6) * scales)[None, None]])
    network.get_layer("even").set_weights([(np.eye(6) / scales)[None, None]])
    weights, biases = network.get_layer("classifier").get_weights()
    network.get_layer("classifier").set_weights([8 * weights, biases])
    return network


def answers(network, clip):
    return np.asarray(probabilities_of(np.asarray(network.predict_on_batch(clip)[LOGITS])))[0]


def largest_difference(network, content):
    model = TFLiteModel(content)
    return max(np.abs(model(clip) - answers(network, clip)).max() for clip in clips())


@pytest.fixture(scope="module")
def network():
    return two_inputs()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_model(network, folder, batch=1)
    return folder


@pytest.fixture(scope="module")
def int8(saved):
    return Int8Converter(saved, lambda: iter(clips()))


@pytest.fixture(scope="module")
def files(saved, int8):
    made = {variant: convert(saved, variant) for variant in ("float32", "float16", "dynamic")}
    return made | {"int8": int8.convert(), "int16": convert_int16(saved, lambda: iter(clips()))}


@pytest.mark.parametrize("variant", ALL_VARIANTS)
def test_every_variant_answers_as_keras_does(network, files, variant):
    # There is something to get wrong.
    assert len({int(answers(network, clip).argmax()) for clip in clips()}) > 1
    assert largest_difference(network, files[variant]) < TOLERANCES[variant]


@pytest.mark.parametrize("variant", ["float32", "int8", "int8 in and out"])
def test_what_is_answered_besides_has_its_name(network, tmp_path, variant):
    hidden = keras.ops.softmax(network.get_layer("classifier").output[:, :2])
    both = keras.Model(network.input, network.output | {"alpha": hidden})
    save_model(both, tmp_path, batch=1, also=["alpha"])
    if variant == "float32":
        content = convert(tmp_path, variant)
    else:
        content = Int8Converter(tmp_path, lambda: iter(clips())).convert(int8_io=variant != "int8")
    model = TFLiteModel(content)
    for clip in clips(3):
        found = model.outputs(clip)
        assert set(found) == {"probabilities", "alpha"}
        np.testing.assert_array_equal(found["probabilities"], model(clip))
        tolerance = TOLERANCES[variant[:7].split()[0]]
        np.testing.assert_allclose(found["probabilities"], answers(both, clip), atol=tolerance)
        np.testing.assert_allclose(found["alpha"], both.predict_on_batch(clip)["alpha"][0], atol=tolerance)


def test_inputs_are_bound_by_name_in_any_order(files):
    model = TFLiteModel(files["float32"])
    assert model.input_shapes == {"flow": (1, 8, 8, 4), "image": (1, 8, 8, 3)}
    for clip in clips(3):
        np.testing.assert_array_equal(model(clip), model(dict(reversed(clip.items()))))


def test_a_file_of_int8_in_and_out_answers_as_the_one_of_floats(network, int8):
    content = int8.convert(int8_io=True)
    details = TFLiteModel(content)._input_details.values()
    assert {detail["dtype"] for detail in details} == {np.int8}
    assert largest_difference(network, content) < TOLERANCES["int8"]


def made_by(content, operator):
    """dtypes of what the operators of that name answer, in order."""
    interpreter = Interpreter(model_content=content)
    kinds = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    found = [one for one in interpreter._get_ops_details() if one["op_name"] == operator]
    return [kinds[output] for one in found for output in one["outputs"]]


@pytest.mark.parametrize("classes", [1, 3])
def test_probabilities_are_made_in_float32_unless_they_are_int8(tmp_path, classes):
    network = two_inputs()
    logits = keras.layers.Dense(classes)(network.get_layer("classifier").output)
    save_model(keras.Model(network.input, {LOGITS: logits}), tmp_path, batch=1)
    converter = Int8Converter(tmp_path, lambda: iter(clips()))
    floats, integers = converter.convert(), converter.convert(int8_io=True)
    last = "LOGISTIC" if classes == 1 else "SOFTMAX"
    assert made_by(floats, last) == [np.float32]
    assert made_by(integers, last) == [np.int8]
    for content in (floats, integers):
        assert made_by(content, "CONV_2D") == 3 * [np.int8]
        assert made_by(content, "FULLY_CONNECTED") == 2 * [np.int8]


def test_stam_of_one_group_of_neighbours_has_no_normalisation_behind_convolutions(tmp_path):
    network = Stam((3, 8, 18, 2), features=8)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))  # no product by 1, which would be left out
    save_model(network, tmp_path, batch=1)
    operators = TFLiteModel(convert(tmp_path, "float32")).operators
    # One normalisation stands before the first convolution; clips and joints are weighed by their shares.
    assert operators.count("MUL") == 3
    # Of that normalisation, and of three shortcuts.
    assert operators.count("ADD") == 4


def test_what_loses_most_is_named_and_computed_in_float32(tmp_path):
    """One channel is 1000 times the others: in one scale for all, eight bits leave nothing of the others."""
    network = two_inputs(spread=1000.0)
    save_model(network, tmp_path, batch=1)
    converter = Int8Converter(tmp_path, lambda: iter(clips()))
    plain = largest_difference(network, converter.convert())
    assert plain > 0.1
    losses = converter.losses(8)
    assert list(losses.values()) == sorted(losses.values(), reverse=True)
    assert "/uneven" in next(iter(losses))
    # What it makes is lost unless the next layer takes it in float32 too.
    floats = [name for name in losses if "/uneven" in name or "/even" in name]
    mixed = converter.convert(floats)
    assert largest_difference(network, mixed) < 0.03 < plain
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(TFLiteModel(mixed).operators)


def test_an_operator_that_is_not_builtin_is_refused_by_name(tmp_path):
    frames = keras.Input((4, 8, 8, 3), name="frames")
    pooled = keras.layers.GlobalAveragePooling3D()(keras.layers.MaxPooling3D(2)(frames))
    save_model(keras.Model({"frames": frames}, {LOGITS: keras.layers.Dense(2)(pooled)}), tmp_path, batch=1)
    with pytest.raises(RefusedError, match=r"must consist of TFLite's builtin operators.*tf.MaxPool3D\."):
        convert(tmp_path, "float32")
    with pytest.raises(RefusedError, match=r"must consist of TFLite's builtin operators.*tf.MaxPool3D"):
        Int8Converter(tmp_path, lambda: iter(()))


def without_signature(function, shape):
    function = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], None)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS, tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def with_operator(content, **changes):
    """The file with its first operator's code or version changed."""
    model = schema.ModelT.InitFromPackedBuf(content)
    for name, value in changes.items():
        setattr(model.operatorCodes[0], name, value)
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_file_that_the_runtime_cannot_run_is_refused(files):
    content = files["float32"]
    select = without_signature(lambda image: tf.nn.max_pool3d(image, 2, 1, "VALID"), (1, 2, 3, 4, 2))
    other = without_signature(tf.nn.softmax, (1, 4))
    for file, message in (
        (select, r"^a model must hold builtin operators only. Received: FlexMaxPool3D. Export"),
        (
            with_operator(content, version=99),
            r"^the runtime must have every operator.*version '99'.*Update ai-edge",
        ),
        (with_operator(content, builtinCode=250), r"^the runtime must have every operator.*250.*Update"),
        (b"TFL3 and then nothing", r"must be a TFLite file with one signature"),
        (content[: len(content) // 2], r"must be a TFLite file with one signature"),
        (other, r"must be a TFLite file with one signature"),
    ):
        with pytest.raises(RefusedError, match=message):
            TFLiteModel(file)


def test_a_signature_that_answers_something_else_is_refused(saved, network, tmp_path):
    archive = keras.export.ExportArchive()
    archive.track(network)
    specs = {name: tf.TensorSpec(clip.shape, tf.float32, name=name) for name, clip in clips(1)[0].items()}
    archive.add_endpoint("serving_default", lambda inputs: {"scores": network(inputs)[LOGITS]}, [specs])
    archive.write_out(str(tmp_path), verbose=False)
    with pytest.raises(RefusedError, match=r"signature must answer probabilities. Received: scores"):
        TFLiteModel(convert(tmp_path, "float32"))


def test_another_clip_than_the_files_is_refused(files):
    model, clip = TFLiteModel(files["float32"]), clips(1)[0]
    for changes, message in (
        ({"image": clip["image"][:, :7]}, r"a clip's image must be float32 of shape \(1, 8, 8, 3\).*7, 8, 3"),
        ({"flow": clip["flow"].astype(np.float64)}, r"a clip's flow must be float32.*float64"),
        ({"pose": clip["flow"]}, r"must have the inputs flow, image. Received: flow, image, pose"),
    ):
        with pytest.raises(RefusedError, match=message):
            model({**clip, **changes})
