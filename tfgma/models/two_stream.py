"""Two-stream networks: one picture, a stack of flows, fused (Hashimoto et al., MICCAI 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import classifier
from tfgma.models.backbones import build_backbone

STREAMS: Final = ("both", "image", "flow")
FUSIONS: Final = ("conv1x1", "sum", "concat")


def TwoStream(  # noqa: N802 - reads as the network that it builds
    image_shape: Sequence[int],
    flow_shape: Sequence[int],
    num_classes: int,
    *,
    streams: str = "both",
    fusion: str = "conv1x1",
    image_backbone: str = "resnet50",
    flow_backbone: str = "resnet50",
    image_width: int = 64,
    flow_width: int = 64,
    dropout: float = 0.0,
    name: str = "two_stream",
) -> keras.Model:
    """A classifier of clips by appearance and movement.

    Inputs by name: `image` (B, S, S, 3) float32 RGB 0..1; `flow` (B, S, S, 2L) float32, x0, y0, x1, y1, ...,
    -1..1. Output: dict with `logits` (B, num_classes) float32.

    Args:
        image_shape: (S, S, 3).
        flow_shape: (S, S, 2L).
        num_classes: number of classes; 1 for a single logit.
        streams: both, or image (spatial stream only), or flow (temporal stream only).
        fusion: conv1x1 joins both feature maps by a 1x1 convolution before pooling; concat joins pooled
            features; sum adds the logits of two heads.
        image_backbone, flow_backbone: keys of `tfgma.models.backbones.BACKBONES`.
        image_width, flow_width: channels of the residual networks' first stage.
        dropout: share of pooled features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown name, or no classes.
    """
    if streams not in STREAMS:
        raise RefusedError(f'streams must be one of {", ".join(STREAMS)}. Received: "{streams}"')
    if fusion not in FUSIONS:
        raise RefusedError(f'fusion must be one of {", ".join(FUSIONS)}. Received: "{fusion}"')

    inputs, maps = {}, {}
    if streams in ("both", "image"):
        inputs["image"] = keras.Input(tuple(image_shape), name="image")
        network = build_backbone(image_backbone, image_shape, width=image_width, prefix="spatial-")
        maps["spatial"] = network(inputs["image"])
    if streams in ("both", "flow"):
        inputs["flow"] = keras.Input(tuple(flow_shape), name="flow")
        network = build_backbone(flow_backbone, flow_shape, width=flow_width, prefix="temporal-")
        maps["temporal"] = network(inputs["flow"])

    def pool(feature_map: keras.KerasTensor, stream: str) -> keras.KerasTensor:
        return layers.GlobalAveragePooling2D(name=f"{stream}_pool")(feature_map)

    def head(features: keras.KerasTensor, label: str) -> keras.KerasTensor:
        return classifier(features, num_classes, dropout, label)

    # Heads are named as in the published checkpoints: "spatial-fc" holds spatial.fc.weight.
    if streams == "both" and fusion == "conv1x1":
        joined = layers.Concatenate(name="concatenate")([maps["spatial"], maps["temporal"]])
        fused = layers.Conv2D(maps["spatial"].shape[-1], 1, name="conv1x1")(joined)
        logits = head(pool(fused, "fused"), "classifier-1")
    elif streams == "both" and fusion == "concat":
        pooled = [pool(feature_map, stream) for stream, feature_map in maps.items()]
        logits = head(layers.Concatenate(name="concatenate")(pooled), "classifier-1")
    else:
        heads = [head(pool(feature_map, stream), f"{stream}-fc") for stream, feature_map in maps.items()]
        logits = layers.Add(name="sum", dtype="float32")(heads) if len(heads) > 1 else heads[0]
    return keras.Model(inputs, {"logits": logits}, name=name)
