"""What a terminal sees: progress, tables, JSON, and one sentence when something is refused."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr, quiet when that is not a terminal; gives `tell(done, total, text)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def tell(done: int, total: int, text: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{title}  {text}".rstrip())

        yield tell


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
