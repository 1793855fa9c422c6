"""Labels with a teacher's answers in them: values, a student that has nothing to learn, refusals."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.build import read_index
from pipelines.schema import RefusedError
from tests.in_process import train
from tests.small_network import train_it
from tests.tfgma.test_study import STUDY, changed
from tests.tfgma.test_training import QUICK, history
from tfgma.batches import for_fit
from tfgma.config import load_study
from tfgma.distillation import SoftLabels, clip_keys, soft_labels, softened
from tfgma.fold_clips import fold_clips
from tfgma.runs import MODEL_FILE, fold_folder, read_run, write_json
from tfgma.weights.pretrained import load_network


def one_head(config, num_classes):
    """Answers by the spread of flows; computes the same in training as after."""
    flow = keras.Input((64, 64, 4), name="flow")
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.abs(flow))
    logits = keras.layers.Dense(
        num_classes, name="logits", kernel_initializer=keras.initializers.RandomNormal(stddev=2, seed=1)
    )(10 * x)
    network = keras.Model({"flow": flow}, {"logits": logits})
    if config.model.weights is not None:
        network.load_weights(config.model.weights)
    return network


@pytest.fixture(scope="module")
def teacher(dataset, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        train_it(patch, one_head)
        out = tmp_path_factory.mktemp("teacher") / "run"
        train(load_study(STUDY, (*QUICK, "train.epochs=1")), dataset, out, folds=[0])
    return out


@pytest.fixture
def small(monkeypatch):
    train_it(monkeypatch, one_head)


def test_a_temperature_divides_the_logits():
    logits = np.array([[2.0, -1.0, 0.5], [30.0, 0.0, -30.0]])
    probabilities = np.asarray(keras.ops.softmax(logits))
    wanted = np.asarray(keras.ops.softmax(logits / 4))
    np.testing.assert_allclose(softened(probabilities, 4)[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(softened(probabilities, 1), probabilities, atol=1e-6)
    assert softened(np.array([[1.0, 0.0]]), 2)[0, 1] > 0


def test_each_clip_gets_the_answer_to_itself():
    videos, starts = tf.constant(["b/1.mp4", "a/1.mp4", "b/1.mp4"]), tf.constant([0.0, 0.0, 1.3333334])
    answers = np.array([[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]], np.float32)
    soft = SoftLabels(clip_keys(videos, starts).numpy(), answers, share=0.25)
    order = [2, 0, 1, 0]
    inputs = {"flow": tf.zeros((4, 2, 2, 2))}
    meta = {"label": tf.constant([1, 0, 0, 1])}
    meta |= {"video": tf.gather(videos, order), "start_seconds": tf.gather(starts, order)}
    data = tf.data.Dataset.from_tensors((inputs, meta))
    ((_, labels, weights),) = for_fit(
        data, ["logits"], 2, one_logit=False, soft=soft, class_weights=[1.0, 3.0]
    )
    wanted = 0.75 * np.eye(2)[[1, 0, 0, 1]] + 0.25 * answers[order]
    np.testing.assert_allclose(labels["logits"], wanted, rtol=1e-6)
    np.testing.assert_array_equal(weights, [3, 1, 1, 3])  # by the true class
    ((_, labels),) = for_fit(data, ["logits"], 2, one_logit=True, soft=soft)
    np.testing.assert_allclose(labels["logits"], wanted[:, 1:], rtol=1e-6)


def test_who_answers_as_the_teacher_has_the_entropy_of_its_answers_as_loss(small, teacher, dataset, tmp_path):
    """A student with its teacher's weights and nothing but the teacher's answers as labels."""
    weights = fold_folder(teacher, 0) / MODEL_FILE
    student = (
        *QUICK,
        f"model.weights={weights}",
        "train.learning_rate=1e-9",
        f"train.teacher={teacher}",
        "train.teacher_share=1",
        "train.teacher_temperature=1",
    )
    train(load_study(STUDY, student), dataset, tmp_path / "run", folds=[0])
    network = load_network(weights)
    answers = [
        np.asarray(keras.ops.softmax(network.predict_on_batch(inputs)["logits"]))
        for inputs, _ in fold_clips(teacher, 0, "train", network).as_numpy_iterator()
    ]
    p = np.concatenate(answers)
    entropy = -(p * np.log(p)).sum(axis=1).mean()
    assert np.ptp(p.max(axis=1)) > 0.01, "answers must differ, or any order of clips would do"
    np.testing.assert_allclose(history(tmp_path / "run")["loss"], entropy, rtol=1e-4)


def test_a_teacher_s_share_changes_what_is_learnt(small, teacher, dataset, tmp_path):
    losses = {}
    for share in (0.3, 0.9):
        sets = (*QUICK, f"train.teacher={teacher}", f"train.teacher_share={share}")
        train(load_study(STUDY, sets), dataset, tmp_path / f"{share}", folds=[0])
        losses[share] = history(tmp_path / f"{share}")["val_loss"][-1]
    assert losses[0.3] != losses[0.9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"classes": ["FMs", "PR"]},
            r"data's classes, FMs, PR, WMs. Received: FMs, PR of '.*'. Train a teacher",
        ),
        ({"trained_folds": [1]}, r"each fold that its student is. Received: folds \[1\] of '.*', without 0"),
        (
            {"folds": [{}, {}, {}]},
            r"must have its student's folds, .* of fold 0 in '.*'. Train both",
        ),
    ],
)
def test_a_teacher_of_another_study_is_refused_before_anything_is_written(
    small, teacher, dataset, tmp_path, change, message
):
    other = tmp_path / "teacher"
    shutil.copytree(teacher, other)
    write_json(other / "run.json", read_run(other) | change)
    with pytest.raises(RefusedError, match=message):
        train(load_study(STUDY, (*QUICK, f"train.teacher={other}")), dataset, tmp_path / "run", folds=[0])
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_no_teacher(small, dataset, tmp_path):
    sets = (*QUICK, f"train.teacher={tmp_path / 'nothing'}")
    with pytest.raises(RefusedError, match=r"RUN must be a folder that tfgma train wrote"):
        train(load_study(STUDY, sets), dataset, tmp_path / "run", folds=[0])


def test_clips_that_the_teacher_does_not_know_are_refused(teacher, dataset, tmp_path):
    def without_one(index):
        known = read_run(teacher)["folds"][0]["train"]
        index["videos"] = [one for one in index["videos"] if one["subject"] != known[0]]

    other = tmp_path / "teacher"
    shutil.copytree(teacher, other)
    fewer = changed(dataset, tmp_path / "data", without_one)
    write_json(other / "run.json", read_run(other) | {"dataset": str(fewer)})
    study = load_study(STUDY, (*QUICK, f"train.teacher={other}"))
    network = load_network(fold_folder(teacher, 0) / MODEL_FILE)
    data = fold_clips(teacher, 0, "train", network)
    with pytest.raises(RefusedError, match=r"does not know .*@\d+\.\d+ \(video@seconds\). Build both"):
        soft_labels(study.train, 0, data)
    assert read_index(dataset)["videos"], "the data set itself is as it was"


@pytest.mark.parametrize("name", ["teacher_share", "teacher_temperature"])
def test_a_teacher_s_settings_need_one(name):
    with pytest.raises(RefusedError, match=rf"{name} needs a teacher. Received: none. Name a run, or leave"):
        load_study(STUDY, (f"train.{name}=1",))
