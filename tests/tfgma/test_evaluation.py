"""Evaluation of runs whose answers are made by hand."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from click.testing import CliRunner
from statsmodels.stats.proportion import proportion_confint

from pipelines.schema import RefusedError
from tests.handmade_runs import CLASSES, answers, write_dataset, write_run
from tfgma.aggregation import log_odds_by, median_by
from tfgma.attention import attend_by, fit_attention
from tfgma.calibration import UNCERTAIN, apply_temperature, fit_temperature
from tfgma.cli.main import cli
from tfgma.evaluation import evaluate
from tfgma.metrics import classification_metrics
from tfgma.runs import read_run_predictions
from tfgma.scores import poolings, scores_by

THREE = [(range(24, 30), range(12)), (range(0, 6), range(12, 24)), (range(6, 12), range(24, 36))]
"""Each of 36 subjects is tested once."""

SHARED = [(range(12, 24), range(12)), (range(24, 36), range(12)), (range(36, 48), range(12))]
"""Three networks answer for the same twelve, as under the schemes nested and fixed."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", answers(THREE))


def test_metrics_are_plain_and_of_three_levels(run: Path) -> None:
    metrics = evaluate(run)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert json.loads((run / "metrics.json").read_text()) == metrics
    counts = {level: metrics["test"][level]["n"] for level in ("clip", "video", "subject")}
    assert counts == {"clip": 36 * 8, "video": 72, "subject": 36}
    assert metrics["aggregation"] == "mean"
    assert "intervals" not in metrics["val"]["subject"]
    predictions = read_run_predictions(run)
    test = predictions.where(predictions.sides == "test")
    for level, names in (("video", test.videos), ("subject", test.subjects)):
        once = np.unique(names)
        means = np.stack([test.probabilities[names == name].mean(axis=0) for name in once])
        labels = np.array([test.labels[names == name][0] for name in once])
        found = metrics["test"][level]
        expected = classification_metrics(labels, means, CLASSES)
        assert {name: found[name] for name in expected} == expected
        low, high = found["intervals"]["accuracy"]
        assert low <= found["accuracy"] <= high
    for level in ("clip", "video", "subject"):
        ends = metrics["test"][level]["intervals"]["macro_auroc"]
        assert ends[0] < metrics["test"][level]["macro_auroc"] < ends[1]
    right = round(metrics["test"]["subject"]["accuracy"] * 36)
    assert metrics["test"]["subject"]["exact_accuracy_interval"] == pytest.approx(
        proportion_confint(right, 36, method="beta"), abs=1e-9
    )


def test_clips_of_one_subject_are_not_independent(run: Path) -> None:
    """A wide interval by clip where a subject's clips agree."""
    parts = [
        replace(part, probabilities=np.repeat(part.probabilities[::8], 8, axis=0)) for part in answers(THREE)
    ]
    shutil.rmtree(run)
    metrics = evaluate(write_run(run, parts))["test"]
    assert metrics["clip"]["intervals"]["accuracy"] == pytest.approx(
        metrics["subject"]["intervals"]["accuracy"], abs=1e-9
    )


def test_spread_is_over_folds(run: Path) -> None:
    test = evaluate(run)["test"]
    assert [fold["fold"] for fold in test["folds"]] == [0, 1, 2]
    for level in ("clip", "video", "subject"):
        for name in ("accuracy", "brier", "macro_auroc"):
            values = [fold[level][name] for fold in test["folds"]]
            spread = test["over_folds"][level][name]
            assert spread == {
                "mean": pytest.approx(np.mean(values)),
                "sd": pytest.approx(np.std(values, ddof=1)),
                "folds": 3,
            }


def test_a_subject_that_several_networks_answer_for_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", answers(SHARED))
    metrics = evaluate(run)
    assert metrics["test"]["networks"] == [3, 3]
    assert metrics["val"]["networks"] == [1, 1]
    assert [metrics["test"][level]["n"] for level in ("clip", "video", "subject")] == [96, 24, 12]
    test = read_run_predictions(run)
    test = test.where(test.sides == "test")
    names = np.unique(test.subjects)
    means = np.stack([test.probabilities[test.subjects == name].mean(axis=0) for name in names])
    labels = np.array([test.labels[test.subjects == name][0] for name in names])
    expected = classification_metrics(labels, means, CLASSES)
    assert metrics["test"]["subject"]["log_loss"] == pytest.approx(expected["log_loss"])
    assert len(metrics["conformal"]["subjects"]) == 12
    assert metrics["conformal"]["validation_subjects"] == [36, 36]
    from tfgma.report import write_report

    page = write_report(run, metrics).read_text()
    assert "averaged over the up to 3 networks" in page


def test_aggregations_are_used_by_name(run: Path) -> None:
    predictions = read_run_predictions(run)
    test = predictions.where(predictions.sides == "test")
    for name, aggregation in (("median", median_by), ("log_odds", log_odds_by)):
        for level, groups in (("video", test.videos), ("subject", test.subjects)):
            found = scores_by(level, test, poolings(predictions, name))
            np.testing.assert_allclose(
                found.probabilities, aggregation(groups.tolist(), test.probabilities)[1]
            )
        assert evaluate(run, aggregation=name)["aggregation"] == name
    with pytest.raises(RefusedError, match=r"one of mean, median, log_odds, attention\. Received: 'max'"):
        evaluate(run, aggregation="max")


def test_attention_is_fitted_on_each_folds_own_validation_side(run: Path) -> None:
    predictions = read_run_predictions(run)
    pooling = poolings(predictions, "attention")
    for fold in range(3):
        val, test = (
            predictions.where((predictions.folds == fold) & (predictions.sides == side))
            for side in ("val", "test")
        )
        weights = fit_attention(val.subjects.tolist(), val.labels, val.probabilities)
        expected = attend_by(weights)(test.subjects.tolist(), test.probabilities)[1]
        np.testing.assert_allclose(scores_by("subject", test, pooling).probabilities, expected)
    # Other labels on the test side change nothing.
    turned = replace(
        predictions, labels=np.where(predictions.sides == "test", 2 - predictions.labels, predictions.labels)
    )
    for fold, pool in poolings(turned, "attention").items():
        rows = predictions.probabilities[:8]
        np.testing.assert_array_equal(pool(["a"] * 8, rows)[1], pooling[fold](["a"] * 8, rows)[1])


def test_the_temperature_is_the_validation_sides(tmp_path: Path) -> None:
    """Overconfident networks are calibrated, by what the validation side says and nothing else."""
    parts = [
        replace(part, probabilities=apply_temperature(part.probabilities, 0.2))
        for part in answers([(range(60, 100), range(20)), (range(20, 60), range(20, 40))], skill=0.2)
    ]
    found = evaluate(write_run(tmp_path / "run", parts))["calibration"]
    for name in ("log_loss", "brier", "ece"):
        assert found["clip"]["after"][name] < found["clip"]["before"][name]
    predictions = read_run_predictions(tmp_path / "run")
    for fold in (0, 1):
        val = predictions.where((predictions.folds == fold) & (predictions.sides == "val"))
        fitted = fit_temperature(val.labels, val.probabilities)
        assert found["clip"]["temperatures"][fold] == {
            "fold": fold,
            "temperature": pytest.approx(fitted.value, rel=1e-6),
            "fitted": True,
        }
    before = evaluate(tmp_path / "run")["test"]["clip"]
    assert found["clip"]["before"]["log_loss"] == pytest.approx(before["log_loss"])


def test_sets_say_what_cannot_be_assessed(tmp_path: Path) -> None:
    folds = [(range(60, 120), range(30)), (range(0, 30), range(30, 60))]
    found = evaluate(write_run(tmp_path / "run", answers(folds, skill=0.5)))["conformal"]
    assert found["wanted"] == 0.9
    sets = [(one["label"], one["set"], one["answer"]) for one in found["subjects"]]
    assert found["coverage"] == np.mean([label in members for label, members, _ in sets])
    assert found["assessed"] == np.mean([len(members) == 1 for _, members, _ in sets])
    for _, members, answer in sets:
        assert answer == (members[0] if len(members) == 1 else UNCERTAIN)
    assert 0 < found["assessed"] < 1
    assert found["coverage_interval"][0] <= 0.9 <= found["coverage_interval"][1]
    held = round(found["coverage"] * 60)
    expected = proportion_confint(held, 60, method="beta")
    assert found["coverage_interval"] == pytest.approx(expected, abs=1e-9)
    assert found["validation_subjects"] == [30, 60]
    assert found["validation_subjects_needed"] == 9
    # Fewer than nine validation subjects promise nothing: every set is full.
    few = evaluate(write_run(tmp_path / "few", answers([(range(12, 20), range(12))])))["conformal"]
    assert few["coverage"] == 1.0
    assert few["assessed"] == 0.0
    assert few["accuracy_of_assessed"] is None


def test_subjects_without_one_class_leave_no_nan(tmp_path: Path) -> None:
    """A fold that tests one class only, and a single subject."""
    one_class = answers([(range(12), [12, 15, 18]), (range(12), [13])])
    metrics = evaluate(write_run(tmp_path / "run", one_class))
    json.dumps(metrics, allow_nan=False)
    assert metrics["test"]["folds"][0]["subject"]["macro_auroc"] is None
    assert metrics["test"]["folds"][1]["subject"]["n"] == 1
    assert metrics["test"]["subject"]["auroc"]["WMs"] is None
    assert metrics["conformal"]["coverage_by_class"]["WMs"] is None


# ---- strata -----------------------------------------------------------------------------------------------


def column(video: str) -> tuple[float | None, dict[str, str]]:
    number = int(video[1:4])
    age = None if number == 5 else 9.0 + number % 12
    return age, {"site": ("Bonn", "Oslo [north]")[number % 2], "device": f"phone {video[-1]}"}


def test_strata_are_the_figures_of_their_subjects(tmp_path: Path) -> None:
    parts = answers(THREE)
    run = write_run(tmp_path / "run", parts, write_dataset(tmp_path / "data", parts, column))
    tables = evaluate(run, by=["site", "age_weeks", "device"])["strata"]
    assert list(tables) == ["site", "age_weeks", "device"]
    assert [(row["value"], row["subjects"], row["clips"]) for row in tables["site"]] == [
        ("Bonn", 18, 144),
        ("Oslo [north]", 18, 144),
    ]
    test = read_run_predictions(run)
    test = test.where(test.sides == "test")
    scores = scores_by("subject", test, poolings(test, "mean"))
    odd = np.array([int(name[1:]) % 2 == 1 for name in scores.names])
    oslo = tables["site"][1]
    right = scores.probabilities.argmax(axis=1) == scores.labels
    assert oslo["accuracy"]["value"] == pytest.approx(right[odd].mean())
    assert oslo["accuracy"]["interval"][0] < right[odd].mean() < oslo["accuracy"]["interval"][1]
    # Eleven ages and a subject without: in quarters of the videos, in the numbers' order.
    ages = tables["age_weeks"]
    assert [row["value"] for row in ages] == ["9 to 11", "11 to 15", "15 to 18", "18 to 20", "not given"]
    assert sum(row["subjects"] for row in ages) == 36
    assert ages[-1]["subjects"] == 1
    # Each subject was filmed with both phones.
    assert [(row["subjects"], row["clips"]) for row in tables["device"]] == [(36, 144), (36, 144)]


def test_strata_that_cannot_be_made_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RefusedError, match=r"a data set must be a folder with dataset.json"):
        evaluate(run, by=["site"])
    parts = answers(THREE)
    other = write_dataset(tmp_path / "other", answers([([], range(3))]), column)
    with pytest.raises(RefusedError, match=r"videos that the run tested\. Received: .* without 's003_v0'"):
        evaluate(write_run(tmp_path / "moved", parts, other), by=["site"])
    data = write_dataset(tmp_path / "data", parts, column)
    beside = write_run(tmp_path / "beside", parts, data)
    message = r"of the manifest: age_weeks, device, group, label, site, split\. Received: 'weight'\. Choose"
    with pytest.raises(RefusedError, match=message):
        evaluate(beside, by=["weight"])
    assert not (beside / "metrics.json").exists()


# ---- second raters ----------------------------------------------------------------------------------------


def write_raters(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("subject", "rater", "label"), *rows])
    return path


def test_kappa_between_raters_labels_and_model(tmp_path: Path, run: Path) -> None:
    rng = np.random.default_rng(0)
    truth = {f"s{number:03d}": CLASSES[number % 3] for number in range(36)}
    rows = [
        (who, "Ann", label if rng.random() < 0.8 else CLASSES[rng.integers(3)])
        for who, label in truth.items()
    ]
    rows += [(who, "Ben", label) for who, label in list(truth.items())[:20]]
    rows += [("stranger", "Ann", "PR")]
    found = evaluate(run, raters=write_raters(tmp_path / "raters.csv", rows))["raters"]
    assert found["not_tested"] == ["stranger"]
    pairs: dict[tuple[str, str], Any] = {(one["first"], one["second"]): one for one in found["pairs"]}
    assert len(pairs) == 6
    ann = {who: label for who, rater, label in rows if rater == "Ann"}
    both = list(truth)[:20]
    one = pairs["Ann", "Ben"]
    assert one["n"] == 20
    expected = sk.cohen_kappa_score([ann[who] for who in both], [truth[who] for who in both])
    assert one["kappa"] == pytest.approx(expected, abs=1e-9)
    assert one["kappa_interval"][0] < one["kappa"] < one["kappa_interval"][1]
    predictions = read_run_predictions(run)
    scores = scores_by(
        "subject", predictions.where(predictions.sides == "test"), poolings(predictions, "mean")
    )
    called = [CLASSES[place] for place in scores.probabilities.argmax(axis=1)]
    expected = sk.cohen_kappa_score([ann[who] for who in scores.names], called)
    assert pairs["Ann", "model"]["kappa"] == pytest.approx(expected, abs=1e-9)
    assert pairs["labels", "model"]["kappa"] == pytest.approx(evaluate(run)["test"]["subject"]["kappa"])
    assert pairs["Ben", "labels"]["kappa"] == pytest.approx(1.0)
    assert pairs["Ben", "labels"]["kappa_interval"] is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("s000", "Ann", "")], r"must have subject, rater, label\. Received: row 2 of 'raters.csv'"),
        (
            [("s000", "Ann", "PR"), ("s000", "Ann", "FMs")],
            r"one label\. Received: 'PR' and 'FMs' by 'Ann' for 's000'",
        ),
        ([("s000", "model", "PR")], r"must not be called model or labels\. Received: 'model' in row 2"),
        ([("s000", "Ann", "healthy")], r"classes of the run: FMs, PR, WMs\. Received: 'healthy'\. Write"),
        ([("nobody", "Ann", "PR")], r"subjects that the run tested\. Received: none of 36, such as 's000'"),
        ([], r"must have rows\. Received: none"),
    ],
)
def test_ratings_that_cannot_be_used_are_refused(
    tmp_path: Path, run: Path, rows: list[tuple[str, str, str]], message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        evaluate(run, raters=write_raters(tmp_path / "raters.csv", rows))
    assert not (run / "metrics.json").exists()


def test_a_file_of_ratings_must_be_there(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RefusedError, match=r"--raters must be a CSV file\. Received"):
        evaluate(run, raters=tmp_path / "none.csv")


# ---- bad input --------------------------------------------------------------------------------------------


def test_a_subject_in_two_labels_is_refused(tmp_path: Path) -> None:
    part = answers([(range(12, 24), range(12))])[0]
    within = replace(part, labels=np.where(part.videos == "s004_v1", 0, part.labels))
    with pytest.raises(RefusedError, match=r"same label\. Received: labels \[0, 1\] for 's004'"):
        evaluate(write_run(tmp_path / "within", [within]))
    both = answers(SHARED[:2])
    both[1] = replace(both[1], labels=np.where(both[1].subjects == "s004", 0, both[1].labels))
    with pytest.raises(RefusedError, match=r"same label\. Received: labels \[0, 1\] for 's004"):
        evaluate(write_run(tmp_path / "between", both))
    across = answers(THREE)  # tested by one network, validated by another
    across[1] = replace(across[1], labels=np.where(across[1].subjects == "s004", 0, across[1].labels))
    with pytest.raises(RefusedError, match=r"same label\. Received: labels \[0, 1\] for 's004'"):
        evaluate(write_run(tmp_path / "across", across))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("p_PR", "p_other"),
            r"the columns fold, .*p_WMs and one for each class, the same",
        ),
        (lambda text: text.replace(",FMs,", ",normal,"), r"a label that is one of them\. Received: 'normal'"),
        (lambda text: text[:-20], r"a number for each class"),
        (lambda text: text.splitlines()[0].replace("subject", "who"), r"must have the columns fold, split"),
        (lambda text: text.replace("val", "train"), r"none for val of fold 1\. Train the fold again"),
        (lambda text: "", r"must have the columns fold, split"),
    ],
)
def test_damaged_predictions_are_refused(run: Path, change: Any, message: str) -> None:
    path = run / "fold_1" / "predictions.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(RefusedError, match=message):
        evaluate(run)


# ---- command ----------------------------------------------------------------------------------------------


def test_the_command_shows_tables(tmp_path: Path) -> None:
    parts = answers(THREE)
    run = write_run(tmp_path / "run", parts, write_dataset(tmp_path / "data", parts, column))
    raters = write_raters(tmp_path / "r.csv", [("s000", "Ann", "PR"), ("s001", "Ann", "PR")])
    options = ["--by", "site", "--raters", str(raters), "--aggregation", "median"]
    done = CliRunner().invoke(cli, ["evaluate", str(run), *options])
    assert done.exit_code == 0, done.output
    for text in (
        "clips by median",
        "test, by site",
        "Oslo [north]",
        "Ann and model",
        "sets for 90% coverage",
    ):
        assert text in done.output
    answer = json.loads(CliRunner().invoke(cli, ["evaluate", str(run), *options, "--json"]).output)
    assert answer["aggregation"] == "median"
    assert "probabilities by median." in Path(answer["report"]).read_text()
