import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfgma.layers import (
    FoldedConv3D,
    FoldedDepthwiseConv3D,
    FoldFrames,
    StackFrames,
    TemporalMaxPooling,
    TemporalStride,
    UnstackFrames,
)

FRAMES = 5
LAYERS = {
    "dense 3x3x3": FoldedConv3D(4, FRAMES, (3, 3, 3)),
    "dense 5x3x3, strides": FoldedConv3D(4, FRAMES, (5, 3, 3), (2, 2, 2)),
    "dense 3x1x1": FoldedConv3D(4, FRAMES, (3, 1, 1)),
    "dense 7x1x1, stride": FoldedConv3D(4, FRAMES, (7, 1, 1), (4, 1, 1)),
    "depthwise 3x3x3": FoldedDepthwiseConv3D(FRAMES, (3, 3, 3)),
    "depthwise 3x3x3, strides": FoldedDepthwiseConv3D(FRAMES, (3, 3, 3), (2, 2, 2)),
    "depthwise 5x1x1": FoldedDepthwiseConv3D(FRAMES, (5, 1, 1)),
    "pooling": TemporalMaxPooling(FRAMES, 2),
    "stride": TemporalStride(FRAMES, 2),
}
INT8_STEP = 0.05
"""Two steps of 8 bits of answers that reach to 3."""


def clips(number=4):
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, (1, FRAMES, 6, 6, 3)).astype(np.float32) for _ in range(number)]


def convert(network, int8):
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(network)
        spec = {"frames": tf.TensorSpec((1, FRAMES, 6, 6, 3), tf.float32, name="frames")}
        archive.add_endpoint(
            "serving_default",
            lambda inputs: {"answer": network(inputs, training=False)},
            input_signature=[spec],
        )
        archive.write_out(str(Path(folder) / "model"), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(Path(folder) / "model"))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ({"frames": clip} for clip in clips())
        return converter.convert()


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_reach_tflite(name, int8):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((FRAMES, 6, 6, 3), name="frames")
    layer = type(LAYERS[name]).from_config(LAYERS[name].get_config())
    stacked = StackFrames(FRAMES)(FoldFrames()(inputs))
    network = keras.Model({"frames": inputs}, layer(UnstackFrames(FRAMES)(stacked)))
    interpreter = Interpreter(
        model_content=convert(network, int8),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    assert not [op for op in operators if op["op_name"].startswith("Flex") or op["op_name"] == "CUSTOM"]
    convolutions = [op for op in operators if "CONV" in op["op_name"]]
    assert bool(convolutions) == hasattr(layer, "kernel")
    for op in convolutions:
        assert [tensors[index]["dtype"] for index in op["inputs"][:2]] == [
            np.int8 if int8 else np.float32
        ] * 2
    assert max(len(tensor["shape"]) for tensor in tensors.values()) <= 5
    run = interpreter.get_signature_runner()
    for clip in clips():
        expected = network.predict_on_batch({"frames": clip})
        answer = run(frames=clip)["answer"]
        np.testing.assert_allclose(answer, expected, atol=INT8_STEP if int8 else 1e-5)
