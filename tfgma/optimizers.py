"""How weights are changed: the optimizer, its rate over time, and the average of the weights."""

from __future__ import annotations

import keras

from tfgma.config import TrainSettings

COLD = 0.1
"""The rate that a warm-up begins with, as a share of the full one."""


def make_optimizer(settings: TrainSettings, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """AdamW (amsgrad); with schedule cosine its rate warms up, then falls along a cosine to zero.

    With schedule plateau the rate is changed by `training_callbacks`.
    """
    warmup = _warmup_epochs(settings) * steps_per_epoch
    rate: float | keras.optimizers.schedules.LearningRateSchedule = settings.learning_rate
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=settings.learning_rate * COLD if warmup else settings.learning_rate,
            decay_steps=settings.epochs * steps_per_epoch - warmup,
            warmup_target=settings.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    average = settings.weight_average
    return keras.optimizers.AdamW(
        rate,
        weight_decay=settings.weight_decay,
        amsgrad=True,
        global_clipnorm=settings.clip_norm,
        use_ema=average is not None,
        **({} if average is None else {"ema_momentum": average}),
    )


def training_callbacks(settings: TrainSettings) -> list[keras.callbacks.Callback]:
    """What a training must call for the settings' schedule and average.

    With an average, they put it into the network at an epoch's end and take it out as the next one begins:
    what saves the network comes behind them, what saves the training's state before.
    """
    callbacks: list[keras.callbacks.Callback] = []
    if settings.weight_average is not None:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    if settings.schedule == "plateau":
        callbacks += [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: _warm(settings, epoch, rate)),
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_loss",
                factor=settings.plateau_factor,
                patience=settings.plateau_patience,
                min_delta=0,
            ),
        ]
    return callbacks


def _warm(settings: TrainSettings, epoch: int, rate: float) -> float:
    warmup = _warmup_epochs(settings)
    if epoch > warmup:
        return rate
    # At the end of the warm-up once more, or a plateau within it would have lowered what follows.
    return settings.learning_rate * (COLD + (1 - COLD) * epoch / warmup if warmup else 1.0)


def _warmup_epochs(settings: TrainSettings) -> int:
    return min(settings.warmup_epochs, settings.epochs - 1)
