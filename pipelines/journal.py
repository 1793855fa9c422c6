"""A file of JSON lines that grows, and that a crash can only shorten."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipelines.files import sync_folder


class Journal:
    """What was done so far, one JSON object a line.

    What `add` was given is on the disk when it returns. A line that a crash or a full disk cut short is not
    read, and spoils no other.
    """

    def __init__(self, path: Path) -> None:
        """The journal at `path`, which need not exist."""
        self._path = path

    def read(self) -> list[dict[str, Any]]:
        """The whole lines, in the order of writing."""
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_bytes().split(b"\n"):
            try:
                found.append(json.loads(line))
            except ValueError:  # empty, or cut short
                continue
        return found

    def add(self, *objects: dict[str, Any]) -> None:
        """Appends a line each.

        Raises:
            OSError: the file cannot be written to, or the disk is full.
        """
        if not objects:
            return
        is_new = not self._path.exists()
        # The break comes first: it ends whatever was cut short before.
        lines = "".join(f"\n{json.dumps(one)}" for one in objects)
        with self._path.open("ab") as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self._path.parent)

    def remove(self) -> None:
        """Deletes the file, if there is one."""
        self._path.unlink(missing_ok=True)
