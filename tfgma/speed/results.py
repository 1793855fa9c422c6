"""A measurement of speed as a file, and as rows of a table."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfgma.latency import machine
from tfgma.runs import write_json

PACKAGES = (
    *("tensorflow", "keras", "jax", "torch", "onnxruntime", "ai-edge-litert", "mediapipe", "numpy", "av"),
    "opencv-contrib-python",
)


def kept(out: Path, name: str, found: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Writes OUT/NAME.json and returns its content: what was found, with the machine and the versions."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    content = {"command": command, "machine": machine(), "versions": versions, **found}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", content)
    return content


def ratios_table(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows: name of a ratio, its value."""
    return [[name, f"{value:.2f} x"] for name, value in found["ratios"].items()]
