"""tensorflow_datasets loads what is built, with none of our code, and finds in it what we find."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from pipelines.build import build_dataset, read_index
from pipelines.interchange import FILES, INFO_FILE, write_metadata
from pipelines.records import read_shard
from pipelines.schema import FEATURE_JOINTS, JOINT_FEATURES, JOINTS, ClipSpec, RefusedError
from tests.conftest import TINY
from tests.pipelines.test_sequences import CONFIG as JOINTS_ALONE
from tests.pipelines.test_sequences import walk, write_deeplabcut


def load(dataset):
    return tfds.builder_from_directory(str(dataset))


def examples(builder, split, decoders=None):
    return list(tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders)))


def metadata(dataset):
    return {name: (dataset / name).read_bytes() for name in FILES}


def assert_same(example, clip, who, entry):
    """Every feature but `rgb` and `flow`."""
    texts = {"class": who.class_name, "subject": who.subject, "video": who.video}
    assert {name: example[name].decode() for name in texts} == texts
    assert (who.subject, who.class_name, who.video) == (entry["subject"], entry["label"], entry["id"])
    assert (example["label"], example["label"].dtype) == (who.label, np.int64)
    for name in ("start_seconds", "fps", "pose", "joint_features", "mask_area", "quality"):
        stored = np.asarray(getattr(clip, name), np.float32)
        assert (example[name].dtype, example[name].shape) == (np.float32, stored.shape)
        np.testing.assert_array_equal(example[name], stored)


def test_every_feature_of_every_example_is_what_our_own_reader_finds(dataset):
    index = read_index(dataset)
    spec = ClipSpec.model_validate(index["clip"])
    builder = load(dataset)
    assert builder.info.features["label"].names == ["FMs", "PR", "WMs"]
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        entry["id"]: entry["clips"] for entry in index["videos"]
    }
    names = {"class", "subject", "video", "label", "start_seconds", "fps", "quality", "mask_area"}
    names |= {"pose", "joint_features", "rgb", "flow"}
    for entry in index["videos"]:
        found = examples(builder, entry["id"])
        stored = examples(builder, entry["id"], {"rgb": tfds.decode.SkipDecoding()})
        ours = list(read_shard(dataset / "shards" / entry["shard"], spec))
        for example, still, (clip, who) in zip(found, stored, ours, strict=True):
            assert set(example) == names
            assert_same(example, clip, who, entry)
            assert (example["rgb"].dtype, example["rgb"].shape) == (np.uint8, clip.rgb.shape)
            # TensorFlow decodes JPEG by its fast method, which rounds more than ours.
            for picture, jpeg, wanted in zip(example["rgb"], still["rgb"], clip.rgb, strict=True):
                np.testing.assert_array_equal(picture, tf.io.decode_jpeg(jpeg, dct_method="INTEGER_FAST"))
                exact = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE")
                np.testing.assert_array_equal(exact, wanted)
            both = np.concatenate([clip.flow[..., 0], clip.flow[..., 1]], axis=2)[..., np.newaxis]
            np.testing.assert_array_equal(example["flow"], both)
    whole = examples(builder, "all")
    assert sorted((one["video"].decode(), float(one["start_seconds"])) for one in whole) == sorted(
        (entry["id"], clip.start_seconds)
        for entry in index["videos"]
        for clip, _ in read_shard(dataset / "shards" / entry["shard"], spec)
    )


def test_splits_added_by_name_keep_subjects_apart(dataset):
    chosen = read_index(dataset)["videos"][1:3]
    found = examples(load(dataset), "+".join(entry["id"] for entry in chosen))
    assert {one["subject"].decode() for one in found} == {entry["subject"] for entry in chosen}
    assert len(found) == 8


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    """The source and the data set of three sequences of joints, one of them too short."""
    root = tmp_path_factory.mktemp("joints")
    write_deeplabcut(root / "source" / "FMs" / "anna" / "v.csv", walk(seed=1))
    write_deeplabcut(root / "source" / "WMs" / "ben" / "v.csv", walk(seed=2))
    write_deeplabcut(root / "source" / "WMs" / "eve" / "v.csv", walk(0.2))
    build_dataset(root / "source", root / "dataset", JOINTS_ALONE)
    return root


def test_joints_alone_have_neither_frames_nor_flow(joints):
    dataset = joints / "dataset"
    index = read_index(dataset)
    builder = load(dataset)
    assert list(builder.info.splits) == ["FMs__anna__v", "WMs__ben__v"]
    for entry in index["videos"][:2]:
        ours = read_shard(dataset / "shards" / entry["shard"], JOINTS_ALONE.clip, modalities=["pose"])
        for example, (clip, who) in zip(examples(builder, entry["id"]), ours, strict=True):
            assert not {"rgb", "flow"} & set(example)
            assert_same(example, clip, who, entry)
    assert len(examples(builder, "all")) == 6


@pytest.mark.parametrize("modalities", [["rgb", "flow", "pose"], ["pose"], ["flow", "pose"], ["rgb", "flow"]])
def test_the_files_are_what_tensorflow_datasets_writes(tmp_path, modalities):
    frames, size = TINY.num_frames, TINY.size
    features = tfds.features
    wanted = {
        "label": features.ClassLabel(names=["FMs", "WMs"]),
        "class": features.Text(),
        "subject": features.Text(),
        "video": features.Text(),
        "start_seconds": np.float32,
        "fps": np.float32,
        "quality": np.float32,
        "mask_area": features.Tensor(shape=(frames,), dtype=np.float32),
    }
    if "pose" in modalities:
        wanted["pose"] = features.Tensor(shape=(frames, len(JOINTS), 3), dtype=np.float32)
        shape = (frames, len(FEATURE_JOINTS), len(JOINT_FEATURES))
        wanted["joint_features"] = features.Tensor(shape=shape, dtype=np.float32)
    if "rgb" in modalities:
        rgb = features.Image(shape=(size, size, 3), encoding_format="jpeg")
        wanted["rgb"] = features.Sequence(rgb, length=frames)
    if "flow" in modalities:
        flow = features.Image(shape=(size, 2 * size, 1), encoding_format="png")
        wanted["flow"] = features.Sequence(flow, length=frames - 1)
    (tmp_path / "theirs").mkdir()
    features.FeaturesDict(wanted).save_config(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    index = {"classes": ["FMs", "WMs"], "modalities": modalities, "clip": TINY.model_dump()}
    videos = [{"id": "Zoë", "shard": "Zoë.tfrecord", "clips": 2}, {"id": "b", "shard": None, "clips": 0}]
    write_metadata(tmp_path / "ours", {**index, "videos": videos})
    for name in ("features.json", "label.labels.txt"):
        ours, theirs = ((tmp_path / side / name).read_text() for side in ("ours", "theirs"))
        assert (json.loads(ours) == json.loads(theirs)) if name.endswith(".json") else ours == theirs

    builder = load(tmp_path / "ours")
    theirs = json.loads(json_format.MessageToJson(builder.info.as_proto))
    added = {"moduleName": "tensorflow_datasets.core.read_only_builder", "redistributionInfo": {}}
    assert theirs == json.loads((tmp_path / "ours" / INFO_FILE).read_text()) | added
    (path,) = builder.info.splits["Zoë"].filepaths
    assert str(path) == str(tmp_path / "ours" / "shards" / "Zoë.tfrecord")


def test_names_that_tensorflow_datasets_would_misread(tmp_path):
    index = {"classes": ["no\nASD", "not ASD"], "modalities": ["pose"], "clip": TINY.model_dump()}
    video = {"id": "all", "shard": "all.tfrecord", "clips": 3}
    write_metadata(tmp_path, {**index, "videos": [video, {**video, "id": "b"}]})
    builder = load(tmp_path)
    assert builder.info.features["label"].names == ["no ASD", "not ASD"]
    assert len(builder.as_dataset(split="all")) == 6
    assert len(builder.as_dataset(split="all_")) == 3


def test_all_of_two_thousand_videos(tmp_path):
    index = {"classes": ["a"], "modalities": ["pose"], "clip": TINY.model_dump()}
    videos = [{"id": f"v{number}", "shard": "v.tfrecord", "clips": 2} for number in range(2000)]
    write_metadata(tmp_path, {**index, "videos": videos})
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(10_000)  # as the README says
        assert len(load(tmp_path).as_dataset(split="all")) == 4000
    finally:
        sys.setrecursionlimit(limit)


def test_metadata_come_back_to_the_bit_and_are_gone_while_a_build_is_unfinished(joints, tmp_path):
    source, out = tmp_path / "source", tmp_path / "dataset"
    write_deeplabcut(source / "WMs" / "ben" / "v.csv", walk(seed=2))
    build_dataset(source, out, JOINTS_ALONE)
    assert list(load(out).info.splits) == ["WMs__ben__v"]

    write_deeplabcut(source / "FMs" / "anna" / "v.csv", walk(seed=1))
    write_deeplabcut(source / "WMs" / "eve" / "v.csv", walk(0.2))

    def stop(done, total, name):
        if name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(source, out, JOINTS_ALONE, progress=stop)
    with pytest.raises(OSError, match="Could not read dataset info"):
        load(out)
    build_dataset(source, out, JOINTS_ALONE)
    assert metadata(out) == metadata(joints / "dataset")

    for old in source.glob("*/*/v.csv"):
        old.unlink()
    write_deeplabcut(source / "WMs" / "eve" / "v.csv", walk(0.2))
    with pytest.raises(RefusedError, match="at least one video must be usable"):
        build_dataset(source, out, JOINTS_ALONE)
    assert not (out / INFO_FILE).exists()
