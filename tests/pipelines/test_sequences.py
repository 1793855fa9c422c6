"""From files of joints to records: DeepLabCut, OpenPose, STAM."""

import csv
import json

import numpy as np
import pytest

from pipelines.build import build_dataset, read_index
from pipelines.config import BuildConfig
from pipelines.joint_features import joint_features
from pipelines.manifest import read_folds, read_sources
from pipelines.process import ProcessReport
from pipelines.records import read_shard
from pipelines.schema import FEATURE_JOINTS, JOINTS, ClipSpec, RefusedError
from pipelines.sequences import sequence_clips

CONFIG = BuildConfig(clip=ClipSpec(fps=10, clip_seconds=1, stride_seconds=1, size=64))
FPS = 30


def walk(seconds=4.0, seed=0):
    """(T, 18, 3) joints of someone who waves."""
    rng = np.random.default_rng(seed)
    count = round(seconds * FPS)
    rest = rng.uniform(100, 300, (18, 2))
    phase = np.arange(count)[:, None, None] / FPS * 4 + rng.uniform(0, 6, (1, 18, 2))
    places = rest + 10 * np.sin(phase)
    return np.concatenate([places, np.full((count, 18, 1), 0.9)], axis=-1).astype(np.float32)


def write_deeplabcut(path, joints):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scorer"] + ["net"] * 3 * 18)
        writer.writerow(["bodyparts"] + [name for name in FEATURE_JOINTS for _ in range(3)])
        writer.writerow(["coords"] + ["x", "y", "likelihood"] * 18)
        for number, frame in enumerate(joints):
            writer.writerow([number, *frame.ravel().tolist()])


def write_openpose(folder, joints):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(joints):
        people = [{"pose_keypoints_2d": frame.ravel().tolist()}]
        (folder / f"v_{number:06d}_keypoints.json").write_text(json.dumps({"people": people}))


def write_stam(root, labels, frames=25):
    for infant in labels:
        folder = root / "pose_sequences" / infant
        folder.mkdir(parents=True)
        np.save(folder / "raw_skel.npy", np.random.default_rng(len(infant)).normal(size=(19, frames, 18)))
    lines = "infant_id,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items())
    (root / "labels.txt").write_text(lines)
    names = list(labels)
    (root / "folds" / "random_split").mkdir(parents=True)
    for side, chosen in {"train": names[:2], "val": names[2:3], "test": names[3:]}.items():
        text = "infant_id,label\n" + "".join(f"{name},{labels[name]}\n" for name in chosen)
        (root / "folds" / "random_split" / f"{side}_00.txt").write_text(text)


@pytest.mark.parametrize(("write", "name"), [(write_deeplabcut, "v.csv"), (write_openpose, "v")])
def test_clips_hold_the_joints_of_their_moments_and_their_features(tmp_path, write, name):
    joints = walk()
    write(tmp_path / name, joints)
    report = ProcessReport()
    clips = list(sequence_clips(tmp_path / name, CONFIG, report=report))
    assert [clip.start_seconds for clip in clips] == [0, 1, 2]
    assert (report.clips, report.body_share, report.decode.seconds) == (3, 1, (len(joints) - 1) / FPS)
    features = joint_features(joints[..., :2].astype(np.float64), fps=FPS)
    nose, wrist = JOINTS.index("nose"), JOINTS.index("left_wrist")
    for number, clip in enumerate(clips):
        places = FPS * number + 3 * np.arange(11)  # 30 frames a second, 10 wanted
        np.testing.assert_allclose(clip.joint_features, features[places], atol=1e-4)
        np.testing.assert_allclose(clip.pose[:, nose], joints[places, 0], atol=1e-3)
        other = FEATURE_JOINTS.index("left_wrist")
        np.testing.assert_allclose(clip.pose[:, wrist], joints[places, other], atol=1e-3)
        assert clip.rgb.shape == (0, 64, 64, 3)
        assert clip.quality == 1


def test_a_part_of_a_sequence(tmp_path):
    write_deeplabcut(tmp_path / "v.csv", walk())
    clips = sequence_clips(tmp_path / "v.csv", CONFIG, start_seconds=1.5, end_seconds=2.7)
    assert [clip.start_seconds for clip in clips] == [1.5]


def test_clips_without_a_body_are_left_out(tmp_path):
    joints = walk()
    joints[35:60, :, 2] = 0
    write_openpose(tmp_path / "v", joints)
    report = ProcessReport()
    clips = list(sequence_clips(tmp_path / "v", CONFIG, report=report))
    assert [clip.start_seconds for clip in clips] == [0, 2]
    assert report.clips_left_out == 1


@pytest.mark.parametrize(
    ("joints", "config", "message"),
    [
        (walk(0.5), CONFIG, r"clip of 11 frames at 10 a second.*Received: v.csv with 5 frames"),
        (walk() * [1, 1, 0], CONFIG, r"Received: v.csv with 40 frames and 0% with a body"),
        (
            walk(),
            CONFIG.model_copy(update={"clip": ClipSpec(fps=60, clip_seconds=1, stride_seconds=1, size=64)}),
            r"at least 60 frames a second. Received: v.csv with 30",
        ),
    ],
)
def test_sequences_without_a_clip_are_refused(tmp_path, joints, config, message):
    write_deeplabcut(tmp_path / "v.csv", joints)
    with pytest.raises(RefusedError, match=message):
        list(sequence_clips(tmp_path / "v.csv", config))


def test_a_data_set_of_joints_is_built_completed_and_read(tmp_path):
    source = tmp_path / "source"
    write_deeplabcut(source / "FMs" / "anna" / "v.csv", walk(seed=1))
    write_openpose(source / "WMs" / "ben" / "v", walk(seed=2))
    write_openpose(source / "WMs" / "eve" / "v", walk(0.2))
    index = build_dataset(source, tmp_path / "dataset", CONFIG)
    assert index["modalities"] == ["pose"]
    assert [(e["id"], e["clips"]) for e in index["videos"]] == [
        ("FMs__anna__v", 3),
        ("WMs__ben__v", 3),
        ("WMs__eve__v", 0),
    ]
    shard = tmp_path / "dataset" / "shards" / "WMs__ben__v.tfrecord"
    stored = [clip for clip, _ in read_shard(shard, CONFIG.clip, modalities=["pose"])]
    for clip, wanted in zip(stored, sequence_clips(source / "WMs" / "ben" / "v", CONFIG), strict=True):
        np.testing.assert_allclose(clip.joint_features, wanted.joint_features, rtol=1e-6)
    before = shard.stat().st_mtime_ns
    build_dataset(source, tmp_path / "dataset", CONFIG)
    assert shard.stat().st_mtime_ns == before  # nothing changed
    write_openpose(source / "WMs" / "ben" / "v", walk(seed=3))
    build_dataset(source, tmp_path / "dataset", CONFIG)
    assert shard.stat().st_mtime_ns != before  # a frame's file changed


def test_the_published_layout_brings_features_labels_and_folds(tmp_path):
    labels = {"a": 0, "bb": 1, "ccc": 0, "dddd": 1}
    write_stam(tmp_path / "stam", labels)
    index = build_dataset(tmp_path / "stam", tmp_path / "dataset", CONFIG)
    assert index["classes"] == ["0", "1"]
    assert {e["subject"]: e["label"] for e in index["videos"]} == {k: str(v) for k, v in labels.items()}
    assert index["folds"] == [{"train": ["a", "bb"], "val": ["ccc"], "test": ["dddd"]}]
    assert read_index(tmp_path / "dataset")["folds"] == index["folds"]
    clips = [
        c for c, _ in read_shard(tmp_path / "dataset/shards/bb.tfrecord", CONFIG.clip, modalities=["pose"])
    ]
    raw = np.load(tmp_path / "stam" / "pose_sequences" / "bb" / "raw_skel.npy")
    assert [clip.start_seconds for clip in clips] == [0, 1]
    np.testing.assert_allclose(clips[1].joint_features, raw[:7, 10:21].transpose(1, 2, 0), rtol=1e-6)


def test_joints_beside_videos_are_by_products(tmp_path):
    write_deeplabcut(tmp_path / "FMs" / "anna" / "v.csv", walk(0.2))
    (tmp_path / "FMs" / "anna" / "v.mp4").touch()
    assert [one.path.name for one in read_sources(tmp_path)] == ["v.mp4"]
    (tmp_path / "FMs" / "anna" / "v.mp4").unlink()
    (tmp_path / "FMs" / "anna" / "v.h5").touch()  # DeepLabCut writes both
    assert [one.path.name for one in read_sources(tmp_path)] == ["v.csv"]
    assert read_folds(tmp_path) == []


def test_videos_and_joints_in_one_manifest_are_refused(tmp_path):
    (tmp_path / "list.csv").write_text("video,subject,label\na.mp4,anna,FMs\nb.h5,ben,WMs\n")
    with pytest.raises(RefusedError, match=r"of videos or of sequences of joints. Received: a.mp4 and b.h5"):
        read_sources(tmp_path / "list.csv")
