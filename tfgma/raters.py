"""How far second raters agree with each other, with the labels and with the model."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.schema import RefusedError
from tfgma.intervals import bootstrap_intervals
from tfgma.scores import Scores
from tfgma.weighted_metrics import kappa_of

COLUMNS = ("subject", "rater", "label")
MODEL, LABELS = "model", "labels"
"""Raters of a table beside the people."""


def read_raters(path: Path) -> dict[str, dict[str, str]]:
    """Rater -> subject -> label, from a CSV with the columns subject, rater, label.

    Raises:
        RefusedError: no such file, a missing column or value, or a rater with two labels for a subject; the
        row is
            named.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(
            f"--raters must be a CSV file. Received: {str(path)!r} ({error}). Name the file"
        ) from error
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        subject, rater, label = ((row.get(column) or "").strip() for column in COLUMNS)
        if not (subject and rater and label):
            raise RefusedError(
                f"each row of --raters must have {', '.join(COLUMNS)}. Received: row {number} of "
                f"{path.name!r}, with {subject!r}, {rater!r}, {label!r}. Complete it"
            )
        if rater in (MODEL, LABELS):
            raise RefusedError(
                f"a rater must not be called {MODEL} or {LABELS}. Received: {rater!r} in row {number}. "
                "Rename it"
            )
        if found.setdefault(rater, {}).setdefault(subject, label) != label:
            raise RefusedError(
                f"a rater must give a subject one label. Received: {found[rater][subject]!r} and {label!r} "
                f"by {rater!r} for {subject!r} in row {number}. Keep one"
            )
    if not found:
        raise RefusedError(f"--raters must have rows. Received: none in {str(path)!r}. Name another file")
    return found


def rater_agreement(ratings: dict[str, dict[str, str]], scores: Scores) -> dict[str, Any]:
    """Cohen's kappa of every pair of raters, the labels and the model among them.

    Args:
        ratings: of `read_raters`.
        scores: of the test subjects.

    Returns:
        `pairs`: for each `first`, `second`, `n` (subjects that both have labelled), `agreement` (share with
        one label), `kappa` (unweighted; None where both gave one and the same class) and `kappa_interval`
        (subject bootstrap); None for all where n is 0. `not_tested`: subjects in `ratings` that the run did
        not test.

    Raises:
        RefusedError: a label that is no class of the run, or no rated subject in the test.
    """
    index = {name: number for number, name in enumerate(scores.classes)}
    wrong = sorted({label for given in ratings.values() for label in given.values()} - index.keys())
    if wrong:
        raise RefusedError(
            f"raters' labels must be classes of the run: {', '.join(scores.classes)}. "
            f"Received: {', '.join(map(repr, wrong))}. Write them as the run does"
        )
    predicted = scores.probabilities.argmax(axis=1).tolist()
    tested = set(scores.names)
    opinions = {
        rater: {who: index[label] for who, label in given.items() if who in tested}
        for rater, given in ratings.items()
    }
    if not any(opinions.values()):
        raise RefusedError(
            "raters must have labelled subjects that the run tested. Received: none of "
            f"{len(tested)}, such as {scores.names[0]!r}. Write the subjects as the run does"
        )
    opinions[LABELS] = dict(zip(scores.names, scores.labels.tolist(), strict=True))
    opinions[MODEL] = dict(zip(scores.names, predicted, strict=True))
    rated = {who for given in ratings.values() for who in given}
    return {
        "pairs": [
            {"first": first, "second": second, **_agreement(opinions[first], opinions[second], len(index))}
            for first, second in combinations(opinions, 2)
        ],
        "not_tested": sorted(rated - tested),
    }


def _agreement(first: dict[str, int], second: dict[str, int], num_classes: int) -> dict[str, Any]:
    both = sorted(first.keys() & second.keys())
    if not both:
        return {"n": 0, "agreement": None, "kappa": None, "kappa_interval": None}
    one, other = (np.array([given[who] for who in both]) for given in (first, second))
    cells = np.eye(num_classes**2)[one * num_classes + other]

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"kappa": kappa_of((weights @ cells).reshape(-1, num_classes, num_classes))}

    kappa = float(statistic(np.ones((1, len(both))))["kappa"][0])
    return {
        "n": len(both),
        "agreement": float(np.mean(one == other)),
        "kappa": None if np.isnan(kappa) else kappa,
        "kappa_interval": bootstrap_intervals(statistic, len(both), rows=len(both))["kappa"][0],
    }
