"""What TensorBoard shows of a fold, read back from the files and, in the long run, from a TensorBoard."""

import csv
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata

import tfgma.fitting
import tfgma.pictures
import tfgma.suitability
from pipelines.build import read_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.records import read_shard
from pipelines.schema import ClipSpec
from tests.in_process import train
from tests.marks import usual_and_thorough
from tests.small_network import train_it
from tests.tfgma.test_study import STUDY
from tests.tfgma.test_training import QUICK
from tfgma.config import load_study
from tfgma.metrics import reliability_table
from tfgma.networks import build_network
from tfgma.outputs import features_of, with_features
from tfgma.pictures import cut_out, reliability_picture, roc_picture
from tfgma.runs import read_predictions, read_run
from tfgma.tensorboard import EXAMPLES, EpochFigures, Pictures, write_projector

EPOCHS, EVERY = 4, 2


def small_run(dataset, out):
    with pytest.MonkeyPatch.context() as patch:
        train_it(patch)
        settings = (*QUICK, f"train.epochs={EPOCHS}", f"train.picture_every={EVERY}")
        train(load_study(STUDY, settings), dataset, out, folds=[1])
    return out


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return small_run(dataset, tmp_path_factory.mktemp("logged") / "run")


@pytest.fixture(scope="module")
def logs(run):
    return run / "fold_1" / "logs"


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    found.Reload()
    return found


def scalars(folder, tag):
    """{step: value}; a step that comes twice is refused."""
    found = [(one.step, float(tf.make_ndarray(one.tensor_proto))) for one in events(folder).Tensors(tag)]
    assert len(dict(found)) == len(found)
    return dict(found)


def pictures(folder, tag):
    """{step: [(H, W, 3) uint8, ...]}"""
    return {
        one.step: [tf.io.decode_png(png).numpy() for png in one.tensor_proto.string_val[2:]]
        for one in events(folder).Tensors(tag)
    }


def test_each_epochs_figures_are_those_of_the_history(run, logs):
    with (run / "fold_1" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = set(rows[0]) - {"epoch"}
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} == names
    for name in names:
        side = "validation" if name.startswith("val_") else "train"
        found = scalars(logs / side, f"epoch_{name.removeprefix('val_')}")
        assert list(found) == list(range(EPOCHS))
        np.testing.assert_allclose(list(found.values()), [float(row[name]) for row in rows], rtol=1e-6)


def test_pictures_of_answers_are_there_at_their_epochs(logs):
    for tag in ("confusion matrix", "ROC", "reliability"):
        found = pictures(logs / "pictures", tag)
        assert list(found) == [1, 3]
        assert all(len(one) == 1 and one[0].std() > 10 for one in found.values())


def test_the_best_epochs_answers_are_pictures_whatever_its_number(logs):
    for tag in ("confusion matrix", "ROC", "reliability"):
        ((step, (picture,)),) = pictures(logs / "pictures", f"best/{tag}").items()
        assert step == 0
        assert picture.std() > 10


def test_example_clips_show_each_class_of_the_train_side(run, logs, dataset):
    index = read_index(dataset)
    side = set(read_run(run)["folds"][1]["train"])
    spec = ClipSpec.model_validate(index["clip"])
    for name in index["classes"]:
        ((step, found),) = pictures(logs / "pictures", f"example clips/{name}").items()
        entries = [one for one in index["videos"] if one["label"] == name and one["subject"] in side]
        assert step == 0
        assert len(found) == min(EXAMPLES, len(entries)) >= 1
        clip, _ = next(read_shard(dataset / "shards" / entries[0]["shard"], spec))
        # Rows: frames, outlines, joints, flow.
        assert found[0].shape == (4 * spec.size, 5 * spec.size, 3)
        np.testing.assert_array_equal(found[0][: spec.size, : spec.size], clip.rgb[0])
        frames, outlined = (
            found[0][row * spec.size : (row + 1) * spec.size, :, 1].astype(int) for row in (0, 1)
        )
        # Green, and about as long as a body's outline: 5 of them.
        assert 5 * spec.size < (outlined - frames > 50).sum() < 5 * 8 * spec.size


def test_the_mask_that_is_shown_is_as_large_as_the_one_that_was_made(dataset):
    index = read_index(dataset)
    spec = ClipSpec.model_validate(index["clip"])
    shown, made = [], []
    for entry in index["videos"]:
        for clip, _ in read_shard(dataset / "shards" / entry["shard"], spec):
            shown += [cut_out(frame).mean() for frame in clip.rgb]
            made += list(clip.mask_area)
    assert np.mean(made) > 0.05
    np.testing.assert_allclose(shown, made, atol=0.02)
    assert abs(np.mean(shown) - np.mean(made)) < 0.005


def test_points_of_the_projector_are_subjects_mean_features(run, logs, dataset):
    network = keras.saving.load_model(run / "fold_1" / "model.keras", compile=False)
    hidden = keras.Model(network.input, network.get_layer("hidden").output)
    study, index = load_study(STUDY, QUICK), read_index(dataset)
    with (logs / "subjects_metadata.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    points = np.loadtxt(logs / "subjects.tsv", delimiter="\t")
    assert points.shape == (len(rows), 4)
    split = read_run(run)["folds"][1]
    expected_rows = [(subject, side) for side in ("train", "val") for subject in sorted(split[side])]
    assert [(row["subject"], row["side"]) for row in rows] == expected_rows
    labels = {entry["subject"]: entry["label"] for entry in index["videos"]}
    for row, point in zip(rows, points, strict=True):
        assert (row["class"], row["fold"]) == (labels[row["subject"]], "1")
        data = clip_dataset(
            shard_paths(dataset, index, [row["subject"]]),
            study.build.clip,
            batch_size=1,
            inputs=["flow"],
            settings=study.inputs,
        )
        direct = np.mean([hidden.predict_on_batch(inputs)[0] for inputs, _ in data], axis=0)
        np.testing.assert_allclose(point, direct, rtol=1e-5, atol=1e-6)
    assert np.ptp(points, axis=0).max() > 1e-3


def test_names_with_tabs_keep_their_row_of_the_projector(tmp_path):
    clip = keras.Input((2,), name="pose")
    network = keras.Model({"pose": clip}, {"logits": keras.layers.Dense(3)(clip)})
    meta = {"subject": [b'a\tb "c"', b"d\ne", b'a\tb "c"'], "label": [2, 0, 2]}
    values = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    data = tf.data.Dataset.from_tensor_slices(({"pose": values}, meta)).batch(2)
    write_projector(tmp_path, with_features(network), {"train": data}, ("x", "y", "z"), 3)
    assert (tmp_path / "subjects.tsv").read_text() == "3\t4\n3\t4\n"
    lines = (tmp_path / "subjects_metadata.tsv").read_text().splitlines()
    assert lines == ["subject\tclass\tside\tfold", 'a b "c"\tz\ttrain\t3', "d e\tx\ttrain\t3"]


def test_figures_of_the_best_network_are_those_of_its_validated_answers(run, logs):
    answers = read_predictions([run / "fold_1" / "predictions.csv"])
    answers = answers.where(answers.sides == "val")
    right = answers.probabilities.argmax(axis=1) == answers.labels
    assert scalars(logs, "best/accuracy_clip") == {0: pytest.approx(right.mean())}
    assert scalars(logs, "best/log_loss_clip")[0] == pytest.approx(
        sklearn.metrics.log_loss(answers.labels, answers.probabilities, labels=[0, 1, 2]), rel=1e-5
    )
    subjects = sorted(set(answers.subjects))
    means = np.array([answers.probabilities[answers.subjects == one].mean(axis=0) for one in subjects])
    labels = [answers.labels[answers.subjects == one][0] for one in subjects]
    found = scalars(logs, "best/accuracy_subject")[0]
    assert found == pytest.approx(np.mean(means.argmax(axis=1) == labels))


def test_settings_are_in_the_table_of_hyperparameters(logs):
    content = events(logs).SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data.content
    found = hparams_metadata.parse_session_start_info_plugin_data(content).hparams
    assert found["train.epochs"].number_value == EPOCHS
    assert found["model.streams"].string_value == "flow"
    assert found["augment.flip"].bool_value is False
    assert len(found["data"].string_value) == 64


def test_nothing_of_the_test_side_is_shown(run, logs):
    tested = read_run(run)["folds"][1]["test"]
    assert not [name for name in tested if name in (logs / "subjects_metadata.tsv").read_text()]
    assert {path.name for path in logs.iterdir() if path.is_dir()} == {"pictures", "train", "validation"}
    assert not [
        tag for folder in (logs, logs / "train") for tag in events(folder).Tags()["tensors"] if "test" in tag
    ]


def continued(folder, epochs):
    """Fits for `epochs`, a range, as a training that goes on at its first one; {epoch: loss}."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    x = np.ones((4, 2), np.float32)
    history = network.fit(
        x,
        x[:, :1] + epochs.start,
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        verbose=0,
        callbacks=[EpochFigures(folder)],
    ).history
    return dict(zip(epochs, history["loss"], strict=True))


def test_logs_of_a_training_that_goes_on_are_continued(tmp_path):
    first = continued(tmp_path, range(0, 3))
    time.sleep(1.1)  # names of event files count seconds
    second = continued(tmp_path, range(3, 5))
    assert scalars(tmp_path / "train", "epoch_loss") == pytest.approx(first | second, rel=1e-6)


def test_example_clips_are_not_drawn_again_when_a_training_goes_on(tmp_path):
    strips = {"PR": [np.zeros((4, 4, 3), np.uint8)]}
    for epoch in (0, 3):
        nothing = tf.data.Dataset.range(0)
        callback = Pictures(tmp_path / str(epoch), keras.Model(), nothing, ("PR", "WMs"), strips, 99)
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch)
        callback.on_train_end()
    assert list(pictures(tmp_path / "0", "example clips/PR")) == [0]
    assert not (tmp_path / "3").exists()


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of their pixels."""
    monkeypatch.setattr(tfgma.pictures, "figure_pixels", lambda figure: figure)


def lines_of(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}


def test_roc_curves_are_those_of_scikit_learn(drawn):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 40)  # no clip of the third class
    scores = rng.dirichlet(np.ones(3), 40)
    found = lines_of(roc_picture(labels, scores, ("a", "b", "c"), "title"))
    assert next(iter(found)) == "chance"
    assert list(found)[3] == "c: not defined"
    for number, (label, points) in enumerate(list(found.items())[1:3]):
        false_share, true_share, _ = sklearn.metrics.roc_curve(labels == number, scores[:, number])
        np.testing.assert_allclose(points, np.stack([false_share, true_share], 1))
        area = sklearn.metrics.roc_auc_score(labels == number, scores[:, number])
        assert label == f"{'ab'[number]}: area {area:.2f}, n = {(labels == number).sum()}"


def test_reliability_points_are_those_of_the_table(drawn):
    rng = np.random.default_rng(4)
    labels, scores = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    figure = reliability_picture(labels, scores, "title")
    table = [row for row in reliability_table(labels, scores) if row["n"]]
    expected = [[row["probability"], row["accuracy"]] for row in table]
    np.testing.assert_allclose(lines_of(figure)["answers"], expected)
    assert [text.get_text() for text in figure.axes[0].texts] == [str(row["n"]) for row in table]


HEADS = {
    "one": lambda x, y: keras.layers.Dense(3)(keras.layers.Dropout(0.5)(x)),
    "sum": lambda x, y: keras.layers.Add()([keras.layers.Dense(3)(x), keras.layers.Dense(3)(y)]),
    "mean of one": lambda x, y: keras.layers.Average()([keras.layers.Dense(3)(x), keras.layers.Dense(3)(x)]),
}


@pytest.mark.parametrize(("head", "columns"), [("one", [0, 1]), ("sum", [0, 1, 2]), ("mean of one", [0, 1])])
def test_features_are_what_the_heads_take(head, columns):
    x, y = keras.Input((2,), name="x"), keras.Input((1,), name="y")
    network = keras.Model({"x": x, "y": y}, {"logits": HEADS[head](x, y)})
    values = {"x": np.array([[1, 2], [3, 4]], np.float32), "y": np.array([[5], [6]], np.float32)}
    found = keras.Model(network.input, features_of(network)).predict_on_batch(values)
    np.testing.assert_array_equal(found, np.array([[1, 2, 5], [3, 4, 6]])[:, columns])


MODELS = {
    "two_stream, image_backbone: resnet10, flow_backbone: resnet10, image_width: 4, flow_width: 4": 32,
    "two_stream, fusion: concat, image_backbone: resnet10, flow_backbone: resnet10, image_width: 4, "
    "flow_width: 8": 32 + 64,
    "two_stream, fusion: sum, image_backbone: resnet10, flow_backbone: resnet10, image_width: 4, "
    "flow_width: 8": 32 + 64,
    "image, backbone: resnet10, width: 4, dropout: 0.5": 32,
    "frame_fusion, backbone: resnet10, width: 4": None,
    "cnn_lstm, backbone: resnet10, width: 4, units: 8": 8,
    "two_stream_3d, streams: single, image_backbone: resnet10, width: 4": 2 * 32,
    "stam, features: 4": 4,
    "video, network: x3d_m, width: 4": None,
}


@pytest.mark.parametrize("model", usual_and_thorough(MODELS, usual=[*MODELS][:4]))
def test_every_familys_logits_are_computed_from_its_features(model):
    study = load_study(STUDY, (f"model={{family: {model}}}", "inputs={pose_frames: 6, pose_stride: 3}"))
    keras.utils.set_random_seed(0)
    network = build_network(study, 3)
    features = features_of(network)
    assert len(features.shape) == 2
    assert MODELS[model] in (None, features.shape[1])
    rng = np.random.default_rng(0)
    inputs = {one.name: rng.normal(size=(4, *one.shape[1:])).astype(np.float32) for one in network.inputs}
    read, logits = keras.Model(network.input, [features, network.output["logits"]]).predict_on_batch(inputs)
    heads = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense) and layer.units == 3]
    kernel = np.concatenate([layer.kernel for layer in heads])
    bias = np.sum([layer.bias for layer in heads], axis=0)
    parts = len(heads) if "two_stream_3d" in model else 1
    assert np.ptp(read, axis=0).max() > 0
    size = np.abs(read).max() * np.abs(kernel).sum(axis=0).max()  # of the sums' terms, which rounding goes by
    np.testing.assert_allclose((read @ kernel + bias) / parts, logits, rtol=0, atol=1e-6 * size)


def ask(address, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


@pytest.mark.long
def test_a_tensorboard_shows_all_of_it_and_no_epoch_twice(run, tmp_path):
    first = continued(tmp_path / "again", range(0, 3))
    time.sleep(1.1)  # names of event files count seconds
    second = continued(tmp_path / "again", range(2, 4))
    (tmp_path / "run").symlink_to(run)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).parent / "tensorboard"),
        "--logdir",
        str(tmp_path),
        "--host",
        "127.0.0.1",
    ]
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address, logs, scalar_tags = f"http://127.0.0.1:{port}/data/plugin", "run/fold_1/logs", {}
    try:
        tags = {}
        until = time.monotonic() + 120
        while not (tags.get(f"{logs}/pictures") and "again/train" in scalar_tags):
            assert time.monotonic() < until
            assert server.poll() is None
            time.sleep(1)
            try:
                tags = json.loads(ask(address, "/images/tags"))
                scalar_tags = json.loads(ask(address, "/scalars/tags"))
            except OSError:
                continue
        assert {"ROC", "reliability", "confusion matrix", "example clips/PR"} <= set(tags[f"{logs}/pictures"])
        assert {"epoch_loss", "epoch_learning_rate"} <= set(scalar_tags[f"{logs}/train"])
        assert "best/accuracy_subject" in scalar_tags[logs]
        shown = json.loads(ask(address, "/scalars/scalars?run=again/train&tag=epoch_loss"))
        expected = [[epoch, (first | second)[epoch]] for epoch in range(4)]
        np.testing.assert_allclose([point[1:] for point in shown], expected, rtol=1e-6)
        assert logs in json.loads(ask(address, "/projector/runs"))
        (embedding,) = json.loads(ask(address, f"/projector/info?run={logs}"))["embeddings"]
        points = np.loadtxt(run / "fold_1" / "logs" / "subjects.tsv", delimiter="\t")
        assert embedding["tensorShape"] == list(points.shape)
        name = "subjects%20of%20fold%201"
        served = np.frombuffer(ask(address, f"/projector/tensor?run={logs}&name={name}"), np.float32)
        np.testing.assert_allclose(served.reshape(points.shape), points, rtol=1e-6)
        table = ask(address, f"/projector/metadata?run={logs}&name={name}").decode()
        assert table.startswith("subject\tclass\tside\tfold\n")
        groups = json.loads(
            ask(
                address,
                "/hparams/session_groups",
                {
                    "experimentName": "",
                    "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_RUNNING", "STATUS_SUCCESS"],
                    "aggregationType": "AGGREGATION_AVG",
                    "colParams": [],
                    "startIndex": 0,
                    "sliceSize": 9,
                },
            )
        )["sessionGroups"]
        assert [session["name"] for group in groups for session in group["sessions"]] == [logs]
        assert groups[0]["hparams"]["train.epochs"] == EPOCHS
        assert "best/accuracy_subject" in {one["name"]["tag"] for one in groups[0]["metricValues"]}
    finally:
        server.terminate()
        server.wait(30)
