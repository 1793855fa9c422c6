"""Who has a turn when, and what becomes of a process that does not come to its end."""

import os
import signal

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.turns import Waiting, interleaved, times_as_fast


def test_rounds_go_there_and_back():
    asked, told = [], []

    def turn(name):
        return lambda: (asked.append(name), np.full(2, len(asked)))[1]

    taken = interleaved({name: turn(name) for name in "abc"}, 3, told.append)
    assert "".join(asked) == "abccbaabc"
    assert told == [0, 1, 2]
    assert taken["c"].tolist() == [[3, 3], [4, 4], [9, 9]]


def test_a_round_in_which_the_machine_slows_down_changes_no_ratio():
    assert times_as_fast(np.array([2.0, 40.0, 2.0]), np.array([1.0, 20.0, 1.0])) == 2


def counting(start):
    """Of the process: how often it was asked, from `start`, and one of its variables."""
    asked = [start]

    def count(step):
        asked[0] += step
        if asked[0] > 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return asked[0], os.environ["COUNTED"]

    return count


def refusing():
    """Of a process that cannot begin."""
    raise RefusedError("this must fit. Received: nothing")


def test_a_process_keeps_what_it_made_and_says_when_it_was_killed():
    with Waiting("the counter", counting, 10, environment={"COUNTED": "sheep"}) as process:
        assert [process.turn(1), process.turn(2)] == [(11, "sheep"), (13, "sheep")]
        with pytest.raises(RefusedError, match="process of the counter must come to its end"):
            process.turn(9)


def test_what_a_process_refuses_is_said_here():
    with pytest.raises(RefusedError, match="this must fit"):
        Waiting("nobody", refusing)
