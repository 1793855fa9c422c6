"""Compares a new data set with what a run was tested on: quality, posture, movement, answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.build import INDEX, file_digest, read_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.files import written_whole
from pipelines.optional import load
from pipelines.records import read_shard
from pipelines.schema import RefusedError
from tfgma.answers import join, predict
from tfgma.assessment_content import QUALITY
from tfgma.config import StudyConfig
from tfgma.drift import ALPHA, Drift, drifts, least_distance
from tfgma.evaluation import exact_interval
from tfgma.lock_box import refuse_locked
from tfgma.movement_figures import MOVEMENT, POSE, movement_figures, pose_figures
from tfgma.pages import render
from tfgma.runs import (
    MODEL_FILE,
    Predictions,
    fold_folder,
    read_run,
    read_run_predictions,
    study_of,
    write_json,
)
from tfgma.scores import Scores, poolings, scores_by
from tfgma.suitability import as_built, refuse_other_build
from tfgma.weights.pretrained import load_network

PAGE = "monitor.html"
FIGURES = "monitor.json"

LEFT_OUT = "clips_left_out"
GROUPS = {
    "quality": {**QUALITY, LEFT_OUT: "clips left out, share"},
    "posture": POSE,
    "movement": MOVEMENT,
    "answers": {"certainty": "highest probability of a class"},
}
"""Group -> figure -> what it is; `answers` has a probability for each class besides."""

Progress = Callable[[int, int, str], None]
Figure = dict[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """What changed between a run's test subjects and a data set.

    `rows`: group -> its figures. `performance`: subjects that were answered right, before and now, where
    the new ones' classes are the run's. `shared`: files that both have.
    """

    before: int
    now: int
    shared: int
    rows: dict[str, list[Drift]]
    performance: dict[str, Any] | None

    @property
    def changed(self) -> list[str]:
        """Figures that did."""
        return [row.figure for rows in self.rows.values() for row in rows if row.changed]

    @property
    def least_distance(self) -> float:
        """Smaller ones are not seen."""
        return least_distance(self.before, self.now, sum(map(len, self.rows.values())))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "subjects": {"before": self.before, "now": self.now},
            "shared_videos": self.shared,
            "changed": self.changed,
            "least_distance": round(self.least_distance, 4),
            "figures": {
                group: [asdict(row) | {"changed": row.changed} for row in rows]
                for group, rows in self.rows.items()
            },
            "performance": self.performance,
        }


def monitor(dataset: Path, run: Path, *, progress: Progress = lambda done, total, text: None) -> Comparison:
    """Compares by subject: each of the new ones is answered by one fold's network, as each of the run's was.

    Args:
        dataset: built with the run's settings.
        run: a trained run, whose data set is still there.
        progress: is told steps done, of all, and what comes next.

    Raises:
        RefusedError: not a run, no data set, one of other settings or with videos of the run's closed lock
            box, or too few subjects.
    """
    content = read_run(run)
    index = read_index(dataset)
    config = as_built(study_of(content), index)
    refuse_other_build(index, config.build)
    reference = Path(content["dataset"])
    before_index = read_index(reference)
    if file_digest(reference / INDEX) != content["dataset_sha256"]:
        raise RefusedError(
            f"the run's data set must be the one it was trained on. Received: {str(reference)!r}, whose "
            "dataset.json is another. Build it again, or train again"
        )
    hashes = [{entry["sha256"] for entry in one["videos"]} for one in (before_index, index)]
    refuse_locked(content, before_index["videos"], hashes[1])
    before = answers_when_tested(read_run_predictions(run))
    steps = 2 + len(content["trained_folds"])
    progress(0, steps, "the run's data set")
    figures = {"before": _figures(reference, before_index, set(before.subjects))}
    progress(1, steps, "the new data set")
    everybody = {entry["subject"] for entry in index["videos"] if entry["shard"]}
    figures["now"] = _figures(dataset, index, everybody)
    now = _new_answers(run, content, config, dataset, index, sorted(everybody), progress)
    for side, scores in (("before", before), ("now", now)):
        figures[side]["answers"] = {
            **{f"p_{name}": scores.probabilities[:, number] for number, name in enumerate(scores.classes)},
            "certainty": scores.probabilities.max(axis=1),
        }
    # One correction for all figures together.
    flat = {
        side: {f"{group}/{name}": values for group, named in groups.items() for name, values in named.items()}
        for side, groups in figures.items()
    }
    rows: dict[str, list[Drift]] = {group: [] for group in GROUPS}
    for row in drifts(flat["before"], flat["now"]):
        group, _, name = row.figure.partition("/")
        rows[group].append(Drift(**(asdict(row) | {"figure": name})))
    return Comparison(
        len(before.names), len(now.names), len(hashes[0] & hashes[1]), rows, _performance(before, now, index)
    )


def answers_when_tested(predictions: Predictions) -> Scores:
    """One answer for each test subject of a run."""
    test = predictions.where(predictions.sides == "test")
    return scores_by("subject", test, poolings(test, "mean"))


def _figures(dataset: Path, index: Mapping[str, Any], subjects: set[str]) -> dict[str, Figure]:
    """Group -> figure -> (subjects,) means over each subject's clips, of quality over its videos."""
    quality: dict[str, list[dict[str, float]]] = {}
    others: dict[str, dict[str, list[dict[str, float]]]] = {"posture": {}, "movement": {}}
    config = StudyConfig.model_validate({"build": index["config"]}).build
    for entry in index["videos"]:
        if not entry["shard"] or entry["subject"] not in subjects:
            continue
        values = {name: entry["quality"].get(name) for name in QUALITY}
        values[LEFT_OUT] = entry["clips_left_out"] / (entry["clips"] + entry["clips_left_out"])
        quality.setdefault(entry["subject"], []).append(
            {name: np.nan if value is None else float(value) for name, value in values.items()}
        )
        shard = dataset / "shards" / entry["shard"]
        for clip, _ in read_shard(shard, config.clip, index["modalities"]):
            for group, found in (("posture", pose_figures(clip)), ("movement", movement_figures(clip))):
                others[group].setdefault(entry["subject"], []).append(found)
    return {group: _by_subject(values) for group, values in {"quality": quality, **others}.items()}


def _by_subject(values: Mapping[str, list[dict[str, float]]]) -> Figure:
    names = list(dict.fromkeys(name for rows in values.values() for row in rows for name in row))
    return {
        name: np.array([np.mean([row[name] for row in rows if name in row]) for rows in values.values()])
        for name in names
    }


def _new_answers(
    run: Path,
    content: Mapping[str, Any],
    config: StudyConfig,
    dataset: Path,
    index: Mapping[str, Any],
    subjects: list[str],
    progress: Progress,
) -> Scores:
    """One answer for each new subject, by the trained folds' networks in turn."""
    folds, parts = content["trained_folds"], []
    for number, fold in enumerate(folds):
        progress(2 + number, 2 + len(folds), f"fold {fold} answers")
        chosen = subjects[number :: len(folds)]
        if not chosen:
            continue
        network = load_network(fold_folder(run, fold) / MODEL_FILE)
        data = clip_dataset(
            shard_paths(dataset, dict(index), chosen),
            config.build.clip,
            batch_size=config.train.batch_size,
            inputs=[tensor.name for tensor in network.inputs],
            settings=config.inputs,
            modalities=index["modalities"],
        )
        # Labels are those of the new data set's classes, and are not looked at here.
        parts.append(predict(network, data, content["classes"], fold, "test"))
    found = join(parts)
    return scores_by("subject", found, poolings(found, "mean"))


def _performance(before: Scores, now: Scores, index: Mapping[str, Any]) -> dict[str, Any] | None:
    """Subjects that were answered right, and Fisher's exact test; None where classes are new to the run."""
    classes = list(before.classes)
    if not set(index["classes"]) <= set(classes):
        return None
    truth = np.array([classes.index(index["classes"][label]) for label in now.labels])
    counts = [
        (int((before.probabilities.argmax(axis=1) == before.labels).sum()), len(before.labels)),
        (int((now.probabilities.argmax(axis=1) == truth).sum()), len(truth)),
    ]
    table = [[right, n - right] for right, n in counts]
    p = float(load("scipy.stats", "train").fisher_exact(table).pvalue)
    sides = {
        side: {"right": right, "subjects": n, "accuracy": right / n, "interval": exact_interval(right, n)}
        for side, (right, n) in zip(("before", "now"), counts, strict=True)
    }
    return {**sides, "p": p, "changed": p < ALPHA}


def write_comparison(out: Path, found: Comparison, dataset: Path, run: Path) -> None:
    """Writes PAGE and FIGURES to the folder `out`, which may be there."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FIGURES, found.as_json())
    words = {name: text for group in GROUPS.values() for name, text in group.items()}
    page = render(
        "monitor.html.j2",
        found=found,
        groups={
            group: [
                (words.get(row.figure, row.figure.replace("p_", "probability of ", 1)), row, _places(row))
                for row in rows
            ]
            for group, rows in found.rows.items()
            if rows
        },
        dataset=dataset.name,
        run=run.name,
        cell_paints=(),
    )
    with written_whole(out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _places(row: Drift) -> dict[str, dict[str, float]]:
    """Middle halves of both groups, in percent of a common track."""
    low = min(row.before[0], row.now[0])
    span = max(1e-12, max(row.before[2], row.now[2]) - low)
    return {
        side: {
            "left": 100 * (ends[0] - low) / span,
            "width": max(1.0, 100 * (ends[2] - ends[0]) / span),
            "middle": 100 * (ends[1] - low) / span,
        }
        for side, ends in (("before", row.before), ("now", row.now))
    }
