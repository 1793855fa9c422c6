"""Classifiers of several frames: fusion baselines, CNN with LSTM, two streams over time."""

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.contract import assert_learns_saves_and_reloads, random_inputs
from tests.marks import usual_and_thorough
from tfgma.models.cnn_lstm import CNNLSTM
from tfgma.models.families import FAMILIES
from tfgma.models.frame_fusion import FUSIONS, FrameFusion
from tfgma.models.two_stream_3d import FUSIONS as FUSIONS_3D
from tfgma.models.two_stream_3d import TwoStream3D
from tfgma.models.video_classifier import VideoClassifier
from tfgma.outputs import probabilities_of, trained_outputs

FRAMES, FLOW = (4, 32, 32, 3), (32, 32, 6)
SMALL = {"backbone": "resnet10", "width": 8}
SMALL_3D = {"image_backbone": "resnet10", "video_backbone": "slow_r50", "width": 8}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_frame_fusion_learns_saves_and_reloads(tmp_path, fusion):
    network = FrameFusion(FRAMES, 3, fusion=fusion, dropout=0.1, **SMALL)
    assert network.output["logits"].shape == (None, 3)
    assert_learns_saves_and_reloads(network, tmp_path)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_frame_fusion_sees_the_frames_that_it_should(fusion):
    network = FrameFusion(FRAMES, 3, fusion=fusion, **SMALL)
    inputs = random_inputs(network)
    base = keras.ops.convert_to_numpy(network.predict_on_batch(inputs)["logits"])
    seen = []
    for frame in range(FRAMES[0]):
        changed = inputs["frames"].copy()
        changed[:, frame] *= -1
        logits = keras.ops.convert_to_numpy(network.predict_on_batch({"frames": changed})["logits"])
        seen.append(bool(np.abs(logits - base).max() > 1e-6))
    assert seen == ([True, False, False, True] if fusion == "late" else [True] * 4)


def test_cnn_lstm_learns_saves_reloads_and_heeds_order(tmp_path):
    network = CNNLSTM(FRAMES, 1, units=6, **SMALL)
    assert_learns_saves_and_reloads(network, tmp_path)
    inputs = random_inputs(network)
    forward = network.predict_on_batch(inputs)["logits"]
    backward = network.predict_on_batch({"frames": inputs["frames"][:, ::-1]})["logits"]
    assert np.abs(keras.ops.convert_to_numpy(forward - backward)).max() > 1e-6


JOINS = [("multi", fusion) for fusion in FUSIONS_3D]
JOINS += [("multi_single", "different_loss"), ("single", "concat")]


@pytest.mark.parametrize("join", usual_and_thorough(JOINS, usual=[("single", "concat")]))
def test_two_streams_over_time_learn_save_and_reload(tmp_path, join):
    streams, fusion = join
    network = TwoStream3D(FRAMES, FLOW, 1, streams=streams, fusion=fusion, **SMALL_3D)
    outputs = trained_outputs(network.output)
    assert outputs == (["logits_flow", "logits_frames"] if fusion == "different_loss" else ["logits"])
    assert_learns_saves_and_reloads(network, tmp_path, outputs)


@pytest.mark.thorough
def test_different_losses_share_one_answer_the_mean_logit():
    network = TwoStream3D(FRAMES, FLOW, 3, **SMALL_3D)
    answers = network.predict_on_batch(random_inputs(network))
    answers = {name: keras.ops.convert_to_numpy(values) for name, values in answers.items()}
    mean = (answers["logits_frames"] + answers["logits_flow"]) / 2
    np.testing.assert_allclose(answers["logits"], mean, atol=1e-6)


def test_the_flow_stream_sees_flows_in_order_of_time():
    """A flow stack x0, y0, x1, y1, ... reaches the stream as L maps of x and y."""
    network = TwoStream3D(FRAMES, FLOW, 3, **SMALL_3D)
    maps = keras.Model(network.input, network.get_layer("flow_frames").output)
    inputs = random_inputs(network)
    inputs["flow"][:] = np.arange(6)
    found = keras.ops.convert_to_numpy(maps.predict_on_batch(inputs))
    assert found.shape == (2, 3, 32, 32, 2)
    np.testing.assert_array_equal(found[0, :, 0, 0], [[0, 1], [2, 3], [4, 5]])


def test_both_streams_reach_the_answer():
    network = TwoStream3D(FRAMES, FLOW, 3, streams="multi_single", fusion="concat", **SMALL_3D)
    inputs = random_inputs(network)
    base = keras.ops.convert_to_numpy(network.predict_on_batch(inputs)["logits"])
    for name in inputs:
        changed = network.predict_on_batch(inputs | {name: -inputs[name]})["logits"]
        assert np.abs(keras.ops.convert_to_numpy(changed) - base).max() > 1e-6


def test_one_logit_stands_for_two_probabilities():
    logits = np.array([[0.0], [2.0]], np.float32)
    found = keras.ops.convert_to_numpy(probabilities_of(keras.ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.1192029, 0.8807971]], atol=1e-6)
    two = keras.ops.convert_to_numpy(probabilities_of(np.concatenate([0 * logits, logits], axis=1)))
    np.testing.assert_allclose(found, two, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FrameFusion(FRAMES, 2, fusion="cat", **SMALL), r'fusion must be one of .*Received: "cat"'),
        (lambda: FrameFusion((1, 32, 32, 3), 2, **SMALL), r"at least two frames. Received: 1"),
        (
            lambda: FrameFusion((6, 32, 32, 3), 2, fusion="slow", **SMALL),
            r"multiple of 4 frames. Received: 6",
        ),
        (
            lambda: FrameFusion(FRAMES, 2, fusion="slow", backbone="mobilenetv3_small"),
            r'residual network.*Received: "mobilenetv3_small"',
        ),
        (lambda: FrameFusion((32, 32, 3), 2, **SMALL), r"frames_shape must be \(frames, rows.*\(32, 32, 3\)"),
        (lambda: CNNLSTM(FRAMES, 0, **SMALL), r"num_classes must be at least 1. Received: 0"),
        (lambda: CNNLSTM(FRAMES, 2, backbone="vgg"), r'backbone must be one of .*Received: "vgg"'),
        (lambda: TwoStream3D(FRAMES, FLOW, 2, streams="rgb"), r'streams must be one of .*Received: "rgb"'),
        (lambda: TwoStream3D(FRAMES, FLOW, 2, fusion="cat"), r'fusion must be one of .*Received: "cat"'),
        (lambda: TwoStream3D(FRAMES, (32, 32, 5), 2), r"flow_shape must be .*Received: \(32, 32, 5\)"),
        (lambda: TwoStream3D(FRAMES, FLOW, 2, video_backbone="r3d"), r'video backbone must be .*"r3d"'),
        (lambda: VideoClassifier(FRAMES, 2, network="r3d"), r'network must be one of .*Received: "r3d"'),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(RefusedError, match=message):
        build()


def test_families_take_the_shapes_of_their_inputs_by_name():
    shapes = {"image": (32, 32, 3), "flow": FLOW, "frames": FRAMES, "pose": (2, 30, 18, 7)}
    for name in ("two_stream", "image", "frame_fusion", "cnn_lstm", "two_stream_3d", "stam"):
        options = {} if name == "stam" else {"image_backbone": "resnet10", "flow_backbone": "resnet10"}
        if name in ("image", "frame_fusion", "cnn_lstm"):
            options = SMALL
        if name == "two_stream_3d":
            options = SMALL_3D
        network = FAMILIES[name](shapes, 2, **options)
        assert {tensor.name for tensor in network.inputs} == set(FAMILIES[name].inputs)
