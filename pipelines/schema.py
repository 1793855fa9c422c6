"""What a clip is: its sampling, its feature names, dtypes and units."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT_VERSION: Final = 3
"""Version of the data set folder; readers refuse any other."""


class RefusedError(ValueError):
    """Input that cannot be used; the message is one sentence: rule, value received, remedy."""


JOINTS: Final[tuple[str, ...]] = (
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
)
"""Joint names in the order of every pose array (MediaPipe BlazePose topology)."""


def _mirror_name(name: str) -> str:
    if "left" in name:
        return name.replace("left", "right")
    return name.replace("right", "left")


MIRRORED_JOINTS: Final[tuple[int, ...]] = tuple(JOINTS.index(_mirror_name(n)) for n in JOINTS)
"""MIRRORED_JOINTS[i] is the joint that joint i becomes in a mirror."""

TORSO_JOINTS: Final[tuple[int, ...]] = tuple(
    JOINTS.index(n) for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)

FEATURE_JOINTS: Final[tuple[str, ...]] = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
"""Joints that pose features describe, in OpenPose's COCO order."""

MIRRORED_FEATURE_JOINTS: Final[tuple[int, ...]] = tuple(
    FEATURE_JOINTS.index(_mirror_name(n)) for n in FEATURE_JOINTS
)
"""MIRRORED_FEATURE_JOINTS[i] is the feature joint that i becomes in a mirror."""

JOINT_FEATURES: Final[tuple[str, ...]] = ("x", "y", "vx", "vy", "ax", "ay", "displacement")
"""What is known of each joint in each frame (pipelines.joint_features)."""

Box = tuple[float, float, float, float]
"""Left, top, width and height of a part of the upright frame, as shares of its width and height."""

MASK_SCORE: Final = 0.6
"""A pixel belongs to the body when the segmentation network says so with at least this score.

Above one half, since MediaPipe draws bodies a little too large."""

MODALITIES: Final[tuple[str, ...]] = ("rgb", "flow", "pose")
"""What of a clip a data set may hold: frames, flow, and joints with their features."""


class Feature:
    """Keys of one clip's `tf.train.Example`; it holds those of the data set's modalities."""

    LABEL: Final = "label"  # int64 (), index into the data set's classes
    CLASS: Final = "class"  # bytes (), UTF-8 name of the class
    SUBJECT: Final = "subject"  # bytes ()
    VIDEO: Final = "video"  # bytes (), id of the video within the data set
    START_SECONDS: Final = "start_seconds"  # float32 (), first frame's time in the video
    FPS: Final = "fps"  # float32 (), frames a second inside the clip
    RGB: Final = "rgb"  # bytes (T+1,), JPEG of (size, size, 3) uint8, upright masked body
    FLOW: Final = "flow"  # bytes (T,), PNG of (size, 2*size) uint8, x field left of y
    POSE: Final = "pose"  # float32 (T+1, joints, 3), x and y in pixels of the aligned frame, score 0..1
    JOINT_FEATURES: Final = "joint_features"  # float32 (T+1, 18, 7), FEATURE_JOINTS by JOINT_FEATURES
    MASK_AREA: Final = "mask_area"  # float32 (T+1,), share of the aligned frame covered by the body
    QUALITY: Final = "quality"  # float32 (), share of the clip's frames in which a body was found


class ClipSpec(BaseModel):
    """How a video is cut into clips, in seconds and pixels.

    A clip holds T + 1 frames and the T flows between them, T = `num_flows`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: float = Field(6.0, gt=0, le=60, description="sampled frames a second")
    clip_seconds: float = Field(5.0, gt=0, le=60, description="window length")
    stride_seconds: float = Field(5.0, gt=0, description="distance between starts of windows")
    size: int = Field(224, ge=32, le=1024, multiple_of=2, description="side of the aligned frame, px")
    max_flow_px: float = Field(20.0, gt=0, le=127, description="flow is clipped to this, aligned px")

    @model_validator(mode="after")
    def _at_least_one_flow(self) -> ClipSpec:
        if self.num_flows < 1:
            raise ValueError(
                "clip_seconds * fps must give at least one flow. "
                f"Received: clip_seconds={self.clip_seconds}, fps={self.fps}"
            )
        if self.stride_frames < 1:
            raise ValueError(
                "stride_seconds * fps must give at least one frame. "
                f"Received: stride_seconds={self.stride_seconds}, fps={self.fps}"
            )
        return self

    @property
    def num_flows(self) -> int:
        """T: flow fields a clip."""
        return round(self.clip_seconds * self.fps)

    @property
    def num_frames(self) -> int:
        """T + 1: frames a clip."""
        return self.num_flows + 1

    @property
    def stride_frames(self) -> int:
        """Sampled frames from one window's start to the next one's."""
        return round(self.stride_seconds * self.fps)

    @property
    def flow_channels(self) -> int:
        """2 T: channels of a flow stack, x0, y0, x1, y1, ..."""
        return 2 * self.num_flows
