import errno
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from pipelines.build import file_digest, read_index, write_index
from pipelines.schema import RefusedError
from tests.in_process import train
from tests.noise import write_noise
from tfgma.cli.main import cli
from tfgma.config import StudyConfig
from tfgma.evaluation import evaluate
from tfgma.explanation import explain
from tfgma.lock_box import open_lock_box, refuse_locked
from tfgma.monitoring import monitor
from tfgma.runs import read_predictions, read_run

STUDY = StudyConfig.model_validate(
    {
        "build": {"clip": {"fps": 4, "clip_seconds": 1, "stride_seconds": 1, "size": 32, "max_flow_px": 8}},
        "split": {"folds": 2, "val_share": 0.5, "lock_box": 0.4},
        "model": {"family": "image", "backbone": "resnet10", "width": 4},
        "train": {"epochs": 1, "batch_size": 4, "warmup_epochs": 0},
    }
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run with its data set, both folds trained."""
    folder = tmp_path_factory.mktemp("study")
    write_noise(folder / "dataset", 16, STUDY.build)
    train(STUDY, folder / "dataset", folder / "run")
    return folder


@pytest.fixture
def run(study, tmp_path):
    shutil.copytree(study / "run", tmp_path / "run")
    return tmp_path / "run"


def test_nobody_in_the_lock_box_is_trained_validated_or_tested_on(study):
    content = read_run(study / "run")
    locked = set(content["lock_box"]["subjects"])
    assert len(locked) in (6, 7)  # two of five parts of 16
    assert content["lock_box"]["opened"] == []
    for fold in content["folds"]:
        assert not locked & {name for side in fold.values() for name in side}
    answered = {
        name
        for fold in (0, 1)
        for name in read_predictions([study / f"run/fold_{fold}/predictions.csv"]).subjects
    }
    assert not locked & answered
    assert "lock_box" not in evaluate(study / "run")


def test_an_opened_lock_box_is_answered_by_every_network_and_recorded(run):
    locked = read_run(run)["lock_box"]["subjects"]
    done = CliRunner().invoke(cli, ["evaluate", str(run), "--lock-box"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "lock box, opened 20" in done.output
    answers = read_predictions([run / "lock_box.csv"])
    assert sorted(answers.subjects.tolist()) == sorted(2 * locked)
    assert set(answers.folds.tolist()) == {0, 1}
    found = json.loads((run / "metrics.json").read_text())["lock_box"]
    assert len(found["opened"]) == 1
    assert found["subject"]["n"] == len(locked)
    right = 0
    for subject in locked:
        rows = answers.subjects == subject
        right += answers.probabilities[rows].mean(axis=0).argmax() == answers.labels[rows][0]
    assert found["subject"]["accuracy"] == pytest.approx(right / len(locked))
    # Looking again is on the record, and the answers are the same.
    assert len(open_lock_box(run)) == 2
    np.testing.assert_allclose(
        read_predictions([run / "lock_box.csv"]).probabilities, answers.probabilities, atol=1e-6
    )
    assert len(evaluate(run)["lock_box"]["opened"]) == 2


def test_an_opening_without_answers_is_gone_on_with(run, monkeypatch):
    def full(path, predictions):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tfgma.lock_box.write_predictions", full)
        with pytest.raises(OSError, match="No space"):
            open_lock_box(run)
    assert not (run / "lock_box.csv").exists()
    opened = read_run(run)["lock_box"]["opened"]
    assert len(opened) == 1
    assert open_lock_box(run) == opened
    assert (run / "lock_box.csv").exists()


def test_recordings_of_a_closed_lock_box_are_not_answered(study, run, tmp_path):
    content = read_run(run)
    locked = content["lock_box"]["subjects"]
    listed = ", ".join(locked)
    with pytest.raises(
        RefusedError, match=rf"until the study is finished. Received: recordings of {listed}\."
    ):
        monitor(study / "dataset", run)
    index = read_index(study / "dataset")
    video = tmp_path / "again.mp4"
    video.write_bytes(b"locked")
    entry = next(one for one in index["videos"] if one["subject"] == locked[0])
    entry["sha256"] = file_digest(video)
    shutil.copytree(study / "dataset", tmp_path / "dataset")
    write_index(tmp_path / "dataset", index)
    (run / "run.json").write_text(json.dumps(content | {"dataset": str(tmp_path / "dataset")}))
    with pytest.raises(RefusedError, match=rf"Received: recordings of {locked[0]}\. Leave them out, or open"):
        explain(run, video)
    # Others, and all once it is open, are not held up by it.
    entries = index["videos"]
    refuse_locked(content, entries, {one["sha256"] for one in entries if one["subject"] not in locked})
    opened = content | {"lock_box": {"subjects": locked, "opened": ["2030-01-02T03:04:05+00:00"]}}
    refuse_locked(opened, entries, {one["sha256"] for one in entries})


def test_what_is_refused_leaves_the_lock_box_closed(run, tmp_path):
    for wrong in ({"by": ["nonsense"]}, {"aggregation": "mode"}, {"raters": tmp_path / "none.csv"}):
        with pytest.raises(RefusedError):
            evaluate(run, lock_box=True, **wrong)
    assert read_run(run)["lock_box"]["opened"] == []


def test_a_lock_box_is_not_opened_before_all_folds_are_trained(run):
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | {"trained_folds": [0]}))
    with pytest.raises(RefusedError, match=r"when the study is finished. Received: folds 1 not trained"):
        open_lock_box(run)
    assert read_run(run)["lock_box"]["opened"] == []
    assert not (run / "lock_box.csv").exists()


def test_a_run_without_a_lock_box_has_none_to_open(run):
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | {"lock_box": {"subjects": [], "opened": []}}))
    with pytest.raises(RefusedError, match=r"needs a run with a lock box. Received: one without. Set split"):
        open_lock_box(run)


def test_another_data_set_is_refused(study, run):
    index = read_index(study / "dataset")
    shutil.copytree(study / "dataset", run.parent / "dataset")
    index["videos"][0]["sha256"] = "other"
    write_index(run.parent / "dataset", index)
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | {"dataset": str(run.parent / "dataset")}))
    with pytest.raises(RefusedError, match=r"the data set that the run was trained on. Received: a changed"):
        open_lock_box(run)
    assert read_run(run)["lock_box"]["opened"] == []
