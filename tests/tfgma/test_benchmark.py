import csv
import dataclasses
import json
import shutil

import pytest

from pipelines.schema import RefusedError
from tfgma import benchmark
from tfgma.benchmark import CONFIGS, METHODS, PREPROCESSING, BenchmarkSize, run_benchmark, table
from tfgma.config import load_study
from tfgma.preprocessing import make_tools
from tfgma.runs import write_json

SIZE = BenchmarkSize(subjects=6, test_subjects=3, seconds=1.0, folds=2, methods=("two_stream", "stam"))


@pytest.fixture
def steps(monkeypatch):
    """Building and training replaced by what writes down that it was asked, and answers what it likes."""
    return without_training(monkeypatch)


def without_training(monkeypatch):
    asked = {"built": [], "trained": [], "tools": []}

    def build(videos, dataset, config, *, make_tools, **_):
        asked["built"].append((videos, dataset, config))
        asked["tools"].append(make_tools)

    def train(study, dataset, run, *, folds, resume, progress):
        assert resume
        asked["trained"].append((study, run, list(folds)))
        run.mkdir(parents=True, exist_ok=True)

    def evaluate(run):
        accuracy = {"mean": 0.5, "sd": 0.1, "folds": 2}
        subject = {"accuracy": 0.5, "exact_accuracy_interval": [0.25, 0.75]}
        test = {"subject": subject, "over_folds": {"subject": {"accuracy": accuracy}}}
        metrics = {"chance": 1 / 3, "test": test}
        write_json(run / "metrics.json", metrics)
        return metrics

    monkeypatch.setattr(benchmark, "build_dataset", build)
    monkeypatch.setattr(benchmark, "train", train)
    monkeypatch.setattr(benchmark, "evaluate", evaluate)
    monkeypatch.setattr(benchmark, "write_report", lambda run, metrics: None)
    return asked


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A benchmark that went to its end, with its results and what it asked for."""
    out = tmp_path_factory.mktemp("benchmark") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        asked = without_training(monkeypatch)
        return out, go(out), asked


def go(out, size=SIZE, **options):
    return run_benchmark(out, size, workers=2, say=lambda text: None, progress=lambda *_: None, **options)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_method_every_preprocessing_and_shuffled_labels_are_trained_once(finished):
    out, results, asked = finished
    assert list(results) == ["methods", "preprocessing", "shuffled labels"]
    assert list(results["methods"]) == list(results["shuffled labels"]) == ["two_stream", "stam"]
    assert list(results["preprocessing"]) == list(PREPROCESSING)
    assert len(asked["trained"]) == 8
    assert all(folds == [0, 1] for *_, folds in asked["trained"])
    by_run = {run.relative_to(out / "runs").as_posix(): study for study, run, _ in asked["trained"]}
    ablation = [by_run[f"preprocessing/{number}"] for number in range(4)]
    left = [(study.build.mask_body, study.build.align_body) for study in ablation]
    assert left == [(True, True), (False, True), (True, False), (False, False)]
    assert {study.split.scheme for study in ablation} == {"fixed"}
    assert by_run["methods/stam"].split.scheme == "folds"
    # One data set for all methods, one for each preprocessing, one of shuffled labels.
    assert len({dataset for _, dataset, _ in asked["built"]}) == 6
    assert json.loads((out / "results.json").read_text()) == results
    assert table(results)[0] == ["methods", "two_stream", "0.50", "0.25 to 0.75", "0.50 +- 0.10"]


def test_one_part_is_trained_and_what_is_there_is_told(steps, tmp_path):
    results = go(tmp_path / "out", parts=["preprocessing"])
    assert {part: len(found) for part, found in results.items()} == {
        "methods": 0,
        "preprocessing": 4,
        "shuffled labels": 0,
    }
    results = go(tmp_path / "out", parts=["shuffled labels"])
    assert [len(found) for found in results.values()] == [0, 4, 2]
    assert len(steps["trained"]) == 6
    with pytest.raises(RefusedError, match=r"--part must be one of methods, pre.*Received: 'shuffled'"):
        go(tmp_path / "other", parts=["shuffled"])
    assert not (tmp_path / "other").exists()


def test_flow_may_be_a_network(steps, tmp_path):
    size = dataclasses.replace(SIZE, overrides=("build.flow.method=horn_schunck",))
    go(tmp_path / "out", size, parts=["methods"])
    assert steps["tools"] == [make_tools] * 2
    assert {config.flow.method for *_, config in steps["built"]} == {"horn_schunck"}


def test_the_sets_contradict_and_labels_are_shuffled_by_subject(finished):
    videos = finished[0] / "videos"
    contradicting = rows(videos / "contradicting.csv")
    assert [row["split"] for row in contradicting] == ["train"] * 6 + ["test"] * 3
    assert len({row["subject"] for row in contradicting}) == 9
    assert all((videos / row["video"]).is_file() for row in contradicting)
    plain, shuffled = rows(videos / "plain" / "manifest.csv"), rows(videos / "shuffled.csv")
    assert [row["video"] for row in shuffled] == [f"plain/{row['video']}" for row in plain]
    assert [row["label"] for row in shuffled] != [row["label"] for row in plain]
    assert sorted(row["label"] for row in shuffled) == sorted(row["label"] for row in plain)


def test_it_goes_on_where_it_was(finished, tmp_path, steps):
    shutil.copytree(finished[0], tmp_path / "out")
    (tmp_path / "out" / "runs" / "shuffled" / "stam" / "metrics.json").unlink()
    assert go(tmp_path / "out") == finished[1]
    assert [run.parts[-2:] for _, run, _ in steps["trained"]] == [("shuffled", "stam")]


def test_another_size_or_a_foreign_folder_is_refused(finished, tmp_path, steps):
    with pytest.raises(RefusedError, match=r"OUT must be new, or hold a benchmark of this size. Received"):
        go(finished[0], BenchmarkSize(subjects=9))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(RefusedError, match=r"OUT must be a new folder or an earlier benchmark's"):
        go(tmp_path / "other")
    with pytest.raises(RefusedError, match=r"--method must be one of two_stream, .*Received: 'svm'"):
        go(tmp_path / "new", BenchmarkSize(methods=("svm",)))
    assert not (tmp_path / "new").exists()
    assert not any(steps.values())


def test_all_methods_share_one_build():
    studies = [load_study(CONFIGS / f"{name}.yaml") for name in METHODS]
    assert len({study.build.digest() for study in studies}) == 1
    assert {study.split.folds for study in studies} == {5}
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(METHODS)
