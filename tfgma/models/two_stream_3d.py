"""Two-stream networks over time: frames, the flows between them, fused (after the spinal gait study)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError
from tfgma.layers import FoldFrames, classifier, clip_average, clip_shape
from tfgma.models.backbones import build_backbone
from tfgma.models.video_resnet import video_backbone

STREAMS: Final = {
    "multi": ("video", "video"),
    "single": ("image", "image"),
    "multi_single": ("video", "image"),
}
"""name -> networks of the frames' and of the flows' stream: over time, or for each frame alone."""

FUSIONS: Final = ("different_loss", "sum_loss", "concat")


def TwoStream3D(  # noqa: N802 - reads as the network that it builds
    frames_shape: Sequence[int],
    flow_shape: Sequence[int],
    num_classes: int,
    *,
    streams: str = "multi",
    fusion: str = "different_loss",
    video_backbone: str = "slow_r50",
    image_backbone: str = "resnet50",
    width: int | None = None,
    dropout: float = 0.5,
    name: str = "two_stream_3d",
) -> keras.Model:
    """A classifier of clips by frames and by flow.

    Inputs by name: `frames` (B, T, H, W, 3) float32; `flow` (B, H, W, 2L) float32, x0, y0, x1, y1, ...
    Output: dict with `logits` (B, num_classes) float32; with different_loss also each stream's own,
    `logits_frames` and `logits_flow`, which are what is trained.

    Args:
        frames_shape: (T, H, W, 3).
        flow_shape: (H, W, 2L); the stream sees L maps of two channels.
        num_classes: number of classes; 1 for a single logit.
        streams: multi, two 3D networks; single, two image networks whose features are averaged over time;
            multi_single, a 3D network on frames and an image network on flows.
        fusion: different_loss, a loss for each stream, the answer is their mean logit; sum_loss, one loss of
            the mean logit; concat, one head on both streams' features.
        video_backbone: a key of `tfgma.models.video_resnet.VIDEO_BACKBONES`.
        image_backbone: a key of `tfgma.models.backbones.BACKBONES`.
        width: channels of the trunks' first stage; by default the published numbers.
        dropout: share of features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown name, a wrong shape, or no classes.
    """
    if streams not in STREAMS:
        raise RefusedError(f'streams must be one of {", ".join(STREAMS)}. Received: "{streams}"')
    if fusion not in FUSIONS:
        raise RefusedError(f'fusion must be one of {", ".join(FUSIONS)}. Received: "{fusion}"')
    if len(flow_shape) != 3 or flow_shape[-1] % 2:
        raise RefusedError(f"flow_shape must be (H, W, 2L), x and y in turn. Received: {tuple(flow_shape)}")
    frames = keras.Input(clip_shape(frames_shape), name="frames")
    flow = keras.Input(tuple(flow_shape), name="flow")
    height, columns, channels = flow_shape
    fields = layers.Reshape((height, columns, channels // 2, 2), name="flow_pairs")(flow)
    fields = layers.Permute((3, 1, 2, 4), name="flow_frames")(fields)

    features = {}
    for stream, maps, kind in zip(("frames", "flow"), (frames, fields), STREAMS[streams], strict=True):
        network = video_backbone if kind == "video" else image_backbone
        features[stream] = _features(maps, kind, network, width, f"{stream}-")
    outputs = {}
    if fusion == "concat":
        joined = layers.Concatenate(name="concatenate")(list(features.values()))
        outputs["logits"] = classifier(joined, num_classes, dropout, "classifier")
    else:
        heads = {
            stream: classifier(pooled, num_classes, dropout, f"{stream}-fc")
            for stream, pooled in features.items()
        }
        outputs["logits"] = layers.Average(name="mean", dtype="float32")(list(heads.values()))
        if fusion == "different_loss":
            outputs |= {f"logits_{stream}": logits for stream, logits in heads.items()}
    return keras.Model({"frames": frames, "flow": flow}, outputs, name=name)


def _features(
    maps: keras.KerasTensor, kind: str, network: str, width: int | None, prefix: str
) -> keras.KerasTensor:
    """(B, T, H, W, C) -> (B, features)."""
    shape = maps.shape[1:]
    if kind == "video":
        return video_backbone(network, shape, prefix=prefix, width=width)(maps)
    sizes = {} if width is None else {"width": width}
    trunk = build_backbone(network, shape[1:], prefix=prefix, **sizes)
    return clip_average(trunk(FoldFrames(name=f"{prefix}fold")(maps)), shape[0], f"{prefix}pool")
