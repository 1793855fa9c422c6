"""docs/study.md: its commands run one after the other, and what it says of them is so."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import ROOT
from tests.test_documents import blocks

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder in which all commands have run, and block -> what it printed."""
    folder = tmp_path_factory.mktemp("study")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "COLUMNS": "120"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    printed = []
    for block in blocks(ROOT / "docs" / "study.md"):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        print(f"$ {block}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        printed.append(done.stdout + done.stderr)
    return folder, printed


def read(path):
    return json.loads(path.read_text())


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_page_shows_what_was_printed(study):
    _, printed = study
    page = (ROOT / "docs" / "study.md").read_text()
    for line in (
        "12 videos, 48 clips in dataset",
        "12 made, 0 kept, 0 redone, 0 removed",
        "trained folds [0, 1] in run; tensorboard --logdir run",
        "leak audit: passed",
        "report: run/report.html",
    ):
        assert f"    {line}\n" in page
        assert any(line in text.splitlines() for text in printed), line


def test_all_files_that_the_page_names_are_there(study):
    folder, _ = study
    for name in (
        "videos/study.csv",
        "preview/video_sheet.png",
        "contact_sheet.png",
        "dataset/dataset.json",
        "run/run.json",
        "run/metrics.json",
        "run/report.html",
        "run/lock_box.csv",
        "run_image/fold_1/model.keras",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "run/fold_1/logs").rglob("events.out.tfevents.*"))


def test_nobody_in_the_lock_box_is_in_a_fold_and_siblings_stay_together(study):
    folder, _ = study
    run = read(folder / "run/run.json")
    locked = run["lock_box"]["subjects"]
    assert len(locked) >= 2
    assert len(run["lock_box"]["opened"]) == 1
    everybody = {row["subject"] for row in rows(folder / "videos/study.csv")}
    assert len(everybody) == 12
    for fold in run["folds"]:
        assert sorted(sum(fold.values(), start=locked)) == sorted(everybody)
        assert [s for s in (*fold.values(), locked) if {"infant_009", "infant_011"} <= set(s)]
    tested = [name for fold in run["folds"] for name in fold["test"]]
    assert sorted(tested + locked) == sorted(everybody)
    assert {row["subject"] for row in rows(folder / "run/lock_box.csv")} == set(locked)


def test_the_killed_run_is_whole(study):
    folder, _ = study
    run = read(folder / "run/run.json")
    assert run["trained_folds"] == [0, 1]
    assert len(run["resumed"]) == 1
    for number, fold in enumerate(run["folds"]):
        place = folder / f"run/fold_{number}"
        assert [row["epoch"] for row in rows(place / "history.csv")] == ["0", "1"]
        answered = {row["subject"] for row in rows(place / "predictions.csv")}
        assert answered == {*fold["val"], *fold["test"]}
    assert not list((folder / "run").rglob("checkpoint*"))
    assert not list((folder / "run").rglob("*.part*"))


def test_both_methods_were_tested_on_the_same_subjects(study):
    folder, _ = study
    assert read(folder / "run/run.json")["folds"] == read(folder / "run_image/run.json")["folds"]


def test_the_figures_have_what_a_paper_needs(study):
    folder, printed = study
    metrics, page = read(folder / "run/metrics.json"), (folder / "run/report.html").read_text()
    assert {"site", "age_weeks"} == set(metrics["strata"])
    (pair,) = [p for p in metrics["raters"]["pairs"] if {p["first"], p["second"]} == {"labels", "second"}]
    assert pair["n"] == metrics["test"]["subject"]["n"]
    for name in ("balanced_accuracy", "macro_auroc", "brier"):
        assert name in metrics["test"]["subject"]["intervals"]
    run = read(folder / "run/run.json")
    assert run["dataset_sha256"] in printed[-1]
    assert run["environment"]["packages"]["keras"] in printed[-1]
    assert run["lock_box"]["opened"][0] in printed[-1]
    assert re.search(r"leak audit", page, re.IGNORECASE)
