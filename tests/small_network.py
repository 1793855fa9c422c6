"""The smallest network that a study can train, for tests of all that surrounds a network."""

import keras

import tfgma.fitting
import tfgma.suitability

HEADS = ("logits_one", "logits_two")
FOR_IT = ("inputs.num_flows=2", "model.streams=flow")
"""Settings of tests/study.yaml with which records give what it takes."""


def small_network(config, num_classes, noise=0.0):
    """Two heads on the mean of a flow stack; with `noise`, some that is drawn at random."""
    flow = keras.Input((64, 64, 4), name="flow")
    x = keras.layers.Reshape((64, 32, 8))(flow)
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.abs(x))
    if noise:
        x = keras.layers.GaussianDropout(noise)(x)
    x = keras.layers.Dense(4, "tanh", name="hidden")(x)
    units = 1 if config.model.one_logit else num_classes
    heads = [keras.layers.Dense(units, name=name, dtype="float32")(x) for name in HEADS]
    outputs = {"logits": keras.layers.Average(dtype="float32")(heads)}
    outputs |= dict(zip(HEADS, heads, strict=True))
    return keras.Model({"flow": flow}, outputs)


def train_it(patch, network=small_network):
    """Lets every study in this process train `network`."""
    patch.setattr(tfgma.fitting, "build_network", network)
    patch.setattr(tfgma.suitability, "build_network", network)
