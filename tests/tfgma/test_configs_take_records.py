"""Every study's network takes the records that a build writes, by its config alone."""

from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.dataset import clip_dataset
from pipelines.schema import ClipSpec
from tests.in_process import train
from tests.marks import usual_and_thorough
from tests.noise import write_noise
from tfgma.config import StudyConfig, load_study
from tfgma.evaluation import evaluate
from tfgma.networks import build_network
from tfgma.report import write_report

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
CONFIGS = [path for path in CONFIGS if path.name != "search.yaml"]  # of no study, but of many
USUAL = ("two_stream_gma", "stam_gma", "c3d_gma", "cnn_lstm_gma")
OF_EACH_KIND = [path for path in CONFIGS if path.stem in USUAL]
SPEC = ClipSpec(fps=16, clip_seconds=2, stride_seconds=2, size=32, max_flow_px=8)
"""33 frames: enough for the longest network, small enough for seconds."""

NARROW = {
    "width": 8,
    "image_width": 8,
    "flow_width": 8,
    "features": 8,
    "units": 8,
    "width_coefficient": 0.25,
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A data set of noise: two classes, three subjects each, one clip a subject."""
    folder = tmp_path_factory.mktemp("records") / "dataset"
    return folder, write_noise(folder, 6, small(CONFIGS[0]).build)


def small(path):
    """The study on records of noise, its network as narrow as it may be."""
    values = load_study(path).model_dump()
    values["build"] = {"clip": SPEC.model_dump()}
    for name, value in NARROW.items():
        if name in values["model"]:
            values["model"][name] = value
    for name in values["model"]:
        if values["model"][name] == "resnet50":
            values["model"][name] = "resnet10"
        if name.endswith("_weights"):
            values["model"][name] = None
    # Frames that go with flows are as many, and one; whole clips otherwise.
    if values["model"]["family"] != "temporal_shift":
        values["inputs"]["num_flows"] = None
    values["split"] = {"folds": 3, "val_share": 0.5}
    values["train"] |= {"epochs": 1, "batch_size": 2, "warmup_epochs": 0}
    return StudyConfig.model_validate(values)


@pytest.mark.parametrize(
    "path",
    usual_and_thorough(CONFIGS, [one for one in CONFIGS if one.stem in USUAL], name=lambda path: path.stem),
)
def test_a_study_reads_its_inputs(path, records):
    folder, index = records
    study = small(path)
    network = build_network(study, 2)
    shards = [folder / "shards" / entry["shard"] for entry in index["videos"]]
    data = clip_dataset(
        shards, SPEC, batch_size=2, inputs=[t.name for t in network.inputs], settings=study.inputs
    )
    inputs, _ = next(iter(data))
    answers = network.predict_on_batch(inputs)
    assert answers["logits"].shape == (2, 1 if study.model.one_logit else 2)
    assert np.isfinite(keras.ops.convert_to_numpy(answers["logits"])).all()


QUICK = ("stam_gma",)


@pytest.mark.parametrize(
    "path",
    [pytest.param(one, id=one.stem, marks=[] if one.stem in QUICK else pytest.mark.long) for one in CONFIGS],
)
def test_a_study_trains_to_its_end(path, records, tmp_path):
    folder, _ = records
    run = train(small(path), folder, tmp_path / "run", folds=[0])
    assert run["trained_folds"] == [0]
    lines = (tmp_path / "run" / "fold_0" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 + 2  # header, the validation side's and the test side's clips
    history = (tmp_path / "run" / "fold_0" / "history.csv").read_text().splitlines()[0].split(",")
    assert set(history) == {"epoch", "loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"}
    assert write_report(tmp_path / "run", evaluate(tmp_path / "run")).is_file()
