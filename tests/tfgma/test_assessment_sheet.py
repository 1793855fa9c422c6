"""The sheet as PDF, and what stands where on it."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pipelines.process import Window
from pipelines.quality import NOBODY
from tests.tfgma.test_assessment_page import assessment, model
from tfgma.assessment_content import content_of
from tfgma.assessment_sheet import draw_sheet, sheet
from tfgma.outcomes import Outcome

__all__ = ["model"]  # a fixture
PATH = Path("one.mp4")


def arguments(model, one, label="one.mp4"):
    return label, Outcome(PATH, one), model, content_of(one, model.description)


def test_one_page_of_a4_and_the_same_bytes_again(model):
    first = sheet(*arguments(model, assessment()))
    assert first.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", first)) == 1
    width, height = map(float, re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", first).groups())
    np.testing.assert_allclose((width / 72 * 25.4, height / 72 * 25.4), (210, 297), atol=0.2)
    assert sheet(*arguments(model, assessment())) == first
    # A picture for each moment: three for the class, one against it.
    assert len(re.findall(rb"/Subtype /Image", first)) == 4


def test_the_sheet_says_what_the_page_says(model):
    one = assessment()
    figure = draw_sheet(*arguments(model, one))
    said = "\n".join(text.get_text() for text in (*figure.texts, *(t for a in figure.axes for t in a.texts)))
    assert one.verdict.answer in said
    for name, probability in zip(one.classes, one.verdict.probabilities, strict=True):
        assert f"\n{name}\n{probability:.2f}" in said
    assert "it is too dark (1)" in said
    assert "SHA-256" in said
    assert "Research use only" in said


@pytest.mark.parametrize("label", ["one.mp4", "$x^2_{ \u00e4/" + "long name " * 30])
@pytest.mark.parametrize("refused", [True, False])
def test_nothing_leaves_the_sheet_or_lies_on_something_else(model, label, refused):
    one = assessment()
    for number in range(50):
        one.report.windows.append(Window(1.0, NOBODY, (f"sharpness is 0.{number:03d}, not 0.100",)))
    given = (
        (label, Outcome(PATH, None, "nobody is seen. " * 20), model, None)
        if refused
        else arguments(model, one, label)
    )
    figure = draw_sheet(*given)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts]
    for box in boxes:
        assert figure.bbox.x0 < box.x0
        assert box.x1 < figure.bbox.x1
        assert figure.bbox.y0 < box.y0
    for upper, lower in itertools.pairwise(boxes):
        assert lower.y1 <= upper.y0 + 2  # pixels
