"""Which videos of subjects of different groups show one recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.fingerprints import SAME_FROM, agreements, read_fingerprint
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
    groups = np.array([group_of[one["subject"]] for one in videos])
    files = np.array([one["sha256"] for one in videos])
    alike = agreements([read_fingerprint(one["fingerprint"] or "") for one in videos])
    same_file = files[:, None] == files
    pairs = np.triu((same_file | (alike >= SAME_FROM)) & (groups[:, None] != groups), 1)
    found = []
    for i, j in np.argwhere(pairs):
        one, other, why = videos[i], videos[j], "the same file"
        if not same_file[i, j]:
            why = (
                f"near-duplicates (movements agree by {alike[i, j]:.2f}, "
                f"from {SAME_FROM:g} on they count as one)"
            )
        found.append(SameRecording((one["id"], other["id"]), (one["subject"], other["subject"]), why))
    return found
