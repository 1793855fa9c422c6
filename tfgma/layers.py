"""Layers for clips whose frames are folded into the batch axis.

A clip (B, T, H, W, C) becomes (B * T, H, W, C), and T is a number that each layer is told: 2D convolutions on
folded frames run faster on a tablet than 3D ones, and 8-bit TFLite has no 3D ones at all. Convolutions are
padded with zeros by half their kernel on both sides, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

from pipelines.schema import RefusedError

PACKAGE = "tfgma"
EPSILON = 1e-5
MOMENTUM = 0.9
"""Of batch normalisation's moving averages, in every network. With 0.99 or more, as some were published, they
still hold what they began with after the few hundred steps that a study of fifty subjects trains for."""
CLOSING_GAMMA = 0.1
"""What a residual branch is multiplied by before training: a block is nearly its shortcut alone, from which
small studies learn much faster. Not zero (Goyal et al., arXiv:1706.02677, 5.1): a converter would leave the
branches of an untrained network out, which then is quicker and smaller than the trained one."""
# TensorFlow 2.21's oneDNN, on a CPU with AVX-512, writes past its scratch memory in the filter gradient of a
# strided 1x1 convolution of fewer channels than these: there rows and columns are skipped first.
ONEDNN_MIN_STRIDED_CHANNELS = 16

Shape = tuple[int | None, ...]

Mixing = Callable[[keras.KerasTensor, str], keras.KerasTensor]
"""What a block's branch does first, with what it is given and a layer's name: mixes frames, or nothing."""


def no_mixing(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """`x` itself."""
    return x


def strided_length(length: int, stride: int) -> int:
    """Cells left of `length` by an odd kernel that is padded by half of itself on both sides."""
    return (length - 1) // stride + 1


def frames_at(clips: Any, frames: int, *, offset: int, stride: int) -> Any | None:
    """The frames offset, offset + stride, ... of each clip; zeros where there is none.

    Args:
        clips: (B * frames, H, W, C).
        frames: frames of one clip.
        offset: first frame; it may lie before the clip.
        stride: distance between frames.

    Returns:
        (B * strided_length(frames, stride), H, W, C), or None where no frame lies inside the clip.
    """
    if offset == 0 and stride == 1:
        return clips
    count = strided_length(frames, stride)
    start, end = max(0, offset), offset + stride * count
    if min(end, frames) <= start:
        return None
    shape = tuple(clips.shape[1:])
    cells = shape[0] * shape[1] * shape[2]
    # Merged axes and slices of step 1: steps and more than five axes are slow or missing on a tablet.
    x = ops.reshape(clips, (-1, frames, cells))
    if start > 0 or end < frames:
        x = x[:, start : min(end, frames)]
    if offset < 0 or end > frames:
        x = ops.pad(x, ((0, 0), (max(0, -offset), max(0, end - frames)), (0, 0)))
    if stride > 1:
        x = ops.reshape(x, (-1, count, stride * cells))[:, :, :cells]
    return ops.reshape(x, (-1, *shape))


@keras.saving.register_keras_serializable(package=PACKAGE)
class FoldFrames(keras.Layer):
    """(B, T, ...) -> (B * T, ...)."""

    def call(self, inputs: Any) -> Any:
        """Joins the first two axes."""
        return ops.reshape(inputs, (-1, *inputs.shape[2:]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        batch, frames, *rest = input_shape
        return (None if batch is None or frames is None else batch * frames, *rest)


class Folded(keras.Layer):
    """A layer that is told how many frames a clip has."""

    def __init__(self, frames: int, **options: Any) -> None:
        """`frames`: frames of one clip."""
        super().__init__(**options)
        if frames < 1:
            raise RefusedError(f"frames must be at least 1. Received: {frames}")
        self.frames = frames

    def get_config(self) -> dict[str, Any]:
        """Arguments that build the layer again."""
        return super().get_config() | {"frames": self.frames}

    def _batch(self, batch: int | None, frames: int) -> int | None:
        return None if batch is None else batch // self.frames * frames


@keras.saving.register_keras_serializable(package=PACKAGE)
class UnfoldFrames(Folded):
    """(B * frames, ...) -> (B, frames, ...)."""

    def call(self, inputs: Any) -> Any:
        """Splits the first axis."""
        return ops.reshape(inputs, (-1, self.frames, *inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        return (self._batch(input_shape[0], 1), self.frames, *input_shape[1:])


@keras.saving.register_keras_serializable(package=PACKAGE)
class StackFrames(Folded):
    """A clip's frames below each other: (B * frames, H, W, C) -> (B, frames * H, W, C).

    What 2D layers do over the whole of that picture they do over time and space.
    """

    def call(self, inputs: Any) -> Any:
        """Moves frames from the first axis into the rows."""
        _, height, width, channels = inputs.shape
        return ops.reshape(inputs, (-1, self.frames * height, width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        batch, height, *rest = input_shape
        assert height is not None
        return (self._batch(batch, 1), self.frames * height, *rest)


@keras.saving.register_keras_serializable(package=PACKAGE)
class UnstackFrames(Folded):
    """The inverse of `StackFrames`: (B, frames * H, W, C) -> (B * frames, H, W, C)."""

    def call(self, inputs: Any) -> Any:
        """Moves frames from the rows into the first axis."""
        _, rows, width, channels = inputs.shape
        return ops.reshape(inputs, (-1, rows // self.frames, width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        batch, rows, *rest = input_shape
        assert rows is not None
        return (None if batch is None else batch * self.frames, rows // self.frames, *rest)


@keras.saving.register_keras_serializable(package=PACKAGE)
class TemporalStride(Folded):
    """Each clip's frames 0, stride, 2 * stride, ..."""

    def __init__(self, frames: int, stride: int, **options: Any) -> None:
        """`frames`: frames of one clip; `stride`: distance between those that are taken."""
        super().__init__(frames, **options)
        if stride < 1:
            raise RefusedError(f"stride must be at least 1. Received: {stride}")
        self.stride = stride

    def call(self, inputs: Any) -> Any:
        """Takes the frames."""
        return frames_at(inputs, self.frames, offset=0, stride=self.stride)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        return (self._batch(input_shape[0], strided_length(self.frames, self.stride)), *input_shape[1:])

    def get_config(self) -> dict[str, Any]:
        """Arguments that build the layer again."""
        return super().get_config() | {"stride": self.stride}


@keras.saving.register_keras_serializable(package=PACKAGE)
class TemporalMaxPooling(Folded):
    """The maximum over each `size` frames; frames that are left over at the end are dropped."""

    def __init__(self, frames: int, size: int = 2, **options: Any) -> None:
        """`frames`: frames of one clip; `size`: how many are pooled into one."""
        super().__init__(frames, **options)
        if not 1 <= size <= frames:
            raise RefusedError(f"size must be 1 to {frames}, the number of frames. Received: {size}")
        self.size = size

    def call(self, inputs: Any) -> Any:
        """Pools over time."""
        _, height, width, channels = inputs.shape
        # As a picture of T rows, so that it is 2D pooling.
        x = ops.reshape(inputs, (-1, self.frames, height * width, channels))
        x = ops.max_pool(x, (self.size, 1), (self.size, 1), "valid", data_format="channels_last")
        return ops.reshape(x, (-1, height, width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        return (self._batch(input_shape[0], self.frames // self.size), *input_shape[1:])

    def get_config(self) -> dict[str, Any]:
        """Arguments that build the layer again."""
        return super().get_config() | {"size": self.size}


class _FoldedConvolution(Folded):
    """What dense and depthwise convolutions over folded frames share.

    Args:
        frames: frames of one clip.
        kernel_size: (frames, rows, columns), odd numbers.
        strides: (frames, rows, columns), the same over rows and columns.
        use_bias: whether a bias is added.
    """

    def __init__(
        self,
        frames: int,
        kernel_size: Sequence[int],
        strides: Sequence[int],
        use_bias: bool,
        **options: Any,
    ) -> None:
        super().__init__(frames, **options)
        self.kernel_size, self.strides = tuple(kernel_size), tuple(strides)
        self.use_bias = use_bias
        self.bias = None
        if len(self.kernel_size) != 3 or any(size < 1 or size % 2 == 0 for size in self.kernel_size):
            raise RefusedError(f"kernel_size must be three odd numbers. Received: {self.kernel_size}")
        if len(self.strides) != 3 or min(self.strides) < 1 or self.strides[1] != self.strides[2]:
            raise RefusedError(
                "strides must be three numbers from 1, the same over rows and columns. "
                f"Received: {self.strides}"
            )

    def _add_weights(self, shape: Sequence[int], outputs: int, initializer: Any) -> None:
        self.kernel = self.add_weight(shape=tuple(shape), initializer=initializer, name="kernel")
        if self.use_bias:
            self.bias = self.add_weight(shape=(outputs,), initializer="zeros", name="bias")

    def _kernel_values(self) -> Any:
        # JAX takes no variable where it traces shapes only.
        return ops.convert_to_tensor(self.kernel)

    def _biased(self, x: Any) -> Any:
        return x if self.bias is None else ops.add(x, self.bias)

    @property
    def _only_temporal(self) -> bool:
        return self.kernel_size[1:] == (1, 1) and self.strides[1] == 1

    def _over_time(self, inputs: Any) -> Any:
        """A picture of T rows and H * W columns a clip: (B, T, H * W, C)."""
        _, height, width, channels = inputs.shape
        return ops.reshape(inputs, (-1, self.frames, height * width, channels))

    def _spatial_padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        _, rows, columns = self.kernel_size
        return (rows // 2, rows // 2), (columns // 2, columns // 2)

    def _padded(self, inputs: Any) -> tuple[Any, str]:
        """Frames ready for a 2D convolution, and the padding that is left to it."""
        if self.strides[1] == 1:
            return inputs, "same"
        # "same" padding with a stride is one-sided where the size is even.
        return ops.pad(inputs, ((0, 0), *self._spatial_padding(), (0, 0))), "valid"

    def _offsets(self) -> range:
        """The frame that each temporal tap of the kernel sees, counted from the middle."""
        half = self.kernel_size[0] // 2
        return range(-half, half + 1)

    def _output_shape(self, input_shape: Shape, channels: int) -> Shape:
        batch, height, width, _ = input_shape
        assert height is not None
        assert width is not None
        frames, rows, columns = self.strides
        return (
            self._batch(batch, strided_length(self.frames, frames)),
            strided_length(height, rows),
            strided_length(width, columns),
            channels,
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that build the layer again."""
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "use_bias": self.use_bias,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class FoldedConv3D(_FoldedConvolution):
    """A 3D convolution over folded frames; its kernel is `Conv3D`'s (frames, rows, columns, in, out).

    It is computed as one 2D convolution: the frames that the taps of the kernel see lie behind one another in
    the channels, which is faster than a 3D convolution and than a sum over taps, in training and on a tablet.

    Args:
        filters: channels of the answer.
        frames: frames of one clip.
        kernel_size: (frames, rows, columns), odd numbers.
        strides: (frames, rows, columns), the same over rows and columns.
        use_bias: whether a bias is added.

    Raises:
        RefusedError: even kernels, or unequal strides.
    """

    def __init__(
        self,
        filters: int,
        frames: int,
        kernel_size: Sequence[int],
        strides: Sequence[int] = (1, 1, 1),
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        """Takes the arguments that the class names."""
        super().__init__(frames, kernel_size, strides, use_bias, **options)
        self.filters = filters

    def build(self, input_shape: Shape) -> None:
        """Makes the kernel for the channels of `input_shape`."""
        channels = input_shape[-1]
        assert channels is not None
        self._add_weights((*self.kernel_size, channels, self.filters), self.filters, "he_normal")

    def call(self, inputs: Any) -> Any:
        """(B * frames, H, W, in) -> (B * frames / stride, H / stride, W / stride, out)."""
        return self._biased(self._over_pixels(inputs) if self._only_temporal else self._stacked(inputs))

    def _over_pixels(self, inputs: Any) -> Any:
        half = self.kernel_size[0] // 2
        x = ops.pad(self._over_time(inputs), ((0, 0), (half, half), (0, 0), (0, 0)))
        kernel = ops.squeeze(self._kernel_values(), 2)
        x = ops.conv(x, kernel, (self.strides[0], 1), "valid", data_format="channels_last")
        return ops.reshape(x, (-1, *inputs.shape[1:3], self.filters))

    def _stacked(self, inputs: Any) -> Any:
        x, padding = self._padded(inputs)
        seen, taps = [], []
        for tap, offset in zip(ops.unstack(self._kernel_values()), self._offsets(), strict=True):
            frames = frames_at(x, self.frames, offset=offset, stride=self.strides[0])
            if frames is not None:
                seen.append(frames)
                taps.append(tap)
        if len(taps) > 1:
            x, kernel = ops.concatenate(seen, -1), ops.concatenate(taps, -2)
        else:
            x, kernel = seen[0], taps[0]
        return ops.conv(x, kernel, self.strides[1:], padding, data_format="channels_last")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        return self._output_shape(input_shape, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Arguments that build the layer again."""
        return super().get_config() | {"filters": self.filters}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FoldedDepthwiseConv3D(_FoldedConvolution):
    """A 3D convolution of each channel by itself over folded frames, as a sum of 2D ones.

    Its kernel is (frames, rows, columns, channels, 1).

    Args:
        frames: frames of one clip.
        kernel_size: (frames, rows, columns), odd numbers.
        strides: (frames, rows, columns), the same over rows and columns.
        use_bias: whether a bias is added.

    Raises:
        RefusedError: even kernels, or unequal strides.
    """

    def __init__(
        self,
        frames: int,
        kernel_size: Sequence[int],
        strides: Sequence[int] = (1, 1, 1),
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        """Takes the arguments that the class names."""
        super().__init__(frames, kernel_size, strides, use_bias, **options)

    def build(self, input_shape: Shape) -> None:
        """Makes the kernel for the channels of `input_shape`."""
        channels = input_shape[-1]
        assert channels is not None
        # A channel sees one channel: the fan of this kernel's shape that says so is the outgoing one.
        initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")
        self._add_weights((*self.kernel_size, channels, 1), channels, initializer)

    def call(self, inputs: Any) -> Any:
        """(B * frames, H, W, C) -> (B * frames / stride, H / stride, W / stride, C)."""
        if self._only_temporal:
            return self._biased(self._temporal(inputs))
        x, padding = self._padded(inputs)
        total, stride = None, self.strides[0]
        for kernel, offset in zip(ops.unstack(self._kernel_values()), self._offsets(), strict=True):
            # Frames are shifted after the convolution, which may have made them smaller, unless a temporal
            # stride would throw most of its work away.
            seen = x if stride == 1 else frames_at(x, self.frames, offset=offset, stride=stride)
            if seen is None:
                continue
            y = ops.depthwise_conv(seen, kernel, self.strides[1], padding, data_format="channels_last")
            if stride == 1:
                y = frames_at(y, self.frames, offset=offset, stride=1)
            if y is not None:
                total = y if total is None else ops.add(total, y)
        return self._biased(total)

    def _temporal(self, inputs: Any) -> Any:
        kernel = ops.squeeze(self._kernel_values(), 2)
        x = ops.depthwise_conv(self._over_time(inputs), kernel, 1, "same", data_format="channels_last")
        x = ops.reshape(x, (-1, *inputs.shape[1:]))
        return frames_at(x, self.frames, offset=0, stride=self.strides[0])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        channels = input_shape[-1]
        assert channels is not None
        return self._output_shape(input_shape, channels)


def clip_shape(frames_shape: Sequence[int], *, min_frames: int = 1, min_size: int = 1) -> tuple[int, ...]:
    """`frames_shape` as (T, H, W, C), when a network of such minima can be built for it.

    Raises:
        RefusedError: another number of axes, an unknown length, or too few frames, rows or columns.
    """
    shape = tuple(frames_shape)
    if (
        len(shape) != 4
        or not all(isinstance(length, int) and length >= 1 for length in shape)
        or shape[0] < min_frames
        or min(shape[1:3]) < min_size
    ):
        raise RefusedError(
            f"frames_shape must be (frames, rows, columns, channels) with at least {min_frames} frames of "
            f"{min_size} x {min_size} px. Received: {shape}"
        )
    return shape


def convolution(x: keras.KerasTensor, filters: int, size: int, stride: int, name: str) -> keras.KerasTensor:
    """A 2D convolution without bias, padded by size // 2 on every side."""
    padding = "same"
    if stride > 1 and size > 1:
        # "same" padding with a stride is one-sided where the size is even.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    elif stride > 1 and x.shape[-1] < ONEDNN_MIN_STRIDED_CHANNELS:
        x, stride = layers.MaxPooling2D(1, stride, name=f"{name}_stride")(x), 1
    return layers.Conv2D(
        filters, size, stride, padding, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def normalization(
    x: keras.KerasTensor, name: str, *, closing: bool = False, epsilon: float = EPSILON
) -> keras.KerasTensor:
    """Batch normalisation over clips, frames, rows and columns.

    Args:
        x: (B, ..., C) float32.
        name: the layer's name.
        closing: it is a residual branch's last layer and begins at CLOSING_GAMMA.
        epsilon: what is added to the variance.
    """
    return layers.BatchNormalization(
        epsilon=epsilon,
        momentum=MOMENTUM,
        gamma_initializer=keras.initializers.Constant(CLOSING_GAMMA) if closing else "ones",
        name=name,
    )(x)


def clip_average(x: keras.KerasTensor, frames: int, name: str) -> keras.KerasTensor:
    """Mean over time and space: (B * frames, H, W, C) -> (B, C)."""
    return layers.GlobalAveragePooling2D(name=name)(StackFrames(frames, name=f"{name}_frames")(x))


def classifier(features: keras.KerasTensor, num_classes: int, dropout: float, name: str) -> keras.KerasTensor:
    """Logits (B, num_classes) float32 of features (B, F), some of which are dropped in training.

    Raises:
        RefusedError: no class.
    """
    if num_classes < 1:
        raise RefusedError(f"num_classes must be at least 1. Received: {num_classes}")
    if dropout:
        features = layers.Dropout(dropout, name=f"{name}_dropout")(features)
    return layers.Dense(num_classes, name=name, dtype="float32")(features)
