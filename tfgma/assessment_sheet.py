"""An assessed video on one sheet of A4, as PDF, for the file."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import cv2
import numpy as np

from pipelines.optional import load
from tfgma.assessment_content import Content, Model
from tfgma.outcomes import Outcome
from tfgma.pages import CELL_PAINTS

WIDTH, HEIGHT = 8.27, 11.69
LEFT, RIGHT = 0.7, 7.57
LINE = 0.17
"""All in inches; y grows downwards from the upper edge."""
LETTERS_A_LINE = 105
PICTURES = 4
MOST_REASONS = 6
ROW_GAP = 0.25


def sheet(label: str, outcome: Outcome, model: Model, content: Content | None) -> bytes:
    """The PDF; the same assessment gives the same bytes. Arguments are those of `draw_sheet`."""
    backend = load("matplotlib.backends.backend_pdf", "runtime")
    target = io.BytesIO()
    # Without a date, so that the same assessment gives the same bytes.
    metadata = {"CreationDate": None, "Title": label}
    backend.FigureCanvasPdf(draw_sheet(label, outcome, model, content)).print_pdf(target, metadata=metadata)
    return target.getvalue()


def draw_sheet(label: str, outcome: Outcome, model: Model, content: Content | None) -> Any:
    """The sheet as a figure of matplotlib's.

    Args:
        label: what the video is called.
        outcome: of the video.
        model: what answered.
        content: of the assessment, if there is one.
    """
    figure = load("matplotlib.figure", "runtime").Figure((WIDTH, HEIGHT))
    page = _Sheet(figure)
    page.text("Movement assessment", size=18, weight="bold", lines=2)
    page.wrapped(label)
    page.text(model.description.notice, weight="bold")
    page.text("A trained assessor has to watch the video.", weight="bold", lines=3)
    page.text(outcome.verdict, size=16, weight="bold", lines=2)
    if outcome.reason:
        page.wrapped(f"Why there is none: {outcome.reason}.")
    if content is not None:
        page.bars(content.rows)
        page.timeline(content.timeline)
        page.pictures(content.moments[:PICTURES])
        page.wrapped("Quality: " + "; ".join(f"{name}: {value}" for name, value in content.quality) + ".")
        if content.left_out:
            why = "; ".join(f"{reason} ({count})" for reason, count in content.left_out[:MOST_REASONS])
            page.wrapped(f"Clips were left out because: {why}.")
    found = model.description.metrics["subject"]
    page.wrapped(
        f"Answered by {model.name}, {model.variant}, SHA-256 {model.sha256}; accuracy "
        f"{found['accuracy']:.3f} on {found['n']} test subjects; trained on data set index SHA-256 "
        f"{model.description.run['dataset_sha256']}, fold {model.description.run['fold']}. Figures hold for "
        "recordings like those trained on; a network trained on generated infants says nothing about real "
        "ones."
    )
    page.text("Made by tfgma. Research use only: not a medical device; not for diagnosis.")
    return figure


class _Sheet:
    """Puts one thing below the other."""

    def __init__(self, figure: Any) -> None:
        self._figure = figure
        self._y = 0.75

    def text(self, text: str, *, size: float = 9, weight: str = "normal", lines: float = 1) -> None:
        """One line; `lines`: how much room it takes."""
        # A name may hold what matplotlib would take for a formula.
        self._figure.text(
            LEFT / WIDTH,
            1 - self._y / HEIGHT,
            text,
            size=size,
            weight=weight,
            va="baseline",
            parse_math=False,
        )
        self._y += lines * LINE * max(1, size / 12)

    def wrapped(self, text: str) -> None:
        """As many lines as it takes, and some room."""
        for line in textwrap.wrap(text, LETTERS_A_LINE):
            self.text(line, size=8)
        self._y += 0.6 * LINE

    def axes(self, left: float, width: float, height: float) -> Any:
        """Axes without a frame, from here down; room below is the caller's."""
        axes = self._figure.add_axes(
            (left / WIDTH, 1 - (self._y + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        )
        axes.set_axis_off()
        return axes

    def bars(self, rows: list[dict[str, Any]]) -> None:
        """A line a class: name, probability, its range, a bar, and whether it is possible."""
        for row in rows:
            axes = self.axes(LEFT, RIGHT - LEFT, LINE)
            axes.set_xlim(0, 10)
            axes.set_ylim(0, 1)
            axes.barh(0.5, 3 * row["probability"], 0.6, left=5, color="#0072b2")
            ends = row["interval"]
            span = "" if ends is None else f"  ({ends[0]:.2f} to {ends[1]:.2f} over other clips)"
            words = (
                (0, row["name"]),
                (1.2, f"{row['probability']:.2f}{span}"),
                (8.2, "possible" if row["possible"] else "not possible"),
            )
            for x, text in words:
                axes.text(x, 0.5, text, size=9, va="center", parse_math=False)
            self._y += 1.2 * LINE
        self._y += LINE

    def timeline(self, timeline: dict[str, Any]) -> None:
        """A row a class, coloured by tenths of probability; what was left out is hatched."""
        rows = timeline["classes"]
        height = 0.22 * len(rows)
        axes = self.axes(LEFT + 0.9, RIGHT - LEFT - 0.9, height)
        axes.set_xlim(0, 100)
        axes.set_ylim(len(rows), 0)
        for number, row in enumerate(rows):
            axes.text(-1, number + 0.5, row["name"], size=9, ha="right", va="center", parse_math=False)
            for cell in row["cells"]:
                paint = CELL_PAINTS[cell["tenth"]][0]
                axes.broken_barh(
                    [(cell["left"], cell["width"])], (number + 0.05, 0.9), color=paint, ec="white"
                )
            for cell in timeline["left_out"]:
                place = [(cell["left"], cell["width"])]
                axes.broken_barh(place, (number + 0.05, 0.9), fc="white", ec="grey", hatch="////")
        for tick in timeline["ticks"]:
            axes.text(tick["left"], len(rows) + 0.1, tick["text"], size=7, va="top")
        self._y += height + 2 * LINE
        self.text(
            f"Each box: a clip of {timeline['clip_seconds']:g} s. Dark blue: probability under 0.1; "
            "yellow: 0.9 and more; hatched: not assessable.",
            size=8,
        )
        self._y += 0.5 * LINE

    def pictures(self, moments: list[dict[str, Any]]) -> None:
        """Two side by side, each beneath its caption."""
        width = (RIGHT - LEFT - ROW_GAP) / 2
        tallest = 0.0
        for number, one in enumerate(moments):
            picture = cv2.imdecode(np.frombuffer(one["picture"], np.uint8), cv2.IMREAD_COLOR_RGB)
            height = width * picture.shape[0] / picture.shape[1]
            left = LEFT + number % 2 * (width + ROW_GAP)
            axes = self.axes(left, width, height)
            axes.imshow(picture)
            against = " (speaks against)" if one["against"] else ""
            axes.set_title(
                f"{one['begin']} to {one['end']}: {one['answer']} {one['p']:.2f}{against}",
                size=8,
                loc="left",
                pad=3,
                parse_math=False,
            )
            tallest = max(tallest, height)
            if number % 2 or number == len(moments) - 1:
                self._y += tallest + 2 * LINE
                tallest = 0.0
