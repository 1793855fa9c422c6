"""A folder of assessments, by a predictor that answers at once."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.schema import RefusedError
from tests.tfgma.test_assessment_page import assessment, model
from tfgma.assessment_report import AssessmentReport, assess_arrivals, assess_each

__all__ = ["model"]  # a fixture


class Quick:
    """Answers alike for all videos but those called bad."""

    def __init__(self):
        self.assessed = []

    def assess(self, video, *, pictures, overlay):
        self.assessed.append(video.name)
        if "bad" in video.name:
            raise RefusedError("nobody is seen")
        one = assessment()
        return one if pictures else replace(one, pictures=())


def videos(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return [folder / name for name in names]


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_each_video_has_its_page_and_memory_keeps_no_pictures(tmp_path, model):
    told = []
    with AssessmentReport(tmp_path / "out", model) as report:
        found = videos(tmp_path / "in", "a.mp4", "bad.mp4")
        outcomes = list(assess_each(Quick(), found, report, lambda *step: told.append(step)))
    assert [one.verdict for one in outcomes] == [assessment().verdict.answer, "not assessable / uncertain"]
    assert outcomes[0].assessment.pictures == ()
    assert told == [(0, 2, "a.mp4"), (1, 2, "bad.mp4"), (2, 2, "done")]
    expected = {"index.html", "assessments.csv", "a.html", "a.pdf", "bad.html", "bad.pdf"}
    assert names(tmp_path / "out") == expected
    assert (tmp_path / "out" / "a.html").read_text(encoding="utf-8").count("data:image/jpeg") == 4


def test_without_a_report_nothing_is_written(tmp_path):
    (outcome,) = assess_each(Quick(), videos(tmp_path / "in", "a.mp4"), None, lambda *step: None)
    assert outcome.assessment.pictures == ()
    assert names(tmp_path) == {"in"}


def test_what_arrives_is_assessed_once_also_by_a_later_call(tmp_path, model, monkeypatch):
    monkeypatch.setattr("tfgma.watching.LOOK_EVERY_SECONDS", 0)
    folder, out, quick = tmp_path / "in", tmp_path / "out", Quick()
    videos(folder, "a.mp4", "bad.mp4")
    with AssessmentReport(out, model) as report:
        assert len(list(itertools.islice(assess_arrivals(quick, folder, report), 2))) == 2
    videos(folder, "c.mp4")
    with AssessmentReport(out, model) as report:
        (outcome,) = itertools.islice(assess_arrivals(quick, folder, report), 1)
    assert outcome.video.name == "c.mp4"
    assert quick.assessed == ["a.mp4", "bad.mp4", "c.mp4"]
    index = (out / "index.html").read_text(encoding="utf-8")
    for name in quick.assessed:
        assert f">{name}</a>" in index
    assert (out / "assessments.csv").read_text(encoding="utf-8").count("\n") == 4


def test_a_page_that_is_gone_is_made_again(tmp_path, model, monkeypatch):
    monkeypatch.setattr("tfgma.watching.LOOK_EVERY_SECONDS", 0)
    folder, out, quick = tmp_path / "in", tmp_path / "out", Quick()
    videos(folder, "a.mp4")
    for _ in range(2):
        with AssessmentReport(out, model) as report:
            next(assess_arrivals(quick, folder, report))
        (out / "a_mp4.html").unlink()
    assert quick.assessed == ["a.mp4", "a.mp4"]


def test_another_models_report_is_left_as_it_is(tmp_path, model, monkeypatch):
    monkeypatch.setattr("tfgma.watching.LOOK_EVERY_SECONDS", 0)
    folder, out = tmp_path / "in", tmp_path / "out"
    videos(folder, "a.mp4")
    with AssessmentReport(out, model) as report:
        next(assess_arrivals(Quick(), folder, report))
    before = {path: path.read_bytes() for path in out.iterdir()}
    changed = model.description.model_copy(update={"files": {"model_int8.tflite": "ef" * 32}})

    def go_on():
        with AssessmentReport(out, replace(model, description=changed)) as report:
            next(assess_arrivals(Quick(), folder, report))

    with pytest.raises(RefusedError, match=r"must be of the file with SHA-256 efef.* Received: abab"):
        go_on()
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_file_is_no_folder(tmp_path, model):
    (tmp_path / "out").touch()
    with pytest.raises(RefusedError, match=r"--report must be a folder\. Received"):
        AssessmentReport(tmp_path / "out", model)
    assert Path(tmp_path / "out").is_file()


def test_an_overlay_never_replaces_a_video(tmp_path, model):
    found = videos(tmp_path / "in", "a.mp4", "a_overlay.mp4")
    quick, report = Quick(), AssessmentReport(tmp_path / "in", model)
    with pytest.raises(RefusedError, match=r"no overlay replaces a video\. Received: .*a_overlay\.mp4"):
        next(assess_each(quick, found, report, lambda *step: None))
    assert quick.assessed == []
