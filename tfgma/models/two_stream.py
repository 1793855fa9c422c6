"""Two-stream networks: one picture, a stack of flows, fused (Hashimoto et al., MICCAI 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.models.backbones import backbone

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
    image_weights: str | None = None,
    flow_weights: str | None = None,
    dropout: float = 0.0,
    name: str = "two_stream",
) -> keras.Model:
    """A classifier of clips by appearance and movement.

    Inputs by name: `image` (B, S, S, 3) float32 RGB 0..1; `flow` (B, S, S, 2L) float32, x0, y0, x1, y1, ...,
    -1..1. Output: dict with `logits` (B, num_classes) float32.

    Args:
        image_shape: (S, S, 3).
        flow_shape: (S, S, 2L).
        num_classes: number of classes, at least 2.
        streams: both, or image (spatial stream only), or flow (temporal stream only).
        fusion: conv1x1 joins both feature maps by a 1x1 convolution before pooling; concat joins pooled
            features; sum adds the logits of two heads.
        image_backbone, flow_backbone: keys of `tfgma.models.backbones.BACKBONES`.
        image_width, flow_width: channels of the residual networks' first stage.
        image_weights, flow_weights: RGB weights to start from; the flow stem takes their mean over channels.
        dropout: share of pooled features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown name, or fewer than two classes.
    """
    if streams not in STREAMS:
        raise RefusedError(f'streams must be one of {", ".join(STREAMS)}. Received: "{streams}"')
    if fusion not in FUSIONS:
        raise RefusedError(f'fusion must be one of {", ".join(FUSIONS)}. Received: "{fusion}"')
    if num_classes < 2:
        raise RefusedError(f"num_classes must be at least 2. Received: {num_classes}")

    inputs, maps = {}, {}
    if streams in ("both", "image"):
        inputs["image"] = keras.Input(tuple(image_shape), name="image")
        network = backbone(
            image_backbone, image_shape, width=image_width, weights=image_weights, prefix="spatial"
        )
        maps["spatial"] = network(inputs["image"])
    if streams in ("both", "flow"):
        inputs["flow"] = keras.Input(tuple(flow_shape), name="flow")
        network = backbone(
            flow_backbone, flow_shape, width=flow_width, weights=flow_weights, prefix="temporal"
        )
        maps["temporal"] = network(inputs["flow"])

    def pool(feature_map: keras.KerasTensor, stream: str) -> keras.KerasTensor:
        pooled = layers.GlobalAveragePooling2D(name=f"{stream}_pool")(feature_map)
        return layers.Dropout(dropout, name=f"{stream}_dropout")(pooled) if dropout else pooled

    def classify(features: keras.KerasTensor, label: str) -> keras.KerasTensor:
        return layers.Dense(num_classes, name=label, dtype="float32")(features)

    if streams != "both":
        ((stream, feature_map),) = maps.items()
        logits = classify(pool(feature_map, stream), "classifier")
    elif fusion == "conv1x1":
        joined = layers.Concatenate(name="concatenate")([maps["spatial"], maps["temporal"]])
        fused = layers.Conv2D(maps["spatial"].shape[-1], 1, name="conv1x1")(joined)
        logits = classify(pool(fused, "fused"), "classifier")
    elif fusion == "concat":
        pooled = [pool(feature_map, stream) for stream, feature_map in maps.items()]
        logits = classify(layers.Concatenate(name="concatenate")(pooled), "classifier")
    else:
        heads = [classify(pool(feature_map, stream), f"{stream}_fc") for stream, feature_map in maps.items()]
        logits = layers.Add(name="sum")(heads)
    return keras.Model(inputs, {"logits": logits}, name=name)
