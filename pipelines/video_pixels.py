"""Upright RGB pixels of decoded frames, all of one size."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.optional import load

MOST_STRETCH = 4
"""Pixels that claim to be longer than this times their width are a wrong header."""

HD_LINES = 720
"""Pictures with at least so many lines that do not name their colours are BT.709, smaller ones BT.601."""

UNSPECIFIED_COLORS = (2, 3)
"""FFmpeg's AVCOL_SPC_UNSPECIFIED and AVCOL_SPC_RESERVED."""


def working_size(width: int, height: int, long_side_px: int) -> tuple[int, int]:
    """Width and height with the long side at most `long_side_px`, both even."""
    scale = min(1.0, long_side_px / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


class Canvas:
    """Makes frames into pictures of one size: that of the first frame, scaled to `long_side_px`."""

    def __init__(self, stream: Any, long_side_px: int) -> None:
        """`stream`: the frames' own, which may name the shape of their pixels."""
        self._stream = stream
        self._long_side_px = long_side_px
        self._size: tuple[int, int] | None = None
        # One for all frames: each frame's own would start threads and compute its tables anew.
        self._reformatter = load("av", "runtime").video.reformatter.VideoReformatter()

    def see(self, frame: Any) -> None:
        """The first frame seen sets the size."""
        if self._size is None:
            self._size = working_size(*self._displayed(frame), self._long_side_px)

    def paint(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8 RGB: square pixels, turned and mirrored as the display matrix says.

        A frame whose shape differs from the first one's is fitted into it, on black.
        """
        self.see(frame)
        assert self._size is not None
        width, height = self._size
        inner_width, inner_height = self._displayed(frame)
        scale = min(width / inner_width, height / inner_height)
        # Sizes are even, so a difference of one pixel is rounding.
        fitted = max(1, round(inner_width * scale)), max(1, round(inner_height * scale))
        fitted = (
            width if abs(fitted[0] - width) <= 2 else fitted[0],
            height if abs(fitted[1] - height) <= 2 else fitted[1],
        )
        pixels = _upright(self._rgb(frame, fitted), frame)
        if fitted == self._size:
            return np.ascontiguousarray(pixels)
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas = _upright(canvas, frame)
        top, left = (canvas.shape[0] - pixels.shape[0]) // 2, (canvas.shape[1] - pixels.shape[1]) // 2
        canvas = np.ascontiguousarray(canvas)
        canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return canvas

    def _displayed(self, frame: Any) -> tuple[int, int]:
        """Width and height with square pixels, before turning."""
        aspect = self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio
        ratio = float(aspect) if aspect else 1.0
        if not 1 / MOST_STRETCH <= ratio <= MOST_STRETCH:
            ratio = 1.0
        return max(1, round(frame.width * ratio)), frame.height

    def _rgb(self, frame: Any, size: tuple[int, int]) -> np.ndarray:
        """(H, W, 3) uint8 RGB of `size` (width, height), by the colours that the frame names."""
        unnamed = frame.colorspace in UNSPECIFIED_COLORS
        colors = ("ITU709" if frame.height >= HD_LINES else "ITU601") if unnamed else None
        reformatted = self._reformatter.reformat(
            frame, *size, format="rgb24", interpolation="AREA", src_colorspace=colors, threads=1
        )
        return reformatted.to_ndarray()


def _upright(pixels: np.ndarray, frame: Any) -> np.ndarray:
    """The pixels (H, W, 3) as the display matrix lays them: the nearest of the eight turns and mirrors."""
    data = frame.side_data.get("DISPLAYMATRIX") if "DISPLAYMATRIX" in frame.side_data else None
    if data is None:
        return pixels
    # x' = a x + c y, y' = b x + d y, with y pointing down; fixed-point numbers, row by row.
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.int64)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        across, down = a, d
    else:
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
