"""Settings of a data set build, checked when read."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.schema import ClipSpec, RefusedError

ModelT = TypeVar("ModelT", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PoseSettings(Settings):
    """The PoseLandmarker network: one network gives mask and joints."""

    model: str | None = Field(None, description="a .task file of your own, else the cached one")
    min_score: float = Field(0.5, ge=0, le=1, description="detection, presence and tracking confidence")


class AlignmentSettings(Settings):
    """One transform a video sets the body upright."""

    # Frames wait in memory until the transform is known: 1.2 MB each, six a second.
    seconds: float = Field(30.0, gt=0, le=120, description="the transform is estimated on the video's start")
    every_seconds: float = Field(1.0, gt=0, description="one pose sampled every so many seconds")
    side_in_torsos: float = Field(3 / 0.8, gt=0, description="side of the square crop, in torso lengths")


class FlowSettings(Settings):
    """Dense optical flow between consecutive sampled frames."""

    method: Literal["farneback", "dis"] = "farneback"
    masked: bool = Field(True, description="flow outside the body is set to zero")


class QualitySettings(Settings):
    """What a clip must show to be used."""

    min_body_share: float = Field(0.8, ge=0, le=1, description="share of a clip's frames with a body found")


class BuildConfig(Settings):
    """Everything that decides what a built data set holds."""

    clip: ClipSpec = ClipSpec()
    pose: PoseSettings = PoseSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    flow: FlowSettings = FlowSettings()
    quality: QualitySettings = QualitySettings()
    mask_body: bool = Field(True, description="the body is cut out; false keeps the background (ablation)")
    align_body: bool = Field(True, description="the body is set upright; false takes the middle (ablation)")
    long_side_px: int = Field(640, ge=128, le=3840, description="frames are scaled down to this long side")
    jpeg_quality: int = Field(95, ge=50, le=100)

    def digest(self) -> str:
        """SHA-256 of the settings, equal for equal settings."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def explain_invalid(error: ValidationError, where: str) -> str:
    """One sentence from pydantic's list: which key, what rule, what value."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}. Received: {first['input']!r}. Remove it or correct its name"
    message = first["msg"].removeprefix("Value error, ")
    received = "" if "Received" in message else f". Received: {first.get('input')!r}"
    return f"{where}: {key}: {message}{received}"


def parse_settings(values: dict[str, Any], kind: type[ModelT], where: str) -> ModelT:
    """Validated settings from plain values.

    Raises:
        RefusedError: an unknown key or a value out of range; `where` is named.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RefusedError(explain_invalid(error, where)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RefusedError: the file is missing, is no YAML, or is not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RefusedError(f"a config must be an existing YAML file. Received: {str(path)!r}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise RefusedError(f"{path} must be a readable YAML file. Received: {reason}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RefusedError(f"{path} must hold a mapping of settings. Received: {type(values).__name__}")
    return values


def parse_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`values` with each `section.key=value` set in turn; values are read as YAML.

    Raises:
        RefusedError: an override without `=`, or one that goes below a plain value.
    """
    out: dict[str, Any] = copy.deepcopy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise RefusedError(f"--set must read SECTION.KEY=VALUE. Received: {override!r}")
        place = out
        *sections, last = key.split(".")
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise RefusedError(f"--set must name a setting. Received: {key!r}, {section} has no settings")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RefusedError(f"--set must give a YAML value. Received: {override!r}") from error
    return out
