"""What the networks answered along each test subject's videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfgma.runs import Predictions
from tfgma.scores import Scores


@dataclass(frozen=True)
class Cell:
    """One clip: when it begins, its true class's probability, and the answer where it was another class.

    `gap_seconds`: how long before it no clip is.
    """

    start_seconds: float
    probability: float
    wrong: str | None
    gap_seconds: float

    @property
    def tenth(self) -> int:
        """0 to 9: of the probability."""
        return min(9, int(self.probability * 10 + 1e-9))


@dataclass(frozen=True)
class Strip:
    """A video's clips in the order of time."""

    video: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class TestSubject:
    """A test subject's answer, its conformal set, and what it was made of."""

    __test__ = False  # no test of pytest's

    name: str
    label: str
    predicted: str
    probabilities: tuple[float, ...]
    networks: int
    conformal_set: tuple[str, ...]
    conformal_answer: str
    strips: tuple[Strip, ...]

    @property
    def right(self) -> bool:
        """Whether the most probable class is the true one."""
        return self.predicted == self.label


def subject_strips(
    test: Predictions, scores: Scores, conformal: list[dict[str, Any]], clip_seconds: float
) -> list[TestSubject]:
    """The test subjects, wrong ones first, then by class, the least probable true class first.

    Args:
        test: clips of the test side; those that several networks answered for are averaged.
        scores: by subject, of the same clips.
        conformal: `subjects` of `conformal_metrics`.
        clip_seconds: length of a clip.
    """
    classes, sets = scores.classes, {one["subject"]: one for one in conformal}
    strips = _strips(test, clip_seconds)
    rows = zip(scores.names, scores.labels, scores.probabilities, scores.networks, strict=True)
    found = [
        TestSubject(
            name=name,
            label=classes[label],
            predicted=classes[int(values.argmax())],
            probabilities=tuple(values.tolist()),
            networks=int(networks),
            conformal_set=tuple(sets[name]["set"]),
            conformal_answer=sets[name]["answer"],
            strips=tuple(strips[name]),
        )
        for name, label, values, networks in rows
    ]
    order = {label: number for number, label in enumerate(classes)}
    return sorted(found, key=lambda one: (one.right, order[one.label], one.probabilities[order[one.label]]))


def _strips(test: Predictions, clip_seconds: float) -> Mapping[str, list[Strip]]:
    """Subject -> its videos' strips."""
    order = np.lexsort((test.start_seconds, test.videos))
    videos, starts, labels = test.videos[order], test.start_seconds[order], test.labels[order]
    first = np.r_[True, (videos[1:] != videos[:-1]) | (starts[1:] != starts[:-1])]
    places = np.flatnonzero(first)
    counts = np.diff(np.r_[places, len(order)])
    means = np.add.reduceat(test.probabilities[order], places, axis=0) / counts[:, None]
    cells: dict[tuple[str, str], list[Cell]] = {}
    before: tuple[str, float] | None = None
    for place, values in zip(places, means, strict=True):
        video, start, label = str(videos[place]), float(starts[place]), int(labels[place])
        end = before[1] if before and before[0] == video else 0.0
        answer = int(values.argmax())
        cells.setdefault((str(test.subjects[order[place]]), video), []).append(
            Cell(
                start,
                float(values[label]),
                None if answer == label else test.classes[answer],
                # Frames lie on a grid: less than half a second is its rounding.
                start - end if start - end > 0.5 else 0.0,
            )
        )
        before = video, start + clip_seconds
    found: dict[str, list[Strip]] = {}
    for (subject, video), row in cells.items():
        found.setdefault(subject, []).append(Strip(video, tuple(row)))
    return found
