"""A video of what a network saw and answered: outline, joints, flow, and a bar for each class."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np

from pipelines.clips import Clip
from pipelines.flow import dequantize_flow
from tfgma.clip_pictures import without_faces
from tfgma.pictures import cut_out, draw_joints, flow_colors, full_speed, outlined

SIDE_PX = 320
ROW_PX = 28
BAR = (86, 180, 233)
PAPER, INK = 32, (235, 235, 235)
CRF = "23"


class OverlayVideo:
    """An mp4 that grows clip by clip. Use as a context manager; of a block that fails no file is left.

    Each moment is shown once: where clips overlap, a clip is shown until the next one begins.
    """

    def __init__(self, path: Path, classes: Sequence[str], fps: float, max_flow_px: float) -> None:
        """Opens the file.

        Args:
            path: ends in .mp4.
            classes: names, each with a bar.
            fps: frames a second of clips, and of the video.
            max_flow_px: of the clips' flow codes.
        """
        self._path, self._classes, self._max_flow_px = path, tuple(classes), max_flow_px
        self._rate = Fraction(fps).limit_denominator(1000)
        self._part = path.with_name(f".{path.name}.part")
        self._waiting: tuple[Clip, np.ndarray] | None = None

    def __enter__(self) -> Self:
        """Itself."""
        self._container: Any = av.open(
            str(self._part), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}
        )
        stream: Any = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height = 2 * SIDE_PX, SIDE_PX + ROW_PX * (len(self._classes) + 1)
        stream.height += stream.height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": CRF, "preset": "veryfast"}
        stream.codec_context.thread_count = 1
        self._stream = stream
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Writes what waits and names the file, or removes it."""
        try:
            if kind is None:
                self._show(None)
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, clip: Clip, probabilities: np.ndarray) -> None:
        """The next clip, with its (C,) probabilities."""
        self._show(clip.start_seconds)
        self._waiting = clip, probabilities

    def _show(self, until_seconds: float | None) -> None:
        if self._waiting is None:
            return
        clip, probabilities = self._waiting
        self._waiting = None
        for picture in drawn(clip, probabilities, self._classes, self._max_flow_px, until_seconds):
            tall = cv2.copyMakeBorder(
                picture, 0, self._stream.height - len(picture), 0, 0, cv2.BORDER_CONSTANT, value=(PAPER,) * 3
            )
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(tall, format="rgb24")))


def drawn(
    clip: Clip,
    probabilities: np.ndarray,
    classes: Sequence[str],
    max_flow_px: float,
    until_seconds: float | None = None,
) -> list[np.ndarray]:
    """Pictures (H, 2 * SIDE_PX, 3) uint8 RGB of a clip's frames; faces are blurred.

    The last frame has no flow and is left to the next clip.

    Args:
        clip: with frames, joints and flow.
        probabilities: (C,) of the clip.
        classes: their names.
        max_flow_px: of the clip's flow codes.
        until_seconds: frames from there on are left out; None: none are.
    """
    count = len(clip.flow)
    if until_seconds is not None:
        count = min(count, max(0, round((until_seconds - clip.start_seconds) * clip.fps)))
    flows = [dequantize_flow(codes, max_flow_px) for codes in clip.flow]
    full = full_speed(flows)
    blurred = without_faces(clip)
    scale = SIDE_PX / clip.rgb.shape[1]
    pictures = []
    for number in range(count):
        mask = cut_out(clip.rgb[number]).astype(np.uint8)
        body = outlined(_large(blurred[number]), _large(mask).astype(bool))
        body = draw_joints(body, clip.pose[number] * (scale, scale, 1))
        moving = _large(flow_colors(flows[number], full))
        seconds = clip.start_seconds + number / clip.fps
        pictures.append(np.vstack([np.hstack([body, moving]), _bars(seconds, probabilities, classes)]))
    return pictures


def _large(picture: np.ndarray) -> np.ndarray:
    kind = cv2.INTER_NEAREST if picture.ndim == 2 else cv2.INTER_LINEAR
    return cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=kind)


def _bars(seconds: float, probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """(rows, 2 * SIDE_PX, 3): the time, and a row with name, number and bar for each class."""
    rows = np.full((ROW_PX * (len(classes) + 1), 2 * SIDE_PX, 3), PAPER, np.uint8)
    whole = f"{int(seconds) // 60}:{seconds % 60:04.1f}"
    for number, text in enumerate([f"{whole}   research use only", *classes]):
        place = (8, ROW_PX * number + 19)
        cv2.putText(rows, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
        if number:
            p = float(probabilities[number - 1])
            left, top = SIDE_PX, ROW_PX * number + 6
            cv2.rectangle(rows, (left, top), (left + round(p * (SIDE_PX - 8)), top + ROW_PX - 12), BAR, -1)
            place = (left - 50, place[1])
            cv2.putText(rows, f"{p:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return rows
