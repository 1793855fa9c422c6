"""Data sets that hold less than all: what can be trained on them, shown of them, and what is refused."""

import json

import numpy as np
import pytest

from pipelines.build import build_dataset, read_index
from pipelines.config import BuildConfig, parse_settings
from pipelines.record_writer import FEATURES_OF, Identity, encode_clip, write_shard
from pipelines.records import read_shard
from pipelines.schema import MODALITIES, RefusedError
from pipelines.verify import verify_dataset
from tests.conftest import TINY, random_clip
from tests.faults import CHEAP, cheap_tools, write_sources
from tests.in_process import train
from tests.tfgma.test_configs_take_records import SPEC
from tfgma.config import StudyConfig
from tfgma.inspection import write_contact_sheet
from tfgma.pictures import clip_strip
from tfgma.runs import read_run

WHO = Identity(0, "a", "s", "v")
SUBSETS = [["rgb"], ["flow"], ["pose"], ["rgb", "flow"], ["rgb", "pose"], ["flow", "pose"]]


def keys(raw):
    import tensorflow as tf

    return set(tf.train.Example.FromString(raw).features.feature)


@pytest.mark.parametrize("modalities", SUBSETS, ids=" ".join)
def test_records_hold_the_modalities_and_no_other(tmp_path, modalities):
    clip = random_clip()
    raw = encode_clip(clip, WHO, modalities=modalities)
    of_any = {name for names in FEATURES_OF.values() for name in names}
    assert keys(raw) & of_any == {name for one in modalities for name in FEATURES_OF[one]}
    assert keys(encode_clip(clip, WHO)) - keys(raw) == of_any - keys(raw)
    write_shard(tmp_path / "a.tfrecord", [raw])
    ((got, _),) = read_shard(tmp_path / "a.tfrecord", TINY, modalities)
    assert [name for name in MODALITIES if len(getattr(got, name))] == modalities
    assert len(got.joint_features) == (len(clip.joint_features) if "pose" in modalities else 0)
    np.testing.assert_array_equal(got.mask_area, clip.mask_area)
    assert got.quality == clip.quality
    rows = len(modalities) if modalities != ["pose"] else 1
    side = TINY.size if modalities != ["pose"] else 128
    strip = clip_strip(got, TINY.max_flow_px)
    assert strip.shape == (rows * side, 5 * side, 3)
    assert strip.any()


def test_joints_are_drawn_on_black_where_there_are_no_frames():
    import dataclasses

    clip = random_clip()
    bare = dataclasses.replace(clip, rgb=clip.rgb[:0])
    skeletons = clip_strip(bare, TINY.max_flow_px)[: TINY.size]
    assert 0.002 < skeletons.any(axis=2).mean() < 0.5


@pytest.mark.parametrize("bad", [[], ["flow", "flow"], ["depth"]])
def test_modalities_are_some_of_three_each_once(bad):
    with pytest.raises(RefusedError, match=r"modalities"):
        parse_settings({"modalities": bad}, BuildConfig, "test")
    assert BuildConfig(modalities=["pose", "rgb"]).modalities == ["rgb", "pose"]


def test_joints_alone_cannot_give_flow():
    with pytest.raises(RefusedError, match=r"must name pose .* Received: rgb, flow"):
        BuildConfig(modalities=["flow", "rgb"]).that_decide(pictures=False)
    assert BuildConfig().that_decide(pictures=False).modalities == ["pose"]


def test_shards_of_no_frames_do_not_depend_on_their_jpeg_quality():
    for modalities, same in ((["flow", "pose"], True), (["rgb", "flow", "pose"], False)):
        one, other = (BuildConfig(modalities=modalities, jpeg_quality=quality) for quality in (80, 95))
        assert (one.that_decide(pictures=True) == other.that_decide(pictures=True)) is same


def test_a_data_set_of_flow_and_joints_has_no_pixel(tmp_path):
    write_sources(tmp_path / "source", 3)
    config = CHEAP.model_copy(update={"modalities": ["flow", "pose"]})
    index = build_dataset(tmp_path / "source", tmp_path / "out", config, make_tools=cheap_tools)
    assert index["modalities"] == ["flow", "pose"]
    assert all(entry["clips"] for entry in index["videos"])
    import tensorflow as tf

    for entry in index["videos"]:
        path = tmp_path / "out" / "shards" / entry["shard"]
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            assert "rgb" not in keys(raw)
            assert b"JFIF" not in raw
    assert not verify_dataset(tmp_path / "out", index).problems
    sheet = write_contact_sheet(tmp_path / "out", index, tmp_path / "sheet.png")
    assert sheet.stat().st_size > 1000
    features = json.loads((tmp_path / "out" / "features.json").read_text())["featuresDict"]["features"]
    assert {"flow", "pose"} <= set(features)
    assert "rgb" not in features
    # Frames that dataset.json does not list are told.
    problems = verify_dataset(tmp_path / "out", index | {"modalities": ["pose"]}).problems
    assert {one.problem.split(" ", 2)[2] for one in problems} == {
        "holds flow, which is not among the modalities in dataset.json"
    }


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A de-identified data set of noise without frames: two classes, three subjects each."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "shards").mkdir()
    videos = []
    config = BuildConfig(clip=SPEC, modalities=["flow", "pose"], deidentify=True)
    for number in range(6):
        label, subject = "ab"[number % 2], f"s{number}"
        shard = folder / "shards" / f"{subject}.tfrecord"
        who = Identity(number % 2, label, subject, subject)
        write_shard(shard, [encode_clip(random_clip(number, SPEC), who, modalities=config.modalities)])
        entry = {"id": subject, "subject": subject, "label": label, "group": subject, "clips": 1}
        entry |= {"shard": shard.name, "split": None, "sha256": subject, "fingerprint": ""}
        videos.append(entry)
    index = {"format_version": 3, "classes": ["a", "b"], "modalities": config.modalities, "folds": []}
    (folder / "dataset.json").write_text(
        json.dumps(index | {"config": config.model_dump(), "videos": videos})
    )
    return folder


def study(model, **inputs):
    """A config that says nothing of modalities and faces: the data set does."""
    return StudyConfig.model_validate(
        {
            "build": {"clip": SPEC.model_dump()},
            "split": {"folds": 3, "val_share": 0.5},
            "inputs": inputs,
            "model": model,
            "train": {"epochs": 1, "batch_size": 2, "warmup_epochs": 0},
        }
    )


TEMPORAL = {"family": "two_stream", "streams": "flow", "flow_backbone": "resnet10", "flow_width": 8}
STAM = {"family": "stam", "features": 8}


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(TEMPORAL, id="temporal stream"),
        pytest.param(STAM, id="stam", marks=pytest.mark.thorough),
    ],
)
def test_networks_train_from_what_is_there(records, tmp_path, model):
    run = train(study(model, pose_frames=10), records, tmp_path / "run", folds=[0])
    assert run["trained_folds"] == [0]
    build = read_run(tmp_path / "run")["config"]["build"]
    # So that a bundle prepares videos as these records were made.
    assert (build["deidentify"], build["modalities"]) == (True, ["flow", "pose"])


@pytest.mark.parametrize(
    "model",
    [
        {"family": "two_stream"},
        {"family": "two_stream", "streams": "image"},
        {"family": "image"},
        {"family": "cnn_lstm"},
        {"family": "slowfast"},
        {"family": "two_stream_3d"},
    ],
    ids=lambda model: " ".join(model.values()),
)
def test_networks_that_need_frames_are_refused_before_anything_is_written(records, tmp_path, model):
    with pytest.raises(RefusedError, match=r"holds the modality rgb. Received: .*flow and pose only"):
        train(study(model), records, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_all_that_is_missing_is_named(records, tmp_path):
    index = read_index(records) | {"modalities": ["pose"]}
    index["config"]["modalities"] = ["pose"]
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    with pytest.raises(RefusedError, match=r"holds the modality rgb and flow. Received: .* pose only"):
        train(study({"family": "two_stream"}), tmp_path, tmp_path / "run")
