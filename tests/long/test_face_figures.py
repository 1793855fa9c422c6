"""Whether the faces of generated infants lie in the regions that a de-identified copy blanks.

Run with `make test-long`; the test prints what it measured.
"""

import numpy as np
import pytest

from pipelines.config import BuildConfig
from pipelines.faces import FACE_JOINTS, face_regions
from pipelines.process import ProcessReport, video_clips
from pipelines.synthetic import SyntheticSettings, generate
from pipelines.tools import standard_tools

pytestmark = pytest.mark.long

# Every clip counts, also those that a build would leave out.
CONFIG = BuildConfig(
    clip={"fps": 6, "clip_seconds": 2, "stride_seconds": 1, "size": 224},
    quality={"min_visible": 0, "min_sharpness": 0, "min_mask_certainty": 0},
)
USUAL = {"subjects": 12, "seconds": 8, "seed": 77}
HARD = {"subjects": 9, "seconds": 5, "seed": 5}
"""A hand that shakes, little light, noise, small bodies off the middle."""

NUISANCE = {
    "shake_px": 6,
    "torso_share": (0.18, 0.22),
    "offset_share": 0.12,
    "light": (0.45, 1.2),
    "noise": 12,
    "crf": 32,
    "clutter": 20,
    "distractors": 6,
}


@pytest.mark.parametrize(("amount", "nuisance"), [(USUAL, {}), (HARD, NUISANCE)], ids=["usual", "hard"])
def test_every_true_face_joint_lies_in_its_region(tmp_path, amount, nuisance):
    settings = SyntheticSettings(ground_truth=True, mask_every=30, **nuisance)
    generate(tmp_path / "videos", settings, workers=2, **amount)
    frames, shares, outside = 0, [], []
    with standard_tools(CONFIG) as tools:
        for video in sorted((tmp_path / "videos").glob("*/*/video.mp4")):
            truth = np.load(video.with_name("truth.npz"))["joints"][..., :2].astype(np.float64)
            report = ProcessReport()
            for clip in video_clips(video, CONFIG, tools.finder, flow=tools.flow, report=report):
                found = clip.pose[..., 2].max(axis=1) > 0
                regions = face_regions(clip.pose, found, CONFIG.clip.size)
                for number, region in enumerate(regions):
                    time = round((clip.start_seconds + number / clip.fps) * settings.fps)
                    places = report.alignment.aligned(truth[min(time, len(truth) - 1)])[list(FACE_JOINTS)]
                    places = np.rint(places).astype(int)
                    places = places[((places >= 0) & (places < len(region))).all(axis=1)]
                    if not region[places[:, 1], places[:, 0]].all():
                        outside.append((video.parent.name, clip.start_seconds, number))
                    frames += 1
                    shares.append(region.mean())
    print(f"\n{frames} frames, {len(outside)} with a face joint outside; {np.mean(shares):.1%} blanked")
    assert frames > 400
    assert not outside
