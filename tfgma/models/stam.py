"""Spatio-temporal attention over moving joints: STAM (Nguyen-Thai et al., IEEE JBHI 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
from keras import layers, ops

from pipelines.schema import RefusedError
from tfgma.layers import MOMENTUM, classifier

PARTITIONS: Final = ("uniform", "distance", "spatial")
NUM_JOINTS: Final = 18

BONES: Final = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7)),  # nose, neck, right arm, left arm
    *((2, 8), (8, 9), (9, 10), (5, 11), (11, 12), (12, 13)),  # right side down to the ankle, left side
    *((0, 14), (14, 16), (0, 15), (15, 17)),  # right eye, right ear, left eye, left ear
)
"""Pairs of OpenPose's 18 joints that the published graph connects; hips hang from shoulders."""

CENTER: Final = 1
"""The neck: joints are nearer to it or farther from it."""

BLOCKS: Final = ((64, 1), (128, 2))
"""Channels and temporal stride of the graph blocks before the last one."""

TEMPORAL_KERNEL: Final = 9
NORMALIZATION: Final = {"epsilon": 1e-5, "momentum": MOMENTUM}


def is_unused(tensor: str) -> bool:
    """Whether a tensor of published checkpoints has no part in the answers, and so no place in `Stam`.

    The published module owns a normalisation `bn1` that its forward pass never calls.
    """
    return tensor.startswith("bn1.")


def adjacency(partition: str, max_hop: int) -> np.ndarray:
    """(K, 18, 18) float32: how much joint v (axis 1) gives to joint w (axis 2), in K groups of neighbours.

    Neighbours are the joints at most `max_hop` bones away, each with the same share: the groups together
    sum to 1 over v (Yan et al., AAAI 2018).

    Args:
        partition: uniform, one group; distance, one for each number of bones; spatial, each number of bones
            again divided by whether v is nearer to the neck than w is.
        max_hop: bones, at least 1.

    Raises:
        RefusedError: an unknown partition, or no bone.
    """
    if partition not in PARTITIONS:
        raise RefusedError(f'partition must be one of {", ".join(PARTITIONS)}. Received: "{partition}"')
    if max_hop < 1:
        raise RefusedError(f"max_hop must be at least 1 bone. Received: {max_hop}")
    bones = _bones_between(max_hop)
    near = bones <= max_hop
    share = near / near.sum(axis=0)
    if partition == "uniform":
        return share[None].astype(np.float32)
    rings = [np.where(bones == hop, share, 0) for hop in range(max_hop + 1)]
    if partition == "spatial":
        # Distances to the neck end at max_hop as well: beyond it, all joints count as equally far.
        distance = np.minimum(bones[CENTER], max_hop + 1)
        outward = distance[:, None] < distance[None]
        divided = [
            half for ring in rings[1:] for half in (np.where(outward, 0, ring), np.where(outward, ring, 0))
        ]
        rings = [rings[0], *divided]
    return np.stack(rings).astype(np.float32)


def _bones_between(limit: int) -> np.ndarray:
    """(18, 18) int: bones on the way from joint to joint; limit + 1 where there are more than `limit`."""
    steps = np.eye(NUM_JOINTS, dtype=int)
    for first, second in BONES:
        steps[first, second] = steps[second, first] = 1
    bones = np.full((NUM_JOINTS, NUM_JOINTS), limit + 1)
    for hop in range(limit, -1, -1):
        bones[np.linalg.matrix_power(steps, hop) > 0] = hop
    return bones


@keras.saving.register_keras_serializable(package="tfgma")
class JointMixing(layers.Layer):
    """Sums features over neighbouring joints, each group of neighbours with channels of its own.

    Input (B, T, 18, K * C) float, groups slowest; output (B, T, 18, C).

    Args:
        partition, max_hop: as `adjacency` takes them.
    """

    def __init__(self, partition: str, max_hop: int, **kwargs: Any) -> None:  # noqa: D107 - the class says it
        super().__init__(**kwargs)
        self.partition = partition
        self.max_hop = max_hop
        self.adjacency = adjacency(partition, max_hop)

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """(B, T, 18, K * C) -> (B, T, 18, C)."""
        graph = ops.cast(self.adjacency, features.dtype)
        groups = ops.split(features, len(self.adjacency), axis=-1)
        # One einsum a group: TFLite takes arrays of at most 5 axes, and int8 delegates know these of 4.
        mixed = [ops.einsum("btvc,vw->btwc", group, graph[k]) for k, group in enumerate(groups)]
        return sum(mixed[1:], mixed[0])

    def get_config(self) -> dict[str, Any]:
        """What builds the layer again."""
        return super().get_config() | {"partition": self.partition, "max_hop": self.max_hop}


def Stam(  # noqa: N802 - reads as the network that it builds
    pose_shape: Sequence[int],
    num_classes: int = 2,
    *,
    partition: str = "uniform",
    max_hop: int = 3,
    features: int = 128,
    block_dropout: float = 0.3,
    dropout: float = 0.3,
    attention: bool = True,
    name: str = "stam",
) -> keras.Model:
    """A classifier of sequences of poses that tells which clips and which joints counted.

    Input by name: `pose` (B, clips, T, 18, C) float32, joints of OpenPose, channels as
    `pipelines.joint_features` gives them. Output: dict with `logits` and `scores`, the same (B, num_classes)
    float32; with attention also `alpha` (B, clips) float32, shares of the clips, sum 1; `beta`
    (B, clips, 18) float32, shares of the joints within each clip, sum 1. Source: Nguyen-Thai et al., IEEE
    JBHI 2021; blocks of Yan et al., AAAI 2018.

    Args:
        pose_shape: (clips, T, 18, C).
        num_classes: number of classes; 1 for a single logit.
        partition, max_hop: the graph of joints, as `adjacency` takes them.
        features: size of a clip's vector, and of what both attentions see.
        block_dropout: share of features dropped in training at the end of each graph block.
        dropout: share of the sequence's features dropped in training before the head.
        attention: False averages joints and clips instead, for comparison.
        name: the network's name.

    Raises:
        RefusedError: an unknown partition, no bone, other than 18 joints, or no classes.
    """
    if len(pose_shape) != 4 or pose_shape[2] != NUM_JOINTS:
        raise RefusedError(f"pose_shape must be (clips, T, {NUM_JOINTS}, C). Received: {tuple(pose_shape)}")
    clips, frames, joints, channels = pose_shape
    pose = keras.Input((clips, frames, joints, channels), name="pose")

    # Clips are folded into the batch, (B * clips, T, 18, C): 2D layers, which every runtime has.
    x = ops.reshape(pose, (-1, frames, joints * channels))
    x = layers.BatchNormalization(name="sag-data_bn", **NORMALIZATION)(x)
    x = ops.reshape(x, (-1, frames, joints, channels))
    for number, (width, stride) in enumerate((*BLOCKS, (features, 2))):
        path = f"sag-st_gcn_networks-{number}"
        x = _graph_block(x, width, stride, partition, max_hop, block_dropout, path)
    x = ops.mean(x, axis=1)
    outputs = {}
    x, shares = _gather(x, features if attention else None, "sag-spatial_attn-attention")
    if attention:
        outputs["beta"] = ops.reshape(shares, (-1, clips, joints))
    x = layers.Dense(features, name="sag-fcn")(x)
    x = ops.reshape(x, (-1, clips, features))
    x, shares = _gather(x, features if attention else None, "temporal_attn-attention")
    if attention:
        outputs["alpha"] = shares
    x = layers.Dropout(dropout, name="output-0")(x)
    logits = classifier(x, num_classes, 0, "output-1")
    return keras.Model({"pose": pose}, {"logits": logits, "scores": logits} | outputs, name=name)


def _graph_block(
    x: keras.KerasTensor, width: int, stride: int, partition: str, max_hop: int, dropout: float, path: str
) -> keras.KerasTensor:
    """Mixes joints, then moments; beside it a shortcut that has both the width and the stride."""
    groups = len(adjacency(partition, max_hop))
    shortcut = layers.Conv2D(width, 1, strides=(stride, 1), name=f"{path}-residual-0")(x)
    shortcut = layers.BatchNormalization(name=f"{path}-residual-1", **NORMALIZATION)(shortcut)
    mixing = JointMixing(partition, max_hop, name=f"{path}-mixing")
    convolution = layers.Conv2D(groups * width, 1, name=f"{path}-gcn-conv")
    # Of one group the order is free, shares that sum to 1 keep a bias as it is; normalisation then follows
    # the convolution, and files of TFLite have both as one operator.
    x = convolution(mixing(x)) if groups == 1 else mixing(convolution(x))
    x = layers.BatchNormalization(name=f"{path}-tcn-0", **NORMALIZATION)(x)
    x = layers.ReLU(name=f"{path}-tcn-1")(x)
    x = layers.ZeroPadding2D((TEMPORAL_KERNEL // 2, 0), name=f"{path}-padding")(x)
    x = layers.Conv2D(width, (TEMPORAL_KERNEL, 1), strides=(stride, 1), name=f"{path}-tcn-2")(x)
    x = layers.BatchNormalization(name=f"{path}-tcn-3", **NORMALIZATION)(x)
    x = layers.Dropout(dropout, name=f"{path}-tcn-4")(x)
    x = layers.Add(name=f"{path}-add")([x, shortcut])
    return layers.ReLU(name=f"{path}-relu")(x)


def _gather(
    x: keras.KerasTensor, hidden: int | None, path: str
) -> tuple[keras.KerasTensor, keras.KerasTensor | None]:
    """(B, N, C) -> (B, C), the weighted mean over N, and (B, N), the weights.

    Without `hidden`, the size of what the attention sees, it is the plain mean and there are no weights.
    """
    if hidden is None:
        return ops.mean(x, axis=1), None
    shares = layers.Dense(hidden, activation="tanh", name=f"{path}-0")(x)
    shares = layers.Dense(1, name=f"{path}-2")(shares)
    shares = layers.Softmax(axis=1, name=f"{path}-softmax", dtype="float32")(shares)
    return ops.sum(x * ops.cast(shares, x.dtype), axis=1), ops.squeeze(shares, axis=-1)
