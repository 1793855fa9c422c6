from dataclasses import replace

import av
import numpy as np
import pytest

from tests.tfgma.test_clip_pictures import FRAMES, clip
from tfgma.clip_pictures import without_faces
from tfgma.overlay import BAR, ROW_PX, SIDE_PX, OverlayVideo, drawn

CLASSES = ("N", "PR")


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_moment_is_shown_once_where_clips_overlap(tmp_path):
    path = tmp_path / "film.mp4"
    one = clip()
    with OverlayVideo(path, CLASSES, one.fps, 8.0) as film:
        for start in (0.0, 1 / 3, 5.0):  # the second begins after two frames; then a gap
            film.add(replace(one, start_seconds=start), np.array([0.5, 0.5]))
    frames = frames_of(path)
    assert len(frames) == 2 + 2 * (FRAMES - 1)
    height = SIDE_PX + 3 * ROW_PX
    assert frames[0].shape == (height + height % 2, 2 * SIDE_PX, 3)


def test_bars_are_as_long_as_probabilities():
    (first, *_) = drawn(clip(), np.array([0.25, 0.75]), CLASSES, 8.0)
    rows = first[SIDE_PX:]
    lengths = [
        int((rows[ROW_PX * number + ROW_PX // 2, SIDE_PX:] == BAR).all(axis=1).sum()) for number in (1, 2)
    ]
    np.testing.assert_allclose(np.array(lengths) / (SIDE_PX - 8), [0.25, 0.75], atol=0.01)


def test_faces_are_blurred_and_the_body_is_the_networks(tmp_path):
    one = replace(clip(SIDE_PX), rgb=np.maximum(clip(SIDE_PX).rgb, 40))  # nothing of it looks cut out
    (first, *_) = drawn(one, np.array([0.5, 0.5]), CLASSES, 8.0)
    body = first[:SIDE_PX, :SIDE_PX].astype(int)
    expected = without_faces(one)[0].astype(int)
    differs = np.abs(body - expected).max(axis=-1) > 0
    assert differs.mean() < 0.05  # joints and the outline at the picture's edge
    assert (np.abs(expected - one.rgb[0].astype(int)).max(axis=-1) > 0).mean() > 0.02


def test_a_video_that_fails_leaves_no_file(tmp_path):
    def fails():
        with OverlayVideo(tmp_path / "film.mp4", CLASSES, 6, 8.0) as film:
            film.add(clip(), np.array([0.5, 0.5]))
            film.add(clip(), np.array([0.5, 0.5]))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fails()
    assert not list(tmp_path.iterdir())
