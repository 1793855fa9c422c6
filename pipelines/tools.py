"""What finds bodies and flow in frames, as a build's settings choose it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from pipelines.config import BuildConfig
from pipelines.flow import FlowEstimator
from pipelines.pose import Body, BodyFinder
from pipelines.pose_model import pose_model
from pipelines.schema import Box, RefusedError


class Finder(Protocol):
    """Finds the body in the frames of a video, in order."""

    def find(self, frame: np.ndarray, seconds: float) -> Body | None:
        """The body in `frame` (H, W, 3) uint8 RGB, or None."""

    def restart(self, box: Box | None = None) -> None:
        """Forgets the last video. `box`: where the next one's body is, if it is not the main one."""

    def close(self) -> None:
        """Frees what it holds."""


class Flow(Protocol):
    """Flow between prepared frames."""

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> what `between` takes."""

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Two prepared frames -> (H, W, 2) float32, x then y, pixels, positive right and down."""


@dataclass(frozen=True)
class Tools:
    """A build's finder and flow. Use as a context manager."""

    finder: Finder
    flow: Flow

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Frees the networks."""
        self.finder.close()


MakeTools = Callable[[BuildConfig], Tools]


def standard_tools(config: BuildConfig) -> Tools:
    """MediaPipe's finder with OpenCV's flow.

    Raises:
        RefusedError: the settings choose a network of the tfgma package, or there is no pose network.
    """
    for section in config.network_sections:
        raise RefusedError(
            f"{section}.method must be a standard one where only pipelines is used. Received: "
            f'"{getattr(config, section).method}". Give build_dataset the tools of tfgma.preprocessing'
        )
    finder = BodyFinder(pose_model(config.pose.model), config.pose.min_score)
    return Tools(finder, FlowEstimator(config.flow.method))
