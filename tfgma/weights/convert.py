"""Turns a published checkpoint into a `.keras` file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.schema import RefusedError
from tfgma.models.catalogue import NETWORKS, Network, Shape
from tfgma.weights.layout import load_tensors
from tfgma.weights.readers import read_checkpoint

SUFFIX = ".keras"
SHAPE = "_shape"
NUM_CLASSES = "num_classes"


def convert(checkpoint: Path, network: str, out: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    """Writes the checkpoint's network to `out`; returns what was written.

    Args:
        checkpoint: see `tfgma.weights.readers`.
        network: a key of NETWORKS.
        out: a new `.keras` file.
        options: ARG=VALUE each, ARG an argument of the builder: NAME_shape (lengths without batch, separated
            by commas), num_classes, num_updates. Classes and input channels are by default the checkpoint's.

    Returns:
        `{"network", "file", "parameters", "inputs": {name: shape}, "outputs": {name: shape}}`.

    Raises:
        RefusedError: an unknown network or option, a file that exists, an unreadable checkpoint, or an
            unknown, missing or misshapen tensor.
    """
    if network not in NETWORKS:
        raise RefusedError(
            f'--network must be one of the names that --list shows. Received: "{network}"{_like(network)}'
        )
    if out.suffix != SUFFIX:
        raise RefusedError(f"--out must end in {SUFFIX}. Received: {out.name!r}")
    if out.exists():
        raise RefusedError(f"--out must be a new file. Received: {str(out)!r}, which exists")
    published = NETWORKS[network]
    shapes, num_classes, settings = _parse(options, published, network)
    tensors = read_checkpoint(checkpoint)
    for name, stem in published.stems.items():
        if name not in shapes and f"{stem}.weight" in tensors:
            shapes[name] = (*published.shapes[name][:-1], tensors[f"{stem}.weight"].shape[1])
    if published.head is not None and num_classes is None:
        num_classes = _count_classes(tensors, published.head, checkpoint, network)
    built = published(shapes, num_classes, **settings)
    load_tensors(
        built, {published.prefix + name: value for name, value in tensors.items()}, may_have=published.unused
    )
    _save(built, out)
    return {
        "network": network,
        "file": str(out),
        "parameters": built.count_params(),
        "inputs": {tensor.name: list(tensor.shape[1:]) for tensor in built.inputs},
        "outputs": {name: list(tensor.shape[1:]) for name, tensor in built.output.items()},
    }


def _like(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, NETWORKS, n=3)
    return f". Like it are {', '.join(close)}" if close else ""


def _parse(
    options: Sequence[str], published: Network, network: str
) -> tuple[dict[str, Shape], int | None, dict[str, int]]:
    """Shapes by input, number of classes, further settings."""
    known = [f"{name}{SHAPE}" for name in published.shapes] + list(published.settings)
    known += [NUM_CLASSES] if published.head else []
    values: dict[str, tuple[int, ...]] = {}
    for option in options:
        name, _, text = option.partition("=")
        if name not in known:
            raise RefusedError(
                f"--option of {network} must be one of {', '.join(known)}. Received: {option!r}"
            )
        try:
            values[name] = tuple(int(part) for part in text.split(","))
        except ValueError:
            values[name] = ()
        if not values[name] or min(values[name]) < 1:
            raise RefusedError(
                f"--option {name} must be whole numbers of at least 1 between commas. Received: {text!r}"
            )
    shapes = {}
    for name, default in published.shapes.items():
        given = values.pop(f"{name}{SHAPE}", None)
        if given is None:
            continue
        if len(given) != len(default):
            raise RefusedError(
                f"--option {name}{SHAPE} must have {len(default)} lengths, without batch, such as "
                f"{','.join(map(str, default))}. Received: {','.join(map(str, given))}"
            )
        shapes[name] = given
    for name, value in values.items():
        if len(value) != 1:
            raise RefusedError(f"--option {name} must be one whole number. Received: {value}")
    numbers = {name: value[0] for name, value in values.items()}
    return shapes, numbers.pop(NUM_CLASSES, None), numbers


def _count_classes(tensors: dict[str, np.ndarray], head: str, checkpoint: Path, network: str) -> int:
    bias = tensors.get(f"{head}.bias")
    if bias is None or bias.ndim != 1:
        raise RefusedError(
            f"a checkpoint of {network} must hold {head}.bias, one number a class. Received: "
            f"{checkpoint.name} without it. Choose the network that it was trained as"
        )
    return len(bias)


def _save(network: keras.Model, out: Path) -> None:
    """Writes under a temporary name, then renames."""
    temporary = out.with_name(f".{out.stem}.part{SUFFIX}")
    try:
        network.save(temporary)
        os.replace(temporary, out)
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
