"""Options of a training: batches, refusals, and a short training with each."""

import csv
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgma.fitting
import tfgma.suitability
import tfgma.training
from pipelines.build import read_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.files import held
from pipelines.mixing import Mixing
from pipelines.schema import Feature, RefusedError
from tests.in_process import train
from tests.marks import usual_and_thorough
from tests.small_network import FOR_IT, HEADS, train_it
from tests.tfgma.test_study import STUDY, changed
from tfgma.batches import BatchVideos, InputWait, for_fit
from tfgma.callbacks import FiniteLoss, Timing
from tfgma.config import load_study
from tfgma.distribution import Shares, batches_made, shared_steps, shared_train
from tfgma.networks import build_network, computing_in
from tfgma.processes import KilledError
from tfgma.runs import read_predictions, read_run

QUICK = (
    "augment={flip: false, shift: 0, scale: 0, rotation_degrees: 0, photometry: 0, temporal_jitter: false}",
    *FOR_IT,
    "train.epochs=2",
    "train.picture_every=99",
    "train.learning_rate=0.05",
    "train.warmup_epochs=0",
)


@pytest.fixture
def small(monkeypatch):
    train_it(monkeypatch)


@pytest.fixture(scope="module")
def two_classes(dataset, tmp_path_factory):
    """The data set without its last class."""

    def without_last(index):
        index["classes"].remove("WMs")
        index["videos"] = [one for one in index["videos"] if one["label"] != "WMs"]

    return changed(dataset, tmp_path_factory.mktemp("two") / "dataset", without_last)


def history(run):
    with (run / "fold_0" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def run_with(dataset, out, *overrides):
    train(load_study(STUDY, (*QUICK, *overrides)), dataset, out, folds=[0])
    return history(out)


OPTIONS = {
    "nothing": (),
    "plateau": ("train.schedule=plateau", "train.warmup_epochs=1"),
    "bfloat16": ("train.precision=mixed_bfloat16",),
    "float16": ("train.precision=mixed_float16", "train.weight_average=0.9", "train.clip_norm=0.01"),
    "focal": ("train.loss=focal",),
    "weights": ("train.class_weights={FMs: 3, PR: 1, WMs: 0.5}",),
    "sampling": ("train.balance=sampling", "train.clips_per_subject=3"),
    "mixing": ("augment.mixup=1", "augment.cutmix=0.4"),
    "heads": ("train.head_weights={logits_one: 1, logits_two: 0.25}",),
}
USUAL = ("nothing", "float16")


@pytest.fixture(scope="module")
def plain_history(dataset, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        train_it(patch)
        return run_with(dataset, tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize("option", usual_and_thorough(OPTIONS, USUAL))
def test_each_option_trains_to_its_end_and_changes_the_training(
    option, small, dataset, tmp_path, plain_history
):
    before = keras.config.dtype_policy()
    found = run_with(dataset, tmp_path / "run", *OPTIONS[option])
    assert keras.config.dtype_policy() == before
    assert set(found) == set(plain_history)
    assert all(len(values) == 2 and np.isfinite(values).all() for values in found.values())
    for name in ("loss", "val_loss"):
        assert (found[name] == plain_history[name]).all() == (option == "nothing"), name
    if option == "plateau":
        np.testing.assert_allclose(found["learning_rate"], [0.005, 0.05], rtol=1e-6)
    # What was saved is read again, computes in float32, and is what answered.
    fold = tmp_path / "run" / "fold_0"
    saved = keras.saving.load_model(fold / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    rows = read_predictions([fold / "predictions.csv"])
    rows = rows.where(rows.sides == "test")
    study, index = load_study(STUDY, QUICK), read_index(dataset)
    data = clip_dataset(
        shard_paths(dataset, index, sorted(set(rows.subjects))),
        study.build.clip,
        batch_size=64,
        inputs=["flow"],
        settings=study.inputs,
    )
    ((inputs, _),) = list(data)
    expected = keras.ops.softmax(saved.predict_on_batch(inputs)["logits"])
    np.testing.assert_allclose(rows.probabilities, expected, atol=1e-5)


def test_one_logit_takes_weights_focal_loss_mixing_and_two_heads(small, two_classes, tmp_path):
    found = run_with(
        two_classes,
        tmp_path / "run",
        "model.one_logit=true",
        "train.loss=focal",
        "train.balance=weights",
        "train.label_smoothing=0.1",
        "train.head_weights={logits_one: 1, logits_two: 2}",
        "augment.mixup=0.3",
    )
    assert np.isfinite(found["val_loss"]).all()
    rows = read_predictions([tmp_path / "run" / "fold_0" / "predictions.csv"])
    assert rows.probabilities.shape[1] == 2


def test_a_loss_that_is_not_finite_stops_the_run_and_names_where(small, dataset, tmp_path):
    """At such a rate the first step's weights give the second step infinite logits."""
    message = (
        r"a loss must be finite. Received: (nan|inf) in fold 0, epoch 1, step 2, on clips of "
        r"\w+__infant_\d+__video, .*Lower train.learning_rate"
    )
    with pytest.raises(RefusedError, match=message):
        run_with(dataset, tmp_path / "run", "train.learning_rate=1e38")
    assert read_run(tmp_path / "run")["trained_folds"] == []


def batches_of(clips, size, **fields):
    """`(inputs, meta)` as pipelines.dataset gives them, of 1 px pictures that tell the clip's number."""
    numbers = np.arange(clips, dtype=np.float32)
    meta = {
        "label": numbers.astype(int) % 3,
        "video": [f"v{number // 2}".encode() for number in range(clips)],
    }
    inputs = {"flow": numbers.reshape(-1, 1, 1, 1)} | fields
    return tf.data.Dataset.from_tensor_slices((inputs, meta)).batch(size)


def test_a_batch_that_is_not_finite_is_named_with_its_videos_only():
    data = batches_of(14, 4).map(
        lambda inputs, meta: (
            {"flow": tf.where(inputs["flow"] == 9, np.nan, inputs["flow"] / 100)},
            meta,
        )
    )
    flow = keras.Input((1, 1, 1), name="flow")
    network = keras.Model({"flow": flow}, {"logits": keras.layers.Dense(3)(keras.layers.Flatten()(flow))})
    network.compile("sgd", {"logits": keras.losses.CategoricalCrossentropy(from_logits=True)})
    videos = BatchVideos()
    with pytest.raises(RefusedError, match=r"fold 7, epoch 1, step 3, on clips of v4, v5. Lower"):
        network.fit(
            for_fit(videos.noted(data), ["logits"], 3, one_logit=False),
            verbose=0,
            callbacks=[FiniteLoss(7, lambda epoch, step: videos.of(step))],
        )
    callback = FiniteLoss(7, lambda epoch, step: [])
    callback.on_epoch_begin(4)
    with pytest.raises(RefusedError, match=r"inf in fold 7, epoch 5, after the last step, on the validation"):
        callback.on_epoch_end(4, {"val_loss": np.inf})


def test_batches_hold_each_heads_labels_and_the_clips_weights():
    data = batches_of(7, 4)
    plain = list(for_fit(data, HEADS, 3, one_logit=False))
    assert [len(batch) for batch in plain] == [2, 2]
    for name in HEADS:
        np.testing.assert_array_equal(plain[0][1][name], np.eye(3)[[0, 1, 2, 0]])
    weighted = list(for_fit(data, HEADS, 3, one_logit=False, class_weights=[0.5, 1, 4]))
    np.testing.assert_allclose(weighted[0][2], [0.5, 1, 4, 0.5])
    np.testing.assert_allclose(weighted[1][2], [1, 4, 0.5])
    one = list(
        for_fit(data.map(lambda x, meta: (x, meta | {"label": meta["label"] % 2})), HEADS, 2, one_logit=True)
    )
    np.testing.assert_array_equal(one[0][1]["logits_one"], [[0], [1], [0], [0]])


def test_batches_are_mixed_anew_each_epoch_with_their_labels_and_weights():
    """Each clip is a class of its own, and its picture tells which: pictures and labels must agree."""
    numbers = np.arange(8)
    data = batches_of(8, 8).map(lambda inputs, meta: (inputs, meta | {"label": tf.range(8)}))

    def two_epochs(seed):
        options = {"class_weights": (10.0 * numbers).tolist(), "mixing": Mixing(mixup=1), "seed": seed}
        return [
            next(iter(for_fit(data, ["logits"], 8, one_logit=False, first=first, **options)))
            for first in (0, 1)
        ]

    epochs = two_epochs(3)
    for (inputs, labels, weights), again in zip(epochs, two_epochs(3), strict=True):
        pictures, labels = inputs["flow"].numpy()[:, 0, 0, 0], labels["logits"].numpy()
        np.testing.assert_array_equal(pictures, again[0]["flow"].numpy()[:, 0, 0, 0])
        assert (labels.max(axis=1) < 1).sum() >= 4
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(pictures, labels @ numbers, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(weights, 10 * pictures, rtol=1e-5, atol=1e-5)
    for other in (epochs[1], two_epochs(4)[0]):
        assert np.abs(epochs[0][0]["flow"] - other[0]["flow"]).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("train.plateau_patience=3",), r"train: plateau_patience needs schedule plateau. Received: cosine"),
        (("train.plateau_factor=0.1",), r"plateau_factor needs schedule plateau"),
        (("train.focal_gamma=1",), r"focal_gamma needs loss focal. Received: cross_entropy"),
        (("train.schedule=plateau", "train.patience=5"), r"less than patience, .* Received: 5, and 5"),
        (
            ("train.balance=weights", "train.class_weights={a: 1}"),
            r"what class_weights gives. Received: both",
        ),
        (("train.batch_size=1", "augment.mixup=1"), r"augment.mixup mixes .* at least 2. Received: 1"),
        (("train.batch_size=1", "augment.cutmix=1"), r"augment.cutmix mixes the clips of a batch"),
        (("train.class_weights={a: 0}",), r"train.class_weights.a: Input should be greater than 0"),
        (("train.clip_norm=.inf",), r"train.clip_norm: Input should be a finite number"),
        (("train.weight_average=1",), r"train.weight_average: Input should be less than 1"),
        (("train.precision=float16",), r"train.precision: Input should be 'float32', 'mixed_float16' or"),
        (("train.mixup=1",), r"unknown key train.mixup"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(RefusedError, match=message):
        load_study(STUDY, changes)


def test_clips_that_do_not_fit_into_memory_are_not_cached(dataset, monkeypatch):
    """Of every clip all flows of its record are kept, at 64 x 64 px and 2 bytes each."""
    index, study = read_index(dataset), load_study(STUDY, QUICK)
    clips = sum(entry["clips"] for entry in index["videos"] if entry["shard"])
    needed = clips * study.build.clip.num_flows * 64 * 64 * 2
    monkeypatch.setattr(tfgma.suitability, "_memory", lambda: needed / 0.69)
    tfgma.suitability.refuse_unfit(study, index)
    monkeypatch.setattr(tfgma.suitability, "_memory", lambda: needed / 0.71)
    tfgma.suitability.refuse_unfit(load_study(STUDY, (*QUICK, "train.cache=false")), index)
    with pytest.raises(RefusedError, match=r"train.cache needs at most 70%.* GB. Set train.cache=false"):
        tfgma.suitability.refuse_unfit(study, index)


def one_class_left(index):
    names = {
        label: [one["subject"] for one in index["videos"] if one["label"] == label] for label in ("FMs", "PR")
    }
    index["folds"] = [{"train": names["FMs"][:2], "val": names["FMs"][2:], "test": names["PR"]}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ("train.class_weights={FMs: 1, PR: 2}",),
            r"must name the data's classes, FMs, PR, WMs. Received: FMs, PR",
        ),
        (
            ("train.head_weights={logits_flow: 1}",),
            r"outputs that are trained, logits. Received: logits_flow",
        ),
        (
            ("model={family: stam}", "inputs={pose_frames: 6, pose_stride: 3}", "augment.cutmix=1"),
            r"augment.cutmix cuts pictures, which stam does not take. Received: 1",
        ),
        (
            ("split.from_dataset=true",),
            r"every side of a fold .* fold 0, whose train side lacks PR, WMs. Correct the data set's folds",
        ),
    ],
)
def test_settings_that_the_data_or_the_network_cannot_give_are_refused_before_anything_is_written(
    dataset, tmp_path, changes, message
):
    if "split.from_dataset=true" in changes:
        dataset = changed(dataset, tmp_path / "data", one_class_left)
    with pytest.raises(RefusedError, match=message):
        train(load_study(STUDY, changes), dataset, tmp_path / "run", folds=[0])
    assert not (tmp_path / "run").exists()


def test_what_a_folds_process_refuses_before_it_trains_leaves_no_run(small, dataset, tmp_path, monkeypatch):
    study, out = load_study(STUDY, (*QUICK, "train.epochs=1")), tmp_path / "run"

    def refuse(config, classes):
        raise RefusedError("no such weights")

    with monkeypatch.context() as patch:
        patch.setattr("tfgma.fitting.build_network", refuse)
        with pytest.raises(RefusedError, match="no such weights"):
            train(study, dataset, out, folds=[0])
    assert list(out.iterdir()) == []
    assert train(study, dataset, out, folds=[0])["trained_folds"] == [0]
    # What a fold before it has trained stays.
    with monkeypatch.context() as patch:
        patch.setattr("tfgma.fitting.build_network", refuse)
        with pytest.raises(RefusedError, match="no such weights"):
            train(study, dataset, out, folds=[1], resume=True)
    assert (out / "fold_0" / "model.keras").exists()
    assert read_run(out)["trained_folds"] == [0]


def test_each_fold_has_a_process_of_its_own(dataset, tmp_path, monkeypatch):
    apart = []

    def note(function, task, **_):
        apart.append((function, task.fold))
        raise KilledError("gone")

    monkeypatch.setattr("tfgma.training.run_apart", note)
    with pytest.raises(KilledError):
        tfgma.training.train(load_study(STUDY, QUICK), dataset, tmp_path / "run", folds=[1])
    assert apart == [(tfgma.fitting.train_fold, 1)]
    # It is to be called again as it is.
    assert read_run(tmp_path / "run")["chosen_folds"] == [1]


@pytest.mark.parametrize(
    ("clips", "batch", "devices", "steps"), [(33, 16, 2, 2), (33, 16, 1, 3), (34, 16, 2, 3)]
)
def test_batches_are_counted_alike_whether_or_not_devices_share_the_last(clips, batch, devices, steps):
    """By its number a batch is mixed, and its videos are found; a resumed epoch must have its own."""
    made = batches_made(clips, batch)
    assert shared_steps(clips, batch, Shares(devices=devices)) == steps
    videos = BatchVideos()
    rows = tf.data.Dataset.range(2 * clips).map(
        lambda n: ({"x": n}, {Feature.VIDEO: tf.strings.as_string(n)})
    )
    epochs = rows.take(clips).batch(batch).concatenate(rows.skip(clips).batch(batch))
    shared = shared_train(videos.noted(epochs), Shares(devices=devices))
    assert len(list(shared)) == 2 * steps
    for epoch in (0, 1):
        first = videos.of(epoch * made)
        assert sorted(map(int, first)) == list(range(epoch * clips, epoch * clips + batch))


FAMILIES = (
    "{family: two_stream, fusion: sum, image_backbone: resnet10, flow_backbone: resnet10, image_width: 4, "
    "flow_width: 4}",
    "{family: two_stream_3d, streams: single, image_backbone: resnet10, width: 4}",
    "{family: cnn_lstm, backbone: resnet10, width: 4, units: 8}",
    "{family: stam, features: 4}",
)


@pytest.mark.parametrize("model", usual_and_thorough(FAMILIES, usual=FAMILIES[:1]))
def test_a_network_of_mixed_precision_answers_in_float32_nearly_as_the_plain_one(model):
    study = load_study(STUDY, (f"model={model}", "inputs={pose_frames: 6, pose_stride: 3}"))
    keras.utils.set_random_seed(0)
    plain = build_network(study, 3)
    with computing_in("mixed_bfloat16"):
        mixed = build_network(study, 3)
    mixed.set_weights(plain.get_weights())
    assert {variable.dtype for variable in mixed.weights if "float" in variable.dtype} == {"float32"}
    assert {tensor.dtype for name, tensor in mixed.output.items() if "logits" in name} == {"float32"}
    rng = np.random.default_rng(0)
    inputs = {one.name: rng.normal(size=(2, *one.shape[1:])).astype(np.float32) for one in plain.inputs}
    difference = np.abs(mixed(inputs)["logits"] - plain(inputs)["logits"]).max()
    assert 0 < difference < 0.2


@pytest.mark.parametrize(("batch", "pause", "least", "most"), [(20, 1.0, 0.5, 1.0), (4, 0.0, 0.0, 0.3)])
def test_the_wait_for_batches_is_measured(batch, pause, least, most):
    """A pipeline that sleeps is waited for; one that has its batches ready is not, whatever a step takes.

    The sleep is long, as a step on a busy machine takes a tenth of a second of its own.
    """

    def slow(inputs, meta):
        tf.numpy_function(lambda: time.sleep(pause), [], [])
        return inputs, meta

    flow = keras.Input((1, 1, 1), name="flow")
    network = keras.Model({"flow": flow}, {"logits": keras.layers.Dense(3)(keras.layers.Flatten()(flow))})
    network.compile("sgd", {"logits": keras.losses.CategoricalCrossentropy(from_logits=True)})
    data = for_fit(batches_of(80, batch).map(slow), ["logits"], 3, one_logit=False)
    wait, seen = InputWait(), []

    class Stepping(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            time.sleep(0.0 if pause else 0.01)

        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs["input_wait"])

    network.fit(
        wait.measured(data),
        validation_data=for_fit(batches_of(4, 4), ["logits"], 3, one_logit=False),
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[Timing(wait), Stepping()],
    )
    assert all(least <= share <= most for share in seen[1:]), seen


def test_first_batches_are_made_before_a_step_asks():
    """While the step is traced."""
    made = threading.Event()

    def note(inputs, meta):
        tf.numpy_function(made.set, [], [])
        return inputs, meta

    data = InputWait().measured(
        for_fit(batches_of(8, 4).map(note), ["logits"], 3, one_logit=False).prefetch(2)
    )
    batches = iter(data)
    assert made.wait(20)
    assert len(list(batches)) == 2


def test_a_folder_is_held_by_one(tmp_path):
    with held(tmp_path):
        begun = time.monotonic()
        with pytest.raises(RefusedError, match=r"written by one process at a time"), held(tmp_path, 0.5):
            pass
        assert 0.5 <= time.monotonic() - begun < 5
    with held(tmp_path):
        pass
