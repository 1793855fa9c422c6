"""How a study's videos became clips and subjects, and which were left out why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipelines.quality import without_value
from pipelines.splits import SIDES

RECEIVED = ". Received: "
"""In each refusal the rule stands before it."""

IN_GAPS = "frames are missing, or nobody is found in some"
"""Why a clip was left out that was never judged."""


def data_flow(index: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of what came in, what was left out, and where the rest went.

    Args:
        index: content of dataset.json.
        run: content of run.json.

    Returns:
        `videos`, `used` (of them), `clips`, `clips_left_out` (of the used ones); `classes`: for each its
        `name`, `subjects`, `videos`, `clips`, and `hours` of video; `left_out`: for each rule that videos
        broke the `reason` and `videos`, pairs of id and sentence, most first; `clip_reasons`: pairs of reason
        and count, most first, a clip with several reasons in each; `undealt`: subjects with usable videos on
        no side of any fold and not in the lock box.
    """
    used = [entry for entry in index["videos"] if entry["shard"]]
    broken: dict[str, list[tuple[str, str]]] = {}
    for entry in index["videos"]:
        if entry["left_out"]:
            broken.setdefault(rule_of(entry["left_out"]), []).append((entry["id"], entry["left_out"]))
    dealt = {name for fold in run["folds"] for side in SIDES for name in fold.get(side, [])}
    dealt |= set(run["lock_box"]["subjects"])
    return {
        "videos": len(index["videos"]),
        "used": len(used),
        "clips": sum(entry.get("clips", 0) for entry in used),
        "clips_left_out": sum(entry.get("clips_left_out", 0) for entry in used),
        "classes": [_of_class(name, used) for name in run["classes"]],
        "left_out": [
            {"reason": reason, "videos": sorted(videos)}
            for reason, videos in sorted(broken.items(), key=lambda item: (-len(item[1]), item[0]))
        ],
        "clip_reasons": _clip_reasons(used),
        "undealt": sorted({entry["subject"] for entry in used} - dealt),
    }


def rule_of(sentence: str) -> str:
    """What is common to all videos that were left out for one reason.

    >>> rule_of("a video must show a person. Received: a.mp4 with 9 sampled frames. Film anew")
    'a video must show a person'
    >>> rule_of("failed unexpectedly: ValueError: 7"), rule_of("killed its worker, also alone")
    ('failed unexpectedly', 'killed its worker')
    """
    before, received, _ = sentence.partition(RECEIVED)
    return before if received else re.split("[:,]", sentence)[0]


def _clip_reasons(used: list[dict[str, Any]]) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for entry in used:
        judged = [window["reasons"] for window in entry.get("windows", []) if window["reasons"]]
        for reasons in judged:
            counts.update({without_value(reason) for reason in reasons})
        counts[IN_GAPS] += entry.get("clips_left_out", 0) - len(judged)
    return sorted(
        ((text, count) for text, count in counts.items() if count > 0), key=lambda one: (-one[1], one[0])
    )


def _of_class(name: str, used: list[dict[str, Any]]) -> dict[str, Any]:
    own = [entry for entry in used if entry["label"] == name]
    return {
        "name": name,
        "subjects": len({entry["subject"] for entry in own}),
        "videos": len(own),
        "clips": sum(entry.get("clips", 0) for entry in own),
        "hours": sum(entry.get("seconds", 0.0) for entry in own) / 3600,
    }
