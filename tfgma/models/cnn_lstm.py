"""An image network on each frame with a recurrent one over time (Donahue et al., CVPR 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from tfgma.layers import FoldFrames, UnfoldFrames, classifier, clip_shape
from tfgma.models.backbones import build_backbone


def CNNLSTM(  # noqa: N802 - reads as the network that it builds
    frames_shape: Sequence[int],
    num_classes: int,
    *,
    backbone: str = "resnet50",
    width: int = 64,
    units: int = 256,
    dropout: float = 0.0,
    name: str = "cnn_lstm",
) -> keras.Model:
    """A classifier of frames: `frames` (B, T, H, W, C) float32 -> `logits` (B, num_classes) float32.

    Args:
        frames_shape: (T, H, W, C).
        num_classes: number of classes; 1 for a single logit.
        backbone: a key of `tfgma.models.backbones.BACKBONES`.
        width: channels of a residual network's first stage.
        units: size of the recurrent state.
        dropout: share of the last state dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown backbone, a wrong shape, or no classes.
    """
    count, height, columns, channels = clip_shape(frames_shape)
    frames = keras.Input((count, height, columns, channels), name="frames")
    trunk = build_backbone(backbone, (height, columns, channels), width=width, prefix="frames-")
    features = layers.GlobalAveragePooling2D(name="pool")(trunk(FoldFrames(name="fold")(frames)))
    sequence = UnfoldFrames(count, name="unfold")(features)
    # Unrolled, because TFLite's 8-bit calibration does not survive a loop.
    state = layers.LSTM(units, unroll=True, name="lstm")(sequence)
    return keras.Model(
        {"frames": frames}, {"logits": classifier(state, num_classes, dropout, "fc")}, name=name
    )
