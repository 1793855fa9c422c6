"""Thousands of damaged videos: the program neither crashes nor hangs."""

import time

import pytest

from tests import fuzz

pytestmark = pytest.mark.long

FILES = 2000


def test_damaged_videos_give_frames_or_a_refusal(tmp_path):
    (tmp_path / "seeds").mkdir()
    seeds = fuzz.write_seeds(tmp_path / "seeds")
    begin = time.monotonic()
    found = fuzz.outcomes(seeds, tmp_path, range(FILES))
    print(f"\n{FILES} damaged videos in {time.monotonic() - begin:.0f} s: {fuzz.summary(found)}")
    assert {path.name: outcome for path, outcome in found.items() if outcome not in fuzz.GOOD} == {}
