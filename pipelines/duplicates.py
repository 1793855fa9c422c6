"""Which videos of subjects of different groups show one recording."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.fingerprints import SAME_FROM, agreement_at, agreements, read_fingerprint, read_words
from pipelines.likely_copies import likely_copies
from pipelines.schema import RefusedError
from pipelines.splits import SameRecording, join_groups

MOST_COMPARED_EACH_WITH_EACH = 256
"""Videos, which take seconds; of more, copies that share a few seconds only may be missed."""


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
    groups = np.unique([group_of[one["subject"]] for one in videos], return_inverse=True)[1]
    reasons = {
        (i, j): (f"near-duplicates (movements agree by {alike:.2f}, from {SAME_FROM:g} on they count as one)")
        for i, j, alike in _alike([one["fingerprint"] or "" for one in videos], groups)
    }
    reasons |= dict.fromkeys(_of_one_file([one["sha256"] for one in videos], groups), "the same file")
    return [
        SameRecording(
            (videos[i]["id"], videos[j]["id"]), (videos[i]["subject"], videos[j]["subject"]), reasons[i, j]
        )
        for i, j in sorted(reasons)
    ]


def _of_one_file(files: Sequence[str], groups: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of places with the same file under two groups."""
    places = defaultdict(list)
    for place, file in enumerate(files):
        places[file].append(place)
    for copies in places.values():
        yield from ((i, j) for i, j in itertools.combinations(copies, 2) if groups[i] != groups[j])


def _alike(fingerprints: Sequence[str], groups: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Pairs of places of two groups whose fingerprints agree, and how much."""
    if len(fingerprints) <= MOST_COMPARED_EACH_WITH_EACH:
        every = agreements([read_fingerprint(one) for one in fingerprints])
        found = np.argwhere(np.triu((every >= SAME_FROM) & (groups[:, None] != groups), 1))
        yield from ((i, j, float(every[i, j])) for i, j in found.tolist())
        return
    best: dict[tuple[int, int], float] = {}
    videos = [read_words(one) for one in fingerprints]
    for i, j, shift in likely_copies(videos, groups).tolist():
        best[i, j] = max(best.get((i, j), -1.0), agreement_at(videos[i], videos[j], shift))
    yield from ((i, j, alike) for (i, j), alike in best.items() if alike >= SAME_FROM)
