"""Small networks for tablets: every join learns and saves, both streams count, the rest is shared."""

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.contract import assert_learns_saves_and_reloads, random_inputs
from tests.marks import usual_and_thorough
from tfgma.models.edge import Edge

IMAGE, FLOW = (32, 32, 3), (32, 32, 6)
FORMS = [("both", 1), ("both", 7), ("image", 3), ("flow", 3)]
SMALL = {"width_coefficient": 0.25, "depth_coefficient": 0.5, "head_filters": 16}


@pytest.mark.parametrize("form", usual_and_thorough(FORMS, usual=[("both", 7)]))
def test_learns_saves_and_reloads(tmp_path, form):
    streams, fusion_stage = form
    keras.utils.set_random_seed(1)
    network = Edge(IMAGE, FLOW, 3, streams=streams, fusion_stage=fusion_stage, dropout=0.1, **SMALL)
    assert {tensor.name for tensor in network.inputs} == {"both": {"image", "flow"}}.get(streams, {streams})
    assert_learns_saves_and_reloads(network, tmp_path)


def test_both_streams_reach_the_answer():
    keras.utils.set_random_seed(2)
    network = Edge(IMAGE, FLOW, 3, **SMALL)
    inputs = random_inputs(network)
    plain = keras.ops.convert_to_numpy(network.predict_on_batch(inputs)["logits"])
    for stream in inputs:
        other = inputs | {stream: -inputs[stream]}
        changed = keras.ops.convert_to_numpy(network.predict_on_batch(other)["logits"])
        assert np.abs(changed - plain).max() > 1e-4


def test_an_early_join_has_fewer_weights_and_a_width_scales_them():
    counts = [Edge(IMAGE, FLOW, 3, fusion_stage=stage, **SMALL).count_params() for stage in (1, 4, 7)]
    assert counts == sorted(counts)
    assert counts[2] > 1.5 * counts[0]
    names = {layer.name for layer in Edge(IMAGE, FLOW, 3, fusion_stage=2, **SMALL).layers}
    assert {"spatial-_blocks-1-add", "fused-_blocks-1-add"} & names == set()
    assert "temporal-_blocks-1-_project_conv" in names
    assert "fused-_blocks-2-_project_conv" in names
    assert Edge(IMAGE, FLOW, 3, **SMALL | {"width_coefficient": 1.0}).count_params() > 4 * counts[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": "sound"}, r'streams must be one of both, image, flow. Received: "sound"'),
        ({"fusion_stage": 0}, r"fusion_stage must lie between 1 and 7. Received: 0"),
        ({"fusion_stage": 8}, r"fusion_stage must lie between 1 and 7. Received: 8"),
    ],
)
def test_what_is_no_stream_or_stage_is_refused(options, message):
    with pytest.raises(RefusedError, match=message):
        Edge(IMAGE, FLOW, 3, **SMALL | options)
