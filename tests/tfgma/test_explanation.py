"""What an explanation is made of, without a network."""

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pipelines.build import INDEX, file_digest
from pipelines.config import InputSettings
from pipelines.files import refuse_taken
from pipelines.schema import RefusedError
from tests.conftest import TINY, random_clip
from tests.tfgma.test_occlusion import lying_body
from tfgma.body_parts import PARTS
from tfgma.explanation import ClipEffects, ClipMaps, Deletion, Explanation, Kept, _fold, _spans, evidence
from tfgma.explanation_page import deletion_rows, write_explanation
from tfgma.explanation_pictures import AGAINST, FOR, map_pictures

SETTINGS = InputSettings(num_frames=4, pose_frames=4, pose_stride=1)


def clip_at(seconds, seed=0):
    """Six pixels to the side a frame, so that frames differ."""
    return replace(random_clip(seed), start_seconds=seconds, pose=lying_body(TINY.num_frames))


def test_evidence_is_log_odds_and_finite():
    p = np.array([[0.2, 0.3, 0.5], [1, 0, 0], [1 - 1e-18, 1e-18, 0]])
    found = evidence(p)
    np.testing.assert_allclose(found[0], np.log([0.2 / 0.8, 0.3 / 0.7, 1]))
    assert np.isfinite(found).all()
    assert found[2, 0] == pytest.approx(18 * np.log(10))


def test_the_best_clips_that_do_not_overlap_are_kept():
    kept = Kept(2, 1.0)
    clips = {seconds: clip_at(seconds) for seconds in (0.0, 0.5, 1.0, 2.0, 2.5, 4.0)}
    for number, (score, seconds) in enumerate(
        [(0.5, 0.0), (0.6, 0.5), (0.4, 1.0), (0.7, 2.0), (0.65, 2.5), (0.1, 4.0)]
    ):
        kept.offer(score, number, clips[seconds])
    assert [(number, clip.start_seconds) for number, clip in kept.best] == [(3, 2.0), (1, 0.5)]


def test_spans_cover_a_clip_without_gaps():
    spans = _spans(TINY.model_copy(update={"clip_seconds": 2.5}))
    assert spans.tolist() == [[0, 8], [8, 15]]
    assert _spans(TINY.model_copy(update={"clip_seconds": 0.5})).tolist() == [[0, 3]]


@pytest.fixture
def run(tmp_path):
    """A run of three folds, and its data set's videos by subject."""
    videos = {}
    for subject in "abc":
        videos[subject] = tmp_path / f"{subject}.mp4"
        videos[subject].write_text(subject)
    entries = [{"subject": name, "sha256": file_digest(path)} for name, path in videos.items()]
    version = json.loads(json.dumps({"format_version": 3, "videos": entries}))
    (tmp_path / INDEX).write_text(json.dumps(version))
    folds = [
        {"train": [one for one in "abc" if one not in (test, val)], "val": [val], "test": [test]}
        for test, val in ("ab", "bc", "ca")
    ]
    return SimpleNamespace(
        content={
            "trained_folds": [0, 1],
            "dataset": str(tmp_path),
            "folds": folds,
            "lock_box": {"subjects": [], "opened": []},
        },
        videos=videos,
    )


def test_the_fold_is_one_that_has_not_seen_the_subject(run, tmp_path):
    assert _fold(run.content, run.videos["a"], None) == (0, False)
    assert _fold(run.content, run.videos["b"], None) == (1, False)
    assert _fold(run.content, run.videos["c"], None) == (0, True)  # of fold 2, which is not trained
    assert _fold(run.content, run.videos["b"], 0) == (0, True)  # validation is part of the training
    other = tmp_path / "other.mp4"
    other.write_text("other")
    assert _fold(run.content, other, None) == (0, None)
    assert _fold(run.content | {"dataset": str(tmp_path / "gone")}, run.videos["b"], None) == (0, None)
    with pytest.raises(RefusedError, match=r"--fold must be one of \[0, 1\]. Received: 2"):
        _fold(run.content, run.videos["a"], 2)


def maps_at(seconds, number, **maps):
    found = {"grad_cam": {}, "attributions": {}, "attention": {}} | maps
    return ClipMaps(number, clip_at(seconds, number), deletions=(), **found)


def decoded(picture):
    return cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB).astype(int)


def test_maps_are_drawn_where_they_are():
    flow = np.zeros((64, 64, 2 * TINY.num_flows), np.float32)
    flow[40:56, 8:24] = 1
    flow[8:24, 40:56] = -1
    heat = np.zeros((1, 2, 2), np.float32)
    heat[0, 1, 0] = 1
    one = maps_at(0.0, 0, grad_cam={"image": heat}, attributions={"flow": flow})
    cam, attributions = map_pictures(one, TINY, SETTINGS)
    assert (cam.method, cam.input) == ("grad_cam", "image")
    assert (attributions.method, attributions.input) == ("integrated_gradients", "flow")
    picture = decoded(cam)
    side = len(picture)
    assert picture.shape == (side, side, 3)
    quarter = side // 4

    def like(found, paint):
        return np.abs(found - np.array(paint)).max() < 60

    assert like(picture[3 * quarter, quarter], FOR)
    assert not like(picture[quarter, 3 * quarter], FOR)
    strip = decoded(attributions)
    assert strip.shape == (side, 5 * side, 3)
    for column in range(5):
        part = strip[:, column * side : (column + 1) * side]
        assert like(part[3 * quarter, quarter], FOR)
        assert like(part[quarter, 3 * quarter], AGAINST)


def test_frames_have_a_picture_each_and_joints_discs():
    frames = np.zeros((4, 64, 64, 3), np.float32)
    frames[3, 20:44, 20:44] = 1
    pose = np.zeros((4, 4, 18, 7), np.float32)
    attention = {"alpha": np.array([0.91, 0.03, 0.03, 0.03]), "beta": np.eye(4, 18)}
    one = maps_at(0.0, 0, attributions={"frames": frames, "pose": pose}, attention=attention)
    found = {
        (picture.method, picture.input): decoded(picture) for picture in map_pictures(one, TINY, SETTINGS)
    }
    assert set(found) == {
        ("integrated_gradients", "frames"),
        ("integrated_gradients", "pose"),
        ("attention", "pose"),
    }
    strip = found["integrated_gradients", "frames"]
    side = len(strip)
    assert strip.shape[1] == 4 * side
    orange = (strip[..., 0] - strip[..., 2]) > 120
    assert orange[:, 3 * side :].any()
    assert not orange[:, : 3 * side].any()
    discs = (found["attention", "pose"][..., 0] - found["attention", "pose"][..., 2]) > 120
    sums = [discs[:, place * side : (place + 1) * side].sum() for place in range(4)]
    assert sums[0] > 3 * sums[1] > 0


def explanation(**changes):
    clips = tuple(
        ClipEffects(
            float(number),
            np.array([0.6, 0.4]),
            np.linspace(-1, 1, 12).reshape(6, 2) * (number + 1),
            np.array([[0.5, -0.5]]),
        )
        for number in range(3)
    )
    heat = np.ones((1, 2, 2), np.float32)
    maps = tuple(
        replace(
            maps_at(float(number), number, grad_cam={"flow": heat}),
            deletions=(Deletion("flow", "grad_cam", area, 0.5),),
        )
        for number, area in ((0, 0.2), (2, 0.6))
    )
    values = {
        "video": "ward/<b>one</b>.mp4",
        "fold": 1,
        "seen_in_training": None,
        "classes": ("normal", "<i>other</i>"),
        "explained": "<i>other</i>",
        "spec": TINY,
        "spans_seconds": np.array([[0.0, 1.0]]),
        "clips": clips,
        "maps": maps,
    }
    return Explanation(**(values | changes))


def test_the_page_says_what_the_figures_say(tmp_path):
    found = explanation()
    write_explanation(tmp_path / "why", found, SETTINGS)
    figures = json.loads((tmp_path / "why" / "explanation.json").read_text())
    effects = np.stack([clip.parts[:, 1] for clip in found.clips])
    assert list(figures["parts"]) == list(PARTS)
    np.testing.assert_allclose(list(figures["parts"].values()), effects.mean(axis=0), atol=1e-6)
    assert figures["clips"][1]["spans"] == [{"start_seconds": 1.0, "end_seconds": 2.0, "effect": -0.5}]
    page = (tmp_path / "why" / "explanation.html").read_text()
    assert "<b>one" not in page
    assert "<i>other" not in page
    assert "Research use only" in page
    assert "://" not in page
    assert page.count("data:image/jpeg;base64,") == 2
    for value in effects.mean(axis=0):
        assert f"{value:+.2f}".replace("-", "−") in page
    assert "not one of the run" in page
    assert "1 of 2" in page
    with np.load(tmp_path / "why" / "maps.npz") as arrays:
        assert sorted(arrays) == ["0s_grad_cam_flow", "2s_grad_cam_flow"]


def test_the_page_warns_of_what_the_network_was_trained_on(tmp_path):
    write_explanation(tmp_path / "seen", explanation(seen_in_training=True), SETTINGS)
    assert "The network was trained on this subject" in (tmp_path / "seen" / "explanation.html").read_text()
    write_explanation(tmp_path / "new", explanation(seen_in_training=False), SETTINGS)
    assert "has not seen it before" in (tmp_path / "new" / "explanation.html").read_text()


def test_deletions_are_means_over_clips():
    (row,) = deletion_rows(explanation())
    assert (row.area, row.random, row.better, row.clips) == (pytest.approx(0.4), 0.5, 1, 2)


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RefusedError, match="--out must be a new or empty folder"):
        refuse_taken(tmp_path)
    with pytest.raises(RefusedError, match="--out must be a new or empty folder"):
        write_explanation(tmp_path / "mine.txt", explanation(), SETTINGS)
    assert (tmp_path / "mine.txt").read_text() == "mine"
