"""Builds that are killed, lose a cluster's worker, or fill the disk, end as undisturbed ones do."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.faults import (
    BUILD,
    build_undisturbed,
    cluster,
    content,
    journalled,
    run_with_mounts,
    start_build,
)
from tests.test_faults import kill_and_resume

pytestmark = pytest.mark.long

VIDEOS = 240


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return build_undisturbed(tmp_path_factory.mktemp("undisturbed"), VIDEOS)


def test_twenty_kills(undisturbed, tmp_path):
    source, dataset = undisturbed
    moments = kill_and_resume(source, tmp_path / "dataset", random.Random(0), 20)
    print(f"\nfinished videos at the kills: {moments} of {VIDEOS}")
    assert content(tmp_path / "dataset") == content(dataset)


def test_a_worker_of_a_cluster_is_killed_again_and_again(undisturbed, tmp_path):
    pytest.importorskip("distributed")
    source, dataset = undisturbed
    with cluster(tmp_path) as address:
        build = start_build(source, tmp_path / "dataset", scheduler=address)
        kills, seen = 0, set()
        deadline = time.monotonic() + 500
        while build.poll() is None and time.monotonic() < deadline:
            workers = workers_below(tmp_path)
            if kills < 3 and len(journalled(tmp_path / "dataset")) > 5 * kills and workers:
                victim = workers[kills % len(workers)]
                if victim not in seen:
                    os.kill(victim, signal.SIGKILL)
                    seen.add(victim)
                    kills += 1
            time.sleep(0.02)
        assert build.wait(10) == 0, build.stderr.read()
    assert kills == 3
    assert content(tmp_path / "dataset") == content(dataset)


def workers_below(folder):
    """Process ids of the Dask workers that stand in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
            if (path / "cwd").resolve() == folder.resolve() and b"distributed.cli.dask_worker" in command:
                found.append(int(path.name))
        except OSError:
            continue
    return sorted(found)


def test_a_killed_build_on_a_cluster_goes_on(undisturbed, tmp_path):
    pytest.importorskip("distributed")
    source, dataset = undisturbed
    with cluster(tmp_path) as address:
        kill_and_resume(source, tmp_path / "dataset", random.Random(2), 4, scheduler=address)
    assert content(tmp_path / "dataset") == content(dataset)


FULL = """
set -e
mount -t tmpfs -o size=$1 tmpfs "$2"
shift
status=0
"$3" "$4" "$5" "$1/dataset" cheap_tools 2 "" 2> "$2/refusal" || status=$?
cp "$1/dataset/journal.jsonl" "$2/journal" || true
mount -o remount,size=100m "$1"
"$3" "$4" "$5" "$1/dataset" cheap_tools 2 ""
cp -r "$1/dataset" "$2/dataset"
exit $((status + 10))
"""


def test_a_full_disk_is_refused_in_one_sentence_and_the_build_goes_on_when_there_is_space(
    undisturbed, tmp_path
):
    source, dataset = undisturbed
    size = sum(path.stat().st_size for path in (dataset / "shards").iterdir())
    for share in (0.05, 0.4, 0.8):
        disk, kept = tmp_path / f"disk_{share}", tmp_path / f"kept_{share}"
        disk.mkdir()
        kept.mkdir()
        (kept / "build.py").write_text(BUILD)
        arguments = [str(disk), str(kept), sys.executable, str(kept / "build.py"), str(source)]
        done = run_with_mounts(disk, "sh", "-c", FULL, "sh", f"{round(share * size / 1024)}k", *arguments)
        assert done.returncode == 11, done.stderr
        refusal = (kept / "refusal").read_text()
        print(f"\n{share:.0%} of the space: {refusal.strip()}")
        assert "the data set must be writable to its end. Received: " in refusal
        assert "Traceback" not in refusal
        assert content(kept / "dataset") == content(dataset)
