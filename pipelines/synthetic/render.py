"""A body drawn over a picture as shaded round parts, with its exact mask."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.synthetic.body import MARGIN, Body, Part
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.kinematics import Skeleton
from pipelines.synthetic.motion import Array
from pipelines.synthetic.surface import RIM_WIDTH, Light, Surface, lay, pixel_box, rim_around, shade
from pipelines.synthetic.texture import FACE_HEIGHT, FACE_WIDTH, SIDE, TEXELS, Image


class BodyRenderer:
    """Draws one recording's body frame by frame."""

    def __init__(self, body: Body, skeleton: Skeleton, camera: Camera, light: Light) -> None:
        """Projects the whole movement at once; frames are then drawn by index."""
        self._names = {name: i for i, name in enumerate(skeleton.points)}
        space = np.stack(list(skeleton.points.values()), axis=1)
        self._xy, self._scale = camera.project(space)
        self._z = space[..., 2]
        self._light = light
        self._size = body.size.head
        roll = np.eye(3)
        roll[:2, :2] = camera.rotation()
        shake = np.tile(np.eye(3), (len(space), 1, 1))
        shake[:, :2, :2] = camera.shake[:, :, :2]
        self._head_rotation = shake @ roll @ skeleton.head_rotation
        self._arm_twist = skeleton.arm_twist
        lit: dict[int, Image] = {}
        for part in body.parts:
            if id(part.picture) not in lit:
                lit[id(part.picture)] = self._lit(part.picture)
        self._pictures = {part.name: lit[id(part.picture)] for part in body.parts}
        self._head_picture = self._lit(body.head)
        self._skin = np.array(body.skin) * np.array(light.colour)
        self._parts = body.parts

    def _lit(self, picture: Image) -> Image:
        lit = np.clip(picture * np.array(self._light.colour), 0, 255).astype(np.uint8)
        return cv2.cvtColor(lit, cv2.COLOR_BGR2BGRA)

    def points(self) -> tuple[dict[str, int], Array]:
        """Index of each skeleton point, and (T, n, 2) float64 pixels x, y."""
        return self._names, self._xy

    def order(self, frame: int) -> list[Part | None]:
        """Parts from back to front; None stands for the head."""
        z = self._z[frame]

        def depth(part: Part) -> tuple[int, float]:
            ends = z[self._names[part.start]] + z[self._names[part.end]]
            return part.layer, float(ends) / 2 + part.lift

        keyed: list[tuple[tuple[int, float], Part | None]] = [(depth(part), part) for part in self._parts]
        # The head lies before the neck; a hand must be clearly above its middle to cover it.
        keyed.append(((1, float(z[self._names["head"]]) + 0.12), None))
        return [part for _, part in sorted(keyed, key=lambda pair: pair[0])]

    def draw(self, frame: int, picture: Image, mask: Image) -> None:
        """Draws the body of one frame.

        Args:
            frame: index in time.
            picture: (H, W, 3) uint8 BGR, drawn over in place.
            mask: (H, W) uint8, the body's cover 0 to 255, raised in place.
        """
        self._cast_shadow(frame, picture)
        for part in self.order(frame):
            if part is None:
                self._draw_head(frame, picture, mask)
            else:
                surface = self._segment(frame, part, picture.shape)
                if surface is not None:
                    lay(surface, self._pictures[part.name], picture, mask)

    def _cast_shadow(self, frame: int, picture: Image) -> None:
        """Darkens the ground beside the body, away from the lamp, softly."""
        height, width = picture.shape[:2]
        quarter = np.zeros((height // 4 + 1, width // 4 + 1), np.uint8)
        lx, ly, lz = self._light.direction
        away = -0.7 * np.array([lx, ly]) / max(lz, 0.3)
        xy, scale = self._xy[frame], self._scale[frame]
        shift = (self._z[frame] + 0.16)[:, None] * scale[:, None] * away
        # cv2 takes fixed-point coordinates: the shadow's edge must not hop from pixel to pixel.
        spots = np.clip((xy + shift) * 4, -32000, 32000).astype(int)
        for part in self._parts:
            a, b = self._names[part.start], self._names[part.end]
            wide = max(1, round(0.25 * scale[a] * (part.start_radius + part.end_radius)))
            cv2.line(quarter, spots[a].tolist(), spots[b].tolist(), 255, wide, cv2.LINE_AA, 4)
        h = self._names["head"]
        cv2.circle(quarter, spots[h].tolist(), round(4 * scale[h] * self._size[0]), 255, -1, cv2.LINE_AA, 4)
        wide = 2 * round(0.045 * float(scale[h])) + 1
        soft = cv2.blur(cv2.blur(quarter, (wide, wide)), (wide, wide))
        x0, y0, w, h = cv2.boundingRect((soft > 2).astype(np.uint8))
        if w == 0:
            return
        box = slice(4 * y0, min(4 * (y0 + h), height)), slice(4 * x0, min(4 * (x0 + w), width))
        dark = cv2.convertScaleAbs(soft[y0 : y0 + h, x0 : x0 + w], alpha=-0.45, beta=0)
        dark = cv2.resize(255 - dark, (4 * w, 4 * h), interpolation=cv2.INTER_LINEAR)
        dark = dark[: box[0].stop - box[0].start, : box[1].stop - box[1].start]
        cv2.multiply(picture[box], cv2.merge([dark] * 3), dst=picture[box], scale=1 / 255)

    def _segment(self, frame: int, part: Part, shape: tuple[int, ...]) -> Surface | None:
        a, b = self._names[part.start], self._names[part.end]
        (ax, ay), (bx, by) = self._xy[frame, a], self._xy[frame, b]
        sa, sb = self._scale[frame, a], self._scale[frame, b]
        ra, rb = part.start_radius * sa, part.end_radius * sb
        rim = RIM_WIDTH * sa
        # A bulge lies between the ends and adds less than its share of the larger radius.
        swell = max(ra, rb) * part.bulge + rim + 1
        ea, eb = ra + swell, rb + swell
        box = pixel_box(
            min(ax - ea, bx - eb), min(ay - ea, by - eb), max(ax + ea, bx + eb), max(ay + ea, by + eb), shape
        )
        if box is None:
            return None
        length = max(float(np.hypot(bx - ax, by - ay)), 1e-3)
        ux, uy = (bx - ax) / length, (by - ay) / length
        x = np.arange(box[1].start, box[1].stop, dtype=np.float32) - np.float32(ax)
        y = (np.arange(box[0].start, box[0].stop, dtype=np.float32) - np.float32(ay))[:, None]
        along = x * np.float32(ux / length) + y * np.float32(uy / length)  # 0 at the start, 1 at the end
        side = x * np.float32(-uy) + y * np.float32(ux)
        t = np.clip(along, 0, 1)
        radius = t * np.float32(rb - ra) + np.float32(ra)
        if part.bulge:
            radius *= 1 + np.float32(4 * part.bulge) * (t - t * t)
        inverse = 1 / radius
        past = along - t
        past *= np.float32(length)
        past *= inverse
        side *= inverse
        square = side * side + past * past
        distance = cv2.sqrt(square)
        outside = (distance - 1) * radius
        cover = np.clip(0.5 - outside, 0, 1)
        front = cv2.sqrt(np.maximum(1 - square, 0))
        lx, ly, lz = self._light.direction
        # The segment's own slope toward the camera tips its front normal.
        rise = float(self._z[frame, b] - self._z[frame, a]) * float(sa)
        tilt = rise / float(np.hypot(rise, length))
        level = float(np.sqrt(1 - tilt * tilt))
        l_along = ux * lx + uy * ly
        l_side = -uy * lx + ux * ly
        lambert = front * np.float32(lz * level - l_along * tilt) + side * np.float32(l_side)
        lambert += past * np.float32(l_along)
        shading = shade(self._light, lambert, front)
        # Along the limb the picture shortens with the limb; around it and on the ends, it follows the girth.
        turn = self._arm_twist[part.turn][frame] if part.turn else 0.0
        girth = TEXELS * (part.start_radius + part.end_radius) / 2
        column = t * np.float32(part.length * TEXELS) + past * np.float32(girth) + np.float32(MARGIN)
        row = side * (1 + np.float32(0.35) * side * side)
        row *= np.float32(girth)
        row += np.float32(SIDE / 2 + turn * girth * 0.5)
        return Surface(box, cover, rim_around(outside, rim), shading, column, row)

    def _draw_head(self, frame: int, picture: Image, mask: Image) -> None:
        h = self._names["head"]
        cx, cy = self._xy[frame, h]
        scale = float(self._scale[frame, h])
        rotation = self._head_rotation[frame]
        for side in ("left", "right"):
            self._draw_ear(frame, side, picture, mask)
        reach = (max(self._size) * 1.05 + RIM_WIDTH) * scale + 1
        box = pixel_box(cx - reach, cy - reach, cx + reach, cy + reach, picture.shape)
        if box is None:
            return
        x = np.arange(box[1].start, box[1].stop, dtype=np.float32) - np.float32(cx)
        y = (np.arange(box[0].start, box[0].stop, dtype=np.float32) - np.float32(cy))[:, None]
        # The ellipsoid |A q| = 1 seen along z: solve for the surface's z at each pixel.
        to_unit = (rotation / np.array(self._size)).T / scale  # picture px -> unit sphere of the head
        p = [(x * np.float32(r[0]) + y * np.float32(r[1])) for r in to_unit]
        d = to_unit[:, 2]
        dd = float(d @ d)
        pd = p[0] * np.float32(d[0]) + p[1] * np.float32(d[1]) + p[2] * np.float32(d[2])
        pp = p[0] * p[0] + p[1] * p[1] + p[2] * p[2]
        # Silhouette: the closest approach of each sight line to the sphere's centre.
        square = np.maximum(pp - pd * pd * np.float32(1 / dd), 0)
        distance = cv2.sqrt(square)
        radius = np.hypot(x, y) / np.maximum(distance, np.float32(1e-4))
        outside = (distance - 1) * radius
        cover = np.clip(0.5 - outside, 0, 1)
        depth = (cv2.sqrt(np.maximum(1 - square, 0)) * np.float32(np.sqrt(dd)) - pd) * np.float32(1 / dd)
        sx, sy, sz = (q + depth * np.float32(k) for q, k in zip(p, d, strict=True))
        # Written out: a matrix product would start a library's threads in each worker.
        columns = to_unit.T.astype(np.float32)
        nx, ny, nz = (sx * c[0] + sy * c[1] + sz * c[2] for c in columns)
        length = 1 / cv2.sqrt(nx * nx + ny * ny + nz * nz)
        lx, ly, lz = self._light.direction
        lambert = (nx * np.float32(lx) + ny * np.float32(ly) + nz * np.float32(lz)) * length
        shading = shade(self._light, lambert, np.clip(nz * length, 0, 1))
        column = (np.arctan2(sx, sz) * np.float32(0.5 / np.pi) + np.float32(0.5)) * np.float32(FACE_WIDTH)
        row = (np.arcsin(np.clip(sy, -1, 1)) * np.float32(1 / np.pi) + np.float32(0.5)) * np.float32(
            FACE_HEIGHT
        )
        lay(
            Surface(box, cover, rim_around(outside, RIM_WIDTH * scale), shading, column, row),
            self._head_picture,
            picture,
            mask,
        )

    def _draw_ear(self, frame: int, side: str, picture: Image, mask: Image) -> None:
        ear = self._names[f"{side}_ear"]
        x, y = self._xy[frame, ear]
        scale = self._scale[frame, ear]
        up = -self._head_rotation[frame][:2, 1] * 0.05 * scale
        for radius, tone in ((0.07, 0.8), (0.04, 0.6)):
            colour = (self._skin * tone * min(1.0, self._light.ambient + 0.6 * self._light.diffuse)).tolist()
            a = np.clip((np.array([x, y]) + up) * 16, -1e5, 1e5).astype(int).tolist()
            b = np.clip((np.array([x, y]) - up) * 16, -1e5, 1e5).astype(int).tolist()
            wide = max(1, round(2 * radius * float(scale)))
            cv2.line(picture, a, b, colour, wide, cv2.LINE_AA, 4)
            cv2.line(mask, a, b, 255, wide, cv2.LINE_AA, 4)
