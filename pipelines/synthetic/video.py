"""H.264 files from BGR frames, the same bytes on every run."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from pipelines.synthetic.settings import SyntheticSettings
from pipelines.synthetic.texture import Image

_MARGIN = 64  # px by which a field of noise is larger than the frame
_FIELDS = 4


def write_video(
    path: Path, frames: Iterable[Image], settings: SyntheticSettings, noise: np.random.Generator
) -> None:
    """Writes frames (H, W, 3) uint8 BGR as mp4, with sensor noise added.

    One encoder thread and no time stamps of the clock: two runs give equal bytes.
    """
    shape = (settings.height + _MARGIN, settings.width + _MARGIN)
    # A few large fields cut at chance places: fresh noise a frame would cost more than the body.
    fields = [
        np.clip(np.round(noise.normal(0, settings.noise, shape)), -127, 127).astype(np.int16)
        for _ in range(_FIELDS)
    ]
    with av.open(
        str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}
    ) as container:
        stream = container.add_stream("libx264", rate=Fraction(settings.fps))
        stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
        stream.options = {"crf": str(settings.crf), "preset": "superfast", "threads": "1"}
        stream.codec_context.thread_count = 1
        for picture in frames:
            yuv = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
            if settings.noise > 0:
                field = fields[noise.integers(_FIELDS)]
                dy, dx = noise.integers(0, _MARGIN, 2)
                grain = field[dy : dy + settings.height, dx : dx + settings.width]
                luma = yuv[: settings.height]
                luma[:] = cv2.add(luma, grain, dtype=cv2.CV_8U)
            frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
