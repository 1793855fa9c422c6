"""A subject's looks: proportions, skin, hair and clothes, as parts to be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pipelines.synthetic import texture
from pipelines.synthetic.kinematics import Proportions, sample_proportions
from pipelines.synthetic.texture import SIDE, TEXELS, Colour, Image

# BGR from light to dark.
_SKINS: Final[tuple[Colour, ...]] = (
    (186, 206, 240),
    (165, 190, 232),
    (140, 172, 222),
    (112, 148, 204),
    (84, 120, 178),
    (60, 88, 142),
    (46, 66, 106),
)
_HAIRS: Final[tuple[Colour, ...]] = ((28, 30, 34), (36, 46, 66), (58, 84, 122), (96, 140, 178))


@dataclass(frozen=True)
class Part:
    """A tapered round limb segment between two points of the skeleton, radii in torso lengths."""

    name: str
    start: str
    end: str
    start_radius: float
    end_radius: float
    picture: Image = field(repr=False)
    length: float  # at rest, torso lengths; the picture keeps its place on it
    bulge: float = 0.0  # thicker in the middle by this share
    layer: int = 1  # parts of a lower layer are drawn first; within a layer, by depth
    lift: float = 0.0  # added to the depth when ordering
    turn: str = ""  # side whose arm twist turns the picture about the axis


@dataclass(frozen=True)
class Body:
    """What a subject looks like."""

    size: Proportions
    parts: tuple[Part, ...]
    head: Image = field(repr=False)
    skin: Colour


MARGIN: Final = 60  # texels of a limb's picture before its start, for the round end


def column(along: float) -> int:
    """Column of a limb's picture that lies `along` torso lengths past the segment's start."""
    return round(MARGIN + along * TEXELS)


def sample_body(rng: np.random.Generator) -> Body:
    """A subject's looks."""
    size = sample_proportions(rng)
    g = size.girth
    tone = rng.uniform(0, len(_SKINS) - 1)
    low = int(tone)
    high = min(low + 1, len(_SKINS) - 1)
    mixed = np.array(_SKINS[low]) * (1 - tone + low) + np.array(_SKINS[high]) * (tone - low)
    skin = (float(mixed[0]), float(mixed[1]), float(mixed[2]))
    hair = _HAIRS[rng.integers(4) if tone < 3 else 0]
    head = texture.paint_head(rng, skin, hair, float(rng.uniform(0.25, 0.95)))

    top = texture.sample_cloth(rng)
    one_piece = rng.uniform() < 0.6
    bottom = top if one_piece else texture.sample_cloth(rng)
    sleeve = float(rng.choice([0.12, 0.3, 2.0], p=[0.2, 0.3, 0.5]))  # torso lengths of cloth down the arm
    leg = float(rng.choice([0.0, 0.35, 2.0], p=[0.25, 0.2, 0.55]))
    if leg == 0.0:  # a nappy, or the lower part of a body suit
        bottom = top if one_piece else texture.Cloth("plain", (228, 230, 230), (200, 200, 200), 16.0)
    socks = leg == 2.0 and rng.uniform() < 0.7
    sock = texture.sample_cloth(rng) if rng.uniform() < 0.5 else bottom

    bare = texture.paint_skin(rng, skin)
    top_cloth = texture.paint_cloth(rng, top)
    bottom_cloth = texture.paint_cloth(rng, bottom)
    foot = texture.paint_cloth(rng, sock) if socks else bare
    fingers = texture.crease(bare, [column(0.09)])

    def dressed(cloth: Image, reach: float, before: float, folds: list[float]) -> Image:
        """Skin with cloth over what lies nearer to the trunk than `reach`."""
        naked = texture.crease(bare, [column(fold) for fold in folds])
        if reach <= before:
            return naked
        return texture.join_along(cloth, naked, min(column(reach - before), SIDE))

    trunk_low = texture.join_along(top_cloth, bottom_cloth, column(0.3)) if bottom is not top else top_cloth
    parts = [
        Part(
            "pelvis", "right_hip", "left_hip", 0.215 * g, 0.215 * g, bottom_cloth, 2 * size.hip_half, layer=-4
        ),
        Part(
            "yoke",
            "right_yoke",
            "left_yoke",
            0.165 * g,
            0.165 * g,
            top_cloth,
            1.4 * size.shoulder_half,
            layer=-4,
        ),
        Part("abdomen", "waist", "tail", 0.36 * g, 0.26 * g, trunk_low, 0.5, bulge=0.04, layer=-3),
        Part("neck", "neck", "chin", 0.17 * g, 0.16 * g, bare, 0.2, layer=-3),
        Part("chest", "chest", "belly", 0.33 * g, 0.36 * g, top_cloth, 0.38, layer=-2),
    ]
    for side in ("left", "right"):
        parts += [
            Part(f"{side}_upper_arm", f"{side}_shoulder", f"{side}_elbow", 0.155 * g, 0.125 * g,
                 dressed(top_cloth, sleeve, 0.0, [size.upper_arm - 0.05]), size.upper_arm, 0.06, turn=side),
            Part(f"{side}_forearm", f"{side}_elbow", f"{side}_wrist", 0.125 * g, 0.083 * g,
                 dressed(top_cloth, sleeve, size.upper_arm, [size.forearm - 0.02]), size.forearm, 0.1,
                 lift=0.02, turn=side),
            Part(f"{side}_thumb", f"{side}_thumb_root", f"{side}_thumb", 0.04 * g, 0.034 * g, bare, 0.1,
                 lift=0.03),
            Part(f"{side}_palm", f"{side}_wrist", f"{side}_knuckles", 0.078 * g, 0.088 * g, bare,
                 0.5 * size.hand, lift=0.04),
            Part(f"{side}_fingers", f"{side}_knuckles", f"{side}_fingertips", 0.082 * g, 0.056 * g, fingers,
                 0.36 * size.hand, lift=0.05),
            Part(f"{side}_thigh", f"{side}_hip", f"{side}_knee", 0.22 * g, 0.165 * g,
                 dressed(bottom_cloth, leg, 0.0, [0.16, 0.34]), size.thigh, 0.06),
            Part(f"{side}_shank", f"{side}_knee", f"{side}_ankle", 0.16 * g, 0.1 * g,
                 dressed(bottom_cloth, leg, size.thigh, [size.shank - 0.03]), size.shank, 0.12, lift=0.02),
            Part(f"{side}_foot", f"{side}_heel", f"{side}_foot_index", 0.095 * g, 0.082 * g, foot,
                 0.9 * size.foot, 0.05, lift=0.04),
        ]  # fmt: skip
    return Body(size, tuple(parts), head, skin)
