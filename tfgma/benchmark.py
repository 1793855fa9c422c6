"""The generated benchmark: seven methods, what preprocessing is for, and whether anything leaks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.build import build_dataset
from pipelines.schema import RefusedError
from pipelines.synthetic import SyntheticSettings, generate
from tfgma.chosen_tools import chosen_tools
from tfgma.config import StudyConfig, load_study
from tfgma.delivered import configs_folder
from tfgma.evaluation import evaluate
from tfgma.report import write_report
from tfgma.runs import METRICS_FILE, write_json
from tfgma.training import train

CONFIGS = configs_folder() / "bench"
METHODS = ("two_stream", "spatial", "temporal", "stam", "cnn_lstm", "c3d", "two_stream_3d")
MANIFEST_COLUMNS = ("video", "subject", "label", "split")
PARTS = ("methods", "preprocessing", "shuffled labels")
RESULTS_FILE = "results.json"
MARK = "benchmark.json"

FRAME = {"width": 480, "height": 360}
PLAIN = SyntheticSettings(**FRAME)
# In training the room tells the class; in the test the same room tells another one, and infants lie
# elsewhere, in another direction and light.
TRAINED_ON = SyntheticSettings(
    **FRAME, background_by_class="with", roll_degrees=(0, 90), offset_share=0.02, light=(0.95, 1.12)
)
TESTED_ON = SyntheticSettings(
    **FRAME, background_by_class="against", roll_degrees=(180, 270), offset_share=0.12, light=(0.7, 0.85)
)
PREPROCESSING = {
    "extracted and aligned": {},
    "aligned only": {"mask_body": False},
    "extracted only": {"align_body": False},
    "neither": {"mask_body": False, "align_body": False},
}
"""Changes of the build's settings by what is left of the preprocessing."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class BenchmarkSize:
    """How much is generated and trained; another size is another benchmark.

    `subjects`: of each set, a third of each class; `test_subjects`: of the contradicting test side.
    `seconds`: length of each video. `folds`: the first so many are trained. `overrides`:
    `section.key=value` for every method.
    """

    subjects: int = 60
    test_subjects: int = 30
    seconds: float = 15.0
    folds: int = 5
    seed: int = 1
    methods: tuple[str, ...] = METHODS
    overrides: tuple[str, ...] = ()


def run_benchmark(
    out: Path,
    size: BenchmarkSize,
    *,
    parts: Sequence[str] = PARTS,
    workers: int,
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Generates, builds, trains and evaluates what is not there yet; returns (and writes) the results.

    Called again on the same folder it goes on where it was; of `parts` left out, what is there is told.

    Returns:
        `{"methods": {name: figures}, "preprocessing": {...}, "shuffled labels": {...}}`; figures are the
        subjects' accuracy over all test sides with its exact binomial 95 % `interval`, its mean and standard
        deviation over folds, and `chance`.

    Raises:
        RefusedError: an unknown method or part, a folder of something else or of another size, or a step
            refused.
    """
    for part in parts:
        if part not in PARTS:
            raise RefusedError(f"--part must be one of {', '.join(PARTS)}. Received: {part!r}")
    studies = {name: _study(name, size) for name in size.methods}
    claim(out, MARK, asdict(size))
    videos = _generate(out, size, workers, progress)
    say(f"generated infants in {out}")
    bench = _Bench(out, size, workers, say, progress)
    results: dict[str, Any] = {part: {} for part in PARTS}
    for part, name, run, data, source, study in _runs(studies):
        if part in parts or bench.is_finished(run):
            results[part][name] = bench.figures(run, data, videos[source], study)
    write_json(out / RESULTS_FILE, results)
    return results


def _runs(studies: dict[str, StudyConfig]) -> Iterator[tuple[str, str, str, str, str, StudyConfig]]:
    """Part, name, folder of the run, of the data set, which videos, and the study."""
    for name, study in studies.items():
        yield "methods", name, f"methods/{name}", "plain", "plain", study
    if "two_stream" in studies:
        fixed = _with(studies["two_stream"], "split", scheme="fixed")
        for number, (name, changes) in enumerate(PREPROCESSING.items()):
            study = _with(fixed, "build", **changes)
            data = f"contradicting_{number}"
            yield "preprocessing", name, f"preprocessing/{number}", data, "contradicting", study
    for name, study in studies.items():
        yield "shuffled labels", name, f"shuffled/{name}", "shuffled", "shuffled", study


@dataclass(frozen=True)
class _Bench:
    out: Path
    size: BenchmarkSize
    workers: int
    say: Callable[[str], None]
    progress: Progress

    def is_finished(self, run: str) -> bool:
        """Whether a run was trained and evaluated."""
        return (self.out / "runs" / run / METRICS_FILE).exists()

    def figures(self, run: str, data: str, videos: Path, study: StudyConfig) -> dict[str, Any]:
        """Of a run, which is trained if it was not."""
        dataset, folder = self.out / "data" / data, self.out / "runs" / run
        if not self.is_finished(run):
            # Videos are kept, as a build keeps what is finished.
            build_dataset(
                videos,
                dataset,
                study.build,
                workers=self.workers,
                make_tools=chosen_tools(study.build),
                progress=self.progress,
            )
            folder.parent.mkdir(parents=True, exist_ok=True)
            train(study, dataset, folder, folds=range(self.size.folds), resume=True, progress=self.progress)
            write_report(folder, evaluate(folder))
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        test = metrics["test"]
        found = {
            "chance": metrics["chance"],
            "subject_accuracy": test["subject"]["accuracy"],
            "interval": test["subject"]["exact_accuracy_interval"],
            "over_folds": test["over_folds"]["subject"]["accuracy"],
        }
        self.say(f"{run}: subject accuracy {found['subject_accuracy']:.2f}, chance {found['chance']:.2f}")
        return found


def _study(name: str, size: BenchmarkSize) -> StudyConfig:
    if name not in METHODS:
        raise RefusedError(f"--method must be one of {', '.join(METHODS)}. Received: {name!r}")
    return load_study(CONFIGS / f"{name}.yaml", size.overrides)


def _with(study: StudyConfig, section: str, **changes: Any) -> StudyConfig:
    return study.model_copy(update={section: getattr(study, section).model_copy(update=changes)})


def claim(out: Path, mark: str, content: dict[str, Any]) -> None:
    """Makes `out` this benchmark's folder, in which `mark` says what it is of; or finds that it is.

    Raises:
        RefusedError: the folder holds something else, or a benchmark of another content.
    """
    wanted = json.loads(json.dumps(content))
    if (out / mark).exists():
        if json.loads((out / mark).read_text(encoding="utf-8")) != wanted:
            raise RefusedError(
                f"OUT must be new, or hold a benchmark of this size. Received: {str(out)!r}, whose {mark} "
                "says another. Choose another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RefusedError(f"OUT must be a new folder or an earlier benchmark's. Received: {str(out)!r}")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / mark, wanted)


def _generate(out: Path, size: BenchmarkSize, workers: int, progress: Progress) -> dict[str, Path]:
    """Manifests of the three sets of videos; of the contradicting one with a fixed test side."""
    sets = (
        ("plain", PLAIN, size.subjects),
        ("with", TRAINED_ON, size.subjects),
        ("against", TESTED_ON, size.test_subjects),
    )
    rows = {}
    for number, (name, settings, subjects) in enumerate(sets):
        folder = out / "videos" / name
        if not (folder / "manifest.csv").exists():
            generate(
                folder,
                settings,
                subjects=subjects,
                seconds=size.seconds,
                seed=size.seed + number,
                workers=workers,
                progress=lambda done, total: progress(done, total, "videos"),
            )
        rows[name] = _rows(folder, name)
    videos = out / "videos"
    contradicting = [row | {"split": "train"} for row in rows["with"]]
    contradicting += [row | {"split": "test"} for row in rows["against"]]
    labels = np.random.default_rng(size.seed).permutation([row["label"] for row in rows["plain"]])
    shuffled = [row | {"label": str(label)} for row, label in zip(rows["plain"], labels, strict=True)]
    return {
        "plain": videos / "plain",
        "contradicting": _write(videos / "contradicting.csv", contradicting),
        "shuffled": _write(videos / "shuffled.csv", shuffled),
    }


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    """A set's manifest as seen from the folder above; subjects of different sets are different."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [
            {"video": f"{name}/{row['video']}", "subject": f"{name}_{row['subject']}", "label": row["label"]}
            for row in csv.DictReader(file)
        ]


def _write(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MANIFEST_COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def table(results: dict[str, Any]) -> list[list[str]]:
    """Rows of the printed table: part, name, accuracy, its interval, mean and deviation over folds."""
    rows: list[list[str]] = []
    for part in PARTS:
        for name, found in results[part].items():
            folds = found["over_folds"]
            spread = "-" if folds["sd"] is None else f"{folds['mean']:.2f} +- {folds['sd']:.2f}"
            low, high = found["interval"]
            rows.append([part, name, f"{found['subject_accuracy']:.2f}", f"{low:.2f} to {high:.2f}", spread])
    return rows
