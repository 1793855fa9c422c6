"""Damaged video files, made by chance from a seed, and what reading them comes to.

Files are read in processes of their own, so that a fault inside FFmpeg is seen and counted.
"""

import multiprocessing
import resource
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np

from pipelines.schema import RefusedError
from pipelines.video import DecodeReport, sample_frames

LIMIT_SECONDS = 10
"""A file that takes longer counts as a hang."""

LIMIT_BYTES = 4_000_000_000
"""Address space of a process that reads; what asks for more fails with MemoryError."""

WIDTH, HEIGHT, FPS, SECONDS = 64, 48, 15, 3

PLAIN = {"g": "10"}
# x264's assembler does not write the same file twice.
X264 = {**PLAIN, "preset": "veryfast", "crf": "23", "x264-params": "bframes=2:b-adapt=0:scenecut=0:asm=0"}
X265 = {**PLAIN, "preset": "ultrafast", "x265-params": "log-level=none"}
# In real time the clock decides what the encoder tries.
VPX = {**PLAIN, "cpu-used": "5", "deadline": "good"}
SEEDS = {
    "h264.mp4": ("libx264", "yuv420p", X264, {}),
    "h264_faststart.mp4": ("libx264", "yuv420p", X264, {"movflags": "faststart"}),
    "h264_fragmented.mp4": ("libx264", "yuv420p", X264, {"movflags": "frag_keyframe+empty_moov"}),
    "h264.mkv": ("libx264", "yuv420p", X264, {}),
    "h264.ts": ("libx264", "yuv420p", X264, {}),
    "h264_10bit.mov": ("libx264", "yuv422p10le", X264, {}),
    "h264_interlaced.mkv": ("libx264", "yuv420p", {**X264, "x264-params": "interlaced=1:asm=0"}, {}),
    "hevc.mp4": ("libx265", "yuv420p", X265, {"movflags": "faststart"}),
    "hevc_10bit.mkv": ("libx265", "yuv420p10le", X265, {}),
    "vp8.webm": ("libvpx", "yuv420p", VPX, {}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", VPX, {}),
    "av1.mp4": ("libsvtav1", "yuv420p", {**PLAIN, "preset": "12"}, {}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {**PLAIN, "bf": "2"}, {}),
    "mpeg4.mp4": ("mpeg4", "yuv420p", PLAIN, {}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", {}, {}),
    "mjpeg.mov": ("mjpeg", "yuvj422p", {}, {}),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", PLAIN, {}),
    "wmv2.wmv": ("wmv2", "yuv420p", PLAIN, {}),
    "h263.3gp": ("h263", "yuv420p", PLAIN, {}),
    "prores.mov": ("prores_ks", "yuv422p10le", {}, {}),
}
"""File name -> encoder, pixel format, options of the encoder, options of the container."""


def write_seeds(folder: Path) -> list[Path]:
    """The sound files: a bright square that moves over noise, with sound where the container takes AAC."""
    rng = np.random.default_rng(0)
    paths = []
    for name, (codec, pix_fmt, options, container_options) in SEEDS.items():
        path = folder / name
        # H.263 knows five sizes.
        width, height = (128, 96) if codec == "h263" else (WIDTH, HEIGHT)
        # Otherwise Matroska's identifiers are random, and sizes of frames depend on threads.
        same = {"flags": "+bitexact"}
        exact = {"fflags": "+bitexact", **container_options}
        with av.open(str(path), "w", options=exact) as container:
            stream = container.add_stream(codec, rate=FPS, options={**options, **same})
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            stream.codec_context.thread_count = 1
            sound = container.add_stream("aac", rate=8000) if path.suffix in {".mp4", ".mkv"} else None
            for number in range(FPS * SECONDS):
                pixels = rng.integers(60, 120, (height, width, 3), np.uint8)
                pixels[8:24, number : number + 16] = 230
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            if sound is not None:
                wave = rng.normal(size=(1, 8000 * SECONDS)).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(wave / 8, "fltp", "mono")
                frame.sample_rate = 8000
                container.mux(sound.encode(frame))
                container.mux(sound.encode())
            container.mux(stream.encode())
        paths.append(path)
    return paths


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes after one kind of damage, or two."""
    for _ in range(rng.integers(1, 3)):
        content = DAMAGES[rng.integers(len(DAMAGES))](bytearray(content), rng)
    return bytes(content)


def _cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: rng.integers(1, len(content))]


def _flip_bits(content: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(content), 2 ** rng.integers(0, 9)):
        content[at] ^= 1 << rng.integers(8)
    return content


def _damage_header(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Headers stand at the start; of MP4 at the end as well."""
    near = min(len(content), 1500)
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(near))
        at = at if rng.integers(2) else len(content) - 1 - at
        content[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
    return content


def _extreme_number(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Sizes, counts and times of four bytes get values that nobody expects."""
    near = min(len(content), 1500)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(near))
        at = at if rng.integers(2) else max(0, len(content) - 4 - at)
        value = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00FFFFFF]))
        content[at : at + 4] = value.to_bytes(4, "big")
    return content


def _zero_block(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, end = sorted(rng.integers(0, len(content) + 1, 2))
    content[start:end] = bytes(int(end - start))
    return content


def _drop_block(content: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(content)))
    del content[start : start + 2 ** int(rng.integers(0, 12))]
    return content or bytearray(1)


def _repeat_block(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, at = (int(one) for one in rng.integers(0, len(content), 2))
    content[at:at] = content[start : start + 2 ** int(rng.integers(0, 12))]
    return content


DAMAGES = (_cut, _flip_bits, _damage_header, _extreme_number, _zero_block, _drop_block, _repeat_block)


def write_damaged(seeds: list[Path], folder: Path, number: int) -> Path:
    """File `number`: always the same for the same seeds."""
    rng = np.random.default_rng(number)
    seed = seeds[number % len(seeds)]
    path = folder / f"{number:05d}_{seed.name}"
    path.write_bytes(damaged(seed.read_bytes(), rng))
    return path


def read(path: Path) -> str:
    """What reading comes to: "frames", "frames, damage told", "refused", or what is wrong."""
    report = DecodeReport()
    try:
        frames = list(sample_frames(path, 6, report=report))
    except RefusedError as error:
        sentence = str(error)
        good = sentence.startswith("a video must ") and f"Received: {path.name}" in sentence
        return "refused" if good else f"refused without rule and file: {sentence}"
    except BaseException:
        return f"error: {traceback.format_exc()}"
    if not frames or report.frames < 1 or report.sampled != len(frames):
        return f"frames do not agree with the report: {len(frames)} {report}"
    if {frame.pixels.shape for frame in frames} != {frames[0].pixels.shape}:
        return "frames differ in size"
    times = [frame.seconds for frame in frames]
    if times != sorted(times) or [frame.index for frame in frames] != sorted({one.index for one in frames}):
        return "time runs back"
    return "frames, damage told" if report.damaged else "frames"


def _serve(connection, reading) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    av.logging.set_level(None)
    while True:
        connection.send(reading(connection.recv()))


class Reader:
    """A process that reads files with `reading`, and another one when it dies or hangs."""

    def __init__(self, reading=read, limit_seconds=LIMIT_SECONDS):
        self._reading, self._limit_seconds = reading, limit_seconds
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def _end(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def read(self, path: Path) -> str:
        """As `reading` says; "hang" or "died" when there was no answer."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._reading), daemon=True)
            self._process.start()
            theirs.close()
        self._connection.send(path)
        try:
            if self._connection.poll(self._limit_seconds):
                return self._connection.recv()
            outcome = f"hang of more than {self._limit_seconds} s"
        except (EOFError, ConnectionResetError):
            self._process.join()
            outcome = f"died with exit code {self._process.exitcode}"
        self._end()
        return outcome


def outcomes(seeds: list[Path], folder: Path, numbers: range, processes: int = 2) -> dict[Path, str]:
    """What each of the files `numbers` comes to; those that come to good are deleted."""

    def work(share: range) -> dict[Path, str]:
        found = {}
        with Reader() as reader:
            for number in share:
                path = write_damaged(seeds, folder, number)
                found[path] = reader.read(path)
                if found[path] in GOOD:
                    path.unlink()
        return found

    with ThreadPoolExecutor(processes) as pool:
        shares = pool.map(work, [numbers[first::processes] for first in range(processes)])
    return {path: outcome for share in shares for path, outcome in share.items()}


GOOD = ("frames", "frames, damage told", "refused")


def summary(found: dict[Path, str]) -> str:
    """Counts, most frequent first."""
    return ", ".join(f"{outcome}: {count}" for outcome, count in Counter(found.values()).most_common())
