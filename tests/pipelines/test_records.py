import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipelines.record_writer import Identity, encode_clip, encode_flow, write_shard
from pipelines.records import decode_flow, read_shard
from pipelines.schema import ClipSpec, RefusedError
from tests.conftest import TINY, random_clip

WHO = Identity(label=1, class_name="FMs", subject="infant_é", video="v1")


def test_flow_survives_its_png_exactly():
    flow = random_clip().flow[0]
    np.testing.assert_array_equal(decode_flow(encode_flow(flow)), flow)


def test_records_are_tensorflows_to_the_byte(tmp_path):
    clips = [encode_clip(random_clip(seed), WHO) for seed in range(3)]
    for clip in clips:
        example = tf.train.Example.FromString(clip)
        assert example.SerializeToString(deterministic=True) == clip
        assert example.features.feature["subject"].bytes_list.value == ["infant_é".encode()]
        assert example.features.feature["label"].int64_list.value == [1]
    clips.append(b"")
    write_shard(tmp_path / "ours.tfrecord", clips)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs.tfrecord")) as writer:
        for clip in clips:
            writer.write(clip)
    assert (tmp_path / "ours.tfrecord").read_bytes() == (tmp_path / "theirs.tfrecord").read_bytes()


def test_x_is_left_of_y_in_the_png():
    import cv2

    flow = np.zeros((64, 64, 2), np.uint8)
    flow[..., 0] = 10
    picture = cv2.imdecode(np.frombuffer(encode_flow(flow), np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (64, 128)
    assert (picture[:, :64] == 10).all()
    assert (picture[:, 64:] == 0).all()


def test_a_clip_survives_writing_and_reading(tmp_path):
    clips = [random_clip(seed) for seed in range(3)]
    # JPEG keeps smooth pictures, so let the frames be smooth.
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 3, clips[0].rgb.shape)
    clips = [dataclasses.replace(clip, rgb=ramp) for clip in clips]
    assert write_shard(tmp_path / "a.tfrecord", [encode_clip(clip, WHO) for clip in clips]) == 3
    found = list(read_shard(tmp_path / "a.tfrecord", TINY))
    assert [who for _, who in found] == [WHO] * 3
    for (got, _), clip in zip(found, clips, strict=True):
        np.testing.assert_array_equal(got.flow, clip.flow)
        np.testing.assert_array_equal(got.pose, clip.pose)
        np.testing.assert_array_equal(got.mask_area, clip.mask_area)
        assert np.abs(got.rgb.astype(int) - clip.rgb).max() <= 4
        assert (got.start_seconds, got.fps, got.quality) == (1.25, 6, 0.875)


def test_colours_keep_their_order(tmp_path):
    clip = random_clip()
    red = np.zeros_like(clip.rgb)
    red[..., 0] = 200
    write_shard(tmp_path / "a.tfrecord", [encode_clip(dataclasses.replace(clip, rgb=red), WHO)])
    ((got, _),) = read_shard(tmp_path / "a.tfrecord", TINY)
    assert got.rgb[..., 0].mean() > 190
    assert got.rgb[..., 2].mean() < 10


def test_a_failure_in_the_middle_leaves_no_shard(tmp_path):
    def examples():
        yield encode_clip(random_clip(), WHO)
        raise RefusedError("the video broke")

    with pytest.raises(RefusedError, match="the video broke"):
        write_shard(tmp_path / "a.tfrecord", examples())
    assert list(tmp_path.iterdir()) == []


def test_no_example_no_shard(tmp_path):
    assert write_shard(tmp_path / "a.tfrecord", []) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    path = tmp_path / "a.tfrecord"
    write_shard(path, [encode_clip(random_clip(), WHO)])
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 255
    else:
        content = content[:-10]
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=r"a shard must be whole.*Received: a.tfrecord"):
        list(read_shard(path, TINY))


def test_a_shard_of_another_clip_spec_is_refused(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_shard(path, [encode_clip(random_clip(), WHO)])
    with pytest.raises(RefusedError, match=r"of this data set's ClipSpec"):
        list(read_shard(path, ClipSpec(fps=6, clip_seconds=2, size=64)))
