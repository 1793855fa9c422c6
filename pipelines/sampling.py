"""Which clips of a training side an epoch takes, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """A rule of drawing clips, and what it needs to know of each shard; N clips in all.

    `clips`, `subjects`, `classes`: a value a shard, in the order of the shards. `clips_per_subject`: at most
    so many of a subject an epoch; None for all. `balanced`: as many of each class as of the others.
    """

    clips: tuple[int, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]
    clips_per_subject: int | None = None
    balanced: bool = False

    @property
    def firsts(self) -> list[int]:
        """The number, of 0 to N - 1, of each shard's first clip."""
        return [0, *np.cumsum(self.clips)[:-1].tolist()]

    @property
    def takes_all(self) -> bool:
        """Whether every epoch takes each clip once."""
        return self.clips_per_subject is None and not self.balanced

    def class_counts(self) -> dict[str, int]:
        """Clips of each class in an epoch."""
        counts = self._before_balance()
        if not self.balanced:
            return counts
        # Common classes give up what rare ones gain, so that an epoch stays as long as it was.
        return dict.fromkeys(counts, max(1, round(sum(counts.values()) / len(counts))))

    def draw(self, seed: int | Sequence[int]) -> np.ndarray:
        """How often an epoch takes each clip: (N,) int64.

        A subject's clips are drawn without repeating; so are a class's, until each was drawn.
        """
        rng = np.random.default_rng(seed)
        times = np.ones(sum(self.clips), np.int64)
        if self.clips_per_subject is not None:
            times[:] = 0
            of_subject = np.repeat(self.subjects, self.clips)
            for subject in dict.fromkeys(self.subjects):
                mine = np.flatnonzero(of_subject == subject)
                times[rng.choice(mine, min(self.clips_per_subject, len(mine)), replace=False)] = 1
        if self.balanced:
            of_class = np.repeat(self.classes, self.clips)
            for name, wanted in self.class_counts().items():
                mine = np.flatnonzero((of_class == name) & (times > 0))
                times[mine] = wanted // len(mine)
                times[rng.choice(mine, wanted % len(mine), replace=False)] += 1
        return times

    def _before_balance(self) -> dict[str, int]:
        of_subject: dict[tuple[str, str], int] = {}
        for subject, name, clips in zip(self.subjects, self.classes, self.clips, strict=True):
            of_subject[subject, name] = of_subject.get((subject, name), 0) + clips
        counts = dict.fromkeys(self.classes, 0)
        for (_, name), clips in of_subject.items():
            counts[name] += clips if self.clips_per_subject is None else min(clips, self.clips_per_subject)
        return counts
