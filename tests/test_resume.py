"""A training that is stopped goes on as one that was not: to the last digit, on a CPU."""

import contextlib
import json
import os

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import tfgma.fitting
from pipelines.build import read_index
from pipelines.files import held
from pipelines.schema import RefusedError
from tests.in_process import train
from tests.marks import usual_and_thorough
from tests.small_network import small_network, train_it
from tests.tfgma.test_study import changed
from tests.tfgma.test_training import QUICK, STUDY
from tfgma.cli.main import cli
from tfgma.config import load_study
from tfgma.distribution import Shares
from tfgma.fitting import sampling_of
from tfgma.protocol import protocol_of
from tfgma.runs import read_run, write_json

EPOCHS = 6
SETTINGS = (
    *QUICK,
    f"train.epochs={EPOCHS}",
    "train.patience=9",
    "train.clips_per_subject=3",
    "train.balance=sampling",
    "augment.flip=true",
    "augment.shift=0.1",
    "augment.mixup=0.4",
)
OPTIONS = {
    "cosine": (),
    "plateau, average, float16, no cache": (
        "train.schedule=plateau",
        "train.plateau_patience=1",
        "train.warmup_epochs=1",
        "train.weight_average=0.5",
        "train.precision=mixed_float16",
        "train.cache=false",
    ),
    "early end": ("train.learning_rate=1e-30", "train.patience=2"),
}


def noisy_network(config, num_classes):
    """With a layer that draws at random."""
    return small_network(config, num_classes, noise=0.3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    train_it(monkeypatch, noisy_network)


def stop_after(epochs, fold):
    """A progress that stops the fold once it has trained so many epochs; it hears of those of all folds."""

    def progress(done, total, text):
        if (done - 1) % EPOCHS == epochs - 1 and text.startswith(f"fold {fold}"):
            raise KeyboardInterrupt

    return progress


def outcome(run):
    """What must not depend on how often a training was stopped."""
    files = [*run.rglob("history.csv"), *run.rglob("predictions.csv")]
    found = {str(path.relative_to(run)): path.read_bytes() for path in files}
    for path in run.rglob("model.keras"):
        weights = keras.saving.load_model(path, compile=False).get_weights()
        found[str(path.relative_to(run))] = [one.tobytes() for one in weights]
    return found


@pytest.mark.parametrize("option", usual_and_thorough(OPTIONS, usual=["cosine"]))
def test_a_stopped_training_ends_as_one_that_was_not(option, dataset, tmp_path):
    study = load_study(STUDY, (*SETTINGS, *OPTIONS[option]))
    stops = ((0, 1), (0, 3), (1, 2)) if option == "cosine" else ((0, 2),)
    folds = sorted({fold for fold, _ in stops})
    train(study, dataset, tmp_path / "whole", folds=folds)
    for fold, epochs in stops:
        stop = stop_after(epochs, fold)
        with pytest.raises(KeyboardInterrupt):
            train(study, dataset, tmp_path / "run", folds=folds, resume=True, progress=stop)
    run = train(study, dataset, tmp_path / "run", resume=True)
    assert run["chosen_folds"] == run["trained_folds"] == folds
    assert len(run["resumed"]) == len(stops)
    whole = outcome(tmp_path / "whole")
    assert len(whole) == 3 * len(folds)
    assert outcome(tmp_path / "run") == whole
    assert not list((tmp_path / "run").rglob("checkpoint*"))
    rows = whole["fold_0/history.csv"].decode().splitlines()
    assert len(rows) - 1 == (3 if option == "early end" else EPOCHS)


@pytest.mark.thorough
def test_devices_that_leave_an_epochs_last_batch_out_change_nothing(dataset, tmp_path, monkeypatch):
    """Batches are mixed by their numbers, which count those that are too small for a step, too."""
    index = read_index(dataset)
    study = load_study(STUDY, SETTINGS)
    clips = sum(sampling_of(study, index, protocol_of(index, study.split).folds[0]).class_counts().values())
    devices = next(count for count in range(3, clips) if clips % count)
    study = load_study(STUDY, (*SETTINGS, f"train.batch_size={devices}"))
    monkeypatch.setattr(tfgma.fitting, "spread", lambda _: contextlib.nullcontext(Shares(devices=devices)))
    train(study, dataset, tmp_path / "whole", folds=[0])
    with pytest.raises(KeyboardInterrupt):
        train(study, dataset, tmp_path / "stopped", folds=[0], progress=stop_after(3, 0))
    train(study, dataset, tmp_path / "stopped", resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


@pytest.mark.thorough
def test_folds_are_added_to_a_run(dataset, tmp_path):
    study = load_study(STUDY, (*QUICK, "train.epochs=1"))
    train(study, dataset, tmp_path / "run", folds=[2])
    before = (tmp_path / "run" / "fold_2" / "predictions.csv").stat().st_mtime_ns
    # A run of before a setting was there was trained by its default.
    content = read_run(tmp_path / "run")
    del content["config"]["train"]["teacher_share"]
    write_json(tmp_path / "run" / "run.json", content)
    assert train(study, dataset, tmp_path / "run", folds=[0], resume=True)["trained_folds"] == [0, 2]
    assert train(study, dataset, tmp_path / "run", folds="all", resume=True)["trained_folds"] == [0, 1, 2]
    assert (tmp_path / "run" / "fold_2" / "predictions.csv").stat().st_mtime_ns == before


@pytest.fixture
def begun(dataset, tmp_path):
    """A run that was stopped after the second epoch of its fold."""
    study = load_study(STUDY, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train(study, dataset, tmp_path / "run", folds=[0], progress=stop_after(3, 0))
    return study, tmp_path / "run"


def test_what_is_of_another_study_does_not_go_on(begun, dataset, tmp_path):
    study, run = begun

    def other(index):
        index["videos"][0]["quality"] = None

    data = changed(dataset, tmp_path / "data", other)
    with pytest.raises(RefusedError, match=r"needs the data set .*SHA-256 \w{12}. Received: \w{12} in"):
        train(study, data, run, resume=True)
    longer = load_study(STUDY, (*SETTINGS, "train.epochs=9"))
    with pytest.raises(RefusedError, match=r"--resume needs the settings .*train.epochs=6. Received: 9"):
        train(longer, dataset, run, resume=True)
    content = read_run(run)
    (run / "run.json").write_text(json.dumps(content | {"backend": "jax"}))
    with pytest.raises(RefusedError, match=r"backend that the run was begun on, jax. Received: tensorflow"):
        train(study, dataset, run, resume=True)
    (run / "run.json").write_text(json.dumps(content | {"distribute": "data-parallel"}))
    with pytest.raises(RefusedError, match=r"as the run was begun, data-parallel. Received: without. Call"):
        train(study, dataset, run, resume=True)


def test_a_moved_data_set_is_the_same(begun, dataset, tmp_path):
    study, run = begun
    index = read_index(dataset)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(dataset / "shards", tmp_path / "elsewhere" / "shards")
    (tmp_path / "elsewhere" / "dataset.json").write_bytes((dataset / "dataset.json").read_bytes())
    found = train(study, tmp_path / "elsewhere", run, resume=True)
    assert found["dataset"] == str(tmp_path / "elsewhere")
    assert index["videos"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), r"a checkpoint must be readable"),
        (lambda path: path.write_bytes(b"nothing"), r"a checkpoint must be readable"),
        (
            lambda path: np.savez(path, state=json.dumps({"epoch": 1, "values": 0, "callbacks": []})),
            "of another",
        ),
    ],
)
def test_a_checkpoint_that_is_damaged_is_refused(begun, dataset, damage, message):
    study, run = begun
    damage(run / "fold_0" / "checkpoint.npz")
    with pytest.raises(RefusedError, match=message + r".*Delete its folder"):
        train(study, dataset, run, resume=True)


def test_a_disk_that_is_full_keeps_the_last_checkpoint(begun, dataset, monkeypatch):
    study, run = begun
    path = run / "fold_0" / "checkpoint.npz"
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"some of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tfgma.checkpoints.np.savez", full)
        with pytest.raises(RefusedError, match=r"No space left on device .* before epoch 4. .*--resume"):
            train(study, dataset, run, resume=True)
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.glob("*.part")) == []
    assert train(study, dataset, run, resume=True)["trained_folds"] == [0]


def test_a_fold_that_another_training_ended_meanwhile_is_left_alone(begun, dataset, monkeypatch):
    study, run = begun

    @contextlib.contextmanager
    def held_after_another(folder):
        (run / "run.json").write_text(json.dumps(read_run(run) | {"trained_folds": [0]}))
        yield

    monkeypatch.setattr("tfgma.training.held", held_after_another)
    before = (run / "fold_0" / "checkpoint.npz").read_bytes()
    assert train(study, dataset, run, resume=True)["trained_folds"] == [0]
    assert (run / "fold_0" / "checkpoint.npz").read_bytes() == before


def test_two_trainings_do_not_write_one_run(begun, dataset):
    study, run = begun
    with held(run), pytest.raises(RefusedError, match=r"written by one process at a time. Received: .*run"):
        train(study, dataset, run, resume=True)


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch):
    out = tmp_path / "run"

    def interrupted(*arguments, **named):
        out.mkdir()
        (out / "run.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("tfgma.training.train", interrupted)
    done = CliRunner().invoke(cli, ["train", "--data", str(tmp_path), "--out", str(out)])
    assert done.exit_code == 1
    assert f"tfgma train --out {out} --resume goes on" in done.stderr
