"""The rounding that a network is fine-tuned under is that of its int8 file."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgma.fake_quantization import Rounding, channel_axes, fake_quantized, rounded_kernel
from tfgma.inference import TFLiteModel
from tfgma.layers import FoldedConv3D, FoldedDepthwiseConv3D, FoldFrames, normalization
from tfgma.outputs import LOGITS
from tfgma.tflite import Int8Converter, save_model

CALIBRATION, TESTED = 24, 12


def clips(shape, count=CALIBRATION, seed=0):
    rng = np.random.default_rng(seed)
    # Most of a picture is one value, as the masked room is: rounding it is no noise that a mean takes away.
    pictures = rng.uniform(0, 1, (count, *shape)).astype(np.float32)
    pictures[..., : shape[-2] // 2, :] = 0.3
    return [{"image": picture[None]} for picture in pictures]


def trained_alike(network, seed=1):
    """Statistics and scales that are not those of a new network."""
    rng = np.random.default_rng(seed)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, gamma.shape),
                    rng.normal(0, 0.3, beta.shape),
                    rng.normal(0, 0.2, mean.shape),
                    rng.uniform(0.3, 1, variance.shape),
                ]
            )
    return network


def residual():
    """Convolutions, sums, a depthwise one, a join and a network within the network."""
    keras.utils.set_random_seed(5)
    inner = keras.Input((12, 12, 8))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(inner)
    x = keras.layers.ReLU()(normalization(x, "inner-bn1"))
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = normalization(x, "inner-bn2")
    block = keras.Model(inner, keras.layers.ReLU()(keras.layers.Add()([x, inner])), name="block")
    image = keras.Input((12, 12, 4), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    joined = keras.layers.Concatenate()([x, keras.layers.Conv2D(4, 1, padding="same")(image)])
    x = keras.layers.Conv2D(8, 1, activation="relu")(joined)
    pooled = keras.layers.GlobalAveragePooling2D()(block(x))
    return trained_alike(keras.Model({"image": image}, {LOGITS: keras.layers.Dense(3)(pooled)}))


def over_time():
    """The layers of folded frames."""
    keras.utils.set_random_seed(6)
    image = keras.Input((4, 8, 8, 4), name="image")
    x = FoldedConv3D(8, 4, (3, 3, 3), use_bias=False)(FoldFrames()(image))
    x = keras.layers.ReLU()(normalization(x, "bn1"))
    x = FoldedDepthwiseConv3D(4, (1, 3, 3), use_bias=False)(x)
    x = keras.layers.ReLU()(normalization(x, "bn2"))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Flatten()(keras.layers.Reshape((4 * 8,))(keras.ops.reshape(x, (-1, 4 * 8))))
    return trained_alike(keras.Model({"image": image}, {LOGITS: keras.layers.Dense(3)(x)}))


def with_rounded_kernels(rounded):
    axes = channel_axes(rounded)
    for one in rounded.trainable_variables:
        if id(one) in axes:
            one.assign(rounded_kernel(tf.convert_to_tensor(one.value), axes[id(one)]))
    return rounded


@pytest.mark.parametrize("make", [residual, over_time])
def test_it_answers_as_the_int8_file(make, tmp_path):
    network = make()
    shape = network.inputs[0].shape[1:]
    tested = clips(shape, TESTED, seed=1)

    def answers(answer):
        return np.stack([np.asarray(answer(clip)[LOGITS]).reshape(3) for clip in tested])

    exact = answers(lambda clip: network(clip, training=False))
    wanted = answers(int8_file(network, clips(shape), tmp_path).outputs)
    # Batches of any size measure the same.
    batches = [{"image": np.concatenate([clip["image"] for clip in clips(shape)])}]
    rounded = with_rounded_kernels(fake_quantized(network, batches))
    found = answers(lambda clip: rounded(clip, training=False))
    # What is left are sums of which one rounds up where the other rounds down.
    assert np.abs(found - wanted).mean() < 0.4 * np.abs(exact - wanted).mean()


def int8_file(network, calibration, folder):
    """It answers logits, too, whose steps are finer than those of probabilities."""
    save_model(network, folder, batch=1, also=[LOGITS])
    return TFLiteModel(Int8Converter(folder, lambda: iter(calibration)).convert())


def test_values_become_one_of_256_with_zero_among_them():
    rounding = Rounding()
    measured = np.array([-1.0, 0.5, 3.0], np.float32)
    np.testing.assert_array_equal(rounding(measured), measured)
    rounding.measures = False
    step = 4 / 255
    values = np.linspace(-2, 4, 1001).astype(np.float32)
    found = np.asarray(rounding(values))
    steps = found / step
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert len(np.unique(np.round(steps))) == 256
    inside = (values > found.min()) & (values < found.max())
    assert np.abs(found - values)[inside].max() <= step / 2 + 1e-6
    assert rounding(np.zeros(1, np.float32)) == 0
    variable = tf.Variable([-2.0, 0.5, 4.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(rounding(variable))
    np.testing.assert_array_equal(tape.gradient(total, variable), [0, 1, 0])


def test_a_tensor_of_zeros_stays_zeros():
    rounding = Rounding()
    rounding(np.zeros((2, 3), np.float32))
    rounding.measures = False
    np.testing.assert_array_equal(rounding(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))


@pytest.mark.parametrize(("shape", "axis"), [((3, 3, 4, 5), -1), ((3, 3, 4, 1), -2), ((6, 2), -1)])
def test_kernels_have_a_step_for_each_channel(shape, axis):
    channels = shape[axis]
    scales = 10.0 ** np.arange(channels)
    kernel = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    kernel *= np.expand_dims(scales, tuple(range(axis + 1, 0))).astype(np.float32)
    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        found = rounded_kernel(variable, axis)
        total = tf.reduce_sum(found)
    np.testing.assert_array_equal(tape.gradient(total, variable), np.ones(shape))
    for one, rounded in zip(np.moveaxis(kernel, axis, 0), np.moveaxis(found.numpy(), axis, 0), strict=True):
        step = np.abs(one).max() / 127
        np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-3)
        assert np.abs(rounded - one).max() <= 0.501 * step


def test_weights_are_the_networks_and_a_channel_of_a_depthwise_kernel_is_its_last_axis_but_one():
    network = residual()
    rounded = fake_quantized(network, clips((12, 12, 4), 1))
    assert {id(one) for one in rounded.trainable_variables} == {
        id(one) for one in network.trainable_variables
    }
    axes = channel_axes(network)
    kernels = [one for one in network.trainable_variables if len(one.shape) > 1]
    assert len(kernels) == 6
    assert axes == {id(one): -2 if one.shape == (3, 3, 8, 1) else -1 for one in kernels}


def test_what_float_layers_give_each_other_is_not_rounded():
    network = residual()
    outside = (keras.layers.Conv2D, keras.layers.Concatenate)
    names = [layer.name for layer in network.layers if isinstance(layer, outside)]
    everything = fake_quantized(network, clips((12, 12, 4), 1))
    in_part = fake_quantized(network, clips((12, 12, 4), 1), names)
    # Input, what is joined, what is behind it; in the block a ReLU, a normalisation, the sum; mean; logits.
    assert roundings(everything) == 8
    # The input, which two of them take, and what they are joined to, which the last one takes.
    assert roundings(everything) - roundings(in_part) == 2
    kernels = [one for one in network.trainable_variables if len(one.shape) > 1]
    left = channel_axes(network, names)
    assert {one.path.partition("/")[0] for one in kernels if id(one) not in left} < set(names)


def roundings(network):
    return sum(isinstance(layer, Rounding) for layer in network._flatten_layers())
