import json
import os
import shutil

import numpy as np
import pytest

from pipelines.build import build_dataset, file_digest, read_index
from pipelines.config import BuildConfig
from pipelines.records import read_shard
from pipelines.schema import ClipSpec, RefusedError
from tests.conftest import numbered_frames, write_video

SMALL = BuildConfig(clip=ClipSpec(fps=6, clip_seconds=2, stride_seconds=1, size=64, max_flow_px=8))


def test_the_index_says_what_the_shards_hold(dataset, infants):
    index = read_index(dataset)
    assert index["classes"] == ["FMs", "PR", "WMs"]
    assert len(index["videos"]) == 9
    spec = ClipSpec.model_validate(index["clip"])
    for entry in index["videos"]:
        assert entry["left_out"] is None
        path = dataset / "shards" / entry["shard"]
        assert file_digest(path) == entry["shard_sha256"]
        assert file_digest(infants / entry["label"] / entry["subject"] / "video.mp4") == entry["sha256"]
        clips = list(read_shard(path, spec))
        assert len(clips) == entry["clips"] == 4
        for clip, who in clips:
            assert (who.subject, who.class_name, who.video) == (entry["subject"], entry["label"], entry["id"])
            assert index["classes"][who.label] == entry["label"]
            assert clip.quality >= 0.8
            assert 0.02 < clip.mask_area.mean() < 0.5
    assert sorted(path.name for path in (dataset / "shards").iterdir()) == sorted(
        entry["shard"] for entry in index["videos"]
    )


def test_infants_lie_upright_in_the_middle_of_their_clips(dataset):
    index = read_index(dataset)
    spec = ClipSpec.model_validate(index["clip"])
    for entry in index["videos"]:
        clip, _ = next(read_shard(dataset / "shards" / entry["shard"], spec))
        pose = np.median(clip.pose[:, :, :2], axis=0)
        neck, crotch = pose[[11, 12]].mean(axis=0), pose[[23, 24]].mean(axis=0)
        spine = crotch - neck
        assert abs(np.degrees(np.arctan2(spine[0], spine[1]))) < 20
        np.testing.assert_allclose((neck + crotch) / 2, [32, 32], atol=5)
        assert np.hypot(*spine) == pytest.approx(64 * 0.8 / 3, rel=0.2)


@pytest.fixture
def three(infants, tmp_path):
    """Three of the generated infants, one of each class, in a folder of their own."""
    root = tmp_path / "videos"
    for label in ("FMs", "PR", "WMs"):
        video = sorted((infants / label).glob("*/video.mp4"))[0]
        (root / label / video.parent.name).mkdir(parents=True)
        shutil.copy(video, root / label / video.parent.name / "video.mp4")
    return root


def stamps(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}


def test_finished_videos_are_not_done_again_but_changed_ones_are(three, tmp_path):
    out = tmp_path / "dataset"
    first = build_dataset(three, out, SMALL)
    before = stamps(out)
    assert build_dataset(three, out, SMALL) == first
    assert stamps(out) == before

    damaged, replaced, kept = sorted(before)
    with (out / "shards" / damaged).open("ab") as file:
        file.write(b"x")
    video = next(three.glob(replaced.removesuffix(".tfrecord").replace("__", "/") + ".mp4"))
    video.write_bytes(video.read_bytes() + b"\0" * 16)  # the same pictures in another file
    again = build_dataset(three, out, SMALL)
    after = stamps(out)
    assert after[kept] == before[kept]
    assert after[damaged] != before[damaged]
    assert after[replaced] != before[replaced]
    shards = {entry["shard"]: entry["shard_sha256"] for entry in first["videos"]}
    assert {entry["shard"]: entry["shard_sha256"] for entry in again["videos"]} == shards

    other = build_dataset(three, out, SMALL.model_copy(update={"jpeg_quality": 80}))
    assert all(stamps(out)[name] != after[name] for name in after)
    assert other["config_sha256"] != first["config_sha256"]


def test_what_the_manifest_says_anew_is_taken_without_doing_the_video_again(three, tmp_path):
    """So that giving two subjects one group, as a refused training asks for, has its effect."""
    out, table = tmp_path / "dataset", three / "manifest.csv"
    videos = [path.relative_to(three) for path in sorted(three.glob("*/*/video.mp4"))]
    rows = [f"{path},{path.parent.name},{path.parent.parent.name}" for path in videos]
    table.write_text("\n".join(["video,subject,label", *rows]))
    build_dataset(three, out, SMALL)
    before = stamps(out)
    text = [f"{row},twins,test,13,{number}" for number, row in enumerate(rows)]
    table.write_text("\n".join(["video,subject,label,group,split,age_weeks,bed", *text]))
    build_dataset(three, out, SMALL)
    assert stamps(out) == before
    for number, entry in enumerate(read_index(out)["videos"]):
        assert (entry["group"], entry["split"], entry["age_weeks"]) == ("twins", "test", 13)
        assert entry["other"] == {"bed": str(number)}


def test_a_removed_video_leaves_the_data_set(three, tmp_path):
    out = tmp_path / "dataset"
    build_dataset(three, out, SMALL)
    shutil.rmtree(three / "PR")
    index = build_dataset(three, out, SMALL)
    assert [entry["label"] for entry in index["videos"]] == ["FMs", "WMs"]
    assert len(stamps(out)) == 2
    # The class of the removed video is gone, so the labels' numbers moved and the shards with them.
    assert index["classes"] == ["FMs", "WMs"]
    spec = ClipSpec.model_validate(index["clip"])
    labels = {next(read_shard(out / "shards" / name, spec))[1].label for name in stamps(out)}
    assert labels == {0, 1}


def test_bad_videos_are_listed_with_their_reason_and_the_others_go_on(three, tmp_path):
    bad = three / "PR" / "nobody"
    write_video(bad / "grey.mp4", numbered_frames(90))
    write_video(bad / "short.mp4", numbered_frames(20))
    cut = write_video(bad / "cut.mp4", numbered_frames(90))  # its index stands at the end
    cut.write_bytes(cut.read_bytes()[:-2000])
    (bad / "text.mp4").write_text("no video")
    index = build_dataset(three, tmp_path / "dataset", SMALL, workers=2)
    reasons = {entry["video"]: entry["left_out"] for entry in index["videos"] if entry["left_out"]}
    assert set(reasons) == {"grey.mp4", "short.mp4", "cut.mp4", "text.mp4"}
    assert "must show a person" in reasons["grey.mp4"]
    assert "at least one clip of 2 s" in reasons["short.mp4"]
    assert "complete file that FFmpeg can open" in reasons["cut.mp4"]
    assert "complete file that FFmpeg can open" in reasons["text.mp4"]
    assert len(stamps(tmp_path / "dataset")) == 3


def test_a_video_that_breaks_a_stage_is_listed_and_tried_again(three, tmp_path, monkeypatch):
    from pipelines import process
    from pipelines.build import process_video
    from pipelines.manifest import read_sources

    def broken(*arguments, **options):
        raise ValueError("no such stage")

    (tmp_path / "dataset" / "shards").mkdir(parents=True)
    source = read_sources(three)[0]
    with monkeypatch.context() as context:
        context.setattr(process, "video_clips", broken)
        entry = process_video(source, ["FMs"], tmp_path / "dataset", SMALL)
    assert entry["left_out"] == "failed unexpectedly: ValueError: no such stage"
    assert entry["shard"] is None
    assert stamps(tmp_path / "dataset") == {}


def test_nothing_usable_is_refused_and_listed(tmp_path):
    write_video(tmp_path / "videos" / "FMs" / "anna" / "v.mp4", numbered_frames(90))
    with pytest.raises(
        RefusedError, match=r"at least one video must be usable. Received: 1 videos, all left out"
    ):
        build_dataset(tmp_path / "videos", tmp_path / "dataset", SMALL)
    assert read_index(tmp_path / "dataset")["videos"][0]["left_out"]
    assert stamps(tmp_path / "dataset") == {}


def test_a_folder_with_other_things_is_not_touched(three, tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(RefusedError, match=r"new folder or a data set.*holds other files"):
        build_dataset(three, tmp_path, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.docx", "videos"]


def test_an_output_that_cannot_be_written_is_refused(three, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match=r"--out must be (writable|a new folder)"):
        build_dataset(three, tmp_path / "file", SMALL)
    with pytest.raises(RefusedError, match=r"--out must be writable"):
        build_dataset(three, tmp_path / "file" / "below", SMALL)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_full_disk_stops_the_build_and_keeps_the_index(three, tmp_path, monkeypatch):
    from pipelines import records

    (tmp_path / "a.tfrecord.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"a\.tfrecord"):
        records.write_shard(tmp_path / "a.tfrecord", [b"x" * 200_000])
    assert not (tmp_path / "a.tfrecord").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"folder with dataset.json"),
        ("{", r"dataset.json must be valid JSON"),
        (json.dumps({"format_version": 99}), r"format version 2. Received: 99"),
        (json.dumps([]), r"format version 2. Received: None"),
    ],
)
def test_what_is_no_data_set_of_this_version_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(RefusedError, match=message):
        read_index(tmp_path)
