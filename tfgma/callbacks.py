"""What happens during a training: checks, figures, progress, and the best network saved."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from pipelines.files import written_whole
from pipelines.schema import RefusedError
from tfgma.batches import InputWait
from tfgma.outputs import LOGITS

Progress = Callable[[int, int, str], None]
"""Called with epochs done, epochs in all, and a line of figures."""


TIMING = ("train_seconds", "input_wait")
"""Figures of an epoch that differ from run to run."""


class FiniteLoss(keras.callbacks.Callback):
    """Stops a training whose loss is no number any more, and says where."""

    def __init__(self, fold: int, videos: Callable[[int, int], Sequence[str]]) -> None:
        """`videos`: those of the batch of an epoch's step, both counted from 0."""
        super().__init__()
        self._fold, self._videos, self._epoch = fold, videos, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this with the epoch's mean so far, which one such step spoils."""
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            where = f"step {batch + 1}, on clips of {', '.join(self._videos(self._epoch, batch))}"
            self._refuse(loss, where, "look at these videos")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        loss = float((logs or {})["val_loss"])
        if not math.isfinite(loss):
            self._refuse(loss, "after the last step, on the validation side", "look at its videos")

    def _refuse(self, loss: float, where: str, look: str) -> None:
        raise RefusedError(
            f"a loss must be finite. Received: {loss} in fold {self._fold}, epoch {self._epoch + 1}, "
            f"{where}. Lower train.learning_rate, set train.clip_norm, or {look}"
        )


class PlainWeights(keras.callbacks.Callback):
    """Gives each epoch's weights to the network that is saved and asked in place of the trained one."""

    def __init__(self, network: keras.Model, plain: keras.Model) -> None:
        """From which to which."""
        super().__init__()
        self._network, self._plain = network, plain

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        self._plain.set_weights(self._network.get_weights())


class BestNetwork(keras.callbacks.Callback):
    """Saves the whole network after each epoch of least validation loss."""

    def __init__(self, network: keras.Model, path: Path) -> None:
        """What to save, and where."""
        super().__init__()
        self._network, self._path = network, path
        self.least = math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this.

        Raises:
            RefusedError: the disk is full, say; the network that was saved before is still there.
        """
        loss = float((logs or {})["val_loss"])
        if not (loss < self.least or epoch == 0):
            return
        self.least = loss
        try:
            # Keras looks at the ending, so the temporary name has it too.
            with written_whole(self._path) as temporary:
                whole = temporary.with_suffix(self._path.suffix)
                try:
                    self._network.save(whole)
                    os.replace(whole, temporary)
                finally:
                    whole.unlink(missing_ok=True)
        except OSError as error:
            raise RefusedError(
                f"the run's folder must take the network of the best epoch. Received: {error} in "
                f"{str(self._path.parent)!r}, after epoch {epoch + 1}. Make room, then call "
                "tfgma train --resume"
            ) from error


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


class HistoryFile(keras.callbacks.Callback):
    """Writes the figures of all epochs so far, one row each, as CSV."""

    def __init__(self, path: Path, only: Sequence[str] | None = None) -> None:
        """Where, and which figures; None for all that are known by then."""
        super().__init__()
        self._path, self._only = path, only
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        figures = {
            name: float(value)
            for name, value in (logs or {}).items()
            if self._only is None or name in self._only
        }
        self.rows.append({"epoch": epoch, **figures})
        with (
            written_whole(self._path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)


class LearningRate(keras.callbacks.Callback):
    """Adds the optimizer's current rate to the logs, for TensorBoard and the history."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        if logs is not None:
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class Timing(keras.callbacks.Callback):
    """Adds to the logs how long the epoch's steps took, and which share of that they waited for batches."""

    def __init__(self, wait: InputWait) -> None:
        """`wait`: measures the batches."""
        super().__init__()
        self._wait, self._begun, self._seconds = wait, 0.0, 0.0
        self._training = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        self._begun, self._training = time.perf_counter(), True

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Keras calls this when the steps are over and the validation begins."""
        if self._training:
            self._seconds, self._training = time.perf_counter() - self._begun, False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        if logs is not None:
            logs["train_seconds"] = self._seconds
            logs["input_wait"] = self._wait.taken() / self._seconds


def over_folds(progress: Progress, number: int, folds: int) -> Progress:
    """Tells the epochs of fold `number` (counted from 0) as part of those of all `folds` folds."""

    def tell(done: int, total: int, text: str) -> None:
        progress(number * total + done, folds * total, text)

    return tell


class ProgressLine(keras.callbacks.Callback):
    """Tells each epoch's losses."""

    def __init__(self, fold: int, epochs: int, progress: Progress) -> None:
        """Whom to tell, of how many epochs."""
        super().__init__()
        self._fold, self._epochs, self._tell = fold, epochs, progress

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        logs = logs or {}
        text = (
            f"fold {self._fold}  loss {logs.get('loss', np.nan):.3f}  val {logs.get('val_loss', np.nan):.3f}"
        )
        self._tell(epoch + 1, self._epochs, text + f"  val accuracy {logs.get('val_accuracy', np.nan):.2f}")
