from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from click.testing import CliRunner
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from pipelines.schema import RefusedError
from tests.handmade_runs import answers, write_run
from tfgma.cli.main import cli
from tfgma.comparison import FIGURES, compare, delong, mcnemar
from tfgma.evaluation import evaluate

FOLDS = [(range(12, 24), range(12)), (range(12), range(12, 24))]


def slow_delong(is_class: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Difference and its variance from the structural components, pair by pair (DeLong et al. 1988)."""
    areas, of_positive, of_negative = [], [], []
    for scores in (a, b):
        x, y = scores[is_class], scores[~is_class]
        psi = np.array([[1.0 if p > n else 0.5 if p == n else 0.0 for n in y] for p in x])
        areas.append(psi.mean())
        of_positive.append(psi.mean(axis=1))
        of_negative.append(psi.mean(axis=0))
    s10, s01 = np.cov(of_positive), np.cov(of_negative)
    s = s10 / len(of_positive[0]) + s01 / len(of_negative[0])
    return areas[0] - areas[1], s[0, 0] + s[1, 1] - 2 * s[0, 1]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_delong_equals_its_structural_components(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    is_class = rng.random(40) < 0.4
    a = rng.normal(size=40) + is_class
    b = 0.5 * a + rng.normal(size=40)
    if ties:
        a, b = np.round(a), np.round(b)
    found = delong(is_class, a, b)
    difference, variance = slow_delong(is_class, a, b)
    assert found is not None
    assert found["a"] == pytest.approx(sk.roc_auc_score(is_class, a), abs=1e-9)
    assert found["b"] == pytest.approx(sk.roc_auc_score(is_class, b), abs=1e-9)
    assert found["difference"] == pytest.approx(difference, abs=1e-9)
    assert found["standard_error"] == pytest.approx(np.sqrt(variance), abs=1e-9)
    z = difference / np.sqrt(variance)
    assert found["p"] == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), abs=1e-9)
    low, high = found["interval"]
    assert (low + high) / 2 == pytest.approx(difference, abs=1e-9)
    mirrored = delong(~is_class, -a, -b)
    assert mirrored is not None
    assert mirrored["p"] == pytest.approx(found["p"], abs=1e-9)


def test_delong_of_degenerate_scores() -> None:
    scores = np.array([0.1, 0.4, 0.6])
    assert delong(np.array([True, True, True]), scores, scores) is None
    same = delong(np.array([False, False, True, True]), np.arange(4.0), np.arange(4.0))
    assert same is not None
    assert (same["difference"], same["standard_error"], same["p"]) == (0.0, 0.0, None)
    single = delong(np.array([False, False, True]), scores, scores[::-1])
    assert single is not None
    assert (single["difference"], single["standard_error"], single["p"]) == (1.0, None, None)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 0), (9, 2), (5, 5), (20, 40)])
def test_mcnemar_equals_statsmodels_and_scipy(only_a: int, only_b: int) -> None:
    right_a = np.array([True] * only_a + [False] * only_b + [True] * 4 + [False] * 2)
    right_b = np.array([False] * only_a + [True] * only_b + [True] * 4 + [False] * 2)
    found = mcnemar(right_a, right_b)
    assert found == {"both_right": 4, "only_a": only_a, "only_b": only_b, "both_wrong": 2, "p": found["p"]}
    if only_a + only_b:
        theirs = scipy.stats.binomtest(min(only_a, only_b), only_a + only_b).pvalue
        assert found["p"] == pytest.approx(theirs, abs=1e-9)
        theirs = statsmodels_mcnemar([[4, only_a], [only_b, 2]], exact=True).pvalue
        assert found["p"] == pytest.approx(theirs, abs=1e-9)
    else:
        assert found["p"] == 1.0


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    good = write_run(tmp_path / "good", answers(FOLDS, skill=0.7, seed=1))
    poor = write_run(tmp_path / "poor", answers(FOLDS, skill=0.1, seed=2))
    return good, poor


def test_a_better_run_is_seen_to_be_better(runs: tuple[Path, Path]) -> None:
    good, poor = runs
    found = compare(good, poor)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["subjects"] == 24
    assert found["differences"].keys() == set(FIGURES)
    of_good, of_poor = (evaluate(run)["test"]["subject"] for run in runs)
    for name, one in found["differences"].items():
        assert one["a"] == pytest.approx(of_good[name], abs=1e-9)
        assert one["difference"] == pytest.approx(of_good[name] - of_poor[name], abs=1e-9)
        if one["interval"]:
            assert one["interval"][0] <= one["difference"] <= one["interval"][1]
    assert found["differences"]["accuracy"]["interval"][0] > 0
    assert found["differences"]["brier"]["interval"][1] < 0
    assert set(found["delong"]) == {"FMs", "PR", "WMs"}
    assert found["mcnemar"]["only_a"] > found["mcnemar"]["only_b"]
    assert found["mcnemar"]["p"] < 0.05


def test_a_run_does_not_differ_from_itself(runs: tuple[Path, Path]) -> None:
    found = compare(runs[0], runs[0])
    assert all(one["difference"] == 0 for one in found["differences"].values())
    assert found["mcnemar"]["p"] == 1.0
    reverse, forth = compare(*runs[::-1]), compare(*runs)
    for name in FIGURES:
        assert reverse["differences"][name]["difference"] == -forth["differences"][name]["difference"]


def test_two_classes_have_one_delong(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", answers(FOLDS, classes=("ASD", "not"), seed=1))
    two = write_run(tmp_path / "two", answers(FOLDS, classes=("ASD", "not"), seed=2))
    assert list(compare(one, two)["delong"]) == ["not"]


def test_classes_in_another_order_are_the_same_classes(tmp_path: Path) -> None:
    parts = answers(FOLDS, seed=1)
    turned = [
        replace(
            part,
            classes=part.classes[::-1],
            labels=2 - part.labels,
            probabilities=part.probabilities[:, ::-1],
        )
        for part in parts
    ]
    one, two = write_run(tmp_path / "one", parts), write_run(tmp_path / "two", turned)
    assert all(one["difference"] == 0 for one in compare(one, two)["differences"].values())


def test_runs_that_do_not_pair_are_refused(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    fewer = write_run(tmp_path / "fewer", answers([(range(12, 24), range(11))]))
    with pytest.raises(
        RefusedError, match=r"same subjects\. Received: 24 and 11, of which 13 in one only, such as"
    ):
        compare(runs[0], fewer)
    parts = answers(FOLDS, seed=1)
    other = [
        replace(part, labels=np.where(part.subjects == "s004", (part.labels + 1) % 3, part.labels))
        for part in parts
    ]
    labelled = write_run(tmp_path / "labelled", other)
    with pytest.raises(RefusedError, match=r"same labels\. Received: 's004' as 'PR' and as 'WMs'\. Train"):
        compare(runs[0], labelled)
    classes = write_run(tmp_path / "classes", answers(FOLDS, classes=("a", "b", "c")))
    with pytest.raises(RefusedError, match=r"same classes\. Received: FMs, PR, WMs and a, b, c\. Compare"):
        compare(runs[0], classes)


def test_the_command_prints_what_it_finds(runs: tuple[Path, Path]) -> None:
    good, poor = map(str, runs)
    done = CliRunner().invoke(cli, ["compare", good, poor, "--json"])
    assert json.loads(done.output) == {"a": good, "b": poor, **compare(*runs)}
    text = CliRunner().invoke(cli, ["compare", good, poor]).output
    assert "24 test subjects" in text
    assert "McNemar: " in text
    assert "DeLong, AUROC of WMs" in text
