"""Every config's network, and those of preprocessing, untrained and as every variant: each converts and runs.

Prints a row for each. Weights that a package brings are left out, since they change no operator.
"""

import time

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.tfgma.test_configs_take_records import CONFIGS
from tfgma.bundle import EXACT, ONNX, VARIANTS
from tfgma.config import load_study
from tfgma.inference import TFLiteModel
from tfgma.models.catalogue import NETWORKS
from tfgma.networks import build_network
from tfgma.onnx_file import convert_onnx
from tfgma.onnx_model import ONNXModel
from tfgma.outputs import LOGITS, probabilities_of
from tfgma.tflite import Int8Converter, convert, save_model, save_signature

pytestmark = pytest.mark.long

CLIPS = 4
# The most that an answer may be off, as a share of the largest one. Of untrained weights: RAFT's features are
# noise there, and in 8 bits so are the places where it looks them up.
OFF = {"float32": 1e-4, "float16": 1e-2, "dynamic": 0.1}
STUDIES = [path for path in CONFIGS if path.parent.name == "configs"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_network_is_every_variant(path, tmp_path):
    study = load_study(path)
    unset = dict.fromkeys(name for name in type(study.model).model_fields if name.endswith("weights"))
    keras.utils.set_random_seed(0)
    network = build_network(study.model_copy(update={"model": study.model.model_copy(update=unset)}), 3)
    rng = np.random.default_rng(0)
    clips = [
        {one.name: rng.uniform(-1, 1, (1, *one.shape[1:])).astype(np.float32) for one in network.inputs}
        for _ in range(CLIPS)
    ]
    logits = [np.asarray(network.predict_on_batch(clip)[LOGITS], np.float64) for clip in clips]
    expected = np.concatenate([np.asarray(probabilities_of(row)) for row in logits])
    save_model(network, tmp_path, batch=1)
    for variant in (*VARIANTS, ONNX):
        begin = time.monotonic()
        if variant == "int8":
            content = Int8Converter(tmp_path, lambda: iter(clips)).convert()
        elif variant == ONNX:
            content = convert_onnx(network)
        else:
            content = convert(tmp_path, variant)
        made = time.monotonic() - begin
        model = (ONNXModel if variant == ONNX else TFLiteModel)(content)
        assert set(model.input_shapes) == {one.name for one in network.inputs}
        answers = np.stack([model(clip) for clip in clips])
        begin = time.monotonic()
        model(clips[0])
        took = time.monotonic() - begin
        off = np.abs(answers - expected).max()
        print(
            f"\n{path.stem} {variant}: {len(content) / 1e6:.1f} MB, made in {made:.0f} s, "
            f"{1000 * took:.0f} ms a clip, off by {off:.2g}",
            flush=True,
        )
        assert np.isfinite(answers).all()
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=answers.shape[1] / 256)
        assert off < (1e-4 if variant in EXACT else 0.1), variant


@pytest.mark.parametrize("name", ["u2net", "openpose", "raft_small", "raft_large"])
def test_a_network_of_preprocessing_is_every_variant(name, tmp_path):
    keras.utils.set_random_seed(0)
    network = NETWORKS[name]({}, None)
    rng = np.random.default_rng(0)
    inputs = {one.name: rng.uniform(-1, 1, (1, *one.shape[1:])).astype(np.float32) for one in network.inputs}
    expected = {key: np.asarray(value) for key, value in network.predict_on_batch(inputs).items()}
    save_signature(network, tmp_path, lambda found: dict(network(found, training=False)), batch=1)
    for variant in VARIANTS:
        if variant == "int8":
            content = Int8Converter(tmp_path, lambda: iter([inputs])).convert()
        else:
            content = convert(tmp_path, variant)
        answer = Interpreter(model_content=content, num_threads=2).get_signature_runner()
        answers = answer(**inputs)
        begin = time.monotonic()
        answer(**inputs)
        took = time.monotonic() - begin
        off = max(
            np.abs(answers[key] - expected[key]).max() / np.abs(expected[key]).max() for key in expected
        )
        print(
            f"\n{name} {variant}: {len(content) / 1e6:.1f} MB, {1000 * took:.0f} ms, "
            f"off by {off:.2g} of the most",
            flush=True,
        )
        assert all(np.isfinite(values).all() for values in answers.values())
        assert off < OFF.get(variant, np.inf), variant
