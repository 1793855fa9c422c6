"""One shaded surface laid over a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.texture import SIDE, Image

Field = NDArray[np.float32]

RIM_WIDTH: Final = 0.045  # of the dark rim around each part, torso lengths
_RIM_DEPTH: Final = 0.3
_SHADE_STEPS: Final = 200.0  # steps of light from dark to 1; up to 255 fit a byte


@dataclass(frozen=True)
class Light:
    """Light of one recording: direction to the lamp (x, y, z, unit length), strengths, colour factors BGR."""

    direction: tuple[float, float, float]
    ambient: float
    diffuse: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Surface:
    """Pixels of one part in its box.

    Attributes:
        box: rows and columns of the picture.
        cover: share of each pixel under the part, 0 to 1; this and the others (h, w) float32.
        rim: darkness of the rim around it, 0 to 1.
        shade: brightness factor.
        column, row: place in the part's painted picture, texels.
    """

    box: tuple[slice, slice]
    cover: Field
    rim: Field
    shade: Field
    column: Field
    row: Field


def pixel_box(
    x0: float, y0: float, x1: float, y1: float, shape: tuple[int, ...]
) -> tuple[slice, slice] | None:
    """Rows and columns of the pixels in a rectangle that lie in the picture; None if there are none."""
    left, right = max(int(x0), 0), min(int(x1) + 2, shape[1])
    top, bottom = max(int(y0), 0), min(int(y1) + 2, shape[0])
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def shade(light: Light, lambert: Field, front: Field) -> Field:
    """Brightness of a surface; lambert: cosine to the lamp, overwritten; front: cosine to the camera."""
    bright = np.maximum(lambert, 0, out=lambert)
    bright *= np.float32(light.diffuse)
    bright += np.float32(light.ambient)
    bright *= np.float32(0.7) + np.float32(0.3) * front
    return bright


def rim_around(outside: Field, width: float) -> Field:
    """Darkness of the rim: strongest at the edge, gone after `width` pixels."""
    rim = np.clip(1 - outside * np.float32(1 / width), 0, 1)
    rim *= rim
    rim *= np.float32(_RIM_DEPTH)
    return rim


def lay(surface: Surface, texture: Image, picture: Image, mask: Image) -> None:
    """Lays one shaded part and its dark rim over a picture, and the part over a mask, in place.

    Args:
        surface: the part's pixels.
        texture: (h, w, 4) uint8 BGRA, the painted picture.
        picture: (H, W, 3) uint8 BGR.
        mask: (H, W) uint8, cover 0 to 255.
    """
    # Four channels and bytes: the library is several times faster on them than on three and on floats.
    # On limbs only pixels beyond the part, which are not laid, look past the painted picture.
    border = cv2.BORDER_CONSTANT if texture.shape[1] == SIDE else cv2.BORDER_REPLICATE
    wide = cv2.remap(texture, surface.column, surface.row, cv2.INTER_LINEAR, borderMode=border)
    colour = cv2.cvtColor(wide, cv2.COLOR_BGRA2BGR)
    light = (surface.shade * surface.cover * np.float32(_SHADE_STEPS)).astype(np.uint8)
    lit = cv2.multiply(colour, cv2.merge([light] * 3), scale=1 / _SHADE_STEPS)
    left = ((1 - surface.cover) * (1 - surface.rim) * np.float32(255)).astype(np.uint8)
    region = picture[surface.box]
    cv2.multiply(region, cv2.merge([left] * 3), dst=region, scale=1 / 255)
    cv2.add(region, lit, dst=region)
    covered = mask[surface.box]
    np.maximum(covered, (surface.cover * np.float32(255)).astype(np.uint8), out=covered)
