"""The competitor reads what the records hold."""

import numpy as np
import pytest

from pipelines.flow import dequantize_flow
from tests.conftest import TINY, random_clip
from tfgma.speed.png_loader import PngClips, write_clip


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_clip_of_png_files_is_the_clip(tmp_path, monkeypatch, mirrored):
    clip = random_clip()
    write_clip(clip, tmp_path / "0")
    monkeypatch.setattr(np.random, "random", lambda: 0.0 if mirrored else 1.0)
    clips = PngClips(tmp_path)
    image, flow, _ = clips[0]
    assert len(clips) == 1
    assert (image.shape, flow.shape) == ((3, 64, 64), (12, 64, 64))
    assert image.dtype == flow.dtype == np.float32
    # Blue first and scaled by its maximum, as the published loader does.
    bgr = np.moveaxis(clip.rgb[3, ..., ::-1], -1, 0) / clip.rgb[3].max()
    field = dequantize_flow(clip.flow[2], TINY.max_flow_px) / TINY.max_flow_px
    if mirrored:
        bgr, field = bgr[..., ::-1], field[:, ::-1] * [-1, 1]
    np.testing.assert_allclose(image, bgr, atol=1e-6)
    np.testing.assert_allclose(np.moveaxis(flow[4:6], 0, -1), field, atol=1e-6)
