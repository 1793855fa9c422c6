"""A study killed ten times at random moments ends as one that nobody disturbed."""

import os
import random
import signal
import subprocess
import time

import pytest

from tests.commands import TFGMA, tfgma
from tests.test_cli import STUDY
from tests.test_resume import outcome
from tfgma.runs import read_run

pytestmark = pytest.mark.long

SETTINGS = (
    "train.epochs=8",
    "train.patience=99",
    "train.clips_per_subject=4",
    "train.weight_average=0.9",
    "augment.flip=true",
    "augment.shift=0.1",
    "augment.mixup=0.4",
)


def progress(run):
    """What is different once another epoch or fold was written down."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in run.glob("fold_*/checkpoint.npz"))


def test_ten_kills(dataset, tmp_path):
    sets = [part for option in SETTINGS for part in ("--set", option)]
    arguments = ["train", "--config", STUDY, "--data", dataset, *sets]
    tfgma(*arguments, "--out", tmp_path / "whole")
    out, moments, dice = tmp_path / "run", [], random.Random(7)
    while len(moments) < 10:
        again = ["--resume"] * (out / "run.json").exists()
        command = [str(one) for one in (TFGMA, *arguments, "--out", out, *again)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        begin, before = time.monotonic(), progress(out)
        if dice.random() < 0.7:  # in the midst of training, else anywhere from its start
            while progress(out) == before and process.poll() is None:
                time.sleep(0.01)
        time.sleep(dice.uniform(0, 4))
        assert process.poll() is None, process.stderr.read()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        moments.append((round(time.monotonic() - begin, 1), len(progress(out))))
    print(f"\nkilled after (seconds, folds begun and not ended): {moments}")
    assert len([after for after, begun in moments if begun]) >= 4
    tfgma(*arguments, "--out", out, "--resume")
    assert read_run(out)["trained_folds"] == [0, 1, 2]
    assert outcome(out) == outcome(tmp_path / "whole")
