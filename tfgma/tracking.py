"""Logs of a training in an MLflow tracking store."""

from __future__ import annotations

import json
import logging
import os
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import keras

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.runs import RUN_FILE, write_json

EXPERIMENT = "tfgma"
MLFLOW_FILE = "mlflow.json"
"""Which store and which of its runs a run's folder is logged to."""

MOST_PARAMS = 100
"""A request's, by MLflow's rules."""

MOST_METRICS = 1000
"""A request's, too."""

LOG = logging.getLogger(__name__)

Started = Callable[[Path, Mapping[str, Any]], None]
"""Called with a run's folder and its settings by name, once both are known."""


@contextmanager
def tracked(uri: str | None) -> Iterator[Started]:
    """Gives what a training calls as it starts; at the block's end the MLflow run is closed, with its files.

    Folds find the store by MLFLOW_FILE in the run's folder, in whatever process they run. A training that
    goes on in its folder goes on in its MLflow run. Without `uri` nothing is logged.

    Raises:
        RefusedError: no such store, or it does not answer; MLflow is not installed.
    """
    if uri is None:
        yield lambda run, settings: None
        return
    tracker = _Tracker(uri)
    status = "FAILED"
    try:
        yield tracker.start
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)


def tracked_before(run: Path) -> str | None:
    """The store that the run in this folder is logged to, if any."""
    return _place(run).get("uri")


def fold_tracking(run: Path, fold: int) -> list[keras.callbacks.Callback]:
    """What a training of this fold calls; nothing where the run is not tracked."""
    place = _place(run)
    return [EpochMetrics(place["uri"], place["run_id"], fold)] if place else []


class EpochMetrics(keras.callbacks.Callback):
    """Each epoch's figures as `fold_0/loss` and so on; what could not be sent is sent with the next."""

    def __init__(self, uri: str, run_id: str, fold: int) -> None:
        """The store, and which of its runs; both exist."""
        super().__init__()
        self._uri, self._run_id, self._fold = uri, run_id, fold
        self._client: Any = None
        self._waiting: list[Any] = []
        self._has_told = False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        metric, now = load("mlflow.entities", "mlflow").Metric, int(1000 * time.time())
        self._waiting += [
            metric(f"fold_{self._fold}/{name}", float(value), now, epoch)
            for name, value in (logs or {}).items()
        ]
        self._send()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        if self._waiting:
            self._send()

    def _send(self) -> None:
        try:
            # Only now: a local store is opened by this, and may be locked or away.
            self._client = self._client or _client(self._uri)
            while self._waiting:
                self._client.log_batch(self._run_id, metrics=self._waiting[:MOST_METRICS])
                del self._waiting[:MOST_METRICS]
        except Exception as error:  # whatever a store does, the training is worth more
            if not self._has_told:
                LOG.warning(
                    "MLflow does not answer (%s); the training goes on, and sends again after each epoch",
                    _first_line(error),
                )
            self._has_told = True


class _Tracker:
    """The MLflow run of one training."""

    def __init__(self, uri: str) -> None:
        self._uri = _checked(uri)
        try:
            self._client = _client(self._uri)
            self._experiment = self._find_experiment()
        except RefusedError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise RefusedError(
                "--mlflow must be a tracking store that answers, such as http://HOST:5000 or sqlite:///FILE. "
                f"Received: {uri!r} ({_first_line(error)}). Start it, or leave --mlflow out"
            ) from error
        self._run_id = ""
        self._folder = Path()

    def start(self, run: Path, settings: Mapping[str, Any]) -> None:
        """Makes the MLflow run, or goes on in the folder's."""
        self._folder = run
        place = _place(run)
        try:
            if place.get("uri") == self._uri:
                self._run_id = place["run_id"]
                self._client.update_run(self._run_id, status="RUNNING")
                return
            made = self._client.create_run(self._experiment, run_name=run.name)
            self._run_id = made.info.run_id
            param = load("mlflow.entities", "mlflow").Param
            params = [param(_allowed(name), str(value)) for name, value in settings.items()]
            for first in range(0, len(params), MOST_PARAMS):
                self._client.log_batch(self._run_id, params=params[first : first + MOST_PARAMS])
            write_json(run / MLFLOW_FILE, {"uri": self._uri, "run_id": self._run_id})
        except Exception as error:
            raise RefusedError(
                f"the tracking store must take the run's settings. Received: {_first_line(error)}. "
                "Look at the store, or leave --mlflow out"
            ) from error

    def end(self, status: str) -> None:
        """Sends the run's files and closes the MLflow run."""
        if not self._run_id:
            return
        try:
            for path in (self._folder / RUN_FILE, *sorted(self._folder.glob("fold_*/history.csv"))):
                if path.is_file():
                    above = path.parent.relative_to(self._folder)
                    self._client.log_artifact(self._run_id, str(path), "" if above == Path() else str(above))
            self._client.set_terminated(self._run_id, status)
        except Exception as error:  # the training is done and kept
            LOG.warning("MLflow did not take the run's files and its end (%s)", _first_line(error))

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        # MLflow would put the files of a local store wherever the command is called.
        database = _sqlite_file(self._uri)
        files = None if database is None else database.with_name(f"{database.name}.files").as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=files))


def _client(uri: str) -> Any:
    # Nothing about a study leaves for anywhere but the store that was named.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A store that is away may hold up an epoch by seconds, not by MLflow's quarter of an hour.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    return load("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=uri)


def _checked(uri: str) -> str:
    """`uri` as any process can use it, wherever it runs."""
    if urlsplit(uri).password:
        raise RefusedError(
            "--mlflow must hold no password: the run's folder keeps it. Received: an address with one. "
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    database = _sqlite_file(uri)
    return uri if database is None else f"sqlite:///{database}"


def _sqlite_file(uri: str) -> Path | None:
    """The absolute path of a local store's file."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _place(run: Path) -> dict[str, str]:
    path = run / MLFLOW_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _allowed(name: str) -> str:
    """A setting's name without the signs that MLflow refuses; classes' weights bear the classes' names."""
    return re.sub(r"[^\w\-./ ]", "_", name)


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return textwrap.shorten(line, 200, placeholder=" ...")
