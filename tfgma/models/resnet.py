"""Residual networks with the padding and ordering of torchvision's (He et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import Mixing, convolution, no_mixing, normalization

# name -> (block, repeats of it in each stage)
VARIANTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "resnet10": ("basic", (1, 1, 1, 1)),
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 8, 36, 3)),
}


def resnet(
    variant: str,
    input_shape: Sequence[int],
    *,
    width: int = 64,
    prefix: str = "",
    mixing: Mixing = no_mixing,
) -> keras.Model:
    """A residual network without its head.

    Args:
        variant: a key of VARIANTS.
        input_shape: (H, W, C), any number of channels.
        width: channels of the first stage; 64 in the published networks.
        prefix: what all layers' names begin with; what follows is torchvision's name, with "-" for ".".
        mixing: what the branch of every block begins with.

    Returns:
        (B, H, W, C) float32 -> (B, H/32, W/32, features) float32; features is 8 * width for basic blocks and
        32 * width for bottlenecks.

    Raises:
        RefusedError: an unknown variant.
    """
    if variant not in VARIANTS:
        raise RefusedError(f'variant must be one of {", ".join(VARIANTS)}. Received: "{variant}"')
    block, repeats = VARIANTS[variant]
    inputs = keras.Input(tuple(input_shape))
    x = resnet_stem(inputs, width, prefix)
    for stage, count in enumerate(repeats):
        x = resnet_stage(x, block, count, stage, width, prefix, mixing)
    return keras.Model(inputs, x, name=f"{prefix}{variant}")


def resnet_stem(x: keras.KerasTensor, width: int, prefix: str) -> keras.KerasTensor:
    """The first convolution with its pooling: (B, H, W, C) -> (B, H/4, W/4, width)."""
    x = convolution(x, width, 7, 2, f"{prefix}conv1")
    x = layers.ReLU(name=f"{prefix}relu")(normalization(x, f"{prefix}bn1"))
    # After a ReLU zero padding equals the minus infinity padding of a pooling layer.
    x = layers.ZeroPadding2D(1, name=f"{prefix}pool_pad")(x)
    return layers.MaxPooling2D(3, 2, name=f"{prefix}pool")(x)


def resnet_stage(
    x: keras.KerasTensor,
    block: str,
    count: int,
    stage: int,
    width: int,
    prefix: str,
    mixing: Mixing = no_mixing,
) -> keras.KerasTensor:
    """Stage 0 to 3: `count` blocks ("basic" or "bottleneck"), the first of stages 1 to 3 with stride 2."""
    build = _basic if block == "basic" else _bottleneck
    for number in range(count):
        stride = 2 if number == 0 and stage > 0 else 1
        x = build(x, width * 2**stage, stride, f"{prefix}layer{stage + 1}-{number}-", mixing)
    return x


def _shortcut(x: keras.KerasTensor, filters: int, stride: int, prefix: str) -> keras.KerasTensor:
    if stride == 1 and x.shape[-1] == filters:
        return x
    return normalization(convolution(x, filters, 1, stride, f"{prefix}downsample-0"), f"{prefix}downsample-1")


def _basic(x: keras.KerasTensor, filters: int, stride: int, prefix: str, mixing: Mixing) -> keras.KerasTensor:
    y = convolution(mixing(x, f"{prefix}shift"), filters, 3, stride, f"{prefix}conv1")
    y = layers.ReLU(name=f"{prefix}relu1")(normalization(y, f"{prefix}bn1"))
    y = normalization(convolution(y, filters, 3, 1, f"{prefix}conv2"), f"{prefix}bn2", closing=True)
    y = layers.Add(name=f"{prefix}add")([y, _shortcut(x, filters, stride, prefix)])
    return layers.ReLU(name=f"{prefix}relu2")(y)


def _bottleneck(
    x: keras.KerasTensor, filters: int, stride: int, prefix: str, mixing: Mixing
) -> keras.KerasTensor:
    y = convolution(mixing(x, f"{prefix}shift"), filters, 1, 1, f"{prefix}conv1")
    y = layers.ReLU(name=f"{prefix}relu1")(normalization(y, f"{prefix}bn1"))
    y = layers.ReLU(name=f"{prefix}relu2")(
        normalization(convolution(y, filters, 3, stride, f"{prefix}conv2"), f"{prefix}bn2")
    )
    y = normalization(convolution(y, 4 * filters, 1, 1, f"{prefix}conv3"), f"{prefix}bn3", closing=True)
    y = layers.Add(name=f"{prefix}add")([y, _shortcut(x, 4 * filters, stride, prefix)])
    return layers.ReLU(name=f"{prefix}relu3")(y)
