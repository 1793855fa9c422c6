"""Which pixels and moments a network's evidence for a class rests on, by its gradients."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from pipelines.schema import RefusedError
from tfgma.feature_maps import cut_at_maps
from tfgma.gradients import Arrays, Evidence, evidence_of

STEPS = 32
"""Points on the way from the baseline to the clip."""
BATCH = 4
"""Points at a time."""


class GradCam:
    """Grad-CAM of each of a network's streams (Selvaraju et al., ICCV 2017)."""

    def __init__(self, network: keras.Model, number: int) -> None:
        """For class `number`.

        Raises:
            RefusedError: a network without maps of features, or with several for one input.
        """
        cut = cut_at_maps(network)
        self._maps = cut.maps
        self._evidence = evidence_of(cut.head, number)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Inputs by name, each (1, ...) float32 -> where each stream speaks for the class.

        A map is (T, h, w) float32 from 0, of T moments of a clip; T is 1 where the stream takes the clip as
        one picture. Of poses, h are moments and w joints, and T the short clips.
        """
        found = self._maps(dict(inputs), training=False)
        maps = {name: ops.convert_to_numpy(ops.cast(value, "float32")) for name, value in found.items()}
        _, slopes = self._evidence(maps)
        return {name: grad_cam(value, slopes[name]) for name, value in maps.items()}


def grad_cam(maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """(T, h, w, F) maps and the evidence's gradient there -> (T, h, w), what speaks for the class.

    A feature weighs as its mean gradient over all moments and places; what speaks against is 0.
    """
    return np.maximum(maps @ slopes.mean(axis=(0, 1, 2)), 0).astype(np.float32)


def integrated_gradients(
    evidence: Evidence,
    inputs: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    *,
    steps: int = STEPS,
) -> Arrays:
    """What each value of the inputs adds to the evidence, in nats (Sundararajan et al., ICML 2017).

    All together they make the difference between the clip's evidence and the baseline's, but for the error
    of `steps` points' midpoint rule.

    Args:
        evidence: of `evidence_of`.
        inputs: by name, each (1, ...) float32.
        baseline: the same for a clip that shows nothing.
        steps: points on the way from the baseline, where gradients are taken.

    Returns:
        By name, as the input without its batch, float32.

    Raises:
        RefusedError: no step.
    """
    if steps < 1:
        raise RefusedError(f"steps must be at least 1. Received: {steps}")
    shares = (np.arange(steps, dtype=np.float32) + 0.5) / steps
    apart = {name: value - baseline[name] for name, value in inputs.items()}
    totals = {name: np.zeros(value.shape[1:], np.float64) for name, value in inputs.items()}
    for first in range(0, steps, BATCH):
        part = shares[first : first + BATCH]
        _, slopes = evidence(
            {name: baseline[name] + np.multiply.outer(part, way[0]) for name, way in apart.items()}
        )
        for name, slope in slopes.items():
            totals[name] += slope.sum(axis=0, dtype=np.float64)
    return {name: (total / steps * apart[name][0]).astype(np.float32) for name, total in totals.items()}
