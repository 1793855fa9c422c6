"""A function that kills the process it runs in; workers import nothing else with it."""

import os
import signal
import time
from pathlib import Path


def work(item):
    """A number is squared; `kill` dies; `once PATH` dies while PATH is there; `fail` raises;
    `slow PATH` takes a second, then PATH is there, `sleep` takes ten minutes.
    """
    word, _, path = str(item).partition(" ")
    if word == "kill" or (word == "once" and os.path.exists(path)):
        if word == "once":
            os.unlink(path)
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "fail":
        raise OSError("disk")
    if word in ("slow", "sleep"):
        time.sleep(1 if word == "slow" else 600)
        Path(path).touch()
    return item**2 if isinstance(item, int) else word
