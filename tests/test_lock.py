"""The lock holds all that pyproject.toml asks for, with hashes."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKED = re.compile(r"^([a-z0-9.-]+)==", re.MULTILINE)


def name_of(requirement):
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    # PyTorch's builds for CPU and for each CUDA version share one version and differ in their hashes.
    wanted = {name_of(requirement) for group in groups for requirement in group} - {"tfgma", "torch"}
    locks = (ROOT / "requirements.lock", ROOT / "tests" / "backends" / "every.lock")
    locked = {name for lock in locks for name in LOCKED.findall(lock.read_text())}
    assert wanted <= locked, "run `make lock`"


@pytest.mark.parametrize("path", [ROOT / "requirements.lock", *sorted(ROOT.glob("tests/backends/*.lock"))])
def test_every_python_gets_the_same_versions(path):
    """What is tested on one Python is what is installed on the others."""
    locked = LOCKED.findall(path.read_text())
    assert len(locked) > 20
    assert [name for name in locked if locked.count(name) > 1] == []


def test_one_opencv_only_and_no_addons():
    locked = LOCKED.findall((ROOT / "requirements.lock").read_text())
    assert [name for name in locked if name.startswith("opencv")] == ["opencv-contrib-python"]
    assert "tensorflow-addons" not in locked
