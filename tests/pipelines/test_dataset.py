import numpy as np
import pytest

from pipelines.config import InputSettings
from pipelines.dataset import Augmentation, clip_dataset, shard_paths
from pipelines.flow import dequantize_flow
from pipelines.inputs import clip_inputs, input_buffers, input_shape
from pipelines.record_writer import Identity, encode_clip, write_shard
from pipelines.records import read_shard
from pipelines.sampling import Sampling
from pipelines.schema import MIRRORED_FEATURE_JOINTS, RefusedError
from pipelines.transforms import GeometryRange
from tests.conftest import TINY, random_clip


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    paths = []
    for video in range(3):
        examples = [
            encode_clip(random_clip(10 * video + i), Identity(video, f"c{video}", f"s{video}", f"v{video}"))
            for i in range(4)
        ]
        paths.append(folder / f"{video}.tfrecord")
        write_shard(paths[-1], examples)
    return paths


def collect(data):
    return [
        ({k: v.numpy() for k, v in inputs.items()}, {k: v.numpy() for k, v in meta.items()})
        for inputs, meta in data
    ]


def test_a_batch_holds_what_the_record_holds(shards):
    ((inputs, meta), *_) = collect(clip_dataset(shards, TINY, batch_size=2))
    clip, who = next(read_shard(shards[0], TINY))
    assert inputs["image"].shape == (2, 64, 64, 3)
    assert inputs["flow"].shape == (2, 64, 64, 12)
    expected = dequantize_flow(clip.flow, TINY.max_flow_px) / TINY.max_flow_px
    for step in range(6):  # x0, y0, x1, y1, ...
        np.testing.assert_allclose(inputs["flow"][0, ..., 2 * step], expected[step, ..., 0], atol=1e-6)
        np.testing.assert_allclose(inputs["flow"][0, ..., 2 * step + 1], expected[step, ..., 1], atol=1e-6)
    assert np.abs(inputs["image"][0] * 255 - clip.rgb[3]).mean() < 1.5  # two JPEG decoders
    assert meta["subject"][0].decode() == who.subject
    assert meta["start_seconds"][0] == clip.start_seconds


def test_a_shorter_window_is_cut_from_the_middle(shards):
    ((inputs, _), *_) = collect(clip_dataset(shards, TINY, batch_size=1, settings=InputSettings(num_flows=4)))
    clip, _ = next(read_shard(shards[0], TINY))
    expected = dequantize_flow(clip.flow[1:5], TINY.max_flow_px) / TINY.max_flow_px
    np.testing.assert_allclose(inputs["flow"][0, ..., ::2], np.moveaxis(expected[..., 0], 0, -1), atol=1e-6)
    assert np.abs(inputs["image"][0] * 255 - clip.rgb[3]).mean() < 1.5


def test_temporal_jitter_reaches_every_window_and_keeps_flow_with_its_picture(shards):
    clip, _ = next(read_shard(shards[0], TINY))
    data = clip_dataset(
        shards[:1],
        TINY,
        batch_size=1,
        settings=InputSettings(num_flows=4),
        augmentation=Augmentation(temporal_jitter=True),
        cache=True,
        epochs=range(40),
    )
    seen = set()
    for inputs, _ in list(data)[::4]:  # the first clip in each epoch
        errors = [np.abs(inputs["image"][0].numpy() * 255 - frame).mean() for frame in clip.rgb]
        middle = int(np.argmin(errors))
        expected = dequantize_flow(clip.flow[middle - 2], TINY.max_flow_px) / TINY.max_flow_px
        np.testing.assert_allclose(inputs["flow"][0, ..., :2], expected, atol=1e-6)
        seen.add(middle)
    assert seen == {2, 3, 4}


def test_evaluation_keeps_order_and_training_shuffles_by_seed(shards):
    def order(**options):
        return [
            (meta["video"][0], meta["start_seconds"][0], inputs["flow"].sum())
            for inputs, meta in collect(clip_dataset(shards, TINY, batch_size=1, **options))
        ]

    plain = order()
    assert [video for video, _, _ in plain] == [b"v0"] * 4 + [b"v1"] * 4 + [b"v2"] * 4
    assert plain == order()
    shuffled = order(shuffle=True, seed=3)
    assert shuffled != plain
    assert sorted(shuffled) == sorted(plain)
    assert shuffled == order(shuffle=True, seed=3)
    assert shuffled != order(shuffle=True, seed=4)


def test_augmentation_differs_between_epochs_and_spares_evaluation(shards):
    some = Augmentation(flip=True, geometry=GeometryRange(0.1, 0.1, 20), photometry=0.2)
    data = clip_dataset(shards[:1], TINY, batch_size=4, augmentation=some, cache=True, epochs=range(2))
    (first, _), (second, _) = collect(data)
    assert np.abs(first["flow"] - second["flow"]).mean() > 0.01
    assert np.abs(first["image"] - second["image"]).mean() > 0.01
    plain = clip_dataset(shards[:1], TINY, batch_size=4, cache=True)
    np.testing.assert_array_equal(collect(plain)[0][0]["flow"], collect(plain)[0][0]["flow"])


def test_only_the_inputs_that_are_asked_for(shards):
    ((inputs, _), *_) = collect(clip_dataset(shards, TINY, batch_size=1, inputs=["flow"]))
    assert set(inputs) == {"flow"}


def test_more_flows_than_stored_are_refused(shards):
    with pytest.raises(RefusedError, match=r"at most the 6 flows.*Received: 7"):
        clip_dataset(shards, TINY, batch_size=1, settings=InputSettings(num_flows=7))


def test_subjects_without_clips_are_refused(tmp_path):
    index = {"videos": [{"shard": "a.tfrecord", "subject": "anna"}, {"shard": None, "subject": "ben"}]}
    assert [path.name for path in shard_paths(tmp_path, index, ["anna", "ben"])] == ["a.tfrecord"]
    with pytest.raises(RefusedError, match=r"must have clips.*'ben'"):
        shard_paths(tmp_path, index, ["ben"])


SMALL = InputSettings(num_frames=4, slow_every=2, pose_frames=3, pose_stride=2, mean=0.45, std=0.225)
EVERY = ("image", "frames", "slow", "fast", "flow", "pose")


def test_every_input_is_that_of_the_clip(shards):
    ((inputs, _), *_) = collect(clip_dataset(shards, TINY, batch_size=1, inputs=EVERY, settings=SMALL))
    clip, _ = next(read_shard(shards[0], TINY))
    expected = clip_inputs(clip, EVERY, TINY, SMALL)
    for name in EVERY:
        assert inputs[name].shape[1:] == input_shape(name, TINY, SMALL) == expected[name].shape[1:]
        # Two JPEG decoders for pictures, the same numbers for the rest.
        limit = 0.03 if name in ("image", "frames", "slow", "fast") else 1e-5
        assert np.abs(inputs[name] - expected[name]).mean() < limit, name
    for place, frame in enumerate((0, 2, 4, 6)):
        stored = (clip.rgb[frame] / 255 - 0.45) / 0.225
        assert np.abs(inputs["frames"][0, place] - stored).mean() < 0.03
    np.testing.assert_array_equal(inputs["fast"], inputs["frames"])
    np.testing.assert_array_equal(inputs["slow"], inputs["frames"][:, [0, 3]])
    for place, first in enumerate((0, 2, 4)):
        np.testing.assert_array_equal(inputs["pose"][0, place], clip.joint_features[first : first + 3])


def test_buffers_are_filled_whole_with_the_same_numbers(shards):
    clip, _ = next(read_shard(shards[0], TINY))
    buffers = input_buffers(EVERY, TINY, SMALL)
    for one in buffers.values():
        one.fill(np.nan)
    filled = clip_inputs(clip, EVERY, TINY, SMALL, buffers)
    fresh = clip_inputs(clip, EVERY, TINY, SMALL)
    assert filled.keys() == fresh.keys()
    for name, values in fresh.items():
        assert filled[name] is buffers[name]
        np.testing.assert_array_equal(filled[name], values)


def test_a_flipped_clip_is_flipped_in_all_its_inputs(shards):
    data = clip_dataset(
        shards[:1],
        TINY,
        batch_size=1,
        inputs=EVERY,
        settings=SMALL,
        augmentation=Augmentation(flip=True),
        epochs=range(20),
    )
    clip, _ = next(read_shard(shards[0], TINY))
    plain = clip_inputs(clip, EVERY, TINY, SMALL)
    mirrored = clip.joint_features[:, MIRRORED_FEATURE_JOINTS] * [-1, 1, -1, 1, -1, 1, 1]
    seen = set()
    for inputs, _ in list(data)[::4]:  # the first clip in each epoch
        flipped = bool(np.abs(inputs["pose"][0, 0] - plain["pose"][0, 0]).max() > 1e-6)
        seen.add(flipped)
        frames = plain["frames"][:, :, :, ::-1] if flipped else plain["frames"]
        assert np.abs(inputs["frames"].numpy() - frames).mean() < 0.03
        assert (
            np.abs(
                inputs["image"].numpy() - (plain["image"][:, :, ::-1] if flipped else plain["image"])
            ).mean()
            < 0.03
        )
        if flipped:
            np.testing.assert_allclose(inputs["pose"][0, 0], mirrored[:3], atol=1e-6)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("inputs", "change", "message"),
    [
        (["frames"], {"num_frames": 8}, r"window of 7 frames must hold .*Received: 8"),
        (["pose"], {"pose_frames": 8}, r"at least inputs.pose_frames = 8 frames. Received: 7"),
        (["depth"], {}, r'an input must be one of .*Received: "depth"'),
    ],
)
def test_inputs_that_a_clip_cannot_give_are_refused(shards, inputs, change, message):
    with pytest.raises(RefusedError, match=message):
        clip_dataset(shards, TINY, batch_size=1, inputs=inputs, settings=SMALL.model_copy(update=change))


def test_a_data_set_of_keypoints_feeds_pose_networks_only(shards):
    with pytest.raises(RefusedError, match=r"holds the modality flow. Received: one that holds pose only"):
        clip_dataset(shards, TINY, batch_size=1, inputs=["flow"], modalities=["pose"])


@pytest.mark.parametrize("cache", [True, False])
def test_an_epoch_takes_the_clips_that_were_drawn_and_others_in_the_next(shards, cache):
    """The records' own subjects and classes are counted, so a wrong number of a record would show."""
    paths = [shards[2], shards[0], shards[1], shards[0]]
    sampling = Sampling((4, 4, 4, 4), ("s2", "s0", "s1", "s0"), ("c2", "c0", "c1", "c0"), 3, True)

    def epochs(numbers=range(3)):
        data = clip_dataset(
            paths,
            TINY,
            batch_size=2,
            inputs=["pose"],
            settings=SMALL,
            shuffle=True,
            seed=5,
            cache=cache,
            sampling=sampling,
            epochs=numbers,
        )
        clips = [
            (str(meta["subject"][0]), str(meta["class"][0]), float(inputs["pose"].sum()))
            for inputs, meta in collect(data.unbatch().batch(1))
        ]
        return [clips[9 * number : 9 * number + 9] for number in range(len(clips) // 9)]

    drawn = epochs()
    assert sampling.class_counts() == {"c2": 3, "c0": 3, "c1": 3}
    for epoch in drawn:
        assert len(epoch) == 9
        for number in range(3):
            assert sum(who[:2] == (f"b's{number}'", f"b'c{number}'") for who in epoch) == 3
    assert len({tuple(sorted(epoch)) for epoch in drawn}) == 3
    assert drawn == epochs()
    # An epoch is the same wherever the training begins.
    assert drawn[1:] == epochs(range(1, 3))
    assert drawn[2:] == epochs(range(2, 3))


def test_records_are_numbered_through_their_shards(shards):
    """A draw of one clip gives that clip, whichever shard it lies in and however shards are read."""

    class One(Sampling):
        def draw(self, seed):
            times = np.zeros(12, np.int64)
            times[self.clips_per_subject] = 2
            return times

    clips = [clip for path in shards for clip, _ in read_shard(path, TINY)]
    for number in (0, 6, 11):
        clip = clips[number]
        data = clip_dataset(
            shards,
            TINY,
            batch_size=4,
            inputs=["pose"],
            settings=SMALL,
            shuffle=True,
            sampling=One((4, 4, 4), ("s0", "s1", "s2"), ("c0", "c1", "c2"), number),
        )
        ((inputs, _),) = collect(data)
        assert len(inputs["pose"]) == 2
        for pose in inputs["pose"]:
            np.testing.assert_array_equal(pose[0], clip.joint_features[:3])
