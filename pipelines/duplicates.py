"""Which videos of subjects of different groups show one recording."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from pipelines.fingerprints import SAME_FROM, agreement, read_fingerprint
from pipelines.schema import RefusedError
from pipelines.splits import SameRecording, join_groups


def same_recordings(videos: Sequence[dict[str, Any]]) -> list[SameRecording]:
    """Pairs of videos under the names of two subjects of different groups that show one recording.

    The same file counts, whatever part of it is used, and so do videos whose fingerprints agree
    (pipelines.fingerprints). Joints alone have no pictures and so no fingerprint: of them the same file
    counts only.

    Args:
        videos: entries of dataset.json that have a shard.

    Raises:
        RefusedError: an entry of a build that made no fingerprints.
    """
    for one in videos:
        if "fingerprint" not in one:
            raise RefusedError(
                "each video in dataset.json must have a fingerprint, by which copies are found. "
                f"Received: {one['id']!r} without. Build the data set again with this version of tfgma"
            )
    group_of = join_groups([one["subject"] for one in videos], [one["group"] for one in videos])
    signs = [read_fingerprint(one["fingerprint"] or "") for one in videos]
    found = []
    for (one, its), (other, others) in combinations(zip(videos, signs, strict=True), 2):
        if group_of[one["subject"]] == group_of[other["subject"]]:
            continue
        if one["sha256"] == other["sha256"]:
            why = "the same file"
        elif (alike := agreement(its, others)) >= SAME_FROM:
            why = f"near-duplicates (movements agree by {alike:.2f}, from {SAME_FROM:g} on they count as one)"
        else:
            continue
        found.append(SameRecording((one["id"], other["id"]), (one["subject"], other["subject"]), why))
    return found
