"""A function in a process of its own, whose memory goes back to the machine when it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from pipelines.schema import RefusedError


class KilledError(RefusedError):
    """The process did not come to its end."""


def run_apart(
    function: Callable[..., Any],
    *arguments: Any,
    tell: Callable[..., None],
    what: str = "a process",
    remedy: str = "Call again",
) -> Any:
    """What `function(*arguments, tell)` returns, called in a new process; `tell` is called in this one.

    `what` and `remedy` are for the sentence that says that the process was killed.

    The process starts anew, so it reads the environment as it is now. It ends with this one, however that
    ends, and does not hear of Ctrl-C: this process stops it.

    Raises:
        RefusedError: the function raised one.
        KilledError: the process was killed.
        RuntimeError: the function raised anything else, which is named.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there,), daemon=True)
    process.start()
    there.close()  # the child's alone, so that its end is noticed here
    try:
        # Not as the process's arguments: of a child that dies before it reads them, start() never returns.
        with contextlib.suppress(OSError):
            here.send((function, arguments))
        while True:
            try:
                kind, content = here.recv()
            except (EOFError, OSError):
                process.join()
                raise KilledError(
                    f"{what} must come to its end. Received: {_ending(process.exitcode)}. "
                    f"Give it more memory if the system took it. {remedy}"
                ) from None
            if kind == "told":
                tell(*content)
            elif kind == "refused":
                raise RefusedError(content)
            elif kind == "failed":
                raise RuntimeError(content)
            else:
                return content
    finally:
        here.close()
        # What was answered is here; what a process does after that is of no use.
        process.join(0 if process.exitcode is None else None)
        if process.is_alive():
            process.terminate()
            process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _ending(code: int | None) -> str:
    return f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit {code}"


def _work(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        function, arguments = connection.recv()
        answer = ("done", function(*arguments, lambda *content: connection.send(("told", content))))
    except RefusedError as error:
        answer = ("refused", str(error))
    except Exception as error:
        answer = ("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    connection.send(answer)


def end_with_parent() -> None:
    """Waits for the parent's end, then ends this process; for a thread of a child."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
