"""A bundle's streaming files answer frame by frame as the clip's network does; what cannot is refused."""

import json

import keras
import numpy as np
import pytest

import tfgma.exporting
from pipelines.dataset import clip_dataset
from pipelines.schema import ClipSpec, RefusedError
from tests.in_process import export, train
from tests.noise import write_noise
from tests.test_documents import run_with
from tfgma.answers import answers_of
from tfgma.bundle import read_bundle
from tfgma.certificate import Limits
from tfgma.config import StudyConfig
from tfgma.inference import foreign_operators
from tfgma.latency import measure
from tfgma.streaming import StreamingModel, clip_steps

pytestmark = pytest.mark.thorough

SPEC = ClipSpec(fps=4, clip_seconds=1, stride_seconds=1, size=32, max_flow_px=8)
ANY_DECISION = Limits(changed_subjects=100, accuracy_loss=1)
"""Noise leaves every clip near a tie."""
TOLERANCES = {"float32": 1e-5, "int8": 0.03}
SMALL = {"family": "temporal_shift", "frames_backbone": "resnet10", "flow_backbone": "resnet10", "width": 8}


def study(**model):
    return StudyConfig.model_validate(
        {
            "build": {"clip": SPEC.model_dump()},
            "split": {"folds": 3, "val_share": 0.5},
            "inputs": {"num_frames": 5, "num_flows": 4},
            "model": model,
            "train": {"epochs": 1, "batch_size": 2, "warmup_epochs": 0, "learning_rate": 0.01},
        }
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "dataset"
    write_noise(folder, 6, study(**SMALL).build)
    return folder


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    train(study(**SMALL), records, out, folds=[0])
    return out


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    told = []
    timed = {}

    def time_once(file):
        """All streams alike: each measurement is a process."""
        kind = file.name.partition("_")[0]
        timed[kind] = timed[kind] if kind in timed else measure(file)
        return timed[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfgma.exporting, "measure", time_once)
        export(
            run,
            out,
            variants=list(TOLERANCES),
            limits=ANY_DECISION,
            streaming=True,
            progress=lambda *args: told.append(args),
        )
    assert {total for _, total, _ in told} == {10}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    return out


@pytest.fixture(scope="module")
def network(run):
    return keras.saving.load_model(run / "fold_0" / "model.keras", compile=False)


@pytest.fixture(scope="module")
def clips(records):
    data = clip_dataset(
        sorted((records / "shards").iterdir()),
        SPEC,
        batch_size=1,
        inputs=["frames", "flow"],
        settings=study(**SMALL).inputs,
    )
    return [inputs for inputs, _ in data.as_numpy_iterator()]


@pytest.mark.parametrize("variant", TOLERANCES)
def test_every_variant_streams_to_the_networks_answer_by_builtin_operators(bundle, network, clips, variant):
    model = StreamingModel.open(bundle, variant)
    for clip in clips:
        np.testing.assert_allclose(model.answer(clip), answers_of(network)(clip)[0], atol=TOLERANCES[variant])
    assert foreign_operators(model.operators) == []


def test_the_python_of_the_export_page_streams(bundle, tmp_path):
    assert run_with(bundle, "live", tmp_path)


def test_the_certificate_holds_the_streaming_files_with_the_others(bundle):
    certificate = json.loads((bundle / "certificate.json").read_text())["variants"]
    assert list(certificate) == [*TOLERANCES, *(f"stream_{variant}" for variant in TOLERANCES)]
    assert certificate["stream_float32"]["clip"]["max_delta"] < 1e-5
    for name in TOLERANCES:
        found = certificate[f"stream_{name}"]
        assert found["file"] == f"stream_{name}.tflite"
        assert found["sha256"] == read_bundle(bundle).files[found["file"]]
        assert found["sha256"] in (bundle / "report.html").read_text()
        assert found["latency_ms"]["1"]["median"] > 0
        assert found["failures"] == []
    assert "stream_int8.tflite" in (bundle / "MODEL_CARD.md").read_text()


def test_the_int8_file_computes_in_int8_all_but_the_mean_over_frames(bundle):
    certificate = json.loads((bundle / "certificate.json").read_text())["variants"]
    model = StreamingModel.open(bundle, "int8")
    kinds = {one["name"]: one["dtype"] for one in model._interpreter.get_tensor_details()}
    floats = [name for name, kind in kinds.items() if kind == np.float32]
    # Of each state and input one; of the mean, its parts.
    assert len(floats) <= 2 * len(model.states) + 2 + 6
    assert any("running_mean" in name for name in floats)
    assert not any("conv" in name for name in floats)
    assert certificate["stream_int8"]["float_layers"] == []


def test_the_bundle_says_what_is_taken_and_kept(bundle):
    described = read_bundle(bundle).streaming
    assert described.frames == 5
    assert {name: one.shape for name, one in described.inputs.items()} == {
        "frame": (32, 32, 3),
        "flow": (32, 32, 2),
    }
    model = StreamingModel.open(bundle)
    assert {name: (1, *one.shape) for name, one in described.states.items()} == {
        name: values.shape for name, values in model.states.items()
    }
    assert {one.initial for one in described.states.values()} == {0}


def test_a_stream_begins_anew_when_it_is_told(bundle, clips):
    model = StreamingModel.open(bundle)
    steps = list(clip_steps(clips[0]))
    first = [model.step(**inputs) for inputs in steps]
    assert model.states["frame_count"] == [[5]]
    assert np.abs(np.diff(first, axis=0)).max() > 1e-6
    on = model.step(**steps[0])
    assert np.abs(on - first[0]).max() > 1e-6
    model.reset()
    assert not any(values.any() for values in model.states.values())
    np.testing.assert_array_equal([model.step(**inputs) for inputs in steps], first)


def test_what_a_stream_answered_is_not_written_over(bundle, clips):
    model = StreamingModel.open(bundle)
    steps = list(clip_steps(clips[0]))
    first = model.step(**steps[0])
    before, kept = first.copy(), model.states
    model.step(**steps[1])
    np.testing.assert_array_equal(first, before)
    assert kept["frame_count"] == [[1]]


@pytest.mark.parametrize(("names", "count"), [(["frames", "flow"], 5), (["flow"], 4), (["frames"], 5)])
def test_a_clip_is_taken_apart_in_order_of_time(names, count):
    frames = np.zeros((1, 5, 2, 3, 3), np.float32) + np.arange(5).reshape(5, 1, 1, 1)
    clip = {"frames": frames, "flow": np.zeros((1, 2, 3, 8), np.float32) + np.arange(1, 9)}
    steps = list(clip_steps({name: clip[name] for name in names}))
    assert len(steps) == count
    assert {name for step in steps for name in step} == {name.removesuffix("s") for name in names}
    if "frames" in names:
        assert [step["frame"][1, 2, 0] for step in steps] == [0, 1, 2, 3, 4]
    if "flow" in names:
        pairs = [[1, 2], [3, 4], [5, 6], [7, 8]]
        expected = [[0, 0], *pairs] if len(names) == 2 else pairs
        assert [step["flow"][1, 2].tolist() for step in steps] == expected


def test_a_wrong_step_is_refused_and_leaves_the_stream_as_it_was(bundle, clips):
    model = StreamingModel.open(bundle)
    first, second, *_ = clip_steps(clips[0])
    model.step(**first)
    for changes, message in (
        (
            {"frame": first["frame"][:, :9]},
            r"a step's frame must be float32 of shape \(32, 32, 3\).*32, 9, 3",
        ),
        ({"flow": first["flow"].astype(np.float64)}, r"a step's flow must be float32.*Received: float64"),
        (
            {"flow": np.full_like(first["flow"], np.nan)},
            r"a step's flow must be finite. Received: 2048 values that are not",
        ),
        ({"picture": first["frame"]}, r"must have the inputs flow, frame. Received: flow, frame, picture"),
    ):
        with pytest.raises(RefusedError, match=message):
            model.step(**{**first, **changes})
    with pytest.raises(RefusedError, match=r"must have the inputs flow, frame. Received: none"):
        model.step()
    answer = model.step(**second)
    other = StreamingModel.open(bundle)
    other.step(**first)
    np.testing.assert_array_equal(answer, other.step(**second))


def test_what_does_not_stream_is_refused(bundle, tmp_path):
    with pytest.raises(RefusedError, match=r"a file that streams must take states.*one without states"):
        StreamingModel((bundle / "model_float32.tflite").read_bytes())
    with pytest.raises(RefusedError, match=r'variant must be one of .*Received: "int4"'):
        StreamingModel.open(bundle, "int4")
    with pytest.raises(RefusedError, match=r"the bundle must hold stream_int16.tflite"):
        StreamingModel.open(bundle, "int16")
    for name in ("bundle.json", "stream_int8.tflite"):
        (tmp_path / name).write_bytes((bundle / name).read_bytes())
    with (tmp_path / "stream_int8.tflite").open("ab") as file:
        file.write(b"more")
    with pytest.raises(RefusedError, match=r"stream_int8.tflite must be the exported file, SHA-256"):
        StreamingModel.open(tmp_path, "int8")


def test_an_export_that_was_not_told_to_stream_does_not(run, bundle, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    costs = json.loads((bundle / "certificate.json").read_text())["variants"]["float32"]
    names = ("latency_ms", "peak_memory_bytes")
    monkeypatch.setattr(tfgma.exporting, "measure", lambda file: {name: costs[name] for name in names})
    export(run, out, limits=ANY_DECISION, variants=["float32"])
    assert [path.name for path in out.glob("*.tflite")] == ["model_float32.tflite"]
    assert "streaming" not in json.loads((out / "bundle.json").read_text())
    with pytest.raises(RefusedError, match=r"must hold files that stream. .* which has none. .*--streaming"):
        StreamingModel.open(out)


def test_a_network_that_looks_ahead_is_not_exported_to_stream(run, tmp_path):
    other = tmp_path / "run"
    other.mkdir()
    content = json.loads((run / "run.json").read_text())
    content["config"]["model"] = {"family": "cnn_lstm"}
    (other / "run.json").write_text(json.dumps(content))
    with pytest.raises(
        RefusedError, match=r'--streaming needs .* of the family temporal_shift. Received: "cnn_lstm"'
    ):
        export(other, tmp_path / "bundle", streaming=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
