"""A page for each assessed video, and the index of all."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def write_index(out: Path, outcomes: Sequence[tuple[Place, Outcome]], model: Model) -> None:
    """Writes INDEX_FILE and TABLE_FILE to `out`."""
    classes = model.description.classes
    _write(
        out / INDEX_FILE,
        render("assessments.html.j2", outcomes=outcomes, model=model, cell_paints=(), table=TABLE_FILE),
    )
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    figures = ("seconds", "clips", "clips_left_out", "page")
    table.writerow(["video", "verdict", "reason", "predicted", *(f"p_{name}" for name in classes), *figures])
    for place, outcome in outcomes:
        one = outcome.assessment
        row: list[Any] = [outcome.video, outcome.verdict, outcome.reason]
        if one is None:
            row += [""] * (len(classes) + len(figures))
        else:
            report = one.report
            row += [one.predicted, *(f"{p:.4f}" for p in one.verdict.probabilities)]
            row += [f"{report.decode.seconds:.1f}", report.clips, report.clips_left_out]
        table.writerow([*row, place.page])
    _write(out / TABLE_FILE, text.getvalue())


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
