"""Dense optical flow between consecutive frames, in pixels."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.schema import RefusedError

FARNEBACK = dict(pyr_scale=0.5, levels=3, winsize=5, iterations=3, poly_n=7, poly_sigma=1.5, flags=0)
"""Parameters of the published two-stream system."""

ZERO_LEVEL = 128
LEVELS = 127
"""8-bit codes: 128 is no movement, 1 and 255 are -max_flow_px and +max_flow_px."""


class FlowEstimator:
    """Flow from one grey frame to the next, by one method.

    `method`: farneback (the published system's) or dis (dense inverse search, about twice as fast).
    """

    def __init__(self, method: str = "farneback") -> None:
        """Chooses the method.

        Raises:
            RefusedError: `method` is neither.
        """
        if method not in ("farneback", "dis"):
            raise RefusedError(f'flow.method must be one of farneback, dis. Received: "{method}"')
        self.method = method
        # The faster presets skip the finest scale and halve slow movements in small frames.
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) if method == "dis" else None

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (H, W) uint8 grey, as `between` takes it."""
        return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(H, W) uint8 grey twice -> (H, W, 2) float32, x then y, pixels, positive right and down."""
        if self._dis is not None:
            return self._dis.calc(first, second, None)
        return cv2.calcOpticalFlowFarneback(first, second, None, **FARNEBACK)


def quantize_flow(flow: np.ndarray, max_flow_px: float) -> np.ndarray:
    """(..., 2) float pixels -> uint8 codes 1..255; 128 is exactly no movement."""
    # Clip before quantising: one outlier would flatten the 8-bit range.
    scaled = np.clip(flow, -max_flow_px, max_flow_px) * (LEVELS / max_flow_px)
    return (np.rint(scaled) + ZERO_LEVEL).astype(np.uint8)


def dequantize_flow(codes: np.ndarray, max_flow_px: float, out: np.ndarray | None = None) -> np.ndarray:
    """uint8 codes -> float32 pixels, within half a step (max_flow_px / 254) of the clipped flow.

    `out`: float32 array of the codes' shape that is filled and returned, in place of a new one.
    """
    flow = np.subtract(codes, ZERO_LEVEL, out=out, dtype=np.float32)
    flow *= np.float32(max_flow_px / LEVELS)
    return flow
