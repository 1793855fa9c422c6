"""Trains one fold's network and lets it answer for the subjects it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import tensorflow as tf

from pipelines.build import INDEX, file_digest
from pipelines.dataset import Augmentation, clip_dataset, scaled, shard_paths
from pipelines.files import held
from pipelines.mixing import Mixing
from pipelines.sampling import Sampling
from pipelines.splits import SIDES, Fold
from pipelines.transforms import GeometryRange
from tfgma.answers import join, predict
from tfgma.batches import BatchVideos, InputWait, for_fit
from tfgma.callbacks import (
    TIMING,
    BestNetwork,
    FiniteLoss,
    HistoryFile,
    LearningRate,
    PlainFigures,
    PlainWeights,
    Progress,
    ProgressLine,
    Timing,
)
from tfgma.checkpoints import CHECKPOINT, Checkpoint
from tfgma.config import AugmentSettings, StudyConfig, flat
from tfgma.distillation import soft_labels
from tfgma.distribution import (
    Shares,
    batches_made,
    join_processes,
    leave_processes,
    refuse_uneven,
    share_statistics,
    shared_steps,
    shared_train,
    shared_validation,
    spread,
)
from tfgma.freed_memory import keep_freed_memory
from tfgma.losses import class_weights, head_weights, make_accuracy, make_loss
from tfgma.networks import build_network, computing_in
from tfgma.optimizers import make_optimizer, training_callbacks
from tfgma.outputs import LOGITS, trained_outputs, with_features
from tfgma.runs import HISTORY, LOGS, MODEL_FILE, PREDICTIONS, TIMING_FILE, write_predictions
from tfgma.stored_inputs import of_stored_inputs
from tfgma.tensorboard import FoldLogs, example_strips
from tfgma.tracking import fold_tracking
from tfgma.weights.pretrained import load_network
from tfgma.xla import jit_compile

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class FoldTask:
    """One fold of a study.

    `index`: the data set's. `out`: the fold's folder; a checkpoint that lies there is gone on from.
    `distribute`: see tfgma.distribution.
    """

    config: StudyConfig
    dataset: Path
    index: dict[str, Any]
    split: Fold
    fold: int
    out: Path
    distribute: str | None = None

    @property
    def seed(self) -> int:
        """Of all that is random in this fold."""
        return self.config.train.seed + self.fold

    def loader(self, inputs: Sequence[str]) -> dict[str, Any]:
        """What `clip_dataset` needs for the inputs, on every side."""
        return {
            "spec": self.config.build.clip,
            "inputs": list(inputs),
            "settings": self.config.inputs,
            "modalities": self.index["modalities"],
        }

    def shards(self, side: str) -> list[Path]:
        """Of the subjects of a side."""
        return shard_paths(self.dataset, self.index, getattr(self.split, side))

    def clips(self, side: str) -> int:
        """Of the subjects of a side, all of them."""
        return sum(one["clips"] for one in _entries(self.index, getattr(self.split, side)))


def _entries(index: dict[str, Any], subjects: Sequence[str]) -> list[dict[str, Any]]:
    chosen = set(subjects)
    return [entry for entry in index["videos"] if entry["shard"] and entry["subject"] in chosen]


def sampling_of(config: StudyConfig, index: dict[str, Any], split: Fold) -> Sampling:
    """How an epoch draws from the train side's clips, in the order of its shards."""
    entries = _entries(index, split.train)
    return Sampling(
        clips=tuple(entry["clips"] for entry in entries),
        subjects=tuple(entry["subject"] for entry in entries),
        classes=tuple(entry["label"] for entry in entries),
        clips_per_subject=config.train.clips_per_subject,
        balanced=config.train.balance == "sampling",
    )


def augmentation_of(settings: AugmentSettings) -> Augmentation:
    """The settings as the data side takes them."""
    return Augmentation(
        flip=settings.flip,
        geometry=GeometryRange(settings.shift, settings.scale, settings.rotation_degrees),
        photometry=settings.photometry,
        temporal_jitter=settings.temporal_jitter,
    )


def ready_to_train() -> None:
    """Sets what holds for a whole process that trains."""
    keep_freed_memory()
    # The input pipeline has threads of its own.
    cv2.setNumThreads(1)


def train_fold(task: FoldTask, progress: Progress) -> None:
    """Trains on the fold's train side, keeps the epoch of least validation loss, answers for val and test.

    Raises:
        RefusedError: the loss is not finite, the disk is full, or a checkpoint is not of this training.
    """
    ready_to_train()
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")  # which the backend needs for itself
    join_processes(task.distribute)
    task.out.mkdir(exist_ok=True)
    # A process whose parent was killed may still be about to end.
    with held(task.out, wait_seconds=30):
        _fit(task, progress)
        leave_processes(task.distribute)
        network = with_features(load_network(task.out / MODEL_FILE))
        loader = task.loader([tensor.name for tensor in network.inputs])
        sides = {
            side: clip_dataset(task.shards(side), batch_size=EVALUATION_BATCH, **loader) for side in SIDES
        }
        answers = {
            side: predict(network, sides[side], task.index["classes"], task.fold, side)
            for side in ("val", "test")
        }
        write_predictions(task.out / PREDICTIONS, join(list(answers.values())))
        # Whoever looks at the logs is still choosing, so nothing of the test side is there.
        _logs(task).finish(network, {side: sides[side] for side in ("train", "val")}, answers["val"])
        (task.out / CHECKPOINT).unlink(missing_ok=True)


def _fit(task: FoldTask, progress: Progress) -> None:
    """Trains; the best epoch's network lies in the fold's folder then."""
    config, settings, classes = task.config, task.config.train, task.index["classes"]
    soft = soft_labels(
        settings, task.fold, clip_dataset(task.shards("train"), batch_size=256, **task.loader([]))
    )
    # Saved and asked is a network of this process alone, which computes in float32, as weights always do.
    plain = None
    if settings.precision != "float32" or task.distribute is not None:
        plain = build_network(config, len(classes))
    keras.utils.set_random_seed(task.seed)
    sampling = sampling_of(config, task.index, task.split)
    counts = sampling.class_counts()
    mixing = Mixing(config.augment.mixup, config.augment.cutmix)
    with spread(task.distribute) as shares:
        refuse_uneven(settings.batch_size, shares)
        steps = shared_steps(sum(counts.values()), settings.batch_size, shares)
        made = batches_made(sum(counts.values()), settings.batch_size)
        with shares.building():
            with computing_in(settings.precision):
                network = build_network(config, len(classes))
            # Only what is trained: attention and maps have no labels.
            outputs = list(dict.fromkeys([LOGITS, *trained_outputs(network.output)]))
            stored = not mixing  # which is of what is scaled
            trainer = _compiled(network, outputs, config, steps, shares, stored=stored)
        weights = class_weights(settings, classes, counts)
        wait, videos = InputWait(), BatchVideos()
        batch = -(-EVALUATION_BATCH // shares.devices) * shares.devices
        loader = task.loader([tensor.name for tensor in network.inputs])
        as_stored = clip_dataset(
            task.shards("val"), batch_size=batch, cache=settings.cache, stored=True, **loader
        )
        validation = scaled(as_stored, config.inputs)
        callbacks = [
            FiniteLoss(task.fold, lambda epoch, step: videos.of(epoch * made + step)),
            PlainFigures(),
            *training_callbacks(settings),
            *([] if plain is None else [PlainWeights(network, plain)]),
            BestNetwork(plain or network, task.out / MODEL_FILE),
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=settings.patience),
            LearningRate(),
            HistoryFile(task.out / HISTORY),
            Timing(wait),
            HistoryFile(task.out / TIMING_FILE, only=TIMING),
            *_monitors(task, plain or network, validation),
            ProgressLine(task.fold, settings.epochs, progress),
        ]
        checkpoint = Checkpoint(task.out / CHECKPOINT, callbacks)
        with shares.building():
            first = checkpoint.restore(trainer)
        training = clip_dataset(
            task.shards("train"),
            batch_size=settings.batch_size,
            augmentation=augmentation_of(config.augment),
            shuffle=True,
            seed=task.seed,
            cache=settings.cache,
            sampling=sampling,
            epochs=range(first, settings.epochs),
            stored=stored,
            **loader,
        )
        one_logit = config.model.one_logit
        batches = for_fit(
            videos.noted(training, first * made),
            outputs,
            len(classes),
            one_logit=one_logit,
            class_weights=weights,
            soft=soft,
            mixing=mixing,
            size=config.build.clip.size,
            seed=task.seed,
            first=first * made,
        )
        clips = task.clips("val")
        validated = for_fit(
            as_stored if stored else validation, outputs, len(classes), one_logit=one_logit
        ).apply(tf.data.experimental.assert_cardinality(-(-clips // batch)))
        trainer.fit(
            wait.measured(shared_train(batches, shares)),
            validation_data=shared_validation(validated, clips, batch, shares),
            initial_epoch=first,
            epochs=settings.epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[*callbacks, checkpoint],
        )


def _compiled(
    network: keras.Model,
    outputs: Sequence[str],
    config: StudyConfig,
    steps: int,
    shares: Shares,
    *,
    stored: bool,
) -> keras.Model:
    """What is fitted: `outputs`, with losses, optimizer and accuracy.

    `stored`: whether it takes inputs as they are stored, not scaled.
    """
    settings, one_logit = config.train, config.model.one_logit
    trained = trained_outputs(network.output)
    inputs, answers = of_stored_inputs(network, config.inputs) if stored else (network.input, network.output)
    trainer = keras.Model(inputs, {name: answers[name] for name in outputs})
    accuracy = {LOGITS: [make_accuracy(one_logit=one_logit)]}
    if shares.devices > 1:
        share_statistics(trainer)
    trainer.compile(
        optimizer=make_optimizer(settings, steps),
        loss={name: make_loss(settings, one_logit=one_logit) for name in trained},
        loss_weights=head_weights(settings, trained),
        # Rows that only fill up a batch for several devices have no weight.
        metrics=accuracy if shares.devices == 1 else None,
        weighted_metrics=accuracy if shares.devices > 1 else None,
        jit_compile=jit_compile(),
    )
    return trainer


def _logs(task: FoldTask) -> FoldLogs:
    return FoldLogs(task.out / LOGS, task.fold, tuple(task.index["classes"]))


def _monitors(
    task: FoldTask, network: keras.Model, validation: tf.data.Dataset
) -> list[keras.callbacks.Callback]:
    """What shows people how a training goes."""
    config = task.config
    data = {"data": file_digest(task.dataset / INDEX)}
    examples = example_strips(
        task.dataset, task.index, config.build.clip, task.split.train, masked=config.build.mask_body
    )
    return [
        *_logs(task).callbacks(
            settings=flat(config.model_dump()) | data,
            examples=examples,
            network=network,
            validation=validation,
            every=config.train.picture_every,
        ),
        *fold_tracking(task.out.parent, task.fold),
    ]
