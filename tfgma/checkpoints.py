"""A training's state after an epoch: all that its next epoch depends on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.files import written_whole
from pipelines.schema import RefusedError
from tfgma.callbacks import BestNetwork, HistoryFile

CHECKPOINT = "checkpoint.npz"

CALLBACK_STATE: dict[type[keras.callbacks.Callback], tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    BestNetwork: ("least",),
    HistoryFile: ("rows",),
}
"""What callbacks keep in Python alone, from one epoch to the next."""


class Checkpoint(keras.callbacks.Callback):
    """Writes the state before each epoch but the first; stands last among the callbacks.

    The state is that of weights, optimizer (and with it of the rate and of the weights' average), seeds of
    random layers, and callbacks. Which clips an epoch takes, in which order and how they are changed depends
    on its number alone, so an epoch that was cut short is repeated as it was.
    """

    def __init__(self, path: Path, others: Sequence[keras.callbacks.Callback]) -> None:
        """`others`: the training's other callbacks."""
        super().__init__()
        self._path, self._others = path, _stateful(others)
        self._first: int | None = None
        self._restored: list[dict[str, Any]] | None = None

    def restore(self, model: keras.Model) -> int:
        """Puts the state that was written into a compiled `model`; returns the epoch that is next, 0 if none.

        Raises:
            RefusedError: the file is damaged, or of another network.
        """
        # Also where there is nothing to restore: Keras would trace the first step twice.
        model.optimizer.build(model.trainable_variables)
        if not self._path.exists():
            return 0
        try:
            with np.load(self._path, allow_pickle=False) as file:
                state = json.loads(str(file["state"]))
                values = [file[f"value_{number}"] for number in range(state["values"])]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise RefusedError(
                f"a checkpoint must be readable. Received: {str(self._path)!r} ({error}). "
                "Delete its folder, and the fold is trained from its start"
            ) from error
        variables = _variables(model)
        wanted, found = [tuple(one.shape) for one in variables], [one.shape for one in values]
        kinds = [type(one).__name__ for one in self._others]
        if wanted != found or kinds != [kind for kind, _ in state["callbacks"]]:
            raise RefusedError(
                f"a checkpoint must be of the network and the settings that go on. Received: {len(found)} "
                f"arrays in {str(self._path)!r}, of another training. Delete its folder, and the fold is "
                "trained from its start"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self._restored = [kept for _, kept in state["callbacks"]]
        return int(state["epoch"])

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Keras calls this, for the other callbacks first, which forget then what they kept."""
        for callback, kept in zip(self._others, self._restored or [], strict=False):
            for name, value in kept.items():
                setattr(callback, name, value)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this when the epoch before is over for all callbacks.

        Raises:
            RefusedError: the disk is full, say; the state that was written before is still there.
        """
        if self._first is None:
            self._first = epoch
            return
        values = {
            f"value_{number}": keras.ops.convert_to_numpy(variable)
            for number, variable in enumerate(_variables(self.model))
        }
        kept = [
            (type(one).__name__, {name: getattr(one, name) for name in _names(one)}) for one in self._others
        ]
        state = json.dumps({"epoch": epoch, "values": len(values), "callbacks": kept}, default=float)
        try:
            with written_whole(self._path) as temporary, temporary.open("wb") as file:
                np.savez(file, state=state, **values)
        except OSError as error:
            raise RefusedError(
                f"the run's folder must take a checkpoint after each epoch. Received: {error.strerror} in "
                f"{str(self._path.parent)!r}, before epoch {epoch + 1}. The checkpoint before is kept: make "
                "room, then call tfgma train --resume"
            ) from error


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _names(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    return next(names for kind, names in CALLBACK_STATE.items() if isinstance(callback, kind))


def _stateful(callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    return [one for one in callbacks if isinstance(one, tuple(CALLBACK_STATE))]
