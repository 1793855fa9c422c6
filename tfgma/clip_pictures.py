"""What an assessed clip looked like, small, and its face unrecognisable."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from pipelines.clips import Clip
from pipelines.faces import face_regions
from tfgma.pictures import clip_strip

COLUMNS = 5
"""Moments of a clip."""
MOST_WIDTH_PX = 700
JPEG_QUALITY = 85
BLUR_SHARE = 1 / 12
"""Standard deviation of the blur, as a share of the frame's side: of a head its colour is left."""


def without_faces(clip: Clip) -> np.ndarray:
    """`clip.rgb` with faces blurred, (T+1, S, S, 3) uint8; of a frame whose face may be anywhere, all."""
    rgb = clip.rgb.copy()
    found = clip.pose[..., 2].max(axis=1) > 0
    for frame, region in zip(rgb, face_regions(clip.pose, found, rgb.shape[1]), strict=True):
        blurred = cv2.GaussianBlur(frame, (0, 0), BLUR_SHARE * len(frame))
        frame[region] = blurred[region]
    return rgb


def clip_picture(clip: Clip, max_flow_px: float) -> bytes:
    """A JPEG of moments of the clip: frames, the same with joints, and the flow. Faces are blurred."""
    strip = clip_strip(replace(clip, rgb=without_faces(clip)), max_flow_px, columns=COLUMNS)
    scale = MOST_WIDTH_PX / strip.shape[1]
    if scale < 1:
        strip = cv2.resize(strip, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", strip[..., ::-1], options)[1].tobytes()
