"""The lock holds all that pyproject.toml asks for, with hashes."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def name_of(requirement):
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {name_of(requirement) for group in groups for requirement in group} - {"tfgma"}
    locked = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert wanted <= set(locked), "run `make lock`"


def test_one_opencv_only_and_no_addons():
    locked = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert [name for name in locked if name.startswith("opencv")] == ["opencv-contrib-python"]
    assert "tensorflow-addons" not in locked
