"""What the tests of faults share: cheap videos, tools that cost nothing, and tools that kill."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import BuildConfig
from pipelines.flow import FlowEstimator
from pipelines.pose import Body
from pipelines.schema import JOINTS, ClipSpec
from pipelines.tools import Tools
from tests.conftest import write_video

ROOT = Path(__file__).parents[1]
CHEAP = BuildConfig(clip=ClipSpec(fps=6, clip_seconds=1, stride_seconds=1, size=64, max_flow_px=8))
WHITE = 230

BUILD = """
import sys
from pathlib import Path
from tests import faults
from pipelines.build import build_dataset
from pipelines.schema import RefusedError
if __name__ == "__main__":  # workers import this again
    source, out, tools, workers, scheduler = sys.argv[1:]
    try:
        build_dataset(
            Path(source), Path(out), faults.CHEAP, workers=int(workers), scheduler=scheduler or None,
            make_tools=getattr(faults, tools),
        )
    except RefusedError as error:
        sys.exit(str(error))
"""


def start_build(source, out, *, tools="cheap_tools", workers=2, scheduler="", **options):
    """A build in a process group of its own."""
    script = out.with_name("build.py")
    script.write_text(BUILD)
    return subprocess.Popen(
        [sys.executable, str(script), str(source), str(out), tools, str(workers), scheduler],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        **options,
    )


def run_with_mounts(folder, *command):
    """The ended command, run where it may mount a file system at `folder`.

    Needs no root where users may have name spaces.
    """
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a file system of a fixed size")
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


@contextlib.contextmanager
def dask(folder, name, *options):
    """The process of a shell that starts `dask scheduler` or `dask worker`, and again whenever that dies.

    Dask's own nanny gives up on a worker that dies while it starts.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        # One death is enough; by default it takes four, each with a new worker.
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    }
    command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *options, "--no-dashboard"]
    command += ["--scheduler-file", str(folder / "scheduler.json")]
    with (folder / f"{name}.log").open("a") as log:
        shell = subprocess.Popen(
            ["sh", "-c", f"while :; do {shlex.join(command)}; done"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield shell
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


def dask_worker(folder):
    """As `dask`, a worker of the scheduler in `folder`."""
    return dask(folder, "worker", "--no-nanny", "--nthreads", "1", "--local-directory", str(folder))


@contextlib.contextmanager
def cluster(folder, workers=2):
    """The address of a Dask scheduler with so many workers, as a shell would start them."""
    import distributed

    with contextlib.ExitStack() as held:
        held.enter_context(dask(folder, "scheduler", "--host", "127.0.0.1", "--port", "0"))
        file = folder / "scheduler.json"
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(workers):
            held.enter_context(dask_worker(folder))
        address = json.loads(file.read_text())["address"]
        if workers:
            with distributed.Client(address) as client:
                client.wait_for_workers(workers, timeout=60)
        yield address


def write_sources(root, count, seconds=6):
    """`count` videos of noise, each of a subject of its own."""
    for number in range(count):
        rng = np.random.default_rng(number)
        frames = rng.integers(0, 200, (12 * seconds, 48, 64, 3), np.uint8)
        label = ("FMs", "PR", "WMs")[number % 3]
        write_video(root / label / f"subject_{number:03d}" / "v.mp4", list(frames), fps=12)
    return root


def write_killer(root, name):
    """A video whose nearly white frames the tools below take for a bomb."""
    frames = list(np.random.default_rng(0).integers(225, 256, (40, 48, 64, 3), np.uint8))
    return write_video(root / "FMs" / name / "v.mp4", frames, fps=12)


def content(folder):
    """File -> bytes of all files of a data set."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def journalled(out):
    """Ids of finished videos by the journal, whatever a kill cut short."""
    try:
        lines = (out / "journal.jsonl").read_text().split("\n")
    except OSError:
        return set()
    found = set()
    for line in lines:
        try:
            found.add(json.loads(line)["id"])
        except ValueError:
            continue
    return found


def finished_videos(out):
    """Ids of videos that no later build may do again."""
    if (out / "journal.jsonl").exists() or not (out / "dataset.json").exists():
        return journalled(out)
    return {entry["id"] for entry in json.loads((out / "dataset.json").read_text())["videos"]}


def shard_times(out):
    return {path.stem: path.stat().st_mtime_ns for path in (out / "shards").glob("*.tfrecord")}


def build_undisturbed(folder, count):
    """Sources of `count` videos, and the data set of a build that nobody disturbed."""
    source = write_sources(folder / "videos", count)
    build = start_build(source, folder / "dataset")
    assert build.wait(600) == 0, build.stderr.read()
    return source, folder / "dataset"


class CheapFinder:
    """The same body everywhere."""

    def find(self, frame, seconds):
        height, width = frame.shape[:2]
        joints = np.ones((len(JOINTS), 3), np.float32)
        for name, x, y in (("shoulder", 0.1, 0.3), ("hip", 0.1, 0.7)):
            for side, sign in (("left", 1), ("right", -1)):
                joints[JOINTS.index(f"{side}_{name}")] = (0.5 + sign * x) * width, y * height, 1
        return Body(np.ones((height, width), bool), joints, joints[:, 2].copy())

    def restart(self, box=None):
        pass

    def close(self):
        pass


class KillingFinder(CheapFinder):
    """Dies of white frames: always, or until `remains` is gone."""

    def __init__(self, remains=None):
        self.remains = remains

    def find(self, frame, seconds):
        if frame.mean() > WHITE and (self.remains is None or self.remains.exists()):
            if self.remains is not None:
                self.remains.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().find(frame, seconds)


def cheap_tools(config):
    return Tools(CheapFinder(), FlowEstimator())


def killing_tools(config):
    return Tools(KillingFinder(), FlowEstimator())


def tools_that_kill_once(config):
    return Tools(KillingFinder(Path(os.environ["TFGMA_TEST_BOMB"])), FlowEstimator())


def tools_that_always_kill(config):
    os.kill(os.getpid(), signal.SIGKILL)


def tools_that_cannot_be_had(config):
    from pipelines.schema import RefusedError

    raise RefusedError("no tools. Received: none. Fetch some")
