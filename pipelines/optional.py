"""Loads heavy packages at first use and names the extra that installs them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from pipelines.schema import RefusedError


def load(name: str, extra: str) -> Any:
    """The module `name`.

    Raises:
        RefusedError: the package is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RefusedError(
            f"this needs the package {name.partition('.')[0]}. Received: {error}. "
            f"Install it with pip install 'tfgma[{extra}]'"
        ) from error


def load_mediapipe(name: str = "mediapipe") -> Any:
    """A module of MediaPipe, without the TensorFlow that it would import for its own API docs.

    That import costs seconds and 300 MB, and `predict` promises to run without TensorFlow.
    """
    if "tensorflow" in sys.modules or "mediapipe" in sys.modules:
        return load(name, "runtime")
    blocked: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    blocked["tensorflow"] = None  # Python's own way to make an import fail
    try:
        return load(name, "runtime")
    finally:
        del sys.modules["tensorflow"]
