"""A bundle that finds flow by its own file answers as the network behind that file does."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import tfgma.fitting
import tfgma.flow_file
import tfgma.suitability
from pipelines.schema import RefusedError
from tests.in_process import export, train
from tests.small_network import train_it
from tests.tfgma.test_distillation import one_head
from tests.tfgma.test_study import ANY_DECISION, STUDY
from tests.tfgma.test_training import QUICK
from tfgma.bundle import FLOW_FILE, read_bundle
from tfgma.config import load_study
from tfgma.flow_file import write_flow
from tfgma.forms import ConversionTask
from tfgma.inference import Predictor
from tfgma.preprocessing import make_tools
from tfgma.runs import read_run, write_json

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """As if it had been trained on the flow of Horn and Schunck."""
    out = tmp_path_factory.mktemp("flow") / "run"
    with pytest.MonkeyPatch.context() as patch:
        train_it(patch, one_head)
        train(load_study(STUDY, (*QUICK, "train.epochs=1")), dataset, out, folds=[0])
    content = read_run(out)
    content["config"]["build"]["flow"]["method"] = "horn_schunck"
    write_json(out / "run.json", content)
    return out


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("flow_bundle") / "bundle"
    export(run, out, variants=["float32"], limits=ANY_DECISION)
    return out


def test_a_bundle_needs_rgb_frames_only(bundle, infants):
    description = read_bundle(bundle)
    assert FLOW_FILE in description.files
    video = sorted(infants.glob("*/*/video.mp4"))[0]
    with Predictor(bundle) as predictor:
        found = predictor.assess(video)
        # The same, with flow by Keras.
        predictor._tools = dataclasses.replace(predictor._tools, flow=make_tools(description.build).flow)
        expected = predictor.assess(video)
        predictor._tools = dataclasses.replace(
            predictor._tools, flow=make_tools(load_study(STUDY).build).flow
        )
        other = predictor.assess(video)
    np.testing.assert_allclose(found.clip_probabilities, expected.clip_probabilities, atol=1e-3)
    assert np.abs(found.clip_probabilities - other.clip_probabilities).max() > 1e-3


def test_the_certificate_tells_of_the_flow_s_file(bundle):
    flow = json.loads((bundle / "certificate.json").read_text())["flow"]
    assert flow["max_delta_px"] < 1e-3
    assert set(flow["latency_ms"]) == {"1", "2", "4"}
    assert "DEPTHWISE_CONV_2D" in flow["operators"]
    assert not any(name.startswith("Flex") for name in flow["operators"])
    page = (bundle / "report.html").read_text()
    assert "flow.tflite finds the flow from one RGB frame to the next" in page
    assert flow["sha256"] in page


def test_a_changed_file_of_flow_is_refused(bundle, tmp_path):
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    (other / FLOW_FILE).write_bytes((other / FLOW_FILE).read_bytes() + b"x")
    with pytest.raises(
        RefusedError, match=r"flow.tflite must be the exported file, SHA-256 .*Copy the bundle"
    ):
        Predictor(other)


def test_a_file_whose_flow_is_another_is_not_exported(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tfgma.flow_file, "MOST_PX", -1.0)
    with pytest.raises(
        RefusedError, match=r"must find the flow that its network finds, .* px off. Build with"
    ):
        write_flow(ConversionTask(run, 0, (), tmp_path, ANY_DECISION), lambda *_: None)
    assert not list(tmp_path.iterdir())
