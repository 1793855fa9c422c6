"""Videos that arrive in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from pipelines.schema import RefusedError
from pipelines.video import SUFFIXES

LOOK_EVERY_SECONDS = 2.0
"""A file that is still being copied has another size or time at the next look."""


def arrivals(
    folder: Path, known: Collection[Path], sleep: Callable[[float], None] = time.sleep
) -> Iterator[Path]:
    """Each video in or below `folder` once, when it has not changed from one look to the next; without end.

    Args:
        folder: is looked at every LOOK_EVERY_SECONDS.
        known: videos that are passed over.
        sleep: waits so many seconds.

    Raises:
        RefusedError: no folder.
    """
    if not folder.is_dir():
        raise RefusedError(f"--watch must be a folder. Received: {str(folder)!r}")
    done = set(known)
    before: dict[Path, tuple[int, int]] = {}
    while True:
        seen = _seen(folder)
        for path in sorted(seen):
            if path not in done and before.get(path) == seen[path]:
                done.add(path)
                yield path
        before = seen
        sleep(LOOK_EVERY_SECONDS)


def _seen(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of each video."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            try:
                state = path.stat()
            except OSError:
                continue  # gone again
            found[path] = state.st_size, state.st_mtime_ns
    return found
