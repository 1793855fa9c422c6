"""Small two-stream networks for tablets: streams of narrow EfficientNet-Lite blocks that join early."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import classifier
from tfgma.models.efficientnet_lite import (
    STAGES,
    STEM_FILTERS,
    lite_filters,
    lite_head,
    lite_stages,
    lite_stem,
)
from tfgma.models.two_stream import STREAMS


def Edge(  # noqa: N802 - reads as the network that it builds
    image_shape: Sequence[int],
    flow_shape: Sequence[int],
    num_classes: int,
    *,
    streams: str = "both",
    width_coefficient: float = 0.5,
    depth_coefficient: float = 1.0,
    fusion_stage: int = 3,
    head_filters: int = 320,
    dropout: float = 0.0,
    name: str = "edge",
) -> keras.Model:
    """A classifier of clips by appearance and movement, of what 8-bit arithmetic is quick at.

    Inputs by name: `image` (B, S, S, 3) float32, RGB as trained on; `flow` (B, S, S, 2L) float32, x0, y0,
    x1, y1, ..., -1..1. Output: dict with `logits` (B, num_classes) float32.

    Blocks are EfficientNet-Lite's (Tan and Le, ICML 2019, and TensorFlow's release of the Lite variants). The
    streams are joined by a 1x1 convolution, as in the two-stream network of Hashimoto et al. (MICCAI 2022),
    but in mid-network: what comes behind is computed once.

    Args:
        image_shape: (S, S, 3).
        flow_shape: (S, S, 2L).
        num_classes: number of classes; 1 for a single logit.
        streams: both, or image or flow alone.
        width_coefficient: factor of all stages' filters, and of the stem's.
        depth_coefficient: factor of the stages' repeats.
        fusion_stage: so many of the seven stages are computed for each stream, the others for both together.
        head_filters: features behind the last stage.
        dropout: share of pooled features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown stream, or a stage that is none.
    """
    if streams not in STREAMS:
        raise RefusedError(f'streams must be one of {", ".join(STREAMS)}. Received: "{streams}"')
    if not 1 <= fusion_stage <= len(STAGES):
        raise RefusedError(f"fusion_stage must lie between 1 and {len(STAGES)}. Received: {fusion_stage}")
    scale = width_coefficient, depth_coefficient
    inputs, maps = {}, []
    for stream, prefix, shape in (("image", "spatial-", image_shape), ("flow", "temporal-", flow_shape)):
        if streams in ("both", stream):
            inputs[stream] = keras.Input(tuple(shape), name=stream)
            x = lite_stem(inputs[stream], lite_filters(STEM_FILTERS, width_coefficient), prefix)
            maps.append(lite_stages(x, range(fusion_stage), *scale, prefix))
    joined = maps[0]
    if len(maps) > 1:
        filters = maps[0].shape[-1]
        joined = layers.Conv2D(filters, 1, name="conv1x1")(layers.Concatenate(name="concatenate")(maps))
    x = lite_stages(joined, range(fusion_stage, len(STAGES)), *scale, "fused-")
    pooled = layers.GlobalAveragePooling2D(name="pool")(lite_head(x, head_filters, "fused-"))
    return keras.Model(inputs, {"logits": classifier(pooled, num_classes, dropout, "classifier")}, name=name)
