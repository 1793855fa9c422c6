"""What is minimised: each head's loss, and the weights of heads and classes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from pipelines.schema import RefusedError
from tfgma.config import TrainSettings


def make_loss(settings: TrainSettings, *, one_logit: bool) -> keras.losses.Loss:
    """The loss of one head on logits, (B, 1) if `one_logit` else (B, C), and labels of the same shape.

    Source of the focal loss: Lin et al., ICCV 2017; without its alpha, which class weights stand for.
    """
    common = {"from_logits": True, "label_smoothing": settings.label_smoothing}
    if settings.loss == "cross_entropy":
        kind = keras.losses.BinaryCrossentropy if one_logit else keras.losses.CategoricalCrossentropy
        return kind(**common)
    if one_logit:
        return keras.losses.BinaryFocalCrossentropy(gamma=settings.focal_gamma, **common)
    return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=settings.focal_gamma, **common)


def make_accuracy(*, one_logit: bool) -> keras.metrics.Metric:
    """The share of clips whose label, or greater part of it where clips are mixed, is answered."""
    if not one_logit:
        return keras.metrics.CategoricalAccuracy("accuracy")

    def agree(labels: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        return keras.ops.mean(keras.ops.equal(labels > 0.5, logits > 0), axis=-1)

    return keras.metrics.MeanMetricWrapper(agree, name="accuracy")


def head_weights(settings: TrainSettings, heads: Sequence[str]) -> dict[str, float] | None:
    """Weight of each head's loss; None for one each.

    Raises:
        RefusedError: others are named than the network has.
    """
    if settings.head_weights is not None and set(settings.head_weights) != set(heads):
        raise RefusedError(
            f"train.head_weights must name the outputs that are trained, {', '.join(heads)}. "
            f"Received: {', '.join(settings.head_weights) or 'none'}. Name these, or leave it out"
        )
    return settings.head_weights


def class_weights(
    settings: TrainSettings, classes: Sequence[str], counts: Mapping[str, int]
) -> list[float] | None:
    """Weight of each of `classes`; None for one each.

    With balance weights, N / (C * clips of the class): the mean over the clips is 1.

    Args:
        settings: of the training.
        classes: in the order of labels.
        counts: clips of each class in an epoch; a class without any may be missing.

    Raises:
        RefusedError: a class without clips cannot be balanced, or weights are given for other classes.
    """
    missing = [name for name in classes if not counts.get(name)]
    if settings.balance != "none" and missing:
        raise RefusedError(
            f"train.balance {settings.balance} needs clips of each class on the training side. "
            f"Received: none of {', '.join(missing)}. Set it to none, or correct the folds"
        )
    if settings.class_weights is not None:
        if set(settings.class_weights) != set(classes):
            raise RefusedError(
                f"train.class_weights must name the data's classes, {', '.join(classes)}. "
                f"Received: {', '.join(settings.class_weights) or 'none'}. Name each, or leave it out"
            )
        return [settings.class_weights[name] for name in classes]
    if settings.balance == "weights":
        return [sum(counts.values()) / (len(classes) * counts[name]) for name in classes]
    return None
