"""A whole small study on generated infants: train, evaluate, report, export, predict."""

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import tfgma.certificate
import tfgma.exporting
import tfgma.int8_file
from pipelines.build import read_index, write_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.inputs import clip_inputs
from pipelines.records import read_shard
from pipelines.schema import ClipSpec, RefusedError
from tests.in_process import export, train
from tests.small_network import FOR_IT, train_it
from tfgma.bundle import VARIANTS, read_bundle
from tfgma.certificate import Limits
from tfgma.config import load_study
from tfgma.evaluation import evaluate
from tfgma.inference import Predictor, TFLiteModel
from tfgma.optimizers import make_optimizer
from tfgma.report import write_report
from tfgma.runs import read_run, read_run_predictions
from tfgma.scores import poolings, scores_by
from tfgma.tflite import save_model

ANY_DECISION = Limits(changed_subjects=100, accuracy_loss=1)
"""After three epochs most clips are near a tie."""
STUDY = Path(__file__).parents[1] / "study.yaml"


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    told = []
    train(load_study(STUDY), dataset, out, folds=[0, 2], progress=lambda *args: told.append(args))
    assert [done for done, _, _ in told] == [1, 2, 3, 4, 5, 6]
    assert {total for _, total, _ in told} == {6}
    return out


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    export(run, out, fold=2, limits=ANY_DECISION)
    return out


def test_a_run_holds_what_it_promises(run, dataset):
    content = read_run(run)
    assert content["trained_folds"] == [0, 2]
    assert len(content["folds"]) == 3
    assert content["environment"]["packages"]["keras"] == keras.__version__
    for fold in (0, 2):
        names = {path.name for path in (run / f"fold_{fold}").iterdir()}
        assert {"model.keras", "logs", "predictions.csv", "history.csv"} <= names
        assert list((run / f"fold_{fold}" / "logs").rglob("events.out.tfevents.*"))


def test_no_subject_is_on_two_sides_in_the_written_records(run, dataset):
    index = read_index(dataset)
    spec = ClipSpec.model_validate(index["clip"])
    for split in read_run(run)["folds"]:
        sides = {}
        for side in ("train", "val", "test"):
            shards = shard_paths(dataset, index, split[side])
            sides[side] = {who.subject for path in shards for _, who in read_shard(path, spec)}
            assert sides[side] == set(split[side])
        assert not sides["train"] & sides["val"]
        assert not sides["train"] & sides["test"]
        assert not sides["val"] & sides["test"]


def test_predictions_are_the_networks_answers_for_the_right_clips(run, dataset):
    with (run / "fold_0" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    header = ["fold", "split", "video", "subject", "start_seconds", "label", "p_FMs", "p_PR", "p_WMs"]
    assert list(rows[0]) == header
    split = read_run(run)["folds"][0]
    for side in ("val", "test"):
        assert {row["subject"] for row in rows if row["split"] == side} == set(split[side])
    index = read_index(dataset)
    network = keras.saving.load_model(run / "fold_0" / "model.keras", compile=False)
    study = load_study(STUDY)
    data = clip_dataset(
        shard_paths(dataset, index, split["test"]),
        study.build.clip,
        batch_size=1,
        settings=study.inputs,
    )
    expected = {}
    for inputs, meta in data:
        logits = network.predict_on_batch(inputs)["logits"]
        key = (meta["video"][0].numpy().decode(), round(float(meta["start_seconds"][0]), 3))
        expected[key] = np.asarray(keras.ops.softmax(logits))[0]
    found = {
        (row["video"], float(row["start_seconds"])): [float(row[f"p_{name}"]) for name in index["classes"]]
        for row in rows
        if row["split"] == "test"
    }
    assert found.keys() == expected.keys()
    for key, probabilities in found.items():
        np.testing.assert_allclose(probabilities, expected[key], atol=1e-5)


def test_tensorboard_holds_scalars_and_pictures(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = set()
    for file in (run / "fold_0" / "logs").rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file), size_guidance={"tensors": 0})
        events.Reload()
        tags |= set(events.Tags()["tensors"])
    assert {"epoch_loss", "epoch_accuracy", "confusion matrix", "ROC", "example clips/PR"} <= tags
    assert any("learning_rate" in tag for tag in tags)


def test_metrics_are_those_of_the_predictions(run):
    from sklearn.metrics import accuracy_score, cohen_kappa_score

    metrics = evaluate(run)
    predictions = read_run_predictions(run)
    test = predictions.where(predictions.sides == "test")
    assert metrics["test"]["clip"]["accuracy"] == pytest.approx(
        accuracy_score(test.labels, test.probabilities.argmax(axis=1))
    )
    assert metrics["test"]["clip"]["kappa"] == pytest.approx(
        cohen_kappa_score(test.labels, test.probabilities.argmax(axis=1))
    )
    scores = scores_by("subject", test, poolings(test, "mean"))
    names, probabilities = scores.names, scores.probabilities
    assert metrics["test"]["subject"]["n"] == len(names) == 6
    one = test.subjects == names[0]
    np.testing.assert_allclose(probabilities[0], test.probabilities[one].mean(axis=0))
    assert json.loads((run / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert [fold["fold"] for fold in metrics["test"]["folds"]] == [0, 2]
    accuracies = [fold["subject"]["accuracy"] for fold in metrics["test"]["folds"]]
    spread = metrics["test"]["over_folds"]["subject"]["accuracy"]
    assert spread["mean"] == pytest.approx(np.mean(accuracies))
    assert spread["sd"] == pytest.approx(np.std(accuracies, ddof=1))


def test_the_report_is_one_file_that_needs_no_network(run):
    page = write_report(run, evaluate(run)).read_text()
    assert "Research use only" in page
    for subject in read_run(run)["folds"][0]["test"]:
        assert subject in page
    assert page.count("<svg") >= 4


def test_a_bundle_answers_as_keras_does(bundle, run):
    description = read_bundle(bundle)
    certificate = json.loads((bundle / "certificate.json").read_text())
    assert list(certificate["variants"]) == list(VARIANTS)
    assert certificate["variants"]["float32"]["clip"]["max_delta"] < 1e-4
    assert certificate["variants"]["float16"]["clip"]["max_delta"] < 1e-2
    assert description.inputs["flow"].shape == (64, 64, 20)
    evaluated = evaluate(run)["calibration"]["subject"]["temperatures"]
    assert [one["temperature"] for one in evaluated if one["fold"] == 2] == [
        description.calibration.temperature
    ]
    assert len(description.calibration.fits) == len(read_run(run)["folds"][2]["val"])
    names = {path.name for path in bundle.iterdir()}
    assert {"saved_model", "bundle.json", "certificate.json", "report.html", "MODEL_CARD.md"} <= names
    sizes = {v: (bundle / f"model_{v}.tflite").stat().st_size for v in VARIANTS}
    assert sizes["int8"] < 0.5 * sizes["float32"]
    assert sizes["float16"] < 0.65 * sizes["float32"]
    assert "Research use only" in (bundle / "MODEL_CARD.md").read_text()
    page = (bundle / "report.html").read_text()
    assert "Research use only" in page
    for figures in certificate["variants"].values():
        assert figures["sha256"] in page


def test_the_int8_file_computes_in_int8(bundle):
    model = TFLiteModel((bundle / "model_int8.tflite").read_bytes())
    kinds = {detail["name"]: detail["dtype"] for detail in model._interpreter.get_tensor_details()}
    floats = [name for name, kind in kinds.items() if kind == np.float32]
    # Two inputs, the probabilities, and the logits that these are made of.
    assert len(floats) == 4
    assert sum(name.startswith("serving_default") for name in floats) == 2
    assert sum(kind == np.int8 for kind in kinds.values()) > 40


def test_the_saved_model_takes_any_batch(bundle, dataset, run):
    import tensorflow as tf

    served = tf.saved_model.load(str(bundle / "saved_model")).signatures["serving_default"]
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.random((3, 64, 64, 3), np.float32),
        "flow": rng.uniform(-1, 1, (3, 64, 64, 20)).astype(np.float32),
    }
    probabilities = served(**{name: tf.constant(value) for name, value in inputs.items()})[
        "probabilities"
    ].numpy()
    lite = TFLiteModel((bundle / "model_float32.tflite").read_bytes())
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in inputs.items()}
        np.testing.assert_allclose(lite(one), probabilities[row], atol=1e-5)


def test_inputs_are_bound_by_name_whatever_their_order(bundle):
    lite = TFLiteModel((bundle / "model_float32.tflite").read_bytes())
    rng = np.random.default_rng(0)
    image = rng.random((1, 64, 64, 3), np.float32)
    flow = rng.uniform(-1, 1, (1, 64, 64, 20)).astype(np.float32)
    first, second = lite({"image": image, "flow": flow}), lite({"flow": flow, "image": image})
    np.testing.assert_array_equal(first, second)


def test_python_inputs_without_tensorflow_equal_those_of_tf_data(bundle, dataset):
    description = read_bundle(bundle)
    index = read_index(dataset)
    shard = dataset / "shards" / index["videos"][0]["shard"]
    spec = description.build.clip
    inputs, _ = next(iter(clip_dataset([shard], spec, batch_size=1, settings=description.sampling)))
    clip, _ = next(read_shard(shard, spec))
    mine = clip_inputs(clip, description.inputs, description.build.clip, description.sampling)
    np.testing.assert_allclose(mine["flow"], inputs["flow"], atol=1e-6)
    assert np.abs(mine["image"] - inputs["image"].numpy()).mean() < 0.005  # two JPEG decoders


def test_a_video_is_assessed_as_its_records_are(bundle, infants, dataset, run):
    """predict on the video file against the network's answers for the records that were built from it."""
    video = sorted(infants.glob("WMs/*/video.mp4"))[0]
    with Predictor(bundle) as predictor:
        answer = predictor.assess(video)
        again = predictor.assess(video)
    np.testing.assert_array_equal(answer.clip_probabilities, again.clip_probabilities)
    entry = next(e for e in read_index(dataset)["videos"] if e["subject"] == video.parent.name)
    description = read_bundle(bundle)
    network = keras.saving.load_model(run / "fold_2" / "model.keras", compile=False)
    clips = [clip for clip, _ in read_shard(dataset / "shards" / entry["shard"], description.build.clip)]
    assert len(answer.start_seconds) == len(clips) == 4
    for clip, probabilities in zip(clips, answer.clip_probabilities, strict=True):
        logits = network.predict_on_batch(
            clip_inputs(clip, description.inputs, description.build.clip, description.sampling)
        )["logits"]
        # The records' pictures went through JPEG, the video's did not.
        np.testing.assert_allclose(probabilities, np.asarray(keras.ops.softmax(logits))[0], atol=0.02)
    assert answer.predicted == answer.classes[int(answer.clip_probabilities.mean(axis=0).argmax())]


def test_a_network_slower_than_its_video_answers_the_same(bundle, infants, monkeypatch):
    """Clips wait in two sets of buffers, none of which may be filled again before it was answered."""
    video = sorted(infants.glob("WMs/*/video.mp4"))[0]
    with Predictor(bundle) as predictor:
        expected = predictor.assess(video)
        model = predictor._model
        outputs = model.outputs
        monkeypatch.setattr(model, "outputs", lambda inputs: (time.sleep(0.5), outputs(inputs))[1])
        found = predictor.assess(video)
    np.testing.assert_array_equal(found.clip_probabilities, expected.clip_probabilities)
    assert len({row.tobytes() for row in found.clip_probabilities}) > 1


def test_a_changed_model_file_is_refused(bundle, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    content = bytearray((copy / "model_int8.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model_int8.tflite").write_bytes(content)
    with pytest.raises(RefusedError, match=r"model_int8.tflite must be the exported file, SHA-256"):
        Predictor(copy, "int8")


def with_uneven_channels(run, out):
    """A copy of the run whose network has one channel of 2000 times the others, and is sure of itself."""
    shutil.copytree(run, out)
    file = out / "fold_2" / "model.keras"
    network = keras.saving.load_model(file, compile=False)
    for stream in ("spatial", "temporal"):
        (trunk,) = [layer for layer in network.layers if layer.name.startswith(f"{stream}-resnet")]
        for block in ("layer1-0", "layer2-0", "layer3-0", "layer4-0"):
            norm, conv = trunk.get_layer(f"{stream}-{block}-bn1"), trunk.get_layer(f"{stream}-{block}-conv2")
            gamma, beta, *rest = norm.get_weights()
            (kernel,) = conv.get_weights()
            for grown in (gamma, beta):
                grown[0] *= 2000
            kernel[:, :, 0] /= 2000
            norm.set_weights([gamma, beta, *rest])
            conv.set_weights([kernel])
    (classifier,) = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    classifier.set_weights([30 * weights for weights in classifier.get_weights()])
    network.save(file)
    return out


@pytest.mark.parametrize("steps", [0, 3])
def test_int8_that_is_off_is_fine_tuned_on_the_training_side(run, tmp_path, monkeypatch, steps):
    asked = []

    def fine_tune(network, original, batches, clips, **options):
        asked.append((next(iter(batches)), next(iter(clips)), options))

    monkeypatch.setattr(tfgma.int8_file, "fine_tune", fine_tune)
    monkeypatch.setattr(tfgma.int8_file, "TUNED_ABOVE", 0)
    options = {"fold": 2, "variants": ["int8"], "limits": ANY_DECISION, "fine_tuning_steps": steps}
    certificate = export(run, tmp_path / "bundle", **options)
    assert certificate["variants"]["int8"]["fine_tuning_steps"] == steps
    page = (tmp_path / "bundle" / "report.html").read_text()
    assert ("fine-tuned under its rounding for 3 steps" in page) == bool(steps) == bool(asked)
    for batch, calibration, given in asked:
        assert batch["flow"].shape == calibration["flow"].shape == (8, 64, 64, 20)
        # A twentieth of the study's.
        assert given["learning_rate"] == pytest.approx(1e-4)
        assert (given["steps"], given["float_layers"]) == (3, ())


@pytest.mark.thorough
def test_int8_that_would_decide_otherwise_computes_in_float32_where_most_is_lost(run, tmp_path):
    uneven = with_uneven_channels(run, tmp_path / "run")
    certificate = export(
        uneven,
        tmp_path / "bundle",
        fold=2,
        variants=["float32", "int8"],
        limits=ANY_DECISION,
    )
    int8 = certificate["variants"]["int8"]
    # Nothing is left of all channels but one.
    assert min(int8["losses"].values()) > 0.9
    assert set(int8["losses"]) <= set(int8["float_layers"])


@pytest.mark.thorough
def test_eight_bits_that_fail_on_the_test_side_alone_name_their_layers_too(run, tmp_path, monkeypatch):
    for room in (tfgma.exporting, tfgma.certificate):
        monkeypatch.setattr(room, "failures", lambda *_: ["it is another file"])
    monkeypatch.setattr(tfgma.int8_file, "failures", lambda *_: [])
    named = r"it is another file \(most is lost in [^)]*(bn|relu)\d"
    with pytest.raises(RefusedError, match=rf"dynamic: {named}.*int8: {named}"):
        export(run, tmp_path / "bundle", fold=2, variants=["dynamic", "int8"])
    assert list(tmp_path.iterdir()) == []


def die(task, tell):
    tell(2, "int8")
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_conversion_that_kills_its_process_is_one_sentence(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tfgma.exporting, "write_models", die)
    with pytest.raises(RefusedError, match=r"Received: signal SIGSEGV.*Leave a variant out \(while.*int8\)$"):
        tfgma.exporting.export(run, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_attention_cannot_tell_it(run, tmp_path):
    with pytest.raises(RefusedError, match=r'^--attention needs .* family stam. Received: "two_stream"'):
        export(run, tmp_path / "bundle", attention=True)
    assert list(tmp_path.iterdir()) == []


def test_float32_that_differs_from_keras_is_not_exported(run, tmp_path, monkeypatch):
    from tfgma import forms as room

    def wrong(network, path, batch=None, also=()):
        save_model(keras.models.clone_model(network), path, batch, also)  # fresh random weights

    monkeypatch.setattr(room, "save_model", wrong)
    with pytest.raises(RefusedError, match=r"float32: a clip's probability is off by .*0.0001 is allowed"):
        export(run, tmp_path / "bundle", variants=["float32"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("build.clip.size=96", r"config's settings, build.clip.size=96. Received: a data set with 64"),
        ("build.flow.method=dis", r"build.flow.method=dis. Received: a data set with farneback"),
    ],
)
def test_a_data_set_built_otherwise_than_the_config_says_is_refused(dataset, tmp_path, change, message):
    study = load_study(STUDY, (change,))
    with pytest.raises(RefusedError, match=message):
        train(study, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "folds", "message"),
    [
        ("inputs.num_flows=99", [0], r"num_flows must be at most the 12 flows"),
        ("train.epochs=1", [3], r"--fold must lie between 0 and 2, or be all. Received: 3"),
        ("split.folds=9", [0], r"each class needs at least 9 groups"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    dataset, tmp_path, change, folds, message
):
    with pytest.raises(RefusedError, match=message):
        train(load_study(STUDY, (change,)), dataset, tmp_path / "run", folds=folds)
    assert not (tmp_path / "run").exists()


def changed(dataset, out, change):
    """A copy of the data set whose entries `change` has changed."""
    shutil.copytree(dataset, out)
    index = read_index(out)
    change(index)
    write_index(out, index)
    return out


def same_file(index):
    first, second = index["videos"][0], index["videos"][3]  # of one class, so on two sides of some fold
    second["sha256"] = first["sha256"]


def near_duplicate(index):
    first, second = index["videos"][0], index["videos"][3]
    second["fingerprint"] = first["fingerprint"]


def leaking_folds(index):
    names = [entry["subject"] for entry in index["videos"]]
    index["folds"] = [{"train": names[:4], "val": names[4:6], "test": names[3:]}]


def torn_group(index):
    leaking_folds(index)
    names = [entry["subject"] for entry in index["videos"]]
    index["folds"][0]["test"] = names[6:]
    for entry in (index["videos"][0], index["videos"][8]):
        entry["group"] = "twins"


def fixed_test(index):
    index["videos"][0]["split"] = "test"


def older(index):
    del index["videos"][3]["fingerprint"]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            same_file,
            (),
            r"'infant_001' in .* of 'infant_004' in .* of fold .*the same file. Give both",
        ),
        (near_duplicate, (), r"'WMs__infant_001__video' of .* 'WMs__infant_004__video' of .*near-duplicates"),
        (near_duplicate, ("split.scheme=nested",), r"near-duplicates.*Give both subjects one group"),
        (leaking_folds, ("split.from_dataset=true",), r"a subject must be on one side.*train and test"),
        (torn_group, ("split.from_dataset=true",), r"a group must be on one side.*both of group 'twins'"),
        (fixed_test, (), r"split.scheme must be fixed. Received: 'folds', and 1 subjects with test"),
        (older, (), r"must have a fingerprint"),
    ],
)
def test_a_leak_is_refused_before_anything_is_written(dataset, tmp_path, change, settings, message):
    data = changed(dataset, tmp_path / "data", change)
    with pytest.raises(RefusedError, match=message):
        train(load_study(STUDY, settings), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_group_heals_a_leak(dataset, tmp_path, monkeypatch):
    """And the two subjects are on one side in the written records of every fold."""

    def healed(index):
        first, second = index["videos"][:2]
        second |= {"group": first["group"], "sha256": first["sha256"], "fingerprint": first["fingerprint"]}

    train_it(monkeypatch)
    data = changed(dataset, tmp_path / "data", healed)
    study = load_study(STUDY, ("train.epochs=1", *FOR_IT))
    run = train(study, data, tmp_path / "run", folds=[0])
    index, spec = read_index(data), study.build.clip
    twins = {index["videos"][place]["subject"] for place in (0, 1)}
    for fold in run["folds"]:
        on = []
        for side in ("train", "val", "test"):
            shards = shard_paths(data, index, fold[side])
            on.append({who.subject for path in shards for _, who in read_shard(path, spec)} & twins)
        assert sorted(on, key=len) == [set(), set(), twins]


def test_the_side_that_the_manifest_fixes_is_tested_in_every_fold(dataset, tmp_path, monkeypatch):
    def first_of_each_class(index):
        for place in (0, 1, 2):
            index["videos"][place]["split"] = "test"

    train_it(monkeypatch)
    data = changed(dataset, tmp_path / "data", first_of_each_class)
    settings = ("split.scheme=fixed", "split.folds=2", "train.epochs=1", *FOR_IT)
    train(load_study(STUDY, settings), data, tmp_path / "run")
    index = read_index(data)
    kept = {entry["subject"] for entry in index["videos"] if entry["split"] == "test"}
    predictions = read_run_predictions(tmp_path / "run")
    validated = []
    for fold in (0, 1):
        part = predictions.where(predictions.folds == fold)
        assert set(part.subjects[part.sides == "test"]) == kept
        validated += sorted(set(part.subjects[part.sides == "val"]))
        assert not kept & set(read_run(tmp_path / "run")["folds"][fold]["train"])
    assert sorted(validated) == sorted(entry["subject"] for entry in index["videos"] if not entry["split"])


def test_a_run_that_is_stopped_keeps_finished_folds_only(dataset, tmp_path, monkeypatch):
    def stop_in_second_fold(done, total, text):
        if text.startswith("fold 1"):
            raise KeyboardInterrupt

    train_it(monkeypatch)
    study = load_study(STUDY, ("train.epochs=1", *FOR_IT))
    with pytest.raises(KeyboardInterrupt):
        train(study, dataset, tmp_path / "run", progress=stop_in_second_fold)
    assert read_run(tmp_path / "run")["trained_folds"] == [0]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["fold_0", "fold_1", "run.json"]
    assert evaluate(tmp_path / "run")["test"]["subject"]["n"] == 3


def test_a_run_is_never_overwritten(run, dataset):
    with pytest.raises(RefusedError, match=r"new or empty folder. .* holds a run. .*go on .* --resume"):
        train(load_study(STUDY), dataset, run)


def test_what_is_no_run_or_bundle_is_refused(tmp_path, run):
    with pytest.raises(RefusedError, match=r"RUN must be a folder that tfgma train wrote"):
        evaluate(tmp_path)
    with pytest.raises(RefusedError, match=r"--model must be a folder that tfgma export wrote"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text('{"bundle_version": 7}')
    with pytest.raises(RefusedError, match=r"version 4. Received: 7"):
        read_bundle(tmp_path)
    with pytest.raises(RefusedError, match=r"--fold must be one of \[0, 2\]. Received: 1"):
        export(run, tmp_path / "out", fold=1)
    with pytest.raises(RefusedError, match=r"--out must be a new or empty folder"):
        export(run, tmp_path)


def test_the_rate_warms_up_and_falls():
    settings = load_study(STUDY).train
    schedule = make_optimizer(settings, steps_per_epoch=10)._learning_rate
    rates = [float(schedule(step)) for step in range(30)]
    assert rates[0] == pytest.approx(settings.learning_rate / 10)
    assert max(rates) == pytest.approx(settings.learning_rate, rel=1e-3)
    assert rates.index(max(rates)) == 10
    assert rates[-1] < 0.05 * settings.learning_rate
