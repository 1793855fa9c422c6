"""Whether a subject, a group or a recording is on two sides of a run, counted from what its files say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.build import INDEX, file_digest, read_index
from pipelines.duplicates import same_recordings
from pipelines.schema import RefusedError
from pipelines.splits import LOCK_BOX, SIDES, join_groups
from tfgma.runs import LOCK_BOX_FILE, Predictions, read_predictions

PASSED, FAILED, NOT_DONE = "passed", "failed", "not done"
INCOMPLETE = "incomplete"
"""The verdict where nothing failed and something could not be looked at."""

MOST_FINDINGS = 20
"""Of each check so many are named; all are counted."""

SHARED = ("subjects", "groups", "files", "recordings")
"""What must not be shared between two sides."""

CHECKS = {
    "subjects": "no subject is on two sides of a fold, or on one and in the lock box",
    "groups": "no group (siblings, a site), joined over all its subjects' videos, is on two of these",
    "files": "no video file, by its SHA-256, is on two of these",
    "recordings": "no recording is, by fingerprints of the movement (scaled, cut or mirrored copies too)",
    "known": "each subject of a fold or the lock box has a usable video in dataset.json, of one class",
    "answers": "networks answered for all validation and test subjects of their fold, and nobody else",
    "videos": "each answered video is, in dataset.json, of the subject and the class that the answer names",
    "lock box": "its answers are of its subjects, and only there if its opening is on the record",
    "data set": "dataset.json is, by its SHA-256, the one that was trained on",
}
"""What is looked at, by name."""


def audit_run(run: Path, content: dict[str, Any], predictions: Predictions) -> dict[str, Any]:
    """`leak_audit` of a run's folder, beside its data set if that is still where it was.

    Args:
        run: its folder.
        content: of run.json.
        predictions: of all trained folds.
    """
    dataset = Path(content["dataset"])
    index, trouble = None, None
    try:
        index = read_index(dataset)
    except RefusedError as error:
        trouble = str(error)
    locked = read_predictions([run / LOCK_BOX_FILE]) if (run / LOCK_BOX_FILE).exists() else None
    digest = file_digest(dataset / INDEX)
    return leak_audit(content, index, predictions, locked, digest=digest, trouble=trouble)


def leak_audit(
    content: dict[str, Any],
    index: dict[str, Any] | None,
    predictions: Predictions,
    locked: Predictions | None,
    *,
    digest: str | None,
    trouble: str | None = None,
) -> dict[str, Any]:
    """What leaks in a run.

    Args:
        content: of run.json.
        index: of dataset.json; None where it is not to be had, for the reason in `trouble`.
        predictions: answers for the validation and test sides of the trained folds.
        locked: answers for the lock box; None where there are none.
        digest: SHA-256 of dataset.json.

    Returns:
        `verdict`: PASSED, FAILED or INCOMPLETE; `trouble`; `checks`: for each of CHECKS its `name`, `what`,
        `result` (PASSED, FAILED or NOT_DONE), `count` of leaks and `findings`, the first MOST_FINDINGS of
        them as sentences; `folds`: for each fold, and for each of SHARED, how many are on two of its sides or
        on one and in the lock box (None where that was not looked at).
    """
    lock_box = content["lock_box"]["subjects"]
    keys = {"subjects": {name: {name} for name in _everybody(content)}}
    done: dict[str, list[str] | None] = dict.fromkeys(CHECKS)
    if index is not None:
        videos = [entry for entry in index["videos"] if entry["shard"]]
        keys |= _keys(videos)
        done["known"] = _unknown(content, videos)
        done["videos"] = _misnamed(predictions, locked, videos)
        done["data set"] = [] if digest == content["dataset_sha256"] else ["dataset.json has changed since"]
        try:
            keys["recordings"] = _copies(videos)
        except RefusedError as error:
            trouble = str(error)
    done["answers"] = list(_strangers(content, predictions))
    done["lock box"] = _lock_box_findings(content, locked)
    folds = []
    for number, fold in enumerate(content["folds"]):
        sides = {LOCK_BOX: lock_box, **{side: fold.get(side, []) for side in SIDES}}
        row: dict[str, Any] = {"fold": number, **dict.fromkeys(SHARED)}
        for kind, keys_of in keys.items():
            leaks = _on_two_sides(sides, keys_of)
            row[kind] = len(leaks)
            done[kind] = (done[kind] or []) + [f"fold {number}: {leak}" for leak in leaks]
        folds.append(row)
    checks = [_check(name, findings) for name, findings in done.items()]
    # A data set that has changed is no leak, but what was found in it is not what was trained on.
    failed = [one["name"] for one in checks if one["result"] == FAILED and one["name"] != "data set"]
    verdict = FAILED if failed else PASSED
    if not failed and any(one["result"] != PASSED for one in checks):
        verdict = INCOMPLETE
    return {"verdict": verdict, "trouble": trouble, "checks": checks, "folds": folds}


def _check(name: str, findings: list[str] | None) -> dict[str, Any]:
    result = NOT_DONE if findings is None else FAILED if findings else PASSED
    return {
        "name": name,
        "what": CHECKS[name],
        "result": result,
        "count": None if findings is None else len(findings),
        "findings": (findings or [])[:MOST_FINDINGS],
    }


def _everybody(content: Mapping[str, Any]) -> set[str]:
    dealt = {name for fold in content["folds"] for side in SIDES for name in fold.get(side, [])}
    return dealt | set(content["lock_box"]["subjects"])


def _keys(videos: list[dict[str, Any]]) -> dict[str, dict[str, set[str]]]:
    """For groups and files: subject -> what it has of them."""
    group_of = join_groups([one["subject"] for one in videos], [one["group"] for one in videos])
    files: dict[str, set[str]] = {}
    for one in videos:
        files.setdefault(one["subject"], set()).add(one["sha256"])
    return {"groups": {name: {group} for name, group in group_of.items()}, "files": files}


def _copies(videos: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Subject -> pairs of videos, one of them its own, that show one recording."""
    found: dict[str, set[str]] = {}
    for same in same_recordings(videos):
        for subject in same.subjects:
            found.setdefault(subject, set()).add(f"{' and '.join(same.videos)}, {same.why},")
    return found


def _on_two_sides(sides: Mapping[str, list[str]], keys_of: Mapping[str, set[str]]) -> list[str]:
    """Each key that subjects of two or more sides have, with these sides; in the keys' order."""
    places: dict[str, set[str]] = {}
    for side, names in sides.items():
        for name in names:
            for key in keys_of.get(name, ()):
                places.setdefault(key, set()).add(side)
    order = (LOCK_BOX, *SIDES)
    return [
        f"{key} in {' and '.join(sorted(found, key=order.index))}"
        for key, found in sorted(places.items())
        if len(found) > 1
    ]


def _unknown(content: Mapping[str, Any], videos: list[dict[str, Any]]) -> list[str]:
    labels: dict[str, set[str]] = {}
    for one in videos:
        labels.setdefault(one["subject"], set()).add(one["label"])
    return [f"{name} has no video" for name in sorted(_everybody(content) - labels.keys())] + [
        f"{name} is of {' and '.join(sorted(found))}"
        for name, found in sorted(labels.items())
        if len(found) > 1
    ]


def _strangers(content: Mapping[str, Any], predictions: Predictions) -> Iterator[str]:
    for fold in content["trained_folds"]:
        for side in ("val", "test"):
            rows = (predictions.folds == fold) & (predictions.sides == side)
            answered = set(predictions.subjects[rows].tolist())
            dealt = set(content["folds"][fold].get(side, []))
            for name in sorted(answered - dealt):
                yield f"fold {fold}: {name} was answered for as {side} and is not of that side"
            for name in sorted(dealt - answered):
                yield f"fold {fold}: {name} of {side} was not answered for"


def _misnamed(
    predictions: Predictions, locked: Predictions | None, videos: list[dict[str, Any]]
) -> list[str]:
    known = {one["id"]: (one["subject"], one["label"]) for one in videos}
    named = set()
    for part in (predictions, locked) if locked else (predictions,):
        labels = [part.classes[label] for label in part.labels]
        named |= set(zip(part.videos.tolist(), part.subjects.tolist(), labels, strict=True))
    return [
        f"{video} was answered for as {subject} of {label}"
        for video, subject, label in sorted(named)
        if known.get(video) != (subject, label)
    ]


def _lock_box_findings(content: Mapping[str, Any], locked: Predictions | None) -> list[str]:
    kept = set(content["lock_box"]["subjects"])
    answered = set() if locked is None else set(locked.subjects.tolist())
    findings = [f"{name} was answered for and is not in it" for name in sorted(answered - kept)]
    if locked is not None:
        findings += [f"{name} was not answered for" for name in sorted(kept - answered)]
        if not content["lock_box"]["opened"]:
            findings.append("it was answered for, and run.json has no time of its opening")
    return findings
