"""Rates, clipping and averages of weights, on networks of a few numbers."""

import keras
import numpy as np
import pytest

from tfgma.callbacks import BestNetwork, LearningRate
from tfgma.config import TrainSettings
from tfgma.optimizers import make_optimizer, training_callbacks


def fit(settings, losses=None, callbacks=(), epochs=6, steps=3):
    """Fits a line; `losses`: what the validation is said to give, epoch by epoch."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    network = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    network.compile(make_optimizer(settings, steps), "mse")

    class Said(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if losses is not None:
                logs["val_loss"] = losses[epoch]

    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * steps, 2)).astype(np.float32)
    y = x @ [[1.0], [-2.0]] + 1
    before = [Said(), *training_callbacks(settings), LearningRate(), *(make(network) for make in callbacks)]
    return network, network.fit(
        x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=before, validation_data=(x, y)
    ).history


PLATEAU = {"schedule": "plateau", "epochs": 8, "learning_rate": 0.5, "plateau_patience": 2}


def test_the_rate_falls_on_a_plateau_after_its_warm_up():
    """The validation loss is best in the third epoch; two epochs without a better one follow, twice."""
    settings = TrainSettings(**PLATEAU, warmup_epochs=2, plateau_factor=0.1)
    _, history = fit(settings, [5, 4, 3, 3, 3.5, 3.2, 3.1, 3.0], epochs=8)
    warm = [0.05, 0.275]
    np.testing.assert_allclose(
        history["learning_rate"], [*warm, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005], rtol=1e-5
    )


def test_a_plateau_within_the_warm_up_lowers_nothing():
    settings = TrainSettings(**PLATEAU, warmup_epochs=4)
    _, history = fit(settings, [1, 2, 3, 4, 0.5, 0.4])
    np.testing.assert_allclose(history["learning_rate"][4:], [0.5, 0.5])
    assert np.all(np.diff(history["learning_rate"][:2]) > 0)


def test_a_plateau_without_warm_up_begins_in_full_and_any_better_loss_counts():
    _, history = fit(TrainSettings(**PLATEAU, warmup_epochs=0), [3, 2.99995, 2.9999, 2.9999, 2.9999, 2.9999])
    np.testing.assert_allclose(history["learning_rate"], [0.5] * 4 + [0.25] * 2)


def test_all_gradients_together_are_clipped_by_their_norm():
    clipping = make_optimizer(TrainSettings(clip_norm=2.0), 1)
    gradients = [np.array([3.0, 0.0]), np.array([[4.0]])]
    clipped = clipping._clip_gradients([keras.ops.convert_to_tensor(one) for one in gradients])
    for found, gradient in zip(clipped, gradients, strict=True):
        np.testing.assert_allclose(found, gradient * 2 / 5, rtol=1e-6)
    small = [keras.ops.convert_to_tensor(one / 10) for one in gradients]
    for found, gradient in zip(clipping._clip_gradients(small), gradients, strict=True):
        np.testing.assert_allclose(found, gradient / 10, rtol=1e-6)
    assert make_optimizer(TrainSettings(), 1).global_clipnorm is None


def test_nothing_but_what_is_set_differs_from_the_published_optimizer():
    plain = make_optimizer(TrainSettings(), 10).get_config()
    assert (plain["amsgrad"], plain["weight_decay"], plain["use_ema"]) == (True, 1e-4, False)
    for change, keys in (
        ({"clip_norm": 1.0}, {"global_clipnorm"}),
        ({"weight_average": 0.9}, {"use_ema", "ema_momentum"}),
        ({"schedule": "plateau"}, {"learning_rate"}),
    ):
        other = make_optimizer(TrainSettings(**change), 10).get_config()
        assert {key for key in plain if plain[key] != other[key]} - {"name"} == keys
    assert training_callbacks(TrainSettings()) == []


def test_the_average_of_the_weights_is_validated_and_saved(tmp_path):
    """Against the average of the weights after each step, by hand."""
    steps = []

    class Weights(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append([value.copy() for value in self.model.get_weights()])

    settings = TrainSettings(weight_average=0.8, epochs=3, learning_rate=0.3, warmup_epochs=0)
    _, history = fit(
        settings,
        callbacks=(lambda net: Weights(), lambda net: BestNetwork(net, tmp_path / "best.keras")),
        epochs=3,
    )
    averages, average = [], steps[0]
    for number, weights in enumerate(steps):
        if number:
            average = [0.8 * old + 0.2 * new for old, new in zip(average, weights, strict=True)]
        averages.append(average)
    best = int(np.argmin(history["val_loss"]))
    saved = keras.saving.load_model(tmp_path / "best.keras", compile=False)
    expected = averages[3 * (best + 1) - 1]
    for found, wanted, raw in zip(saved.get_weights(), expected, steps[3 * (best + 1) - 1], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert np.abs(wanted - raw).max() > 0.01
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 2)).astype(np.float32)
    error = saved.predict(x, verbose=0) - (x @ [[1.0], [-2.0]] + 1)
    assert history["val_loss"][best] == pytest.approx(np.mean(error**2), rel=1e-5)
    # Training itself goes on from the raw weights: they are those of a training without an average.
    del steps[:]
    fit(settings.model_copy(update={"weight_average": None}), callbacks=(lambda net: Weights(),), epochs=3)
    plain = steps[-1]
    del steps[:]
    fit(settings, callbacks=(lambda net: Weights(),), epochs=3)
    for found, wanted in zip(steps[-1], plain, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
