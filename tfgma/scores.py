"""One answer for each clip, video or subject, of all networks that answered for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.schema import RefusedError
from tfgma.aggregation import AGGREGATIONS, Aggregation, average_by, label_by
from tfgma.attention import attend_by, fit_attention
from tfgma.runs import Predictions

LEVELS = ("clip", "video", "subject")
AGGREGATION_NAMES = (*AGGREGATIONS, "attention")


@dataclass(frozen=True)
class Scores:
    """One answer for each clip, video or subject; N rows, sorted by name.

    `names`, `subjects`: of each row. `labels`: (N,) int64. `probabilities`: (N, C) float64. `networks`: (N,)
    int, how many networks' answers were averaged.
    """

    classes: tuple[str, ...]
    names: list[str]
    subjects: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    networks: np.ndarray

    def with_probabilities(self, probabilities: np.ndarray) -> Scores:
        """The same rows with other answers."""
        return replace(self, probabilities=probabilities)


def poolings(predictions: Predictions, aggregation: str) -> dict[int, Aggregation]:
    """Fold -> how its network's clips become one answer; attention is fitted on the fold's validation side.

    Raises:
        RefusedError: no such aggregation, or attention and a fold without validation.
    """
    if aggregation not in AGGREGATION_NAMES:
        raise RefusedError(
            f"the aggregation must be one of {', '.join(AGGREGATION_NAMES)}. Received: {aggregation!r}. "
            "Choose one of them"
        )
    folds = [int(fold) for fold in np.unique(predictions.folds)]
    if aggregation != "attention":
        return dict.fromkeys(folds, AGGREGATIONS[aggregation])
    found = {}
    for fold in folds:
        val = one_side(predictions, fold, "val")
        found[fold] = attend_by(fit_attention(val.subjects.tolist(), val.labels, val.probabilities))
    return found


def one_side(predictions: Predictions, fold: int, side: str) -> Predictions:
    """The rows of one side of one fold.

    Raises:
        RefusedError: there are none.
    """
    chosen = (predictions.folds == fold) & (predictions.sides == side)
    if not chosen.any():
        raise RefusedError(
            f"each fold must have answers for its val and its test side. Received: none for {side} of fold "
            f"{fold}. Train the fold again"
        )
    return predictions.where(chosen)


def scores_by(level: str, predictions: Predictions, pooling: Mapping[int, Aggregation]) -> Scores:
    """One answer for each of a level, each counted once.

    A network's clips are aggregated first. What several networks answered for (a validation subject that
    recurs, or a test subject under the schemes nested and fixed) then has the mean of their probabilities.

    Raises:
        RefusedError: rows of one video or subject with two labels.
    """
    parts = []
    for fold in np.unique(predictions.folds):
        part = predictions.where(predictions.folds == fold)
        keys = _keys(level, part)
        pool = average_by if level == "clip" else pooling[int(fold)]
        names, probabilities = pool(keys, part.probabilities)
        subject_of = dict(zip(keys, part.subjects.tolist(), strict=True))
        parts.append(
            Scores(
                part.classes,
                names,
                [subject_of[name] for name in names],
                label_by(keys, part.labels)[1],
                probabilities,
                np.ones(len(names), int),
            )
        )
    return averaged(parts)


def averaged(parts: Sequence[Scores]) -> Scores:
    """The rows of all networks; those of one name become one, with the mean of their probabilities."""
    names = [name for part in parts for name in part.names]
    subject_of = {name: who for part in parts for name, who in zip(part.names, part.subjects, strict=True)}
    once, probabilities = average_by(names, np.concatenate([part.probabilities for part in parts]))
    _, labels = label_by(names, np.concatenate([part.labels for part in parts]))
    networks = np.unique(names, return_counts=True)[1]
    return Scores(
        parts[0].classes, once, [subject_of[name] for name in once], labels, probabilities, networks
    )


def _keys(level: str, predictions: Predictions) -> list[str]:
    if level == "subject":
        return [str(name) for name in predictions.subjects]
    if level == "video":
        return [str(name) for name in predictions.videos]
    return [
        f"{video} at {start:.3f} s"
        for video, start in zip(predictions.videos, predictions.start_seconds, strict=True)
    ]
