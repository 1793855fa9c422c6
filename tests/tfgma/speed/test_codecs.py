"""What codecs of flow and frames lose, and what is measured of them."""

import numpy as np
import pytest

from tests.conftest import random_clip
from tfgma.speed.codecs import _figures, flow_codecs, frame_codecs

CLIP = random_clip()


@pytest.mark.parametrize("name", ["png_1_up", "png_1", "png_6", "webp_lossless", "zlib_1", "raw"])
def test_a_lossless_codec_of_flow_gives_the_codes_again(name):
    codec = flow_codecs(CLIP.flow.shape[1:])[name]
    np.testing.assert_array_equal(codec.decode(codec.encode(CLIP.flow[0])), CLIP.flow[0])


def test_figures_are_of_one_field_or_frame():
    smooth = np.repeat(np.repeat(CLIP.rgb[:2, ::8, ::8], 8, axis=1), 8, axis=2)
    found = _figures(frame_codecs(), smooth, rounds=2)
    assert found["png"]["error"] == 0 < found["jpeg_98"]["error"] < found["jpeg_90"]["error"]
    assert found["jpeg_90"]["bytes"] < found["jpeg_98"]["bytes"]
    assert all(figures["encode_ms"] > 0 < figures["decode_ms"] for figures in found.values())
    raw = _figures(flow_codecs(CLIP.flow.shape[1:]), CLIP.flow, rounds=1)["raw"]
    assert (raw["bytes"], raw["error"]) == (64 * 64 * 2, 0)
