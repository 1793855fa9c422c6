"""U2-Net, which cuts the most salient object out of a picture (Qin et al., Pattern Recognition 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import MOMENTUM

EPSILON: Final = 1e-5

# stage -> (levels, dilations instead of pooling, channels inside, channels out)
STAGES: Final[dict[str, tuple[int, bool, int, int]]] = {
    "stage1": (7, False, 32, 64),
    "stage2": (6, False, 32, 128),
    "stage3": (5, False, 64, 256),
    "stage4": (4, False, 128, 512),
    "stage5": (4, True, 256, 512),
    "stage6": (4, True, 256, 512),
    "stage5d": (4, True, 256, 512),
    "stage4d": (4, False, 128, 256),
    "stage3d": (5, False, 64, 128),
    "stage2d": (6, False, 32, 64),
    "stage1d": (7, False, 16, 64),
}
DEPTH: Final = 6
"""Stages of the encoder; the decoder has one fewer."""


def u2net(image_shape: Sequence[int], *, name: str = "u2net") -> keras.Model:
    """A network that tells the body from its surroundings.

    Input `image` (B, H, W, 3) float32 RGB, divided by the picture's maximum, then normalised by ImageNet's
    mean and standard deviation. Output: dict of `d0`, the answer, and `d1` ... `d6`, the answers of the
    decoder's stages from fine to coarse, each (B, H, W, 1) float32, share of body 0..1.

    Args:
        image_shape: (H, W, 3), at least 1 pixel a side; the published weights were trained at 320.
        name: the network's name.

    Raises:
        RefusedError: not the shape of a colour picture.
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or shape[2] != 3 or not all(isinstance(side, int) and side >= 1 for side in shape):
        raise RefusedError(f"image_shape must be (H, W, 3), known sides. Received: {shape}")
    image = keras.Input(shape, name="image")

    x, maps = image, []
    for number in range(1, DEPTH + 1):
        if number > 1:
            x = _pool(x, f"pool{number - 1}{number}")
        x = _stage(x, f"stage{number}")
        maps.append(x)
    decoded = [x]  # from coarse to fine
    for number in range(DEPTH - 1, 0, -1):
        skip = maps[number - 1]
        x = _join(x, skip, f"stage{number}d-input")
        x = _stage(x, f"stage{number}d")
        decoded.append(x)

    logits = []
    for number, features in enumerate(reversed(decoded), start=1):
        side = layers.Conv2D(1, 3, padding="same", name=f"side{number}")(features)
        logits.append(_resize(side, shape[0], shape[1], f"side{number}-resize"))
    joined = layers.Concatenate(name="sides")(logits)
    logits.insert(0, layers.Conv2D(1, 1, name="outconv")(joined))
    outputs = {
        f"d{number}": layers.Activation("sigmoid", name=f"d{number}", dtype="float32")(x)
        for number, x in enumerate(logits)
    }
    return keras.Model({"image": image}, outputs, name=name)


def _stage(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A U-shaped block with a residual connection around it."""
    depth, dilated, inside, filters = STAGES[name]

    def dilation(level: int) -> int:
        return 2 ** (level - 1) if dilated else 1

    entry = y = _unit(x, filters, 1, name, "rebnconvin")
    maps = []
    for level in range(1, depth):
        if level > 1 and not dilated:
            y = _pool(y, f"{name}-pool{level - 1}")
        y = _unit(y, inside, dilation(level), name, f"rebnconv{level}")
        maps.append(y)
    y = _unit(y, inside, dilation(depth) if dilated else 2, name, f"rebnconv{depth}")
    for level in range(depth - 1, 0, -1):
        y = _join(y, maps[level - 1], f"{name}-input{level}d")
        y = _unit(y, inside if level > 1 else filters, dilation(level), name, f"rebnconv{level}d")
    return layers.Add(name=f"{name}-add")([y, entry])


def _unit(x: keras.KerasTensor, filters: int, dilation: int, stage: str, unit: str) -> keras.KerasTensor:
    name = f"{stage}-{unit}"
    x = layers.Conv2D(filters, 3, padding="same", dilation_rate=dilation, name=f"{name}-conv_s1")(x)
    x = layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM, name=f"{name}-bn_s1")(x)
    return layers.ReLU(name=f"{name}-relu_s1")(x)


def _pool(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    # "same" keeps the last row of an odd height as a row of its own, as the published rounding up does.
    return layers.MaxPooling2D(2, 2, padding="same", name=name)(x)


def _join(x: keras.KerasTensor, skip: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """`x` brought to the size of `skip`, then both on the channel axis."""
    x = _resize(x, skip.shape[1], skip.shape[2], f"{name}-resize")
    return layers.Concatenate(name=name)([x, skip])


def _resize(x: keras.KerasTensor, height: int, width: int, name: str) -> keras.KerasTensor:
    """Bilinear, pixel centres at half pixels; no layer where the size is right already."""
    if tuple(x.shape[1:3]) == (height, width):
        return x
    return layers.Resizing(height, width, "bilinear", data_format="channels_last", name=name)(x)
