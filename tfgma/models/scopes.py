"""Which layers a fine-tuning trains."""

from __future__ import annotations

import re
from typing import Final

import keras

from pipelines.schema import RefusedError

SCOPES: Final = ("all", "head", "stem+head", "stage+head", "scratch")
"""all: every layer from given weights; scratch: every layer from random weights; the others: those parts."""

STEM: Final = re.compile(r"^([a-z]+-)?(conv1|bn1|_conv_stem|_bn0|sag-data_bn|blocks-0-.+)$")
LAST_STAGE: Final = re.compile(r"^([a-z]+-)?(layer4|_conv_head|_bn1|conv5[ab]|sag-st_gcn_networks-2)(-|$)")
BLOCK: Final = re.compile(r"^([a-z]+-)?_?blocks-(\d+)-")
"""Numbered blocks, of which the last before the head is the last stage."""


def set_scope(network: keras.Model, scope: str, heads: list[str]) -> None:
    """Freezes the layers of `network` beyond `scope`.

    Args:
        network: a classifier of this project.
        scope: one of SCOPES.
        heads: names of the layers that make up the head.

    Raises:
        RefusedError: an unknown scope, or a network without such a part.
    """
    if scope not in SCOPES:
        raise RefusedError(f'scope must be one of {", ".join(SCOPES)}. Received: "{scope}"')
    if scope in ("all", "scratch"):
        return
    layers = [
        layer
        for layer in network._flatten_layers(include_self=False)
        if layer.weights and not isinstance(layer, keras.Model)
    ]
    parts = {"stem": [one for one in layers if STEM.match(one.name)], "stage": _last_stage(layers, heads)}
    part = scope.removesuffix("+head")
    if part in parts and not parts[part]:
        raise RefusedError(
            f"scope {scope} needs a network with a named {part}. Received: {network.name}. Use head or all"
        )
    trained = {id(layer) for layer in parts.get(part, [])}
    for layer in layers:
        layer.trainable = id(layer) in trained or layer.name in heads or layer.name == "conv1x1"


def _last_stage(layers: list[keras.Layer], heads: list[str]) -> list[keras.Layer]:
    chosen = [layer for layer in layers if LAST_STAGE.match(layer.name)]
    numbered = [
        (match[1], int(match[2]), layer)
        for layer in layers
        if layer.name not in heads and (match := BLOCK.match(layer.name))
    ]
    for stream in {stream for stream, _, _ in numbered}:
        last = max(number for other, number, _ in numbered if other == stream)
        chosen += [layer for other, number, layer in numbered if (other, number) == (stream, last)]
    return chosen
