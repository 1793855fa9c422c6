"""Starts a network from weights that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers

from pipelines.schema import RefusedError
from tfgma.models.backbones import PREFIX
from tfgma.models.stam import is_unused
from tfgma.weights.layout import COUNTER, load_tensors, slots
from tfgma.weights.readers import read_checkpoint

INPUT_CHANNELS_AXIS = 1
"""Published kernels are (out, in, *space)."""

RGB = 3


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors by published name, of a checkpoint or of one of our own `.keras` files.

    Raises:
        RefusedError: no such file, or neither of the two.
    """
    if path.suffix != ".keras":
        return read_checkpoint(path)
    places = slots(load_network(path))
    own = _own_prefix(places)
    return {name.removeprefix(own): slot.tensor() for name, slot in places.items()}


def _own_prefix(names: Collection[str]) -> str:
    """What a network of ours puts before the published names of all its tensors."""
    own = PREFIX.replace("-", ".")
    return own if all(name.startswith(own) for name in names) else ""


def load_network(path: Path) -> keras.Model:
    """The network of a `.keras` file, not compiled.

    Raises:
        RefusedError: no such file, or no network of this project.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise RefusedError(
            f"a network must be a .keras file of this project. Received: {str(path)!r} ({reason})"
        ) from error


def load_trunk(network: keras.Model, path: Path, prefix: str = "") -> None:
    """Puts a checkpoint without its head into the layers of `network` that begin with `prefix`.

    A stem of other channels takes the checkpoint's mean over its channels (Wang et al., ECCV 2016).

    Args:
        network: the network.
        path: a checkpoint whose names lack the prefix, such as torchvision's ImageNet weights.
        prefix: of the layers' names, such as `spatial-`.

    Raises:
        RefusedError: the file is unreadable or of another network.
    """
    dotted = prefix.replace("-", ".")
    own_heads = head_layers(network)
    places = {
        name: slot
        for name, slot in slots(network).items()
        if name.startswith(dotted) and _layer(name) not in own_heads
    }
    tensors = {dotted + name: value for name, value in read_tensors(path).items()}
    heads = {_layer(name) for name in _without_counters(tensors) if name not in places}
    if len(heads) > 1:
        raise RefusedError(
            f"weights must hold the network's own tensors and at most one head. Received: {path.name} with "
            f"{', '.join(sorted(heads)[:3])}, ... unknown. Choose the network that it was trained as"
        )
    ready = {name: _fit_stem(value, places[name].shape) for name, value in tensors.items() if name in places}
    load_tensors(network, ready, may_lack=lambda name: name not in places)


def load_all_but_other_head(network: keras.Model, path: Path) -> list[str]:
    """Puts a checkpoint of the whole network into it; a head of another number of classes stays as it is.

    Returns:
        Names of the tensors that stayed.

    Raises:
        RefusedError: the file is unreadable or of another network.
    """
    places, heads = slots(network), head_layers(network)
    own = _own_prefix(places)
    tensors = {own + name: value for name, value in read_tensors(path).items()}
    other = {
        name
        for name, value in tensors.items()
        if name in places and _layer(name) in heads and not places[name].fits(tuple(value.shape))
    }
    # Weight and bias go together.
    modules = {_layer(name) for name in other}
    kept = {name for name in tensors if _layer(name) in modules}
    load_tensors(
        network,
        {name: value for name, value in tensors.items() if name not in kept},
        may_lack=lambda name: name in kept,
        may_have=is_unused,
    )
    return sorted(kept)


def head_layers(network: keras.Model) -> list[str]:
    """Names of the dense layers that give the logits, and of the layers in the same published block."""
    units = {tensor.shape[-1] for name, tensor in network.output.items() if "logits" in name}
    every = [layer for layer in network._flatten_layers(include_self=False) if layer.weights]
    dense = [layer.name for layer in every if isinstance(layer, layers.Dense) and layer.units in units]
    blocks = tuple(name.removesuffix("proj") for name in dense if name.endswith("-proj"))
    return dense + [
        layer.name for layer in every if layer.name.startswith(blocks) and layer.name not in dense
    ]


def _layer(tensor: str) -> str:
    """Name of the layer that a tensor belongs to."""
    return tensor.rpartition(".")[0].replace(".", "-")


def _without_counters(tensors: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name in tensors if name.rpartition(".")[2] != COUNTER]


def _fit_stem(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`value` itself, or an RGB stem's mean over its channels for each of the channels in `shape`."""
    if value.ndim < 4 or value.shape[INPUT_CHANNELS_AXIS] != RGB or shape[INPUT_CHANNELS_AXIS] == RGB:
        return value
    mean = value.mean(axis=INPUT_CHANNELS_AXIS, keepdims=True)
    return np.repeat(mean, shape[INPUT_CHANNELS_AXIS], axis=INPUT_CHANNELS_AXIS)
