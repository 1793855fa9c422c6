"""All measurements as one, and the command that shows one."""

import json

import cv2

from tests.commands import tfgma_here
from tfgma.speed import codecs
from tfgma.speed.every import draw, together
from tfgma.speed.results import kept, ratios_table


def test_parts_become_one_with_all_their_ratios(tmp_path):
    found = together({"input": {"ratios": {"a": 2.0}, "x": 1}, "train": {"ratios": {"b": 0.5}}})
    assert found == {
        "ratios": {"a": 2.0, "b": 0.5},
        "input": {"ratios": {"a": 2.0}, "x": 1},
        "train": {"ratios": {"b": 0.5}},
    }
    content = kept(tmp_path, "all", found, "tfgma benchmark all out")
    assert json.loads((tmp_path / "all.json").read_text()) == content
    assert content["command"] == "tfgma benchmark all out"
    assert {"processor", "cores"} <= set(content["machine"])
    assert content["versions"]["numpy"]
    assert ratios_table(content) == [["a", "2.00 x"], ["b", "0.50 x"]]


def test_a_bar_is_as_long_as_its_ratio_says(tmp_path):
    draw({"four": 4.0, "two": 2.0, "half": 0.5}, tmp_path / "all.png")
    picture = cv2.imread(str(tmp_path / "all.png"))
    bars = (picture == [165, 110, 58]).all(axis=-1)  # BGR of #3a6ea5
    lengths = bars.sum(axis=1)
    four, two, half = lengths[lengths > 0].reshape(3, -1).max(axis=1)
    assert abs(four - 2 * two) <= 4
    assert abs(two - half) <= 4


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch):
    monkeypatch.setattr(codecs, "measure_records", lambda out, **options: {"ratios": {"one": 1.5}})
    said = tfgma_here("benchmark", "records", tmp_path, "--json")
    assert json.loads(said) == json.loads((tmp_path / "records.json").read_text())
    assert "1.50 x" in tfgma_here("benchmark", "records", tmp_path)
