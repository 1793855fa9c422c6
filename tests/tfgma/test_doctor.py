"""A machine that lacks something is told what to do."""

import json
import shutil
import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError

import pytest
from click.testing import CliRunner

from tests.commands import tfgma
from tfgma import doctor
from tfgma._version import __version__, git_state
from tfgma.cli.main import cli


@pytest.fixture
def packages(monkeypatch):
    """Package -> version; what is not in it is not installed."""
    found = {}

    def version(name):
        if name not in found:
            raise PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(doctor, "version", version)
    return found


def test_this_machine_is_in_order():
    found = list(doctor.checks())
    assert [one.name for one in found if one.state == doctor.BAD] == []
    assert len({one.name for one in found}) == len(found)
    assert all(bool(one.remedy) == (one.state != doctor.GOOD) for one in found)
    (tested,) = (one for one in found if one.name == "self-test")
    assert tested.found.startswith("3 clips of a generated video of 4 s")


def test_an_old_python_is_bad(monkeypatch):
    Version = namedtuple("Version", "major minor micro")
    monkeypatch.setattr(sys, "version_info", Version(3, 10, 0))
    found = doctor.check_python()
    assert (found.state, found.remedy) == (doctor.BAD, "install Python 3.11 to 3.13")


def test_extras_are_those_of_the_metadata(packages):
    assert {"mediapipe", "av", "ai-edge-litert"} <= set(doctor.packages_of("runtime"))
    assert {"tensorflow", "keras"} <= set(doctor.packages_of("train"))
    assert not {"tfgma", "pytest"} & set(doctor.packages_of("train"))
    for needed, state in ((True, doctor.BAD), (False, doctor.MISSING)):
        found = doctor.check_extra("runtime", needed=needed)
        assert (found.state, found.remedy) == (state, "pip install 'tfgma[runtime]'")
    packages |= dict.fromkeys(doctor.packages_of("runtime"), "1.0")
    assert doctor.check_extra("runtime", needed=True).state == doctor.GOOD


def test_two_opencvs_are_bad_and_one_is_good(packages):
    assert doctor.check_opencv().state == doctor.BAD
    packages["opencv-contrib-python"] = "5.0"
    assert doctor.check_opencv().state == doctor.GOOD
    packages["opencv-python"] = "4.9"
    found = doctor.check_opencv()
    assert found.state == doctor.BAD
    assert "pip uninstall opencv-python opencv-contrib-python, then" in found.remedy


def test_tensorflow_addons_is_bad(packages):
    assert doctor.check_addons().state == doctor.GOOD
    packages["tensorflow-addons"] = "0.23"
    found = doctor.check_addons()
    assert found.state == doctor.BAD
    assert "pip uninstall tensorflow-addons" in found.remedy


def test_an_unknown_backend_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    found = doctor.check_backend_variable()
    assert (found.state, found.found) == (doctor.BAD, "theano")


@pytest.mark.parametrize(
    ("program", "state", "said"),
    [
        ("print('cpu', 'gpu')", doctor.GOOD, "cpu gpu"),
        ("raise ImportError('no libcudart')", doctor.BAD, "cannot be imported: ImportError: no libcudart"),
        ("import time; time.sleep(60)", doctor.BAD, "no answer in 0.5 s"),
    ],
)
def test_a_backend_is_asked_in_its_own_process(monkeypatch, program, state, said):
    monkeypatch.setitem(doctor.DEVICES, "tensorflow", program)
    monkeypatch.setattr(doctor, "DEVICE_SECONDS", 0.5 if "sleep" in program else 60)
    found = doctor.check_backend("tensorflow")
    assert found.state == state
    assert said in found.found


def test_a_backend_that_is_not_there_is_no_fault(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    found = doctor.check_backend("jax")
    assert (found.state, found.remedy) == (doctor.MISSING, "pip install 'tfgma[jax]' to train on it")


def test_a_decoder_without_h264_is_bad(monkeypatch):
    assert doctor.check_decoder().state == doctor.GOOD
    monkeypatch.setattr(doctor, "DECODERS", ("h264", "no-such-codec"))
    assert doctor.check_decoder().state == doctor.MISSING
    monkeypatch.setattr(doctor, "_decodes", lambda av, name: name != "h264")
    assert doctor.check_decoder().state == doctor.BAD


def test_an_empty_cache_is_filled_later(monkeypatch, tmp_path):
    monkeypatch.setenv("TFGMA_CACHE", str(tmp_path / "new" / "cache"))
    assert doctor.check_pose_networks().state == doctor.MISSING
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert doctor.check_pose_networks().state == doctor.BAD


def test_a_full_disk_is_bad(monkeypatch, tmp_path):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 10**9))
    found = doctor.check_disk(tmp_path)
    assert (found.state, found.found) == (doctor.BAD, f"1 GB free in {tmp_path}")


def test_a_self_test_that_fails_is_told_and_no_error(monkeypatch):
    def fails(folder):
        raise OSError("no such library")

    monkeypatch.setattr(doctor, "_clips_of_a_generated_video", fails)
    found = doctor.check_one_video()
    assert (found.state, found.found) == (doctor.BAD, "OSError: no such library")


def test_the_command_prints_each_check_and_fails_where_one_is_bad(monkeypatch):
    good = doctor.Check("one", doctor.GOOD, "there")
    bad = doctor.Check("two", doctor.BAD, "broken", "mend it")
    monkeypatch.setattr(doctor, "checks", lambda self_test: iter([good, bad]))
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.output.splitlines()[:3] == [
        "good    one: there",
        "bad     two: broken",
        "        to do: mend it",
    ]
    assert done.exit_code == 1
    assert "two" in str(done.exception)
    monkeypatch.setattr(doctor, "checks", lambda self_test: iter([good]))
    done = CliRunner().invoke(cli, ["doctor", "--json"])
    assert json.loads(done.output)["checks"] == [
        {"name": "one", "state": "good", "found": "there", "remedy": ""}
    ]
    assert done.exit_code == 0


def test_the_version_names_the_checkout(tmp_path):
    said = tfgma("--version").strip()
    state = git_state()
    assert said == f"tfgma {__version__}" + (f" (git {state})" if state else "")
    # A package below somebody else's checkout says nothing of that.
    (tmp_path / "site-packages" / "tfgma").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    assert git_state(tmp_path / "site-packages" / "tfgma") is None
