"""A training logged to an MLflow store, and to one that fails."""

import csv
import json
import logging
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import tfgma.fitting
import tfgma.suitability
import tfgma.tracking
from pipelines.schema import RefusedError
from tests.in_process import train
from tests.small_network import train_it
from tests.tfgma.test_study import STUDY
from tests.tfgma.test_training import QUICK
from tfgma.config import load_study
from tfgma.tracking import EpochMetrics, fold_tracking, tracked, tracked_before


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'runs.db'}"


@pytest.fixture
def small(monkeypatch):
    train_it(monkeypatch)


def run_of(store, run):
    client = MlflowClient(store)
    place = json.loads((run / "mlflow.json").read_text())
    assert place["uri"] == store == tracked_before(run)
    return client, client.get_run(place["run_id"])


def folder(tmp_path, name="run"):
    path = tmp_path / name
    path.mkdir()
    return path


def ended_by(error, store, run):
    """A training of one epoch that `error` ends."""
    with tracked(store) as started:
        started(run, {"train.epochs": 4})
        fold_tracking(run, 1)[0].on_epoch_end(0, {"loss": 3.0})
        raise error


def test_a_training_is_logged_whole(small, dataset, store, tmp_path):
    study = load_study(STUDY, (*QUICK, "train.class_weights={FMs: 1, PR: 2, WMs: 1}"))
    with tracked(store) as started:
        train(study, dataset, tmp_path / "run", folds=[0, 2], started=started)
    client, found = run_of(store, tmp_path / "run")
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    params = found.data.params
    assert (params["train.epochs"], params["model.streams"], params["train.class_weights.PR"]) == (
        "2",
        "flow",
        "2.0",
    )
    assert params["data"] == json.loads((tmp_path / "run" / "run.json").read_text())["dataset_sha256"]
    for fold in (0, 2):
        with (tmp_path / "run" / f"fold_{fold}" / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        for name in set(rows[0]) - {"epoch"}:
            points = client.get_metric_history(found.info.run_id, f"fold_{fold}/{name}")
            expected = {int(row["epoch"]): pytest.approx(float(row[name])) for row in rows}
            assert {point.step: point.value for point in points} == expected
            assert len(points) == len(rows)
    copied = client.download_artifacts(found.info.run_id, "run.json", str(folder(tmp_path, "copy")))
    assert Path(copied).read_text() == (tmp_path / "run" / "run.json").read_text()
    listed = {one.path for one in client.list_artifacts(found.info.run_id, "fold_2")}
    assert listed == {"fold_2/history.csv"}


def test_what_is_not_tracked_logs_nothing(tmp_path):
    with tracked(None) as started:
        started(tmp_path, {"a": 1})
    assert list(tmp_path.iterdir()) == []
    assert fold_tracking(tmp_path, 0) == []
    assert tracked_before(tmp_path) is None


def test_a_training_that_goes_on_goes_on_in_its_mlflow_run(store, tmp_path):
    run = folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ended_by(KeyboardInterrupt(), store, run)
    client, stopped = run_of(store, run)
    assert stopped.info.status == "KILLED"
    with tracked(tracked_before(run)) as started:
        started(run, {"train.epochs": 4})
        assert run_of(store, run)[1].info.status == "RUNNING"
        fold_tracking(run, 1)[0].on_epoch_end(1, {"loss": 2.0})
    ended = run_of(store, run)[1]
    assert (ended.info.run_id, ended.info.status) == (stopped.info.run_id, "FINISHED")
    points = client.get_metric_history(ended.info.run_id, "fold_1/loss")
    assert [(point.step, point.value) for point in points] == [(0, 3.0), (1, 2.0)]


def test_a_training_that_fails_is_marked(store, tmp_path):
    run = folder(tmp_path)
    with pytest.raises(ValueError, match="torn"):
        ended_by(ValueError("torn"), store, run)
    assert run_of(store, run)[1].info.status == "FAILED"


def test_settings_with_odd_names_and_many_of_them_are_taken(store, tmp_path):
    run = folder(tmp_path)
    settings = {f"a.{number}": number for number in range(250)} | {
        "weights.not ASD (2), ü": 1.5,
        "none": None,
    }
    with tracked(store) as started:
        started(run, settings)
    params = run_of(store, run)[1].data.params
    assert len(params) == 252
    assert params["weights.not ASD _2__ ü"] == "1.5"
    assert params["none"] == "None"


def test_a_store_that_goes_away_is_told_once_and_gets_all_when_it_is_back(
    store, tmp_path, caplog, monkeypatch
):
    run = folder(tmp_path)
    with tracked(store) as started:
        started(run, {})
        (callback,) = fold_tracking(run, 0)
        sending, away = MlflowClient.log_batch, [True]

        def log_batch(*args, **kwargs):
            if away[0]:
                raise MlflowException("connection refused\nand more")
            sending(*args, **kwargs)

        monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
        for epoch in range(4):
            away[0] = epoch < 3
            callback.on_epoch_end(epoch, {"loss": float(epoch), "val_loss": 1.0})
            client, found = run_of(store, run)
            sent = client.get_metric_history(found.info.run_id, "fold_0/loss")
            assert [point.step for point in sent] == ([] if epoch < 3 else [0, 1, 2, 3])
        callback.on_train_end()
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [
        "MLflow does not answer (connection refused); the training goes on, and sends again after each epoch"
    ]


def test_a_store_that_is_away_at_the_end_does_not_undo_the_training(store, tmp_path, monkeypatch, caplog):
    run = folder(tmp_path)

    def refuse(*args, **kwargs):
        raise OSError("no route")

    with tracked(store) as started:
        started(run, {})
        monkeypatch.setattr(MlflowClient, "set_terminated", refuse)
    assert "MLflow did not take the run's files and its end (no route)" in caplog.text


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "http://127.0.0.1:9",
            r"--mlflow must be a tracking store that answers.*Received: 'http://127.0.0.1:9'",
        ),
        ("nonsense://store", r"--mlflow must be a tracking store.*Received: 'nonsense://store'"),
        ("http://me:secret@127.0.0.1:9", r"--mlflow must hold no password.*Set MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_a_store_that_does_not_answer_is_refused_before_anything_is_written(uri, message, tmp_path):
    with pytest.raises(RefusedError, match=message) as refused, tracked(uri) as started:
        started(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    assert "secret" not in str(refused.value)


def test_a_local_store_keeps_its_files_beside_it_wherever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = folder(tmp_path)
    (run / "run.json").write_text("{}\n")
    with tracked("sqlite:///runs.db") as started:
        started(run, {})
    assert {path.name for path in tmp_path.iterdir()} == {"run", "runs.db", "runs.db.files"}
    monkeypatch.chdir(run)
    client, found = run_of(f"sqlite:///{tmp_path / 'runs.db'}", run)
    assert [one.path for one in client.list_artifacts(found.info.run_id)] == ["run.json"]


def test_the_extra_is_named_where_mlflow_is_missing(tmp_path, monkeypatch):
    import sys

    for name in [one for one in sys.modules if one.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RefusedError, match=r"pip install 'tfgma\[mlflow\]'"), tracked("sqlite:///x.db"):
        pass


def test_metrics_that_were_never_taken_are_tried_at_the_end(monkeypatch, caplog):
    """Of a store that cannot even be opened."""

    def refuse(uri):
        calls.append(uri)
        raise OSError("locked")

    calls = []
    monkeypatch.setattr(tfgma.tracking, "_client", refuse)
    callback = EpochMetrics("sqlite:////store.db", "1", 0)
    callback.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    callback.on_train_end()
    assert calls == ["sqlite:////store.db"] * 2
    assert len(caplog.records) == 1
