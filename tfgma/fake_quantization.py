"""A network that rounds as its int8 file does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import keras
from keras import layers, ops
from keras.quantizers import fake_quant_with_min_max_vars

from tfgma.layers import FoldedConv3D, FoldedDepthwiseConv3D

SMALLEST_RANGE = 1e-6
"""Of a tensor that is always zero, so that its step is not zero, too."""

_DEPTHWISE = (layers.DepthwiseConv2D, FoldedDepthwiseConv3D)
_LINEAR = (layers.Conv2D, layers.Conv3D, layers.Dense, FoldedConv3D, *_DEPTHWISE)
# What only moves values about keeps their steps. Named, since the classes of keras.ops are not public.
_MOVING = {
    *("Dropout", "ExpandDims", "Flatten", "GetItem", "MaxPooling2D", "Reshape", "Squeeze", "Transpose"),
    *("ZeroPadding2D", "FoldFrames", "UnfoldFrames", "StackFrames", "UnstackFrames"),
    *("TemporalStride", "TemporalMaxPooling", "InputLayer"),
}


class Rounding(keras.Layer):
    """Rounds to the 256 values that int8 has for a range; until the range is measured, it measures.

    As in TFLite the range holds 0, and 0 is one of the values (Jacob et al., arXiv:1712.05877, 3). Values
    beyond the range become its ends and pass no gradient on.
    """

    def __init__(self, **options: Any) -> None:
        """Nothing is measured yet."""
        super().__init__(**options)
        self.measures = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the range."""
        self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
        self.high = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(SMALLEST_RANGE), trainable=False, name="high"
        )

    def call(self, inputs: Any) -> Any:
        """The same shape and dtype."""
        if self.measures:
            self.low.assign(ops.minimum(self.low, ops.min(inputs)))
            self.high.assign(ops.maximum(self.high, ops.max(inputs)))
            return inputs
        return fake_quant_with_min_max_vars(inputs, self.low, self.high)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the answer."""
        return input_shape


def fake_quantized(
    network: keras.Model, clips: Iterable[dict[str, Any]], float_layers: Collection[str] = ()
) -> keras.Model:
    """`network` by 8-bit activations, each of the range that it has over `clips`; it shares the weights.

    A tensor is rounded where TFLite has one: behind what is joined to one operator there, such as a
    convolution, its batch normalisation and its ReLU. What layers compute within themselves (a recurrent
    network's steps) is not rounded. Weights are left as they are; `rounded_kernel` rounds those.

    Args:
        network: functional, of named inputs.
        clips: its inputs by name, each (B, ...) float32.
        float_layers: names of those that compute in float32: what one gives another is not rounded.
    """
    exact = _exact(network, float_layers)

    def rounding(operation: Any, *args: Any, **kwargs: Any) -> Any:
        answer = operation(*args, **kwargs)
        if isinstance(operation, keras.Model) or _moves(operation) or id(operation) in exact:
            return answer
        return keras.tree.map_structure(Rounding(), answer)

    inner = keras.models.clone_model(
        network, clone_function=lambda layer: layer, call_function=rounding, recursive=True
    )
    inputs = {one.name: keras.Input(one.shape[1:], name=one.name) for one in network.inputs}
    taken = {
        name: one if id(network.get_layer(name)) in exact else Rounding()(one) for name, one in inputs.items()
    }
    rounded = keras.Model(inputs, inner(taken), name="rounded")
    for clip in clips:
        rounded(clip, training=False)
    for layer in rounded._flatten_layers():
        if isinstance(layer, Rounding):
            layer.measures = False
    return rounded


def _exact(network: keras.Model, float_layers: Collection[str]) -> set[int]:
    """Ids of operations, of networks within it too, whose result is no tensor of 8 bits in the file."""

    own = {id(operation) for operation in network.operations}

    def users(operation: Any) -> list[Any]:
        # Others use it where it is called in another network, too.
        found = [node.operation for node in operation._outbound_nodes]
        return [one for one in found if id(one) in own]

    def is_float(operation: Any) -> bool:
        takers = users(operation)
        moves = _moves(operation) and takers and all(is_float(one) for one in takers)
        return bool(moves) or operation.name in float_layers

    found: set[int] = set()
    for operation in network.operations:
        if isinstance(operation, keras.Model):
            found |= _exact(operation, float_layers)
        takers = users(operation)
        joins = [_joins(operation, one) for one in takers]
        floats = [is_float(one) for one in [operation, *takers]]
        if takers and (all(joins) or all(floats)):
            found.add(id(operation))
    return found


def _moves(operation: Any) -> bool:
    return type(operation).__name__ in _MOVING


def _joins(operation: Any, user: Any) -> bool:
    """Whether both are one operator in TFLite, or have one scale there."""
    if isinstance(user, layers.BatchNormalization):
        return isinstance(operation, _LINEAR)
    if isinstance(user, layers.ReLU) or (
        isinstance(user, layers.Activation) and user.activation is keras.activations.relu
    ):
        return isinstance(operation, (*_LINEAR, layers.BatchNormalization, layers.Add))
    return isinstance(user, (layers.Concatenate, layers.Dropout))


def channel_axes(network: keras.Model, float_layers: Collection[str] = ()) -> dict[int, int]:
    """Ids of the network's kernels -> the axis along which each channel has a scale of its own.

    `float_layers`: names of those whose kernels have none.
    """
    found = {id(one): -1 for one in network.trainable_variables if len(one.shape) > 1}
    for layer in network._flatten_layers():
        if isinstance(layer, _DEPTHWISE):
            found[id(layer.kernel)] = -2
        if layer.name in float_layers:
            for one in layer.trainable_variables:
                found.pop(id(one), None)
    return found


def rounded_kernel(kernel: Any, axis: int) -> Any:
    """Rounded to -127..127 times a step for each channel, as TFLite does; the gradient passes.

    A batch normalisation behind it multiplies channels, and so the steps, which changes nothing.

    Args:
        kernel: float32, of two axes or more.
        axis: along which channels lie.
    """
    others = [one for one in range(len(kernel.shape)) if one != len(kernel.shape) + axis]
    most = ops.max(ops.abs(kernel), axis=others, keepdims=True)
    step = ops.maximum(most, SMALLEST_RANGE) / 127
    return kernel + ops.stop_gradient(ops.round(kernel / step) * step - kernel)
