"""Mixup and cutmix: clips of a batch, blended or set into each other, with their labels.

Keras's own MixUp and CutMix take pictures (B, H, W, C) only, draw for each input anew, and cut no batch whose
size is unknown; here one draw, by seed, is applied to all inputs of a clip, whatever their axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Mixing:
    """Alphas of Beta(alpha, alpha), which the share of the other clip is drawn from; 0 for none.

    With both, each clip suffers the one or the other. Sources: Zhang et al., ICLR 2018 (mixup); Yun et al.,
    ICCV 2019 (cutmix).
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)


def sample_mixing(
    mixing: Mixing, batch: int, size: int, seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draws for a batch of clips whose pictures have `size` px a side.

    Returns:
        `partner`: (B,) int32, which clip each is mixed with. `own`: (B, S, S) float32, the share of its own
        pixel at each place; constant for mixup, 0 or 1 for cutmix.
    """
    # By NumPy: TensorFlow has no Beta by seed, and a quotient of its gammas is 0 / 0 for small alphas.
    rng = np.random.default_rng(seed)
    partner = rng.permutation(batch).astype(np.int32)
    own = np.ones((batch, size, size), np.float32)
    cuts = rng.random(batch) < (0.5 if mixing.mixup else 1.0) if mixing.cutmix else np.zeros(batch, bool)
    for clip, is_cut in enumerate(cuts):
        alpha = mixing.cutmix if is_cut else mixing.mixup
        share = rng.beta(alpha, alpha)
        if is_cut:
            side = round(size * np.sqrt(1 - share))
            top, left = rng.integers(0, size - side + 1, 2)
            own[clip, top : top + side, left : left + side] = 0
        else:
            own[clip] = share
    return partner, own


def mix_inputs(inputs: dict[str, tf.Tensor], partner: tf.Tensor, own: tf.Tensor) -> dict[str, tf.Tensor]:
    """Every input of a batch mixed alike: (B, ..., S, S, C) by place, `pose` (B, ...) by the mean share."""
    mixed = {}
    for name, value in inputs.items():
        axes = value.shape.rank
        if name == "pose":
            share = tf.reshape(shares(own), [-1] + [1] * (axes - 1))
        else:
            size = own.shape[1]
            share = tf.reshape(own, [-1] + [1] * (axes - 4) + [size, size, 1])
        mixed[name] = share * value + (1 - share) * tf.gather(value, partner)
    return mixed


def mix_labels(labels: tf.Tensor, partner: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    """(B, C) float32 labels, each with its partner's by the share of the picture that is its own."""
    share = shares(own)[:, None]
    return share * labels + (1 - share) * tf.gather(labels, partner)


def shares(own: tf.Tensor) -> tf.Tensor:
    """(B,) float32: the mean share of a clip's own pixels."""
    return tf.reduce_mean(own, axis=[1, 2])
