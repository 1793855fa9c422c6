"""A build that is killed goes on where it was; tests/long has more: 20 kills, a cluster, a full disk."""

import json
import os
import random
import shutil
import signal
import time

import pytest

from tests.faults import (
    build_undisturbed,
    content,
    finished_videos,
    journalled,
    shard_times,
    start_build,
    write_killer,
)


def kill_and_resume(source, out, rng, kills, **options):
    """Kills builds with all their processes at random moments, then lets one end; returns where they were.

    Asserts that nothing finished was done again.
    """
    moments, finished = [], {}
    # A quick machine must not come to the end before the drawn moment.
    last_chance = len(list(source.glob("*/*/*"))) - 3
    for _ in range(kills):
        build = start_build(source, out, **options)
        more = rng.choice([0, 1, 1, 2, 2, 3])
        wanted, until = min(len(journalled(out)) + more, last_chance), time.monotonic() + 60
        while len(journalled(out)) < wanted and build.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        moment = time.monotonic() + rng.uniform(0, 0.5 if more else 2)
        while len(journalled(out)) < last_chance and time.monotonic() < moment:
            time.sleep(0.01)
        assert build.poll() is None, "the build ended before it was killed: it needs more videos"
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
    return build_undisturbed(tmp_path_factory.mktemp("undisturbed"), 12)


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


def test_a_video_that_kills_its_worker_is_left_out_and_the_others_go_on(undisturbed, tmp_path):
    source, dataset = undisturbed
    shutil.copytree(source / "FMs", tmp_path / "videos" / "FMs")
    write_killer(tmp_path / "videos", "bomb")
    out = tmp_path / "dataset"
    build = start_build(tmp_path / "videos", out, tools="killing_tools")
    assert build.wait(300) == 0, build.stderr.read()
    index = json.loads((out / "dataset.json").read_text())
    reasons = {entry["id"]: entry["left_out"] for entry in index["videos"]}
    assert "killed its worker, also when it was tried alone" in reasons.pop("FMs__bomb__v")
    assert set(reasons.values()) == {None}
    for name in reasons:
        assert (out / f"shards/{name}.tfrecord").read_bytes() == (
            dataset / f"shards/{name}.tfrecord"
        ).read_bytes()
    before = shard_times(out)
    build = start_build(tmp_path / "videos", out, tools="cheap_tools")  # more memory, say
    assert build.wait(300) == 0, build.stderr.read()
    after = shard_times(out)
    assert set(after) - set(before) == {"FMs__bomb__v"}
    assert all(after[name] == stamp for name, stamp in before.items())
