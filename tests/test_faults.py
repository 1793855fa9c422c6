"""A build that is killed goes on where it was; tests/long does this 20 times, on a cluster, on a full disk."""

import os
import random
import shutil
import signal
import time

import pytest

from tests.faults import content, finished_videos, journalled, shard_times, start_build, write_sources


def kill_and_resume(source, out, rng, kills, **options):
    """Kills builds with all their processes at random moments, then lets one end; returns where they were.

    Asserts that nothing finished was done again.
    """
    moments, finished = [], {}
    for _ in range(kills):
        build = start_build(source, out, **options)
        wanted, until = len(journalled(out)) + rng.choice([0, 0, 1, 2, 3]), time.monotonic() + 60
        while len(journalled(out)) < wanted and build.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        os.killpg(build.pid, signal.SIGKILL)
        build.communicate()
        done, times = finished_videos(out), shard_times(out)
        moments.append(len(done))
        for name, stamp in finished.items():
            assert times[name] == stamp, f"{name} was done again"
        finished = {name: times[name] for name in done}
    last = start_build(source, out, **options)
    assert last.wait(300) == 0, last.stderr.read()
    times = shard_times(out)
    for name, stamp in finished.items():
        assert times[name] == stamp, f"{name} was done again"
    assert journalled(out) == set()
    return moments


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Sources, and the data set of a build that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    source = write_sources(folder / "videos", 12)
    build = start_build(source, folder / "dataset")
    assert build.wait(300) == 0, build.stderr.read()
    return source, folder / "dataset"


def test_a_build_killed_twice_ends_as_if_nothing_had_been(undisturbed, tmp_path):
    source, dataset = undisturbed
    moments = kill_and_resume(source, tmp_path / "dataset", random.Random(1), 2)
    print(f"\nfinished videos at the kills: {moments} of 12")
    assert content(tmp_path / "dataset") == content(dataset)


def test_the_comparison_can_fail(undisturbed, tmp_path):
    _, dataset = undisturbed
    shutil.copytree(dataset, tmp_path / "dataset")
    shard = next((tmp_path / "dataset" / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert content(tmp_path / "dataset") != content(dataset)
