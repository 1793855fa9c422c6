"""Where a network's last maps of features are, and the network cut in two there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import FoldFrames, StackFrames, UnfoldFrames, UnstackFrames
from tfgma.outputs import LOGITS

MOVES = (
    *(layers.Permute, layers.Reshape, layers.Flatten, layers.ZeroPadding2D),
    *(FoldFrames, UnfoldFrames, StackFrames, UnstackFrames),
)
"""Layers that only move values: what lies before them has the axes that are meant."""
MOVING_OPERATIONS = ("Reshape", "Transpose", "Pad", "GetItem", "Squeeze", "ExpandDims")


@dataclass(frozen=True)
class CutNetwork:
    """A network in two, both of dicts: `maps` of inputs by name, `head` of maps by the names of inputs.

    A map is (B * T, H, W, F), the T moments of a clip folded into the batch; the head gives `logits`.
    """

    maps: keras.Model
    head: Callable[..., dict[str, Any]]


def cut_at_maps(network: keras.Model) -> CutNetwork:
    """Cuts where each stream's last feature maps are: streams that are joined later have a map each.

    Networks inside the network are looked into.

    Raises:
        RefusedError: a network without feature maps.
    """
    flat = flattened(network)
    inputs = flat.input
    reach = {id(tensor): {name} for name, tensor in inputs.items()}
    found: dict[int, keras.KerasTensor] = {}
    for tensor in _last_maps(flat.output[LOGITS]):
        for part in _streams(tensor, reach):
            found[id(part)] = part
    if not found:
        raise RefusedError(
            "a network must have maps of features for Grad-CAM. "
            f'Received: none in "{network.name}". Take integrated gradients or occlusion'
        )
    named = _named(list(found.values()), inputs, reach)
    behind = keras.Model(list(named.values()), {LOGITS: flat.output[LOGITS]})

    def head(maps: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        return behind([maps[name] for name in named], training=training)

    return CutNetwork(keras.Model(flat.input, named), head)


def flattened(network: keras.Model) -> keras.Model:
    """The same layers with the same weights, those of networks inside it called one by one."""

    def call(operation: Any, *args: Any, **options: Any) -> Any:
        if isinstance(operation, keras.Model):
            return operation._run_through_graph(args[0], call_fn=call)
        return operation(*args, **options)

    inputs = {
        name: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
        for name, tensor in network.input.items()
    }
    return keras.Model(inputs, network._run_through_graph(inputs, call_fn=call), name=network.name)


def _before(tensor: keras.KerasTensor) -> tuple[Any, Sequence[keras.KerasTensor]]:
    """The operation that gives `tensor`, and what it takes."""
    operation, node, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node].input_tensors


def _is_map(tensor: keras.KerasTensor) -> bool:
    """Whether axes -3 and -2 are rows and columns, more than one cell."""
    operation, taken = _before(tensor)
    moves = isinstance(operation, MOVES) or type(operation).__name__ in MOVING_OPERATIONS
    return len(tensor.shape) == 4 and tensor.shape[1] * tensor.shape[2] > 1 and bool(taken) and not moves


def _last_maps(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """The maps that are nearest before `tensor`."""
    return _nearest(tensor, _is_map)


def _nearest(
    tensor: keras.KerasTensor, is_wanted: Callable[[keras.KerasTensor], bool]
) -> list[keras.KerasTensor]:
    """What is wanted and lies nearest before `tensor`, or is it, each once."""
    found: dict[int, keras.KerasTensor] = {}
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if is_wanted(one):
            found[id(one)] = one
        else:
            waiting += _before(one)[1]
    return list(found.values())


def _reached(tensor: keras.KerasTensor, reach: dict[int, set[str]]) -> set[str]:
    """Names of the inputs that `tensor` depends on; filled into `reach`."""
    waiting = [tensor]
    while waiting:
        one = waiting[-1]
        before = _before(one)[1]
        missing = [part for part in before if id(part) not in reach]
        if id(one) in reach or not missing:
            waiting.pop()
            if id(one) not in reach:
                reach[id(one)] = set().union(*(reach[id(part)] for part in before))
        waiting += missing if id(one) not in reach else []
    return reach[id(tensor)]


def _streams(tensor: keras.KerasTensor, reach: dict[int, set[str]]) -> list[keras.KerasTensor]:
    """The maps that are joined into `tensor`, if each is of one input and no input has two; or `tensor`."""
    found = _nearest(tensor, lambda one: len(_reached(one, reach)) == 1)
    names = [name for part in found for name in _reached(part, reach)]
    if len(names) == len(set(names)) and all(map(_is_map, found)):
        return found
    return [tensor]


def _named(
    maps: list[keras.KerasTensor], inputs: dict[str, keras.KerasTensor], reach: dict[int, set[str]]
) -> dict[str, keras.KerasTensor]:
    """Each map by the input that it is of: of several, the one that no other map is of alone."""
    maps = sorted(maps, key=lambda one: len(_reached(one, reach)))
    named: dict[str, keras.KerasTensor] = {}
    for one in maps:
        free = [name for name in inputs if name in _reached(one, reach) and name not in named]
        if free:
            named[free[0]] = one
    if len(named) != len(maps):
        raise RefusedError(
            "a network must have at most one map of features for each input. "
            f"Received: {len(maps)} for {', '.join(inputs)}. Take integrated gradients or occlusion"
        )
    return named
