"""Charts as SVG that takes its colours from the page around it.

The same values give the same bytes. No chart holds text from outside: names stand in the page's own legends.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.optional import load

INK, GRID, SERIES = "#000001", "#000002", "#0001{:02x}"
"""Stand for the page's colours until the chart is written."""

COLORS = 6
"""Series have the page's colours --c0 to --c5 in turn, and with them one of DASHES."""

DASHES = ((), (6, 2), (2, 2), (6, 2, 2, 2), (10, 3))
"""Lines and gaps, pt: lines differ without colour as well; with 30 classes each has its own look."""

LINE_PT = 1.8
SIZE_INCHES = (3.9, 3.1)


@dataclass(frozen=True)
class Curve:
    """A line through (N,) `x` and `y`, float."""

    x: np.ndarray
    y: np.ndarray


def roc_curves(labels: np.ndarray, probabilities: np.ndarray) -> dict[int, Curve]:
    """Class's number -> sensitivity (y) over 1 - specificity (x), that class against the rest.

    Args:
        labels: (N,) int. probabilities: (N, C) float.

    Returns:
        scikit-learn's `roc_curve`, of the classes that the labels have, if they have another one too.
    """
    sk, found = load("sklearn.metrics", "train"), {}
    for number in range(probabilities.shape[1]):
        is_class = labels == number
        if is_class.any() and not is_class.all():
            false, true, _ = sk.roc_curve(is_class, probabilities[:, number])
            found[number] = Curve(false, true)
    return found


def precision_recall_curves(labels: np.ndarray, probabilities: np.ndarray) -> dict[int, Curve]:
    """Class's number -> scikit-learn's precision (y) over recall (x), of the classes that the labels have."""
    sk, found = load("sklearn.metrics", "train"), {}
    for number in range(probabilities.shape[1]):
        is_class = labels == number
        if is_class.any():
            precision, recall, _ = sk.precision_recall_curve(
                is_class, probabilities[:, number], drop_intermediate=True
            )
            found[number] = Curve(recall, precision)
    return found


def roc_chart(labels: np.ndarray, probabilities: np.ndarray) -> str:
    """SVG of `roc_curves` with the diagonal of chance."""
    with _Chart("roc", "Sensitivity over 1 minus specificity") as chart:
        axes = chart.axes("1 − specificity", "sensitivity")
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for number, curve in roc_curves(labels, probabilities).items():
            axes.plot(curve.x, curve.y, **look(number))
    return chart.svg


def precision_recall_chart(labels: np.ndarray, probabilities: np.ndarray) -> str:
    """SVG of `precision_recall_curves`, each with its chance, the share of its class, as a thin line."""
    with _Chart("pr", "Precision over recall") as chart:
        axes = chart.axes("recall (sensitivity)", "precision")
        for number, curve in precision_recall_curves(labels, probabilities).items():
            share = float(np.mean(labels == number))
            axes.plot([0, 1], [share, share], **look(number) | {"linewidth": 0.7, "alpha": 0.7})
            axes.plot(curve.x, curve.y, drawstyle="steps-post", **look(number))
    return chart.svg


def reliability_chart(level: str, tables: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """SVG of the share that is right over the probability of the answer, and the diagonal where both agree.

    Args:
        level: what is counted; names the chart.
        tables: of `reliability_table`, drawn in the page's first colours.
    """
    with _Chart(f"reliability-{level}", f"Share right over probability, by {level}") as chart:
        axes = chart.axes("probability of the answer", "share that is right")
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for number, table in enumerate(tables):
            known = [row for row in table if row["n"]]
            x, y = ([row[name] for row in known] for name in ("probability", "accuracy"))
            axes.plot(x, y, marker="os^"[number % 3], markersize=5, **look(number))
    return chart.svg


def learning_chart(fold: int, history: Mapping[str, Sequence[float]], chosen: int) -> str:
    """SVG of the losses, and beneath of the accuracies, over epochs.

    Args:
        fold: names the chart.
        history: `epoch`, counted from 0, and of each what there is of `loss`, `val_loss`, `accuracy`,
            `val_accuracy`.
        chosen: the epoch, counted from 0, whose network was kept: a vertical line.
    """
    with _Chart(f"fold-{fold}", f"Loss and accuracy over epochs of fold {fold}") as chart:
        upper, lower = chart.figure.subplots(2, sharex=True)
        epochs = np.asarray(history["epoch"]) + 1
        for axes, name in ((upper, "loss"), (lower, "accuracy")):
            _plain(axes, "epoch" if axes is lower else "", name)
            axes.axvline(chosen + 1, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            for number, side in enumerate(("", "val_")):
                if side + name in history:
                    values = history[side + name]
                    axes.plot(epochs, values, marker="os"[number] if len(values) < 3 else "", **look(number))
        lower.set_ylim(-0.03, 1.03)
        lower.xaxis.get_major_locator().set_params(integer=True)
    return chart.svg


def look(number: int) -> dict[str, Any]:
    """How the series of that number is drawn."""
    dashes = DASHES[number % len(DASHES)]
    style = {"linestyle": (0, tuple(length / LINE_PT for length in dashes))} if dashes else {}
    return {"color": SERIES.format(number % COLORS), "linewidth": LINE_PT, **style}


def legend_dashes(number: int) -> str:
    """The same for a line in the page's legend, as SVG's stroke-dasharray."""
    return " ".join(map(str, DASHES[number % len(DASHES)])) or "none"


class _Chart:
    """A figure on the way in, `svg` on the way out."""

    def __init__(self, name: str, title: str) -> None:
        self._name, self._title = name, title
        self.svg = ""

    def __enter__(self) -> _Chart:
        self.figure = load("matplotlib.figure", "runtime").Figure(figsize=SIZE_INCHES, layout="constrained")
        self.figure.patch.set_visible(False)
        return self

    def axes(self, x: str, y: str) -> Any:
        """The one pair of axes, both from 0 to 1, with their labels."""
        axes = self.figure.subplots()
        _plain(axes, x, y)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        return axes

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            buffer = io.StringIO()
            # Text stays text, and names within the file follow from what they name.
            with load("matplotlib", "runtime").rc_context(
                {"svg.fonttype": "none", "svg.hashsalt": self._name}
            ):
                nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
                self.figure.savefig(buffer, format="svg", metadata=nothing)
            self.svg = _for_a_page(buffer.getvalue(), self._name, self._title)


def _plain(axes: Any, x: str, y: str) -> None:
    axes.patch.set_visible(False)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(color=GRID, labelcolor=INK)
    axes.grid(color=GRID, linewidth=0.4, alpha=0.5)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GRID)


def _for_a_page(svg: str, name: str, title: str) -> str:
    """matplotlib's file as a part of a page: no head, no foreign addresses, its names its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r"<defs>\s*</defs>\s*", "", svg)
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    names = {one or other for one, other in used}
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in names else "", svg)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family:[^;\"]*; ", "", svg)  # the page's own
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r"(\.\d\d)\d+", r"\1", svg)  # hundredths of a point do
    svg = re.sub(r"#0001([0-9a-f]{2})", lambda found: f"var(--c{int(found[1], 16)})", svg)
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    box = re.search(r'viewBox="[^"]+"', svg)
    assert box
    head = f'<svg role="img" aria-label="{title}" {box[0]}>'
    return head + re.sub(r"\n\s*", "\n", svg[svg.index(">") + 1 :]).strip()
