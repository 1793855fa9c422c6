"""What docs/benchmark.md claims, at a smaller size: preprocessing is needed, nothing leaks, no step waits.

Run with `make test-long`; an hour on two cores.
"""

import csv
import json

import pytest

from tests.commands import tfgma
from tfgma.benchmark import METHODS

pytestmark = pytest.mark.long

SIZE = ("--subjects", 48, "--test-subjects", 24, "--seconds", 12, "--folds", 3, "--set", "split.folds=3")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """Its folder and results: preprocessing for the two-stream network, shuffled labels for all seven."""
    out = tmp_path_factory.mktemp("benchmark") / "out"
    parts = ("--part", "preprocessing", "--part", "shuffled labels")
    results = json.loads(tfgma("benchmark", "study", out, *SIZE, *parts, "--json", timeout=3 * 3600))
    for part, methods in results.items():
        for name, found in methods.items():
            low, high = found["interval"]
            print(f"\n{part}, {name}: {found['subject_accuracy']:.3f} ({low:.3f} to {high:.3f})", end="")
    return out, results


def test_preprocessing_is_worth_a_quarter_of_the_subjects_where_rooms_contradict(benchmark):
    _, results = benchmark
    found = {name: figures["subject_accuracy"] for name, figures in results["preprocessing"].items()}
    assert found["extracted and aligned"] >= found["neither"] + 0.25


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_labels_leave_chance_in_the_interval(method, benchmark):
    _, results = benchmark
    found = results["shuffled labels"][method]
    low, high = found["interval"]
    assert low <= found["chance"] <= high


def test_training_steps_hardly_wait_for_their_batches(benchmark):
    out, _ = benchmark
    timings = sorted(out.glob("runs/*/*/fold_*/timing.csv"))
    assert len(timings) == 3 * (4 + len(METHODS))
    for path in timings:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        seconds = [float(row["train_seconds"]) for row in rows]
        waited = sum(time * float(row["input_wait"]) for time, row in zip(seconds, rows, strict=True))
        print(f"\n{path.relative_to(out)}: {waited / sum(seconds):.2%} of {sum(seconds):.0f} s", end="")
        assert waited < 0.05 * sum(seconds), path
