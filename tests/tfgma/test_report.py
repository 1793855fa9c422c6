"""The page says what the files say, harms nobody, and needs nothing beside it."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from click.testing import CliRunner

from pipelines.splits import SIDES
from tests.handmade_runs import CLASSES, answers, write_dataset, write_run
from tfgma.charts import (
    DASHES,
    learning_chart,
    legend_dashes,
    precision_recall_curves,
    reliability_chart,
    roc_chart,
    roc_curves,
)
from tfgma.cli.main import cli
from tfgma.config import StudyConfig
from tfgma.data_flow import IN_GAPS, data_flow
from tfgma.evaluation import evaluate
from tfgma.pages import CELL_PAINTS
from tfgma.report import chosen_epoch, commands, protocol_text, training_text, write_report
from tfgma.runs import read_run, read_run_predictions
from tfgma.scores import poolings, scores_by
from tfgma.strips import Cell, subject_strips

THREE = [(range(24, 36), range(12)), (range(0, 12), range(12, 24)), (range(12, 24), range(24, 36))]
LEFT_OUT = [
    ("x0", "a video must show a person. Received: a.mp4 with 9 sampled frames. Film anew"),
    ("x1", "a video must show a person. Received: b.mp4 with 7 sampled frames. Film anew"),
    ("x2", "failed unexpectedly: ValueError: <b>odd</b>"),
]
VOID = {"meta", "br", "path", "use", "rect", "link", "img"}


class Page(HTMLParser):
    """Elements as (name, attributes), texts of cells by row, ids; open elements must be closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The cells of the first row of that name, in one line each."""
        cells = ([" ".join(cell.split()) for cell in row] for row in self.rows)
        return next(row[1:] for row in cells if row and row[0] == name)

    def values(self, attribute: str) -> list[str | None]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def locked_answers() -> Any:
    part = answers([((), range(36, 42))])[0]
    return replace(part, sides=np.full(len(part.sides), "lock_box"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and a run of it with a lock box; metrics.json and the report are there."""
    folder = tmp_path_factory.mktemp("whole")
    parts = answers(THREE, skill=0.2, clips=5)
    columns = {"site": ("Bonn", "Oslo")}
    dataset = write_dataset(
        folder / "data",
        [*parts, locked_answers()],
        lambda video: (9.0, {name: values[int(video[1:4]) % 2] for name, values in columns.items()}),
        LEFT_OUT,
    )
    run = write_run(folder / "run", parts, dataset, lock_box=locked_answers())
    raters = folder / "raters.csv"
    rows = [f"s{number:03d},Ann,{CLASSES[(number + (number % 5 == 0)) % 3]}" for number in range(36)]
    raters.write_text("\n".join(["subject,rater,label", *rows, "stranger,Ann,PR"]))
    write_report(run, evaluate(run, by=["site"], raters=raters))
    return folder


@pytest.fixture(scope="module")
def page(whole: Path) -> Page:
    return Page((whole / "run" / "report.html").read_text())


@pytest.fixture(scope="module")
def metrics(whole: Path) -> dict[str, Any]:
    return json.loads((whole / "run" / "metrics.json").read_text())


# ---- what it says -----------------------------------------------------------------------------------------


def test_the_study_is_in_one_table(page: Page, metrics: dict[str, Any]) -> None:
    assert page.row("Classes") == ["FMs, PR, WMs; chance accuracy 0.33"]
    assert page.row("Subjects") == ["42: 14 FMs, 14 PR, 14 WMs"]
    assert page.row("Videos") == ["84 used, 0.84 hours; 3 left out"]
    assert page.row("Clips") == ["408 of 5 s, 6 frames a second"]
    assert page.row("Protocol")[0].startswith("5-fold, each subject tested once")
    assert "3 of 3 folds trained" in page.row("Protocol")[0]
    assert page.row("Lock box")[0].startswith("6 subjects; opened 2030-01-02T03:04:05+00:00; accuracy")
    assert page.row("Network")[0].startswith("two stream; scope all; streams both; fusion conv1x1")
    assert page.row("Training")[0].startswith("AdamW (amsgrad), learning rate 0.001; weight decay 0.0001;")
    assert page.row("Leak audit") == ["passed (what was checked)"]
    subject = metrics["test"]["subject"]
    low, high = subject["intervals"]["accuracy"]
    wanted = f"accuracy: {subject['accuracy']:.3f} (95 %: {low:.2f} to {high:.2f})"
    assert page.row("Test, by subject")[0].startswith(wanted)
    assert 0.4 < subject["accuracy"] < 1


def test_each_fold_says_who_was_on_its_sides(page: Page, metrics: dict[str, Any]) -> None:
    fold = metrics["test"]["folds"][1]["subject"]
    sides = 3 * ["12 (4 FMs + 4 PR + 4 WMs)"]
    # Of three epochs the second has the least validation loss.
    assert page.row("1") == [*sides, "3", "2", f"{fold['accuracy']:.3f}", f"{fold['macro_auroc']:.3f}"]


def test_figures_are_those_of_metrics_json(page: Page, metrics: dict[str, Any]) -> None:
    test, name = metrics["test"], "macro_f1"
    low, high = test["subject"]["intervals"][name]
    spread = test["over_folds"]["subject"][name]
    assert page.row("F1, mean over classes")[:5] == [
        f"{test['subject'][name]:.3f}",
        f"{low:.2f} to {high:.2f}",
        f"{spread['mean']:.3f} ± {spread['sd']:.3f}",
        f"{test['video'][name]:.3f}",
        f"{test['clip'][name]:.3f}",
    ]
    low, high = test["subject"]["intervals"]["auroc"]["PR"]
    assert page.row("PR")[3] == f"{test['subject']['auroc']['PR']:.3f}{low:.2f} to {high:.2f}"
    after = metrics["calibration"]["clip"]["after"]
    assert ["clip", "after", *(f"{after[name]:.3f}" for name in ("log_loss", "brier", "ece"))] in [
        [" ".join(cell.split()) for cell in row] for row in page.rows
    ]
    confusion = metrics["test"]["subject"]["confusion_matrix"]
    rows = [row for row in page.rows if row and row[0] == "FMs" and "%" in row[1]]
    assert [int(re.match(r"\d+", cell)[0]) for cell in rows[0][1:]] == confusion[0]  # type: ignore[index]
    assert [int(re.match(r"\d+", cell)[0]) for cell in rows[1][1:]] == metrics["test"]["clip"][  # type: ignore[index]
        "confusion_matrix"
    ][0]
    assert page.row("Bonn")[:2] == ["18", "180"]
    assert page.row("number")[0] == "36"
    # Eight subjects, 0, 5, ... 35, have another label by Ann.
    assert page.row("Ann and labels")[:3] == ["36", "78 %", f"{metrics['raters']['pairs'][0]['kappa']:.3f}"]


def test_the_lock_box_says_who_when_and_how_well(whole: Path, metrics: dict[str, Any]) -> None:
    text = (whole / "run" / "report.html").read_text().split('<section id="lock-box">')[1]
    section = text.split("</section>")[0]
    assert "s036, s037, s038, s039, s040, s041" in section
    assert "2030-01-02T03:04:05+00:00" in section
    assert f"{metrics['lock_box']['subject']['brier']:.3f}" in section


def test_the_data_flow_counts_and_groups(whole: Path) -> None:
    index = json.loads((whole / "data" / "dataset.json").read_text())
    index["videos"][0] |= {
        "clips_left_out": 4,
        "windows": [
            {"reasons": ["sharpness is 0.123, not 0.300", "nobody is seen"]},
            {"reasons": ["sharpness is 0.2, not 0.300"]},
            {"reasons": []},
        ],
    }
    run = read_run(whole / "run")
    for side in SIDES:
        run["folds"] = [fold | {side: [one for one in fold[side] if one != "s007"]} for fold in run["folds"]]
    flow = data_flow(index, run)
    assert (flow["videos"], flow["used"], flow["clips"], flow["clips_left_out"]) == (87, 84, 408, 4)
    assert [(one["reason"], [name for name, _ in one["videos"]]) for one in flow["left_out"]] == [
        ("a video must show a person", ["x0", "x1"]),
        ("failed unexpectedly", ["x2"]),
    ]
    assert flow["clip_reasons"] == [(IN_GAPS, 2), ("sharpness is …, not 0.300", 2), ("nobody is seen", 1)]
    assert flow["classes"][0] == {"name": "FMs", "subjects": 14, "videos": 28, "clips": 136, "hours": 0.28}
    assert flow["undealt"] == ["s007"]


def test_what_was_left_out_is_listed(whole: Path) -> None:
    section = (whole / "run" / "report.html").read_text().split('id="flow"')[1].split("</section>")[0]
    assert "2: a video must show a person" in section
    for name, sentence in LEFT_OUT:
        assert f"{name}: {html.escape(sentence)}" in section


def report_of_changed(whole: Path, tmp_path: Path, **changes: str) -> str:
    """The page of a copy of the run whose run.json says something else."""
    run = tmp_path / "run"
    shutil.copytree(whole / "run", run)
    (run / "run.json").write_text(json.dumps(read_run(run) | changes))
    return write_report(run, evaluate(run)).read_text()


def test_a_moved_data_set_is_said(whole: Path, tmp_path: Path) -> None:
    text = report_of_changed(whole, tmp_path, dataset="/nowhere")
    assert "The data set is not where it was" in text
    page = Page(text)
    assert page.row("Data") == ["not there any more; networks answered for 36 subjects of it"]
    assert page.row("Leak audit")[0].startswith("incomplete")
    assert page.row("groups") == [
        "no group (siblings, a site), joined over all its subjects' videos, is on two of these",
        "not done",
    ]
    # Classes of the sides are known from the answers.
    assert page.row("0")[2] == "12 (4 FMs + 4 PR + 4 WMs)"


def test_a_changed_data_set_is_said(whole: Path, tmp_path: Path) -> None:
    text = report_of_changed(whole, tmp_path, dataset_sha256="other")
    assert "dataset.json has changed since the training" in text


def test_a_failed_audit_stands_at_the_top(whole: Path, tmp_path: Path) -> None:
    assert "The leak audit failed" not in (whole / "run" / "report.html").read_text()
    shutil.copytree(whole / "run", tmp_path / "run")
    content = read_run(tmp_path / "run")
    content["folds"][1]["train"].append("s013")
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    done = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "run")], catch_exceptions=False)
    assert "leak audit: failed; fold 1: s013 in train and test" in done.output
    text = (tmp_path / "run" / "report.html").read_text()
    assert "The leak audit failed" in text.split("<main>")[0]
    assert Page(text).row("subjects")[1] == "failed (1)"


def test_how_to_make_it_again(whole: Path, metrics: dict[str, Any]) -> None:
    run = read_run(whole / "run")
    assert commands(run, metrics) == [
        "tfgma build-tfrecords SOURCE --out data --config study.yaml",
        "tfgma train --config study.yaml --data data --out run",
        "tfgma evaluate run --aggregation mean --by site --raters RATERS.csv",
    ]
    metrics = metrics | {"strata": {"a b": []}, "raters": None}
    one = commands(run | {"trained_folds": [1], "dataset": "/x/my data"}, metrics)
    assert one[1:] == [
        "tfgma train --config study.yaml --data 'my data' --out run_fold_1 --fold 1",
        "tfgma evaluate run_fold_1 --aggregation mean --by 'a b'",
    ]


def test_the_settings_shown_are_those_of_the_run(whole: Path, tmp_path: Path) -> None:
    from tfgma.config import load_study

    text = (whole / "run" / "report.html").read_text()
    settings = re.search(r"<summary>Settings</summary><pre>(.*?)</pre>", text, re.S)
    assert settings
    (tmp_path / "study.yaml").write_text(html.unescape(settings[1]))
    assert load_study(tmp_path / "study.yaml") == StudyConfig()


def test_hashes_are_the_files(whole: Path) -> None:
    from pipelines.build import file_digest

    text = (whole / "run" / "report.html").read_text()
    for name in ("run.json", "fold_0/predictions.csv", "fold_2/predictions.csv", "lock_box.csv"):
        assert f"{name}: <code>{file_digest(whole / 'run' / name)}</code>" in text


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"scheme": "nested", "folds": 4, "repeats": 3}, "nested: 4 test sides, the validation side (20%)"),
        ({"scheme": "nested", "folds": 4, "repeats": 3}, "within each; dealt 3 times; 1 of 2 folds trained"),
        ({"scheme": "fixed", "folds": 6}, "rotates over 6 parts of the others"),
        ({"scheme": "site", "site": "clinic"}, "each site of the column 'clinic' tested by networks of the"),
        ({"from_dataset": True}, "folds that came with the data set"),
        ({}, "not finished: folds 1"),
    ],
)
def test_protocols_in_words(split: dict[str, Any], text: str) -> None:
    run = {"config": StudyConfig.model_validate({"split": split}).model_dump(), "folds": [{}, {}]}
    assert text in protocol_text(run | {"trained_folds": [0], "chosen_folds": [0, 1]})


def test_a_run_of_before_lacks_settings_and_is_shown() -> None:
    assert training_text({"train": {"epochs": 7}}) == "at most 7 epochs"
    assert "2 of 2 folds" in protocol_text({"config": {}, "folds": [{}, {}], "trained_folds": [0, 1]})


def test_the_kept_epoch_is_the_first_of_least_validation_loss() -> None:
    assert chosen_epoch({"epoch": [0.0, 1.0, 2.0], "val_loss": [0.5, 0.2, 0.2]}) == 1
    # A resumed training's file may begin later.
    assert chosen_epoch({"epoch": [4.0, 5.0], "val_loss": [0.5, 0.2]}) == 5


# ---- strips -----------------------------------------------------------------------------------------------


def strips_of(parts: list[Any]) -> list[Any]:
    together = parts[0]
    for part in parts[1:]:
        arrays = {
            name: np.concatenate([getattr(together, name), getattr(part, name)])
            for name in vars(part)
            if name != "classes"
        }
        together = replace(together, **arrays)
    scores = scores_by("subject", together, poolings(together, "mean"))
    sets = [{"subject": name, "set": ["FMs"], "answer": "FMs"} for name in scores.names]
    return subject_strips(together, scores, sets, 5.0)


def test_a_strip_is_a_videos_clips_in_order_of_time() -> None:
    part = answers([((), range(6))], clips=6)[0]
    shuffled = part.where(np.random.default_rng(0).permutation(len(part.labels)))
    shuffled = shuffled.where((shuffled.videos != "s002_v1") | ~np.isin(shuffled.start_seconds, [0.0, 15.0]))
    found = {one.name: one for one in strips_of([shuffled])}
    assert [strip.video for strip in found["s002"].strips] == ["s002_v0", "s002_v1"]
    cells = found["s002"].strips[1].cells
    assert [(cell.start_seconds, cell.gap_seconds) for cell in cells] == [(5, 5), (10, 0), (20, 5), (25, 0)]
    for cell in cells:
        row = (part.videos == "s002_v1") & (part.start_seconds == cell.start_seconds)
        assert cell.probability == pytest.approx(part.probabilities[row][0, 2])
        answer = part.classes[part.probabilities[row][0].argmax()]
        assert cell.wrong == (None if answer == "WMs" else answer)
    assert [Cell(0, p, None, 0).tenth for p in (0.0, 0.099, 0.1, 0.7, 0.999, 1.0)] == [0, 0, 1, 7, 9, 9]


def test_clips_that_several_networks_answered_for_are_averaged() -> None:
    parts = answers([((), range(3)), ((), range(3))])
    subject = strips_of(parts)[0]
    assert subject.networks == 2
    cell = subject.strips[1].cells[2]
    row = (parts[0].videos == subject.strips[1].video) & (parts[0].start_seconds == 10.0)
    place = parts[0].classes.index(subject.label)
    mean = np.mean([part.probabilities[row][0, place] for part in parts])
    assert cell.probability == pytest.approx(mean)


def test_wrong_subjects_come_first_then_by_class(whole: Path) -> None:
    predictions = read_run_predictions(whole / "run")
    found = strips_of([predictions.where(predictions.sides == "test")])
    right = [one.right for one in found]
    assert right == sorted(right)
    assert 0 < sum(right) < 36
    for part in (found[: right.count(False)], found[right.count(False) :]):
        places = [(CLASSES.index(one.label), one.probabilities[CLASSES.index(one.label)]) for one in part]
        assert places == sorted(places)


def test_every_test_clip_is_a_cell(page: Page, metrics: dict[str, Any]) -> None:
    cells = [attributes for tag, attributes in page.elements if tag == "i" and "title" in attributes]
    assert len(cells) == metrics["test"]["clip"]["n"] == 360
    wrong = metrics["test"]["clip"]["n"] - np.trace(metrics["test"]["clip"]["confusion_matrix"])
    assert sum(cell["class"].endswith(" w") for cell in cells) == wrong  # type: ignore[union-attr]


def test_answers_with_uncertainty_are_shown(whole: Path, metrics: dict[str, Any]) -> None:
    section = (whole / "run" / "report.html").read_text().split('id="subjects"')[1].split("</section>")[0]
    answered = [one["answer"] for one in metrics["conformal"]["subjects"]]
    assert section.count("with uncertainty: not assessable / uncertain") == answered.count(
        "not assessable / uncertain"
    )
    assert 0 < answered.count("not assessable / uncertain") < 36


# ---- charts -----------------------------------------------------------------------------------------------


def some_answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)


def test_curves_are_scikit_learns() -> None:
    labels, probabilities = some_answers()
    for number in range(3):
        is_class, scores = labels == number, probabilities[:, number]
        curve = roc_curves(labels, probabilities)[number]
        false, true, _ = sk.roc_curve(is_class, scores)
        np.testing.assert_array_equal(curve.x, false)
        np.testing.assert_array_equal(curve.y, true)
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(sk.roc_auc_score(is_class, scores))
        curve = precision_recall_curves(labels, probabilities)[number]
        area = -np.sum(np.diff(curve.x) * curve.y[:-1])
        assert area == pytest.approx(sk.average_precision_score(is_class, scores))


def test_classes_without_subjects_have_no_curve() -> None:
    labels, probabilities = some_answers()
    alone = np.where(labels == 2, 1, labels)
    assert (
        list(roc_curves(alone, probabilities))
        == list(precision_recall_curves(alone, probabilities))
        == [0, 1]
    )
    assert roc_curves(np.zeros(50, int), probabilities) == {}
    assert "<svg" in roc_chart(np.zeros(50, int), probabilities)


def points(svg: str, color: str) -> np.ndarray:
    """(N, 2) places of the line of that colour in the chart's own units."""
    line = re.search(rf'<path d="([^"]+)"[^>]*stroke: {re.escape(color)}; stroke-width: 1.8', svg)
    assert line
    return np.array([float(text) for text in re.findall(r"-?[\d.]+", line[1])]).reshape(-1, 2)


def test_the_drawn_line_is_the_curve() -> None:
    labels, probabilities = some_answers()
    drawn = points(roc_chart(labels, probabilities), "var(--c1)")
    curve = roc_curves(labels, probabilities)[1]
    # From (0, 0) to (1, 1), so the ends give the scale.
    scaled = (drawn - drawn[0]) / (drawn[-1] - drawn[0])
    np.testing.assert_allclose(scaled, np.column_stack([curve.x, curve.y]), atol=1e-4)


def test_charts_take_the_pages_colours_and_differ_without_them() -> None:
    labels, probabilities = some_answers()
    svg = roc_chart(labels, probabilities)
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert all(f"var(--c{number})" in svg for number in range(3))
    assert "currentColor" in svg
    dashes = [legend_dashes(number) for number in range(len(DASHES))]
    assert len(set(dashes)) == len(DASHES)
    assert f"stroke-dasharray: {dashes[1].replace(' ', ',')};" in svg


def test_the_kept_epoch_is_marked() -> None:
    history = {"epoch": [0.0, 1.0, 2.0, 3.0], "loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [3.0, 2.0, 1.0, 2.0]}
    svg = learning_chart(0, history, 2)
    line = points(svg, "var(--c0)")
    mark = re.search(r'<path d="M ([\d.]+) [^"]*"[^>]*stroke: currentColor', svg)
    assert mark
    assert float(mark[1]) == pytest.approx(line[2, 0], abs=0.02)


def test_reliability_is_drawn_where_there_are_answers() -> None:
    rows = [{"n": 0, "probability": None, "accuracy": None}, {"n": 3, "probability": 0.7, "accuracy": 1.0}]
    svg = reliability_chart("clip", [rows, rows])
    assert svg.count("<use") == 2 + 12  # one point a series, and the ticks


# ---- what it must not do ----------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_and_runs_nothing(whole: Path, page: Page) -> None:
    text = (whole / "run" / "report.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {
        tag for tag, _ in page.elements
    }
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [value for value in page.values("href") + page.values("src") if not str(value).startswith("#")]
    assert "@import" not in text
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", text))


def test_it_says_research_use_only_at_both_ends(whole: Path) -> None:
    text = (whole / "run" / "report.html").read_text()
    assert "Research use only" in text.split("<main>")[0]
    assert "Research use only" in text.split("</main>")[1]


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    parts = [
        replace(
            part,
            subjects=np.where(part.subjects == "s001", evil, part.subjects),
            videos=np.where(part.videos == "s001_v0", evil + "&quot;", part.videos),
        )
        for part in answers(THREE, classes=("$x_$<b>", "_hidden", 'W"M'))
    ]
    data = write_dataset(
        tmp_path / "data", parts, lambda video: (None, {"site": "<i>site</i>"}), [("<u>", "<s>no</s>")]
    )
    run = write_run(tmp_path / "run", parts, data)
    text = write_report(run, evaluate(run, by=["site"])).read_text()
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not {"script", "u"} & tags
    assert "<s>no" not in text
    assert "<i>site" not in text
    assert evil not in text
    assert html.escape(evil).replace("&#x27;", "&#39;") in text
    assert page.row('W"M')


def test_the_same_run_gives_the_same_bytes(whole: Path) -> None:
    path = whole / "run" / "report.html"
    first = path.read_bytes()
    path.unlink()
    write_report(whole / "run", evaluate(whole / "run", by=["site"], raters=whole / "raters.csv"))
    assert path.read_bytes() == first


def test_ids_are_given_once_and_links_lead_somewhere(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {str(value)[1:] for value in page.values("href")} <= set(ids)
    # Every section, those of strata, raters and the lock box too, is named at the top.
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert len(sections) == 14
    assert [attributes["href"] for tag, attributes in page.elements if tag == "a"][:14] == [
        f"#{name}" for name in sections
    ]


def test_who_cannot_see_is_told(page: Page) -> None:
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if tag == "th":
            assert attributes["scope"] in ("row", "col", "colgroup")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    values = np.array([int(digits[place : place + 2], 16) for place in (0, 2, 4)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_enough_in_both_themes(whole: Path) -> None:
    text = (whole / "run" / "report.html").read_text()
    themes = [
        dict(re.findall(r"--([\w]+): (#[0-9a-f]+)", found)) for found in re.findall(r":root \{[^}]*\}", text)
    ]
    light, dark = themes[0], themes[0] | themes[1]
    assert light["paper"] != dark["paper"]
    for theme in (light, dark):
        for name in ("ink", "soft", "bad", "good", "c0"):
            assert contrast(theme[name], theme["paper"]) >= 4.5
        for name in ("grid", *(f"c{number}" for number in range(6))):
            assert contrast(theme[name], theme["paper"]) >= 3
    for background, digit in CELL_PAINTS:
        assert contrast(background, digit) >= 4.5
    # The scale is also one of lightness.
    assert np.all(np.diff([luminance(background) for background, _ in CELL_PAINTS]) > 0)


@pytest.mark.long
def test_a_thousand_subjects_fit_in_a_page(tmp_path: Path) -> None:
    """The figure in docs/evaluation.md: pytest -m long -s tests/tfgma/test_report.py."""
    parts = answers([(range(500, 600), range(500)), (range(100), range(500, 1000))], clips=20)
    run = write_run(tmp_path / "run", parts)
    size = write_report(run, evaluate(run)).stat().st_size
    print(f"\n1000 subjects of 40 clips: {size / 1e6:.1f} MB")
    assert size < 4e6
