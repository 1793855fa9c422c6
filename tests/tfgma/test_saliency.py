"""Gradients, Grad-CAM and integrated gradients: axioms, and the sanity checks of the literature."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from pipelines.schema import RefusedError
from tests.marks import usual_and_thorough
from tfgma.faithfulness import CELLS, cell_sums, deletion_area
from tfgma.feature_maps import cut_at_maps, flattened
from tfgma.gradients import evidence_of, log_odds
from tfgma.models.families import FAMILIES
from tfgma.outputs import probabilities_of
from tfgma.saliency import GradCam, grad_cam, integrated_gradients

SHAPES = {
    "image": (64, 64, 3),
    "flow": (64, 64, 8),
    "frames": (16, 64, 64, 3),
    "slow": (4, 64, 64, 3),
    "fast": (16, 64, 64, 3),
    "pose": (3, 20, 18, 7),
}
SMALL = {"image_backbone": "resnet18", "flow_backbone": "resnet18", "image_width": 8, "flow_width": 8}
FRAMES = {"backbone": "resnet18", "width": 8}
# family, options, shapes unlike SHAPES, and what maps there are: (T, h, w) by input
NETWORKS = [
    ("two_stream", SMALL, {}, {"image": (1, 2, 2), "flow": (1, 2, 2)}),
    ("two_stream", SMALL | {"fusion": "sum"}, {}, {"image": (1, 2, 2), "flow": (1, 2, 2)}),
    ("two_stream", SMALL | {"streams": "flow"}, {}, {"flow": (1, 2, 2)}),
    ("edge", {}, {}, {"image": (1, 8, 8), "flow": (1, 8, 8)}),
    ("frame_fusion", FRAMES | {"fusion": "early"}, {}, {"frames": (1, 2, 2)}),
    ("cnn_lstm", FRAMES | {"units": 8}, {}, {"frames": (16, 2, 2)}),
    ("video", {"network": "c3d", "width": 4}, {}, {"frames": (1, 3, 3)}),
    ("video", {"network": "r2plus1d_r50", "width": 8}, {}, {"frames": (4, 2, 2)}),
    ("slowfast", {}, {}, {"slow": (4, 2, 2), "fast": (16, 2, 2)}),
    ("two_stream_3d", {"width": 8}, {}, {"frames": (16, 2, 2), "flow": (4, 2, 2)}),
    ("temporal_shift", {}, {"frames": (5, 64, 64, 3)}, {"frames": (5, 2, 2), "flow": (5, 2, 2)}),
    ("stam", {}, {}, {"pose": (3, 5, 18)}),
]


def inputs_of(network, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=(1, *tensor.shape[1:])).astype(np.float32)
        for name, tensor in network.input.items()
    }


@pytest.mark.parametrize("case", usual_and_thorough(NETWORKS, usual=NETWORKS[:1], name=lambda case: case[0]))
def test_every_family_is_cut_where_its_streams_have_their_last_maps(case):
    name, options, shapes, expected = case
    family = FAMILIES[name]
    network = family({one: (SHAPES | shapes)[one] for one in family.inputs}, 3, **options)
    inputs = inputs_of(network)
    cut = cut_at_maps(network)
    maps = cut.maps(inputs, training=False)
    again = cut.head(maps, training=False)["logits"]
    whole = network(inputs, training=False)["logits"]
    np.testing.assert_array_equal(ops.convert_to_numpy(again), ops.convert_to_numpy(whole))
    assert {one: tuple(found.shape[:3]) for one, found in maps.items()} == expected


@pytest.mark.parametrize(
    "case", [NETWORKS[0], NETWORKS[5], NETWORKS[-1]], ids=["two_stream", "cnn_lstm", "stam"]
)
def test_grad_cam_has_a_map_of_each_stream(case):
    name, options, shapes, expected = case
    family = FAMILIES[name]
    network = family({one: (SHAPES | shapes)[one] for one in family.inputs}, 3, **options)
    found = GradCam(network, 1)(inputs_of(network))
    assert {one: heat.shape for one, heat in found.items()} == expected
    assert all(np.isfinite(heat).all() and heat.min() >= 0 for heat in found.values())


def test_a_network_with_two_maps_of_one_input_is_refused():
    network = FAMILIES["frame_fusion"]({"frames": SHAPES["frames"]}, 3, fusion="late", **FRAMES)
    with pytest.raises(RefusedError, match=r"at most one map of features for each input. Received: 2"):
        cut_at_maps(network)


def test_a_network_without_maps_is_refused():
    given = keras.Input((5,), name="pose")
    network = keras.Model({"pose": given}, {"logits": layers.Dense(2)(given)}, name="flat")
    with pytest.raises(RefusedError, match='Received: none in "flat"'):
        cut_at_maps(network)


def test_a_flattened_network_holds_no_network_and_answers_alike():
    inner_input = keras.Input((6,))
    inner = keras.Model(inner_input, layers.Dense(4, name="inner_dense")(inner_input), name="inner")
    middle_input = keras.Input((6,))
    middle = keras.Model(middle_input, layers.ReLU()(inner(middle_input)), name="middle")
    given = keras.Input((6,), name="given")
    # Twice, as a trunk that two moments share.
    both = layers.Add()([middle(given), middle(2 * given)])
    network = keras.Model({"given": given}, {"logits": both})
    flat = flattened(network)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    assert [layer.name for layer in flat.layers].count("inner_dense") == 1
    inputs = inputs_of(network)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(flat(inputs)["logits"]), ops.convert_to_numpy(network(inputs)["logits"])
    )


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_log_odds_are_those_of_the_probabilities(classes):
    logits = np.random.default_rng(0).normal(size=(5, classes)).astype(np.float32) * 3
    p = ops.convert_to_numpy(probabilities_of(logits.astype(np.float64)))
    for number in range(p.shape[1]):
        found = ops.convert_to_numpy(log_odds(ops.convert_to_tensor(logits), number))
        np.testing.assert_allclose(found, np.log(p[:, number] / (1 - p[:, number])), rtol=1e-4, atol=1e-5)


def smooth_network(classes):
    """Smooth in its two inputs; one of three is not used."""
    first, second = keras.Input((6,), name="first"), keras.Input((4,), name="second")
    unused = keras.Input((2,), name="unused")
    joined = layers.Concatenate()([layers.Dense(5, "tanh")(first), layers.Dense(5, "tanh")(second)])
    logits = layers.Dense(classes)(joined)
    return keras.Model({"first": first, "second": second, "unused": unused}, {"logits": logits})


@pytest.mark.parametrize("classes", [1, 3])
def test_gradients_are_those_of_finite_differences(classes):
    keras.utils.set_random_seed(1)
    evidence = evidence_of(smooth_network(classes), 1)
    inputs = inputs_of(smooth_network(classes))
    value, slopes = evidence(inputs)
    assert value.shape == (1,)
    assert np.abs(slopes["unused"]).max() == 0
    for name, slope in slopes.items():
        assert slope.shape == inputs[name].shape
        for place in range(slope.shape[1]):
            step = np.zeros_like(inputs[name])
            step[0, place] = 0.01
            up, _ = evidence(inputs | {name: inputs[name] + step})
            down, _ = evidence(inputs | {name: inputs[name] - step})
            assert (up - down)[0] / 0.02 == pytest.approx(slope[0, place], abs=2e-3)


@pytest.mark.parametrize("classes", [1, 3])
def test_integrated_gradients_add_up_to_the_difference(classes):
    keras.utils.set_random_seed(1)
    network = smooth_network(classes)
    evidence = evidence_of(network, 0)
    inputs, baseline = inputs_of(network), inputs_of(network, seed=1)
    found = integrated_gradients(evidence, inputs, baseline, steps=64)
    total = sum(float(values.sum()) for values in found.values())
    assert total == pytest.approx(float(evidence(inputs)[0][0] - evidence(baseline)[0][0]), abs=1e-3)
    same = integrated_gradients(evidence, inputs, inputs)
    assert all(np.abs(values).max() == 0 for values in same.values())
    with pytest.raises(RefusedError, match="steps must be at least 1"):
        integrated_gradients(evidence, inputs, baseline, steps=0)


def test_grad_cam_weighs_features_by_their_mean_gradient():
    maps = np.zeros((2, 3, 3, 2), np.float32)
    maps[0, 1, 1], maps[1, 2, 0] = (4, 1), (0, 5)
    slopes = np.zeros_like(maps)
    slopes[..., 0], slopes[0, 0, 0, 1] = 0.5, -18
    found = grad_cam(maps, slopes)
    # Feature 0 weighs 0.5, feature 1 -18 / 18: what speaks against counts as nothing.
    expected = np.zeros((2, 3, 3), np.float32)
    expected[0, 1, 1] = 4 * 0.5 - 1
    np.testing.assert_allclose(found, expected)


# --- a network that knows where to look: the class is whether a square moves sideways; that another one moves
# down, and the picture, tell nothing

SIDE, SQUARE = 28, 7


def moving_squares(count, seed):
    """Inputs, labels (count,), and the places of what tells and of what does not, (count, 2, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    flow = rng.normal(0, 0.05, (count, SIDE, SIDE, 2)).astype(np.float32)
    places = np.zeros((count, 2, SIDE, SIDE), bool)
    for number in range(count):
        # In two of four quarters.
        for place, quarter in enumerate(rng.permutation(4)[:2]):
            row, column = rng.integers(0, SIDE // 2 - SQUARE, 2) + SIDE // 2 * np.array(divmod(quarter, 2))
            places[number, place, row : row + SQUARE, column : column + SQUARE] = True
        if labels[number]:
            flow[number][places[number, 0]] += (0.8, 0)
        flow[number][places[number, 1]] += (0, 0.8)
    image = rng.normal(0, 0.3, (count, SIDE, SIDE, 3)).astype(np.float32)
    return {"image": image, "flow": flow}, labels, places


def stream(name, channels):
    given = keras.Input((SIDE, SIDE, channels))
    x = given
    for number, stride in enumerate((1, 2, 2)):
        x = layers.Conv2D(8, 3, strides=stride, padding="same", activation="relu", name=f"{name}{number}")(x)
    return keras.Model(given, x, name=name)


def untrained():
    inputs = {
        "image": keras.Input((SIDE, SIDE, 3), name="image"),
        "flow": keras.Input((SIDE, SIDE, 2), name="flow"),
    }
    maps = [stream(f"{name}_stream", tensor.shape[-1])(tensor) for name, tensor in inputs.items()]
    fused = layers.Conv2D(8, 1, activation="relu")(layers.Concatenate()(maps))
    logits = layers.Dense(2)(layers.GlobalAveragePooling2D()(fused))
    return keras.Model(inputs, {"logits": logits})


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(3)
    network = untrained()
    inputs, labels, _ = moving_squares(256, 0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), {"logits": loss})
    network.fit(inputs, {"logits": labels}, batch_size=32, epochs=12, verbose=0)
    inputs, labels, _ = moving_squares(64, 1)
    answers = ops.convert_to_numpy(network.predict_on_batch(inputs)["logits"]).argmax(axis=1)
    assert (answers == labels).mean() > 0.95
    return network


@pytest.fixture(scope="module")
def shown():
    """Ten clips of the class, with the places."""
    inputs, labels, places = moving_squares(20, 2)
    return [
        ({name: value[[number]] for name, value in inputs.items()}, places[number])
        for number in np.flatnonzero(labels)
    ]


def maps_of(network, inputs, method):
    """(SIDE, SIDE), of the flow."""
    if method == "grad_cam":
        heat = GradCam(network, 1)(inputs)["flow"][0]
        return np.kron(heat, np.ones((SIDE // len(heat), SIDE // len(heat))))
    baseline = {name: np.zeros_like(value) for name, value in inputs.items()}
    return integrated_gradients(evidence_of(network, 1), inputs, baseline)["flow"].sum(axis=-1)


METHODS = ["grad_cam", "integrated_gradients"]


@pytest.mark.parametrize("method", METHODS)
def test_maps_point_at_what_tells(trained, shown, method):
    shares = []
    for inputs, places in shown:
        heat = np.maximum(maps_of(trained, inputs, method), 0)
        shares.append([heat[place].sum() / heat.sum() for place in places])
    telling, other = np.mean(shares, axis=0)
    print(f"\n{method}: share of the map on what tells {telling:.2g}, on what does not {other:.2g}")
    assert telling > 4 * (SQUARE / SIDE) ** 2  # what an even map has there
    assert telling > 3 * other


def test_the_picture_that_tells_nothing_counts_for_little(trained, shown):
    evidence = evidence_of(trained, 1)
    for inputs, _ in shown:
        baseline = {name: np.zeros_like(value) for name, value in inputs.items()}
        found = integrated_gradients(evidence, inputs, baseline)
        assert np.abs(found["image"].sum()) < 0.3 * np.abs(found["flow"].sum())


@pytest.mark.thorough
@pytest.mark.parametrize("method", METHODS)
def test_maps_change_with_random_weights(trained, shown, method):
    """Adebayo et al., NeurIPS 2018: a map that stays shows the picture and not the network."""
    likeness = []
    for seed in range(4):
        keras.utils.set_random_seed(seed)
        other = untrained()
        for inputs, _ in shown[:4]:
            first, second = (maps_of(network, inputs, method).ravel() for network in (trained, other))
            likeness.append(np.corrcoef(first, second)[0, 1] if second.std() > 0 else 0)
    print(f"\n{method}: correlation with maps of random weights {np.mean(likeness):.2g}")
    assert np.mean(likeness) < 0.5


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_falls_earlier_by_the_map_than_by_chance(trained, shown, method):
    rng = np.random.default_rng(0)
    areas = []
    for inputs, _ in shown:
        baseline = {name: np.zeros_like(value) for name, value in inputs.items()}
        orders = [np.argsort(-cell_sums(maps_of(trained, inputs, method)).ravel(), kind="stable")]
        orders += [rng.permutation(CELLS**2) for _ in range(5)]
        areas.append(
            [deletion_area(probability(trained), inputs, baseline, "flow", order) for order in orders]
        )
    by_map, by_chance = np.mean(areas, axis=0)[0], np.mean(areas, axis=0)[1:].min()
    print(f"\n{method}: deletion area {by_map:.2g}, random order at best {by_chance:.2g}")
    assert by_map < 0.7 * by_chance


def probability(network):
    def answer(batch):
        logits = ops.convert_to_numpy(network.predict_on_batch(batch)["logits"])
        return ops.convert_to_numpy(probabilities_of(logits))[:, 1]

    return answer


def test_deletion_takes_cells_away_in_their_order():
    seen = []

    def answer(batch):
        seen.append(batch["flow"][..., 0])
        return batch["flow"][..., 0].mean(axis=(1, 2))

    inputs = {"flow": np.ones((1, 4, 4, 1), np.float32)}
    empty = {"flow": np.zeros((1, 4, 4, 1), np.float32)}
    area = deletion_area(answer, inputs, empty, "flow", np.array([3, 0, 1, 2]), cells=2, points=4)
    pictures = np.concatenate(seen)
    assert len(pictures) == 5
    assert [int(picture.sum()) for picture in pictures] == [16, 12, 8, 4, 0]
    assert pictures[1][2:, 2:].sum() == 0  # cell 3, below and to the right
    assert pictures[2][:2, :2].sum() == 0
    assert area == pytest.approx(0.5)
    with pytest.raises(RefusedError, match="each of 4 cells once"):
        deletion_area(answer, inputs, empty, "flow", np.array([0, 0, 1, 2]), cells=2)


def test_cells_are_means_also_of_maps_with_fewer_pixels():
    values = np.arange(16.0).reshape(4, 4)
    np.testing.assert_allclose(cell_sums(values, 2), [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_allclose(cell_sums(np.stack([values, 3 * values]), 2), [[5, 9], [21, 25]])
    np.testing.assert_allclose(cell_sums(np.array([[1.0, 2.0], [3.0, 4.0]]), 4)[:, 0], [1, 1, 3, 3])
