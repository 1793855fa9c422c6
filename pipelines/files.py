"""Files that are there whole or not at all, and names for them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pipelines.schema import RefusedError

PART = ".part"
"""Ending of a file that is still being written."""

_FULL = tuple(os.strerror(getattr(errno, name)) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))


def is_full(error: BaseException) -> bool:
    """Whether the disk, or the user's share of it, had no room; also by the words of libraries in C++."""
    return any(words in str(error) for words in _FULL)


@contextlib.contextmanager
def full_disk_refused(folder: Path, remedy: str) -> Iterator[None]:
    """Ends the block in one sentence where something that it called found no room in `folder`.

    Raises:
        RefusedError: the disk is full.
    """
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise RefusedError(
            f"the disk must have room for all that is written. Received: no space left in {str(folder)!r}. "
            f"Make room, then {remedy}"
        ) from error


def refuse_taken(out: Path) -> None:
    """Refuses what is no folder, or one that holds something.

    Raises:
        RefusedError: it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RefusedError(
            f"--out must be a new or empty folder. Received: {str(out)!r}. Choose another name"
        )


@contextlib.contextmanager
def folder_written_whole(out: Path) -> Iterator[Path]:
    """Gives a temporary folder beside `out`, a new or empty one, that becomes it at the block's end.

    If the block raises, `out` is untouched and nothing is left behind.

    Raises:
        RefusedError: `out` holds something, or cannot be written.
    """
    refuse_taken(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error.strerror})") from error
    try:
        yield building
        building.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)


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


@contextlib.contextmanager
def held(folder: Path, wait_seconds: float = 0) -> Iterator[None]:
    """Keeps every other process out of the block that holds `folder`; the system frees what a process held.

    On Windows, where folders cannot be locked, nobody is kept out.

    Raises:
        RefusedError: another process still holds it after `wait_seconds`.
    """
    if os.name == "nt":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise RefusedError(
                        f"a folder must be written by one process at a time. Received: {str(folder)!r}, "
                        "which another one writes. Wait for its end, or stop it"
                    ) from None
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


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


def distinct_names(paths: Sequence[Path], root: Path) -> list[str]:
    """A name for each path: its stem; with its folders below `root` and its ending where two have the same.

    >>> distinct_names([Path("v/a/x.mp4"), Path("v/b/x.mp4"), Path("v/y.mov")], Path("v"))
    ['a__x__mp4', 'b__x__mp4', 'y']
    """
    stems = Counter(path.stem for path in paths)
    names: list[str] = []
    for number, path in enumerate(paths):
        name = path.stem
        if stems[name] > 1:
            inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
            name = "__".join([*inside.with_suffix("").parts, path.suffix[1:]])
            name = f"{number}_{name}" if name in names else name
        names.append(name)
    return names


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files in and below a folder, by name, with one of these endings (lower case); no hidden ones."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith(".")
    ]
