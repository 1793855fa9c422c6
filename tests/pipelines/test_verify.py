"""Each way in which a data set can be broken, and how it is named and repaired."""

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from pipelines.build import build_dataset, read_index
from pipelines.record_writer import Identity, encode_clip, write_shard
from pipelines.schema import FORMAT_VERSION, Feature
from pipelines.verify import verify_dataset
from tests.conftest import TINY, random_clip
from tfgma.config import load_study


def names(dataset):
    return sorted(path.name for path in (dataset / "shards").iterdir())


def verify(dataset):
    return verify_dataset(dataset, read_index(dataset))


@pytest.fixture
def small(tmp_path):
    """Two shards of two clips of noise."""
    classes = ["FMs", "WMs"]
    (tmp_path / "shards").mkdir()
    videos = []
    for label, name in enumerate(classes):
        shard = tmp_path / "shards" / f"{name}__v.tfrecord"
        who = Identity(label, name, f"infant_{label}", f"{name}__v")
        write_shard(shard, [encode_clip(random_clip(10 * label + one), who) for one in range(2)])
        facts = {"id": f"{name}__v", "subject": f"infant_{label}", "label": name, "clips": 2}
        digest = hashlib.sha256(shard.read_bytes()).hexdigest()
        videos.append({**facts, "shard": shard.name, "shard_sha256": digest})
    index = {"format_version": FORMAT_VERSION, "classes": classes, "clip": TINY.model_dump()}
    index["modalities"] = ["rgb", "flow", "pose"]
    (tmp_path / "dataset.json").write_text(json.dumps({**index, "videos": videos}))
    return tmp_path


def vouch(dataset, **changes):
    """Lets dataset.json vouch for whatever the first shard holds now, and changes its entry."""
    index = json.loads((dataset / "dataset.json").read_text())
    entry = index["videos"][0]
    entry["shard_sha256"] = hashlib.sha256((dataset / "shards" / entry["shard"]).read_bytes()).hexdigest()
    entry.update(changes)
    (dataset / "dataset.json").write_text(json.dumps(index))


def rewrite(dataset, change):
    """Changes the second record of the first shard, with right checksums all the way."""
    path = dataset / "shards" / "FMs__v.tfrecord"
    first, second = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    example = tf.train.Example.FromString(second)
    change(example.features.feature)
    write_shard(path, [first, example.SerializeToString()])
    vouch(dataset)


def test_a_whole_data_set_has_no_problem(dataset, small):
    for one, shards, records in ((dataset, 9, 36), (small, 2, 4)):
        seen = []
        found = verify_dataset(one, read_index(one), progress=lambda *step, seen=seen: seen.append(step))
        assert (found.problems, found.shards, found.records, found.verdict) == ((), shards, records, None)
        assert seen[-1] == (shards, shards, "")


@pytest.mark.parametrize("seed", range(10))
def test_one_flipped_bit_anywhere_is_found_by_hash_and_by_checksum(small, seed):
    path = small / "shards" / "WMs__v.tfrecord"
    content = bytearray(path.read_bytes())
    place = int(np.random.default_rng(seed).integers(len(content)))
    content[place] ^= 1 << (seed % 8)
    path.write_bytes(content)
    found = verify(small)
    assert {one.shard for one in found.problems} == {path.name}
    text = " ".join(one.problem for one in found.problems)
    assert "has SHA-256" in text
    assert "cannot be read beyond record" in text
    # dataset.json that vouches for the damage does not hide it.
    index = read_index(small)
    index["videos"][1]["shard_sha256"] = hashlib.sha256(content).hexdigest()
    assert "cannot be read beyond record" in " ".join(
        one.problem for one in verify_dataset(small, index).problems
    )


@pytest.mark.parametrize(
    ("damage", "problem", "records"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "cannot be read beyond record 1", 3),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "has SHA-256", 4),
        (lambda path: path.write_bytes(b""), "holds 0 readable records, not 2", 2),
        (lambda path: path.unlink(), "is missing", 2),
        (lambda path: path.with_name("x.tfrecord").touch(), "is not named in dataset.json", 4),
        (lambda path: path.with_name("x.tfrecord.part").touch(), "is left over from a build", 4),
        (lambda path: path.with_name("folder").mkdir(), "is not named in dataset.json", 4),
    ],
    ids=["cut", "longer", "empty", "missing", "stranger", "leftover", "folder"],
)
def test_each_damage_is_named(small, damage, problem, records):
    before = set(names(small))
    damage(small / "shards" / "FMs__v.tfrecord")
    found = verify(small)
    (shard,) = {one.shard for one in found.problems}
    assert shard == "FMs__v.tfrecord" or shard not in before
    assert any(one.problem.startswith(problem) for one in found.problems)
    assert found.records == records
    assert "Build the data set again with tfgma build-tfrecords" in found.verdict


def test_shards_that_changed_places_are_both_named(small):
    first, second = sorted((small / "shards").iterdir())
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    found = verify(small)
    assert {one.shard for one in found.problems} == {first.name, second.name}
    text = " ".join(one.problem for one in found.problems if one.shard == first.name)
    for name, got, said in (
        ("label", 1, 0),
        ("class", "'WMs'", "'FMs'"),
        ("subject", "'infant_1'", "'infant_0'"),
        ("video", "'WMs__v'", "'FMs__v'"),
    ):
        assert f"record 2 has {name} {got}, not {said} as in dataset.json" in text


def drop(name):
    return lambda features: features.pop(name)


def put_picture(name, number, content):
    def change(features):
        features[name].bytes_list.value[number] = content(features[name].bytes_list.value[number])

    return change


def shorten(name, kind):
    return lambda features: getattr(features[name], kind).value.pop()


def other_picture(ending, *shape):
    return lambda old: cv2.imencode(ending, np.zeros(shape, np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        *[
            (drop(name), "record 2 is not of this data set's ClipSpec")
            for name in vars(Feature).values()
            if name in ("label", "rgb", "flow", "pose", "joint_features", "mask_area", "quality", "fps")
        ],
        (shorten("pose", "float_list"), "record 2 is not of this data set's ClipSpec"),
        (shorten("rgb", "bytes_list"), "record 2 is not of this data set's ClipSpec"),
        (put_picture("rgb", 3, lambda old: old[:200]), "record 2 has a rgb 3 that does not decode"),
        (
            put_picture("rgb", 6, lambda old: old[: len(old) // 2]),
            "record 2 has a rgb 6 that does not decode",
        ),
        (put_picture("flow", 5, lambda old: old[:-300]), "record 2 has a flow 5 that does not decode"),
        (
            put_picture("rgb", 0, other_picture(".jpg", 64, 32, 3)),
            "record 2 has a rgb 0 of shape (64, 32, 3)",
        ),
        (put_picture("rgb", 0, other_picture(".jpg", 64, 64)), "record 2 has a rgb 0 of shape (64, 64, 1)"),
        (put_picture("flow", 0, other_picture(".png", 64, 64)), "record 2 has a flow 0 of shape (64, 64, 1)"),
    ],
)
def test_a_record_that_dataset_json_vouches_for_is_still_read(small, change, problem):
    rewrite(small, change)
    (found,) = verify(small).problems
    assert (found.shard, found.vouched) == ("FMs__v.tfrecord", True)
    assert found.problem.startswith(problem)


def test_a_wrong_count_is_named_and_the_remedy_deletes_what_a_build_would_keep(small):
    vouch(small, clips=3)
    found = verify(small)
    assert [one.problem for one in found.problems] == ["holds 2 readable records, not 3 as in dataset.json"]
    assert "1 problem in 1 shard" in found.verdict
    assert "Delete FMs__v.tfrecord and build the data set again" in found.verdict


def test_a_rebuild_repairs_the_broken_shards_and_no_other(dataset, infants, tmp_path):
    config = load_study(Path(__file__).parents[1] / "study.yaml").build
    out = tmp_path / "dataset"
    shutil.copytree(dataset, out)
    shards = sorted((out / "shards").iterdir())
    cut, flipped, first, second, deleted, empty = shards[:6]
    cut.write_bytes(cut.read_bytes()[:-50])
    content = bytearray(flipped.read_bytes())
    for place in np.random.default_rng(0).integers(len(content), size=10):
        content[place] ^= 1
    flipped.write_bytes(content)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    deleted.unlink()
    empty.write_bytes(b"")
    (out / "shards" / "stranger.tfrecord").write_bytes(b"x")
    found = verify(out)
    assert {one.shard for one in found.problems} == {
        *(path.name for path in shards[:6]),
        "stranger.tfrecord",
    }
    assert not any(one.vouched for one in found.problems)  # so a build is enough

    def files():
        stats = {path.name: path.stat() for path in (out / "shards").iterdir()}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}

    before = files()
    build_dataset(infants, out, config, workers=2)
    after = files()
    assert set(after) == {path.name for path in shards}
    assert {name for name in after if after[name] != before.get(name)} == {path.name for path in shards[:6]}
    assert verify(out).verdict is None
    assert read_index(out) == read_index(dataset)
    for path in shards:
        assert path.read_bytes() == (dataset / "shards" / path.name).read_bytes()
