"""Every family of classifiers, by the name that a config gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from tfgma.models.backbones import ImageClassifier
from tfgma.models.cnn_lstm import CNNLSTM
from tfgma.models.edge import Edge
from tfgma.models.frame_fusion import FrameFusion
from tfgma.models.slowfast import slowfast_r50
from tfgma.models.stam import Stam
from tfgma.models.temporal_shift import TemporalShift, streaming
from tfgma.models.two_stream import TwoStream
from tfgma.models.two_stream_3d import TwoStream3D
from tfgma.models.video_classifier import VideoClassifier


@dataclass(frozen=True)
class Family:
    """A builder, and the inputs whose shapes it takes as `NAME_shape`.

    `streaming`: makes of such a network one that takes a frame at a time, where there is such a form.
    """

    build: Callable[..., keras.Model]
    inputs: tuple[str, ...]
    streaming: Callable[[keras.Model], keras.Model] | None = None

    def __call__(self, shapes: dict[str, tuple[int, ...]], num_classes: int, **options: Any) -> keras.Model:
        """The network for inputs of those shapes (without batch), by name."""
        return self.build(
            **{f"{name}_shape": shapes[name] for name in self.inputs}, num_classes=num_classes, **options
        )


FAMILIES: dict[str, Family] = {
    "two_stream": Family(TwoStream, ("image", "flow")),
    "edge": Family(Edge, ("image", "flow")),
    "image": Family(ImageClassifier, ("image",)),
    "frame_fusion": Family(FrameFusion, ("frames",)),
    "cnn_lstm": Family(CNNLSTM, ("frames",)),
    "video": Family(VideoClassifier, ("frames",)),
    "slowfast": Family(slowfast_r50, ("slow", "fast")),
    "two_stream_3d": Family(TwoStream3D, ("frames", "flow")),
    "temporal_shift": Family(TemporalShift, ("frames", "flow"), streaming),
    "stam": Family(Stam, ("pose",)),
}
"""name -> builder(shapes, num_classes, **options)."""
