"""One self-contained HTML page about a run."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.build import INDEX, file_digest, read_index
from pipelines.files import written_whole
from pipelines.schema import RefusedError
from pipelines.splits import SIDES
from tfgma import charts
from tfgma.data_flow import data_flow
from tfgma.evaluation import SUMMARY
from tfgma.intervals import LEVEL
from tfgma.pages import CELL_PAINTS, NAMES, render
from tfgma.runs import (
    LOCK_BOX_FILE,
    MODEL_FILE,
    PREDICTIONS,
    REPORT_FILE,
    RUN_FILE,
    Predictions,
    fold_folder,
    read_run,
    read_run_predictions,
)
from tfgma.scores import LEVELS, poolings, scores_by
from tfgma.strips import subject_strips

HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auroc")
BY_CLASS = ("precision", "recall", "f1", "auroc", "average_precision", "sensitivity_at_specificity")


def write_report(run: Path, metrics: dict[str, Any]) -> Path:
    """Writes report.html beside metrics.json and returns its path; the same run gives the same bytes."""
    content = read_run(run)
    predictions = read_run_predictions(run)
    test = predictions.where(predictions.sides == "test")
    subjects = scores_by("subject", test, poolings(predictions, metrics["aggregation"]))
    histories = {
        fold: read_history(fold_folder(run, fold) / "history.csv") for fold in content["trained_folds"]
    }
    index, trouble = None, None
    try:
        index = read_index(Path(content["dataset"]))
    except RefusedError as error:
        trouble = str(error)  # the figures stand without it
    flow = None if index is None else data_flow(index, content)
    clip_seconds = float(_at(content["config"], "build.clip.clip_seconds", 0.0))
    page = render(
        "report.html.j2",
        run=content,
        metrics=metrics,
        study=study_table(content, metrics, flow, predictions),
        summary=SUMMARY,
        by_class=BY_CLASS,
        levels=LEVELS,
        level_share=f"{100 * LEVEL:.0f} %",
        folds=fold_rows(content, metrics, labels_of(index, predictions), histories),
        subjects=subject_strips(test, subjects, metrics["conformal"]["subjects"], clip_seconds),
        flow=flow,
        trouble=trouble,
        unchanged=file_digest(Path(content["dataset"]) / INDEX) == content["dataset_sha256"],
        charts={
            "roc": charts.roc_chart(subjects.labels, subjects.probabilities),
            "pr": charts.precision_recall_chart(subjects.labels, subjects.probabilities),
            "reliability": {
                level: charts.reliability_chart(
                    level,
                    [metrics["calibration"][level][when]["reliability"] for when in ("before", "after")],
                )
                for level in ("subject", "clip")
            },
            "learning": [
                (fold, chosen_epoch(history) + 1, charts.learning_chart(fold, history, chosen_epoch(history)))
                for fold, history in histories.items()
            ],
        },
        legend=[
            (number % charts.COLORS, charts.legend_dashes(number))
            for number in range(max(2, len(content["classes"])))
        ],
        cell_paints=CELL_PAINTS,
        settings=yaml.safe_dump(content["config"], sort_keys=False, allow_unicode=True),
        commands=commands(content, metrics),
        hashes=_hashes(run, content),
    )
    path = run / REPORT_FILE
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def read_history(path: Path) -> dict[str, list[float]]:
    """history.csv: the name of each figure -> its value at the end of each epoch."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def chosen_epoch(history: Mapping[str, list[float]]) -> int:
    """The epoch, counted from 0, whose network was kept: the first of least validation loss."""
    return int(history["epoch"][int(np.argmin(history["val_loss"]))])


def labels_of(index: dict[str, Any] | None, predictions: Predictions) -> dict[str, str]:
    """Subject -> class, by the data set and by the answers; those seen by neither are not there."""
    names = zip(predictions.subjects.tolist(), predictions.labels.tolist(), strict=True)
    found = {name: predictions.classes[label] for name, label in names}
    if index is not None:
        found |= {entry["subject"]: entry["label"] for entry in index["videos"] if entry["shard"]}
    return found


def study_table(
    content: Mapping[str, Any],
    metrics: Mapping[str, Any],
    flow: Mapping[str, Any] | None,
    predictions: Predictions,
) -> list[tuple[str, str | list[str]]]:
    """The study in pairs of what and how: data, protocol, network, training, headline figures.

    Args:
        content: of run.json.
        metrics: of `evaluate`.
        flow: of `data_flow`; None where the data set is no longer there.
        predictions: of all trained folds.
    """
    config = content["config"]
    rows: list[tuple[str, str | list[str]]] = [
        ("Classes", f"{', '.join(content['classes'])}; chance accuracy {metrics['chance']:.2f}")
    ]
    if flow is None:
        answered = len(np.unique(predictions.subjects))
        rows.append(("Data", f"not there any more; networks answered for {answered} subjects of it"))
    else:
        of_class = flow["classes"]
        hours = sum(one["hours"] for one in of_class)
        rows += [
            (
                "Subjects",
                f"{sum(one['subjects'] for one in of_class)}: "
                + ", ".join(f"{one['subjects']} {one['name']}" for one in of_class),
            ),
            ("Videos", f"{flow['used']} used, {hours:.2f} hours; {flow['videos'] - flow['used']} left out"),
            (
                "Clips",
                f"{flow['clips']} of {_at(config, 'build.clip.clip_seconds', 0):g} s, "
                f"{_at(config, 'build.clip.fps', 0):g} frames a second",
            ),
        ]
    rows += [("Protocol", protocol_text(content)), ("Lock box", lock_box_text(content, metrics))]
    model = {name: value for name, value in _at(config, "model", {}).items() if value not in (None, False)}
    family = str(model.pop("family", "–")).replace("_", " ")
    rows.append(("Network", family + "".join(f"; {_words(name)} {value}" for name, value in model.items())))
    rows.append(("Training", training_text(config)))
    rows.append(("Test, by subject", [headline(name, metrics["test"]["subject"]) for name in HEADLINES]))
    return rows


def headline(name: str, figures: Mapping[str, Any]) -> str:
    """A figure with its interval; of an accuracy without one, the exact binomial interval."""
    value, ends, method = figures[name], figures["intervals"][name], ""
    if ends is None and name == "accuracy":
        ends, method = figures["exact_accuracy_interval"], "exact binomial, "
    interval = f" ({method}{100 * LEVEL:.0f} %: {ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
    return f"{NAMES.get(name, _words(name))}: {'undefined' if value is None else f'{value:.3f}'}{interval}"


SCHEMES = {
    "folds": "{folds}-fold, each subject tested once; of the others {val_share:.0%} are validated on",
    "nested": "nested: {folds} test sides, the validation side ({val_share:.0%}) rotates within each",
    "fixed": "the manifest's fixed test side; the validation side rotates over {folds} parts of the others",
    "site": "each site of the column {site!r} tested by networks of the others",
}


def protocol_text(content: Mapping[str, Any]) -> str:
    """How the subjects were dealt, in one sentence."""
    split = _at(content["config"], "split", {})
    text = "folds that came with the data set"
    if not split.get("from_dataset"):
        defaults = {"folds": len(content["folds"]), "val_share": 0.0, "site": "group"}
        text = SCHEMES[split.get("scheme", "folds")].format(**defaults | split)
        if split.get("repeats", 1) > 1:
            text += f"; dealt {split['repeats']} times"
    trained, dealt = len(content["trained_folds"]), len(content["folds"])
    text += f"; {trained} of {dealt} folds trained"
    if not split.get("from_dataset"):
        text += "; dealt by subject and group, stratified by class"
    unfinished = sorted(set(content.get("chosen_folds") or []) - set(content["trained_folds"]))
    if unfinished:
        text += f"; not finished: folds {', '.join(map(str, unfinished))}"
    return text


def lock_box_text(content: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """How many were locked away, and whether anybody looked."""
    kept = content["lock_box"]["subjects"]
    if not kept:
        return "none"
    if "lock_box" not in metrics:
        return f"{len(kept)} subjects kept out of everything; not opened"
    found = metrics["lock_box"]
    return (
        f"{len(kept)} subjects; opened {', '.join(found['opened']) or 'without a record'}; "
        f"accuracy by subject {found['subject']['accuracy']:.3f}"
    )


def training_text(config: Mapping[str, Any]) -> str:
    """Optimizer, schedule and length of a training, in one sentence."""
    train = _at(config, "train", {})
    known = {
        "learning_rate": "AdamW (amsgrad), learning rate {:g}",
        "weight_decay": "weight decay {:g}",
        "schedule": "schedule {}",
        "warmup_epochs": "{} epochs of warm-up",
        "batch_size": "{} clips a batch",
        "epochs": "at most {} epochs",
        "patience": "ends after {} epochs without a better validation loss",
        "seed": "seed {} + fold",
    }
    return "; ".join(text.format(train[name]) for name, text in known.items() if name in train)


def fold_rows(
    content: Mapping[str, Any],
    metrics: Mapping[str, Any],
    label_of: Mapping[str, str],
    histories: Mapping[int, Mapping[str, list[float]]],
) -> list[dict[str, Any]]:
    """For each fold its `fold`, subjects of the `sides` as (number, numbers of classes), and what came of it.

    `epochs`, `chosen` (counted from 1) and `test` (figures by subject) are None of folds not trained.
    """
    figures = {one["fold"]: one["subject"] for one in metrics["test"]["folds"]}
    rows = []
    for number, fold in enumerate(content["folds"]):
        sides = []
        for side in SIDES:
            names = fold.get(side, [])
            counts = Counter(label_of.get(name, "not known") for name in names)
            order = [*content["classes"], "not known"]
            sides.append((len(names), " + ".join(f"{counts[one]} {one}" for one in order if counts[one])))
        history = histories.get(number)
        rows.append(
            {
                "fold": number,
                "sides": sides,
                "epochs": len(history["epoch"]) if history else None,
                "chosen": chosen_epoch(history) + 1 if history else None,
                "test": figures.get(number),
            }
        )
    return rows


def commands(content: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """What to type to make this run again; `study.yaml` holds the settings, SOURCE the videos."""
    dataset = shlex.quote(Path(content["dataset"]).name)
    train = f"tfgma train --config study.yaml --data {dataset} --out"
    trained = content["trained_folds"]
    runs = {"run": f"{train} run"}
    if len(trained) < len(content["folds"]):
        runs = {f"run_fold_{fold}": f"{train} run_fold_{fold} --fold {fold}" for fold in trained}
    options = [f"--aggregation {metrics['aggregation']}"]
    options += [f"--by {shlex.quote(column)}" for column in metrics["strata"]]
    options += ["--raters RATERS.csv"] if metrics["raters"] else []
    return [
        f"tfgma build-tfrecords SOURCE --out {dataset} --config study.yaml",
        *runs.values(),
        *(f"tfgma evaluate {name} {' '.join(options)}" for name in runs),
    ]


def _hashes(run: Path, content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and SHA-256 of the run's files, those that are there."""
    names = [RUN_FILE]
    for fold in content["trained_folds"]:
        folder = fold_folder(Path(), fold)
        names += [str(folder / MODEL_FILE), str(folder / PREDICTIONS)]
    digests = [(name, file_digest(run / name)) for name in [*names, LOCK_BOX_FILE]]
    return [(name, digest) for name, digest in digests if digest]


def _at(config: Mapping[str, Any], path: str, otherwise: Any) -> Any:
    """The setting at `section.key`; `otherwise` in runs of before it was there."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key, otherwise) if isinstance(value, Mapping) else otherwise
    return value


def _words(name: str) -> str:
    return name.replace("_", " ")
