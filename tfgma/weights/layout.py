"""Where each variable of a network lies in a published checkpoint, and with which axes.

A layer carries its published module's path as its name, with "-" for "." (PyTorch, as a Keras backend,
allows no dots in names): `blocks-0-conv` holds `blocks.0.conv.weight` and `blocks.0.conv.bias`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from pipelines.schema import RefusedError

COUNTER = "num_batches_tracked"
"""A tensor of PyTorch's normalisation layers that says nothing about the network's answers."""

NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Slot:
    """One variable's place: the checkpoint's shape, and the order of axes that leads to ours.

    `axes`: ours[i] = theirs[axes[i]].
    """

    variable: keras.Variable
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the checkpoint."""
        return tuple(self.variable.shape[self.axes.index(axis)] for axis in range(len(self.axes)))

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that shape goes in: the same shape, or unit axes more or fewer.

        A 1 x 3 x 3 kernel of a 3D network is a 3 x 3 kernel of ours, a 1 x 1 convolution a dense layer.
        """
        if len(shape) == len(self.shape):
            return shape == self.shape
        return _without_units(shape) == _without_units(self.shape)

    def assign(self, value: np.ndarray) -> None:
        """Puts a checkpoint's tensor into the variable."""
        self.variable.assign(np.transpose(value.reshape(self.shape), self.axes).astype(np.float32))

    def tensor(self) -> np.ndarray:
        """The variable as the checkpoint holds it; the inverse of `assign`."""
        value = keras.ops.convert_to_numpy(self.variable)
        return np.transpose(value, [self.axes.index(axis) for axis in range(len(self.axes))])


def _without_units(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], *(length for length in shape[2:] if length != 1))


def _same(variable: keras.Variable) -> Slot:
    return Slot(variable, tuple(range(len(variable.shape))))


def _convolution(kernel: keras.Variable) -> Slot:
    """(*space, in, out) from (out, in, *space)."""
    rank = len(kernel.shape)
    return Slot(kernel, (*range(2, rank), 1, 0))


def _depthwise(kernel: keras.Variable) -> Slot:
    """(*space, channels, 1) from (channels, 1, *space)."""
    rank = len(kernel.shape)
    return Slot(kernel, (*range(2, rank), 0, 1))


def _layer_slots(layer: keras.Layer) -> dict[str, Slot]:
    """Leaf name in the checkpoint -> place, for a layer that holds variables itself."""
    if isinstance(layer, layers.BatchNormalization):
        return {
            "weight": _same(layer.gamma),
            "bias": _same(layer.beta),
            "running_mean": _same(layer.moving_mean),
            "running_var": _same(layer.moving_variance),
        }
    leaves = getattr(layer, "checkpoint_leaves", None)
    if leaves is not None:  # a layer of our own: leaf -> attribute, axes as they are
        return {leaf: _same(getattr(layer, attribute)) for leaf, attribute in leaves.items()}
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        raise TypeError(f"{type(layer).__name__} {layer.name} has no place in a checkpoint")
    depthwise = "Depthwise" in type(layer).__name__
    slots = {"weight": _depthwise(kernel) if depthwise else _convolution(kernel)}
    if getattr(layer, "bias", None) is not None:
        slots["bias"] = _same(layer.bias)
    return slots


def slots(network: keras.Model) -> dict[str, Slot]:
    """Every variable of `network` by its published tensor's name."""
    found: dict[str, Slot] = {}
    for layer in network._flatten_layers(include_self=False):
        own = [v for v in layer.weights if not any(v is w for sub in _children(layer) for w in sub.weights)]
        if not own or isinstance(layer, keras.Model) or not _has_values(layer):
            continue
        path = layer.name.replace("-", ".")
        found |= {f"{path}.{leaf}": slot for leaf, slot in _layer_slots(layer).items()}
    return found


def _children(layer: keras.Layer) -> list[keras.Layer]:
    return list(layer._flatten_layers(include_self=False))


def _has_values(layer: keras.Layer) -> bool:
    """False for layers whose only variables are random seeds, such as Dropout."""
    return any("seed_generator" not in variable.path for variable in layer.weights)


def load_tensors(
    network: keras.Model,
    tensors: Mapping[str, np.ndarray],
    *,
    may_lack: Callable[[str], bool] = lambda name: False,
    may_have: Callable[[str], bool] = lambda name: False,
) -> None:
    """Puts the tensors of a published checkpoint into `network`; all of them, or none.

    Args:
        network: a built network whose layers carry the published paths.
        tensors: by published name, in the published order of axes.
        may_lack: names that need not be there; they keep the network's value.
        may_have: names that may be there without a place in the network.

    Raises:
        RefusedError: an unknown, missing or misshapen tensor; it is named.
    """
    places = slots(network)
    given = {name for name in tensors if name.rpartition(".")[2] != COUNTER}
    unknown = sorted(name for name in given - places.keys() if not may_have(name))
    missing = sorted(name for name in places.keys() - given if not may_lack(name))
    for word, names in (("unknown", unknown), ("missing", missing)):
        if names:
            raise RefusedError(
                f"a checkpoint must hold the tensors of {network.name}. Received: {len(names)} {word}: "
                f"{_some(names)}. Choose the network that it was trained as"
            )
    for name in sorted(given & places.keys()):
        shape = tuple(tensors[name].shape)
        if not places[name].fits(shape):
            raise RefusedError(
                f"tensor {name} of {network.name} must have the shape {places[name].shape}. "
                f"Received: {shape}. Choose the shapes and classes that it was trained with"
            )
    # In one order in every process: where several train one network, each waits for the others to assign.
    for name in sorted(given & places.keys()):
        places[name].assign(np.asarray(tensors[name]))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED_AT_MOST])
    return shown if len(names) <= NAMED_AT_MOST else f"{shown}, ..."
