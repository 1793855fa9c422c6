"""What a study cannot be made of, as the command line says it: exit 1, one sentence, nothing half-written."""

import importlib
import shutil
import sys

import pytest

from pipelines.build import read_index, write_index
from tests.commands import one_sentence
from tests.conftest import numbered_frames, write_video
from tests.in_process import train
from tests.noise import write_noise
from tfgma.config import load_study

STUDY = """
build:
  clip: {fps: 4, clip_seconds: 1, stride_seconds: 1, size: 32, max_flow_px: 8}
split: {folds: 2, val_share: 0.5}
model: {family: image, backbone: resnet10, width: 4}
train: {epochs: 1, batch_size: 4, warmup_epochs: 0}
"""


@pytest.fixture
def tfgma(monkeypatch, capsys):
    """Runs the command in this process, which has TensorFlow loaded; returns exit status and stderr."""
    room = importlib.import_module("tfgma.cli.main")
    monkeypatch.setattr(room, "silence_native_logs", lambda: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tfgma", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            room.main()
        return end.value.code, capsys.readouterr().err

    return run


def write_study(folder):
    """Twelve subjects, six of each class."""
    (folder / "study.yaml").write_text(STUDY)
    write_noise(folder / "dataset", 12, load_study(folder / "study.yaml").build)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_study(tmp_path_factory.mktemp("study"))
    train(load_study(folder / "study.yaml"), folder / "dataset", folder / "run", folds=[0])
    return folder


@pytest.fixture
def begun(trained, tmp_path):
    """A run with one of its two folds."""
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copytree(trained / "dataset", tmp_path / "dataset")
    return tmp_path


def changed(folder, change):
    index = read_index(folder / "dataset")
    change(index)
    write_index(folder / "dataset", index)


def site_of_one_class(index):
    for number, entry in enumerate(index["videos"]):
        entry["other"]["site"] = "ward" if number in (0, 2) else ("clinic", "home")[number // 2 % 2]


def all_left_out(index):
    for entry in index["videos"]:
        if entry["label"] == "b":
            entry |= {"shard": None, "left_out": "too dark"}


def folds_without_a_class(index):
    names = [entry["subject"] for entry in index["videos"]]
    index["folds"] = [{"train": names[0:8:2], "val": names[8:10], "test": names[10:]}]


def leaking_folds(index):
    names = [entry["subject"] for entry in index["videos"]]
    index["folds"] = [{"train": names[:6], "val": names[6:10], "test": names[9:]}]


@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        (None, ["split.folds=7"], "Received: 6 of class 'a'. Lower split.folds or add subjects"),
        (None, ["split.lock_box=0.1"], "Received: 6 of class 'a'. Raise split.lock_box or add subjects"),
        (
            site_of_one_class,
            ["split.scheme=site", "split.site=site"],
            "fold 2, whose test side lacks b. Join small sites in the manifest's column and build again",
        ),
        (
            folds_without_a_class,
            ["split.from_dataset=true"],
            "fold 0, whose train side lacks b. Correct the data set's folds",
        ),
        (all_left_out, [], "Received: none of b, whose recordings were all left out. tfgma inspect says why"),
        (leaking_folds, ["split.from_dataset=true"], "Received: 's9' in val and test of fold 0. Correct"),
        (
            None,
            ["build.clip.size=64"],
            "build.clip.size=64. Received: a data set with 32. Build it again, or change the config",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_no_run(folder, tfgma, change, settings, sentence):
    if change is not None:
        changed(folder, change)
    options = [part for setting in settings for part in ("--set", setting)]
    study = ["--config", folder / "study.yaml", "--data", folder / "dataset"]
    code, stderr = tfgma("train", *study, "--out", folder / "run", *options)
    assert code == 1
    assert one_sentence(stderr), stderr
    assert sentence in stderr
    assert not (folder / "run").exists()


def test_a_subject_in_two_labels_is_one_sentence_and_no_data_set(tmp_path, tfgma):
    for label in ("FMs", "PR"):
        write_video(tmp_path / "videos" / label / "anna" / f"{label}.mp4", numbered_frames(10))
    code, stderr = tfgma("build-tfrecords", tmp_path / "videos", "--out", tmp_path / "dataset")
    assert code == 1
    assert one_sentence(stderr), stderr
    assert "Received: 'anna' with 'FMs' (FMs.mp4) and 'PR' (PR.mp4). Correct the label" in stderr
    assert not (tmp_path / "dataset").exists()


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_of_another_data_set_does_not_go_on(begun, tfgma):
    before = content(begun / "run")
    assert len(before) > 5

    def other(index):
        index["videos"][0]["sha256"] = "other"

    changed(begun, other)
    code, stderr = tfgma("train", "--out", begun / "run", "--data", begun / "dataset", "--resume")
    assert code == 1
    assert one_sentence(stderr), stderr
    assert "--resume needs the data set that the run was begun on, SHA-256 " in stderr
    assert "Give that data set, or train into a new folder" in stderr
    assert content(begun / "run") == before


def test_a_subject_in_two_labels_is_not_evaluated(begun, tfgma):
    path = begun / "run" / "fold_0" / "predictions.csv"
    lines = path.read_text().splitlines()
    twin = lines[1].split(",")
    twin[5] = {"a": "b", "b": "a"}[twin[5]]
    path.write_text("\n".join([*lines, ",".join(twin)]) + "\n")
    code, stderr = tfgma("evaluate", begun / "run")
    assert code == 1
    assert one_sentence(stderr), stderr
    assert not (begun / "run" / "metrics.json").exists()


def test_a_full_disk_is_one_sentence_where_an_evaluation_is_written(begun, tfgma, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("tfgma.evaluation.write_json", full)
    code, stderr = tfgma("evaluate", begun / "run")
    assert code == 1
    assert one_sentence(stderr), stderr
    assert "the disk must have room. Received: [Errno 28] No space left on device" in stderr
    assert "Make room, then repeat" in stderr
