"""Progress as a terminal and as a log see it."""

import os
import pty
import re
import subprocess
import sys
import time

import pytest

from tfgma.cli import console
from tfgma.cli.console import progress_bar

SCRIPT = """
from tfgma.cli.console import progress_bar
with progress_bar("train", lines={lines}) as tell:
    for epoch in range(1, 7):
        tell(epoch, 6, f"fold {{(epoch - 1) // 3}}  loss {{1 / epoch:.3f}}")
        import time; time.sleep(0.15)
"""


def at_a_terminal(script):
    """What a terminal of 120 columns gets."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", script], stderr=theirs, stdout=theirs, env=env)
    os.close(theirs)
    got = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        got += part
    os.close(ours)
    assert process.wait(60) == 0
    return got.decode()


@pytest.mark.parametrize("lines", [True, False])
def test_a_terminal_sees_a_bar_with_the_time_that_is_left(lines):
    got = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", at_a_terminal(SCRIPT.format(lines=lines)))
    assert "\r" in got
    assert re.search(r"train  fold 0  loss 0\.333 .* 3/6 0:00:0[01]", got)
    assert re.search(r"train  fold 1  loss 0\.167 .* 6/6 0:00:00", got)
    assert "train 1/6" not in got  # no lines beside the bar


@pytest.mark.parametrize(("lines", "expected"), [(True, 2), (False, 0)])
def test_a_log_sees_plain_lines_or_nothing(lines, expected):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(lines=lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    found = done.stderr.splitlines()
    assert len(found) == expected
    if lines:
        assert found == ["train 1/6  fold 0  loss 1.000", "train 6/6  fold 1  loss 0.167"]


def test_lines_come_now_and_then_and_tell_what_is_left_of_all(capsys, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with progress_bar("train", lines=True) as tell:
        for epoch in range(1, 9):
            clock[0] += 20  # two epochs are longer than LINE_SECONDS, one is not
            tell(epoch, 8, f"fold {epoch // 5}")
    assert console.LINE_SECONDS == 30
    assert capsys.readouterr().err.splitlines() == [
        "train 1/8  fold 0",
        "train 3/8  fold 0  0:01:40 left",
        "train 5/8  fold 1  0:01:00 left",
        "train 7/8  fold 1  0:00:20 left",
        "train 8/8  fold 1",
    ]
