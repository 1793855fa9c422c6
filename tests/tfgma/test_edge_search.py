"""A search for small networks: its candidates, its choices, who is trained on what, and what is refused."""

import json

import numpy as np
import pytest

import tfgma.edge_search as room
from pipelines.schema import RefusedError
from tfgma.config import load_study
from tfgma.edge_search import (
    SEARCH,
    TEACHER,
    Budget,
    Cost,
    Score,
    SearchSize,
    affordable,
    candidates,
    chosen,
    read_search,
    search,
    search_table,
    validation_score,
)
from tfgma.runs import Predictions, write_predictions

COSTS = {
    "a": Cost(100.0, 900_000),
    "b": Cost(70.0, 3_000_000),
    "c": Cost(65.0, 1_500_000),
    "d": Cost(10.0, 9),
}
FAST, ACCURATE = Budget(times=60, bytes=2_000_000), Budget(times=20)


@pytest.mark.parametrize("name", ["edge_fast", "edge_accurate"])
def test_what_is_published_is_a_candidate(name):
    settings = read_search(SEARCH)
    studies = [
        load_study(SEARCH.parent / settings.student, one) for one in candidates(settings.axes).values()
    ]
    assert load_study(SEARCH.parents[1] / f"{name}.yaml") in studies
    assert name in settings.budgets


def test_every_candidate_of_the_project_is_a_study():
    settings = read_search(SEARCH)
    found = candidates(settings.axes)
    assert len(found) == np.prod([len(values) for values in settings.axes.values()])
    studies = [load_study(SEARCH.parent / settings.student, overrides) for overrides in found.values()]
    assert len({study.model_dump_json() for study in studies}) == len(found)
    for name in (settings.teacher, settings.reference):
        load_study(SEARCH.parent / name)


def test_what_is_quick_and_small_enough_is_affordable():
    assert affordable(COSTS, FAST) == ["a", "c"]
    assert affordable(COSTS, ACCURATE) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({"a": Score(0.9, 0.5), "b": Score(0.9, 0.1), "c": Score(1.0, 0.9)}, "c"),
        ({"a": Score(0.9, 0.5), "b": Score(0.9, 0.1), "c": Score(0.9, 0.4)}, "b"),
        ({"a": Score(0.9, 0.5), "b": Score(0.9, 0.5), "c": Score(0.9, 0.5)}, "a"),
    ],
)
def test_more_right_subjects_count_before_less_doubt_before_speed(scores, best):
    assert chosen(scores, COSTS, ACCURATE) == best


@pytest.mark.parametrize(
    ("accuracies", "quickest"),
    [((0.9, 0.9, 0.9), "a"), ((0.8, 0.9, 1.0), "c"), ((0.8, 0.97, 1.0), "b"), ((0.97, 0.9, 1.0), "a")],
)
def test_with_points_the_quickest_of_those_nearly_as_good_is_chosen(accuracies, quickest):
    scores = {name: Score(value, 0.1) for name, value in zip("abc", accuracies, strict=True)}
    assert chosen(scores, COSTS, Budget(times=20, points=3)) == quickest


def test_no_affordable_candidate_is_refused():
    with pytest.raises(
        RefusedError, match=r"must be 200 times .* at most 5 bytes. Received: none; a is 100.0"
    ):
        chosen({}, COSTS, Budget(times=200, bytes=5))


def test_a_validation_score_is_by_subject_and_of_the_validation_side_alone(tmp_path):
    """Subject v1 is right by its mean although one clip is wrong; v2 is wrong; the test side is all wrong."""
    rows = [
        ("val", "v1", 0, [0.9, 0.1]),
        ("val", "v1", 0, [0.4, 0.6]),
        ("val", "v2", 1, [0.7, 0.3]),
        ("test", "t1", 1, [1.0, 0.0]),
    ]
    sides, subjects, labels, probabilities = zip(*rows, strict=True)
    predictions = Predictions(
        classes=("A", "B"),
        folds=np.zeros(4, int),
        sides=np.array(sides),
        videos=np.array([f"{name}.mp4" for name in subjects]),
        subjects=np.array(subjects),
        start_seconds=np.arange(4.0),
        labels=np.array(labels),
        probabilities=np.array(probabilities),
    )
    (tmp_path / "fold_0").mkdir()
    write_predictions(tmp_path / "fold_0" / "predictions.csv", predictions)
    score = validation_score(tmp_path, 0)
    assert score.accuracy == 0.5
    assert score.log_loss == pytest.approx(-(np.log(0.65) + np.log(0.3)) / 2)


@pytest.fixture
def small_search(tmp_path):
    """Two candidates."""
    settings = tmp_path / "search.yaml"
    for name in ("student", "teacher"):
        text = (SEARCH.parent / f"{name}.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "reference.yaml").write_text((SEARCH.parents[1] / "two_stream_gma.yaml").read_text())
    content = {
        "student": "student.yaml",
        "teacher": "teacher.yaml",
        "reference": "reference.yaml",
        "axes": {"model.width_coefficient": [0.25, 0.5, 1.0], "build.clip.size": [96]},
        "budgets": {"edge_fast": {"times": 60, "bytes": 2_000_000}, "edge_accurate": {"times": 20}},
    }
    settings.write_text(json.dumps(content))
    return settings


@pytest.fixture
def steps(monkeypatch):
    """Converting, timing, generating and training replaced by what writes down that it was asked."""
    asked = {"trained": [], "timed": 0}

    def write_network(study, folder, variants, *_):
        (folder / f"model_{variants[0]}.tflite".replace("model_onnx.tflite", "model.onnx")).write_bytes(
            b"12345"
        )

    def run_apart(function, *arguments, **_):
        return write_network(*arguments)

    def time_in_turn(contenders):
        asked["timed"] += 1
        times = {"torch": 1.0, "c0": 90.0, "c1": 30.0, "c2": 5.0}
        return {one.name: {"times_torch": times[one.name]} for one in contenders}

    def train(study, dataset, run, *, folds, resume, progress):
        assert resume
        asked["trained"].append((run.name, list(folds), study))

    monkeypatch.setattr(room, "run_apart", run_apart)
    monkeypatch.setattr(room, "time_in_turn", time_in_turn)
    monkeypatch.setattr(room, "generate", lambda *_, **__: None)
    monkeypatch.setattr(room, "build_dataset", lambda *_, **__: None)
    monkeypatch.setattr(room, "train", train)
    accuracy = {"c0": 0.8, "c1": 1.0}
    monkeypatch.setattr(room, "validation_score", lambda run, fold: Score(accuracy[run.name], 0.1))
    test = {"test": {"subject": {"accuracy": 0.75, "exact_accuracy_interval": [0.5, 0.9]}}}
    monkeypatch.setattr(room, "evaluate", lambda run: test)
    monkeypatch.setattr(room, "write_report", lambda run, metrics: None)
    return asked


def test_only_what_is_affordable_is_trained_and_only_what_is_chosen_is_tested(steps, small_search, tmp_path):
    out = tmp_path / "out"

    def go(folds=3):
        size = SearchSize(folds=folds)
        return search(
            out, size, settings=small_search, workers=1, say=lambda text: None, progress=lambda *_: None
        )

    found = go()
    assert {budget: one["candidate"] for budget, one in found["chosen"].items()} == {
        "edge_fast": "c0",
        "edge_accurate": "c1",
    }
    asked = [(name, folds) for name, folds, _ in steps["trained"]]
    assert asked[:3] == [(TEACHER, [0]), ("c0", [0]), ("c1", [0])]
    assert sorted(asked[3:]) == [("c0", [0, 1, 2]), ("c1", [0, 1, 2]), (TEACHER, [0, 1, 2])]
    for name, _, study in steps["trained"]:
        assert study.train.teacher == (None if name == TEACHER else str((out / "runs" / TEACHER).resolve()))
    assert found == json.loads((out / "edge.json").read_text())
    rows = {row[0]: row for row in search_table(found)}
    assert rows["c0"][2:] == ["90.0", "0.00", "0.80", "edge_fast", "0.75"]
    assert rows["c2"][4:] == ["-", "-", "-"]
    assert rows[TEACHER][-1] == "0.75"
    go()
    assert steps["timed"] == 1, "what was timed is kept"
    with pytest.raises(
        RefusedError, match=r"OUT must be new, or hold a benchmark of this size. .* whose search.json says"
    ):
        go(folds=2)
    with pytest.raises(RefusedError, match=r"OUT must be a new folder or an earlier benchmark's. Received: "):
        search(tmp_path, SearchSize(), settings=small_search, workers=1, say=print, progress=print)


def test_settings_of_a_search_that_are_none_are_refused(small_search, tmp_path):
    content = json.loads(small_search.read_text()) | {"axis": {}}
    small_search.write_text(json.dumps(content))
    with pytest.raises(RefusedError, match=r"unknown key axis"):
        read_search(small_search)
    with pytest.raises(RefusedError, match=r"none\.yaml"):
        read_search(tmp_path / "none.yaml")
