"""Trains one network a fold and lets it answer for the subjects it was not trained on."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.build import INDEX, file_digest, read_index, with_network_digests
from pipelines.clips import Clip
from pipelines.dataset import Augmentation, clip_dataset, shard_paths
from pipelines.inputs import input_shape, refuse_missing
from pipelines.records import read_shard
from pipelines.schema import ClipSpec, Feature, RefusedError
from pipelines.splits import Fold
from pipelines.transforms import GeometryRange
from tfgma.config import AugmentSettings, StudyConfig, TrainSettings
from tfgma.models.families import FAMILIES
from tfgma.models.scopes import set_scope
from tfgma.outputs import LOGITS, probabilities_of, trained_outputs
from tfgma.pictures import clip_strip, confusion_picture
from tfgma.protocol import protocol_of
from tfgma.runs import (
    MODEL_FILE,
    PREDICTIONS,
    RUN_FILE,
    RUN_VERSION,
    Predictions,
    environment,
    fold_folder,
    write_json,
    write_predictions,
)
from tfgma.weights.packages import weights_file
from tfgma.weights.pretrained import head_layers, load_all_but_other_head, load_network, load_trunk

Progress = Callable[[int, int, str], None]
"""Called with epochs done, epochs in all, and a line of figures."""

HISTORY = "history.csv"
EVALUATION_BATCH = 32


def train(
    config: StudyConfig,
    dataset: Path,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """Trains the chosen folds (default: all) into the run folder `out`; returns the content of run.json.

    Raises:
        RefusedError: no data set there, one of another ClipSpec than the config's, or without a modality that
            the network takes, too few subjects, an unknown fold, a leak (a subject, a group or a recording on
            two sides of a fold), or `out` is not empty.
    """
    index = read_index(dataset)
    config = _as_built(config, index)
    _refuse_other_build(index, config)
    _refuse_unfit(config, index)
    protocol = protocol_of(index, config.split)
    splits = protocol.folds
    chosen = list(range(len(splits))) if folds is None else list(folds)
    for fold in chosen:
        if not 0 <= fold < len(splits):
            raise RefusedError(
                f"--fold must lie between 0 and {len(splits) - 1}, or be all. Received: {fold}"
            )
    _make_empty(out)
    run = {
        "run_version": RUN_VERSION,
        "config": config.model_dump(),
        "dataset": str(dataset.resolve()),
        "dataset_sha256": file_digest(dataset / INDEX),
        "classes": index["classes"],
        "folds": [vars(split) for split in splits],
        "lock_box": {"subjects": list(protocol.lock_box), "opened": []},
        "trained_folds": chosen,
        "environment": environment(),
    }
    for number, fold in enumerate(chosen):
        try:
            train_fold(config, dataset, index, splits[fold], fold, fold_folder(out, fold), progress)
        except BaseException:  # Ctrl-C too: a run holds finished folds only
            shutil.rmtree(fold_folder(out, fold), ignore_errors=True)
            raise
        write_json(out / RUN_FILE, run | {"trained_folds": chosen[: number + 1]})
    return run


def _as_built(config: StudyConfig, index: dict[str, Any]) -> StudyConfig:
    """The study with the options that the data set was built with, which no config need repeat.

    A bundle then blanks faces where the frames that it learned from had none.
    """
    made = {name: index["config"][name] for name in ("modalities", "deidentify")}
    return config.model_copy(update={"build": config.build.model_copy(update=made)})


def _refuse_other_build(index: dict[str, Any], config: StudyConfig) -> None:
    """A bundle prepares videos by the study's build settings, so the data must have been built by them."""
    build = config.build
    if build.deidentify:
        build = with_network_digests(build)
    wanted, found = flat(build.model_dump()), flat(index["config"])
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise RefusedError(
                f"the data set must be built with the config's settings, build.{key}={wanted.get(key)}. "
                f"Received: a data set with {found.get(key)}. Build it again, or change the config"
            )


def _refuse_unfit(config: StudyConfig, index: dict[str, Any]) -> None:
    """Says before hours of work what a network cannot take, or cannot start from."""
    model = config.model
    for name in FAMILIES[model.family].inputs:
        input_shape(name, config.build.clip, config.inputs)
    # A two-stream network of one stream takes no other input.
    alone = getattr(model, "streams", None)
    inputs = FAMILIES[model.family].inputs
    refuse_missing([alone] if alone in inputs else inputs, index["modalities"])
    if model.one_logit and len(index["classes"]) != 2:
        raise RefusedError(
            f"model.one_logit needs two classes. Received: {len(index['classes'])}, "
            f"{', '.join(index['classes'])}. Leave it out"
        )
    given = [path for path in (model.weights, *(path for path, _ in model.trunk_weights().values())) if path]
    if model.scope == "scratch" and given:
        raise RefusedError(
            f"model.scope scratch starts from random weights. Received: {given[0]}. Leave the weights out, "
            "or set the scope to all"
        )
    if model.scope not in ("all", "scratch") and not given:
        raise RefusedError(
            f"model.scope {model.scope} trains a part of a network that has weights. Received: no weights. "
            "Name them in model.weights, or set the scope to all"
        )


def flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as `{"clip.fps": 6.0, ...}`."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return out


def _make_empty(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise RefusedError(
                f"--out must be a new or empty folder. Received: {str(out)!r}, which holds files"
            )
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error.strerror})") from error


def build_network(config: StudyConfig, num_classes: int) -> keras.Model:
    """The study's network with the weights that it starts from; layers beyond its scope are frozen.

    Raises:
        RefusedError: an unreadable or foreign file of weights, or a scope that the network has not.
    """
    model = config.model
    family = FAMILIES[model.family]
    shapes = {name: input_shape(name, config.build.clip, config.inputs) for name in family.inputs}
    network = family(shapes, 1 if model.one_logit else num_classes, **model.builder_options())
    if model.weights is not None:
        load_all_but_other_head(network, Path(model.weights))
    for prefix, (path, trunk) in model.trunk_weights().items():
        load_trunk(network, weights_file(path, trunk), prefix)
    set_scope(network, model.scope, head_layers(network))
    return network


def augmentation_of(settings: AugmentSettings) -> Augmentation:
    """The settings as the data side takes them."""
    return Augmentation(
        flip=settings.flip,
        geometry=GeometryRange(settings.shift, settings.scale, settings.rotation_degrees),
        photometry=settings.photometry,
        temporal_jitter=settings.temporal_jitter,
    )


def make_optimizer(settings: TrainSettings, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """AdamW (amsgrad) whose rate warms up, then falls along a cosine to zero."""
    warmup = min(settings.warmup_epochs, settings.epochs - 1) * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 10 if warmup else settings.learning_rate,
        decay_steps=settings.epochs * steps_per_epoch - warmup,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay, amsgrad=True)


def train_fold(
    config: StudyConfig,
    dataset: Path,
    index: dict[str, Any],
    split: Fold,
    fold: int,
    out: Path,
    progress: Progress,
) -> None:
    """Trains on the fold's train side, keeps the epoch of least validation loss, answers for val and test."""
    settings = config.train
    spec, classes = config.build.clip, index["classes"]
    out.mkdir()
    keras.utils.set_random_seed(settings.seed + fold)
    network = build_network(config, len(classes))
    loader: dict[str, Any] = {
        "spec": spec,
        "inputs": [tensor.name for tensor in network.inputs],
        "settings": config.inputs,
        "modalities": index["modalities"],
    }
    train_shards = shard_paths(dataset, index, split.train)
    clips_in = {entry["shard"]: entry["clips"] for entry in index["videos"]}
    steps = -(-sum(clips_in[path.name] for path in train_shards) // settings.batch_size)
    training = clip_dataset(
        train_shards,
        batch_size=settings.batch_size,
        augmentation=augmentation_of(config.augment),
        shuffle=True,
        seed=settings.seed + fold,
        cache=settings.cache,
        **loader,
    )
    val_shards = shard_paths(dataset, index, split.val)
    validation = clip_dataset(val_shards, batch_size=EVALUATION_BATCH, cache=settings.cache, **loader)

    outputs = trained_outputs(network.output)
    one_logit = config.model.one_logit

    def for_fit(inputs: dict[str, Any], meta: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        labels = meta[Feature.LABEL]
        wanted = tf.cast(labels[:, None], tf.float32) if one_logit else tf.one_hot(labels, len(classes))
        return inputs, dict.fromkeys([LOGITS, *outputs], wanted)

    loss = keras.losses.BinaryCrossentropy if one_logit else keras.losses.CategoricalCrossentropy
    accuracy = (
        keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
        if one_logit
        else keras.metrics.CategoricalAccuracy("accuracy")
    )
    # Only what is trained: attention and maps have no labels.
    trainer = keras.Model(
        network.input, {name: network.output[name] for name in dict.fromkeys([LOGITS, *outputs])}
    )
    trainer.compile(
        optimizer=make_optimizer(settings, steps),
        loss={name: loss(from_logits=True, label_smoothing=settings.label_smoothing) for name in outputs},
        metrics={LOGITS: [accuracy]},
    )
    best = out / MODEL_FILE
    logs = out / "logs"
    example, _ = next(read_shard(train_shards[0], spec, index["modalities"]))
    history = trainer.fit(
        training.map(for_fit).apply(tf.data.experimental.assert_cardinality(steps)),
        validation_data=validation.map(for_fit),
        epochs=settings.epochs,
        verbose=0,
        callbacks=[
            PlainFigures(),
            BestNetwork(network, best),
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=settings.patience),
            keras.callbacks.TensorBoard(str(logs), write_graph=False, update_freq="epoch"),
            LearningRate(),
            TensorBoardPictures(logs, validation, classes, example, spec, settings.picture_every),
            _Progress(fold, settings.epochs, progress),
        ],
    ).history
    _write_history(out / HISTORY, history)
    network = load_network(best)
    sides = {"val": validation, "test": None}
    sides["test"] = clip_dataset(
        shard_paths(dataset, index, split.test), batch_size=EVALUATION_BATCH, **loader
    )
    write_predictions(
        out / PREDICTIONS, join([predict(network, data, classes, fold, side) for side, data in sides.items()])
    )


def predict(
    network: keras.Model, data: tf.data.Dataset, classes: Sequence[str], fold: int, side: str
) -> Predictions:
    """What `network` answers for every clip of `data`, as probabilities."""
    metas, answers = [], []
    for inputs, meta in data:
        logits = network.predict_on_batch(inputs)[LOGITS]
        answers.append(keras.ops.convert_to_numpy(probabilities_of(np.asarray(logits, np.float64))))
        metas.append({name: value.numpy() for name, value in meta.items()})

    def column(name: str) -> np.ndarray:
        return np.concatenate([meta[name] for meta in metas])

    labels = column(Feature.LABEL)
    return Predictions(
        classes=tuple(classes),
        folds=np.full(len(labels), fold),
        sides=np.full(len(labels), side),
        videos=np.char.decode(column(Feature.VIDEO).astype(bytes), "utf-8"),
        subjects=np.char.decode(column(Feature.SUBJECT).astype(bytes), "utf-8"),
        start_seconds=column(Feature.START_SECONDS),
        labels=labels,
        probabilities=np.concatenate(answers),
    )


def join(parts: Sequence[Predictions]) -> Predictions:
    """The rows of all parts, in order."""
    names = [name for name in vars(parts[0]) if name != "classes"]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Predictions(classes=parts[0].classes, **arrays)


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True)):
            writer.writerow([epoch, *values])


class BestNetwork(keras.callbacks.Callback):
    """Saves the whole network after each epoch of least validation loss."""

    def __init__(self, network: keras.Model, path: Path) -> None:
        """What to save, and where."""
        super().__init__()
        self._network, self._path, self._least = network, path, np.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        loss = (logs or {})["val_loss"]
        if loss < self._least or epoch == 0:
            self._least = loss
            self._network.save(self._path)


class PlainFigures(keras.callbacks.Callback):
    """Gives figures the same names for networks of one and of several heads.

    Each head's own loss is dropped: Keras 3.15 was seen to report half of it after a validation of one batch,
    while the sum, which counts, was right.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        for name in list(logs or {}):
            value = logs.pop(name)  # type: ignore[union-attr]
            plain = name.replace(f"{LOGITS}_accuracy", "accuracy")
            if not name.endswith("_loss") or name == "val_loss":
                logs[plain] = value  # type: ignore[index]


class LearningRate(keras.callbacks.Callback):
    """Adds the optimizer's current rate to the logs, for TensorBoard and the history."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        if logs is not None:
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class TensorBoardPictures(keras.callbacks.Callback):
    """An example clip at the start; the validation side's confusion matrix every few epochs."""

    def __init__(
        self,
        logs: Path,
        validation: tf.data.Dataset,
        classes: Sequence[str],
        example: Clip,
        spec: ClipSpec,
        every: int,
    ) -> None:
        """Keeps what the pictures are made from; `every` in epochs."""
        super().__init__()
        self._logs, self._validation, self._classes = logs / "pictures", validation, classes
        self._example, self._spec, self._every = example, spec, every

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        self._writer = tf.summary.create_file_writer(str(self._logs))
        strip = clip_strip(self._example, self._spec.max_flow_px)
        with self._writer.as_default(step=0):
            tf.summary.image("example clip: frames, joints, flow", strip[None])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        if (epoch + 1) % self._every:
            return
        answers = predict(self.model, self._validation, self._classes, 0, "val")
        size = len(self._classes)
        matrix = np.zeros((size, size), int)
        np.add.at(matrix, (answers.labels, answers.probabilities.argmax(axis=1)), 1)
        picture = confusion_picture(matrix, self._classes, f"validation clips, epoch {epoch + 1}")
        with self._writer.as_default(step=epoch):
            tf.summary.image("confusion matrix", picture[None])

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        self._writer.close()


class _Progress(keras.callbacks.Callback):
    def __init__(self, fold: int, epochs: int, progress: Progress) -> None:
        super().__init__()
        self._fold, self._epochs, self._tell = fold, epochs, progress

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        text = (
            f"fold {self._fold}  loss {logs.get('loss', np.nan):.3f}  val {logs.get('val_loss', np.nan):.3f}"
        )
        self._tell(epoch + 1, self._epochs, text + f"  val accuracy {logs.get('val_accuracy', np.nan):.2f}")
