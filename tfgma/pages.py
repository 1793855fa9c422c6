"""Pages and other texts from the templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.optional import load

TEMPLATES = Path(__file__).parent / "templates"

CELL_PAINTS = (
    ("#00224e", "#fff"),
    ("#08326e", "#fff"),
    ("#35456c", "#fff"),
    ("#4f576c", "#fff"),
    ("#666970", "#fff"),
    ("#7d7c78", "#000"),
    ("#958f78", "#000"),
    ("#b0a473", "#000"),
    ("#cbba69", "#000"),
    ("#fee838", "#000"),
)
"""Background and digit of a clip's cell by tenths of probability: matplotlib's cividis, for all eyes."""

NAMES = {
    "mcc": "Matthews correlation",
    "kappa": "Cohen's kappa",
    "macro_auroc": "AUROC, mean over classes",
    "macro_average_precision": "average precision, mean over classes",
    "macro_f1": "F1, mean over classes",
    "macro_precision": "precision, mean over classes",
    "macro_recall": "recall, mean over classes",
    "brier": "Brier score (0 is best)",
    "ece": "expected calibration error (0 is best)",
    "log_loss": "log loss (0 is best)",
    "recall": "sensitivity (recall)",
    "f1": "F1",
    "auroc": "AUROC",
    "sensitivity_at_specificity": "sensitivity at 90 % specificity",
}
"""Of figures, where they are not what they are called in metrics.json."""


def render(template: str, **values: Any) -> str:
    """A page from `tfgma/templates`."""
    jinja2 = load("jinja2", "runtime")
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
    # Never -0.0000; and a minus as wide as a plus.
    environment.filters["signed"] = lambda value: f"{round(value, 4) + 0.0:+.4f}".replace("-", "−")
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.0f} %"
    environment.filters["title"] = lambda name: NAMES.get(name, name.replace("_", " "))
    return environment.get_template(template).render(**values)
