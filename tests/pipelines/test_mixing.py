import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.mixing import Mixing, mix_inputs, mix_labels, sample_mixing, shares

SIZE = 16


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)

    def noise(*shape):
        return tf.constant(rng.normal(size=(6, *shape)), tf.float32)

    return {
        "image": noise(SIZE, SIZE, 3),
        "frames": noise(4, SIZE, SIZE, 3),
        "flow": noise(SIZE, SIZE, 10),
        "pose": noise(2, 5, 18, 7),
    }


def test_mixup_blends_as_keras_does_and_all_inputs_alike(batch):
    partner, own = sample_mixing(Mixing(mixup=0.4), 6, SIZE, seed=1)
    share = own[:, 0, 0]
    assert (own == share[:, None, None]).all()
    mixed = mix_inputs(batch, partner, own)
    transformation = {"mix_weight": share, "permutation_order": partner}
    for name in ("image", "flow"):
        expected = keras.layers.MixUp().transform_images(batch[name], transformation)
        np.testing.assert_allclose(mixed[name], expected, atol=1e-6)
    for name in ("frames", "pose"):
        for clip in range(6):
            expected = share[clip] * batch[name][clip] + (1 - share[clip]) * batch[name][partner[clip]]
            np.testing.assert_allclose(mixed[name][clip], expected, atol=1e-6)
    labels = tf.one_hot([0, 1, 2, 0, 1, 2], 3)
    expected = keras.layers.MixUp().transform_labels(labels, transformation)
    np.testing.assert_allclose(mix_labels(labels, partner, own), expected, atol=1e-6)


def test_cutmix_sets_one_box_of_the_other_clip_into_all_pictures(batch):
    del batch["pose"]
    partner, own = sample_mixing(Mixing(cutmix=1.0), 6, SIZE, seed=2)
    assert set(np.unique(own)) == {0, 1}
    mixed = mix_inputs(batch, partner, own)
    masks = np.repeat(own[..., None] == 0, 10, axis=-1)
    for name, channels in (("image", 3), ("flow", 10)):
        expected = keras.layers.CutMix().transform_images(
            batch[name], {"permutation_order": partner, "batch_masks": masks[..., :channels]}
        )
        np.testing.assert_array_equal(mixed[name], expected)
    frames, before = mixed["frames"].numpy(), batch["frames"].numpy()
    corners = []
    for clip in range(6):
        inside = own[clip] == 0
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert inside.sum() == len(rows) * len(columns)  # a box
        assert len(rows) == len(columns)
        corners.append((rows[0], columns[0]) if len(rows) else (0, 0))
        np.testing.assert_array_equal(frames[clip][:, inside], before[partner[clip]][:, inside])
        np.testing.assert_array_equal(frames[clip][:, ~inside], before[clip][:, ~inside])
    assert any(row != column for row, column in corners)
    labels = mix_labels(tf.one_hot([0, 1, 2, 3, 4, 5], 6), partner, own).numpy()
    for clip in range(6):
        expected = np.zeros(6)
        expected[clip] += own[clip].mean()
        expected[partner[clip]] += 1 - own[clip].mean()
        np.testing.assert_allclose(labels[clip], expected, atol=1e-6)


def test_shares_follow_their_distribution_and_the_seed():
    _, own = sample_mixing(Mixing(mixup=0.2), 4000, 1, seed=3)
    share = shares(own).numpy()
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)); four standard errors.
    assert share.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.1786 / 4000))
    assert share.var() == pytest.approx(1 / (4 * 1.4), abs=0.01)
    partner, same = sample_mixing(Mixing(mixup=0.2), 4000, 1, seed=3)
    np.testing.assert_array_equal(own, same)
    assert sorted(partner) == list(range(4000))
    assert (sample_mixing(Mixing(mixup=0.2), 4000, 1, seed=4)[1] != own).any()
    assert np.isfinite(sample_mixing(Mixing(mixup=0.001), 4000, 1, seed=3)[1]).all()


def test_with_both_each_clip_suffers_one():
    _, own = sample_mixing(Mixing(mixup=5, cutmix=1), 400, SIZE, seed=5)
    is_cut = np.array([set(np.unique(one)) <= {0, 1} for one in own])
    assert 140 < is_cut.sum() < 260
    assert all(len(np.unique(one)) == 1 for one in own[~is_cut])
