"""One self-contained HTML page about a run."""

from __future__ import annotations

import base64
import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.build import read_index
from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.evaluation import SUMMARY
from tfgma.pictures import confusion_picture, curves_picture, png_bytes
from tfgma.runs import REPORT_FILE, fold_folder, read_run, read_run_predictions
from tfgma.scores import poolings, scores_by

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A page from `tfgma/templates`."""
    jinja2 = load("jinja2", "train")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2", "html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A figure that does not exist, such as an AUROC with one class only, is None.
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["interval"] = lambda ends: "–" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"
    return environment.get_template(template).render(**values)


def write_report(run: Path, metrics: dict[str, Any]) -> Path:
    """Writes report.html beside metrics.json and returns its path."""
    content = read_run(run)
    predictions = read_run_predictions(run)
    test = predictions.where(predictions.sides == "test")
    by_subject = scores_by("subject", test, poolings(predictions, metrics["aggregation"]))
    subjects = [
        {
            "name": name,
            "label": predictions.classes[label],
            "predicted": predictions.classes[int(scores.argmax())],
            "scores": [f"{score:.2f}" for score in scores],
            "right": bool(scores.argmax() == label),
        }
        for name, label, scores in zip(
            by_subject.names, by_subject.labels, by_subject.probabilities, strict=True
        )
    ]
    try:
        left_out = [entry for entry in read_index(Path(content["dataset"]))["videos"] if entry["left_out"]]
        used = sum(1 for entry in read_index(Path(content["dataset"]))["videos"] if entry["shard"])
    except RefusedError:
        left_out, used = [], None  # the data set has been moved; the figures stand without it
    page = render(
        "report.html.j2",
        run=content,
        metrics=metrics,
        summary=SUMMARY,
        subjects=subjects,
        left_out=left_out,
        used=used,
        confusion={
            level: _inline(
                confusion_picture(
                    np.array(metrics["test"][level]["confusion_matrix"]),
                    content["classes"],
                    f"test, by {level}",
                )
            )
            for level in ("clip", "subject")
        },
        curves=[_inline(_curves(run, fold)) for fold in content["trained_folds"]],
    )
    path = run / REPORT_FILE
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
    return path


def _curves(run: Path, fold: int) -> np.ndarray:
    with (fold_folder(run, fold) / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    history = {name: [float(row[name]) for row in rows] for name in ("loss", "val_loss", "val_accuracy")}
    return curves_picture(history, f"fold {fold}")


def _inline(picture: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()
