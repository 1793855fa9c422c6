"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

PART = ".part"
"""Ending of a file that is still being written."""


@contextlib.contextmanager
def written_whole(path: Path, writer: str = "") -> Iterator[Path]:
    """Gives a temporary name beside `path`; what the block wrote there becomes `path` at its end.

    `writer` tells the temporary name apart from those of others who may write `path` at the same time.

    The bytes are on the disk before the name is, and the name is when this returns: after a power cut `path`
    is what it was before, or all of the new. If the block raises, or leaves nothing there, `path` is
    untouched and nothing is left behind.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    temporary = path.with_name(path.name + writer + PART)
    try:
        yield temporary
        if temporary.exists():
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Brings a folder's names to the disk, where the system can."""
    if os.name == "nt":  # folders cannot be opened there; NTFS logs renames itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know no such call; their renames are as safe as they get.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)
