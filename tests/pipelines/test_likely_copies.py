"""Copies among many videos are found as if each were compared with each."""

import base64

import numpy as np
import pytest

import pipelines.duplicates
from pipelines.duplicates import same_recordings
from pipelines.fingerprints import (
    MIN_COMMON_STEPS,
    SAME_FROM,
    agreement_at,
    agreements,
    read_fingerprint,
    read_words,
)
from pipelines.likely_copies import _side_by_side, likely_copies
from tests.pipelines.test_duplicates import video

MIRROR = np.where(np.arange(64) % 8 % 2 == 1, -1, 1)
STEPS = 90


def movement(rng, steps=STEPS):
    """Signs (steps, 64) that follow each other as those of a body: none is quite new."""
    current, signs = rng.normal(size=64), []
    for _ in range(steps):
        current = 0.5 * current + rng.normal(size=64)
        signs.append(current > 0)
    return as_signs(np.array(signs))


def as_signs(positive):
    signs = np.where(positive, 1, -1)
    signs[:, 0] = 1
    return signs


def copy(rng, signs, *, wrong=0.2, mirrored=False):
    turned = np.where(rng.random(signs.shape) < wrong, -signs, signs) * (MIRROR if mirrored else 1)
    return as_signs(turned > 0)


def text(signs):
    return base64.b64encode(np.packbits(signs > 0, axis=1).tobytes()).decode()


def words(signs):
    return read_words(text(signs))


def test_words_agree_at_their_best_shift_as_all_shifts_together_say():
    rng = np.random.default_rng(2)
    one = movement(rng)
    one[20:25] = 0
    for other in (one[30:], copy(rng, one[:50], mirrored=True), movement(rng, 40)):
        every = [agreement_at(words(one), words(other), shift) for shift in range(-STEPS, STEPS)]
        both = [read_fingerprint(text(signs)) for signs in (one, other)]
        assert max(every) == pytest.approx(agreements(both)[0, 1], abs=1e-6)
    assert agreement_at(words(one), words(one[30:]), 30) == 1
    few = MIN_COMMON_STEPS - 1
    assert agreement_at(words(one), words(one[:few]), 0) == -1
    assert agreement_at(words(one), words(one), STEPS) == -1


@pytest.mark.parametrize("mirrored", [False, True])
def test_copies_among_many_are_found_with_their_shift(mirrored):
    rng = np.random.default_rng(3)
    signs = [movement(rng) for _ in range(300)]
    copied = {(7 * n, 300 + n): 10 * n for n in range(6)}
    signs += [copy(rng, signs[n][shift:], mirrored=mirrored) for (n, _), shift in copied.items()]
    found = likely_copies([words(one) for one in signs], np.arange(len(signs)))
    assert (found[:, 0] < found[:, 1]).all()
    assert {(i, j, shift) for (i, j), shift in copied.items()} <= set(map(tuple, found.tolist()))
    # Chance is rare enough for a closer look at each.
    assert len(found) < 0.1 * len(signs) ** 2 / 2


def test_one_group_s_copies_and_no_videos_are_none():
    signs = [movement(np.random.default_rng(0)) for _ in range(2)]
    videos = [words(one) for one in signs]
    assert [0, 1, 0] in likely_copies(videos, np.array([0, 1])).tolist()
    assert likely_copies(videos, np.array([4, 4])).shape == (0, 3)
    assert likely_copies([], np.array([])).shape == (0, 3)
    assert likely_copies([words(np.zeros((0, 64)))] * 2, np.arange(2)).shape == (0, 3)
    assert likely_copies([np.zeros(STEPS, np.uint64)] * 2, np.arange(2)).shape == (0, 3)


def test_work_grows_with_the_words_and_not_with_their_square():
    rng = np.random.default_rng(5)

    def compared(count):
        signs = np.concatenate([movement(rng) for _ in range(count // STEPS)])
        return sum(len(first) for first, _ in _side_by_side(words(signs)))

    few, many = compared(20 * STEPS), compared(320 * STEPS)
    assert few < many < 2 * 16 * few


def test_many_videos_are_told_apart_as_few_are(monkeypatch):
    rng = np.random.default_rng(6)
    signs = [movement(rng) for _ in range(40)]
    signs += [copy(rng, signs[n], mirrored=n % 2 == 1) for n in range(8)]
    videos = [video(f"s{n}", fingerprint=text(one)) for n, one in enumerate(signs)]
    videos[30]["sha256"] = videos[31]["sha256"]
    each_with_each = same_recordings(videos)
    monkeypatch.setattr(pipelines.duplicates, "MOST_COMPARED_EACH_WITH_EACH", 0)
    assert same_recordings(videos) == each_with_each
    assert len(each_with_each) == 9
    assert SAME_FROM < agreements([read_fingerprint(text(signs[n])) for n in (0, 40)])[0, 1] < 0.7
