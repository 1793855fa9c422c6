"""RAFT: optical flow by repeated lookups in the correlation of all pairs (Teed and Deng, ECCV 2020)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
from keras import layers, ops

from pipelines.schema import RefusedError
from tfgma.layers import MOMENTUM

EPSILON: Final = 1e-5
STRIDE: Final = 8
"""Pixels of the frame per cell of the feature maps, on both axes."""
LEVELS: Final = 4
MIN_SIDE_PX: Final = STRIDE * 2**LEVELS
"""The coarsest level of the pyramid is then 2 x 2 cells."""
MASK_MULTIPLIER: Final = 0.25


def raft_large(
    frame0_shape: Sequence[int],
    frame1_shape: Sequence[int],
    *,
    num_updates: int = 12,
    name: str = "raft_large",
) -> keras.Model:
    """Optical flow from one frame to the next, 5.3 million weights (Teed and Deng, ECCV 2020).

    The correlation of all pairs of cells takes B * (H * W / 64)**2 * 5.3 bytes, however many the updates.

    Inputs by name: `frame0`, `frame1` (B, H, W, 3) float32 RGB -1..1. Output: dict with `flow0`, `flow1`,
    ..., the flow after each update, and `flow`, the last of them: (B, H, W, 2) float32, x then y, pixels,
    positive right and down; what is at (x, y) in frame0 is at (x, y) + flow in frame1.

    Args:
        frame0_shape, frame1_shape: (H, W, 3), equal; H and W are multiples of 8, at least 128.
        num_updates: how often the flow is refined.
        name: the network's name.

    Raises:
        RefusedError: unequal or unfit shapes, or no update.
    """
    shape = _checked_shape(frame0_shape, frame1_shape, num_updates)
    hidden, context, radius = 128, 128, 4
    encoder = functools.partial(_encoder, shape=shape, block=_residual_block, widths=(64, 64, 96, 128))
    height, width = shape[0] // STRIDE, shape[1] // STRIDE
    return _raft(
        shape,
        feature_encoder=encoder("feature_encoder", filters=256, norm="instance"),
        context_encoder=encoder("context_encoder", filters=hidden + context, norm="batch"),
        update_block=_update_block(
            height,
            width,
            hidden=hidden,
            context=context,
            radius=radius,
            correlation_widths=(256, 192),
            flow_widths=(128, 64),
            motion_width=128,
            gru_kernels=((1, 5), (5, 1)),
            head_width=256,
        ),
        mask_predictor=_mask_predictor(height, width, hidden),
        hidden=hidden,
        radius=radius,
        num_updates=num_updates,
        name=name,
    )


def raft_small(
    frame0_shape: Sequence[int],
    frame1_shape: Sequence[int],
    *,
    num_updates: int = 12,
    name: str = "raft_small",
) -> keras.Model:
    """Optical flow from one frame to the next, 1.0 million weights; otherwise as `raft_large`.

    Inputs, outputs, arguments and refusals are those of `raft_large` (Teed and Deng, ECCV 2020).
    """
    shape = _checked_shape(frame0_shape, frame1_shape, num_updates)
    hidden, context, radius = 96, 64, 3
    encoder = functools.partial(_encoder, shape=shape, block=_bottleneck_block, widths=(32, 32, 64, 96))
    return _raft(
        shape,
        feature_encoder=encoder("feature_encoder", filters=128, norm="instance"),
        context_encoder=encoder("context_encoder", filters=hidden + context, norm=None),
        update_block=_update_block(
            shape[0] // STRIDE,
            shape[1] // STRIDE,
            hidden=hidden,
            context=context,
            radius=radius,
            correlation_widths=(96,),
            flow_widths=(64, 32),
            motion_width=82,
            gru_kernels=((3, 3),),
            head_width=128,
        ),
        mask_predictor=None,
        hidden=hidden,
        radius=radius,
        num_updates=num_updates,
        name=name,
    )


@keras.saving.register_keras_serializable(package="tfgma")
class InstanceNormalization(layers.Layer):
    """Each channel of each map to mean 0 and variance 1, without weights.

    The same as groups of one channel, whose fifth axis makes TFLite five times slower.

    Args:
        epsilon: what is added to the variance.
    """

    def __init__(self, epsilon: float, **kwargs: Any) -> None:  # noqa: D107 - the class says it
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def call(self, features: Any) -> Any:
        """(B, h, w, C) -> (B, h, w, C)."""
        mean, variance = ops.moments(features, axes=(1, 2), keepdims=True)
        return (features - mean) * ops.rsqrt(variance + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="tfgma")
class CorrelationPyramid(layers.Layer):
    """How well each cell of one feature map fits each cell of another, at several scales of the other.

    Args:
        levels: number of scales; level l sees the other map averaged over 2**l x 2**l cells.
    """

    def __init__(self, levels: int, **kwargs: Any) -> None:  # noqa: D107 - the class says it
        super().__init__(**kwargs)
        self.levels = levels

    def call(self, features0: Any, features1: Any) -> list[Any]:
        """Two maps (B, h, w, C) -> per level (B, h * w, h // 2**l, w // 2**l): scalar products / sqrt(C)."""
        _, height, width, channels = features0.shape
        cells = ops.reshape(features0, (-1, height * width, channels)) / math.sqrt(channels)
        pyramid = []
        for level in range(self.levels):
            if level:
                # Averaging is linear: the other map may be averaged instead of the far larger correlation.
                features1 = ops.average_pool(features1, 2, 2)
            rows, columns = features1.shape[1:3]
            others = ops.reshape(features1, (-1, rows * columns, channels))
            volume = ops.matmul(cells, ops.swapaxes(others, 1, 2))
            pyramid.append(ops.reshape(volume, (-1, height * width, rows, columns)))
        return pyramid

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"levels": self.levels}


@keras.saving.register_keras_serializable(package="tfgma")
class CorrelationLookup(layers.Layer):
    """A window of the correlation around where the flow leads, at each level of the pyramid.

    Args:
        radius: half of the window's side, cells of the level.
    """

    def __init__(self, radius: int, **kwargs: Any) -> None:  # noqa: D107 - the class says it
        super().__init__(**kwargs)
        self.radius = radius

    def call(self, pyramid: list[Any], flow: Any) -> Any:
        """Levels of `CorrelationPyramid` and flow (B, h, w, 2) in cells -> (B, h, w, levels * K * K).

        K = 2 * radius + 1; within a level the offset in x varies slowest. Between cells the correlation is
        interpolated linearly on both axes; outside the map it is 0.
        """
        _, height, width, _ = flow.shape
        side = 2 * self.radius + 1
        offsets = ops.arange(-self.radius, self.radius + 1, dtype=self.compute_dtype)
        columns = ops.arange(width, dtype=self.compute_dtype)
        rows = ops.arange(height, dtype=self.compute_dtype)[:, None]
        x = ops.reshape(flow[..., 0] + columns, (-1, height * width, 1))
        y = ops.reshape(flow[..., 1] + rows, (-1, height * width, 1))
        windows = []
        for level, volume in enumerate(pyramid):
            # Matrix products with the weights: every runtime has them, unlike a gather over four axes.
            across = interpolation_weights(x / 2**level + offsets, volume.shape[3])
            down = interpolation_weights(y / 2**level + offsets, volume.shape[2])
            window = ops.matmul(across, ops.swapaxes(ops.matmul(down, volume), 2, 3))
            windows.append(ops.reshape(window, (-1, height, width, side * side)))
        return ops.concatenate(windows, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"radius": self.radius}


@keras.saving.register_keras_serializable(package="tfgma")
class ConvexUpsampling(layers.Layer):
    """A finer flow, each vector of which is a weighted mean of the 3 x 3 nearest coarse ones.

    Args:
        factor: how many times finer; the vectors are lengthened as much.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:  # noqa: D107 - the class says it
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, flow: Any, mask: Any) -> Any:
        """Flow (B, h, w, 2), mask (B, h, w, 9 * factor**2) -> (B, factor * h, factor * w, 2).

        The softmax of `mask` over the neighbours gives the weights. Its channels: neighbour (row by row),
        then row, then column within the coarse cell. Outside of the map the flow is 0.
        """
        _, height, width, axes = flow.shape
        fine = self.factor**2
        weights = ops.swapaxes(ops.reshape(mask, (-1, height * width, 9, fine)), 2, 3)
        weights = ops.softmax(weights, axis=-1)
        padded = ops.pad(flow * self.factor, ((0, 0), (1, 1), (1, 1), (0, 0)))
        neighbours = ops.concatenate(
            [
                padded[:, row : row + height, column : column + width]
                for row in range(3)
                for column in range(3)
            ],
            axis=-1,
        )
        vectors = ops.matmul(weights, ops.reshape(neighbours, (-1, height * width, 9, axes)))
        vectors = ops.reshape(vectors, (-1, height, width, fine * axes))
        return ops.depth_to_space(vectors, self.factor)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"factor": self.factor}


@keras.saving.register_keras_serializable(package="tfgma")
class BilinearUpsampling(layers.Layer):
    """A finer flow by linear interpolation on both axes, the corners' centres lying on each other.

    Args:
        factor: how many times finer; the vectors are lengthened as much.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:  # noqa: D107 - the class says it
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, flow: Any) -> Any:
        """Flow (B, h, w, 2) -> (B, factor * h, factor * w, 2)."""
        _, height, width, axes = flow.shape
        fine_height, fine_width = self.factor * height, self.factor * width
        x = ops.arange(fine_width, dtype=self.compute_dtype) * ((width - 1) / (fine_width - 1))
        y = ops.arange(fine_height, dtype=self.compute_dtype) * ((height - 1) / (fine_height - 1))
        lines = ops.reshape(flow * self.factor, (-1, height, width * axes))
        lines = ops.matmul(interpolation_weights(y, height), lines)
        lines = ops.reshape(lines, (-1, fine_height, width, axes))
        return ops.matmul(interpolation_weights(x, width), lines)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"factor": self.factor}


def interpolation_weights(positions: Any, length: int) -> Any:
    """Weights (..., length) of the points 0, 1, ..., length - 1 in linear interpolation at `positions` (...).

    Outside of the points the values count as 0, so that the weights fall to 0 within one step.
    """
    points = ops.arange(length, dtype=positions.dtype)
    return ops.relu(1 - ops.abs(positions[..., None] - points))


def _checked_shape(
    frame0_shape: Sequence[int], frame1_shape: Sequence[int], num_updates: int
) -> tuple[int, int, int]:
    if num_updates < 1:
        raise RefusedError(f"num_updates must be at least 1. Received: {num_updates}")
    shape = tuple(frame0_shape)
    if shape != tuple(frame1_shape):
        raise RefusedError(
            f"frame0_shape and frame1_shape must be equal. Received: {shape} and {tuple(frame1_shape)}. "
            "Resize one of the frames"
        )
    if len(shape) != 3 or shape[2] != 3:
        raise RefusedError(f"frame0_shape must be (H, W, 3). Received: {shape}. Give colour frames")
    height, width, channels = shape
    if any(side is None or side % STRIDE or side < MIN_SIDE_PX for side in (height, width)):
        raise RefusedError(
            f"frame0_shape must have a height and width that are multiples of {STRIDE} and at least "
            f"{MIN_SIDE_PX}. Received: {shape}. Pad or resize the frames"
        )
    return height, width, channels


def _raft(
    shape: tuple[int, int, int],
    *,
    feature_encoder: keras.Model,
    context_encoder: keras.Model,
    update_block: keras.Model,
    mask_predictor: keras.Model | None,
    hidden: int,
    radius: int,
    num_updates: int,
    name: str,
) -> keras.Model:
    frames = {label: keras.Input(shape, name=label) for label in ("frame0", "frame1")}
    features = [feature_encoder(frame) for frame in frames.values()]
    # Positions stay in single precision: from 128 on, bfloat16 knows whole cells only.
    pyramid = CorrelationPyramid(LEVELS, dtype="float32", name="correlation_pyramid")(*features)
    lookup = CorrelationLookup(radius, dtype="float32", name="correlation_lookup")
    encoded = context_encoder(frames["frame0"])
    state = ops.tanh(encoded[..., :hidden])
    context = ops.relu(encoded[..., hidden:])
    flow = ops.cast(ops.zeros_like(encoded[..., :2]), "float32")
    if mask_predictor is None:
        upsample = BilinearUpsampling(STRIDE, dtype="float32", name="upsampling")
    else:
        upsample = ConvexUpsampling(STRIDE, dtype="float32", name="upsampling")
    outputs = {}
    for update in range(num_updates):
        # As published, training sees each update alone, not how the ones before led there.
        flow = ops.stop_gradient(flow)
        step = update_block(
            {"state": state, "context": context, "correlation": lookup(pyramid, flow), "flow": flow}
        )
        state, flow = step["state"], flow + step["change"]
        fine = upsample(flow) if mask_predictor is None else upsample(flow, mask_predictor(state))
        outputs[f"flow{update}"] = fine
    outputs["flow"] = layers.Identity(dtype="float32", name="flow")(fine)
    return keras.Model(frames, outputs, name=name)


def _encoder(
    name: str,
    *,
    shape: tuple[int, int, int],
    filters: int,
    block: Callable[..., keras.KerasTensor],
    widths: tuple[int, int, int, int],
    norm: str | None,
) -> keras.Model:
    """(B, H, W, 3) -> (B, H / 8, W / 8, filters)."""
    frame = keras.Input(shape, name="frame")
    x = _conv_norm_relu(frame, widths[0], 7, f"{name}-convnormrelu", norm, strides=2)
    for stage, (width, strides) in enumerate(zip(widths[1:], (1, 2, 2), strict=True), start=1):
        x = block(x, width, f"{name}-layer{stage}-0", norm, strides)
        x = block(x, width, f"{name}-layer{stage}-1", norm, 1)
    return keras.Model(frame, layers.Conv2D(filters, 1, name=f"{name}-conv")(x), name=name)


def _conv_norm_relu(
    x: keras.KerasTensor,
    filters: int,
    size: int,
    path: str,
    norm: str | None,
    *,
    strides: int = 1,
    relu: bool = True,
) -> keras.KerasTensor:
    if size > 1:
        # "same" padding with a stride is one-sided; the published layers pad both sides.
        x = layers.ZeroPadding2D(size // 2, name=f"{path}-pad")(x)
    x = layers.Conv2D(filters, size, strides, name=f"{path}-0")(x)
    if norm == "batch":
        x = layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM, name=f"{path}-1")(x)
    elif norm == "instance":
        x = InstanceNormalization(epsilon=EPSILON, name=f"{path}-1")(x)
    return layers.ReLU(name=f"{path}-2")(x) if relu else x


def _shortcut(
    x: keras.KerasTensor, filters: int, path: str, norm: str | None, strides: int
) -> keras.KerasTensor:
    if strides == 1:
        return x
    return _conv_norm_relu(x, filters, 1, f"{path}-downsample", norm, strides=strides, relu=False)


def _residual_block(
    x: keras.KerasTensor, filters: int, path: str, norm: str | None, strides: int
) -> keras.KerasTensor:
    y = _conv_norm_relu(x, filters, 3, f"{path}-convnormrelu1", norm, strides=strides)
    y = _conv_norm_relu(y, filters, 3, f"{path}-convnormrelu2", norm)
    y = layers.Add(name=f"{path}-add")([y, _shortcut(x, filters, path, norm, strides)])
    return layers.ReLU(name=f"{path}-relu")(y)


def _bottleneck_block(
    x: keras.KerasTensor, filters: int, path: str, norm: str | None, strides: int
) -> keras.KerasTensor:
    y = _conv_norm_relu(x, filters // 4, 1, f"{path}-convnormrelu1", norm)
    y = _conv_norm_relu(y, filters // 4, 3, f"{path}-convnormrelu2", norm, strides=strides)
    y = _conv_norm_relu(y, filters, 1, f"{path}-convnormrelu3", norm)
    y = layers.Add(name=f"{path}-add")([y, _shortcut(x, filters, path, norm, strides)])
    return layers.ReLU(name=f"{path}-relu")(y)


def _convolution(
    x: keras.KerasTensor, filters: int, size: Any, name: str, activation: str | None
) -> keras.KerasTensor:
    return layers.Conv2D(filters, size, padding="same", activation=activation, name=name)(x)


def _update_block(
    height: int,
    width: int,
    *,
    hidden: int,
    context: int,
    radius: int,
    correlation_widths: tuple[int, ...],
    flow_widths: tuple[int, int],
    motion_width: int,
    gru_kernels: tuple[tuple[int, int], ...],
    head_width: int,
) -> keras.Model:
    """State, context, correlation, flow, each (B, h, w, channels) -> next state, change of flow in cells."""
    channels = {"state": hidden, "context": context, "correlation": LEVELS * (2 * radius + 1) ** 2, "flow": 2}
    inputs = {label: keras.Input((height, width, count), name=label) for label, count in channels.items()}

    path = "update_block-motion_encoder"
    correlation = inputs["correlation"]
    for number, (filters, size) in enumerate(zip(correlation_widths, (1, 3), strict=False), start=1):
        correlation = _convolution(correlation, filters, size, f"{path}-convcorr{number}-0", "relu")
    flow = inputs["flow"]
    for number, (filters, size) in enumerate(zip(flow_widths, (7, 3), strict=True), start=1):
        flow = _convolution(flow, filters, size, f"{path}-convflow{number}-0", "relu")
    motion = layers.Concatenate(name=f"{path}-concatenate")([correlation, flow])
    # The two channels that are left are the flow itself.
    motion = _convolution(motion, motion_width - 2, 3, f"{path}-conv-0", "relu")
    seen = layers.Concatenate(name=f"{path}-motion")([inputs["context"], motion, inputs["flow"]])

    state = inputs["state"]
    for number, kernel in enumerate(gru_kernels, start=1):
        state = _gru(state, seen, hidden, kernel, f"update_block-recurrent_block-convgru{number}")

    change = _convolution(state, head_width, 3, "update_block-flow_head-conv1", "relu")
    change = layers.Conv2D(2, 3, padding="same", dtype="float32", name="update_block-flow_head-conv2")(change)
    return keras.Model(inputs, {"state": state, "change": change}, name="update_block")


def _gru(
    state: keras.KerasTensor, seen: keras.KerasTensor, hidden: int, kernel: tuple[int, int], path: str
) -> keras.KerasTensor:
    both = layers.Concatenate(name=f"{path}-both")([state, seen])
    update = _convolution(both, hidden, kernel, f"{path}-convz", "sigmoid")
    reset = _convolution(both, hidden, kernel, f"{path}-convr", "sigmoid")
    kept = layers.Concatenate(name=f"{path}-kept")([reset * state, seen])
    candidate = _convolution(kept, hidden, kernel, f"{path}-convq", "tanh")
    return (1 - update) * state + update * candidate


def _mask_predictor(height: int, width: int, hidden: int) -> keras.Model:
    """State (B, h, w, hidden) -> weights of `ConvexUpsampling` before softmax (B, h, w, 576)."""
    state = keras.Input((height, width, hidden), name="state")
    x = _convolution(state, 256, 3, "mask_predictor-convrelu-0", "relu")
    x = _convolution(x, 9 * STRIDE**2, 1, "mask_predictor-conv", None)
    return keras.Model(state, MASK_MULTIPLIER * x, name="mask_predictor")
