"""What a bundle says of a video: one class, or that it cannot be assessed, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfgma.bundle import CalibrationDescription
from tfgma.calibration import (
    UNCERTAIN,
    apply_temperature,
    conformal_ranks,
    conformal_sets,
    least_validated,
)

LEAST_CLIPS = 5
"""Of fewer an interval would say nothing."""
RESAMPLES, SEED = 2000, 0


@dataclass(frozen=True)
class Verdict:
    """`possible`: the conformal set; `answer`: its one class, or UNCERTAIN, and then `reason` says why.

    `probabilities`: (C,) float, calibrated.
    """

    probabilities: np.ndarray
    possible: tuple[str, ...]
    answer: str
    reason: str


def probability_intervals(clip_probabilities: np.ndarray, temperature: float) -> np.ndarray | None:
    """95 % bootstrap intervals of the calibrated mean over clips: what it owes to which clips there are.

    Clips of one video are alike, so the intervals are too narrow; and they do not say how well the network
    knows such an infant, as the conformal set does.

    Args:
        clip_probabilities: (N, C) float. temperature: of the network.

    Returns:
        (C, 2) float, or None of fewer than LEAST_CLIPS clips.
    """
    count = len(clip_probabilities)
    if count < LEAST_CLIPS:
        return None
    drawn = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    shares = np.stack([np.bincount(row, minlength=count) for row in drawn]) / count
    means = apply_temperature(shares @ clip_probabilities, temperature)
    return np.percentile(means, [2.5, 97.5], axis=0).T


def verdict(
    probabilities: np.ndarray, classes: tuple[str, ...], calibration: CalibrationDescription
) -> Verdict:
    """The verdict on one video.

    Args:
        probabilities: (C,) float, the network's, averaged over clips.
        classes: their names.
        calibration: of that network.
    """
    calibrated = apply_temperature(probabilities[None], calibration.temperature)[0]
    ranks, validated = conformal_ranks(np.array(calibration.fits), probabilities[None]), len(calibration.fits)
    chosen = conformal_sets(ranks, np.array([validated]), calibration.coverage)[0]
    possible = tuple(name for name, held in zip(classes, chosen, strict=True) if held)
    if len(possible) == 1:
        return Verdict(calibrated, possible, possible[0], "")
    needed = least_validated(calibration.coverage)
    if validated < needed:
        reason = f"the network was validated on {validated} subjects, and a verdict needs at least {needed}"
    elif possible:
        reason = f"{', '.join(possible)} are all possible, by answers to subjects of known class"
    else:
        reason = "no class fits as it does subjects of known class"
    return Verdict(calibrated, possible, UNCERTAIN, reason)
