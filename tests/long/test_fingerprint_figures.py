"""What fingerprints find and what they take for a copy wrongly, over generated infants.

Run with `make test-long`; the test prints what it measured.
"""

import av
import numpy as np
import pytest

from pipelines.build import build_dataset
from pipelines.config import BuildConfig
from pipelines.duplicates import same_recordings
from pipelines.fingerprints import SAME_FROM, agreements, read_fingerprint
from pipelines.schema import ClipSpec
from pipelines.synthetic import SyntheticSettings, generate
from tests.conftest import write_video

pytestmark = pytest.mark.long

CONFIG = BuildConfig(clip=ClipSpec(clip_seconds=2, stride_seconds=2, size=128))
COPIES = {
    "crf 35": lambda frames: frames,
    "half the size": lambda frames: [frame[::2, ::2] for frame in frames],
    "2 s cut off": lambda frames: frames[60:],
    "brighter by 20": lambda frames: [np.minimum(frame, 235) + 20 for frame in frames],
    "5 % cropped": lambda frames: [frame[24:-24, 32:-32] for frame in frames],
    "mirrored": lambda frames: [frame[:, ::-1] for frame in frames],
    "2.3 s cut off, half, brighter": lambda frames: [np.minimum(f[::2, ::2], 235) + 20 for f in frames[69:]],
}


def test_copies_are_found_and_sixty_infants_are_not_taken_for_each_other(tmp_path):
    videos = tmp_path / "videos"
    generate(videos, SyntheticSettings(), subjects=60, seconds=16, seed=21, workers=2)
    (videos / "manifest.csv").unlink()
    originals = sorted(videos.glob("FMs/*/video.mp4"))[:5]
    for video in originals:
        with av.open(str(video)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for number, change in enumerate(COPIES.values()):
            copy = videos / "FMs" / f"{video.parent.name}-copy{number}" / "video.mp4"
            write_video(copy, change(frames), options={"crf": "35", "preset": "veryfast"})
    index = build_dataset(videos, tmp_path / "dataset", CONFIG, workers=2)
    used = [entry for entry in index["videos"] if entry["shard"]]
    signs = {entry["subject"]: read_fingerprint(entry["fingerprint"]) for entry in used}
    infants = [subject for subject in signs if "copy" not in subject]
    alike = agreements([signs[infant] for infant in infants])
    alarms = alike[np.triu_indices(len(infants), 1)]
    print(f"\n{len(alarms)} pairs of different infants agree by at most {max(alarms):.2f}")
    for number, name in enumerate(COPIES):
        scores = [
            agreements([signs[video.parent.name], signs[f"{video.parent.name}-copy{number}"]])[0, 1]
            for video in originals
        ]
        print(f"{name}: {min(scores):.2f} to {max(scores):.2f}")
        assert min(scores) >= SAME_FROM
    assert max(alarms) < SAME_FROM
    for same in same_recordings(used):
        assert len({subject.partition("-")[0] for subject in same.subjects}) == 1
