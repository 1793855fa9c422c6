"""Networks of causal shifts: nothing comes from later frames, and frame by frame they answer alike."""

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.contract import assert_learns_saves_and_reloads, random_inputs
from tfgma.models.cnn_lstm import CNNLSTM
from tfgma.models.efficientnet_lite import efficientnet_lite
from tfgma.models.families import FAMILIES
from tfgma.models.resnet import resnet
from tfgma.models.temporal_shift import (
    CausalShift,
    FoldFlow,
    FrameMean,
    RunningMean,
    TemporalShift,
    streaming,
)

SIDE = 32
SMALL = {"frames_backbone": "resnet10", "flow_backbone": "resnet10", "width": 8}
LITE = {"frames_backbone": "efficientnet_lite0"}


def build(frames, flows, streams="both", **options):
    network = TemporalShift(
        (frames, SIDE, SIDE, 3), (SIDE, SIDE, 2 * flows), 3, streams=streams, **(SMALL | options)
    )
    rng = np.random.default_rng(5)
    # As after a training: nothing that is added is zero.
    network.set_weights(
        [w + 0.1 * rng.random(w.shape, np.float32) if w.ndim == 1 else w for w in network.get_weights()]
    )
    return network


def numbers(values):
    return keras.ops.convert_to_numpy(values)


def answer(network, inputs):
    return {name: numbers(values) for name, values in network(inputs, training=False).items()}


def test_the_first_channels_are_those_of_the_frame_before():
    values = np.arange(2 * 3 * 2 * 2 * 4, dtype=np.float32).reshape(2, 3, 2, 2, 4)
    expected = values.copy()
    expected[:, 1:, ..., :2] = values[:, :-1, ..., :2]
    expected[:, 0, ..., :2] = 0
    found = numbers(CausalShift(3, 2)(values.reshape(6, 2, 2, 4)))
    np.testing.assert_array_equal(found.reshape(values.shape), expected)
    alone = numbers(CausalShift(1, 1)(values[:, 0]))
    np.testing.assert_array_equal(alone[..., 0], 0)
    np.testing.assert_array_equal(alone[..., 1:], values[:, 0, ..., 1:])


@pytest.mark.parametrize("from_rest", [False, True])
def test_flows_are_folded_in_order_of_time(from_rest):
    stack = np.zeros((2, 2, 3, 6), np.float32) + np.arange(1, 7)
    stack[1] *= 10
    layer = FoldFlow(from_rest)
    found = numbers(layer(stack))
    assert found.shape == layer.compute_output_shape(stack.shape)
    first = [[0, 0]] if from_rest else []
    pairs = np.array([*first, [1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(found[:, 1, 2], np.concatenate([pairs, 10 * pairs]))


def test_a_running_mean_ends_as_the_mean():
    features = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    total, count = np.zeros((1, 5), np.float32), np.zeros((1, 1), np.float32)
    for number in range(4):
        mean, total, count = RunningMean()([features[number : number + 1], total, count])
    np.testing.assert_allclose(numbers(mean), numbers(FrameMean(4)(features)), atol=1e-6)
    assert numbers(count) == [[4]]


@pytest.mark.parametrize("streams", ["both", "flow"])
def test_learns_saves_and_reloads(tmp_path, streams):
    network = build(3, 2, streams, dropout=0.1)
    assert {tensor.name for tensor in network.inputs} == {"both": {"frames", "flow"}, "flow": {"flow"}}[
        streams
    ]
    assert network.output["logits"].shape == (None, 3)
    assert_learns_saves_and_reloads(network, tmp_path)


def test_a_pulse_changes_nothing_before_it_and_what_comes_after():
    network = build(4, 3)
    by_frame = keras.Model(network.input, network.get_layer("pool").output)
    inputs = random_inputs(network, batch=1)
    base = numbers(by_frame.predict_on_batch(inputs))
    for name in ("frames", "flow"):
        changed = {key: values.copy() for key, values in inputs.items()}
        if name == "frames":
            changed["frames"][:, 2] += 1
        else:
            changed["flow"][..., 2:4] += 1  # leads to frame 2
        moved = np.abs(numbers(by_frame.predict_on_batch(changed)) - base).max(axis=1) > 1e-6
        assert moved.tolist() == [False, False, True, True]


def streamed(step, inputs, steps, from_rest):
    """Logits after each step."""
    state = {t.name: np.zeros(t.shape, np.float32) for t in step.inputs if t.name not in ("frame", "flow")}
    found = []
    for number in range(steps):
        now = {}
        if "frames" in inputs:
            now["frame"] = inputs["frames"][:, number]
        if "flow" in inputs:
            place = 2 * (number - from_rest)
            zeros = np.zeros((1, SIDE, SIDE, 2), np.float32)
            now["flow"] = zeros if place < 0 else inputs["flow"][..., place : place + 2]
        state = answer(step, now | state)
        found.append(state.pop("logits"))
    return found


@pytest.mark.parametrize(
    ("streams", "steps", "options"),
    [("both", 4, {}), ("frames", 3, {}), ("flow", 3, {}), ("frames", 2, LITE)],
    ids=["both", "frames", "flow", "efficientnet_lite"],
)
def test_after_every_frame_the_answer_is_the_clip_networks_on_the_frames_so_far(streams, steps, options):
    both = streams == "both"
    whole = build(steps, steps - both, streams, **options)
    inputs = random_inputs(whole, batch=1)
    step = streaming(whole)
    assert all(step.output[name].shape == t.shape for name, t in step.input.items() if name in step.output)
    found = streamed(step, inputs, steps, from_rest=both)
    for number in range(1 + both, steps + 1):
        flows = number - both
        clip = build(number, flows, streams, **options)
        clip.set_weights(whole.get_weights())
        part = {}
        if "frames" in inputs:
            part["frames"] = inputs["frames"][:, :number]
        if "flow" in inputs:
            part["flow"] = inputs["flow"][..., : 2 * flows]
        np.testing.assert_allclose(found[number - 1], answer(clip, part)["logits"], atol=1e-5, rtol=1e-5)
    assert np.ptp(np.concatenate(found), axis=0).max() > 1e-3


def test_states_are_named_and_begin_for_one_stream():
    step = streaming(build(3, 2))
    shapes = {tensor.name: tensor.shape for tensor in step.inputs}
    assert (shapes["frame"], shapes["flow"]) == ((1, SIDE, SIDE, 3), (1, SIDE, SIDE, 2))
    assert (shapes["feature_sum"], shapes["frame_count"]) == ((1, 64), (1, 1))
    assert shapes["frames_layer3_0_shift"] == (
        1,
        4,
        4,
        2,
    )  # an eighth of the 16 channels that the block takes
    assert step.output.keys() == (shapes.keys() - {"frame", "flow"}) | {"logits"}


def test_the_step_has_the_networks_own_weights():
    network = build(3, 2)
    step = streaming(network)
    own = {id(variable) for variable in network.weights}
    assert {id(variable) for variable in step.weights} == own


@pytest.mark.parametrize(
    "trunk",
    [
        lambda **o: resnet("resnet10", (SIDE, SIDE, 3), width=8, **o),
        lambda **o: efficientnet_lite("efficientnet_lite0", (SIDE, SIDE, 3), **o),
    ],
    ids=["resnet", "efficientnet_lite"],
)
def test_shifts_add_no_weights_and_rename_none(trunk):
    names = [variable.path.partition("/")[2] for variable in trunk().weights]
    shifted = trunk(mixing=lambda x, name: CausalShift(2, 1, name=name)(x))
    assert [variable.path.partition("/")[2] for variable in shifted.weights] == names
    assert sum(isinstance(layer, CausalShift) for layer in shifted.layers) in (4, 9)


def test_the_family_takes_frames_and_flow_and_streams_alone():
    shapes = {"frames": (3, SIDE, SIDE, 3), "flow": (SIDE, SIDE, 4)}
    network = FAMILIES["temporal_shift"](shapes, 2, **SMALL)
    assert {tensor.name for tensor in network.inputs} == {"frames", "flow"}
    assert [name for name, family in FAMILIES.items() if family.streaming] == ["temporal_shift"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: build(3, 3), r"one frame more than flows. Received: 3 frames and 3 flows. Set .* to 4$"),
        (lambda: build(3, 2, "rgb"), r'streams must be one of .*Received: "rgb"'),
        (lambda: build(3, 2, shift_share=1.0), r"shift_share must lie between 0 and 1. Received: 1.0"),
        (
            lambda: build(3, 2, frames_backbone="mobilenetv3_small"),
            r'backbone must be .*resnet152. Received: "mobilenetv3_small"',
        ),
        (
            lambda: TemporalShift((3, SIDE, SIDE, 3), (SIDE, SIDE, 5), 3),
            r"flow_shape must be .*Received: \(32, 32, 5\)",
        ),
        (
            lambda: streaming(CNNLSTM((3, SIDE, SIDE, 3), 2, backbone="resnet10", width=8)),
            r'network that streams must be of the family temporal_shift. Received: "cnn_lstm"',
        ),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(RefusedError, match=message):
        wrong()
