from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipelines.config import QualitySettings
from pipelines.quality import (
    LIMBS,
    NOBODY,
    Figures,
    frame_figures,
    mean_figures,
    reasons_against,
    sharpness,
)
from pipelines.schema import JOINTS, TORSO_JOINTS

GOOD = Figures(1, 1, 0.95, 0.93, 0.6, 0.4, 0, 0, 0, 0.01)


def noise(seed=0, side=200):
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def blurred(picture, x, y):
    """The picture blurred along x and y, its contrast stretched again: rounding must not show as detail."""
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigmaX=x, sigmaY=y)
    return cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def figures(frame=None, *, mask=None, joints=None, presence=None, **others):
    frame = np.full((60, 80, 3), 102, np.uint8) if frame is None else frame
    mask = np.ones(frame.shape[:2], bool) if mask is None else mask
    joints = np.ones((len(JOINTS), 3), np.float32) if joints is None else joints
    presence = np.ones(len(JOINTS), np.float32) if presence is None else presence
    values = {"mask_certainty": 0.9, "covered": 0.1, "people": 0, "hands": 0, "camera_speed": None} | others
    return frame_figures(frame, mask, joints, presence, **values)


def test_a_limb_outside_the_picture_counts_and_a_covered_eye_does_not():
    presence = np.ones(len(JOINTS), np.float32)
    presence[JOINTS.index("left_eye")] = 0.1
    assert figures(presence=presence).visible == 1
    presence[LIMBS[3]] = 0.25
    assert figures(presence=presence).visible == 0.25


def test_all_four_corners_of_the_torso_must_be_seen():
    joints = np.ones((len(JOINTS), 3), np.float32)
    assert figures(joints=joints).torso == 1
    joints[TORSO_JOINTS[2], 2] = 0.4
    assert figures(joints=joints).torso == 0


def test_brightness_is_the_body_s_own():
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[:, :40] = 204
    mask = np.zeros((60, 80), bool)
    mask[:, :40] = True
    assert figures(frame, mask=mask).brightness == pytest.approx(0.8)
    assert figures(frame, mask=mask & False).brightness == 0


def test_sharpness_falls_with_blur_and_not_with_light_or_size():
    mask = np.ones((200, 200), bool)
    steps = [sharpness(blurred(noise(), sigma, sigma), mask) for sigma in (0.1, 1, 2, 4, 8)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 0.8
    assert steps[-1] < 0.2
    picture = blurred(noise(1, 800), 8, 8)
    small = cv2.resize(picture, (400, 400), interpolation=cv2.INTER_AREA)
    whole, half = np.ones((800, 800), bool), np.ones((400, 400), bool)
    assert sharpness(picture, whole) == pytest.approx(sharpness(small, half), abs=0.02)
    dim = (picture * 0.4).astype(np.uint8)
    assert sharpness(dim, whole) == pytest.approx(sharpness(picture, whole), abs=0.05)


def test_blur_along_one_direction_shows():
    """A shaken camera blurs along its way only."""
    mask = np.ones((200, 200), bool)
    assert sharpness(blurred(noise(), 6, 0.1), mask) < 0.5 * sharpness(noise(), mask)


def test_only_the_body_s_part_of_the_frame_is_judged():
    frame = blurred(noise(), 6, 6)
    frame[:100] = noise()[:100]
    top = np.zeros((200, 200), bool)
    top[:90] = True
    assert sharpness(frame, top) > 2 * sharpness(frame, np.flipud(top))
    assert sharpness(frame, top & False) == 0


def test_means_are_of_the_frames_with_a_body():
    means = mean_figures([GOOD, NOBODY, replace(GOOD, visible=0.55, camera_speed=None), NOBODY])
    assert means == replace(GOOD, body=0.5, visible=0.75)
    assert mean_figures([NOBODY]) == mean_figures([]) == NOBODY


def test_good_figures_give_no_reason():
    assert reasons_against(GOOD, QualitySettings()) == []
    assert reasons_against(replace(GOOD, camera_speed=None), QualitySettings()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"body": 0.0}, "nobody is seen"),
        ({"body": 0.5}, "the body is found in 50.0% of the frames, not 80.0%"),
        ({"torso": 0.5}, "the torso is seen in 50.0% of the frames, not 80.0%"),
        ({"visible": 0.2}, "arms and legs lie inside the picture to 20.0%, not 80.0%"),
        ({"mask_certainty": 0.5}, "the outline of the body is certain to 50.0%, not 80.0%"),
        ({"sharpness": 0.1}, "sharpness is 0.100, not 0.300"),
        ({"brightness": 0.01}, "it is too dark: brightness is 0.010, not 0.080"),
        ({"brightness": 0.99}, "it is too bright: brightness is 0.990, over 0.950"),
        ({"covered": 0.6}, "other people or their hands cover 60.0% of the body, over 35.0%"),
        ({"camera_speed": 2.0}, "the camera moves 2.00 picture lengths a second, over 0.50"),
    ],
)
def test_each_limit_has_its_reason(change, reason):
    assert reasons_against(replace(GOOD, **change), QualitySettings()) == [reason]


def test_limits_are_the_settings():
    limits = QualitySettings(min_visible=0.99, max_covered=0.0)
    assert len(reasons_against(replace(GOOD, covered=0.01), limits)) == 2


def test_figures_go_into_json_rounded():
    assert replace(GOOD, visible=1 / 3).as_json()["visible"] == 0.3333
    assert replace(GOOD, camera_speed=None).as_json()["camera_speed"] is None
