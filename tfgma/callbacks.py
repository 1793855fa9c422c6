"""What happens during a training: checks, figures, progress, and the best network saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from pipelines.schema import RefusedError
from tfgma.outputs import LOGITS

Progress = Callable[[int, int, str], None]
"""Called with epochs done, epochs in all, and a line of figures."""


class FiniteLoss(keras.callbacks.Callback):
    """Stops a training whose loss is no number any more, and says where."""

    def __init__(self, fold: int, videos: Callable[[int], Sequence[str]]) -> None:
        """`videos`: those of a step's batch."""
        super().__init__()
        self._fold, self._videos, self._epoch = fold, videos, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this with the epoch's mean so far, which one such step spoils."""
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            where = f"step {batch + 1}, on clips of {', '.join(self._videos(batch))}"
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


class BestNetwork(keras.callbacks.Callback):
    """Saves the whole network after each epoch of least validation loss."""

    def __init__(self, network: keras.Model, path: Path, saved: keras.Model | None = None) -> None:
        """What to save, and where; `saved` is the same network, which is written with its weights."""
        super().__init__()
        self._network, self._path, self._least = network, path, np.inf
        self._saved = saved or network

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        loss = (logs or {})["val_loss"]
        if loss < self._least or epoch == 0:
            self._least = loss
            if self._saved is not self._network:
                self._saved.set_weights(self._network.get_weights())
            self._saved.save(self._path)


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
