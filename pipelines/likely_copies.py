"""Which of many videos may be copies, found without comparing each with each.

Two copies have words (pipelines.fingerprints: the 64 bits of a step) that are almost equal. Sorted by some of
their bits, chosen at random, words that agree in all of these lie side by side; their other bits tell whether
that is chance. With some dozen choices few copies are missed, and the work grows as sorting does. Source:
Indyk and Motwani, STOC 1998 (locality-sensitive hashing by bits).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.fingerprints import BITS, MOVES, TURNED_BY_A_MIRROR, word_of

CHOICES = 32
"""Of bits."""

MOST_UNEQUAL = 20
"""Bits of two words' 63; of copies a quarter is unequal on the mean, of two recordings half."""

LEAST_WORDS = 2
"""Pairs of such words, as far apart in time as each other, that make two videos likely copies."""

MOST_SIDE_BY_SIDE = 64
"""Words that one is compared with in each order; bits that more of them share tell little."""


def likely_copies(videos: Sequence[np.ndarray], groups: np.ndarray) -> np.ndarray:
    """Pairs of videos of different groups that may be copies, mirrored or not.

    Args:
        videos: V of them, each (steps,) uint64 of `pipelines.fingerprints.read_words`.
        groups: (V,) int.

    Returns:
        (P, 3) int64: a video, a later one, and by how many steps the first shows later what both show.
    """
    lengths = np.array([len(one) for one in videos], np.int64)
    longest = int(lengths.max(initial=0))
    every = np.concatenate([np.zeros(0, np.uint64), *videos])
    moves = (every & MOVES) > 0
    words, owners = every[moves], np.repeat(np.arange(len(videos)), lengths)[moves]
    steps = (np.arange(len(every)) - np.repeat(lengths.cumsum() - lengths, lengths))[moves]
    met = [np.zeros(0, np.int64)]
    for first, second in _side_by_side(words):
        unequal = words[first] ^ words[second]
        fewest = np.minimum(np.bitwise_count(unequal), np.bitwise_count(unequal ^ TURNED_BY_A_MIRROR))
        near = (fewest <= MOST_UNEQUAL) & (groups[owners[first]] != groups[owners[second]])
        low, high = np.minimum(first[near], second[near]), np.maximum(first[near], second[near])
        met.append(low * len(words) + high)
    low, high = np.divmod(np.unique(np.concatenate(met)), max(1, len(words)))
    shape = (max(1, len(videos)), max(1, len(videos)), 2 * longest + 1)
    places = (owners[low], owners[high], longest + steps[low] - steps[high])
    found, counts = np.unique(np.ravel_multi_index(places, shape), return_counts=True)
    first, second, shift = np.unravel_index(found[counts >= LEAST_WORDS], shape)
    return np.column_stack([first, second, shift - longest])


def _side_by_side(words: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of (W,) words, two and two, that agree in so many bits as one of W words does by chance."""
    rng = np.random.default_rng(0)
    count = max(8, len(words).bit_length())
    for _ in range(CHOICES):
        mask = word_of(1 + rng.permutation(BITS - 1)[:count])
        # Turned so that one odd bit is not set, words are the same in a mirror.
        turn = word_of(rng.choice(np.arange(1, BITS, 2), 1))
        keys = np.where(words & turn, words ^ TURNED_BY_A_MIRROR, words) & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for apart in range(1, MOST_SIDE_BY_SIDE + 1):
            same = np.flatnonzero(keys[apart:] == keys[:-apart])
            if not len(same):
                break
            yield order[same], order[same + apart]
