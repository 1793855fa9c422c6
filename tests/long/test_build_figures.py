"""Figures of the build that take minutes: speed against real time, memory over a long video.

Run with `make test-long`; each test prints what it measured.
"""

import subprocess
import sys
import time

import pytest

from pipelines.synthetic import SyntheticSettings, generate

pytestmark = pytest.mark.long

PROCESS = """
import resource, sys
from pathlib import Path
from pipelines.build import process_video
from pipelines.config import BuildConfig
from pipelines.manifest import Source
video, out = Path(sys.argv[1]), Path(sys.argv[2])
(out / "shards").mkdir(parents=True)
entry = process_video(Source("v", video, "s", "FMs", "s"), ["FMs"], out, BuildConfig())
assert entry["left_out"] is None, entry
peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(entry["seconds"], entry["clips"], peak_bytes / 1e9)
"""


def process(video, out):
    """Seconds of video, clips, peak memory in GB and wall seconds of one worker, published settings."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, str(video), str(out)], capture_output=True, text=True, check=True
    )
    seconds, clips, peak = done.stdout.split()[-3:]
    return float(seconds), int(clips), float(peak), time.monotonic() - begin


@pytest.fixture(scope="module")
def minute(tmp_path_factory):
    """One minute of one generated infant, 640x480 at 30 fps."""
    out = tmp_path_factory.mktemp("minute") / "videos"
    generate(out, SyntheticSettings(), subjects=3, seconds=60, seed=5, workers=2)
    return sorted(out.glob("*/*/video.mp4"))[0]


def repeated(video, times, out):
    """The video `times` over in one file, without re-encoding."""
    import av

    with av.open(str(out), "w") as target:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(video)) as source:
                origin = source.streams.video[0]
                stream = stream or target.add_stream_from_template(origin)
                length = origin.duration
                for packet in source.demux(origin):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    target.mux(packet)
            offset += length
    return out


def test_one_worker_is_three_times_faster_than_real_time(minute, tmp_path):
    seconds, clips, _, wall = process(minute, tmp_path / "out")
    print(
        f"\n{seconds:.0f} s of 640x480 video, {clips} clips of 224 px: {wall:.1f} s, "
        f"{seconds / wall:.1f} x real time"
    )
    assert seconds / wall >= 3


def test_memory_does_not_grow_with_the_video(minute, tmp_path):
    long_video = repeated(minute, 20, tmp_path / "long.mp4")
    _, _, short_peak, _ = process(minute, tmp_path / "short")
    seconds, clips, long_peak, wall = process(long_video, tmp_path / "long")
    print(
        f"\n60 s: {short_peak:.2f} GB; {seconds / 60:.1f} min ({clips} clips, {wall:.0f} s): "
        f"{long_peak:.2f} GB peak"
    )
    assert seconds > 1190
    assert long_peak < 1.5
    assert long_peak < short_peak + 0.15
