"""Masks, joints and quality of videos and pictures, before hours of work are spent on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.alignment import estimate_alignment
from pipelines.config import BuildConfig
from pipelines.files import distinct_names, files_below, written_whole
from pipelines.manifest import read_sources
from pipelines.pose import Body
from pipelines.process import observe
from pipelines.quality import Figures, Means, reasons_against
from pipelines.schema import Box, RefusedError
from pipelines.tools import Finder
from pipelines.video import SUFFIXES, DecodeReport, SampledFrame, sample_frames, working_size
from tfgma.pictures import contact_sheet, draw_joints, fitted, outlined, png_bytes, with_caption

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
FULL_LONG_SIDE_PX = 8192
PAIR_EVERY_SECONDS = 2.0
"""Of a video two frames in a row are looked at so often: the camera's movement shows between them."""

MOST_KEPT = 6
TILE_PX = 224
MIN_FPS_SHARE = 0.7
"""A video with fewer frames a second than this share of a clip's repeats too many of them."""

Progress = Callable[[int, int, str], None]
"""Called with items done, items in all, and the next one's name."""


@dataclass(frozen=True)
class Item:
    """What a preview found of one video or picture.

    `mask`, `sheet`: names of the files written; None where nothing could be read. `video`: figures of a video
    alone.
    """

    source: Path
    reasons: tuple[str, ...]
    figures: Figures
    mask: str | None
    sheet: str | None
    video: dict[str, Any]

    @property
    def verdict(self) -> str:
        """Either assessable or not_assessable."""
        return "not_assessable" if self.reasons else "assessable"

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "source": str(self.source),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            **self.figures.as_json(),
            **self.video,
            "mask": self.mask,
            "sheet": self.sheet,
        }


@dataclass(frozen=True)
class _Shown:
    """A frame (H, W, 3) uint8 RGB with what was found in it."""

    seconds: float
    frame: np.ndarray
    body: Body | None


class _Kept:
    """At most `MOST_KEPT` frames, spread evenly over a video whose length is not known."""

    def __init__(self) -> None:
        self.shown: list[_Shown] = []
        self._every, self._seen = 1, 0

    def offer(self, one: _Shown) -> None:
        if self._seen % self._every == 0:
            self.shown.append(one)
            if len(self.shown) > MOST_KEPT:
                self.shown, self._every = self.shown[::2], 2 * self._every
        self._seen += 1


def write_previews(
    source: Path,
    out: Path,
    config: BuildConfig,
    finder: Finder,
    *,
    box: Box | None = None,
    progress: Progress = lambda done, total, name: None,
) -> list[Item]:
    """Writes `<stem>_mask.png` and `<stem>_sheet.png` of each item into `out` and returns what was found.

    Args:
        source: a video, a picture, a manifest, or a folder that holds some, at any depth.
        box: where the subject is, if it is not the main body; a manifest's own boxes come first.

    Raises:
        RefusedError: no video or picture there, or `out` cannot be written.
    """
    listed = list(_listed(source))
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = distinct_names([path for path, _ in listed], source)
        items = []
        for number, ((path, own_box), name) in enumerate(zip(listed, names, strict=True)):
            progress(number, len(listed), path.name)
            items.append(_preview(path, own_box or box, out, name, config, finder))
        progress(len(listed), len(listed), "")
    except OSError as error:
        raise RefusedError(f"--out must be a folder that can be written. Received: {error}") from error
    return items


def _listed(source: Path) -> Iterator[tuple[Path, Box | None]]:
    known = SUFFIXES | PICTURE_SUFFIXES
    if source.is_file() and source.suffix.lower() == ".csv":
        for one in read_sources(source):
            if one.has_pictures:
                yield one.path, one.box
    elif source.is_file() and source.suffix.lower() in known:
        yield source, None
    else:
        found = files_below(source, known)
        if not found:
            raise RefusedError(
                "SOURCE must be a video, a picture, a manifest, or a folder that holds some. "
                f"Received: {str(source)!r}"
            )
        yield from ((path, None) for path in found)


def _preview(path: Path, box: Box | None, out: Path, name: str, config: BuildConfig, finder: Finder) -> Item:
    finder.restart(box)
    means, decode = Means(), DecodeReport()
    is_video = path.suffix.lower() in SUFFIXES
    kept = _Kept()
    size: tuple[int, int] | None = None
    reasons: list[str] = []

    def with_bodies() -> Iterator[tuple[SampledFrame, Body | None]]:
        nonlocal size
        for frame in _looked_at(path, is_video, config, decode):
            size = frame.pixels.shape[:2]
            small = replace(frame, pixels=_scaled(frame.pixels, config.long_side_px))
            yield small, finder.find(small.pixels, small.seconds)

    try:
        for seen in observe(with_bodies(), means):
            kept.offer(_Shown(seen.frame.seconds, seen.frame.pixels, seen.body))
    except RefusedError as error:
        reasons.append(str(error))
    figures = means.figures()
    if kept.shown:
        reasons += reasons_against(figures, config.quality)
    video: dict[str, Any] = {}
    if is_video:
        video = {
            "seconds": round(decode.seconds, 3),
            "fps": round(decode.fps, 3),
            "damaged": decode.damaged,
        }
        reasons += _video_reasons(decode, config) if kept.shown else []
    if size is None:
        return Item(path, tuple(reasons), figures, None, None, video)
    bodies = [shown for shown in kept.shown if shown.body is not None]
    aligned, refusal = _aligned(bodies, config)
    if refusal:
        reasons.append(refusal)
    middle = bodies[len(bodies) // 2] if bodies else None
    mask = np.zeros(size, np.uint8)
    if middle is not None and middle.body is not None:
        small = middle.body.mask.astype(np.uint8) * 255
        mask = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
        mask = np.where(mask > 127, np.uint8(255), np.uint8(0))
    item = Item(path, tuple(reasons), figures, f"{name}_mask.png", f"{name}_sheet.png", video)
    with written_whole(out / f"{name}_mask.png") as temporary:
        temporary.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    with written_whole(out / f"{name}_sheet.png") as temporary:
        temporary.write_bytes(png_bytes(_sheet(item, kept.shown, aligned)))
    return item


def _looked_at(
    path: Path, is_video: bool, config: BuildConfig, decode: DecodeReport
) -> Iterator[SampledFrame]:
    """The frames that are looked at, in full size."""
    if not is_video:
        yield SampledFrame(0, 0.0, _read_picture(path))
        return
    step = max(2, round(PAIR_EVERY_SECONDS * config.clip.fps))
    yield from sample_frames(
        path,
        config.clip.fps,
        long_side_px=FULL_LONG_SIDE_PX,
        wanted=lambda index: index % step < 2,
        report=decode,
    )


def _read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its metadata says."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if content.size else None
    if picture is None:
        raise RefusedError(f"a picture must be one that OpenCV reads. Received: {path.name}. Save it as JPEG")
    return picture


def _scaled(frame: np.ndarray, long_side_px: int) -> np.ndarray:
    height, width = frame.shape[:2]
    if max(height, width) <= long_side_px:
        return frame
    return cv2.resize(frame, working_size(width, height, long_side_px), interpolation=cv2.INTER_AREA)


def _video_reasons(decode: DecodeReport, config: BuildConfig) -> list[str]:
    reasons = []
    if decode.fps < MIN_FPS_SHARE * config.clip.fps:
        reasons.append(f"it has {decode.fps:.1f} frames a second, clips need {config.clip.fps:g}")
    if decode.seconds + 0.5 / config.clip.fps < config.clip.clip_seconds:
        reasons.append(f"it lasts {decode.seconds:.1f} s, a clip {config.clip.clip_seconds:g} s")
    return reasons


def _aligned(
    bodies: list[_Shown], config: BuildConfig
) -> tuple[Callable[[np.ndarray], np.ndarray] | None, str | None]:
    """What sets frames upright, or why nothing can."""
    if not bodies:
        return None, None
    joints = np.stack([shown.body.joints for shown in bodies if shown.body is not None])
    try:
        alignment = estimate_alignment(joints, TILE_PX, config.alignment.side_in_torsos)
    except RefusedError as error:
        return None, str(error)
    return alignment.warp, None


def _sheet(item: Item, shown: list[_Shown], aligned: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a row a frame: the frame, its mask, its joints, and the body upright."""
    blank = np.full((TILE_PX, TILE_PX, 3), 32, np.uint8)
    rows = []
    for one in shown:
        tiles = [fitted(one.frame, TILE_PX)]
        if one.body is None:
            tiles += [blank] * 3
        else:
            tiles.append(fitted(outlined(one.frame, one.body.mask), TILE_PX))
            tiles.append(fitted(draw_joints(one.frame, one.body.joints), TILE_PX))
            cut = np.where(one.body.mask[..., None], one.frame, np.uint8(0))
            tiles.append(blank if aligned is None else aligned(cut))
        row = np.hstack(tiles)
        rows.append(with_caption(row, f"{one.seconds:.1f} s") if item.video else row)
    names = ("body", "visible", "mask_certainty", "sharpness", "brightness", "covered", "camera_speed")
    values = [(name, getattr(item.figures, name)) for name in names]
    lines = ["  ".join(f"{name} {value:.2f}" for name, value in values if value is not None)]
    lines += [f"{item.source.name}: {item.verdict.replace('_', ' ')}", *item.reasons][::-1]
    sheet = contact_sheet(rows, columns=1)
    for line in lines:
        sheet = with_caption(sheet, line)
    return sheet
