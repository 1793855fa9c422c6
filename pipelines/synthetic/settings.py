"""What generated recordings look like: the nuisance factors as parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config import Settings
from pipelines.synthetic.motion import LIMBS, MOVEMENTS

Range = tuple[float, float]


class SyntheticSettings(Settings):
    """Nuisance factors of generated recordings; ranges are (lowest, highest), drawn uniformly."""

    classes: tuple[str, ...] = Field(
        tuple(MOVEMENTS), min_length=1, description="subset and order of WMs, FMs, PR"
    )
    width: int = Field(640, ge=64, le=3840, multiple_of=2, description="px")
    height: int = Field(480, ge=64, le=3840, multiple_of=2, description="px")
    fps: int = Field(30, ge=6, le=120, description="frames a second")
    roll_degrees: Range = Field((0.0, 360.0), description="body's direction, clockwise from head up")
    torso_share: Range = Field((0.235, 0.275), description="torso length, share of the frame's shorter side")
    offset_share: float = Field(
        0.03, ge=0, le=0.5, description="body's largest shift from the middle, same unit"
    )
    shake_px: float = Field(
        0.5, ge=0, le=20, description="root mean square of the hand-held camera's shift, px"
    )
    distractors: int = Field(
        2, ge=0, le=8, description="each recording has 0 to this many moving toys at the edge"
    )
    clutter: int = Field(7, ge=0, le=40, description="each recording has 0 to this many toys lying about")
    light: Range = Field((0.8, 1.12), description="brightness factor")
    light_gradient: float = Field(
        0.3, ge=0, le=1, description="largest relative fall of light across the frame"
    )
    colour_cast: float = Field(
        0.08, ge=0, le=0.5, description="largest relative change of each colour by the light"
    )
    noise: float = Field(1.5, ge=0, le=50, description="standard deviation of the sensor noise, grey levels")
    crf: int = Field(21, ge=0, le=51, description="x264 constant rate factor; lower is larger and cleaner")
    background_by_class: Literal["random", "with", "against"] = Field(
        "random",
        description="random: independent of the class; with: class k has family k; against: family k + 1",
    )
    odd_limb: str | None = Field(
        None,
        description="left_arm, right_arm, left_leg or right_leg; it alone moves as odd_movement",
    )
    odd_movement: str | None = Field(None, description="a class; needs odd_limb")
    ground_truth: bool = Field(False, description="write truth.npz (masks, joints) beside each video")
    mask_every: int = Field(1, ge=1, description="truth.npz holds the mask of every so many frames")

    @model_validator(mode="after")
    def _known_classes_and_ordered_ranges(self) -> SyntheticSettings:
        unknown = [name for name in self.classes if name not in MOVEMENTS]
        if unknown or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"classes must be distinct names of {', '.join(MOVEMENTS)}. Received: {self.classes}"
            )
        odd = (self.odd_limb, self.odd_movement)
        if odd != (None, None) and (self.odd_limb not in LIMBS or self.odd_movement not in MOVEMENTS):
            raise ValueError(
                f"odd_limb must be one of {', '.join(LIMBS)} and odd_movement one of {', '.join(MOVEMENTS)}. "
                f"Received: odd_limb={self.odd_limb}, odd_movement={self.odd_movement}"
            )
        for key in ("roll_degrees", "torso_share", "light"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} must be (lowest, highest). Received: {(low, high)}")
        if self.torso_share[0] <= 0 or self.torso_share[1] > 1 or self.light[0] <= 0:
            raise ValueError(
                "torso_share must lie in (0, 1] and light above 0. "
                f"Received: torso_share={self.torso_share}, light={self.light}"
            )
        return self
