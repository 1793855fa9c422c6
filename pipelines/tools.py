"""What finds bodies and flow in frames, as a build's settings choose it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from pipelines.config import BuildConfig
from pipelines.flow import FlowEstimator
from pipelines.pose import Body, BodyFinder
from pipelines.pose_model import careful_model, pose_model
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


ONE_VIDEO_THREADS = min(4, os.cpu_count() or 1)
"""Threads of the networks where nothing else runs beside them."""


class MakeTools(Protocol):
    """Gives what finds bodies and flow."""

    def __call__(self, config: BuildConfig, threads: int = 1) -> Tools:
        """By the settings, its networks on so many threads."""


def standard_tools(config: BuildConfig, threads: int = 1) -> Tools:
    """MediaPipe's finder with OpenCV's flow.

    Raises:
        RefusedError: the settings choose a network of the tfgma package, or there is no pose network.
    """
    for section in config.network_sections:
        raise RefusedError(
            f"{section}.method must be a standard one where only pipelines is used. Received: "
            f'"{getattr(config, section).method}". Give build_dataset the tools of tfgma.preprocessing'
        )
    return Tools(standard_finder(config, threads), FlowEstimator(config.flow.method))


def standard_finder(config: BuildConfig, threads: int = 1) -> BodyFinder:
    """MediaPipe's.

    Raises:
        RefusedError: its networks cannot be fetched or read.
    """
    model, careful = pose_models(config)
    return BodyFinder(model, config.pose.min_score, threads, careful)


def pose_models(config: BuildConfig) -> tuple[Path, Path | None]:
    """Files of MediaPipe's networks, and of the one for careful readings if that is wanted.

    Raises:
        RefusedError: they cannot be fetched.
    """
    return pose_model(config.pose.model), careful_model() if config.pose.careful else None
