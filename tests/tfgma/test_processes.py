"""A function in a process of its own; nothing heavy is imported here, since the process imports it again."""

import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.schema import RefusedError
from tfgma.processes import run_apart


def refuse(number, tell):
    tell(number, 2 * number)
    raise RefusedError(f"a number must be small. Received: {number}")


def fail(tell):
    raise KeyError("gone")


def be_killed(tell):
    os.kill(os.getpid(), signal.SIGKILL)


def length(content, tell):
    return len(content)


def sleep(tell):
    tell(os.getpid())
    time.sleep(600)


def test_a_process_of_its_own_tells_refuses_fails_and_is_killed():
    told = []
    with pytest.raises(RefusedError, match=r"^a number must be small. Received: 7$"):
        run_apart(refuse, 7, tell=lambda *what: told.append(what))
    assert told == [(7, 14)]
    with pytest.raises(RuntimeError, match=r"^KeyError: 'gone'"):
        run_apart(fail, tell=print)
    with pytest.raises(RefusedError, match=r"come to its end. Received: signal SIGKILL.*Call again"):
        run_apart(be_killed, tell=print)


def test_a_process_that_dies_while_it_starts_is_not_waited_for(monkeypatch):
    """With more to tell it than fits into a pipe."""
    assert run_apart(length, b"x" * 1_000_000, tell=print) == 1_000_000
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    with pytest.raises(RefusedError, match=r"come to its end. Received: exit 1"):
        run_apart(length, b"x" * 1_000_000, tell=print)


@pytest.mark.usefixtures("ctrl_c")
def test_a_process_of_its_own_ends_with_the_one_that_started_it():
    """Killed or stopped; a training in it would go on to write otherwise."""
    code = "from tests.tfgma.test_processes import run_apart, sleep; run_apart(sleep, tell=show)"
    code = f"def show(pid): print(pid, flush=True)\n{code}"
    for how in (signal.SIGKILL, signal.SIGINT):
        parent = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        child = int(parent.stdout.readline())
        parent.send_signal(how)
        parent.wait(20)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(f"/proc/{child}").exists()
