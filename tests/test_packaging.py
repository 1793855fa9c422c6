"""What the wheel and the source archive hold; tests/long installs the wheel into a bare environment."""

import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.packages import build
from tfgma.delivered import configs_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return build(tmp_path_factory.mktemp("packages"))


def test_the_wheel_holds_both_packages_their_templates_and_the_configs(packages):
    names = zipfile.ZipFile(packages[0]).namelist()
    for root in ("tfgma", "pipelines"):
        for path in sorted((ROOT / root).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in names
    delivered = {name.partition("share/tfgma/")[2] for name in names if "share/tfgma/" in name}
    assert delivered == {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert not [name for name in names if name.startswith(("tests", "docs", "benchmarks"))]
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_the_source_archive_builds_the_wheel(packages):
    with tarfile.open(packages[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "configs/demo.yaml"} <= names


def test_configs_are_found_in_a_checkout_and_in_an_installation(tmp_path, monkeypatch):
    assert configs_folder() == ROOT / "configs"
    monkeypatch.setattr("sysconfig.get_path", lambda name: f"/somewhere/{name}")
    assert configs_folder(tmp_path / "site-packages" / "tfgma") == Path("/somewhere/data/share/tfgma/configs")


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    from tfgma._version import __version__

    assert citation["version"] == __version__
    assert {"title", "authors", "license", "message", "cff-version"} <= citation.keys()
