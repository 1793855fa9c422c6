"""One config on three backends: do their networks test alike?

From the same first weights, since intervals over subjects know nothing of what other first weights would have
become. Run with `make test-long`, in the environment that has all three.
"""

import json
from itertools import permutations
from pathlib import Path

import keras
import pytest

from tests.commands import tfgma
from tfgma.config import load_study
from tfgma.networks import build_network

pytestmark = [pytest.mark.long, pytest.mark.backends]

CONFIG = Path(__file__).parents[2] / "configs" / "bench" / "two_stream.yaml"
FIGURES = ("accuracy", "macro_auroc", "brier", "log_loss")


def test_test_figures_lie_in_each_others_intervals(tmp_path):
    videos, data = tmp_path / "videos", tmp_path / "data"
    tfgma("synthesize", videos, "--subjects", 48, "--seconds", 11, "--seed", 5, "--workers", 2)
    tfgma("build-tfrecords", videos, "--out", data, "--config", CONFIG, "--workers", 2)
    first = tmp_path / "first.keras"
    keras.utils.set_random_seed(3)
    build_network(load_study(CONFIG), 3).save(first)
    settings = ("split.folds=3", "train.epochs=20", f"model.weights={first}")
    changes = [part for one in settings for part in ("--set", one)]
    found = {}
    for backend in ("tensorflow", "jax", "torch"):
        out = tmp_path / backend
        options = [*changes, "--backend", backend]
        tfgma("train", "--config", CONFIG, "--data", data, "--out", out, *options, timeout=3600)
        found[backend] = json.loads(tfgma("evaluate", out, "--json"))["test"]["subject"]
        said = [f"{name} {found[backend][name]:.3f} ({span(found[backend], name)})" for name in FIGURES]
        print(f"\n{backend}: {', '.join(said)}", flush=True)
    for one, other in permutations(found, 2):
        for name in FIGURES:
            low, high = interval(found[other], name)
            assert low <= found[one][name] <= high, (one, other, name)


def span(figures, name):
    return " to ".join(f"{end:.3f}" for end in interval(figures, name))


def interval(figures, name):
    """95 %; where all answers are right the bootstrap knows of no other value."""
    if name == "accuracy":
        return figures["exact_accuracy_interval"]
    return figures["intervals"][name] or [figures[name], figures[name]]
