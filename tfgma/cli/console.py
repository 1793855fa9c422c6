"""What a terminal sees: progress, tables, JSON, and one sentence when something is refused."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import click

LINE_SECONDS = 30.0
"""Least time between two lines of progress in a log."""

DAY_SECONDS = 24 * 60 * 60


@contextlib.contextmanager
def progress_bar(title: str, *, lines: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr with the time that is left; gives `tell(done, total, text)`.

    Where stderr is not a terminal it is quiet or, with `lines`, tells the first step, the last, and of those
    between one in LINE_SECONDS.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # An epoch may take an hour; of the last 30 seconds alone Rich would know no speed.
    bar = Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=DAY_SECONDS,
        get_time=time.monotonic,
    )
    with bar:
        task = bar.add_task(title, total=None)
        told = -math.inf

        def tell(done: int, total: int, text: str = "") -> None:
            nonlocal told
            bar.update(task, completed=done, total=total, description=f"{title}  {text}".rstrip())
            now = time.monotonic()
            if lines and bar.disable and (done == total or now - told >= LINE_SECONDS):
                told = now
                print(_line(title, done, total, text, bar.tasks[task].time_remaining), file=sys.stderr)

        yield tell


def _line(title: str, done: int, total: int, text: str, seconds_left: float | None) -> str:
    """A step's progress as a log keeps it."""
    left = "" if not seconds_left else f"  {timedelta(seconds=round(seconds_left))} left"
    return f"{title} {done}/{total}  {text}".rstrip() + left


def print_json(content: Any) -> None:
    """One machine-readable object on stdout."""
    click.echo(json.dumps(content, indent=1))


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """A table on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160)
    # A name in square brackets is a name, not Rich's markup.
    table = Table(title=Text(title), title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def silence_native_logs() -> None:
    """Sends what C++ libraries write to file descriptor 2 to nowhere; Python keeps its stderr.

    TensorFlow and MediaPipe greet with dozens of lines that no option turns off.
    """
    kept = os.dup(2)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
