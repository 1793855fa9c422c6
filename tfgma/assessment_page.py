"""A page for each assessed video, and the index of all."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.files import written_whole
from tfgma.assessment_content import INDEX_FILE, Model, Place, content_of
from tfgma.assessment_sheet import sheet
from tfgma.outcomes import Outcome
from tfgma.pages import CELL_PAINTS, render

TABLE_FILE = "assessments.csv"


def write_page(out: Path, place: Place, outcome: Outcome, model: Model) -> None:
    """Writes one video's page to `out`, as HTML and as PDF."""
    one = outcome.assessment
    content = None if one is None else content_of(one, model.description)
    page = render(
        "assessment.html.j2",
        place=place,
        outcome=outcome,
        model=model,
        content=content,
        pictures=[] if content is None else [b64encode(one["picture"]).decode() for one in content.moments],
        cell_paints=CELL_PAINTS,
    )
    _write(out / place.page, page)
    with written_whole(out / place.sheet) as temporary:
        temporary.write_bytes(sheet(place.label, outcome, model, content))


@dataclass(frozen=True)
class Row:
    """A video in the index and in the table: what it is called, and column -> text."""

    label: str
    cells: dict[str, str]


def row_of(place: Place, outcome: Outcome, model: Model) -> Row:
    """A video's row; what is not known is empty."""
    one = outcome.assessment
    classes = model.description.classes
    figures = [""] * (len(classes) + 4)
    if one is not None:
        report = one.report
        figures = [one.predicted, *(f"{p:.4f}" for p in one.verdict.probabilities)]
        figures += [f"{report.decode.seconds:.1f}", f"{report.clips}", f"{report.clips_left_out}"]
    names = ["predicted", *(f"p_{name}" for name in classes), "seconds", "clips", "clips_left_out"]
    cells = {"video": str(outcome.video), "verdict": outcome.verdict, "reason": outcome.reason}
    made = {"page": place.page, "model_sha256": model.sha256}
    return Row(place.label, cells | dict(zip(names, figures, strict=True)) | made)


def write_index(out: Path, rows: Sequence[Row], model: Model) -> None:
    """Writes INDEX_FILE and TABLE_FILE to `out`."""
    page = render("assessments.html.j2", rows=rows, model=model, cell_paints=(), table=TABLE_FILE)
    _write(out / INDEX_FILE, page)
    if rows:
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0].cells), lineterminator="\n")
        table.writeheader()
        table.writerows(row.cells for row in rows)
        _write(out / TABLE_FILE, text.getvalue())


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
