"""Trains one network a fold and lets it answer for the subjects it was not trained on."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipelines.build import INDEX, file_digest, read_index, with_network_digests
from pipelines.dataset import Augmentation, clip_dataset, shard_paths
from pipelines.inputs import input_shape, refuse_missing
from pipelines.mixing import Mixing
from pipelines.sampling import Sampling
from pipelines.schema import RefusedError
from pipelines.splits import Fold
from pipelines.transforms import GeometryRange
from tfgma.answers import join, predict
from tfgma.batches import BatchVideos, for_fit
from tfgma.callbacks import (
    BestNetwork,
    FiniteLoss,
    LearningRate,
    PlainFigures,
    Progress,
    ProgressLine,
    over_folds,
)
from tfgma.config import AugmentSettings, StudyConfig
from tfgma.losses import class_weights, head_weights, make_accuracy, make_loss
from tfgma.models.families import FAMILIES
from tfgma.models.scopes import set_scope
from tfgma.optimizers import make_optimizer, training_callbacks
from tfgma.outputs import LOGITS, trained_outputs
from tfgma.protocol import protocol_of
from tfgma.runs import (
    MODEL_FILE,
    PREDICTIONS,
    RUN_FILE,
    RUN_VERSION,
    environment,
    fold_folder,
    write_json,
    write_predictions,
)
from tfgma.tensorboard import FoldLogs, example_strips
from tfgma.tracking import Started, fold_tracking
from tfgma.weights.packages import weights_file
from tfgma.weights.pretrained import head_layers, load_all_but_other_head, load_network, load_trunk

HISTORY = "history.csv"
EVALUATION_BATCH = 32


def train(
    config: StudyConfig,
    dataset: Path,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    progress: Progress = lambda done, total, text: None,
    started: Started = lambda run, settings: None,
) -> dict[str, Any]:
    """Trains the chosen folds (default: all) into the run folder `out`; returns the content of run.json.

    `started` is called once nothing is left to be refused, see tfgma.tracking.

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
        # Refuses what a fold's classes cannot give before hours of work on the folds before it.
        class_weights(config.train, index["classes"], _sampling(config, index, splits[fold]).class_counts())
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
    started(out, flat(config.model_dump()) | {"data": run["dataset_sha256"]})
    for number, fold in enumerate(chosen):
        try:
            tell = over_folds(progress, number, len(chosen))
            train_fold(config, dataset, index, splits[fold], fold, fold_folder(out, fold), tell)
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
    if config.augment.cutmix and "pose" in inputs:
        raise RefusedError(
            f"augment.cutmix cuts pictures, which {model.family} does not take. Received: "
            f"{config.augment.cutmix:g}. Set it to 0; augment.mixup mixes joints"
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
    if config.train.head_weights is not None:
        network = build_network(config, len(index["classes"]))
        head_weights(config.train, trained_outputs(network.output))


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


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Layers that are made here compute in `precision`; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _sampling(config: StudyConfig, index: dict[str, Any], split: Fold) -> Sampling:
    """How an epoch draws from the train side's clips, in the order of its shards."""
    side = set(split.train)
    entries = [entry for entry in index["videos"] if entry["shard"] and entry["subject"] in side]
    return Sampling(
        clips=tuple(entry["clips"] for entry in entries),
        subjects=tuple(entry["subject"] for entry in entries),
        classes=tuple(entry["label"] for entry in entries),
        clips_per_subject=config.train.clips_per_subject,
        balanced=config.train.balance == "sampling",
    )


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
    with _computing_in(settings.precision):
        network = build_network(config, len(classes))
    loader: dict[str, Any] = {
        "spec": spec,
        "inputs": [tensor.name for tensor in network.inputs],
        "settings": config.inputs,
        "modalities": index["modalities"],
    }
    train_shards = shard_paths(dataset, index, split.train)
    sampling = _sampling(config, index, split)
    counts = sampling.class_counts()
    steps = -(-sum(counts.values()) // settings.batch_size)
    training = clip_dataset(
        train_shards,
        batch_size=settings.batch_size,
        augmentation=augmentation_of(config.augment),
        shuffle=True,
        seed=settings.seed + fold,
        cache=settings.cache,
        sampling=sampling if sampling.balanced or sampling.clips_per_subject else None,
        **loader,
    )
    val_shards = shard_paths(dataset, index, split.val)
    validation = clip_dataset(val_shards, batch_size=EVALUATION_BATCH, cache=settings.cache, **loader)

    trained = trained_outputs(network.output)
    # Only what is trained: attention and maps have no labels.
    outputs = list(dict.fromkeys([LOGITS, *trained]))
    one_logit = config.model.one_logit
    trainer = keras.Model(network.input, {name: network.output[name] for name in outputs})
    trainer.compile(
        optimizer=make_optimizer(settings, steps),
        loss={name: make_loss(settings, one_logit=one_logit) for name in trained},
        loss_weights=head_weights(settings, trained),
        metrics={LOGITS: [make_accuracy(one_logit=one_logit)]},
    )
    videos = BatchVideos()
    batches = for_fit(
        videos.noted(training),
        outputs,
        len(classes),
        one_logit=one_logit,
        class_weights=class_weights(settings, classes, counts),
        mixing=Mixing(config.augment.mixup, config.augment.cutmix),
        size=spec.size,
        seed=settings.seed + fold,
    )
    best = out / MODEL_FILE
    # Weights are float32 in every precision; what is saved computes in it as well.
    saved = network if settings.precision == "float32" else build_network(config, len(classes))
    logs = FoldLogs(out / "logs", fold, tuple(classes))
    history = trainer.fit(
        batches.apply(tf.data.experimental.assert_cardinality(steps)),
        validation_data=for_fit(validation, outputs, len(classes), one_logit=one_logit),
        epochs=settings.epochs,
        verbose=0,
        callbacks=[
            FiniteLoss(fold, videos.of),
            PlainFigures(),
            *training_callbacks(settings),
            BestNetwork(network, best, saved),
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=settings.patience),
            LearningRate(),
            *logs.callbacks(
                settings=flat(config.model_dump()) | {"data": file_digest(dataset / INDEX)},
                examples=example_strips(dataset, index, spec, split.train, masked=config.build.mask_body),
                validation=validation,
                every=settings.picture_every,
            ),
            *fold_tracking(out.parent, fold),
            ProgressLine(fold, settings.epochs, progress),
        ],
    ).history
    _write_history(out / HISTORY, history)
    network = load_network(best)
    sides = {"val": validation, "test": None}
    sides["test"] = clip_dataset(
        shard_paths(dataset, index, split.test), batch_size=EVALUATION_BATCH, **loader
    )
    answers = {side: predict(network, data, classes, fold, side) for side, data in sides.items()}
    write_predictions(out / PREDICTIONS, join(list(answers.values())))
    trained_on = clip_dataset(train_shards, batch_size=EVALUATION_BATCH, **loader)
    logs.finish(network, {"train": trained_on, "val": validation}, answers["val"])


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True)):
            writer.writerow([epoch, *values])
