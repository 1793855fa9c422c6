"""Settings of a data set build, checked when read."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.schema import MODALITIES, ClipSpec, RefusedError

ModelT = TypeVar("ModelT", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


STANDARD_METHODS = ("mediapipe", "farneback", "dis")
"""Methods that need no network of the tfgma package."""
WITHOUT_WEIGHTS = ("horn_schunck",)
"""Networks of the tfgma package that have none."""


class PoseSettings(Settings):
    """Where joints come from; MediaPipe's network gives the mask as well."""

    method: Literal["mediapipe", "openpose"] = "mediapipe"
    weights: str | None = Field(None, description="OpenPose: a checkpoint or converted .keras file")
    long_side_px: int = Field(368, ge=64, multiple_of=8, description="OpenPose: frames are scaled to this")
    model: str | None = Field(None, description="a .task file of your own, else the cached one")
    careful: bool = Field(True, description="a larger network, fetched with npm, reads first frames")
    min_score: float = Field(0.5, ge=0, le=1, description="detection, presence and tracking confidence")


class SegmentationSettings(Settings):
    """Where the mask of the body comes from."""

    method: Literal["mediapipe", "u2net"] = "mediapipe"
    weights: str | None = Field(None, description="U2-Net: a checkpoint or converted .keras file")
    size: int = Field(320, ge=32, multiple_of=32, description="U2-Net: frames are scaled to this square, px")


class AlignmentSettings(Settings):
    """One transform a video sets the body upright."""

    # Frames wait in memory until the transform is known: 1.2 MB each, six a second.
    seconds: float = Field(30.0, gt=0, le=120, description="the transform is estimated on the video's start")
    every_seconds: float = Field(1.0, gt=0, description="one pose sampled every so many seconds")
    side_in_torsos: float = Field(3 / 0.8, gt=0, description="side of the square crop, in torso lengths")


class FlowSettings(Settings):
    """Dense optical flow between consecutive sampled frames."""

    method: Literal["farneback", "dis", "horn_schunck", "raft_large", "raft_small"] = "farneback"
    weights: str | None = Field(None, description="RAFT: a checkpoint or converted .keras file")
    num_updates: int = Field(12, ge=1, le=32, description="RAFT: refinements of each flow")
    masked: bool = Field(True, description="flow outside the body is set to zero")
    remove_camera: bool = Field(True, description="what the camera's own movement adds is taken off")


class QualitySettings(Settings):
    """What a clip must show to be used; figures are means over its frames (pipelines.quality)."""

    min_body_share: float = Field(0.8, ge=0, le=1, description="share of the frames with a body found")
    min_torso_share: float = Field(0.8, ge=0, le=1, description="share with both shoulders and hips seen")
    min_visible: float = Field(0.8, ge=0, le=1, description="that all limbs lie inside the picture")
    min_mask_certainty: float = Field(0.8, ge=0, le=1, description="how sure the network is of the mask")
    min_sharpness: float = Field(0.3, ge=0, le=1, description="0 is blurred, 1 is sharp")
    min_brightness: float = Field(0.08, ge=0, le=1, description="mean grey of the body")
    max_brightness: float = Field(0.95, ge=0, le=1, description="mean grey of the body")
    max_covered: float = Field(0.35, ge=0, le=1, description="share of the body under others and their hands")
    max_camera_speed: float = Field(0.5, ge=0, description="long sides of the frame a second")


class InputSettings(Settings):
    """What a network takes from a clip."""

    num_flows: int | None = Field(None, ge=1, description="flows of the window seen; default: all of a clip")
    num_frames: int = Field(8, ge=1, description="frames of a 3D network, spread evenly over the window")
    slow_every: int = Field(4, ge=1, description="SlowFast: the slow path takes one of so many frames")
    mean: float = Field(0.0, ge=0, le=1, description="subtracted from pictures 0..1")
    std: float = Field(1.0, gt=0, description="pictures are divided by this after the mean")
    pose_frames: int = Field(30, ge=1, description="frames of the short clips of a pose network")
    pose_stride: int = Field(20, ge=1, description="frames from one short clip's start to the next one's")


class KeypointSettings(Settings):
    """Joints that come from files instead of the pose network."""

    fps: float = Field(30.0, gt=0, description="frames a second of sequences that do not say")
    min_score: float = Field(0.1, ge=0, le=1, description="joints below this count as unseen")


class BuildConfig(Settings):
    """Everything that decides what a built data set holds."""

    clip: ClipSpec = ClipSpec()
    pose: PoseSettings = PoseSettings()
    segmentation: SegmentationSettings = SegmentationSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    flow: FlowSettings = FlowSettings()
    quality: QualitySettings = QualitySettings()
    keypoints: KeypointSettings = KeypointSettings()
    mask_body: bool = Field(True, description="the body is cut out; false keeps the background (ablation)")
    align_body: bool = Field(True, description="the body is set upright; false takes the middle (ablation)")
    long_side_px: int = Field(640, ge=128, le=3840, description="frames are scaled down to this long side")
    jpeg_quality: int = Field(95, ge=50, le=100)
    modalities: list[Literal["rgb", "flow", "pose"]] = Field(
        ["rgb", "flow", "pose"], description="what of the clips is written; nothing of the others"
    )
    deidentify: bool = Field(
        False, description="faces are blanked, names replaced by pseudonyms of the key that is given beside"
    )

    @property
    def network_sections(self) -> tuple[str, ...]:
        """Sections that choose a network of the tfgma package instead of a standard tool."""
        sections = ("pose", "segmentation", "flow")
        return tuple(name for name in sections if getattr(self, name).method not in STANDARD_METHODS)

    @field_validator("modalities")
    @classmethod
    def _in_one_order(cls, value: list[str]) -> list[str]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"name some of {', '.join(MODALITIES)}, each once. Received: {value}")
        return [one for one in MODALITIES if one in value]

    @model_validator(mode="after")
    def _deidentified_frames_are_cut_out(self) -> BuildConfig:
        if self.deidentify and not self.mask_body and "rgb" in self.modalities:
            raise ValueError(
                "deidentify needs mask_body: other people and the room tell who a child is, too. "
                "Received: false. Cut the body out, or leave rgb out of modalities"
            )
        return self

    @model_validator(mode="after")
    def _networks_have_weights(self) -> BuildConfig:
        for section in self.network_sections:
            chosen = getattr(self, section)
            if chosen.weights is None and chosen.method not in WITHOUT_WEIGHTS:
                raise ValueError(f"{section}.method {chosen.method} needs {section}.weights. Received: none")
        return self

    def that_decide(self, *, pictures: bool) -> BuildConfig:
        """These settings, with those that no shard of such a data set depends on set to their defaults.

        Workers get nothing else, so equal results here are equal shards. `pictures`: false for files of
        joints.

        Raises:
            RefusedError: nothing that files of joints could give is to be written.
        """
        if not pictures:
            if "pose" not in self.modalities:
                raise RefusedError(
                    "build.modalities must name pose where there are joints alone. "
                    f"Received: {', '.join(self.modalities)}. Build from videos, or name pose"
                )
            return BuildConfig(
                clip=self.clip,
                quality=self.quality,
                keypoints=self.keypoints,
                modalities=["pose"],
                deidentify=self.deidentify,
            )
        pose, segmentation, flow = self.pose, self.segmentation, self.flow
        if pose.method != "openpose":
            pose = _with_defaults(pose, "weights", "long_side_px")
        elif segmentation.method != "mediapipe":
            pose = _with_defaults(pose, "model", "min_score")
        if segmentation.method != "u2net":
            segmentation = _with_defaults(segmentation, "weights", "size")
        if flow.method in STANDARD_METHODS + WITHOUT_WEIGHTS:
            flow = _with_defaults(flow, "weights", "num_updates")
        keypoints = _with_defaults(self.keypoints, "fps")
        sections = {"pose": pose, "segmentation": segmentation, "flow": flow, "keypoints": keypoints}
        decided = self.model_copy(update=sections)
        return decided if "rgb" in self.modalities else _with_defaults(decided, "jpeg_quality")

    def with_network_files(self, change: Callable[[str], str]) -> BuildConfig:
        """These settings with `change` of each file of weights that they name."""
        sections = {}
        for section, names in NETWORK_FILES.items():
            settings = getattr(self, section)
            named = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
            sections[section] = settings.model_copy(
                update={name: change(path) for name, path in named.items()}
            )
        return self.model_copy(update=sections)

    def digest(self) -> str:
        """SHA-256 of the settings, equal for equal settings."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


NETWORK_FILES = {"pose": ("weights", "model"), "segmentation": ("weights",), "flow": ("weights",)}
"""Settings that are paths."""


def _with_defaults(settings: ModelT, *names: str) -> ModelT:
    fields = type(settings).model_fields
    return settings.model_copy(update={name: fields[name].default for name in names})


def explain_invalid(error: ValidationError, where: str, values: Any = None) -> str:
    """One sentence from pydantic's list: which key, what rule, what value."""
    first = error.errors()[0]
    key = ".".join(_written_parts(first["loc"], values)) or "settings"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}. Received: {first['input']!r}. Remove it or correct its name"
    if first["type"] == "missing":
        return f"{where}: {key} is required. Received: none. Add it"
    message = first["msg"].removeprefix("Value error, ")
    received = "" if "Received" in message else f". Received: {first.get('input')!r}"
    return f"{where}: {key}: {message}{received}"


def _written_parts(location: tuple[int | str, ...], values: Any) -> list[str]:
    """The location as the user wrote it: without the tags that pydantic puts in for its unions."""
    parts, place = [], values
    for number, part in enumerate(location):
        is_tag = isinstance(place, dict) and part not in place and number < len(location) - 1
        if not is_tag:
            parts.append(str(part))
            place = place.get(part) if isinstance(place, dict) else None
    return parts


def parse_settings(values: dict[str, Any], kind: type[ModelT], where: str) -> ModelT:
    """Validated settings from plain values.

    Raises:
        RefusedError: an unknown key or a value out of range; `where` is named.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RefusedError(explain_invalid(error, where, values)) from error


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
