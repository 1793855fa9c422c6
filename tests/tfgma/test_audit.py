"""Leaks that were put into a run are found, and nothing else is."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.handmade_runs import answers, write_dataset, write_run
from tfgma.audit import CHECKS, MOST_FINDINGS, SHARED, audit_run
from tfgma.evaluation import evaluate
from tfgma.runs import read_run, read_run_predictions

THREE = [(range(24, 36), range(12)), (range(0, 12), range(12, 24)), (range(12, 24), range(24, 36))]
LOCKED = range(36, 42)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three folds, six subjects in an opened lock box, the data set beside."""
    parts = answers(THREE)
    locked = answers([((), LOCKED)])[0]
    locked = replace(locked, sides=np.full(len(locked.sides), "lock_box"))
    dataset = write_dataset(tmp_path / "data", [*parts, locked])
    return write_run(tmp_path / "run", parts, dataset, lock_box=locked)


def changed(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def in_data(run: Path, change: Any) -> None:
    """Changes dataset.json by `change(video's entries by id)`, and its hash in run.json with it."""
    from pipelines.build import file_digest

    path = run.parent / "data" / "dataset.json"
    changed(path, lambda index: change({one["id"]: one for one in index["videos"]}))
    changed(run / "run.json", lambda content: content.update(dataset_sha256=file_digest(path)))


def audit_of(run: Path) -> dict[str, Any]:
    return audit_run(run, read_run(run), read_run_predictions(run))


def results(audit: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["result"] for check in audit["checks"]}


def findings(audit: dict[str, Any], name: str) -> list[str]:
    return next(check["findings"] for check in audit["checks"] if check["name"] == name)


def failed(audit: dict[str, Any]) -> list[str]:
    return [name for name, result in results(audit).items() if result == "failed"]


def test_a_clean_run_passes_every_check(run: Path) -> None:
    audit = audit_of(run)
    assert results(audit) == dict.fromkeys(CHECKS, "passed")
    assert audit["verdict"] == "passed"
    assert audit["folds"] == [{"fold": fold, **dict.fromkeys(SHARED, 0)} for fold in range(3)]
    assert evaluate(run)["audit"] == audit
    assert json.loads((run / "metrics.json").read_text())["audit"] == audit


def test_a_subject_on_two_sides_of_a_tampered_run_is_found(run: Path) -> None:
    changed(run / "run.json", lambda content: content["folds"][1]["train"].append("s013"))
    audit = audit_of(run)
    assert audit["verdict"] == "failed"
    # With the subject its group and its file are on both sides.
    assert failed(audit) == ["subjects", "groups", "files"]
    assert findings(audit, "subjects") == ["fold 1: s013 in train and test"]
    assert [row["subjects"] for row in audit["folds"]] == [0, 1, 0]
    assert [row["files"] for row in audit["folds"]] == [0, 2, 0]  # its two videos
    assert [row["recordings"] for row in audit["folds"]] == [0, 0, 0]


def test_a_subject_of_the_lock_box_in_a_fold_is_found(run: Path) -> None:
    changed(run / "run.json", lambda content: content["folds"][2]["train"].append("s038"))
    audit = audit_of(run)
    assert findings(audit, "subjects") == ["fold 2: s038 in lock box and train"]
    assert audit["folds"][2]["subjects"] == 1


def test_a_group_on_two_sides_is_found(run: Path) -> None:
    def siblings(videos: dict[str, Any]) -> None:
        for name in ("s001_v0", "s030_v1"):
            videos[name]["group"] = "twins"

    in_data(run, siblings)
    audit = audit_of(run)
    assert failed(audit) == ["groups"]
    # Subject 1 is tested in fold 0, validated in 1, trained on in 2; subject 30 is elsewhere each time. Their
    # own names are groups of them too: all join into the first in the alphabet.
    assert findings(audit, "groups") == [
        "fold 0: s001 in val and test",
        "fold 1: s001 in train and val",
        "fold 2: s001 in train and test",
    ]


def test_a_file_under_two_names_is_found(run: Path) -> None:
    in_data(run, lambda videos: videos["s001_v0"].update(sha256="file of s038_v0"))
    audit = audit_of(run)
    assert failed(audit) == ["files", "recordings"]
    assert findings(audit, "files")[0] == "fold 0: file of s038_v0 in lock box and test"
    assert "the same file" in findings(audit, "recordings")[0]


def test_a_near_duplicate_is_found_by_its_fingerprint(run: Path) -> None:
    words = np.random.default_rng(0).integers(0, 256, (40, 8), dtype=np.uint8)
    words[:, 0] |= 128

    def copied(videos: dict[str, Any]) -> None:
        for name, part in (("s001_v0", words), ("s014_v1", words[5:])):
            videos[name]["fingerprint"] = base64.b64encode(part.tobytes()).decode()

    in_data(run, copied)
    audit = audit_of(run)
    assert failed(audit) == ["recordings"]
    assert [row["recordings"] for row in audit["folds"]] == [1, 1, 1]
    assert "s001_v0 and s014_v1, near-duplicates (movements agree by 1.00" in findings(audit, "recordings")[0]


def test_answers_for_others_than_the_folds_subjects_are_found(run: Path) -> None:
    def moved(content: dict[str, Any]) -> None:
        fold = content["folds"][0]
        fold["test"].remove("s003")
        fold["train"].append("s003")

    changed(run / "run.json", moved)
    audit = audit_of(run)
    assert failed(audit) == ["answers"]
    assert findings(audit, "answers") == ["fold 0: s003 was answered for as test and is not of that side"]
    changed(run / "run.json", lambda content: content["folds"][0]["val"].append("s003"))
    assert "fold 0: s003 of val was not answered for" in findings(audit_of(run), "answers")


def test_videos_that_belong_to_others_are_found(run: Path) -> None:
    in_data(run, lambda videos: videos["s004_v1"].update(subject="s005"))
    audit = audit_of(run)
    assert failed(audit) == ["known", "videos"]  # subject 5 is of another class
    assert findings(audit, "known") == ["s005 is of PR and WMs"]
    assert findings(audit, "videos") == ["s004_v1 was answered for as s004 of PR"]
    in_data(run, lambda videos: [videos[name].update(subject="x") for name in ("s004_v0", "s004_v1")])
    assert "s004 has no video" in findings(audit_of(run), "known")


def test_a_lock_box_without_a_record_is_found(run: Path) -> None:
    changed(run / "run.json", lambda content: content["lock_box"].update(opened=[]))
    audit = audit_of(run)
    assert failed(audit) == ["lock box"]
    assert findings(audit, "lock box") == ["it was answered for, and run.json has no time of its opening"]
    changed(run / "run.json", lambda content: content["lock_box"]["subjects"].remove("s037"))
    assert "s037 was answered for and is not in it" in findings(audit_of(run), "lock box")


def test_a_changed_data_set_is_no_leak_and_no_pass(run: Path) -> None:
    changed(run.parent / "data" / "dataset.json", lambda index: index.update(note="changed"))
    audit = audit_of(run)
    assert audit["verdict"] == "incomplete"
    assert failed(audit) == ["data set"]


def test_without_the_data_set_what_can_be_counted_is(run: Path) -> None:
    (run.parent / "data").rename(run.parent / "elsewhere")
    audit = audit_of(run)
    assert audit["verdict"] == "incomplete"
    done = {name for name, result in results(audit).items() if result != "not done"}
    assert done == {"subjects", "answers", "lock box"}
    assert "a data set must be a folder with dataset.json" in audit["trouble"]
    assert audit["folds"][0] == {"fold": 0, "subjects": 0, "groups": None, "files": None, "recordings": None}
    changed(run / "run.json", lambda content: content["folds"][1]["train"].append("s013"))
    assert audit_of(run)["verdict"] == "failed"


def test_a_data_set_without_fingerprints_leaves_the_other_checks(run: Path) -> None:
    in_data(run, lambda videos: videos["s004_v1"].pop("fingerprint"))
    audit = audit_of(run)
    assert audit["verdict"] == "incomplete"
    assert [name for name, result in results(audit).items() if result == "not done"] == ["recordings"]
    assert "must have a fingerprint" in audit["trouble"]


def test_of_many_findings_some_are_named_and_all_counted(run: Path) -> None:
    def everybody(content: dict[str, Any]) -> None:
        for fold in content["folds"]:
            fold["train"] = [f"s{number:03d}" for number in range(36)]

    changed(run / "run.json", everybody)
    check = audit_of(run)["checks"][0]
    assert (check["count"], len(check["findings"])) == (3 * 24, MOST_FINDINGS)
