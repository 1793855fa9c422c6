"""One video to clips, with a finder whose answers are known."""

import dataclasses
import time

import cv2
import numpy as np
import pytest

from pipelines.config import BuildConfig
from pipelines.faces import FACE_JOINTS, face_regions
from pipelines.flow import ZERO_LEVEL, FlowEstimator, dequantize_flow
from pipelines.pose import Body
from pipelines.process import FLOWS_BEHIND, LOOK_AHEAD, ProcessReport, video_clips
from pipelines.schema import JOINTS, RefusedError
from tests.conftest import write_video

HEIGHT, WIDTH = 120, 160
TORSO = {"left_shoulder": (90, 40), "right_shoulder": (70, 40), "left_hip": (88, 72), "right_hip": (72, 72)}


class KnownFinder:
    """Says that the body is the rectangle in which the frame is not nearly black.

    `absent`: indexes of the calls on which nobody is found.
    """

    def __init__(self, absent=()):
        self.absent, self.calls, self.restarts = set(absent), 0, 0

    def restart(self, box=None):
        self.restarts += 1

    def find(self, frame, seconds):
        self.calls += 1
        if self.calls - 1 in self.absent:
            return None
        joints = np.zeros((len(JOINTS), 3), np.float32)
        for name, place in TORSO.items():
            joints[JOINTS.index(name)] = (*place, 1)
        return Body(frame.max(axis=2) > 60, joints, np.ones(len(JOINTS), np.float32))


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH, 3)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 80, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture(scope="module")
def moving(texture, tmp_path_factory):
    """3 s at 30 fps: a textured square that goes 0.4 px a frame to the right; the rest is black."""
    frames = []
    for number in range(91):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        moved = cv2.warpAffine(texture, np.float32([[1, 0, 0.4 * number - 15], [0, 1, 0]]), (WIDTH, HEIGHT))
        frame[30:90, 50:110] = moved[30:90, 50:110]
        frames.append(frame)
    return write_video(tmp_path_factory.mktemp("moving") / "v.mp4", frames, options={"crf": "5"})


def config(**changes):
    clip = dict(fps=6, clip_seconds=1, stride_seconds=1, size=96, max_flow_px=8) | changes.pop("clip", {})
    return BuildConfig(clip=clip, **changes)


def test_clips_are_windows_that_share_their_border_frame(moving):
    finder, report = KnownFinder(), ProcessReport()
    clips = list(video_clips(moving, config(), finder, report=report))
    assert [clip.start_seconds for clip in clips] == pytest.approx([0, 1, 2], abs=0.01)
    assert clips[0].rgb.shape == (7, 96, 96, 3)
    assert clips[0].flow.shape == (6, 96, 96, 2)
    np.testing.assert_array_equal(clips[0].rgb[-1], clips[1].rgb[0])
    assert report.clips == 3
    assert report.body_share == 1
    assert finder.restarts == 1


def test_one_core_makes_what_two_make(moving):
    one, two = (list(video_clips(moving, config(), KnownFinder(), cores=cores)) for cores in (1, 2))
    assert len(one) == len(two) == 3
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.rgb, second.rgb)
        np.testing.assert_array_equal(first.flow, second.flow)


class SlowFlow(FlowEstimator):
    """Notes how many frames at most were prepared before their flow was computed."""

    def __init__(self):
        super().__init__()
        self.prepared, self.computed, self.most_behind = 0, 0, 0

    def prepare(self, frame):
        self.prepared += 1
        self.most_behind = max(self.most_behind, self.prepared - self.computed)
        return super().prepare(frame)

    def between(self, first, second):
        time.sleep(0.02)
        self.computed += 1
        return super().between(first, second)


def test_flow_that_nobody_asks_for_does_not_pile_up(moving):
    """Of clips that are left out, while frames come faster than their flow is computed."""
    flow, finder = SlowFlow(), KnownFinder(absent=range(0, 91, 2))
    settings = config(clip={"fps": 30}, flow={"remove_camera": False})
    with pytest.raises(RefusedError, match="a clip that can be assessed"):
        list(video_clips(moving, settings, finder, flow=flow))
    assert flow.prepared == 91
    assert FLOWS_BEHIND < flow.most_behind <= FLOWS_BEHIND + 3


def test_flow_is_the_movement_in_aligned_pixels_and_nothing_outside_the_body(moving):
    settings = config()
    clip = list(video_clips(moving, settings, KnownFinder()))[1]
    flow = dequantize_flow(clip.flow, 8.0)
    scale = 96 / (32 * 3 / 0.8)  # torso of 32 px
    inside = clip.rgb[3].max(axis=2) > 60
    inner = cv2.erode(inside.astype(np.uint8), np.ones((15, 15))) > 0
    assert np.median(flow[2, ..., 0][inner]) == pytest.approx(0.4 * 5 * scale, abs=0.12)
    assert np.median(flow[2, ..., 1][inner]) == pytest.approx(0, abs=0.08)
    outside = ~cv2.dilate(inside.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert (clip.flow[2][outside] == ZERO_LEVEL).all()


def test_the_body_is_cut_out_and_its_area_measured(moving):
    clip = next(video_clips(moving, config(), KnownFinder()))
    square = (60 / (32 * 3 / 0.8)) ** 2
    assert clip.mask_area == pytest.approx(np.full(7, square), abs=0.03)
    corner = clip.rgb[:, :8, :8]
    assert not corner.any()


def test_joints_are_in_aligned_pixels(moving):
    clip = next(video_clips(moving, config(), KnownFinder()))
    hips = clip.pose[0, [JOINTS.index("left_hip"), JOINTS.index("right_hip")], :2].mean(axis=0)
    np.testing.assert_allclose(hips, [48, 48 + 16 * 96 / 120], atol=1e-3)


def test_frames_between_clips_are_not_looked_at(moving):
    finder = KnownFinder()
    clips = list(video_clips(moving, config(clip={"clip_seconds": 0.5, "stride_seconds": 1}), finder))
    assert len(clips) == 3
    assert finder.calls == 3 * 4 + 1  # four frames a clip, and the one that begins a fourth


def test_overlapping_windows(moving):
    clips = list(video_clips(moving, config(clip={"stride_seconds": 0.5}), KnownFinder()))
    assert [clip.start_seconds for clip in clips] == pytest.approx([0, 0.5, 1, 1.5, 2], abs=0.01)
    np.testing.assert_array_equal(clips[0].rgb[3:], clips[1].rgb[:4])
    np.testing.assert_array_equal(clips[0].flow[3:], clips[1].flow[:3])


def test_the_transform_does_not_wait_for_the_end(moving):
    """With the estimate on the first second, clips come before the video is read."""
    finder = KnownFinder()
    clips = video_clips(moving, config(alignment={"seconds": 1}), finder)
    next(clips)
    # The first clip's seven frames, and those that come while these are taken two at a time.
    assert finder.calls <= 7 + 3 + LOOK_AHEAD


def test_a_frame_without_a_body_is_marked_not_invented(moving):
    clip = next(video_clips(moving, config(), KnownFinder(absent=[2])))
    assert clip.quality == pytest.approx(6 / 7)
    assert clip.mask_area[2] == 0
    assert not clip.rgb[2].any()
    assert not clip.pose[2].any()
    assert (clip.flow[2] == ZERO_LEVEL).all()
    assert clip.mask_area[1] > 0


def test_clips_with_too_little_body_are_left_out_and_counted(moving):
    report = ProcessReport()
    clips = list(video_clips(moving, config(), KnownFinder(absent=range(8, 12)), report=report))
    assert [round(clip.start_seconds) for clip in clips] == [0, 2]
    assert (report.clips, report.clips_left_out) == (2, 1)


def test_a_body_that_comes_late_is_still_found(moving):
    report = ProcessReport()
    finder = KnownFinder(absent=range(7))
    clips = list(video_clips(moving, config(alignment={"seconds": 1}), finder, report=report))
    assert [round(clip.start_seconds) for clip in clips] == [2]
    assert report.clips + report.clips_left_out == 3


def test_ablations_keep_the_background_and_the_position(moving, texture):
    settings = config(mask_body=False, align_body=False, clip={"size": 120})
    clip = next(video_clips(moving, settings, KnownFinder()))
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[30:90, 50:110] = cv2.warpAffine(texture, np.float32([[1, 0, -15], [0, 1, 0]]), (WIDTH, HEIGHT))[
        30:90, 50:110
    ]
    assert np.abs(clip.rgb[0].astype(int) - frame[:, 20:140]).mean() < 6


def test_dis_is_at_hand_for_speed(moving):
    clip = list(video_clips(moving, config(flow={"method": "dis"}), KnownFinder()))[1]
    inside = cv2.erode((clip.rgb[3].max(axis=2) > 60).astype(np.uint8), np.ones((15, 15))) > 0
    flow = dequantize_flow(clip.flow, 8.0)
    assert np.median(flow[2, ..., 0][inside]) == pytest.approx(1.6, abs=0.2)


@pytest.mark.parametrize(
    ("finder", "changes", "message"),
    [
        (KnownFinder(absent=range(99)), {}, r"must show a person. Received: v.mp4 with 19 sampled"),
        (
            KnownFinder(absent=range(99)),
            {"alignment": {"seconds": 1}},
            r"must show a person.*with 19 sampled",
        ),
        (KnownFinder(absent=range(0, 99, 2)), {}, r"body is found in 47.4% of the frames, not 80.0%"),
        (
            KnownFinder(),
            {"clip": {"clip_seconds": 4}},
            r"at least one clip of 4 s. Received: v.mp4 with 3.0 s",
        ),
        (KnownFinder(), {"clip": {"fps": 60}}, r"at least 60 frames a second. Received: v.mp4 with 30"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(moving, finder, changes, message):
    with pytest.raises(RefusedError, match=message):
        list(video_clips(moving, config(**changes), finder))


def test_clips_do_not_change_after_they_are_given(moving):
    clips = video_clips(moving, config(), KnownFinder())
    first = next(clips)
    kept = dataclasses.replace(first, rgb=first.rgb.copy(), flow=first.flow.copy())
    list(clips)
    np.testing.assert_array_equal(first.rgb, kept.rgb)
    np.testing.assert_array_equal(first.flow, kept.flow)


def test_faces_are_blanked_and_the_rest_of_the_clip_is_as_it_was(moving):
    """The finder's bodies have shoulders and hips; a face is where `places` says."""

    class Finder(KnownFinder):
        def find(self, frame, seconds):
            body = super().find(frame, seconds)
            if body is not None and not self.faceless:
                body.joints[list(FACE_JOINTS)] = 80, 31, 1
            return body

    finder = Finder(absent={8})
    finder.faceless = False
    usual = list(video_clips(moving, config(), finder))
    finder = Finder(absent={8})
    finder.faceless = False
    report = ProcessReport()
    blanked = list(video_clips(moving, config(deidentify=True), finder, report=report))
    for before, after in zip(usual, blanked, strict=True):
        pose, found = before.pose, before.pose[..., 2].max(axis=1) > 0
        regions = face_regions(pose, found, 96)
        assert not after.rgb[regions].any()
        assert before.rgb[regions & (before.rgb.max(axis=-1) > 0)].size
        np.testing.assert_array_equal(after.rgb[~regions], before.rgb[~regions])
        assert after.rgb[found].any(axis=(1, 2, 3)).all()
        for same in ("flow", "pose", "joint_features", "mask_area"):
            np.testing.assert_array_equal(getattr(after, same), getattr(before, same))
    assert (report.faces_blanked, report.frames_blanked) == (7 * len(blanked), 1)

    finder = Finder()
    finder.faceless = True
    assert not any(clip.rgb.any() for clip in video_clips(moving, config(deidentify=True), finder))
