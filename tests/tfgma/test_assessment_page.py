"""Pages of assessments that were made by hand."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.config import BuildConfig, InputSettings
from pipelines.process import ProcessReport, Window
from pipelines.quality import NOBODY
from pipelines.schema import ClipSpec
from tfgma.assessment_content import Model, Place, places, telling
from tfgma.assessment_page import row_of, write_index, write_page
from tfgma.bundle import BUNDLE_VERSION, BundleDescription, CalibrationDescription
from tfgma.inference import Assessment
from tfgma.outcomes import Outcome
from tfgma.verdict import probability_intervals

CLASSES = ("N", "<PR>")
CALIBRATION = CalibrationDescription(
    temperature=2.0, fitted=True, fits=tuple(np.linspace(0.4, 0.95, 12)), coverage=0.9
)
PLACE = Place("one.html", "ward 3/one & two.mp4")
JPEG = cv2.imencode(".jpg", np.zeros((60, 100, 3), np.uint8))[1].tobytes()
CLIPS = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.95, 0.05], [0.7, 0.3]])


@pytest.fixture
def model():
    build = BuildConfig(clip=ClipSpec(fps=6, clip_seconds=3, stride_seconds=3, size=96))
    return Model(
        "mine",
        "int8",
        BundleDescription(
            bundle_version=BUNDLE_VERSION,
            sha256="",
            classes=CLASSES,
            sampling=InputSettings(),
            build=build,
            inputs={},
            output="probabilities",
            files={"model_int8.tflite": "ab" * 32},
            calibration=CALIBRATION,
            metrics={"subject": {"accuracy": 0.75, "n": 12}},
            run={"dataset_sha256": "cd" * 32, "fold": 1},
            runtime="2.1",
            notice="Research use only.",
        ),
    )


def assessment(clips=CLIPS):
    report = ProcessReport(clips=len(clips), clips_left_out=1)
    report.decode.seconds = 20.0
    report.windows.append(Window(15.0, NOBODY, ("it is too dark",)))
    return Assessment(
        "one.mp4",
        CLASSES,
        3.0 * np.arange(len(clips)),
        np.asarray(clips),
        report,
        CALIBRATION,
        (JPEG,) * len(clips),
    )


def written(tmp_path, model, outcome):
    write_page(tmp_path, PLACE, outcome, model)
    return (tmp_path / PLACE.page).read_text(encoding="utf-8")


def test_a_page_shows_what_was_answered_and_by_what(tmp_path, model):
    one = assessment()
    page = written(tmp_path, model, Outcome(Path("one.mp4"), one))
    assert f'<p class="verdict">{one.verdict.answer}</p>' in page
    for probability in one.verdict.probabilities:
        assert f'<td class="n">{probability:.2f}</td>' in page
    assert "ab" * 32 in page
    assert "Research use only" in page
    assert "it is too dark (1)" in page
    assert '<th scope="row">length</th><td class="n">20.0 s</td>' in page


def test_names_are_text_and_nothing_is_fetched(tmp_path, model):
    page = written(tmp_path, model, Outcome(Path("one.mp4"), assessment()))
    assert "ward 3/one &amp; two.mp4" in page
    assert "<PR>" not in page
    assert "&lt;PR&gt;" in page
    assert set(re.findall(r'(?:src|href)="(\w+):', page)) == {"data"}
    assert "default-src 'none'" in page


def test_clips_lie_where_they_are_in_time(tmp_path, model):
    page = written(tmp_path, model, Outcome(Path("one.mp4"), assessment()))
    cells = re.findall(r'<i class="p(\d)" style="left: ([\d.]+)%; width: ([\d.]+)%"', page)
    expected = [
        (str(min(9, int(10 * p + 1e-9))), f"{100 * 3 * number / 20:.3f}", "15.000")
        for column in CLIPS.T
        for number, p in enumerate(column)
    ]
    assert cells == expected
    # The window that was left out lies in every row, with its reason.
    assert (
        page.count('<i class="none" style="left: 75.000%; width: 15.000%" title="15.0 s: it is too dark">')
        == 2
    )


def test_the_telling_moments_are_the_clearest_and_the_contrary_one_is_named(tmp_path, model):
    page = written(tmp_path, model, Outcome(Path("one.mp4"), assessment()))
    captions = re.findall(r"<figcaption>(.*)</figcaption>", page)
    assert captions == [
        "0:09 to 0:12: N 0.95",
        "0:00 to 0:03: N 0.90",
        "0:03 to 0:06: N 0.80",
        "0:06 to 0:09: &lt;PR&gt; 0.80 (speaks against)",
    ]
    agreed = assessment(CLIPS[[0, 1]])
    assert "speaks against" not in written(tmp_path, model, Outcome(Path("one.mp4"), agreed))


def test_overlapping_clips_are_one_moment():
    scores = np.array([0.5, 0.9, 0.8, 0.7, 0.6])
    assert telling(scores, np.arange(5.0), 2.0, 3) == [1, 3]


def test_what_could_not_be_assessed_says_why_and_no_more(tmp_path, model):
    page = written(tmp_path, model, Outcome(Path("one.mp4"), None, "nobody is <seen>"))
    assert '<p class="verdict">not assessable / uncertain</p>' in page
    assert "nobody is &lt;seen&gt;" in page
    for section in ("timeline", "moments", "quality"):
        assert f'id="{section}"' not in page


def test_index_and_table_hold_every_video(tmp_path, model):
    videos = [Path("v/a/x.mp4"), Path("v/b/x.mp4")]
    found = places(videos)
    outcomes = [Outcome(videos[0], assessment()), Outcome(videos[1], None, "too short, by far")]
    write_index(tmp_path, [row_of(*pair, model) for pair in zip(found, outcomes, strict=True)], model)
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    for place in found:
        assert f'<a href="{place.page}">{place.label}</a>' in index
    with (tmp_path / "assessments.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == ["v/a/x.mp4", "v/b/x.mp4"]
    assert rows[0]["p_N"] == f"{outcomes[0].assessment.verdict.probabilities[0]:.4f}"
    assert (rows[1]["verdict"], rows[1]["reason"]) == ("not assessable / uncertain", "too short, by far")
    assert rows[1]["p_N"] == ""
    assert [row["page"] for row in rows] == ["a__x__mp4.html", "b__x__mp4.html"]


def test_places_are_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = places([Path("one.mp4"), tmp_path / "two.mp4", Path("../three.mp4"), Path("index.mp4")])
    assert [place.label for place in found] == ["here/one.mp4", "two.mp4", "three.mp4", "here/index.mp4"]
    assert [place.page for place in found] == ["one.html", "two.html", "three.html", "index_.html"]


def test_intervals_hold_the_mean_and_shrink_with_more_clips():
    rng = np.random.default_rng(0)
    clips = rng.dirichlet((4, 2), 200)
    few, many = (probability_intervals(clips[:count], 1.0) for count in (10, 200))
    for interval, count in ((few, 10), (many, 200)):
        mean = clips[:count].mean(axis=0)
        assert (interval[:, 0] < mean).all()
        assert (mean < interval[:, 1]).all()
    assert (np.ptp(many, axis=1) < 0.4 * np.ptp(few, axis=1)).all()
    # Of many independent clips, that of the mean's own deviation.
    expected = 2 * 1.96 * clips[:, 0].std() / np.sqrt(200)
    assert np.ptp(many[0]) == pytest.approx(expected, rel=0.1)
    assert probability_intervals(clips[:4], 1.0) is None


def test_few_clips_have_no_interval(tmp_path, model):
    one = assessment(CLIPS[:3])
    assert "<td>–</td>" in written(tmp_path, model, Outcome(Path("one.mp4"), one))
