"""C3D: eight 3D convolutions of 3 x 3 x 3 (Tran et al., ICCV 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

from tfgma.layers import FoldedConv3D, FoldFrames, StackFrames, TemporalMaxPooling, classifier, clip_shape

# name -> channels for each of the first layer's, and frames and pixels pooled afterwards (0: not)
CONVOLUTIONS: Final[dict[str, tuple[int, int, int]]] = {
    "conv1": (1, 1, 2),
    "conv2": (2, 2, 2),
    "conv3a": (4, 0, 0),
    "conv3b": (4, 2, 2),
    "conv4a": (8, 0, 0),
    "conv4b": (8, 2, 2),
    "conv5a": (8, 0, 0),
    "conv5b": (8, 2, 2),
}
LAST = "conv5b"
"""Its pooling is padded by a pixel on each side."""
MIN_FRAMES = MIN_SIZE = 16
"""Four poolings halve frames, and four without padding halve pixels."""
FEATURES = 64
"""Features of fc6 and fc7 for each of the first layer's channels."""


def c3d(
    frames_shape: Sequence[int],
    num_classes: int,
    *,
    width: int = 64,
    dropout: float = 0.5,
    name: str = "c3d",
) -> keras.Model:
    """A C3D network that classifies clips.

    Input `frames` (B, T, H, W, C) float32. Output: dict with `logits` (B, num_classes) float32.

    Args:
        frames_shape: (T, H, W, C), at least 16 frames of 16 x 16 px; (16, 112, 112, 3) in the paper.
        num_classes: number of classes, at least 1.
        width: channels of the first layer; 64 in the paper.
        dropout: share of fc6's and fc7's features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: a shape that is too small, no class.
    """
    inputs = keras.Input(clip_shape(frames_shape, min_frames=MIN_FRAMES, min_size=MIN_SIZE), name="frames")
    features = _features(inputs, width, dropout, "")
    logits = classifier(features, num_classes, dropout, "fc8")
    return keras.Model({"frames": inputs}, {"logits": logits}, name=name)


def c3d_backbone(
    frames_shape: Sequence[int], *, prefix: str = "", width: int = 64, dropout: float = 0.5
) -> keras.Model:
    """A C3D network up to fc7: (B, T, H, W, C) -> (B, 64 * width), float32.

    Args:
        frames_shape: (T, H, W, C), at least 16 frames of 16 x 16 px.
        prefix: what all names of layers begin with, such as "rgb-".
        width: channels of the first layer; 64 in the paper.
        dropout: share of fc6's features dropped in training.

    Raises:
        RefusedError: a shape that is too small.
    """
    shape = clip_shape(frames_shape, min_frames=MIN_FRAMES, min_size=MIN_SIZE)
    inputs = keras.Input(shape, name=f"{prefix}frames")
    return keras.Model(inputs, _features(inputs, width, dropout, prefix), name=f"{prefix}c3d")


def _features(inputs: keras.KerasTensor, width: int, dropout: float, prefix: str) -> keras.KerasTensor:
    frames = inputs.shape[1]
    x = FoldFrames(name=f"{prefix}fold")(inputs)
    for name, (channels, pooled_frames, pooled_pixels) in CONVOLUTIONS.items():
        x = FoldedConv3D(channels * width, frames, (3, 3, 3), name=f"{prefix}{name}")(x)
        x = layers.ReLU(name=f"{prefix}{name}_relu")(x)
        if name == LAST:
            # After a ReLU zero padding equals the minus infinity padding of a pooling layer.
            x = layers.ZeroPadding2D(1, name=f"{prefix}{name}_pool_pad")(x)
        if pooled_pixels:
            x = layers.MaxPooling2D(pooled_pixels, name=f"{prefix}{name}_pool")(x)
        if pooled_frames > 1:
            x = TemporalMaxPooling(frames, pooled_frames, name=f"{prefix}{name}_pool_frames")(x)
            frames //= pooled_frames
    x = StackFrames(frames, name=f"{prefix}frames_below")(x)
    # Published weights of fc6 are in the order channel, frame, row, column.
    x = layers.Flatten(name=f"{prefix}flatten")(layers.Permute((3, 1, 2), name=f"{prefix}permute")(x))
    x = layers.Dense(FEATURES * width, "relu", name=f"{prefix}fc6")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{prefix}fc6_dropout")(x)
    return layers.Dense(FEATURES * width, "relu", name=f"{prefix}fc7")(x)
