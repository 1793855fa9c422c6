"""What TensorBoard shows of a fold: figures, pictures, example clips, settings, and subjects' features."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.optional import load
from pipelines.records import read_shard
from pipelines.schema import ClipSpec, Feature
from tfgma.answers import predict
from tfgma.metrics import classification_metrics
from tfgma.outputs import FEATURES
from tfgma.pictures import clip_strip, confusion_picture, reliability_picture, roc_picture
from tfgma.runs import Predictions
from tfgma.scores import poolings, scores_by
from tfgma.xla import answers_on

EXAMPLES = 3
"""Example clips of each class, of as many subjects."""

BEST_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "log_loss", "ece")
"""Of tfgma.metrics, by subject and by clip."""

SUBJECTS = "subjects.tsv"
SUBJECTS_METADATA = "subjects_metadata.tsv"


@dataclass(frozen=True)
class FoldLogs:
    """The logs of one fold, in `folder`.

    `train`, `validation`: figures of each epoch. `pictures`: of clips and of answers. The folder itself: the
    study's settings, figures of the saved network, its subjects' features. Nothing of the test side is
    there: who looks at TensorBoard is still choosing.
    """

    folder: Path
    fold: int
    classes: tuple[str, ...]

    def callbacks(
        self,
        *,
        settings: Mapping[str, Any],
        examples: Mapping[str, Sequence[np.ndarray]],
        network: keras.Model,
        validation: tf.data.Dataset,
        every: int,
    ) -> list[keras.callbacks.Callback]:
        """What a training of this fold calls; they come behind what changes an epoch's figures.

        Args:
            settings: the study's, `{"train.epochs": 3, ...}`.
            examples: class -> pictures (H, W, 3) uint8, see `example_strips`.
            network: has the epoch's weights by the time these are called.
            validation: batches of pipelines.dataset.clip_dataset.
            every: epochs between pictures.
        """
        return [
            EpochFigures(self.folder),
            Settings(self.folder, settings),
            Pictures(self.folder / "pictures", network, validation, self.classes, examples, every),
        ]

    def finish(
        self, network: keras.Model, sides: Mapping[str, tf.data.Dataset], validated: Predictions
    ) -> None:
        """Writes what is known once the fold's best network is, with pictures of its answers.

        Args:
            network: the saved one, by tfgma.outputs.with_features.
            sides: side -> batches of its clips as they are; each subject's features become a point of the
                projector.
            validated: what the network answers for the validation side.
        """
        writer = tf.summary.create_file_writer(str(self.folder))
        with writer.as_default(step=0):
            for name, value in best_figures(validated).items():
                tf.summary.scalar(name, value)
        writer.close()
        writer = tf.summary.create_file_writer(str(self.folder / "pictures"))
        with writer.as_default(step=0):
            for name, picture in answer_pictures(validated, self.classes, "best epoch").items():
                tf.summary.image(f"best/{name}", picture[None])
        writer.close()
        write_projector(self.folder, network, sides, self.classes, self.fold)


class _Writing(keras.callbacks.Callback):
    """Has a writer for each of its folders while it trains; they are made at first use."""

    def __init__(self) -> None:
        super().__init__()
        self._writers: dict[Path, tf.summary.SummaryWriter] = {}

    def _writer(self, folder: Path) -> tf.summary.SummaryWriter:
        if folder not in self._writers:
            self._writers[folder] = tf.summary.create_file_writer(str(folder))
        return self._writers[folder]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


class EpochFigures(_Writing):
    """Each epoch's figures, `epoch_loss` and so on, of both sides under one name.

    Keras's own callback also writes each head's loss as it stands before tfgma.callbacks.PlainFigures.
    """

    def __init__(self, folder: Path) -> None:
        """The fold's logs."""
        super().__init__()
        self._folder = folder

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        for name, value in (logs or {}).items():
            side = "validation" if name.startswith("val_") else "train"
            with self._writer(self._folder / side).as_default():
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", float(value), step=epoch)
        super().on_epoch_end(epoch, logs)


class Settings(_Writing):
    """The study's settings, for TensorBoard's table of hyperparameters."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """The fold's logs, and the settings by name; folds of equal settings are one row of the table."""
        super().__init__()
        self._folder = folder
        self._settings = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.items()
        }

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        with self._writer(self._folder).as_default():
            load("tensorboard.plugins.hparams.api", "train").hparams(self._settings)


class Pictures(_Writing):
    """Example clips as training begins; what the validation side's answers look like every few epochs."""

    def __init__(
        self,
        folder: Path,
        network: keras.Model,
        validation: tf.data.Dataset,
        classes: Sequence[str],
        examples: Mapping[str, Sequence[np.ndarray]],
        every: int,
    ) -> None:
        """Keeps what the pictures are made from; `every` in epochs."""
        super().__init__()
        self._network = network
        self._folder, self._validation, self._classes = folder, validation, classes
        self._examples, self._every = examples, every

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        if epoch:
            return
        with self._writer(self._folder).as_default(step=0):
            for name, pictures in self._examples.items():
                tf.summary.image(f"example clips/{name}", np.stack(pictures), max_outputs=EXAMPLES)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        if not (epoch + 1) % self._every:
            answers = predict(self._network, self._validation, self._classes, 0, "val")
            pictures = answer_pictures(answers, self._classes, f"epoch {epoch + 1}")
            with self._writer(self._folder).as_default(step=epoch):
                for name, picture in pictures.items():
                    tf.summary.image(name, picture[None])
        super().on_epoch_end(epoch, logs)


def answer_pictures(validated: Predictions, classes: Sequence[str], when: str) -> dict[str, np.ndarray]:
    """Pictures (H, W, 3) uint8 of what a network answers for the validation side's clips."""
    title = f"validation clips, {when}"
    labels, probabilities = validated.labels, validated.probabilities
    matrix = np.zeros((len(classes), len(classes)), int)
    np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
    return {
        "confusion matrix": confusion_picture(matrix, classes, title),
        "ROC": roc_picture(labels, probabilities, classes, title),
        "reliability": reliability_picture(labels, probabilities, title),
    }


def example_strips(
    dataset: Path, index: dict[str, Any], spec: ClipSpec, subjects: Sequence[str], *, masked: bool
) -> dict[str, list[np.ndarray]]:
    """Class -> pictures (H, W, 3) uint8 of the first clip of each of its first subjects among `subjects`.

    Args:
        dataset: the data set's folder.
        index: its dataset.json.
        spec: of its clips.
        subjects: those of the train side.
        masked: frames are cut out, so that the mask can be seen in them.
    """
    wanted = set(subjects)
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in index["classes"]}
    for entry in index["videos"]:
        strips = found.get(entry["label"], {})
        subject = entry["subject"]
        if not entry["shard"] or subject not in wanted or subject in strips or len(strips) == EXAMPLES:
            continue
        clip, _ = next(read_shard(dataset / "shards" / entry["shard"], spec, index["modalities"]))
        strips[subject] = clip_strip(clip, spec.max_flow_px, outline=masked)
    return {name: list(strips.values()) for name, strips in found.items() if strips}


def best_figures(validated: Predictions) -> dict[str, float]:
    """`best/accuracy_subject` and so on, those that are defined.

    TensorBoard's table of settings opens with the first names of the alphabet: with these.
    """
    found = {}
    for level in ("subject", "clip"):
        scores = scores_by(level, validated, poolings(validated, "mean"))
        figures = classification_metrics(scores.labels, scores.probabilities, scores.classes)
        for name in BEST_FIGURES:
            if figures[name] is not None:
                found[f"best/{name}_{level}"] = float(figures[name])
    return found


def write_projector(
    folder: Path,
    network: keras.Model,
    sides: Mapping[str, tf.data.Dataset],
    classes: Sequence[str],
    fold: int,
) -> None:
    """Writes the projector's files: a point a subject, its clips' mean of what the logits are made from.

    `network`: of tfgma.outputs.with_features.
    """
    rows, points = [], []
    for side, data in sides.items():
        for subject, label, features in _subjects(network, data):
            # A tab or a line break would tear the table.
            rows.append([" ".join(subject.split()), classes[label], side, fold])
            points.append([f"{value:.8g}" for value in features])
    _write_tsv(folder / SUBJECTS, points)
    _write_tsv(folder / SUBJECTS_METADATA, [["subject", "class", "side", "fold"], *rows])
    projector = load("tensorboard.plugins.projector", "train")
    config = projector.ProjectorConfig()
    config.embeddings.add(
        tensor_name=f"subjects of fold {fold}", tensor_path=SUBJECTS, metadata_path=SUBJECTS_METADATA
    )
    projector.visualize_embeddings(str(folder), config)


def _subjects(network: keras.Model, data: tf.data.Dataset) -> Iterator[tuple[str, int, np.ndarray]]:
    """Each subject of `data` with its label and its clips' mean features (F,) float64."""
    features: dict[str, list[np.ndarray]] = defaultdict(list)
    labels: dict[str, int] = {}
    for inputs, meta in data.as_numpy_iterator():
        batch = keras.ops.convert_to_numpy(answers_on(network, inputs)[FEATURES]).astype(np.float64)
        for row, name, label in zip(batch, meta[Feature.SUBJECT], meta[Feature.LABEL], strict=True):
            features[name.decode()].append(row)
            labels[name.decode()] = int(label)
    for name in sorted(features):
        yield name, labels[name], np.mean(features[name], axis=0)


def _write_tsv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(
            file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
        ).writerows(rows)
