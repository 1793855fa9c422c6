"""What the search for copies among many videos finds and takes; prints its figures."""

import time

import numpy as np
import pytest

from pipelines.fingerprints import SAME_FROM, agreement_at
from pipelines.likely_copies import likely_copies
from tests.pipelines.test_likely_copies import copy, movement, words

pytestmark = pytest.mark.long

STEPS = 180
COPIES = 40
COPY_SECONDS = (60, 10, 5)
WRONG = {"0.66": 0.17, "0.60": 0.2, "0.46": 0.27}
"""Agreement of a copy -> share of its bits that are wrong."""


@pytest.mark.parametrize("count", [500, 2000, 8000])
def test_copies_are_found_among_many_in_time_that_grows_with_their_number(count):
    rng = np.random.default_rng(count)
    signs = [movement(rng, STEPS) for _ in range(count)]
    planted, originals = {}, iter(rng.permutation(count))
    for seconds in COPY_SECONDS:
        for name, wrong in WRONG.items():
            for number in range(COPIES):
                steps = 3 * seconds
                original, begin = int(next(originals)), rng.integers(0, STEPS - steps + 1)
                part = copy(
                    rng, signs[original][begin : begin + steps], wrong=wrong, mirrored=number % 2 == 1
                )
                planted[original, len(signs)] = (seconds, name)
                signs.append(part)
    videos = [words(one) for one in signs]
    begin = time.perf_counter()
    found = likely_copies(videos, np.arange(len(videos)))
    alike = [agreement_at(videos[i], videos[j], shift) for i, j, shift in found.tolist()]
    taken = time.perf_counter() - begin
    pairs = {(i, j) for (i, j, _), one in zip(found.tolist(), alike, strict=True) if one >= SAME_FROM}
    print(
        f"\n{len(videos)} videos of a minute: {1000 * taken / len(videos):.1f} ms a video, "
        f"{len(found)} looked at"
    )
    for seconds in COPY_SECONDS:
        for name in WRONG:
            of_kind = [pair for pair, kind in planted.items() if kind == (seconds, name)]
            seen = sum(pair in pairs for pair in of_kind)
            print(f"agreement {name}, {seconds} s long: {seen} of {len(of_kind)} found")
            if name == "0.66" and seconds >= 10:
                assert seen == len(of_kind)
    assert pairs <= set(planted)
