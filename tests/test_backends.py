"""The same study on TensorFlow, JAX and PyTorch, on one device and on several, by the command."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tfgma.runs import read_predictions, read_run

pytestmark = pytest.mark.backends

ROOT = Path(__file__).parents[1]
# Compiling is most of the time of so small a training.
QUICK_JAX = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
STUDY = (
    "augment={flip: true, shift: 0.05, scale: 0, rotation_degrees: 0, photometry: 0, temporal_jitter: false}",
    "model.streams=flow",
    "model.dropout=0",
    "inputs.num_flows=4",
    "train.warmup_epochs=0",
    "train.patience=99",
    # So low that no rounding grows where two paths through the network lie side by side.
    "train.learning_rate=0.0005",
)
MANY = "--xla_force_host_platform_device_count"


def begin(out, dataset, *options, sets=(), **environment):
    """`tfgma train` of fold 0, in a process of its own."""
    overrides = [one for value in (*STUDY, *sets) for one in ("--set", value)]
    command = ["train", "--config", "tests/study.yaml", "--data", dataset, "--out", out, "--fold", "0"]
    return subprocess.Popen(
        [sys.executable, "-c", "from tfgma.cli import main; main()", *command, *options, *overrides],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": QUICK_JAX} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said


def history(run):
    with (run / "fold_0" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def weights(dataset, tmp_path_factory):
    """A network that all start from, since each backend draws other first weights."""
    out = tmp_path_factory.mktemp("first") / "run"
    finish(begin(out, dataset, sets=["train.epochs=1"]))
    return f"model.weights={out / 'fold_0' / 'model.keras'}"


@pytest.fixture(scope="module")
def runs(dataset, weights, tmp_path_factory):
    """Backend -> a run of four epochs from the same weights."""
    found = {}
    for backend in ("tensorflow", "jax", "torch"):
        found[backend] = tmp_path_factory.mktemp(backend) / "run"
        finish(begin(found[backend], dataset, "--backend", backend, sets=["train.epochs=4", weights]))
    return found


def test_a_run_names_its_backend_and_is_read_by_every_other(runs):
    for backend, run in runs.items():
        content = read_run(run)
        assert content["backend"] == backend
        package = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}[backend]
        assert package in content["environment"]["packages"]
        network = keras.saving.load_model(run / "fold_0" / "model.keras", compile=False)
        inputs = {one.name: np.zeros((1, *one.shape[1:]), np.float32) for one in network.inputs}
        assert np.isfinite(network.predict_on_batch(inputs)["logits"]).all()


@pytest.mark.parametrize(("backend", "asked"), [("jax", "jax"), ("torch", "tensorflow")])
def test_what_another_backend_trained_is_exported_with_the_same_certificate(runs, backend, asked, tmp_path):
    """TensorFlow's converter takes the weights over; the files answer as Keras does on `asked`."""
    variants = ["--variant", "float32", "--variant", "int8"]
    # After four epochs most clips are near a tie.
    allowed = ["--max-changed-subjects", "100", "--max-accuracy-loss", "1"]
    command = ["export", runs[backend], "--out", tmp_path / "bundle", *variants, *allowed, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from tfgma.cli import main; main()", *command],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": asked},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["certificate"]["variants"]
    assert found["float32"]["clip"]["max_delta"] < 1e-4
    assert found["int8"]["clip"]["max_delta"] < 0.1
    assert found["int8"]["operators"]["CONV_2D"] == found["float32"]["operators"]["CONV_2D"]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_first_steps_have_one_loss_from_the_same_weights(backend, dataset, weights, tmp_path):
    """An epoch of one step: its loss is that of the first batch under the first weights."""
    losses = {}
    for name in ("tensorflow", backend):
        out = tmp_path / name
        sets = ["train.epochs=1", "train.batch_size=99", weights]
        finish(begin(out, dataset, "--backend", name, sets=sets))
        losses[name] = history(out)["loss"][0]
    assert losses[backend] == pytest.approx(losses["tensorflow"], abs=1e-4)


def test_the_backends_train_alike(runs):
    """They take the same clips in the same order, so that the curves differ by rounding that grows."""
    curves = {backend: history(run) for backend, run in runs.items()}
    for backend in ("jax", "torch"):
        np.testing.assert_allclose(curves[backend]["loss"], curves["tensorflow"]["loss"], rtol=0.02)
        np.testing.assert_array_equal(curves[backend]["learning_rate"], curves["tensorflow"]["learning_rate"])


def test_options_of_a_training_do_on_each_backend_what_they_do_on_tensorflow(dataset, weights, tmp_path):
    sets = [
        "train.epochs=3",
        "train.precision=mixed_bfloat16",
        "train.weight_average=0.5",
        "train.clip_norm=0.1",
        "train.schedule=plateau",
        "train.balance=weights",
        "augment.mixup=0.4",
        weights,
    ]
    curves, answers = {}, {}
    for backend in ("tensorflow", "jax", "torch"):
        finish(begin(tmp_path / backend, dataset, "--backend", backend, sets=sets))
        curves[backend] = history(tmp_path / backend)
        answers[backend] = read_predictions([tmp_path / backend / "fold_0" / "predictions.csv"]).probabilities
    for backend in ("jax", "torch"):
        for name in ("loss", "val_loss"):
            np.testing.assert_allclose(curves[backend][name], curves["tensorflow"][name], rtol=0.05)
        # What is saved is the average of the weights, in float32.
        np.testing.assert_allclose(answers[backend], answers["tensorflow"], atol=0.05)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_have_the_curve_of_one(backend, runs, dataset, weights, tmp_path):
    out = tmp_path / "run"
    options = ("--backend", backend, "--distribute", "data-parallel")
    environment = {"XLA_FLAGS": f"{QUICK_JAX} {MANY}=2"}
    finish(begin(out, dataset, *options, sets=["train.epochs=4", weights], **environment))
    assert_same_curve(out, runs[backend])


def test_devices_that_do_not_divide_the_validation_side_give_its_loss(runs, dataset, weights, tmp_path):
    """12 clips, on 9 devices and on one, which train on a batch of 9."""
    losses = []
    for devices in (1, 9):
        out = tmp_path / str(devices)
        sets = ["train.epochs=1", "train.batch_size=9", "train.clips_per_subject=3", weights]
        options = ["--backend", "jax"] + ["--distribute", "data-parallel"] * (devices > 1)
        finish(begin(out, dataset, *options, sets=sets, XLA_FLAGS=f"{QUICK_JAX} {MANY}={devices}"))
        losses.append(history(out))
    assert losses[0]["val_loss"] == pytest.approx(losses[1]["val_loss"], abs=1e-5)
    assert losses[0]["val_accuracy"] == pytest.approx(losses[1]["val_accuracy"], abs=1e-6)


def test_two_processes_have_the_curve_of_one(runs, dataset, weights, tmp_path):
    """They meet on loopback; the first one writes the run."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free_port = taken.getsockname()[1]
    out = tmp_path / "run"
    environment = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    options = ("--backend", "jax", "--distribute", "data-parallel")
    both = [
        begin(
            out,
            dataset,
            *options,
            sets=["train.epochs=4", weights],
            **environment,
            KERAS_DISTRIBUTION_PROCESS_ID=str(number),
        )
        for number in (0, 1)
    ]
    for process in both:
        finish(process)
    assert_same_curve(out, runs["jax"])
    assert read_run(out)["trained_folds"] == [0]


def assert_same_curve(run, other):
    found, expected = history(run), history(other)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["loss"][0], expected["loss"][0], rtol=1e-5)


def test_a_killed_training_on_jax_ends_as_one_that_was_not(runs, dataset, weights, tmp_path):
    out = tmp_path / "run"
    process = begin(out, dataset, "--backend", "jax", sets=["train.epochs=4", weights])
    checkpoint = out / "fold_0" / "checkpoint.npz"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoint.exists()
    resumed = begin(out, dataset, "--resume", sets=["train.epochs=4", weights])
    said, _ = resumed.communicate(timeout=900)
    # Overrides without the config's file are the run's own settings over themselves: nothing differs.
    assert resumed.returncode == 0, said
    assert json.loads((out / "run.json").read_text())["backend"] == "jax"
    for name in ("history.csv", "predictions.csv"):
        assert (out / "fold_0" / name).read_bytes() == (runs["jax"] / "fold_0" / name).read_bytes()


def test_torch_is_not_spread(dataset, tmp_path):
    process = begin(tmp_path / "run", dataset, "--backend", "torch", "--distribute", "data-parallel")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "--distribute data-parallel needs the backend jax or tensorflow. Received: torch." in said
