"""The body in a frame: its mask and its joints, whatever direction it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipelines.optional import load_mediapipe
from pipelines.schema import MASK_SCORE, TORSO_JOINTS

ORIENTATION_VOTES = 3
"""Frames on which all four directions are tried before one is settled."""

MIN_TORSO_SCORE = 0.5
"""Below this mean score of shoulders and hips, what was found is not taken for a body."""

MIN_OVERLAP = 0.3
"""A body found in another direction than the video's must cover the last one to this IoU."""

FORGET_AFTER = 18
"""After so many frames without a body, the video's direction is voted on anew."""


@dataclass(frozen=True)
class Body:
    """A body found in a frame.

    `mask`: (H, W) bool. `joints`: (33, 3) float32, x and y in pixels of the frame, score 0..1.
    """

    mask: np.ndarray
    joints: np.ndarray

    @property
    def torso_score(self) -> float:
        """Mean score of shoulders and hips, 0..1."""
        return float(self.joints[list(TORSO_JOINTS), 2].mean())


class BodyFinder:
    """MediaPipe PoseLandmarker on the frames of a video, turned until the body is found.

    The network expects heads up or down; a body lying across is found in a frame turned by a quarter. The
    first frames of a video are tried in all four directions; in the winner the body is then tracked, which is
    faster and steadier than finding it anew in each frame. Where that fails the other directions are tried
    again, and believed only where the body was a moment ago: the network also finds bodies in furniture.
    Use as a context manager: the networks are closed explicitly.
    """

    def __init__(self, model: Path, min_score: float = 0.5) -> None:
        """Loads the network from a `.task` file."""
        self._mediapipe = load_mediapipe()
        self._model, self._min_score = model, min_score
        self._single: Any = self._load("IMAGE")
        self._tracker: Any = None
        self.restart()

    def _load(self, mode: str) -> Any:
        tasks = load_mediapipe("mediapipe.tasks.python")
        options = tasks.vision.PoseLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(self._model)),
            running_mode=tasks.vision.RunningMode[mode],
            output_segmentation_masks=True,
            min_pose_detection_confidence=self._min_score,
            min_pose_presence_confidence=self._min_score,
            min_tracking_confidence=self._min_score,
        )
        return tasks.vision.PoseLandmarker.create_from_options(options)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Closes the network."""
        self.close()

    def close(self) -> None:
        """Frees the networks; left to the interpreter's exit they print an error."""
        self.restart()
        if self._single is not None:
            self._single.close()
            self._single = None

    def restart(self) -> None:
        """Forgets the last video's body and its direction."""
        self._votes: list[np.ndarray] = []
        self._last: Body | None = None
        self._missed = 0
        self._milliseconds = -1
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None

    def find(self, frame: np.ndarray, seconds: float) -> Body | None:
        """The body in `frame` (H, W, 3) uint8 RGB at `seconds` of its video, or None.

        Times increase from call to call, until `restart`.
        """
        if len(self._votes) < ORIENTATION_VOTES:
            body = self._find_voting(frame)
        else:
            body = self._find_settled(frame, seconds)
        if body is not None:
            self._last, self._missed = body, 0
        elif (missed := self._missed + 1) >= FORGET_AFTER:
            self.restart()
        else:
            self._missed = missed
        return body

    def _find_voting(self, frame: np.ndarray) -> Body | None:
        found = [self._find_turned(frame, turn) for turn in range(4)]
        if any(found):
            self._votes.append(np.array([body.torso_score if body else 0.0 for body in found]))
        return _best(found)

    def _find_settled(self, frame: np.ndarray, seconds: float) -> Body | None:
        settled = int(np.sum(self._votes, axis=0).argmax())
        if self._tracker is None:
            self._tracker = self._load("VIDEO")
        # The tracker wants whole milliseconds that never repeat.
        self._milliseconds = max(self._milliseconds + 1, round(1000 * seconds))
        body = _best([self._find_turned(frame, settled, tracked_at=self._milliseconds)])
        if body is not None or self._last is None:
            return body
        others = [self._find_turned(frame, turn) for turn in range(4) if turn != settled]
        last = self._last.mask
        return _best([other for other in others if other and overlap(other.mask, last) >= MIN_OVERLAP])

    def _find_turned(
        self, frame: np.ndarray, quarter_turns: int, tracked_at: int | None = None
    ) -> Body | None:
        """The body found in the frame turned counterclockwise, in the coordinates of the frame itself.

        `tracked_at`: milliseconds of the frame, to follow the body from the last one; None finds it anew.
        """
        turned = np.ascontiguousarray(np.rot90(frame, quarter_turns))
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=turned)
        if tracked_at is None:
            result = self._single.detect(image)
        else:
            result = self._tracker.detect_for_video(image, tracked_at)
        if not result.pose_landmarks:
            return None
        height, width = turned.shape[:2]
        joints = np.array(
            [(mark.x * width, mark.y * height, mark.visibility) for mark in result.pose_landmarks[0]],
            dtype=np.float32,
        )
        score = result.segmentation_masks[0].numpy_view().reshape(height, width)
        mask = np.ascontiguousarray(np.rot90(score > MASK_SCORE, -quarter_turns))
        return Body(mask, unturn_points(joints, quarter_turns, frame.shape[0], frame.shape[1]))


def unturn_points(points: np.ndarray, quarter_turns: int, height: int, width: int) -> np.ndarray:
    """Points of a frame turned by `numpy.rot90(frame, quarter_turns)` in the unturned frame's coordinates.

    `points`: (..., 2 or more), x and y first, in pixels; `height`, `width`: of the unturned frame.
    """
    x, y = points[..., 0], points[..., 1]
    turned_back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    out = points.copy()
    out[..., 0], out[..., 1] = turned_back[quarter_turns % 4]
    return out


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two (H, W) bool masks; 0 where both are empty or their shapes differ."""
    if first.shape != second.shape:
        return 0.0
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def _best(bodies: Sequence[Body | None]) -> Body | None:
    """The body with the best torso score, if it is good enough to be believed."""
    best = max(filter(None, bodies), key=lambda body: body.torso_score, default=None)
    return best if best is not None and best.torso_score >= MIN_TORSO_SCORE else None
