import numpy as np
import pytest

from pipelines.schema import RefusedError
from pipelines.video import DecodeReport, sample_frames, working_size
from tests.conftest import numbered_frames, write_video


def numbers(frames):
    return [round(float(frame.pixels.mean()) / 2.8) for frame in frames]


def test_frames_nearest_to_the_grid_are_taken(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(60))
    report = DecodeReport()
    found = list(sample_frames(path, 6, report=report))
    assert numbers(found) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 59]
    assert [frame.index for frame in found] == list(range(13))
    assert report.frames == 60
    assert report.fps == pytest.approx(30, rel=1e-3)
    assert report.repeated == 0


def test_timestamps_rule_when_the_frame_rate_varies(tmp_path):
    # 30 frames in the first second, then 10 a second: frame numbers would drift.
    times = [i / 30 for i in range(30)] + [1 + i / 10 for i in range(20)]
    path = write_video(tmp_path / "v.mp4", numbered_frames(50), times=times)
    found = list(sample_frames(path, 5))
    nearest = [int(np.argmin(np.abs(np.array(times) - k / 5))) for k in range(len(found))]
    assert numbers(found) == nearest
    assert found[14].seconds == pytest.approx(2.8, abs=0.01)


def test_a_slow_video_repeats_frames_and_says_so(tmp_path):
    report = DecodeReport()
    found = list(sample_frames(write_video(tmp_path / "v.mp4", numbered_frames(6), fps=3), 6, report=report))
    assert len(found) == 11
    assert report.repeated == 5


def test_only_wanted_frames_between_start_and_end(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(90))
    found = list(sample_frames(path, 6, start_seconds=1, end_seconds=2, wanted=lambda index: index % 2 == 0))
    assert numbers(found) == [30, 40, 50, 60]
    assert [frame.index for frame in found] == [0, 2, 4, 6]


def test_large_frames_are_scaled_down_and_small_ones_left(tmp_path):
    assert working_size(1920, 1080, 640) == (640, 360)
    assert working_size(320, 240, 640) == (320, 240)
    path = write_video(tmp_path / "v.mp4", numbered_frames(6, 300, 200))
    assert next(sample_frames(path, 6, long_side_px=150)).pixels.shape == (150, 100, 3)


def with_rotation(path, quarter_turns):
    """Rewrites the track header's matrix: the picture is to be turned counterclockwise for display."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: fields before the matrix
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    matrix = [cos, -sin, 0, sin, cos, 0, 0, 0, 0x4000]
    for i, value in enumerate(matrix):
        fixed = value if i == 8 else value * 0x10000
        fixed = 0x40000000 if i == 8 else fixed
        content[start + 4 * i : start + 4 * i + 4] = (fixed & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_rotation_metadata_is_applied(tmp_path, quarter_turns):
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:32, :48] = 200  # bright corner: top left
    path = write_video(tmp_path / "v.mp4", [frame] * 6)
    with_rotation(path, quarter_turns)
    pixels = next(sample_frames(path, 6)).pixels
    expected = np.rot90(frame, quarter_turns)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 5


def test_a_cut_off_file_keeps_what_decodes_and_says_so(tmp_path):
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (60, 64, 96, 3), np.uint8))
    path = write_video(tmp_path / "v.mkv", frames)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = DecodeReport()
    found = list(sample_frames(path, 6, report=report))
    assert 2 <= len(found) <= 8
    assert 0.4 < report.seconds < 1.6


def test_an_mp4_with_a_missing_tail_is_called_damaged(tmp_path):
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (90, 64, 96, 3), np.uint8))
    path = write_video(tmp_path / "v.mp4", frames, container_options={"movflags": "faststart"})
    report = DecodeReport()
    list(sample_frames(path, 6, report=report))
    assert report.damaged is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = DecodeReport()
    assert list(sample_frames(path, 6, report=report))
    assert report.damaged is not None


@pytest.mark.parametrize("case", ["missing", "text", "empty", "headless", "sound"])
def test_what_is_no_video_is_refused_by_name(tmp_path, case):
    path = tmp_path / "v.mp4"
    if case == "text":
        path.write_text("no video at all")
    elif case == "empty":
        path.touch()
    elif case == "headless":  # an mp4 that was cut off before its index
        write_video(path, numbered_frames(30))
        path.write_bytes(path.read_bytes()[:-1500])
    elif case == "sound":
        import av

        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=8000)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
            silence.sample_rate = 8000
            container.mux(stream.encode(silence))
            container.mux(stream.encode())
    with pytest.raises(RefusedError, match=r"a video must .*Received: .*v\.mp4"):
        list(sample_frames(path, 6))
