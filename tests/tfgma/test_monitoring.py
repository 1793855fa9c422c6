"""A new data set beside a run's own: figures by subject, answers of every fold's network, a page."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.stats import fisher_exact

from pipelines.build import INDEX, read_index
from pipelines.schema import RefusedError
from tests.commands import tfgma_here
from tests.handmade_runs import answers, write_run
from tfgma.config import load_study
from tfgma.drift import Drift
from tfgma.monitoring import Comparison, monitor, write_comparison
from tfgma.networks import build_network
from tfgma.runs import MODEL_FILE, RUN_FILE, fold_folder
from tfgma.suitability import as_built

STUDY = Path(__file__).parents[1] / "study.yaml"


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """Two folds with networks that nobody trained; nine test subjects, who are those of the data set."""
    index = read_index(dataset)
    names = sorted({entry["subject"] for entry in index["videos"]})
    parts = answers([(range(3), range(5)), (range(3, 6), range(5, 9))], videos=1)
    numbered = {f"s{number:03d}": name for number, name in enumerate(names)}
    parts = [replace(part, subjects=np.array([numbered[one] for one in part.subjects])) for part in parts]
    out = write_run(tmp_path_factory.mktemp("monitor") / "run", parts, dataset)
    content = json.loads((out / RUN_FILE).read_text())
    config = as_built(load_study(STUDY), index)
    content |= {"config": config.model_dump(), "dataset": str(dataset)}
    (out / RUN_FILE).write_text(json.dumps(content))
    for fold in (0, 1):
        keras.utils.set_random_seed(fold)
        build_network(config, 3).save(fold_folder(out, fold) / MODEL_FILE)
    return out


def test_the_same_recordings_have_not_changed(run, dataset, tmp_path):
    found = json.loads(tfgma_here("monitor", dataset, "--against", run, "--out", tmp_path / "m", "--json"))
    assert found["subjects"] == {"before": 9, "now": 9}
    assert found["shared_videos"] == 9
    for group in ("quality", "posture", "movement"):
        assert len(found["figures"][group]) >= 4
        for row in found["figures"][group]:
            assert row["distance"] == 0
            assert row["higher"] == 0.5
            assert not row["changed"]
    assert [row["figure"] for row in found["figures"]["answers"]] == ["p_FMs", "p_PR", "p_WMs", "certainty"]
    now, before = found["performance"]["now"], found["performance"]["before"]
    assert now["subjects"] == before["subjects"] == 9
    table = [[one["right"], 9 - one["right"]] for one in (before, now)]
    assert found["performance"]["p"] == pytest.approx(fisher_exact(table).pvalue)
    page = (tmp_path / "m" / "monitor.html").read_text()
    assert "9 of these videos are in the run's own data set" in page
    assert "://" not in page
    assert json.loads((tmp_path / "m" / "monitor.json").read_text())["figures"] == found["figures"]


def test_what_changed_is_named(run, dataset, tmp_path):
    """The same records, whose index says that they are dark and that half of their clips were left out."""
    index = read_index(dataset)
    other = tmp_path / "dark"
    other.mkdir()
    (other / "shards").symlink_to(dataset / "shards")
    for entry in index["videos"]:
        entry["quality"]["brightness"] /= 4
        entry["clips_left_out"] = entry["clips"]
        entry["sha256"] = "0"
    (other / INDEX).write_text(json.dumps(index))
    found = monitor(other, run)
    assert (found.now, found.shared) == (9, 0)
    assert {"brightness", "clips_left_out"} <= set(found.changed)
    (dark,) = [row for row in found.rows["quality"] if row.figure == "brightness"]
    assert dark.higher == 0
    assert dark.now[1] == pytest.approx(dark.before[1] / 4, rel=0.2)


def test_what_cannot_be_compared_is_refused(run, dataset, tmp_path):
    index = read_index(dataset)
    other = tmp_path / "other"
    other.mkdir()
    (other / INDEX).write_text(json.dumps(index | {"config": index["config"] | {"flow": {"method": "dis"}}}))
    with pytest.raises(
        RefusedError, match=r"the data set must be built with the config's settings, build\.flow"
    ):
        monitor(other, run)
    with pytest.raises(RefusedError, match="RUN must be a folder that tfgma train wrote"):
        monitor(dataset, tmp_path)
    content = json.loads((run / RUN_FILE).read_text())
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / RUN_FILE).write_text(json.dumps(content | {"dataset_sha256": "0"}))
    with pytest.raises(RefusedError, match="the run's data set must be the one it was trained on"):
        monitor(dataset, changed)


def test_the_page_shows_rows_and_performance(tmp_path):
    row = Drift("brightness", (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), 0.02, 0.9, 1e-9, 1e-8)
    same = replace(row, figure="p_<b>PR", now=row.before, higher=0.5, distance=0.0, p=1.0, adjusted=1.0)
    one = {"right": 9, "subjects": 12, "accuracy": 0.75, "interval": [0.43, 0.95]}
    performance = {"before": one, "now": one, "p": 1.0, "changed": False}
    found = Comparison(60, 12, 0, {"quality": [row], "answers": [same]}, performance)
    write_comparison(tmp_path, found, Path("<i>may</i>"), Path("run"))
    page = (tmp_path / "monitor.html").read_text()
    assert "<b>PR" not in page
    assert "<i>may" not in page
    assert "1 of 2 figures changed" in page
    assert "The share of right answers changed" not in page
    worse = replace(found, performance=performance | {"p": 1e-4, "changed": True})
    write_comparison(tmp_path, worse, Path("may"), Path("run"))
    assert (
        "right answers changed (Fisher's exact test, p &lt; 0.001)" in (tmp_path / "monitor.html").read_text()
    )
    assert "0.43 to 0.95" in page
    assert f"{found.least_distance:.2f}" in page
