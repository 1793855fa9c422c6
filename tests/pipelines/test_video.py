import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.schema import RefusedError
from pipelines.video import DecodeReport, sample_frames, working_size
from pipelines.video_times import Damage, steady_times
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


def test_a_tag_that_is_no_utf_8_does_not_keep_a_video_from_being_read(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(30))
    content = path.read_bytes()
    assert content.count(b"Lavf") == 1  # the program's name among the tags
    path.write_bytes(content.replace(b"Lavf", b"L\xe4vf"))
    assert len(list(sample_frames(path, 6))) == 7


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


def encode(
    path,
    frames,
    *,
    codec="libx264",
    pix_fmt="yuv420p",
    fps=30,
    times=None,
    options=None,
    setup=lambda stream: None,
    format=None,
):
    """Writes frames: (H, W, 3) uint8 RGB, or PyAV's own. `setup` changes the stream before it opens."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=fps, options=options or QUALITY.get(codec, {}))
        first = frames[0]
        stream.height, stream.width = (
            first.shape[:2] if isinstance(first, np.ndarray) else (first.height, first.width)
        )
        stream.pix_fmt = pix_fmt
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 9000)
        setup(stream)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24") if isinstance(pixels, np.ndarray) else pixels
            frame.time_base = Fraction(1, fps) if times is None else Fraction(1, 9000)
            frame.pts = number if times is None else round(times[number] * 9000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


QUALITY = {
    "libx264": {"crf": "10", "preset": "ultrafast"},
    "libx265": {"crf": "10", "preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"crf": "10", "b": "0", "cpu-used": "8", "deadline": "realtime"},
    "libsvtav1": {"crf": "20", "preset": "12"},
    "mpeg4": {"b": "8M", "qmin": "1", "qmax": "2"},
    "mjpeg": {"qmin": "1", "qmax": "2"},
}


def coarse_frames(count, height=64, width=96):
    """Frames whose grey level is 16 + 7 * number: further apart than any codec's error."""
    return [np.full((height, width, 3), 16 + 7 * number, np.uint8) for number in range(count)]


def coarse_numbers(frames):
    return [round((float(frame.pixels.mean()) - 16) / 7) for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("v.mp4", "libx264", "yuv420p"),
        ("v.mp4", "libx264", "yuv420p10le"),
        ("v.mkv", "libx264", "yuv422p"),
        ("v.mkv", "libx264", "yuv444p"),
        ("v.mov", "libx265", "yuv420p"),
        ("v.mov", "libx265", "yuv420p10le"),
        ("v.webm", "libvpx", "yuv420p"),
        ("v.webm", "libvpx-vp9", "yuv420p"),
        ("v.mp4", "libsvtav1", "yuv420p"),
        ("v.mp4", "libsvtav1", "yuv420p10le"),
        ("v.avi", "mpeg4", "yuv420p"),
        ("v.mp4", "mpeg4", "yuv420p"),
        ("v.avi", "mjpeg", "yuvj420p"),
        ("v.mov", "mjpeg", "yuvj422p"),
        ("v.mov", "prores_ks", "yuv422p10le"),
        ("v.mpg", "mpeg2video", "yuv420p"),
        ("v.wmv", "wmv2", "yuv420p"),
        ("v.mkv", "ffv1", "yuv444p10le"),
    ],
)
def test_codecs_and_pixel_formats(tmp_path, name, codec, pix_fmt):
    report = DecodeReport()
    path = encode(tmp_path / name, coarse_frames(30), codec=codec, pix_fmt=pix_fmt)
    found = list(sample_frames(path, 10, report=report))
    assert coarse_numbers(found) == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 29]
    assert report.damaged is None
    assert report.frames == 30


@pytest.mark.parametrize("full_range", [False, True])
def test_grey_video_keeps_its_levels(tmp_path, full_range):
    levels = range(0, 256, 17)
    frames = [av.VideoFrame(96, 64, "gray") for _ in levels]
    for frame, level in zip(frames, levels, strict=True):
        value = level if full_range else round(16 + 219 / 255 * level)
        frame.planes[0].update(np.full(frame.planes[0].buffer_size, value, np.uint8))
        frame.color_range = 2 if full_range else 1

    def name_it(stream):
        stream.codec_context.color_range = 2 if full_range else 1

    path = encode(tmp_path / "v.mp4", frames, pix_fmt="gray", setup=name_it)
    found = [float(frame.pixels.mean()) for frame in sample_frames(path, 30)]
    assert found == pytest.approx(list(levels), abs=3)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.mov"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_b_frames_come_in_the_order_of_display(tmp_path, name, codec):
    options = {"bf": "2", **QUALITY["mpeg4"]}
    if codec == "libx264":
        options = {
            "crf": "10",
            "preset": "medium",
            "x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:scenecut=0",
        }
    report = DecodeReport()
    path = encode(tmp_path / name, coarse_frames(30), codec=codec, options=options)
    with av.open(str(path)) as container:
        assert any(frame.pict_type == 3 for frame in container.decode(video=0))  # there are B-frames
    assert coarse_numbers(sample_frames(path, 30, report=report)) == list(range(30))
    assert report.fps == pytest.approx(30, rel=1e-3)


COLOURS = {"bt601": (0.299, 0.114, 6), "bt709": (0.2126, 0.0722, 1), "bt2020": (0.2627, 0.0593, 9)}


def yuv_frame(rgb, colours, full_range, height=64, width=96):
    """A frame of one colour, by the standard's formulas."""
    red, blue, _ = COLOURS[colours]
    r, g, b = np.array(rgb) / 255
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = np.array([(b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)])
    values = [255 * luma, *(255 * chroma + 128)] if full_range else [16 + 219 * luma, *(224 * chroma + 128)]
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size, round(value), np.uint8))
    return frame


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("colours", ["bt601", "bt709", "bt2020"])
def test_colours_follow_the_matrix_and_range_that_the_file_names(tmp_path, colours, full_range):
    def name_them(stream):
        stream.codec_context.colorspace = COLOURS[colours][2]
        stream.codec_context.color_range = 2 if full_range else 1

    rgb = (200, 60, 90)
    frames = [yuv_frame(rgb, colours, full_range) for _ in range(6)]
    for frame in frames:
        frame.colorspace, frame.color_range = COLOURS[colours][2], 2 if full_range else 1
    path = encode(tmp_path / "v.mp4", frames, setup=name_them)
    pixels = next(sample_frames(path, 6)).pixels
    assert np.abs(pixels.reshape(-1, 3).mean(0) - rgb).max() < 4


@pytest.mark.parametrize(("height", "colours"), [(480, "bt601"), (720, "bt709")])
def test_unnamed_colours_are_those_of_the_pictures_size(tmp_path, height, colours):
    rgb = (200, 60, 90)
    frames = [yuv_frame(rgb, colours, False, height, 640) for _ in range(2)]
    pixels = next(sample_frames(encode(tmp_path / "v.mp4", frames), 6)).pixels
    assert np.abs(pixels.reshape(-1, 3).mean(0) - rgb).max() < 4


def boxes(content, start, end):
    """(name, start, end) of the MP4 boxes in a range of bytes."""
    while start + 8 <= end:
        size = int.from_bytes(content[start : start + 4], "big")
        yield content[start + 4 : start + 8].decode("latin1"), start, start + size
        start += size


def set_edit_list(path, entries):
    """Replaces the track's edit list by (segment duration ms, media time in track units, -1: nothing)."""
    content = path.read_bytes()
    moov, moov_end = next(box for box in boxes(content, 0, len(content)) if box[0] == "moov")[1:]
    assert moov_end == len(content)  # so that nothing moves
    trak, trak_end = next(box for box in boxes(content, moov + 8, moov_end) if box[0] == "trak")[1:]
    elst = b"elst" + bytes(4) + len(entries).to_bytes(4, "big")
    for duration, media_time in entries:
        elst += duration.to_bytes(4, "big") + media_time.to_bytes(4, "big", signed=True) + b"\0\1\0\0"
    edts = (len(elst) + 12).to_bytes(4, "big") + b"edts" + (len(elst) + 4).to_bytes(4, "big") + elst
    parts = [content[start:end] for name, start, end in boxes(content, trak + 8, trak_end) if name != "edts"]
    track = b"".join([parts[0], edts, *parts[1:]])
    track = (len(track) + 8).to_bytes(4, "big") + b"trak" + track
    movie = content[moov + 8 : trak] + track + content[trak_end:]
    path.write_bytes(content[:moov] + (len(movie) + 8).to_bytes(4, "big") + b"moov" + movie)


def test_an_edit_list_that_skips_the_start_is_applied(tmp_path):
    path = encode(
        tmp_path / "v.mp4", numbered_frames(60), options={"crf": "10", "preset": "ultrafast", "g": "12"}
    )
    with av.open(str(path)) as container:
        time_base = container.streams.video[0].time_base
    set_edit_list(path, [(1000, round(1 / time_base))])
    report = DecodeReport()
    found = list(sample_frames(path, 6, report=report))
    assert numbers(found) == [30, 35, 40, 45, 50, 55, 59]
    assert found[0].seconds == 0
    assert report.damaged is None


def test_an_edit_list_that_delays_the_start_moves_no_frame(tmp_path):
    path = encode(tmp_path / "v.mp4", numbered_frames(60))
    set_edit_list(path, [(3000, -1), (2000, 0)])
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).time == pytest.approx(3, abs=0.01)
    report = DecodeReport()
    found = list(sample_frames(path, 6, report=report))
    assert numbers(found) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 59]
    assert found[6].seconds == pytest.approx(1, abs=0.01)
    assert report.damaged is None


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4", "v.ts"])
def test_a_first_timestamp_other_than_zero_moves_no_frame(tmp_path, name):
    times = [5 + number / 30 for number in range(60)]
    path = encode(tmp_path / name, numbered_frames(60), times=times)
    report = DecodeReport()
    found = list(sample_frames(path, 6, report=report))
    assert numbers(found) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 59]
    assert found[0].seconds == 0
    assert found[6].seconds == pytest.approx(1, abs=0.01)
    assert report.damaged is None


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4"])
def test_a_header_with_another_frame_rate_is_not_believed(tmp_path, name):
    path = encode(tmp_path / name, numbered_frames(40), fps=60, times=[number / 10 for number in range(40)])
    report = DecodeReport()
    assert numbers(sample_frames(path, 2, report=report)) == [0, 5, 10, 15, 20, 25, 30, 35, 39]
    assert report.fps == pytest.approx(10, rel=1e-2)


def test_a_header_with_another_length_is_not_believed(tmp_path):
    path = encode(tmp_path / "v.mp4", numbered_frames(60))
    content = bytearray(path.read_bytes())
    for name, at in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        start = content.index(name) + at
        value = 10 * int.from_bytes(content[start : start + 4], "big")
        content[start : start + 4] = value.to_bytes(4, "big")
    path.write_bytes(content)
    report = DecodeReport()
    assert len(list(sample_frames(path, 6, report=report))) == 13
    assert report.seconds == pytest.approx(59 / 30, abs=0.01)
    assert report.damaged is None


def test_two_recordings_joined_go_on_in_time(tmp_path):
    # Cameras that write MPEG-TS start each part at the same time: the clock steps back.
    first = encode(tmp_path / "a.ts", numbered_frames(30))
    second = encode(tmp_path / "b.ts", numbered_frames(60)[30:])
    path = tmp_path / "v.mpg"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    report = DecodeReport()
    found = list(sample_frames(path, 6, report=report))
    assert numbers(found) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 59]
    assert report.clock_jumps == 1
    assert report.damaged == "the clock jumps (times: 1)"


def steady(times):
    """Numbers and times of the frames that keep their place, and the report."""
    report = DecodeReport()
    frames = list(steady_times(((time, number) for number, time in enumerate(times)), Damage(report)))
    return [number for _, number in frames], [seconds for seconds, _ in frames], report


def test_times_that_repeat_or_step_back_a_little_leave_frames_out():
    kept, times, report = steady([7.0, 7.1, 7.1, 7.3, 7.2, 7.4])
    assert kept == [0, 1, 3, 5]
    assert times == pytest.approx([0, 0.1, 0.3, 0.4])
    assert report.out_of_order == 2
    assert report.damaged is None


@pytest.mark.parametrize("wrong", [1e9, -1e9, 0.0, 9.0])
def test_one_wrong_time_moves_no_other_frame(wrong):
    right = [5 + number / 10 for number in range(20)]
    kept, times, report = steady([*right[:10], wrong, *right[11:]])
    assert kept == [number for number in range(20) if number != 10]
    assert times == pytest.approx([number / 10 for number in kept])
    assert report.damaged is None


@pytest.mark.parametrize("step", [-4.0, 1e6, -1e6])
def test_a_clock_that_is_set_goes_on_at_the_usual_interval(step):
    _, times, report = steady([5 + number / 10 + (step if number >= 10 else 0) for number in range(20)])
    assert times == pytest.approx([number / 10 for number in range(20)])
    assert report.clock_jumps == 1


def test_a_frame_without_a_time_follows_at_the_usual_interval():
    kept, times, _ = steady([None, 0.1, 0.2, None, None, 0.5])
    assert kept == list(range(6))
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_hole_in_the_video_stays_a_hole(tmp_path):
    times = [number / 30 + (10 if number >= 30 else 0) for number in range(60)]
    report = DecodeReport()
    found = list(
        sample_frames(encode(tmp_path / "v.mp4", numbered_frames(60), times=times), 6, report=report)
    )
    # A second on either side of the hole takes the nearest frame; between there is nothing.
    assert [frame.index for frame in found] == [*range(12), *range(60, 73)]
    assert numbers(found)[5:13] == [25, *[29] * 6, 30]
    assert report.left_out == 48
    assert report.lost_seconds == pytest.approx(10, abs=0.1)
    assert "10.0 s in the middle are missing" in report.damaged


MATRICES = {
    "as it is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "turned by half": (-1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "turned left": (0, -1, 1, 0),
    "turned right": (0, 1, -1, 0),
    "transposed the other way": (0, -1, -1, 0),
}


@pytest.mark.parametrize("case", MATRICES)
def test_mirrored_display_matrices_are_applied(tmp_path, case):
    a, b, c, d = MATRICES[case]
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:32, :48] = 200
    frame[:32, 48:] = 90
    path = write_video(tmp_path / "v.mp4", [frame] * 6)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    matrix = [a * 0x10000, b * 0x10000, 0, c * 0x10000, d * 0x10000, 0, 0, 0, 0x40000000]
    content[start : start + 36] = np.array(matrix, ">i4").tobytes()
    path.write_bytes(content)
    pixels = next(sample_frames(path, 6)).pixels
    # Where the matrix sends the middle of each pixel, with y pointing down, shifted into the picture.
    y, x = np.mgrid[:64, :96] + 0.5
    new_x, new_y = a * x + c * y, b * x + d * y
    new_x, new_y = (new_x - new_x.min()).round().astype(int), (new_y - new_y.min()).round().astype(int)
    expected = np.zeros((new_y.max() + 1, new_x.max() + 1, 3), np.uint8)
    expected[new_y, new_x] = frame
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 5


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    def narrow(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    path = encode(tmp_path / "v.mp4", coarse_frames(6, 288, 352), setup=narrow)
    assert next(sample_frames(path, 6)).pixels.shape == (288, 512, 3)
    assert next(sample_frames(path, 6, long_side_px=256)).pixels.shape == (144, 256, 3)


def fields(even, odd):
    """A frame whose even lines are one picture, whose odd lines the next."""
    frame = np.empty_like(even)
    frame[::2], frame[1::2] = even[::2], odd[1::2]
    return frame


def bar(position, height=64, width=192):
    frame = np.full((height, width, 3), 30, np.uint8)
    frame[:, position : position + 16] = 220
    return frame


def interlaced(frame, order):
    """PyAV's frame that says which of its fields comes first: "tff" (even lines) or "bff"."""
    graph = av.filter.Graph()
    picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p")
    size = {"width": picture.width, "height": picture.height}
    source = graph.add_buffer(**size, format=picture.format, time_base=Fraction(1, 30))
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    graph.vpush(picture)
    return graph.vpull()


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_interlaced_frames_are_deinterlaced(tmp_path, codec, order):
    def picture(number):
        first, second = bar(8 * number), bar(8 * number + 4)
        return interlaced(fields(first, second) if order == "tff" else fields(second, first), order)

    def interlace(stream):
        if codec == "mpeg2video":
            stream.codec_context.flags |= 0x40000 | 0x20000000  # interlaced transform and motion

    options = (
        {"crf": "1", "preset": "medium", "x264-params": "interlaced=1"}
        if codec == "libx264"
        else {"qscale": "1"}
    )
    report = DecodeReport()
    path = encode(
        tmp_path / "v.mkv",
        [picture(number) for number in range(20)],
        codec=codec,
        options=options,
        setup=interlace,
    )
    found = list(sample_frames(path, 30, report=report))
    assert report.deinterlaced == 20
    assert len(found) == report.frames == 20
    assert [frame.seconds for frame in found] == pytest.approx([n / 30 for n in range(20)], abs=2e-3)
    for number, frame in enumerate(found[2:-2], 2):
        lines = frame.pixels[8:-8].astype(int)
        assert np.abs(np.diff(lines, axis=0)).mean() < 3  # no comb: neighbouring lines agree
        centre = (lines[..., 0].mean(0) > 125).nonzero()[0].mean()
        assert abs(centre - (8 * number + 7.5)) < 3


def test_progressive_frames_are_not_filtered(tmp_path):
    # A picture that looks like a comb, but does not say that it is interlaced.
    frames = [fields(bar(2 * number), bar(2 * number + 6)) for number in range(6)]
    report = DecodeReport()
    path = encode(tmp_path / "v.mkv", frames, options={"crf": "1", "preset": "medium"})
    found = list(sample_frames(path, 30, report=report))
    assert report.deinterlaced == 0
    assert np.abs(found[3].pixels.astype(int) - frames[3]).mean() < 5


def joined(path, parts):
    """The packets of several files one after the other in a stream that the first one describes."""
    with av.open(str(path), "w") as target:
        stream, offset = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                origin = source.streams.video[0]
                stream = stream or target.add_stream_from_template(origin)
                end = 0
                for packet in source.demux(origin):
                    if packet.dts is None:
                        continue
                    end = packet.pts + packet.duration
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    target.mux(packet)
                offset += end
    return path


@pytest.mark.parametrize(("codec", "suffix"), [("libvpx-vp9", "webm"), ("mjpeg", "mkv")])
def test_a_resolution_that_changes_is_fitted_into_the_first(tmp_path, codec, suffix):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    white = np.full((96, 96, 3), 230, np.uint8)
    parts = [
        encode(tmp_path / f"a.{suffix}", coarse_frames(6, 64, 96), codec=codec, pix_fmt=pix_fmt),
        encode(tmp_path / f"b.{suffix}", coarse_frames(12, 128, 192)[6:], codec=codec, pix_fmt=pix_fmt),
        encode(tmp_path / f"c.{suffix}", [white] * 6, codec=codec, pix_fmt=pix_fmt),
    ]
    found = list(sample_frames(joined(tmp_path / f"v.{suffix}", parts), 30))
    assert {frame.pixels.shape for frame in found} == {(64, 96, 3)}
    assert coarse_numbers(found[:12]) == list(range(12))
    # A square picture stands in the middle, undistorted, on black.
    last = found[-1].pixels
    assert last[:, 20:-20].min() > 200
    assert last[:, :12].max() < 20
    assert last[:, -12:].max() < 20


def test_sound_covers_and_further_streams_are_ignored(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream("libx264", rate=30, options=QUALITY["libx264"])
        film.width, film.height, film.pix_fmt = 96, 64, "yuv420p"
        further = container.add_stream("libx264", rate=30, options=QUALITY["libx264"])
        further.width, further.height, further.pix_fmt = 48, 32, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        container.mux(cover.encode())
        for pixels in numbered_frames(60):
            container.mux(film.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            container.mux(further.encode(av.VideoFrame.from_ndarray(pixels[:32, :48].copy(), "rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 40000), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        for stream in (film, further, sound):
            container.mux(stream.encode())
    found = list(sample_frames(path, 6))
    assert numbers(found) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 59]
    assert found[0].pixels.shape == (64, 96, 3)


def noisy_frames(count):
    """Numbered frames with noise, so that each takes its share of the file."""
    rng = np.random.default_rng(0)
    noise = rng.integers(-20, 21, (count, 64, 96, 1))
    return [np.clip(f + n, 0, 255).astype(np.uint8) for f, n in zip(coarse_frames(count), noise, strict=True)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.mp4", "libx264"), ("v.mkv", "libx264"), ("v.avi", "mpeg4"), ("v.webm", "libvpx-vp9")],
)
def test_a_cut_tail_is_told_in_seconds(tmp_path, name, codec):
    frames = [frame for number in range(30) for frame in [noisy_frames(30)[number]] * 3]
    path = encode(tmp_path / name, frames, codec=codec, options={"g": "15", **QUALITY[codec]})
    if name == "v.mp4":
        path = write_video(
            path, frames, options={"g": "15", **QUALITY[codec]}, container_options={"movflags": "faststart"}
        )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = DecodeReport()
    found = list(sample_frames(path, 30, report=report))
    assert coarse_numbers(found[:15]) == [number // 3 for number in range(15)]
    assert 0.7 < report.seconds < 2.4
    assert report.lost_seconds == pytest.approx(89 / 30 - report.seconds, abs=0.1)
    assert f"cut off after {report.seconds:.1f} of " in report.damaged
    assert f"{report.lost_seconds:.1f} s are missing" in report.damaged


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v.mp4", "libx264"),
        ("v.mkv", "libx264"),
        ("v.mov", "libx265"),
        ("v.avi", "mpeg4"),
        ("v.webm", "libvpx-vp9"),
    ],
)
def test_a_corrupt_middle_is_passed_over_and_told(tmp_path, name, codec):
    frames = [frame for number in range(30) for frame in [noisy_frames(30)[number]] * 3]
    path = encode(tmp_path / name, frames, codec=codec, options={"g": "15", **QUALITY[codec]})
    content = bytearray(path.read_bytes())
    start, end = round(0.4 * len(content)), round(0.6 * len(content))
    content[start:end] = bytes(end - start)
    path.write_bytes(content)
    report = DecodeReport()
    found = list(sample_frames(path, 30, report=report))
    assert report.seconds == pytest.approx(89 / 30, abs=0.1)
    assert coarse_numbers(found[:15]) == [number // 3 for number in range(15)]
    assert coarse_numbers(found[-15:]) == [number // 3 for number in range(75, 90)]
    assert report.damaged is not None
    assert 0.2 < report.lost_seconds < 1.6
    assert "in the middle are missing" in report.damaged


def sps(width, height):
    """An H.264 sequence parameter set of a picture of this size."""
    bits = ""

    def code(value):  # Exp-Golomb
        nonlocal bits
        bits += bin(value + 1)[2:].zfill(2 * (value + 1).bit_length() - 1)

    for value in (0, 0, 2, 1):  # id, log2_max_frame_num - 4, order of display is that of decoding, references
        code(value)
    bits += "0"
    code(width // 16 - 1)
    code(height // 16 - 1)
    bits += "11001"  # whole frames, direct_8x8, no cropping, no VUI, stop bit
    bits += "0" * (-len(bits) % 8)
    return bytes([0x67, 66, 0, 51]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def giant_header(path, codec):
    """Writes 30000x30000 (VP8: 16000x16000, its most) where the codec names its size."""
    content = bytearray(path.read_bytes())
    if codec == "libx264":
        at = content.index(b"\x67", content.index(b"avcC"))
        length = int.from_bytes(content[at - 2 : at], "big")
        content[at : at + length] = sps(30000, 30000).ljust(length, b"\0")
    elif codec == "libvpx":
        for start in re.finditer(rb"\x9d\x01\x2a", content):  # a key frame's
            content[start.end() : start.end() + 4] = (16000).to_bytes(2, "little") * 2
    else:
        for start in re.finditer(b"\xff\xc0\x00\x11\x08", content):
            content[start.end() : start.end() + 4] = (30000).to_bytes(2, "big") * 2
    path.write_bytes(content)


# Not resource.getrusage: its peak counts what the parent held when it started this process.
MEMORY = """
import sys
from pathlib import Path
from pipelines.schema import RefusedError
from pipelines.video import sample_frames
try:
    print(len(list(sample_frames(Path(sys.argv[1]), 6))))
except RefusedError as error:
    print(error)
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(1024 * int(peak) / 1e9)
"""


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "libx264"), ("v.webm", "libvpx"), ("v.avi", "mjpeg"), ("v.mov", "mjpeg")]
)
def test_a_giant_picture_is_refused_and_takes_no_memory(tmp_path, name, codec):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / name, coarse_frames(6), codec=codec, pix_fmt=pix_fmt)
    giant_header(path, codec)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    sentence, gigabytes = done.stdout.strip().split("\n")
    assert re.match(r"a video must .* of at most 8192x4320 pixels\. Received: v\.\w+", sentence)
    assert float(gigabytes) < 0.5


def test_a_picture_larger_than_8k_is_refused(tmp_path):
    path = encode(tmp_path / "v.mov", coarse_frames(1, 8192, 4352), codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(RefusedError, match=r"at most 8192x4320 pixels\. Received: v\.mov"):
        list(sample_frames(path, 6))


def test_a_playlist_is_no_video(tmp_path):
    video = encode(tmp_path / "a.ts", coarse_frames(6))
    path = tmp_path / "v.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n")
    with pytest.raises(RefusedError, match=r"complete file that FFmpeg can open. Received: v\.mp4"):
        list(sample_frames(path, 6))


@pytest.mark.parametrize(("name", "named"), [("v.avi", b"FMP4"), ("v.mkv", b"MPEG4/ISO/ASP")])
def test_a_codec_that_nobody_knows_is_refused(tmp_path, name, named):
    path = encode(tmp_path / name, coarse_frames(6), codec="mpeg4")
    content = path.read_bytes()
    assert named in content
    path.write_bytes(content.replace(named, b"Z" * len(named)))
    with pytest.raises(RefusedError, match=rf"a codec that FFmpeg decodes\. Received: {re.escape(name)}"):
        list(sample_frames(path, 6))


def test_where_a_file_cannot_be_read_the_frames_before_are_kept(tmp_path):
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    options = {"g": "10", **QUALITY["libx264"]}
    path = write_video(tmp_path / "v.mp4", coarse_frames(30), options=options, container_options=fragments)
    content = bytearray(path.read_bytes())
    second = [found.start() for found in re.finditer(b"trun", content)][1]
    size = second + 20  # of its first frame, in bytes
    content[size : size + 4] = (0x7FFFFFF0).to_bytes(4, "big")
    path.write_bytes(content)
    report = DecodeReport()
    assert coarse_numbers(sample_frames(path, 30, report=report)) == list(range(10))
    assert report.failures == 1
    assert report.damaged.startswith("cut off after 0.3 of 1.0 s, 0.7 s are missing")


def test_a_stream_that_begins_within_the_file_changes_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(-20, 21, (480, 640, 1))
    frames = [np.clip(frame + noise, 0, 255).astype(np.uint8) for frame in coarse_frames(30, 480, 640)]
    # So many bytes at both ends that FFmpeg does not see the middle when it looks for streams.
    first = encode(tmp_path / "a.ts", frames, options={"crf": "1", "preset": "ultrafast", "g": "1"})
    second = tmp_path / "b.ts"
    with av.open(str(second), "w") as container:
        film = container.add_stream("libx264", rate=30, options=QUALITY["libx264"])
        film.width, film.height, film.pix_fmt = 640, 480, "yuv420p"
        sound = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        frame = av.VideoFrame.from_ndarray(frames[-1], "rgb24")
        frame.pts, frame.time_base = 30, Fraction(1, 30)
        container.mux(film.encode(frame))
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
        container.mux(film.encode())
    path = tmp_path / "v.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes() + first.read_bytes())
    with av.open(str(path)) as container:
        assert len(container.streams) == 1
    assert coarse_numbers(sample_frames(path, 30)) == [*range(30), 29, *range(30)]


def test_an_end_behind_the_videos_is_the_videos(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(60))
    assert numbers(sample_frames(path, 6, end_seconds=100))[-2:] == [55, 59]


def test_a_file_that_announces_no_length_is_read_to_its_end(tmp_path):
    path = encode(tmp_path / "v.h264", coarse_frames(30), format="h264")
    report = DecodeReport()
    assert coarse_numbers(sample_frames(path, 30, report=report)) == list(range(30))
    assert report.damaged is None


def test_a_length_of_the_track_that_is_no_time_is_not_believed(tmp_path):
    path = encode(tmp_path / "v.mkv", coarse_frames(30))
    content = path.read_bytes()
    assert b"00:00:01.000" in content
    path.write_bytes(content.replace(b"00:00:01.000", b"00:xx:99.000"))
    report = DecodeReport()
    assert len(list(sample_frames(path, 30, report=report))) == 30
    assert report.damaged is None


def test_pixels_of_an_impossible_shape_are_taken_as_square(tmp_path):
    def slit(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(16, 1)

    path = encode(tmp_path / "v.mp4", coarse_frames(6), setup=slit)
    assert next(sample_frames(path, 6)).pixels.shape == (64, 96, 3)


def test_a_change_of_size_or_to_whole_frames_ends_no_deinterlacing(tmp_path):
    def part(name, height, width, start, fields):
        frames = coarse_frames(6, height, width)
        frames = [interlaced(frame, "tff") for frame in frames] if fields else frames
        options = {**QUALITY["libx264"], "x264-params": f"interlaced={int(fields)}"}
        times = [start + number / 30 for number in range(6)]
        return encode(tmp_path / name, frames, options=options, times=times).read_bytes()

    path = tmp_path / "v.ts"
    parts = (
        part("a.ts", 64, 192, 0.0, True),
        part("b.ts", 128, 384, 0.2, True),
        part("c.ts", 128, 384, 0.4, False),
    )
    path.write_bytes(b"".join(parts))
    report = DecodeReport()
    found = list(sample_frames(path, 30, report=report))
    assert report.frames == 18
    assert report.deinterlaced == 12
    assert {frame.pixels.shape for frame in found} == {(64, 192, 3)}
    assert coarse_numbers(found) == [0, 1, 2, 3, 4, 5] * 3


def test_pictures_too_small_to_deinterlace_are_taken_as_they_are(tmp_path):
    frames = [interlaced(frame, "tff") for frame in coarse_frames(6, 8, 16)]
    options = {"x264-params": "interlaced=1", **QUALITY["libx264"]}
    report = DecodeReport()
    found = list(sample_frames(encode(tmp_path / "v.mkv", frames, options=options), 30, report=report))
    assert coarse_numbers(found) == [0, 1, 2, 3, 4, 5]
    assert report.deinterlaced == 0


def test_interlaced_frames_are_turned(tmp_path):
    frame = np.zeros((64, 192, 3), np.uint8)
    frame[:32, :96] = 200
    options = {"x264-params": "interlaced=1", **QUALITY["libx264"]}
    path = encode(tmp_path / "v.mp4", [interlaced(frame, "tff")] * 6, options=options)
    with_rotation(path, 1)
    report = DecodeReport()
    pixels = next(sample_frames(path, 6, report=report)).pixels
    assert report.deinterlaced > 0
    assert np.abs(pixels.astype(int) - np.rot90(frame)).mean() < 5


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
def test_threads_do_not_grow_with_the_frames(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(60))
    before = len(list(Path("/proc/self/task").iterdir()))
    most = max(len(list(Path("/proc/self/task").iterdir())) for _ in sample_frames(path, 30))
    assert most <= before + 4
