"""What every network must do: take a training step, save, reload, answer the same."""

import keras
import numpy as np


def random_inputs(network, batch=2, seed=0):
    """Noise for every input, by name."""
    rng = np.random.default_rng(seed)
    return {t.name: rng.normal(size=(batch, *t.shape[1:])).astype(np.float32) for t in network.inputs}


def assert_learns_saves_and_reloads(network, folder, outputs=("logits",), atol=1e-5):
    """One step on `outputs` changes what is trainable and nothing else; the saved network answers alike."""
    inputs = random_inputs(network)
    trainer = keras.Model(network.input, {name: network.output[name] for name in outputs})
    losses = {}
    for name in outputs:
        one_logit = trainer.output[name].shape[-1] == 1
        kind = keras.losses.BinaryCrossentropy if one_logit else keras.losses.SparseCategoricalCrossentropy
        losses[name] = kind(from_logits=True)
    trainer.compile(keras.optimizers.Adam(1e-2), losses, run_eagerly=keras.backend.backend() == "tensorflow")
    before = [keras.ops.convert_to_numpy(variable) for variable in network.trainable_variables]
    frozen = [keras.ops.convert_to_numpy(v) for layer in frozen_layers(network) for v in layer.weights]
    trainer.train_on_batch(inputs, {name: np.array([[0], [1]]) for name in outputs})
    after = [keras.ops.convert_to_numpy(variable) for variable in network.trainable_variables]
    moved = [np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True)]
    assert any(moved)
    still = [keras.ops.convert_to_numpy(v) for layer in frozen_layers(network) for v in layer.weights]
    for one, other in zip(frozen, still, strict=True):
        np.testing.assert_array_equal(one, other)

    path = folder / "network.keras"
    network.save(path)
    again = keras.saving.load_model(path, compile=False)
    expected, answered = network.predict_on_batch(inputs), again.predict_on_batch(inputs)
    assert set(answered) == set(expected)
    for name, values in expected.items():
        assert np.isfinite(np.asarray(keras.ops.convert_to_numpy(values))).all(), name
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(answered[name]), keras.ops.convert_to_numpy(values), atol=atol
        )


def frozen_layers(network):
    """Layers with weights of their own of which none is trained."""
    return [
        layer
        for layer in network._flatten_layers(include_self=False)
        if layer.weights and not layer.trainable_weights and not isinstance(layer, keras.Model)
    ]
