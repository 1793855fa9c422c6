"""Networks of inputs as they are stored, uint8: scaling them is the first of a training step."""

from __future__ import annotations

from typing import Any

import keras

from pipelines.config import InputSettings
from pipelines.flow import LEVELS, ZERO_LEVEL
from pipelines.inputs import PICTURES


def of_stored_inputs(network: keras.Model, settings: InputSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs of the network's names and shapes, pictures 0..255 and flow codes in uint8, and its outputs.

    The network sees what `pipelines.dataset.scaled` would give it, within float32's rounding.
    """
    inputs, scaled = {}, {}
    for tensor in network.inputs:
        name, scaler = tensor.name, _scaler(tensor.name, settings)
        inputs[name] = keras.Input(tensor.shape[1:], name=name, dtype="uint8" if scaler else tensor.dtype)
        scaled[name] = scaler(inputs[name]) if scaler else inputs[name]
    # Of a name that no input has: a family of networks is called as its input, "image".
    return inputs, keras.Model(network.input, network.output, name="of_scaled_inputs")(scaled)


def _scaler(name: str, settings: InputSettings) -> keras.layers.Normalization | None:
    """In float32 whatever the network computes in: half precision has no room for 128 and a 127th."""
    if name in PICTURES:
        mean, std = 255 * settings.mean, 255 * settings.std
    elif name == "flow":
        mean, std = ZERO_LEVEL, LEVELS
    else:
        return None
    return keras.layers.Normalization(
        axis=None, mean=mean, variance=std**2, dtype="float32", name=f"scaled_{name}"
    )
