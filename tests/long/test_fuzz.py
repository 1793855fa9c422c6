"""Thousands of damaged videos: the program neither crashes nor hangs."""

import time

import pytest

from pipelines.build import build_dataset
from pipelines.verify import verify_dataset
from tests import fuzz
from tests.faults import CHEAP, cheap_tools

pytestmark = pytest.mark.long

FILES = 2000


def test_damaged_videos_give_frames_or_a_refusal(tmp_path):
    (tmp_path / "seeds").mkdir()
    seeds = fuzz.write_seeds(tmp_path / "seeds")
    begin = time.monotonic()
    found = fuzz.outcomes(seeds, tmp_path, range(FILES))
    print(f"\n{FILES} damaged videos in {time.monotonic() - begin:.0f} s: {fuzz.summary(found)}")
    assert {path.name: outcome for path, outcome in found.items() if outcome not in fuzz.GOOD} == {}


def test_damaged_videos_make_no_bad_shard(tmp_path):
    seeds_folder, videos = tmp_path / "seeds", tmp_path / "videos"
    seeds_folder.mkdir()
    seeds = fuzz.write_seeds(seeds_folder)
    for number in range(FILES):
        folder = videos / ("FMs", "PR", "WMs")[number % 3] / f"subject_{number:04d}"
        folder.mkdir(parents=True)
        fuzz.write_damaged(seeds, folder, number)
    begin = time.monotonic()
    index = build_dataset(videos, tmp_path / "dataset", CHEAP, workers=2, make_tools=cheap_tools)
    took = time.monotonic() - begin
    verification = verify_dataset(tmp_path / "dataset", index)
    reasons = [entry["left_out"] for entry in index["videos"] if entry["left_out"]]
    print(
        f"\n{FILES} damaged videos built in {took:.0f} s: {verification.shards} shards with "
        f"{verification.records} records, {len(reasons)} videos left out"
    )
    assert len(index["videos"]) == FILES
    assert verification.problems == ()
    assert verification.shards >= FILES / 4
    assert [one for one in reasons if not one.startswith("a video must ")] == []
