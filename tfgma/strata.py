"""How well subjects are told apart within the values of a manifest's column: site, age, device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.build import read_index
from pipelines.schema import RefusedError
from tfgma.aggregation import Aggregation
from tfgma.intervals import figure_intervals
from tfgma.metrics import classification_metrics
from tfgma.runs import Predictions
from tfgma.scores import scores_by

FIXED_COLUMNS = ("label", "group", "split", "age_weeks")
"""Columns that a data set keeps by name; further ones are in its entries' `other`."""

MOST_VALUES = 8
"""Numbers that take more values than this are shown in quarters."""

NOT_GIVEN = "not given"
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auroc", "brier")


def strata_tables(
    dataset: Path, columns: Sequence[str], test: Predictions, pooling: Mapping[int, Aggregation]
) -> dict[str, list[dict[str, Any]]]:
    """Column -> a row for each of its values.

    A video belongs to the stratum of its value; a subject whose videos have several values is in several
    strata, each time with the clips of those videos.

    Args:
        dataset: its folder; unused where `columns` is empty.
        columns: of the manifest.
        test: clips of the test side.
        pooling: as `scores_by` takes it.

    Returns:
        Rows of `value`, `subjects`, `clips`, and by subject each of FIGURES as `{"value", "interval"}`
        (subject bootstrap; None where undefined). Numbers with more than MOST_VALUES values are cut at the
        quartiles of the videos.

    Raises:
        RefusedError: the data set is no longer there, lacks a video of the run, or has no such column.
    """
    if not columns:
        return {}
    entries = {entry["id"]: entry for entry in read_index(dataset)["videos"]}
    missing = sorted(set(test.videos.tolist()) - entries.keys())
    if missing:
        raise RefusedError(
            f"the data set must hold the videos that the run tested. Received: {str(dataset)!r} without "
            f"{missing[0]!r}. Evaluate beside the data set that was trained on"
        )
    return {
        column: _table(
            _values(column, {name: entries[name] for name in sorted(set(test.videos.tolist()))}),
            test,
            pooling,
        )
        for column in columns
    }


def _values(column: str, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Video -> its stratum."""
    known = {*FIXED_COLUMNS, *(name for entry in entries.values() for name in entry["other"])}
    if column not in known:
        raise RefusedError(
            f"--by must be a column of the manifest: {', '.join(sorted(known))}. Received: {column!r}. "
            "Choose one of them, or build again with a manifest that has it"
        )
    given = {
        name: entry[column] if column in FIXED_COLUMNS else entry["other"].get(column)
        for name, entry in entries.items()
    }
    texts = {name: "" if value is None else str(value).strip() for name, value in given.items()}
    numbers = {name: _number(text) for name, text in texts.items() if text}
    if len(set(numbers.values())) <= MOST_VALUES or None in numbers.values():
        return {name: text or NOT_GIVEN for name, text in texts.items()}
    values = np.array(list(numbers.values()), float)
    edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1], method="inverted_cdf"))
    places = dict(zip(numbers, np.searchsorted(edges[1:-1], values, side="left"), strict=True))
    return {
        name: f"{edges[places[name]]:g} to {edges[places[name] + 1]:g}" if name in places else NOT_GIVEN
        for name in texts
    }


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _table(
    stratum_of: Mapping[str, str], test: Predictions, pooling: Mapping[int, Aggregation]
) -> list[dict[str, Any]]:
    of_clip = np.array([stratum_of[name] for name in test.videos.tolist()])
    rows = []
    for value in dict.fromkeys(sorted(stratum_of.values(), key=_by_number)):
        part = test.where(of_clip == value)
        scores = scores_by("subject", part, pooling)
        figures = classification_metrics(scores.labels, scores.probabilities, scores.classes)
        intervals = figure_intervals(scores.labels, scores.probabilities, scores.subjects, scores.classes)
        rows.append(
            {
                "value": value,
                "subjects": len(scores.names),
                "clips": len(scores_by("clip", part, pooling).names),
                **{name: {"value": figures[name], "interval": intervals[name]} for name in FIGURES},
            }
        )
    return rows


def _by_number(value: str) -> tuple[bool, float, str]:
    """Numbers in their order, then names, what was not given last."""
    number = _number(value.split(" to ")[0])
    return value == NOT_GIVEN, np.inf if number is None else number, value
