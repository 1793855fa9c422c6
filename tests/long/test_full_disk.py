"""A training on a disk that fills up again and again ends as one that always had room."""

import json
import sys

import pytest

from tests.commands import TFGMA, one_sentence
from tests.faults import run_with_mounts
from tests.noise import write_noise
from tfgma.config import load_study
from tfgma.runs import read_run

pytestmark = pytest.mark.long

STUDY = """
build:
  clip: {fps: 4, clip_seconds: 1, stride_seconds: 1, size: 32, max_flow_px: 8}
split: {folds: 2, val_share: 0.5}
model: {family: image, backbone: resnet10, width: 4}
train: {epochs: 3, batch_size: 4, warmup_epochs: 1, picture_every: 2}
"""

# Trains on a disk that is widened after each refusal, and once undisturbed.
GROWING = """
import json, subprocess, sys
from pathlib import Path
from pipelines.schema import RefusedError
from tests.in_process import train
from tests.test_resume import outcome
from tfgma.config import load_study

disk, folder = map(Path, sys.argv[1:])
study, refusals = load_study(folder / "study.yaml"), []
# The first end at events, network and history, in this order; then the checkpoint and the second fold.
for kilobytes in (8, 150, 372, 376, 380, 400, 500, *range(700, 100_000, 300)):
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)
    try:
        run = train(study, folder / "dataset", disk / "run", resume=True)
        break
    except RefusedError as error:
        refusals.append(str(error))
        print(kilobytes, "kB:", error, flush=True)
    left = [str(path) for path in disk.rglob("*.part*")]
    assert not left, left
    if (disk / "run" / "run.json").exists():
        json.loads((disk / "run" / "run.json").read_text())
train(study, folder / "dataset", folder / "whole")
equal = outcome(disk / "run") == outcome(folder / "whole")
result = {"refusals": refusals, "equal": equal, "trained_folds": run["trained_folds"]}
(folder / "result.json").write_text(json.dumps(result))
"""

# As a user meets it: on a disk of so many kB, then on a wide one.
FULL = """
set -e
disk=$1 folder=$2 tfgma=$3
mount -t tmpfs -o size=$4k tmpfs "$disk"
status=0
cd "$folder"
"$tfgma" train --config study.yaml --data dataset --out "$disk/run" 2> refusal || status=$?
mount -o remount,size=100m "$disk"
"$tfgma" train --out "$disk/run" --resume
cp -r "$disk/run" run
exit $((status + 10))
"""


def with_mounts(folder, *command):
    """Runs the command where it may mount a file system at folder/disk, beside a study."""
    disk = folder / "disk"
    disk.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    write_noise(folder / "dataset", 12, load_study(folder / "study.yaml").build)
    return run_with_mounts(disk, *command)


def test_a_training_goes_on_as_often_as_the_disk_is_full(tmp_path):
    (tmp_path / "growing.py").write_text(GROWING)
    command = 'mount -t tmpfs tmpfs "$1/disk" && "$2" "$1/growing.py" "$1/disk" "$1"'
    done = with_mounts(tmp_path, "sh", "-c", command, "sh", tmp_path, sys.executable)
    print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    print(f"stopped by a full disk {len(result['refusals'])} times, then as if it never had been")
    places = result["refusals"]
    for text in places:
        assert "Received: " in text
        assert "\n" not in text
    # The network, the checkpoint, and what neither of them is: events, history, answers.
    for words in ("network of the best epoch", "checkpoint after each epoch", "the disk must have room"):
        assert [text for text in places if words in text], words
    assert result["trained_folds"] == [0, 1]
    assert result["equal"]


@pytest.mark.parametrize("kilobytes", [8, 376])
def test_a_full_disk_is_one_sentence_for_the_user(kilobytes, tmp_path):
    done = with_mounts(tmp_path, "sh", "-c", FULL, "sh", tmp_path / "disk", tmp_path, TFGMA, kilobytes)
    assert done.returncode == 11, done.stderr
    # Besides lines of progress.
    lines = [
        line for line in (tmp_path / "refusal").read_text().splitlines() if not line.startswith("train ")
    ]
    print(f"\n{kilobytes} kB: {lines}")
    assert one_sentence("\n".join(lines)), lines
    assert read_run(tmp_path / "run")["trained_folds"] == [0, 1]
