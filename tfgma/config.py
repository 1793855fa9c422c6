"""Settings of a study: how its data are built, split and augmented, and its network trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.config import BuildConfig, InputSettings, Settings, parse_overrides, parse_settings, read_yaml


class SplitSettings(Settings):
    """Who is trained, validated and tested on, by subject and group (pipelines.splits).

    `scheme` folds: each subject is tested once, one validation side is taken from the rest. nested: the same
    test sides, the validation side rotates within each, one network for each pair. fixed: the subjects whose
    manifest says test in the column `split` are the test side of every fold, the validation side rotates over
    the others. site: each site is tested by networks trained on the others; `site` names the manifest's
    column. `repeats`: folds and nested are dealt so often, each time by another seed. `lock_box`: share of
    the subjects that is kept out of all this until `tfgma evaluate --lock-box`.
    """

    scheme: Literal["folds", "nested", "fixed", "site"] = "folds"
    folds: int = Field(5, ge=2, le=50, description="test sides; of scheme fixed, validation sides")
    val_share: float = Field(
        0.2, gt=0, le=0.5, description="share of what is not tested that is validated on; unused if fixed"
    )
    seed: int = 0
    repeats: int = Field(1, ge=1, le=100)
    site: str = Field("group", description="the manifest's column that names sites")
    lock_box: float = Field(
        0.0, ge=0, le=0.5, description="of all subjects; if fixed, of those that are not tested"
    )
    from_dataset: bool = Field(
        False, description="take the folds that the data set brings along, as they are"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> SplitSettings:
        if self.repeats > 1 and (self.from_dataset or self.scheme not in ("folds", "nested")):
            raise ValueError("split.repeats needs split.scheme folds or nested, dealt here")
        if self.lock_box and self.from_dataset:
            raise ValueError("split.lock_box needs sides that are dealt here, not split.from_dataset")
        return self


class ModelSettings(Settings):
    """What every family of networks has; see its builder in tfgma.models for what each setting does."""

    one_logit: bool = Field(False, description="two classes by one logit and a sigmoid")
    weights: str | None = Field(
        None, description="checkpoint or .keras file of the whole network to start from"
    )
    scope: Literal["all", "head", "stem+head", "stage+head", "scratch"] = "all"

    def builder_options(self) -> dict[str, Any]:
        """Arguments of the family's builder."""
        return {
            name: value
            for name, value in self.model_dump().items()
            if name not in ModelSettings.model_fields and name != "family" and not name.endswith("_weights")
        }

    def trunk_weights(self) -> dict[str, tuple[str, str]]:
        """Prefix of a stream's layers -> checkpoint of its trunk, the trunk's name; where one is given."""
        return {}


class TwoStreamSettings(ModelSettings):
    """One picture, a stack of flows."""

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

    def trunk_weights(self) -> dict[str, tuple[str, str]]:
        """See ModelSettings."""
        return _given(
            {
                "spatial-": (self.image_weights, self.image_backbone),
                "temporal-": (self.flow_weights, self.flow_backbone),
            }
        )


class EdgeSettings(ModelSettings):
    """One picture, a stack of flows, by a small network for tablets."""

    family: Literal["edge"] = "edge"
    streams: Literal["both", "image", "flow"] = "both"
    width_coefficient: float = Field(0.5, gt=0, le=2)
    depth_coefficient: float = Field(1.0, gt=0, le=3)
    fusion_stage: int = Field(3, ge=1, le=7)
    head_filters: int = Field(320, ge=8)
    dropout: float = Field(0.0, ge=0, lt=1)


class ImageSettings(ModelSettings):
    """One picture."""

    family: Literal["image"] = "image"
    backbone: str = "resnet50"
    width: int = Field(64, ge=4, le=256)
    image_weights: str | None = None
    dropout: float = Field(0.0, ge=0, lt=1)

    def trunk_weights(self) -> dict[str, tuple[str, str]]:
        """See ModelSettings."""
        return _given({"image-": (self.image_weights, self.backbone)})


class FrameFusionSettings(ModelSettings):
    """Several frames through one image network."""

    family: Literal["frame_fusion"] = "frame_fusion"
    fusion: Literal["early", "late", "slow"] = "late"
    backbone: str = "resnet50"
    width: int = Field(64, ge=4, le=256)
    dropout: float = Field(0.0, ge=0, lt=1)


class CNNLSTMSettings(ModelSettings):
    """An image network on each frame, a recurrent one over them."""

    family: Literal["cnn_lstm"] = "cnn_lstm"
    backbone: str = "resnet50"
    width: int = Field(64, ge=4, le=256)
    units: int = Field(256, ge=1)
    image_weights: str | None = None
    dropout: float = Field(0.0, ge=0, lt=1)

    def trunk_weights(self) -> dict[str, tuple[str, str]]:
        """See ModelSettings."""
        return _given({"frames-": (self.image_weights, self.backbone)})


class VideoSettings(ModelSettings):
    """A 3D network on frames."""

    family: Literal["video"] = "video"
    network: str = "slow_r50"
    width: int | None = Field(None, ge=4, le=256)
    dropout: float = Field(0.5, ge=0, lt=1)


class SlowFastSettings(ModelSettings):
    """Few frames by a wide path, many by a narrow one."""

    family: Literal["slowfast"] = "slowfast"
    width: int = Field(64, ge=8, le=256)
    dropout: float = Field(0.5, ge=0, lt=1)


class TwoStream3DSettings(ModelSettings):
    """Frames and flows, each by a network over time."""

    family: Literal["two_stream_3d"] = "two_stream_3d"
    streams: Literal["multi", "single", "multi_single"] = "multi"
    fusion: Literal["different_loss", "sum_loss", "concat"] = "different_loss"
    video_backbone: str = "slow_r50"
    image_backbone: str = "resnet50"
    width: int | None = Field(None, ge=4, le=256)
    frames_weights: str | None = None
    flow_weights: str | None = None
    dropout: float = Field(0.5, ge=0, lt=1)

    def trunk_weights(self) -> dict[str, tuple[str, str]]:
        """See ModelSettings."""
        return _given(
            {
                "frames-": (self.frames_weights, self._backbone("frames")),
                "flow-": (self.flow_weights, self._backbone("flow")),
            }
        )

    def _backbone(self, stream: str) -> str:
        over_time = self.streams == "multi" or (self.streams == "multi_single" and stream == "frames")
        return self.video_backbone if over_time else self.image_backbone


class TemporalShiftSettings(ModelSettings):
    """Frames and flows one after the other, each seeing what was before it; a tablet can answer meanwhile."""

    family: Literal["temporal_shift"] = "temporal_shift"
    streams: Literal["both", "frames", "flow"] = "both"
    frames_backbone: str = "efficientnet_lite0"
    flow_backbone: str = "efficientnet_lite0"
    width: int = Field(64, ge=4, le=256)
    shift_share: float = Field(0.125, gt=0, lt=1)
    frames_weights: str | None = None
    flow_weights: str | None = None
    dropout: float = Field(0.0, ge=0, lt=1)

    def trunk_weights(self) -> dict[str, tuple[str, str]]:
        """See ModelSettings."""
        return _given(
            {
                "frames-": (self.frames_weights, self.frames_backbone),
                "flow-": (self.flow_weights, self.flow_backbone),
            }
        )


class StamSettings(ModelSettings):
    """Joints over time, with attention over joints and clips."""

    family: Literal["stam"] = "stam"
    partition: Literal["uniform", "distance", "spatial"] = "uniform"
    max_hop: int = Field(3, ge=1)
    features: int = Field(128, ge=4)
    dropout: float = Field(0.3, ge=0, lt=1)


def _given(weights: dict[str, tuple[str | None, str]]) -> dict[str, tuple[str, str]]:
    return {prefix: (path, trunk) for prefix, (path, trunk) in weights.items() if path is not None}


AnyModelSettings = Annotated[
    TwoStreamSettings
    | EdgeSettings
    | ImageSettings
    | FrameFusionSettings
    | CNNLSTMSettings
    | VideoSettings
    | SlowFastSettings
    | TwoStream3DSettings
    | TemporalShiftSettings
    | StamSettings,
    Field(discriminator="family"),
]


class AugmentSettings(Settings):
    """What a training clip may suffer."""

    flip: bool = True
    shift: float = Field(0.05, ge=0, le=0.5, description="share of the side")
    scale: float = Field(0.1, ge=0, le=0.5, description="share of the size")
    rotation_degrees: float = Field(10.0, ge=0, le=180)
    photometry: float = Field(0.2, ge=0, le=1, description="strength of changes of light")
    temporal_jitter: bool = True
    mixup: float = Field(
        0.0, ge=0, le=10, description="alpha: clips are blended by a share of Beta(alpha, alpha)"
    )
    cutmix: float = Field(0.0, ge=0, le=10, description="alpha: a box of another clip is set in, as large")


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TrainSettings(Settings):
    """How a network is trained."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_epochs: int = Field(3, ge=0)
    schedule: Literal["cosine", "plateau"] = Field(
        "cosine", description="the rate falls to zero, or when the validation loss has stopped falling"
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    plateau_patience: int = Field(5, ge=1, description="epochs without a better validation loss")
    weight_decay: float = Field(1e-4, ge=0)
    clip_norm: Positive | None = Field(None, description="largest norm of all gradients together")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    weight_average: float | None = Field(
        None, gt=0, lt=1, description="momentum of the weights' moving average, which is validated and saved"
    )
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0, le=10)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    balance: Literal["none", "weights", "sampling"] = Field(
        "none", description="classes count alike: rare ones by larger weights, or drawn as often as others"
    )
    class_weights: dict[str, Positive] | None = Field(None, description="class -> weight of its clips")
    head_weights: dict[str, Positive] | None = Field(None, description="output -> weight of its loss")
    clips_per_subject: int | None = Field(None, ge=1, description="at most so many, drawn anew each epoch")
    patience: int = Field(20, ge=1, description="epochs without a better validation loss before the end")
    seed: int = 0
    cache: bool = Field(True, description="keep decoded clips in memory")
    picture_every: int = Field(10, ge=1, description="epochs between pictures in TensorBoard")
    teacher: str | None = Field(
        None, description="a run of the same folds, whose networks' answers are blended into the labels"
    )
    teacher_share: float = Field(0.5, gt=0, le=1, description="of a label that is the teacher's answer")
    teacher_temperature: float = Field(
        2.0, ge=1, le=20, description="the teacher's logits are divided by this, which softens its answers"
    )

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> TrainSettings:
        for name in ("plateau_factor", "plateau_patience"):
            if self.schedule != "plateau" and self._is_changed(name):
                raise ValueError(
                    f"{name} needs schedule plateau. Received: {self.schedule}. Set it, or leave {name} out"
                )
        for name in ("teacher_share", "teacher_temperature"):
            if self.teacher is None and self._is_changed(name):
                raise ValueError(f"{name} needs a teacher. Received: none. Name a run, or leave {name} out")
        if self.loss != "focal" and self._is_changed("focal_gamma"):
            raise ValueError(
                f"focal_gamma needs loss focal. Received: {self.loss}. Set it, or leave focal_gamma out"
            )
        if self.schedule == "plateau" and self.plateau_patience >= self.patience:
            raise ValueError(
                "plateau_patience must be less than patience, or training ends before the rate falls. "
                f"Received: {self.plateau_patience}, and {self.patience}. Lower the one or raise the other"
            )
        if self.balance == "weights" and self.class_weights is not None:
            raise ValueError(
                "balance weights computes what class_weights gives. Received: both. Leave one out"
            )
        return self

    def _is_changed(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)


class StudyConfig(Settings):
    """One study, one file."""

    build: BuildConfig = BuildConfig()
    split: SplitSettings = SplitSettings()
    inputs: InputSettings = InputSettings()
    model: AnyModelSettings = TwoStreamSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="before")
    @classmethod
    def _two_stream_unless_said(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("model"), dict):
            return values | {"model": {"family": "two_stream"} | values["model"]}
        return values

    @model_validator(mode="after")
    def _there_is_another_clip_to_mix_with(self) -> StudyConfig:
        for name in ("mixup", "cutmix"):
            if getattr(self.augment, name) and self.train.batch_size == 1:
                raise ValueError(
                    f"augment.{name} mixes the clips of a batch, so train.batch_size must be at least 2. "
                    f"Received: 1. Raise it, or leave {name} out"
                )
        return self


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


def flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as `{"clip.fps": 6.0, ...}`."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return out
