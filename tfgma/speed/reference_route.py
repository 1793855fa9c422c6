"""The published two-stream system's way from a video to pictures, with networks equal to its own.

Every frame of the video becomes a PNG file, is cut out by U-2-Net at 320 px, turned by what OpenPose sees in
every 30th frame, set upright and cropped to 224 px; Farneback's flow of frames 1/6 s apart becomes two grey
pictures. Each stage reads the files of the one before (Hashimoto et al., MICCAI 2022). Weights are drawn:
what the networks answer is of no use, but takes as long, and frames are turned by a fixed angle.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import keras
import numpy as np

from pipelines.alignment import middle_square
from pipelines.config import BuildConfig
from pipelines.flow import FlowEstimator, quantize_flow
from tfgma.models.openpose import openpose
from tfgma.models.u2net import u2net
from tfgma.xla import answers_on

POSE_EVERY = 30
POSE_LONG_SIDE_PX = 368
MASK_SIDE_PX = 320
MASKS_A_BATCH = 4
FLOWS_A_SECOND = 6
STRIDE = 8


class ReferenceRoute:
    """Loads the networks once; a call takes one video."""

    def __init__(self) -> None:
        """Draws the weights."""
        keras.utils.set_random_seed(0)
        self._u2net = u2net((MASK_SIDE_PX, MASK_SIDE_PX, 3))
        self._openpose: keras.Model | None = None
        self._flow = FlowEstimator("farneback")

    def __call__(self, video: Path, seconds: float) -> float:
        """Seconds of work for a second of video, on the first `seconds` of it."""
        with TemporaryDirectory() as folder:
            root = Path(folder)
            begin = time.perf_counter()
            frames, rate = self._frames(video, seconds, root / "frames")
            cut = self._cut_out(frames, root / "cut")
            upright = self._upright(cut, root / "upright")
            self._flows(upright, rate, root / "flow")
            return (time.perf_counter() - begin) / (len(frames) / rate)

    def _frames(self, video: Path, seconds: float, out: Path) -> tuple[list[Path], float]:
        out.mkdir()
        capture = cv2.VideoCapture(str(video))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        files: list[Path] = []
        while len(files) < seconds * rate:
            there, frame = capture.read()
            if not there:
                break
            files.append(out / f"{len(files):06d}.png")
            cv2.imwrite(str(files[-1]), frame)
        capture.release()
        return files, rate

    def _cut_out(self, files: list[Path], out: Path) -> list[Path]:
        out.mkdir()
        for first in range(0, len(files), MASKS_A_BATCH):
            some = files[first : first + MASKS_A_BATCH]
            frames = [cv2.imread(str(file)) for file in some]
            squares = [cv2.resize(frame, (MASK_SIDE_PX, MASK_SIDE_PX)) for frame in frames]
            batch = np.stack(squares).astype(np.float32) / 255
            answers = keras.ops.convert_to_numpy(answers_on(self._u2net, {"image": batch})["d0"])
            for file, frame, salience in zip(some, frames, answers[..., 0], strict=True):
                mask = cv2.resize(salience, frame.shape[1::-1])[..., None]
                cv2.imwrite(str(out / file.name), (frame * mask).astype(np.uint8))
        return sorted(out.iterdir())

    def _upright(self, files: list[Path], out: Path) -> list[Path]:
        out.mkdir()
        for file in files[::POSE_EVERY]:
            self._joints(cv2.imread(str(file)))
        size = BuildConfig().clip.size
        for file in files:
            frame = cv2.imread(str(file))
            # Rotated as a whole first and then cropped, as two stages do.
            turned = cv2.warpAffine(frame, _turn(frame, 10.0), frame.shape[1::-1])
            cv2.imwrite(
                str(out / file.name), middle_square(turned.shape[0], turned.shape[1], size).warp(turned)
            )
        return sorted(out.iterdir())

    def _joints(self, frame: np.ndarray) -> None:
        scale = POSE_LONG_SIDE_PX / max(frame.shape[:2])
        scaled = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        down, right = (-side % STRIDE for side in scaled.shape[:2])
        wide = cv2.copyMakeBorder(scaled, 0, down, 0, right, cv2.BORDER_REPLICATE)
        if self._openpose is None:
            self._openpose = openpose(wide.shape)
        answers_on(self._openpose, {"image": wide[None].astype(np.float32) / 256 - 0.5})

    def _flows(self, files: list[Path], rate: float, out: Path) -> None:
        out.mkdir()
        used = files[:: max(1, round(rate / FLOWS_A_SECOND))]
        before = cv2.imread(str(used[0]), cv2.IMREAD_GRAYSCALE)
        for file in used[1:]:
            after = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            codes = quantize_flow(self._flow.between(before, after), BuildConfig().clip.max_flow_px)
            for axis, name in enumerate("xy"):
                cv2.imwrite(str(out / f"{name}_{file.name}"), codes[..., axis])
            before = after


def _turn(frame: np.ndarray, degrees: float) -> np.ndarray:
    height, width = frame.shape[:2]
    return cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)


def reference_turn(video: Path, seconds: float) -> Callable[[], float]:
    """A turn of the route on the first `seconds` of a video, once the networks are traced."""
    route = ReferenceRoute()
    route(video, POSE_EVERY / 30)
    return lambda: route(video, seconds)
