"""Settings of a study: how its data are built, split and augmented, and its network trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.config import BuildConfig, Settings, parse_overrides, parse_settings, read_yaml


class SplitSettings(Settings):
    """Folds by subject and group."""

    folds: int = Field(5, ge=2, le=50)
    val_share: float = Field(0.2, gt=0, le=0.5, description="share of the training side validated on")
    seed: int = 0


class ModelSettings(Settings):
    """The network; see the builder of its family for what each setting does."""

    family: Literal["two_stream"] = "two_stream"
    streams: Literal["both", "image", "flow"] = "both"
    fusion: Literal["conv1x1", "sum", "concat"] = "conv1x1"
    image_backbone: str = "resnet50"
    flow_backbone: str = "resnet50"
    image_width: int = Field(64, ge=4, le=256)
    flow_width: int = Field(64, ge=4, le=256)
    image_weights: str | None = None
    flow_weights: str | None = None
    dropout: float = Field(0.0, ge=0, lt=1)
    num_flows: int | None = Field(None, ge=1, description="flows a network takes; default: all of a clip")

    def builder_options(self) -> dict[str, Any]:
        """Arguments of the family's builder."""
        return self.model_dump(exclude={"family", "num_flows"})


class AugmentSettings(Settings):
    """What a training clip may suffer."""

    flip: bool = True
    shift: float = Field(0.05, ge=0, le=0.5, description="share of the side")
    scale: float = Field(0.1, ge=0, le=0.5, description="share of the size")
    rotation_degrees: float = Field(10.0, ge=0, le=180)
    photometry: float = Field(0.2, ge=0, le=1, description="strength of changes of light")
    temporal_jitter: bool = True


class TrainSettings(Settings):
    """How a network is trained."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_epochs: int = Field(3, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    patience: int = Field(20, ge=1, description="epochs without a better validation loss before the end")
    seed: int = 0
    cache: bool = Field(True, description="keep decoded clips in memory")
    picture_every: int = Field(10, ge=1, description="epochs between pictures in TensorBoard")


class StudyConfig(Settings):
    """One study, one file."""

    build: BuildConfig = BuildConfig()
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()


def load_study(path: Path | None, overrides: tuple[str, ...] = ()) -> StudyConfig:
    """A study's settings from its YAML file.

    Args:
        path: the file; None for the defaults.
        overrides: `section.key=value` each, applied over the file.

    Raises:
        RefusedError: no such file, no YAML, an unknown key, a value out of range.
    """
    values = parse_overrides(read_yaml(path) if path is not None else {}, overrides)
    return parse_settings(values, StudyConfig, str(path) if path else "settings")
