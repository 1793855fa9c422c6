"""Damaged videos give frames or a refusal; tests/long/test_fuzz.py reads many more of them."""

import os
import time

import numpy as np
import pytest

from tests import fuzz


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return fuzz.write_seeds(tmp_path_factory.mktemp("seeds"))


def test_sound_seeds_give_all_their_frames(seeds):
    assert {path.name: fuzz.read(path) for path in seeds} == dict.fromkeys(fuzz.SEEDS, "frames")


def test_damaged_videos_give_frames_or_a_refusal(seeds, tmp_path):
    found = fuzz.outcomes(seeds, tmp_path, range(60))
    assert {path.name: outcome for path, outcome in found.items() if outcome not in fuzz.GOOD} == {}
    # Damage that nothing notices, or that nothing survives, would test little.
    assert all(list(found.values()).count(outcome) >= 10 for outcome in ("refused", "frames, damage told"))


def test_the_same_number_gives_the_same_damage(seeds, tmp_path):
    (tmp_path / "again").mkdir()
    seeds_again = fuzz.write_seeds(tmp_path / "again")
    for number in range(40):
        first = fuzz.write_damaged(seeds, tmp_path, number).read_bytes()
        assert fuzz.write_damaged(seeds_again, tmp_path / "again", number).read_bytes() == first, number


@pytest.mark.parametrize("damage", fuzz.DAMAGES)
def test_every_damage_changes_a_file(seeds, damage):
    content = seeds[0].read_bytes()
    assert any(bytes(damage(bytearray(content), np.random.default_rng(k))) != content for k in range(3))


def misbehave(path):
    """What a fault in FFmpeg would do, by the name that is to be read."""
    if path.name == "crash":
        os.abort()
    if path.name == "hang":
        time.sleep(60)
    if path.name == "greedy":
        return read_greedily()
    return path.name


def read_greedily():
    try:
        return str(len(bytes(2 * fuzz.LIMIT_BYTES)))
    except MemoryError:
        return "no memory"


def test_crashes_hangs_and_greed_are_seen_and_survived(tmp_path):
    with fuzz.Reader(misbehave, limit_seconds=5) as reader:
        assert reader.read(tmp_path / "first") == "first"
        assert reader.read(tmp_path / "crash") == "died with exit code -6"
        assert reader.read(tmp_path / "greedy") == "no memory"
        assert reader.read(tmp_path / "hang") == "hang of more than 5 s"
        assert reader.read(tmp_path / "last") == "last"
