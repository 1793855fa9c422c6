import keras
import numpy as np
import pytest

import tfgma.fitting
from tests.in_process import train
from tests.small_network import train_it
from tests.tfgma.test_study import STUDY
from tests.tfgma.test_training import QUICK
from tfgma.config import load_study
from tfgma.xla import answers_on, jit_compile


@pytest.mark.parametrize(
    ("backend", "gpus", "chosen"),
    [
        ("tensorflow", [], False),
        ("tensorflow", ["gpu:0"], "auto"),
        ("jax", [], "auto"),
        ("torch", [], "auto"),
    ],
)
def test_xla_is_left_out_on_tensorflow_without_a_gpu(backend, gpus, chosen, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: gpus if kind == "gpu" else ["cpu:0"])
    assert jit_compile() == chosen


def test_answers_are_those_of_keras():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    batch = np.random.default_rng(0).random((5, 3), np.float32)
    np.testing.assert_allclose(answers_on(network, batch), batch @ network.get_weights()[0], atol=1e-6)
    assert network.jit_compile is False


@pytest.mark.parametrize("mixup", [0, 1])
def test_a_training_is_told(mixup, dataset, tmp_path, monkeypatch):
    """Whatever its inputs go through: Keras leaves XLA out by itself where one of its layers cannot."""
    told = []
    train_it(monkeypatch)
    compiled = tfgma.fitting._compiled

    def note(*arguments, **options):
        told.append(compiled(*arguments, **options))
        return told[-1]

    monkeypatch.setattr(tfgma.fitting, "_compiled", note)
    study = load_study(STUDY, (*QUICK, "train.epochs=1", f"augment.mixup={mixup}"))
    train(study, dataset, tmp_path / "run", folds=[0])
    assert [trainer.jit_compile for trainer in told] == [False]
