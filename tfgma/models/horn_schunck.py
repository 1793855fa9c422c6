"""Horn and Schunck's optical flow, coarse to fine, as a network without weights: builtin operators only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
from keras import layers, ops

from pipelines.schema import RefusedError

LEVELS: Final = 4
MULTIPLE: Final = 2 ** (LEVELS - 1)
"""Sides must be multiples of this, so that every level has half the last one's."""
GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. ITU-R BT.601."""
MEANS: Final = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32) / 12
"""Of the neighbours, as Horn and Schunck weigh them."""


def horn_schunck(
    frame0_shape: Sequence[int],
    frame1_shape: Sequence[int],
    *,
    smoothness: float = 15.0,
    warps: int = 3,
    updates: int = 10,
    name: str = "horn_schunck",
) -> keras.Model:
    """Flow from one frame to the next.

    Inputs by name: `frame0`, `frame1` (B, H, W, 3) float32 RGB -1..1. Output: dict with `flow` (B, H, W, 2)
    float32, x then y, pixels, positive right and down.

    Sources: Horn and Schunck, Artificial Intelligence 1981; Meinhardt-Llopis, Sánchez and Kondermann, Image
    Processing On Line 2013, for the scales, the warps and `smoothness`. Their linear systems are solved by so
    many Jacobi updates.

    Args:
        frame0_shape: (H, W, 3), multiples of MULTIPLE.
        frame1_shape: the same.
        smoothness: how much a smooth flow counts against equal greys 0..255 (the paper's alpha).
        warps: at each level the second frame is set to the flow found so far so many times.
        updates: Jacobi updates after each warp.
        name: the network's name.

    Raises:
        RefusedError: other shapes, or fewer than one warp or update.
    """
    shape = tuple(frame0_shape)
    if shape != tuple(frame1_shape) or len(shape) != 3 or shape[2] != 3:
        raise RefusedError(
            "frame0_shape and frame1_shape must both be (H, W, 3). "
            f"Received: {shape} and {tuple(frame1_shape)}. Give colour frames of one size"
        )
    if any(side is None or side < 2 * MULTIPLE or side % MULTIPLE for side in shape[:2]):
        raise RefusedError(
            f"frame0_shape must have a height and width that are multiples of {MULTIPLE} and at least "
            f"{2 * MULTIPLE}. Received: {shape}. Pad or resize the frames"
        )
    if warps < 1 or updates < 1:
        raise RefusedError(f"warps and updates must be at least 1. Received: {warps} and {updates}")
    frames = {label: keras.Input(shape, name=label) for label in ("frame0", "frame1")}
    solver = HornSchunck(smoothness, warps, updates, dtype="float32", name="flow")
    return keras.Model(frames, {"flow": solver(frames["frame0"], frames["frame1"])}, name=name)


@keras.saving.register_keras_serializable(package="tfgma")
class HornSchunck(layers.Layer):
    """See `horn_schunck`.

    Args:
        smoothness: the paper's alpha.
        warps: at each level.
        updates: after each warp.
    """

    def __init__(  # noqa: D107 - the class says it
        self, smoothness: float, warps: int, updates: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.smoothness, self.warps, self.updates = smoothness, warps, updates

    def call(self, frame0: Any, frame1: Any) -> Any:
        """Two of (B, H, W, 3) -> (B, H, W, 2)."""
        firsts, seconds = [_smoothed(_grey(frame0), 0.8)], [_smoothed(_grey(frame1), 0.8)]
        for _ in range(LEVELS - 1):
            firsts.append(_halved(firsts[-1]))
            seconds.append(_halved(seconds[-1]))
        flow = ops.repeat(ops.zeros_like(firsts[-1]), 2, axis=-1)
        for level in reversed(range(LEVELS)):
            height, width = firsts[level].shape[1:3]
            if level < LEVELS - 1:
                flow = 2 * ops.image.resize(flow, (height, width), interpolation="bilinear")
            for _ in range(self.warps):
                flow = self._refined(firsts[level], seconds[level], flow)
        return flow

    def _refined(self, first: Any, second: Any, flow: Any) -> Any:
        """Flow (B, h, w, 2) after one warp and its updates; grey frames (B, h, w, 1)."""
        warped = warp(ops.concatenate([second, _gradients(second)], axis=-1), flow)
        slope = warped[..., 1:]
        # Brightness stays: slope . (new flow - flow) + warped - first = 0, to first order.
        rest = warped[..., :1] - first - _dot(slope, flow)
        step = slope / (self.smoothness**2 + _dot(slope, slope))
        for _ in range(self.updates):
            mean = _averaged(flow, MEANS)
            flow = mean - step * (rest + _dot(slope, mean))
        return flow

    def compute_output_shape(self, frame0_shape: Any, frame1_shape: Any) -> Any:
        """Told, since tracing a thousand operators to find it takes seconds."""
        return (*frame0_shape[:-1], 2)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {
            "smoothness": self.smoothness,
            "warps": self.warps,
            "updates": self.updates,
        }


def warp(values: Any, flow: Any) -> Any:
    """`values` (B, H, W, C) where `flow` (B, H, W, 2) px leads, bilinear; beyond the border its value."""
    _, height, width, channels = values.shape
    count = ops.shape(values)[0]
    down, right = np.mgrid[:height, :width].astype(np.float32)
    x = ops.clip(flow[..., 0] + right, 0, width - 1)
    y = ops.clip(flow[..., 1] + down, 0, height - 1)
    # The last cell's corner would lie outside.
    left, top = ops.minimum(ops.floor(x), width - 2), ops.minimum(ops.floor(y), height - 2)
    share_x, share_y = (x - left)[..., None], (y - top)[..., None]
    first = ops.reshape(ops.arange(count, dtype="int32") * (height * width), (-1, 1, 1))
    corner = ops.reshape(ops.cast(top * width + left, "int32") + first, (-1,))
    table = ops.reshape(values, (-1, channels))

    def at(offset: int) -> Any:
        return ops.reshape(ops.take(table, corner + offset, axis=0), (-1, height, width, channels))

    upper = at(0) + share_x * (at(1) - at(0))
    lower = at(width) + share_x * (at(width + 1) - at(width))
    return upper + share_y * (lower - upper)


def _grey(frame: Any) -> Any:
    """RGB -1..1 -> (B, H, W, 1) 0..255."""
    return ops.conv(frame, (127.5 * GREY).reshape(1, 1, 3, 1)) + 127.5


def _halved(frame: Any) -> Any:
    """(B, H, W, 1) -> (B, H/2, W/2, 1), smoothed as the paper says, then 2 x 2 pixels averaged."""
    return ops.average_pool(_smoothed(frame, 0.6 * 3**0.5), 2, 2)


def _smoothed(frame: Any, sigma_px: float) -> Any:
    places = np.arange(-3, 4, dtype=np.float32)
    bell = np.exp(-0.5 * (places / sigma_px) ** 2)
    return _averaged(frame, np.outer(bell, bell))


def _averaged(values: Any, weights: np.ndarray) -> Any:
    """Weighted means (B, H, W, C) over neighbourhoods, at the border over what there is of them."""
    # Not by a border of mirrored pixels, which XNNPACK has not.
    _, height, width, channels = values.shape
    kernel = np.repeat(weights.astype(np.float32)[..., None, None], channels, axis=2)
    sums = ops.depthwise_conv(values, kernel, padding="same")
    return sums * (1 / _counted(weights, height, width))[None, ..., None]


def _counted(weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) float32: the sum of those `weights` that lie within the picture."""
    inside = np.pad(np.ones((height, width), np.float32), weights.shape[0] // 2)
    windows = np.lib.stride_tricks.sliding_window_view(inside, weights.shape)
    return (windows * weights.astype(np.float32)).sum(axis=(2, 3))


def _gradients(frame: Any) -> Any:
    """(B, H, W, 1) -> (B, H, W, 2): central differences in x and y, 0 across the border."""
    _, height, width, _ = frame.shape
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, :, 0, 0] = kernel[:, 1, 0, 1] = [-0.5, 0, 0.5]
    inside = np.ones((1, height, width, 2), np.float32)
    inside[:, :, [0, -1], 0] = inside[:, [0, -1], :, 1] = 0
    return ops.conv(frame, kernel, padding="same") * inside


def _dot(one: Any, other: Any) -> Any:
    # Not by a sum, which XNNPACK has not over channels.
    return ops.conv(one * other, np.ones((1, 1, 2, 1), np.float32))
