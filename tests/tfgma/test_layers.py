import itertools

import keras
import numpy as np
import pytest
from keras import ops

from pipelines.schema import RefusedError
from tfgma.layers import (
    FoldedConv3D,
    FoldedDepthwiseConv3D,
    FoldFrames,
    StackFrames,
    TemporalMaxPooling,
    TemporalStride,
    UnfoldFrames,
    UnstackFrames,
    clip_shape,
    convolution,
    frames_at,
    strided_length,
)

KERNELS = [(3, 1, 1), (5, 1, 1), (3, 3, 3), (5, 7, 7), (1, 3, 3), (1, 1, 1), (7, 3, 5)]
STRIDES = [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2), (4, 3, 3)]
CLIPS = [(8, 6, 6), (7, 9, 5), (1, 4, 5), (2, 1, 1)]


def clips(frames, rows, columns, channels=3, batch=2):
    shape = (batch, frames, rows, columns, channels)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def folded(x):
    return x.reshape(-1, *x.shape[2:])


def unfolded(x, batch=2):
    x = ops.convert_to_numpy(x)
    return x.reshape(batch, -1, *x.shape[1:])


def padded(x, kernel):
    return np.pad(x, ((0, 0), *((size // 2, size // 2) for size in kernel), (0, 0)))


def filled(layer):
    rng = np.random.default_rng(1)
    layer.set_weights([rng.standard_normal(value.shape) / 10 for value in layer.get_weights()])
    return layer


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", CLIPS)
def test_a_folded_convolution_is_conv3d(kernel, shape):
    x = clips(*shape)
    for strides in STRIDES:
        layer = FoldedConv3D(4, shape[0], kernel, strides)
        layer.build(folded(x).shape)
        filled(layer)
        conv3d = keras.layers.Conv3D(4, kernel, strides, "valid")
        conv3d.build(padded(x, kernel).shape)
        conv3d.set_weights(layer.get_weights())
        expected = ops.convert_to_numpy(conv3d(padded(x, kernel)))
        answer = unfolded(layer(folded(x)))
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer, expected, atol=1e-5)
        assert layer.compute_output_shape(folded(x).shape) == folded(expected).shape


def grouped_convolution(x, kernel, strides):
    """Each channel of `x` (B, T, H, W, C) with its own part of `kernel` (t, h, w, C, 1)."""
    x = padded(x, kernel.shape[:3])
    counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], kernel.shape[:3], strides, strict=True)]
    total = 0
    for tap in itertools.product(*map(range, kernel.shape[:3])):
        seen = (slice(k, k + s * n, s) for k, s, n in zip(tap, strides, counts, strict=True))
        total = total + x[:, *seen][:, : counts[0], : counts[1], : counts[2]] * kernel[*tap, :, 0]
    return total


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", CLIPS)
def test_a_folded_depthwise_convolution_is_a_grouped_one(kernel, shape):
    x = clips(*shape)
    for strides in STRIDES:
        layer = FoldedDepthwiseConv3D(shape[0], kernel, strides)
        layer.build(folded(x).shape)
        filled(layer)
        weights, bias = layer.get_weights()
        expected = grouped_convolution(x, weights, strides) + bias
        answer = unfolded(layer(folded(x)))
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer, expected, atol=1e-5)
        assert layer.compute_output_shape(folded(x).shape) == folded(expected).shape


def test_one_channel_convolved_by_itself_is_a_dense_convolution():
    x = clips(8, 6, 6, channels=1)
    dense, depthwise = (
        FoldedConv3D(1, 8, (3, 3, 3), (2, 2, 2)),
        FoldedDepthwiseConv3D(8, (3, 3, 3), (2, 2, 2)),
    )
    for layer in (dense, depthwise):
        layer.build(folded(x).shape)
    filled(dense)
    depthwise.set_weights(dense.get_weights())
    ours, theirs = (ops.convert_to_numpy(layer(folded(x))) for layer in (depthwise, dense))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("layer", [FoldedConv3D, FoldedDepthwiseConv3D])
def test_a_bias_is_an_option(layer):
    arguments = (4, 8) if layer is FoldedConv3D else (8,)
    network = layer(*arguments, (3, 3, 3), use_bias=False)
    network.build((16, 6, 6, 4))
    assert [tuple(value.shape) for value in network.weights] == [
        (3, 3, 3, 4, 4 if layer is FoldedConv3D else 1)
    ]


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_over_time_is_max_pooling_3d(frames, size):
    x = clips(frames, 3, 4)
    if size > frames:
        with pytest.raises(RefusedError, match=rf"size must be 1 to {frames}.*Received: {size}"):
            TemporalMaxPooling(frames, size)
        return
    expected = ops.convert_to_numpy(keras.layers.MaxPooling3D((size, 1, 1))(x))
    answer = unfolded(TemporalMaxPooling(frames, size)(folded(x)))
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("frames", [1, 2, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_temporal_stride_takes_every_such_frame(frames, stride):
    x = clips(frames, 3, 4)
    answer = unfolded(TemporalStride(frames, stride)(folded(x)))
    np.testing.assert_array_equal(answer, x[:, ::stride])


@pytest.mark.parametrize("offset", range(-6, 7))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_frames_at_are_those_frames_or_zeros(offset, stride):
    x = clips(5, 2, 3)
    count = strided_length(5, stride)
    wanted = [offset + stride * number for number in range(count)]
    expected = np.stack([x[:, t] if 0 <= t < 5 else np.zeros_like(x[:, 0]) for t in wanted], axis=1)
    answer = frames_at(ops.convert_to_tensor(folded(x)), 5, offset=offset, stride=stride)
    if answer is None:
        assert not expected.any()
    else:
        np.testing.assert_array_equal(unfolded(answer), expected)


def test_folding_and_stacking_keep_every_number_in_its_place():
    x = clips(5, 2, 3)
    frames = FoldFrames()(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(frames), folded(x))
    np.testing.assert_array_equal(ops.convert_to_numpy(UnfoldFrames(5)(frames)), x)
    stacked = StackFrames(5)(frames)
    below = np.concatenate([x[:, t] for t in range(5)], axis=1)
    np.testing.assert_array_equal(ops.convert_to_numpy(stacked), below)
    np.testing.assert_array_equal(ops.convert_to_numpy(UnstackFrames(5)(stacked)), folded(x))


def every_layer(frames=6):
    """A network that holds each layer of the module."""
    inputs = keras.Input((frames, 6, 6, 3))
    x = FoldFrames()(inputs)
    x = FoldedConv3D(4, frames, (3, 3, 3), (1, 2, 2))(x)
    x = FoldedDepthwiseConv3D(frames, (5, 1, 1), use_bias=False)(x)
    x = TemporalMaxPooling(frames, 2)(x)
    x = TemporalStride(frames // 2, 2)(x)
    x = UnstackFrames(2)(StackFrames(2)(x))
    return keras.Model(inputs, UnfoldFrames(2)(x))


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (1, 3), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("channels", [15, 16])
def test_convolution_pads_both_sides_whatever_its_layers(channels, size, stride):
    rng = np.random.default_rng(0)
    inputs = keras.Input((9, 10, channels))
    network = keras.Model(inputs, convolution(inputs, 4, size, stride, "conv"))
    x = rng.normal(size=(2, 9, 10, channels)).astype(np.float32)
    half = size // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    expected = ops.conv(
        padded, network.get_layer("conv").kernel, stride, "valid", data_format="channels_last"
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(network(x)), ops.convert_to_numpy(expected), rtol=1e-5, atol=1e-5
    )


def test_narrow_convolutions_of_one_cell_have_no_stride():
    inputs = keras.Input((8, 8, 15))
    network = keras.Model(inputs, convolution(inputs, 4, 1, 2, "conv"))
    assert network.get_layer("conv").strides == (1, 1)
    assert network.output_shape == (None, 4, 4, 4)


def test_layers_save_and_reload(tmp_path):
    network = every_layer()
    assert network.output_shape == (None, 2, 3, 3, 4)
    x = clips(6, 6, 6)
    network.save(tmp_path / "layers.keras")
    again = keras.saving.load_model(tmp_path / "layers.keras", compile=False)
    np.testing.assert_allclose(again.predict_on_batch(x), network.predict_on_batch(x), atol=1e-6)


def test_training_and_answering_follow_the_same_gradient():
    """One step from the 3D form, and the 2D form answers as the stepped kernel says."""
    network = every_layer()
    x = clips(6, 6, 6)
    network.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=keras.backend.backend() == "tensorflow")
    target = np.zeros((2, 2, 3, 3, 4), np.float32)
    before = float(np.mean(network.predict_on_batch(x) ** 2))
    loss = float(network.train_on_batch(x, target))
    assert loss == pytest.approx(before, rel=1e-4)
    assert np.mean(network.predict_on_batch(x) ** 2) < before


@pytest.mark.parametrize("layer", [FoldedConv3D, FoldedDepthwiseConv3D])
def test_initial_kernels_keep_the_scale(layer):
    keras.utils.set_random_seed(0)
    arguments = (64, 8) if layer is FoldedConv3D else (8,)
    network = layer(*arguments, (3, 3, 3))
    x = clips(8, 12, 12, channels=64)
    y = unfolded(network(folded(x)))[:, 1:-1, 1:-1, 1:-1]
    assert y.std() == pytest.approx(np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("frames", [0, -1])
def test_layers_refuse_clips_without_frames(frames):
    with pytest.raises(RefusedError, match=rf"frames must be at least 1\. Received: {frames}"):
        UnfoldFrames(frames)


@pytest.mark.parametrize("kernel", [(2, 3, 3), (3, 3), (3, 4, 3), (0, 1, 1)])
def test_convolutions_refuse_even_kernels(kernel):
    with pytest.raises(RefusedError, match=r"kernel_size must be three odd numbers. Received: "):
        FoldedDepthwiseConv3D(8, kernel)


@pytest.mark.parametrize("strides", [(1, 1, 2), (1, 0, 0), (1, 1)])
def test_convolutions_refuse_unequal_strides(strides):
    with pytest.raises(RefusedError, match=r"the same over rows and columns. Received: "):
        FoldedConv3D(4, 8, (3, 3, 3), strides)


def test_a_stride_below_one_is_refused():
    with pytest.raises(RefusedError, match=r"stride must be at least 1. Received: 0"):
        TemporalStride(8, 0)


@pytest.mark.parametrize(
    "shape", [(16, 112, 112), (0, 8, 8, 3), (None, 8, 8, 3), (16, 15, 16, 3), (15, 16, 16, 3)]
)
def test_shapes_that_a_network_cannot_take_are_refused(shape):
    with pytest.raises(RefusedError, match=r"with at least 16 frames of 16 x 16 px. Received: "):
        clip_shape(shape, min_frames=16, min_size=16)


def test_a_shape_that_fits_is_taken():
    assert clip_shape([16, 16, 17, 2], min_frames=16, min_size=16) == (16, 16, 17, 2)
