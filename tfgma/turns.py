"""Several ways to do one thing, each in a process of its own, that take turns on one machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipelines.schema import RefusedError
from tfgma.processes import end_with_parent


class Waiting:
    """A function in a process that waits between its turns. Use as a context manager."""

    def __init__(
        self,
        what: str,
        make: Callable[..., Callable[..., Any]],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process and calls `make(*arguments)` there, which gives the function.

        Args:
            what: whose process it is, for the sentence that says that it was killed.
            make: of a module's top level.
            arguments: of `make`.
            environment: variables of the process, set before anything else is imported.

        Raises:
            RefusedError: of `make`, or the process was killed.
        """
        self._what = f"the process of {what}"
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(dict(environment or {}),)
        )
        try:
            self._answer(self._pool.submit(_make, make, arguments))
        except BaseException:
            self._pool.shutdown()
            raise

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Ends the process."""
        self._pool.shutdown()

    def turn(self, *arguments: Any) -> Any:
        """What the function answers.

        Raises:
            RefusedError: of the function, or the process was killed.
        """
        return self._answer(self._pool.submit(_turn, arguments))

    def _answer(self, future: Future) -> Any:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise RefusedError(
                f"{self._what} must come to its end. Received: {error}. Give it more memory if the system "
                "took it. Call again"
            ) from error


def interleaved(
    turns: Mapping[str, Callable[[], Any]], rounds: int, tell: Callable[[int], None] = lambda number: None
) -> dict[str, np.ndarray]:
    """Lets each have its turn in every round: one machine that slows down slows all.

    Every second round goes backwards, so that nobody always follows the same other.

    Args:
        turns: name -> a turn, which answers with figures, of one shape.
        rounds: how many.
        tell: is told each round's number before it.

    Returns:
        name -> (rounds, ...) what the turns answered.
    """
    taken: dict[str, list[Any]] = {name: [] for name in turns}
    for number in range(rounds):
        tell(number)
        for name in list(turns)[:: -1 if number % 2 else 1]:
            taken[name].append(turns[name]())
    return {name: np.stack(found) for name, found in taken.items()}


def times_as_fast(theirs: np.ndarray | float, ours: np.ndarray) -> float:
    """Median over rounds of the ratio of both seconds in one round, (rounds,) each."""
    return round(float(np.median(theirs / ours)), 3)


_function: Callable[..., Any]


def _begin(environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ |= environment


def _make(make: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    global _function
    _function = make(*arguments)


def _turn(arguments: tuple[Any, ...]) -> Any:
    return _function(*arguments)
