import cv2
import numpy as np

from pipelines.clips import Clip
from pipelines.faces import FACE_JOINTS, face_regions
from pipelines.flow import ZERO_LEVEL
from pipelines.schema import JOINTS
from tfgma.clip_pictures import COLUMNS, MOST_WIDTH_PX, clip_picture, without_faces

SIDE, FRAMES = 96, 6


def clip(side=SIDE):
    """An upright body whose pixels are noise."""
    places = {"shoulder": (0.5, 0.4), "hip": (0.5, 0.65)}
    pose = np.zeros((FRAMES, len(JOINTS), 3), np.float32)
    pose[..., 2] = 0.9
    for number, name in enumerate(JOINTS):
        x, y = next((place for part, place in places.items() if part in name), (0.5, 0.8))
        shift = 0.06 if "left" in name else -0.06 if "right" in name else 0
        if number in FACE_JOINTS:
            x, y, shift = 0.5, 0.22, shift / 3
        pose[:, number, :2] = (x + shift) * side, y * side
    rng = np.random.default_rng(0)
    return Clip(
        start_seconds=0.0,
        fps=6,
        rgb=rng.integers(0, 256, (FRAMES, side, side, 3), np.uint8),
        flow=np.full((FRAMES - 1, side, side, 2), ZERO_LEVEL, np.uint8),
        pose=pose,
        joint_features=np.zeros((FRAMES, 18, 7), np.float32),
        mask_area=np.full(FRAMES, 0.3, np.float32),
        quality=1.0,
    )


def test_the_face_loses_its_detail_and_the_rest_keeps_every_pixel():
    one = clip()
    shown = without_faces(one)
    regions = face_regions(one.pose, np.ones(FRAMES, bool), SIDE)
    assert 0.02 < regions.mean() < 0.6
    np.testing.assert_array_equal(shown[~regions], one.rgb[~regions])
    inside = cv2.erode(regions[0].astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    before, after = (cv2.Laplacian(frame, cv2.CV_32F)[inside].std() for frame in (one.rgb[0], shown[0]))
    assert after < 0.02 * before
    assert not np.shares_memory(shown, one.rgb)


def test_a_frame_without_a_body_is_blurred_all_over():
    one = clip()
    one.pose[2] = 0
    shown = without_faces(one)
    assert shown[2].std() < 0.3 * one.rgb[2].std()


def test_a_picture_is_a_jpeg_that_fits_a_page():
    for side in (SIDE, 224):
        picture = cv2.imdecode(np.frombuffer(clip_picture(clip(side), 8.0), np.uint8), cv2.IMREAD_COLOR)
        height, width = picture.shape[:2]
        assert width == min(COLUMNS * side, MOST_WIDTH_PX)
        assert height * COLUMNS == width * 3
