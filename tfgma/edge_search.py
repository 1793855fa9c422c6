"""Which small network is worth publishing: what each candidate costs, then what the affordable ones learn."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field
from sklearn.metrics import log_loss

from pipelines.build import build_dataset
from pipelines.config import Settings, parse_settings, read_yaml
from pipelines.schema import RefusedError
from pipelines.synthetic import generate
from tfgma.benchmark import PLAIN, claim
from tfgma.benchmark_inference import BASELINE, time_in_turn
from tfgma.benchmark_networks import write_network
from tfgma.bundle import ONNX, model_file
from tfgma.chosen_tools import chosen_tools
from tfgma.config import StudyConfig, load_study
from tfgma.contenders import Contender
from tfgma.delivered import configs_folder
from tfgma.evaluation import evaluate
from tfgma.processes import run_apart
from tfgma.report import write_report
from tfgma.runs import PREDICTIONS, fold_folder, read_predictions, write_json
from tfgma.scores import poolings, scores_by
from tfgma.training import train

SEARCH = configs_folder() / "edge_search" / "search.yaml"
TEACHER = "teacher"
MARK = "search.json"
COSTS_FILE = "costs.json"
RESULTS_FILE = "edge.json"
SEARCHED_FOLD = 0
TINY = 1e-9
"""Accuracies that differ by less are equal."""
THREADS = 2
VARIANT = "int8"

Progress = Callable[[int, int, str], None]


class Budget(Settings):
    """What a published network may cost, and what decides among those that cost no more.

    `times`: as fast as the reference in PyTorch, at least. `bytes`: of the int8 file, at most. `points`: the
    quickest one is taken whose accuracy is at most so many points below the best; default the best one.
    """

    times: float = Field(gt=0)
    bytes: int | None = Field(None, gt=0)
    points: float | None = Field(None, ge=0, le=100)


class SearchSettings(Settings):
    """The content of search.yaml; its files are named from its folder.

    `axes`: key of a study -> values that it may have; every combination is a candidate.
    """

    student: str
    teacher: str
    reference: str
    axes: dict[str, list[Any]]
    budgets: dict[str, Budget]


@dataclass(frozen=True)
class SearchSize:
    """How much is generated and trained. `folds`: the first so many are trained of what is chosen."""

    subjects: int = 60
    seconds: float = 15.0
    folds: int = 5
    seed: int = 1


@dataclass(frozen=True)
class Cost:
    """`times`: as fast as the reference. `bytes`: of the int8 file."""

    times: float
    bytes: int


@dataclass(frozen=True)
class Score:
    """On a validation side, by subject. Ordered: more right ones are better, then less doubt."""

    accuracy: float
    log_loss: float

    @property
    def order(self) -> tuple[float, float]:
        """Larger is better."""
        return self.accuracy, -self.log_loss


def read_search(path: Path) -> SearchSettings:
    """A search's settings from its YAML file.

    Raises:
        RefusedError: no such file, no YAML, an unknown key, a value out of range.
    """
    return parse_settings(read_yaml(path), SearchSettings, str(path))


def candidates(axes: Mapping[str, Sequence[Any]]) -> dict[str, tuple[str, ...]]:
    """Name -> `section.key=value` of each combination of the axes' values, in order.

    >>> candidates({"a.b": [1, 2], "c": [{"d": 3}]})
    {'c0': ('a.b=1', 'c={d: 3}'), 'c1': ('a.b=2', 'c={d: 3}')}
    """
    combinations = itertools.product(
        *([f"{key}={_flow_style(value)}" for value in values] for key, values in axes.items())
    )
    return {f"c{number}": overrides for number, overrides in enumerate(combinations)}


def _flow_style(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.strip().removesuffix("\n...")


def affordable(costs: Mapping[str, Cost], budget: Budget) -> list[str]:
    """Names of those that are quick and small enough."""
    return [
        name
        for name, cost in costs.items()
        if cost.times >= budget.times and (budget.bytes is None or cost.bytes <= budget.bytes)
    ]


def chosen(scores: Mapping[str, Score], costs: Mapping[str, Cost], budget: Budget) -> str:
    """The affordable candidate that the budget asks for, by the validation side; of equals the quickest.

    Raises:
        RefusedError: none is affordable.
    """
    able = affordable(costs, budget)
    if not able:
        best = max(costs.items(), key=lambda item: item[1].times)
        raise RefusedError(
            f"a candidate must be {budget.times:g} times as fast as the reference"
            f"{f' and have at most {budget.bytes} bytes' if budget.bytes else ''}. "
            f"Received: none; {best[0]} is {best[1].times:.1f} times as fast with {best[1].bytes} bytes. "
            "Add narrower ones to the axes"
        )
    if budget.points is not None:
        least = max(scores[name].accuracy for name in able) - budget.points / 100
        able = [name for name in able if scores[name].accuracy >= least - TINY]
        return max(able, key=lambda name: costs[name].times)
    return max(able, key=lambda name: (*scores[name].order, costs[name].times))


def validation_score(run: Path, fold: int) -> Score:
    """A fold's figures on its validation side, by subject."""
    predictions = read_predictions([fold_folder(run, fold) / PREDICTIONS])
    validation = predictions.where(predictions.sides == "val")
    found = scores_by("subject", validation, poolings(validation, "mean"))
    right = found.probabilities.argmax(axis=1) == found.labels
    loss = log_loss(found.labels, found.probabilities, labels=range(len(found.classes)))
    return Score(float(right.mean()), float(loss))


def search(
    out: Path,
    size: SearchSize,
    *,
    settings: Path = SEARCH,
    workers: int,
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Costs, trainings and choices, as far as they are not in `out`; returns (and writes) the results.

    All candidates are timed in turn with the reference. Those that a budget affords learn from the teacher
    on the first fold; by its validation side one is chosen for each budget. Only what is chosen is trained on
    the other folds and asked about the test sides.

    Returns:
        `costs` and `scores` by candidate, `overrides` of each, and `chosen`: budget -> `candidate` and its
        subjects' test accuracy with its exact 95 % interval, beside the `teacher`'s.

    Raises:
        RefusedError: settings that make no study, a folder of another search, no affordable candidate, or a
            step refused.
    """
    search_settings = read_search(settings)
    base = settings.parent
    teacher = load_study(base / search_settings.teacher)
    overrides = candidates(search_settings.axes)
    students = {name: load_study(base / search_settings.student, one) for name, one in overrides.items()}
    reference = load_study(base / search_settings.reference)
    studies = {TEACHER: teacher, BASELINE: reference} | students
    claim(
        out, MARK, {"size": vars(size), "studies": {name: one.model_dump() for name, one in studies.items()}}
    )
    costs = _costs(out, reference, students, progress)
    wanted = [
        name
        for name in students
        if any(name in affordable(costs, one) for one in search_settings.budgets.values())
    ]
    say(f"{len(wanted)} of {len(students)} candidates are affordable")
    room = _Room(out, size, workers, progress)
    room.train(TEACHER, teacher, [SEARCHED_FOLD])
    scores = {}
    for name in wanted:
        room.train(name, _taught(students[name], out), [SEARCHED_FOLD])
        scores[name] = validation_score(room.run(name), SEARCHED_FOLD)
        say(f"{name}: validation accuracy {scores[name].accuracy:.2f}, log loss {scores[name].log_loss:.3f}")
    folds = list(range(size.folds))
    winners = {budget: chosen(scores, costs, one) for budget, one in search_settings.budgets.items()}
    room.train(TEACHER, teacher, folds)
    for name in set(winners.values()):
        room.train(name, _taught(students[name], out), folds)
    results = {
        "costs": {name: vars(cost) for name, cost in costs.items()},
        "scores": {name: vars(score) for name, score in scores.items()},
        "overrides": {name: list(one) for name, one in overrides.items()},
        TEACHER: room.tested(TEACHER),
        "chosen": {budget: {"candidate": name} | room.tested(name) for budget, name in winners.items()},
    }
    write_json(out / RESULTS_FILE, results)
    return results


def _taught(study: StudyConfig, out: Path) -> StudyConfig:
    trained = study.train.model_copy(update={"teacher": str((out / "runs" / TEACHER).resolve())})
    return study.model_copy(update={"train": trained})


def _costs(
    out: Path, reference: StudyConfig, students: Mapping[str, StudyConfig], progress: Progress
) -> dict[str, Cost]:
    """Of the int8 files of made weights, timed in turn with the reference in PyTorch; kept in COSTS_FILE."""
    if (out / COSTS_FILE).exists():
        found = json.loads((out / COSTS_FILE).read_text(encoding="utf-8"))
        return {name: Cost(**one) for name, one in found.items()}
    files = {}
    steps = len(students) + 2
    for number, (name, study) in enumerate([(BASELINE, reference), *students.items()]):
        progress(number, steps, f"files of {name}")
        folder = out / "networks" / name
        folder.mkdir(parents=True, exist_ok=True)
        variant = ONNX if name == BASELINE else VARIANT
        arguments = (study, folder, (variant,), 3, 0)
        run_apart(write_network, *arguments, tell=lambda *_: None, what=f"the conversion of {name}")
        files[name] = folder / model_file(variant)
    progress(len(students) + 1, steps, "times")
    contenders = [
        Contender(name, BASELINE if name == BASELINE else "tflite", file, THREADS)
        for name, file in files.items()
    ]
    times = time_in_turn(contenders)
    costs = {
        name: Cost(times[name]["times_torch"], file.stat().st_size)
        for name, file in files.items()
        if name != BASELINE
    }
    write_json(out / COSTS_FILE, {name: vars(cost) for name, cost in costs.items()})
    return costs


@dataclass(frozen=True)
class _Room:
    """Where it is trained: `out`/videos, a data set for each size of clips, `out`/runs."""

    out: Path
    size: SearchSize
    workers: int
    progress: Progress

    def run(self, name: str) -> Path:
        return self.out / "runs" / name

    def train(self, name: str, study: StudyConfig, folds: Sequence[int]) -> None:
        """Trains what is not trained yet of those folds."""
        videos = self.out / "videos"
        if not (videos / "manifest.csv").exists():
            generate(
                videos,
                PLAIN,
                subjects=self.size.subjects,
                seconds=self.size.seconds,
                seed=self.size.seed,
                workers=self.workers,
                progress=lambda done, total: self.progress(done, total, "videos"),
            )
        dataset = self.out / "data" / f"{study.build.clip.size}px"
        build_dataset(
            videos,
            dataset,
            study.build,
            workers=self.workers,
            make_tools=chosen_tools(study.build),
            progress=self.progress,
        )
        self.run(name).parent.mkdir(parents=True, exist_ok=True)
        train(study, dataset, self.run(name), folds=folds, resume=True, progress=self.progress)

    def tested(self, name: str) -> dict[str, Any]:
        """The subjects' accuracy over the test sides."""
        metrics = evaluate(self.run(name))
        write_report(self.run(name), metrics)
        test = metrics["test"]["subject"]
        return {"subject_accuracy": test["accuracy"], "interval": test["exact_accuracy_interval"]}


def search_table(results: Mapping[str, Any]) -> list[list[str]]:
    """Rows: candidate, what it is, times as fast, MB, validation accuracy, chosen as, test accuracy."""
    by_candidate: dict[str, list[str]] = {}
    for budget, one in results["chosen"].items():
        by_candidate.setdefault(one["candidate"], []).append(budget)
    tested = {one["candidate"]: one["subject_accuracy"] for one in results["chosen"].values()}
    rows = []
    for name, cost in results["costs"].items():
        score = results["scores"].get(name)
        rows.append(
            [
                name,
                ", ".join(results["overrides"][name]),
                f"{cost['times']:.1f}",
                f"{cost['bytes'] / 1e6:.2f}",
                "-" if score is None else f"{score['accuracy']:.2f}",
                ", ".join(by_candidate.get(name, [])) or "-",
                f"{tested[name]:.2f}" if name in tested else "-",
            ]
        )
    rows.append([TEACHER, "", "", "", "", "", f"{results[TEACHER]['subject_accuracy']:.2f}"])
    return rows
