"""A bundle assesses a video in an environment that has the `runtime` extra and nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import tfgma
from tests.in_process import export, train
from tests.packages import build
from tfgma.certificate import Limits
from tfgma.config import load_study

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A new environment with the wheel's tfgma[runtime], in the lock's versions."""
    folder = tmp_path_factory.mktemp("bare")
    wheel, _ = build(folder)
    pins = re.findall(r"^([\w.-]+==[^\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    (folder / "pins.txt").write_text("\n".join(pins))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run(
        [
            *(folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet"),
            *("--constraint", folder / "pins.txt", f"{wheel}[runtime]"),
        ],
        check=True,
    )
    size = subprocess.run(["du", "-sm", folder / "venv"], capture_output=True, text=True, check=True)
    print(f"\ninstalled: {size.stdout.split()[0]} MiB", flush=True)
    return folder / "venv" / "bin"


def test_there_is_no_tensorflow_and_no_keras(bare):
    for name in ("tensorflow", "keras", "jax", "torch"):
        done = subprocess.run([bare / "python", "-c", f"import {name}"], capture_output=True, text=True)
        assert f"No module named '{name}'" in done.stderr


def test_a_bundle_answers_there_as_here(bare, dataset, infants, tmp_path):
    train(load_study(ROOT / "tests" / "study.yaml"), dataset, tmp_path / "run", folds=[0])
    export(tmp_path / "run", tmp_path / "bundle", limits=Limits(changed_subjects=100, accuracy_loss=1))
    video = sorted(infants.glob("WMs/*/video.mp4"))[0]
    for variant in ("float32", "float16", "dynamic", "int8"):
        arguments = (
            "predict",
            str(video),
            "--model",
            str(tmp_path / "bundle"),
            "--variant",
            variant,
            "--json",
        )
        there = subprocess.run(
            [bare / "tfgma", *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        here = json.loads(tfgma(*arguments))
        assert json.loads(there.stdout) == here
        print(f"\n{variant}: {here['videos'][0]['predicted']}", flush=True)
