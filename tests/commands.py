"""The `tfgma` command: in a process of its own as a user meets it, or here, where all is loaded already."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

from tfgma.cli.main import main

TFGMA = Path(sys.executable).parent / "tfgma"


def tfgma(*arguments, code=0, env=None, timeout=600):
    """Runs the command; returns stdout, or stderr where it is expected to fail."""
    done = subprocess.run(
        [str(TFGMA), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
        timeout=timeout,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout if code == 0 else done.stderr


def tfgma_here(*arguments, code=0):
    """As `tfgma`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
        mock.patch("sys.argv", ["tfgma", *map(str, arguments)]),
        # It closes this process's standard error to libraries in C++ for good.
        mock.patch("tfgma.cli.main.silence_native_logs"),
    ):
        try:
            main()
            ended = 0
        except SystemExit as end:
            ended = end.code or 0
    assert ended == code, err.getvalue() + out.getvalue()
    return out.getvalue() if code == 0 else err.getvalue()


def one_sentence(stderr):
    """Whether a refusal is one line that says what was received."""
    lines = [line for line in stderr.splitlines() if line]
    return len(lines) == 1 and lines[0].startswith("tfgma: ") and "Received: " in lines[0]
