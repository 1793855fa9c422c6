"""The camera's movement in a hand-held recording, seen in the clips that come of it."""

import numpy as np
import pytest

from pipelines.config import BuildConfig
from pipelines.flow import dequantize_flow
from pipelines.process import ProcessReport, video_clips
from pipelines.schema import ClipSpec
from pipelines.synthetic import SyntheticSettings, generate
from pipelines.tools import standard_tools

CONFIG = BuildConfig(clip=ClipSpec(fps=6, clip_seconds=2, stride_seconds=2, size=128, max_flow_px=10))


def flows(folder, **changes):
    """Every flow of a recording (N, S, S, 2) in pixels, and what was reported."""
    config = CONFIG.model_copy(update={"flow": CONFIG.flow.model_copy(update=changes)})
    report = ProcessReport()
    with standard_tools(config) as tools:
        (video,) = folder.glob("*/*/video.mp4")
        clips = list(video_clips(video, config, tools.finder, flow=tools.flow, report=report))
    return np.concatenate([dequantize_flow(clip.flow, CONFIG.clip.max_flow_px) for clip in clips]), report


@pytest.fixture(scope="module")
def hand_held(tmp_path_factory):
    """One infant, filmed by a still camera and by a hand that shakes by 6 px."""
    folders = {}
    for shake in (0, 6):
        folders[shake] = tmp_path_factory.mktemp("shake") / str(shake)
        settings = SyntheticSettings(shake_px=shake, distractors=0, classes=("WMs",))
        generate(folders[shake], settings, subjects=1, seconds=4, seed=5, workers=1)
    return folders


def test_outside_the_body_nothing_moves_once_the_camera_s_movement_is_taken_off(hand_held):
    moving, report = flows(hand_held[6], masked=False, remove_camera=False)
    still, _ = flows(hand_held[6], masked=False)
    edge = np.zeros(moving.shape[1:3], bool)
    edge[:12] = edge[-12:] = edge[:, :12] = edge[:, -12:] = True
    before, after = (np.median(np.hypot(*np.moveaxis(one[:, edge], -1, 0))) for one in (moving, still))
    assert before > 0.8
    # What is left is what Farneback makes of interpolated texture.
    assert after < 0.25 * before
    assert report.means.figures().camera_speed > 0.05


def test_a_still_camera_s_flow_is_left_as_it_is(hand_held):
    untouched, report = flows(hand_held[0], remove_camera=False)
    corrected, _ = flows(hand_held[0])
    assert np.abs(corrected - untouched).mean() < 0.02
    assert report.means.figures().camera_speed < 0.005


def test_the_infant_s_own_movement_stays(hand_held):
    """Of the same movement filmed twice, the mean speed by frame agrees once the camera's is taken off."""
    speeds = {
        name: np.hypot(*np.moveaxis(flows(hand_held[shake], remove_camera=remove)[0], -1, 0)).mean(
            axis=(1, 2)
        )
        for name, shake, remove in (("still", 0, True), ("shaken", 6, False), ("corrected", 6, True))
    }
    apart = {name: np.abs(speeds[name] - speeds["still"]).mean() for name in ("shaken", "corrected")}
    assert apart["corrected"] < 0.3 * apart["shaken"]
