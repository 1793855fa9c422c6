import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.golden_networks import description, published_answers
from tfgma.models.stam import BONES, JointMixing, Stam, adjacency, is_unused
from tfgma.weights.layout import slots

GOLDENS = {
    "stam_uniform3": {"partition": "uniform", "max_hop": 3},
    "stam_spatial1": {"partition": "spatial", "max_hop": 1},
    "stam_distance2": {"partition": "distance", "max_hop": 2},
}
SMALL = (3, 8, 18, 2)


def poses(batch=4):
    return {"pose": np.random.default_rng(0).normal(size=(batch, *SMALL)).astype(np.float32)}


def test_holds_the_published_tensors_but_for_those_without_a_part():
    published = {
        key
        for key in description("stam_uniform3")["state_dict"]
        if not key.endswith("num_batches_tracked") and not is_unused(key)
    }
    assert set(slots(Stam((9, 30, 18, 7)))) == published


@pytest.mark.parametrize("name", GOLDENS)
def test_graph_is_the_published_one(name):
    ours, published = adjacency(**GOLDENS[name]), published_answers(name)["A"]
    assert ours.shape == published.shape
    np.testing.assert_allclose(ours, published, atol=1e-7)


@pytest.mark.parametrize("max_hop", [1, 2, 4])
def test_partitions_divide_the_same_neighbours(max_hop):
    (whole,) = adjacency("uniform", max_hop)
    np.testing.assert_allclose(whole.sum(axis=0), 1, atol=1e-6)
    assert len(adjacency("distance", max_hop)) == max_hop + 1
    assert len(adjacency("spatial", max_hop)) == 2 * max_hop + 1
    for partition in ("distance", "spatial"):
        np.testing.assert_allclose(adjacency(partition, max_hop).sum(axis=0), whole, atol=1e-6)


def test_graph_of_one_bone_connects_the_bones():
    whole = adjacency("uniform", 1)[0]
    pairs = {(v, w) for v, w in zip(*np.nonzero(whole), strict=True) if v < w}
    assert pairs == {tuple(sorted(bone)) for bone in BONES}


def test_mixing_takes_each_group_of_channels_through_its_own_graph():
    layer = JointMixing("distance", 2)
    features = np.random.default_rng(0).normal(size=(2, 3, 18, 3 * 5)).astype(np.float32)
    expected = np.einsum("btvkc,kvw->btwc", features.reshape(2, 3, 18, 3, 5), adjacency("distance", 2))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(features)), expected, atol=1e-5)


@pytest.mark.parametrize(("partition", "attention"), [("spatial", True), ("uniform", False)])
def test_builds_takes_a_step_saves_and_reloads(tmp_path, partition, attention):
    keras.utils.set_random_seed(1)
    network = Stam(SMALL, 3, partition=partition, max_hop=2, features=8, attention=attention)
    network.compile(
        "adam", {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}, run_eagerly=True
    )
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in network.weights]
    network.train_on_batch(poses(), {"logits": np.array([0, 1, 2, 0])})
    still = {
        weight.path
        for weight, old in zip(network.weights, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(weight), old)
    }
    # The scalar added to every share before a softmax has no gradient.
    assert still <= {"sag-spatial_attn-attention-2/bias", "temporal_attn-attention-2/bias"}
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    answers, same = network.predict_on_batch(poses()), again.predict_on_batch(poses())
    shapes = {"logits": (4, 3), "scores": (4, 3), "alpha": (4, 3), "beta": (4, 3, 18)}
    assert set(answers) == (set(shapes) if attention else {"logits", "scores"})
    for key, values in answers.items():
        assert values.shape == shapes[key]
        np.testing.assert_allclose(same[key], values, atol=1e-6)


def test_attention_shares_sum_to_one_and_follow_their_clip():
    network = Stam(SMALL, features=8)
    pose = poses(1)["pose"]
    answers = network.predict_on_batch({"pose": pose})
    turned = network.predict_on_batch({"pose": pose[:, ::-1]})
    np.testing.assert_allclose(answers["alpha"].sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(answers["beta"].sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(turned["alpha"], answers["alpha"][:, ::-1], atol=1e-6)
    np.testing.assert_allclose(turned["beta"], answers["beta"][:, ::-1], atol=1e-6)
    assert np.ptp(answers["alpha"]) > 1e-6
    assert np.ptp(answers["beta"]) > 1e-6


def test_refuses_what_it_cannot_build():
    with pytest.raises(RefusedError, match=r'partition must be one of .*Received: "random"'):
        Stam(SMALL, partition="random")
    with pytest.raises(RefusedError, match=r"max_hop must be at least 1 bone\. Received: 0"):
        Stam(SMALL, max_hop=0)
    with pytest.raises(RefusedError, match=r"num_classes must be at least 1\. Received: 0"):
        Stam(SMALL, 0)
    with pytest.raises(
        RefusedError, match=r"pose_shape must be \(clips, T, 18, C\)\. Received: \(3, 8, 33, 2\)"
    ):
        Stam((3, 8, 33, 2))
