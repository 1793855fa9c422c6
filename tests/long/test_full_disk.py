"""A training on a disk that fills up again and again ends as one that always had room."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.faults import ROOT
from tests.noise import write_noise
from tfgma.config import load_study

pytestmark = pytest.mark.long

STUDY = """
build:
  clip: {fps: 4, clip_seconds: 1, stride_seconds: 1, size: 32, max_flow_px: 8}
split: {folds: 2, val_share: 0.5}
model: {family: image, backbone: resnet10, width: 4}
train: {epochs: 3, batch_size: 4, warmup_epochs: 1, picture_every: 1}
"""

# Trains on a disk that is widened after each refusal, and once undisturbed.
GROWING = """
import json, random, subprocess, sys
from pathlib import Path
from pipelines.schema import RefusedError
from tests.in_process import train
from tests.test_resume import outcome
from tfgma.config import load_study

disk, folder = map(Path, sys.argv[1:])
study, rng, kilobytes, refusals = load_study(folder / "study.yaml"), random.Random(0), 8, []
while True:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)
    try:
        run = train(study, folder / "dataset", disk / "run", resume=True)
        break
    except RefusedError as error:
        refusals.append(f"{kilobytes} kB: {error}")
        print(refusals[-1], flush=True)
    left = [str(path) for path in disk.rglob("*.part*")]
    assert not left, left
    if (disk / "run" / "run.json").exists():
        json.loads((disk / "run" / "run.json").read_text())
    kilobytes += rng.choice([4, 12, 36, 108])
train(study, folder / "dataset", folder / "whole")
equal = outcome(disk / "run") == outcome(folder / "whole")
result = {"refusals": refusals, "equal": equal, "trained_folds": run["trained_folds"]}
(folder / "result.json").write_text(json.dumps(result))
"""

# As a user meets it: on a disk of the first argument's size, then on a wide one.
FULL = """
set -e
mount -t tmpfs -o size=$1 tmpfs "$2"
status=0
"$3" -m tfgma.cli train --config "$4/study.yaml" --data "$4/dataset" --out "$2/run" 2> "$4/refusal" || status=$?
mount -o remount,size=100m "$2"
"$3" -m tfgma.cli train --out "$2/run" --resume
exit $((status + 10))
"""


def in_a_small_disk(folder, *command):
    """Runs it where it may mount file systems; needs no root where users may have name spaces."""
    disk = folder / "disk"
    disk.mkdir()
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a file system of a fixed size")
    (folder / "study.yaml").write_text(STUDY)
    write_noise(folder / "dataset", 12, load_study(folder / "study.yaml").build)
    return subprocess.run(
        ["unshare", "-rm", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )
