import contextlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipelines import build
from pipelines.build import INDEX, BuildReport, build_dataset, file_digest, read_index, write_index
from pipelines.config import BuildConfig, parse_settings
from pipelines.records import read_shard
from pipelines.schema import FORMAT_VERSION, ClipSpec, RefusedError
from pipelines.workers import LocalCrew
from tests.conftest import numbered_frames, write_video
from tests.faults import CHEAP, cheap_tools, tools_that_cannot_be_had, write_sources
from tests.pipelines.test_sequences import CONFIG as JOINTS_ALONE
from tests.pipelines.test_sequences import walk, write_deeplabcut

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
    from pipelines import record_writer

    monkeypatch.setattr(record_writer.secrets, "token_hex", lambda count: "0")
    (tmp_path / "a.tfrecord.0.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"a\.tfrecord"):
        record_writer.write_shard(tmp_path / "a.tfrecord", [b"x" * 200_000])
    assert not (tmp_path / "a.tfrecord").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"folder with dataset.json"),
        ("{", r"dataset.json must be valid JSON"),
        (json.dumps({"format_version": 99}), r"format version 3. Received: 99"),
        (json.dumps([]), r"format version 3. Received: None"),
    ],
)
def test_what_is_no_data_set_of_this_version_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(RefusedError, match=message):
        read_index(tmp_path)


def test_a_dataset_json_that_was_cut_off_is_refused_and_the_remedy_helps(tmp_path):
    source, out = tmp_path / "source", tmp_path / "dataset"
    write_deeplabcut(source / "FMs" / "anna" / "v.csv", walk())
    first = build_dataset(source, out, JOINTS_ALONE)
    (out / "contact_sheet.png").touch()
    content = (out / "dataset.json").read_bytes()
    (out / "dataset.json").write_bytes(content[: len(content) // 2])
    message = r"dataset.json must be valid JSON. Received: .* in '.*dataset'. Delete dataset.json and build"
    with pytest.raises(RefusedError, match=message):
        read_index(out)
    with pytest.raises(RefusedError, match=message):
        build_dataset(source, out, JOINTS_ALONE)
    (out / "dataset.json").unlink()
    assert build_dataset(source, out, JOINTS_ALONE) == first


class CrewHere(LocalCrew):
    """A thread of this process: no worker to wait for."""

    @contextlib.contextmanager
    def executor(self):
        with ThreadPoolExecutor(1) as executor:
            yield executor


@pytest.fixture
def cheap(tmp_path, monkeypatch):
    """Three cheap videos in a manifest; `build(rows, config)` builds them and gives the report."""
    monkeypatch.setattr(build, "LocalCrew", CrewHere)
    write_sources(tmp_path / "videos", 3, seconds=2)
    rows = {
        number: [f"{label}/subject_00{number}/v.mp4", f"s{number}", label, f"g{number}"]
        for number, label in enumerate(("FMs", "PR", "WMs"))
    }

    def run(rows=rows, config=CHEAP, **options):
        lines = [",".join(row) for row in [["video", "subject", "label", "group"], *rows.values()]]
        (tmp_path / "videos" / "list.csv").write_text("\n".join(lines))
        report = BuildReport()
        source, out = tmp_path / "videos" / "list.csv", tmp_path / "dataset"
        index = build_dataset(source, out, config, **{"make_tools": cheap_tools, "report": report} | options)
        return report, index

    run.rows = rows
    return run


def ids(rows):
    return [row[0].removesuffix(".mp4").replace("/", "__") for row in rows.values()]


def test_the_report_says_what_was_made_kept_redone_and_why_and_removed(cheap, tmp_path):
    first, second, third = ids(cheap.rows)
    report, _ = cheap()
    assert (report.made, report.kept, report.redone, report.removed) == ([first, second, third], [], {}, [])
    report, _ = cheap()
    assert (report.made, report.kept, report.redone) == ([], [first, second, third], {})

    changed = {0: cheap.rows[0], 1: [*cheap.rows[1][:2], "WMs", "g1"], 2: cheap.rows[2]}
    report, index = cheap(changed)
    # PR is gone, so WMs has another number.
    assert report.redone == {second: "its label changed", third: "the number of its class changed"}
    assert report.kept == [first]
    assert index["classes"] == ["FMs", "WMs"]

    del changed[2]
    changed[0] = [*changed[0][:3], "siblings"]
    report, index = cheap(changed)
    assert (report.kept, report.redone, report.removed) == ([first, second], {}, [third])
    assert [entry["group"] for entry in index["videos"]] == ["siblings", "g1"]  # said by the manifest alone
    assert read_index(tmp_path / "dataset") == index
    assert set(stamps(tmp_path / "dataset")) == {f"{first}.tfrecord", f"{second}.tfrecord"}

    (tmp_path / "dataset" / "shards" / f"{first}.tfrecord").unlink()
    with (tmp_path / "videos" / changed[1][0]).open("ab") as file:
        file.write(b"x")
    report, _ = cheap(changed)
    assert report.redone == {first: "its shard was damaged or lost", second: "its file changed"}


def test_a_video_moved_to_another_class_is_known_again(cheap, tmp_path):
    root = tmp_path / "videos"
    build_dataset(root, tmp_path / "dataset", CHEAP, make_tools=cheap_tools)
    (root / "WMs" / "subject_000").mkdir()
    (root / "FMs" / "subject_000" / "v.mp4").rename(root / "WMs" / "subject_000" / "v.mp4")
    report = BuildReport()
    build_dataset(root, tmp_path / "dataset", CHEAP, make_tools=cheap_tools, report=report)
    moved, old = "WMs__subject_000__v", "FMs__subject_000__v"
    assert report.redone[moved] == f"it was {old} before, with label FMs"
    assert report.removed == [old]


def test_settings_that_no_shard_depends_on_redo_nothing_and_others_do(cheap):
    cheap()
    idle = {
        "flow": {"num_updates": 3},
        "segmentation": {"size": 64},
        "pose": {"long_side_px": 64},
        "keypoints": {"fps": 5},
    }
    report, index = cheap(config=parse_settings(CHEAP.model_dump() | idle, BuildConfig, "test"))
    assert len(report.kept) == 3
    assert index["config"]["flow"]["num_updates"] == 3  # said as it was given
    for deciding in (
        {"flow": {"method": "dis"}},
        {"keypoints": {"min_score": 0.2}},
        {"jpeg_quality": 80},
        {"quality": {"min_body_share": 0.5}},
    ):
        report, _ = cheap(config=parse_settings(CHEAP.model_dump() | deciding, BuildConfig, "test"))
        assert set(report.redone.values()) == {"settings that it depends on changed"}
        assert len(report.redone) == 3


def test_settings_of_the_method_in_use_decide():
    weights = {"weights": "w.npz"}

    def decide(pictures=True, **sections):
        return parse_settings(sections, BuildConfig, "test").that_decide(pictures=pictures)

    standard = decide()
    raft = {"method": "raft_small", **weights}
    assert decide(flow=raft | {"num_updates": 3}) != decide(flow=raft)
    openpose = {"method": "openpose", **weights}
    assert decide(pose=openpose | {"long_side_px": 64}) != decide(pose=openpose)
    # MediaPipe still gives the mask.
    assert decide(pose=openpose | {"min_score": 0.1}) != decide(pose=openpose)
    u2net = {"method": "u2net", **weights}
    assert decide(segmentation=u2net | {"size": 64}) != decide(segmentation=u2net)
    both = {"pose": openpose, "segmentation": u2net}
    assert decide(**both | {"pose": openpose | {"min_score": 0.1}}) == decide(**both)
    for section in ("flow", "segmentation", "pose"):
        assert decide(**{section: weights}) == standard
    for joints in ({"keypoints": {"fps": 5}}, {"quality": {"min_body_share": 0.1}}, {"clip": {"fps": 5}}):
        assert decide(pictures=False, **joints) != decide(pictures=False)
    for of_videos in ({"flow": {"method": "dis"}}, {"jpeg_quality": 80}, {"align_body": False}):
        assert decide(pictures=False, **of_videos) == decide(pictures=False)
        assert decide(**of_videos) != standard


def test_weights_count_by_their_content(tmp_path):
    def digest(path):
        flow = {"method": "raft_small", "weights": str(path)}
        return build._settings_digest(parse_settings({"flow": flow}, BuildConfig, "test"))

    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    first = digest(tmp_path / "a")
    assert digest(tmp_path / "b") == first
    (tmp_path / "a").write_bytes(b"2")
    assert digest(tmp_path / "a") != first
    assert digest(tmp_path / "none") != digest(tmp_path / "nothing")


def test_whoever_chose_wrong_settings_for_a_moment_can_go_back(cheap, tmp_path):
    _, first = cheap()
    before = stamps(tmp_path / "dataset")

    def stop(done, total, name):
        if name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cheap(config=CHEAP.model_copy(update={"jpeg_quality": 60}), progress=stop)
    assert len(read_index(tmp_path / "dataset")["videos"]) == 1
    report, index = cheap()
    assert len(report.kept) >= 1
    assert set(report.redone.values()) <= {
        "settings that it depends on changed",
        "its shard was damaged or lost",
    }
    assert index == first
    after = stamps(tmp_path / "dataset")
    assert all(after[f"{name}.tfrecord"] == before[f"{name}.tfrecord"] for name in report.kept)


def test_what_the_journal_holds_is_finished(cheap, tmp_path):
    _, index = cheap()
    out = tmp_path / "dataset"
    assert not (out / "journal.jsonl").exists()
    before = stamps(out)
    lines = [json.dumps(entry) for entry in index["videos"]]
    (out / "journal.jsonl").write_text("\n" + "\n".join(lines[:2]) + "\n" + lines[2][:-5])
    (out / "dataset.json").unlink()
    report, again = cheap()
    assert len(report.kept) == 2
    assert again == index
    assert sum(stamps(out)[name] != before[name] for name in before) == 1


def test_tools_that_cannot_be_had_are_no_fault_of_the_videos(cheap, tmp_path):
    with pytest.raises(RefusedError, match=r"no tools. Received: none"):
        cheap(make_tools=tools_that_cannot_be_had)
    assert not (tmp_path / "dataset" / "dataset.json").exists()


def test_a_full_disk_is_one_sentence(cheap, tmp_path, monkeypatch):
    (tmp_path / "dataset" / "shards").mkdir(parents=True)
    (tmp_path / "dataset" / "journal.jsonl").symlink_to("/dev/full")
    monkeypatch.setattr(build.Journal, "read", lambda self: [])
    with pytest.raises(
        RefusedError, match=r"writable to its end. Received: .*No space left.*Free some space"
    ):
        cheap()


def test_workers_elsewhere_must_see_the_folders_and_have_the_same_code(cheap, tmp_path):
    from pipelines.manifest import read_sources

    (tmp_path / "dataset" / "shards").mkdir(parents=True)
    mark = tmp_path / "dataset" / "shards" / "mark"
    arguments = [read_sources(tmp_path / "videos")[0], ["FMs"], mark]
    with pytest.raises(
        RefusedError, match=r"each worker must see --out under the same path. Received: .*shards"
    ):
        build._process(*arguments, build.STAGES_VERSION, CHEAP, cheap_tools)
    mark.touch()
    with pytest.raises(RefusedError, match=r"the tfgma that the build has. Received: stages of version"):
        build._process(*arguments, build.STAGES_VERSION + 1, CHEAP, cheap_tools)
    assert build._process(*arguments, build.STAGES_VERSION, CHEAP, cheap_tools)["clips"] == 2


def test_a_video_that_only_the_build_sees_is_refused(cheap, tmp_path):
    def blind(config):
        for path in (tmp_path / "videos").rglob("*.mp4"):
            path.unlink(missing_ok=True)
        return cheap_tools(config)

    with pytest.raises(RefusedError, match=r"each worker must be able to read the videos. Received: v.mp4"):
        cheap(make_tools=blind)


def test_what_a_worker_left_behind_goes_when_the_build_ends(tmp_path):
    """As by Ctrl-C, where a worker that waits for work dies and takes along one that writes."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "whole.tfrecord").touch()

    def interrupted():
        with build._mark(tmp_path) as mark:
            assert mark.exists()
            (tmp_path / "shards" / "begun.tfrecord.0.part").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["whole.tfrecord"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_dataset_json_holds_a_video_a_line(count, tmp_path):
    videos = [{"id": f"s{number}", "other": {"site": "A\n"}} for number in range(count)]
    index = {"format_version": FORMAT_VERSION, "videos": videos, "classes": ["a", "b"]}
    write_index(tmp_path, index)
    assert read_index(tmp_path) == index
    lines = (tmp_path / INDEX).read_text().splitlines()
    assert [json.loads(line.strip(", ")) for line in lines if "other" in line] == videos
