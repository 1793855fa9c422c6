"""Runs one function over many videos in processes that may die."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    wait,
)
from concurrent.futures import ProcessPoolExecutor as Processes
from contextlib import AbstractContextManager
from multiprocessing import get_context, parent_process
from typing import Any, Protocol, Self, TypeVar

from pipelines.optional import load
from pipelines.schema import RefusedError

Item = TypeVar("Item")
Result = TypeVar("Result")

HOPELESS = 3
"""After so many items that killed their workers, and not one that did not, the fault is not the items'."""

CHANCES = 2
"""An item whose worker died is tried alone so often: it may have died of something else."""

CONNECT_SECONDS = 5

LOOK_SECONDS = 5
"""While nothing is done, it is seen so often whether there is anybody to do it."""

MOST_SECONDS_ALONE = 300
"""A cluster without workers is waited for so long: it may be starting some."""


class Crew(Protocol):
    """Processes that take work.

    `deaths`: what the future of an item raises whose worker died.
    """

    deaths: tuple[type[Exception], ...]

    def room(self) -> int:
        """Items that may be under way at a time."""

    def look(self) -> None:
        """Refuses to wait for ever where nobody does the work."""

    def executor(self) -> AbstractContextManager[Executor]:
        """Takes the items. Left by an exception, what waits is dropped."""


class LocalCrew:
    """Processes of this machine. Use as a context manager."""

    deaths: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(self, workers: int) -> None:
        """`workers` processes at a time."""
        self._workers = max(1, workers)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *details: object) -> None:
        """Nothing is left to end."""

    def room(self) -> int:
        """One item a process."""
        return self._workers

    def look(self) -> None:
        """A process that dies is noticed without looking."""

    @contextlib.contextmanager
    def executor(self) -> Iterator[Executor]:
        """Fresh processes: TensorFlow and MediaPipe do not survive a fork."""
        executor = _LocalExecutor()
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)


class _LocalExecutor(Executor):
    """As many processes as items were under way at a time, none of which shares anything with another.

    In a pool of several, the death of one ends the others; and if it falls into the moment in which an item
    is handed to another, the standard library's pool never answers for that item.
    """

    def __init__(self) -> None:
        self._slots: list[tuple[Processes, Future[Any]]] = []

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **named: Any) -> Future[Result]:
        process = self._idle()
        try:
            answer = process.submit(_interruptible, function, *arguments, **named)
        except BrokenExecutor:  # it died of nothing that it was given
            process.shutdown()
            process = _new_process()
            answer = process.submit(_interruptible, function, *arguments, **named)
        self._slots.append((process, answer))
        return answer

    def _idle(self) -> Processes:
        """One whose last item is done, no longer among those that are busy; a new one if there is none."""
        for number, (process, last) in enumerate(self._slots):
            if not last.done():
                continue
            del self._slots[number]
            if last.cancelled() or not isinstance(last.exception(), BrokenExecutor):
                return process
            process.shutdown()
            break
        return _new_process()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for process, _ in self._slots:
            process.shutdown(wait, cancel_futures=cancel_futures)


def _new_process() -> Processes:
    return Processes(1, get_context("spawn"), initializer=_begin_worker)


def _interruptible(function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
    """Ctrl-C, which reaches all processes at once, ends the item and not the process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return function(*arguments, **named)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _begin_worker() -> None:
    """Ctrl-C is for items alone; and whose parent was killed would otherwise wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _ClusterExecutor(Executor):
    """The workers of a Dask client.

    Unlike the client's own executor it survives that a worker dies before its result was fetched: the result
    is computed again.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tasks: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **named: Any) -> Future[Result]:
        answer: Future[Result] = Future()
        task = self._client.submit(function, *arguments, pure=False, **named)
        self._tasks[answer] = task
        answer.add_done_callback(self._drop)
        task.add_done_callback(lambda task: _pass_on(task, answer))
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for answer in list(self._tasks):
            answer.cancel()

    def _drop(self, answer: Future[Any]) -> None:
        task = self._tasks.pop(answer)
        if answer.cancelled():
            task.cancel()


def _pass_on(task: Any, answer: Future[Any]) -> None:
    try:
        result = task.result()
    except BaseException as error:
        with contextlib.suppress(InvalidStateError):  # nobody waits for it
            answer.set_exception(error)
    else:
        with contextlib.suppress(InvalidStateError):
            answer.set_result(result)


class DaskCrew:
    """The workers of a Dask scheduler. Use as a context manager."""

    def __init__(self, address: str) -> None:
        """Connects to the scheduler at `address`, such as tcp://host:8786.

        Raises:
            RefusedError: the package distributed is missing, or nothing answers there.
        """
        distributed = load("distributed", "cluster")
        self.deaths: tuple[type[Exception], ...] = (distributed.scheduler.KilledWorker,)
        self._address = address
        self._last_seen = time.monotonic()
        try:
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise RefusedError(
                f"--scheduler must be the address of a running Dask scheduler. Received: {address!r} "
                f"({reason[0]}). Start one with dask scheduler, and give the address that it prints"
            ) from error

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *details: object) -> None:
        """Ends the connection; the workers stay."""
        self._client.close(timeout=CONNECT_SECONDS)

    def room(self) -> int:
        """More than the workers there are: clusters that grow do so for what waits."""
        return 8 + 2 * self._threads()

    def look(self) -> None:
        """Refuses a cluster that had no worker for MOST_SECONDS_ALONE."""
        if not self._threads() and time.monotonic() - self._last_seen > MOST_SECONDS_ALONE:
            raise RefusedError(
                f"the scheduler must have workers. Received: {self._address!r}, without any for "
                f"{MOST_SECONDS_ALONE} s. Start some with dask worker {self._address}, and the build again; "
                "finished videos are kept"
            )

    def _threads(self) -> int:
        try:
            threads = sum(self._client.nthreads().values())
        except OSError as error:
            raise self._gone() from error
        if threads:
            self._last_seen = time.monotonic()
        return int(threads)

    @contextlib.contextmanager
    def executor(self) -> Iterator[Executor]:
        """The scheduler's."""
        executor = _ClusterExecutor(self._client)
        try:
            yield executor
        except CancelledError as error:  # futures of a scheduler that went away
            raise self._gone() from error
        except RuntimeError as error:
            if "deserialization" not in str(error):
                raise
            raise RefusedError(
                "each worker must have the packages that the build has. Received: "
                f"{error.__cause__ or 'a task that a worker could not read'}. Install the same version of "
                "tfgma[cluster] on every machine"
            ) from error
        finally:
            executor.shutdown()

    def _gone(self) -> RefusedError:
        return RefusedError(
            f"the scheduler must run to the build's end. Received: {self._address!r}, which went away. "
            "Start it and the build again; finished videos are kept"
        )


def run_each(
    function: Callable[[Item], Result], items: Iterable[Item], crew: Crew
) -> Generator[tuple[Item, Result | None]]:
    """`function` of every item, in whatever order; None for an item that kills its worker.

    A worker that dies is replaced, and what it had is tried again when all others are done, with nothing
    beside it. When `function` raises, what runs may finish, and the first error is then raised.

    Raises:
        RefusedError: workers die whatever they are given, or the scheduler went away.
    """
    waiting = deque(items)
    killers, any_lived = 0, False
    while waiting:
        suspects: list[Item] = []
        for item, result in _together(function, waiting, crew, suspects):
            any_lived = True
            yield item, result
        for item in suspects:
            answer = _alone(function, item, crew)
            any_lived |= answer is not None
            killers += answer is None
            if killers >= HOPELESS and not any_lived:
                raise RefusedError(
                    f"a worker must live through a video. Received: {killers} videos that each killed their "
                    "worker, tried alone, and none that did not. Give the machine more memory"
                )
            yield item, answer


def _together(
    function: Callable[[Item], Result], waiting: deque[Item], crew: Crew, suspects: list[Item]
) -> Iterator[tuple[Item, Result]]:
    """Takes from `waiting` until it is empty; `suspects` gets the items whose workers died."""
    running: dict[Future[Result], Item] = {}
    failure: Exception | None = None
    any_lived = False
    with crew.executor() as executor:
        while True:
            # If not one item lived so far, they may all be the same.
            goes_on = not (failure or (suspects and not any_lived))
            while goes_on and waiting and len(running) < crew.room():
                item = waiting.popleft()
                running[executor.submit(function, item)] = item
            if not running:
                break
            for future in _first_done(running, crew):
                item = running.pop(future)
                try:
                    result = future.result()
                except crew.deaths:
                    suspects.append(item)
                except CancelledError:
                    raise
                except Exception as error:
                    failure = failure or error
                    running = {other: name for other, name in running.items() if not other.cancel()}
                else:
                    any_lived = True
                    yield item, result
        if failure:
            raise failure


def _first_done(running: Iterable[Future[Result]], crew: Crew) -> set[Future[Result]]:
    """Whichever are done, one at least."""
    running = list(running)
    while not (done := wait(running, LOOK_SECONDS, FIRST_COMPLETED).done):
        crew.look()
    return done


def _alone(function: Callable[[Item], Result], item: Item, crew: Crew) -> Result | None:
    for _ in range(CHANCES):
        with crew.executor() as executor:
            try:
                (done,) = _first_done([executor.submit(function, item)], crew)
                return done.result()
            except crew.deaths:
                continue
    return None
