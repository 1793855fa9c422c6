"""Which library reads videos: exactness and speed of pipelines.video (PyAV), OpenCV and, if there, decord.

    .venv/bin/python benchmarks/decoders.py

All read the same generated files, every frame as upright RGB with a long side of 640 px, on two threads. Each
picture carries its number, so that a frame that is lost, repeated, late, broken or lying across is seen.
Speed is frames a second of processor time, all threads together, the best of five turns: what else runs
on the machine can only slow a turn down.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import cv2
import numpy as np

from pipelines.video import DecodeReport, sample_frames, working_size
from tests.conftest import write_video
from tests.pipelines.test_video import encode, set_edit_list, with_rotation, yuv_frame

LONG_SIDE_PX, THREADS, TURNS, FRAMES = 640, 2, 5, 90
SIZES = {"640x480": (480, 640), "1920x1080": (1080, 1920)}
CODECS = {
    "H.264": ("libx264", {"preset": "veryfast", "bf": "3", "g": "30"}),
    "HEVC": ("libx265", {"preset": "ultrafast", "g": "30", "x265-params": "log-level=none:bframes=3"}),
}
BITS = 8
MOST_SECONDS_OFF = 0.002
MOST_LEVELS_OFF = 12
"""Mean difference from the picture that was encoded, beyond which a frame is broken."""

Frames = Iterator[tuple[float, np.ndarray]]


@lru_cache
def texture(height: int, width: int) -> np.ndarray:
    """(H + some, W + some, 3) uint8: something to move over."""
    coarse = np.random.default_rng(0).integers(60, 200, (height // 16 + 12, width // 16 + 32, 3), np.uint8)
    return cv2.resize(coarse, None, fx=16, fy=16, interpolation=cv2.INTER_CUBIC)


def picture(number: int, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: a texture that moves, with `number` in black and white blocks across the top."""
    shift = number % 120
    pixels = texture(height, width)[shift : shift + height, 2 * shift : 2 * shift + width].copy()
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        pixels[: height // 8, left:right] = 235 if number >> bit & 1 else 16
    return pixels


def number_of(pixels: np.ndarray) -> int:
    """The number in a picture."""
    height, width = pixels.shape[:2]
    row = pixels[height // 32 : 3 * height // 32].mean((0, 2))
    return sum(
        int(row[int((bit + 0.25) * width / BITS) : int((bit + 0.75) * width / BITS)].mean() > 125) << bit
        for bit in range(BITS)
    )


def read_with_pyav(path: Path, told: list[str]) -> Frames:
    report = DecodeReport()
    # At a low frame rate the grid takes a frame twice.
    last = -1.0
    for frame in sample_frames(path, 30, long_side_px=LONG_SIDE_PX, report=report):
        if frame.seconds > last:
            yield frame.seconds, frame.pixels
        last = frame.seconds
    if report.damaged:
        told.append(report.damaged)


def read_with_opencv(path: Path, told: list[str]) -> Frames:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, THREADS])
    start = None
    while True:
        good, pixels = capture.read()
        if not good:
            return
        seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        start = seconds if start is None else start
        size = working_size(pixels.shape[1], pixels.shape[0], LONG_SIDE_PX)
        if size != pixels.shape[1::-1]:
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        yield seconds - start, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def read_with_decord(path: Path, told: list[str]) -> Frames:
    import decord

    height, width = decord.VideoReader(str(path), num_threads=THREADS)[0].shape[:2]
    size = working_size(width, height, LONG_SIDE_PX)
    reader = decord.VideoReader(str(path), num_threads=THREADS, width=size[0], height=size[1])
    start = reader.get_frame_timestamp(0)[0]
    for index in range(len(reader)):
        yield reader.get_frame_timestamp(index)[0] - start, reader[index].asnumpy()


READERS = {"PyAV (pipelines.video)": read_with_pyav, "OpenCV VideoCapture": read_with_opencv}
if importlib.util.find_spec("decord"):
    READERS["decord"] = read_with_decord


def uneven_times() -> list[float]:
    """30 frames a second, then 12 a second: a phone in falling light."""
    half = FRAMES // 2
    return [k / 30 if k < half else half / 30 + (k - half) / 12 for k in range(FRAMES)]


def first_shown(path: Path) -> int:
    """Time of the first frame in the track, which the edit list names: with B-frames it is not zero."""
    content = path.read_bytes()
    entry = content.index(b"elst") + 12
    return int.from_bytes(content[entry + 4 : entry + 8], "big")


def write_cases(folder: Path, codec: str, size: str) -> dict[str, tuple[Path, list]]:
    """Name of the check -> file, and the time at which each of its frames is shown; None: not at all."""
    encoder, options = CODECS[codec]
    height, width = SIZES[size]
    frames = [picture(number, height, width) for number in range(FRAMES)]
    even = [number / 30 for number in range(FRAMES)]
    settings = {"codec": encoder, "options": options, "container_options": {"movflags": "faststart"}}
    whole = write_video(folder / "whole.mp4", frames, **settings)
    uneven = write_video(folder / "uneven.mp4", frames, times=uneven_times(), **settings)
    turned, cut, corrupt = folder / "turned.mp4", folder / "cut.mp4", folder / "corrupt.mp4"
    content = whole.read_bytes()
    turned.write_bytes(content)
    with_rotation(turned, 1)
    cut.write_bytes(content[: round(0.6 * len(content))])
    noise = np.random.default_rng(0).integers(0, 256, len(content) - round(0.6 * len(content)), np.uint8)
    corrupt.write_bytes(content[: round(0.6 * len(content))] + noise.tobytes())
    edited = write_video(folder / "edited.mp4", frames, codec=encoder, options=options)
    with av.open(str(edited)) as container:
        second = round(1 / container.streams.video[0].time_base)
    set_edit_list(edited, [((FRAMES - 30) * 1000 // 30, first_shown(edited) + second)])
    return {
        "B-frames": (whole, even),
        "uneven frame rate": (uneven, uneven_times()),
        "rotation": (turned, even),
        "edit list": (edited, [None] * 30 + even[:-30]),
        "cut tail": (cut, even),
        "corrupt tail": (corrupt, even),
    }


def check(name: str, reader, path: Path, times: list, size: str) -> str:
    """What a reader makes of a file, in words."""
    told: list[str] = []
    numbers, seconds_off, broken, across = [], 0.0, 0, 0
    shape = tuple(reversed(working_size(*reversed(SIZES[size]), LONG_SIDE_PX)))
    try:
        for seconds, pixels in reader(path, told):
            if name == "rotation":
                pixels = np.rot90(pixels, -1)
            if pixels.shape[:2] != shape:
                across += 1
                continue
            number = number_of(pixels)
            numbers.append(number)
            if number >= len(times) or times[number] is None:
                broken += 1
                continue
            seconds_off = max(seconds_off, abs(seconds - times[number]))
            right = cv2.resize(picture(number, *SIZES[size]), shape[::-1], interpolation=cv2.INTER_AREA)
            broken += np.abs(right.astype(int) - pixels).mean() > MOST_LEVELS_OFF
    except Exception as error:
        told.append(f"{type(error).__name__}")
        numbers = numbers or []
    if across:
        return "not turned"
    tail = name in ("cut tail", "corrupt tail")
    faults = []
    first = times.count(None)
    if numbers != list(range(first, first + len(numbers))):
        faults.append("frames out of order or lost")
    if seconds_off > MOST_SECONDS_OFF:
        faults.append(f"times off by up to {seconds_off:.2f} s")
    if broken:
        faults.append(f"{broken} frames broken")
    if not tail:
        if len(numbers) != len(times) - first:
            faults.append(f"{len(numbers)} of {len(times) - first} frames")
        return "; ".join(faults) or "exact"
    return "; ".join([f"{len(numbers)} frames", *faults, "says so" if told else "silent"])


def frames_a_second(reader, path: Path) -> float:
    begin = time.process_time()
    count = sum(1 for _ in reader(path, []))
    return count / (time.process_time() - begin)


def colours(reader, path: Path, codec: str, size: str) -> str:
    """How well a colour comes back that the file names as BT.709."""
    encoder, options = CODECS[codec]
    rgb = (200, 60, 90)
    frames = [yuv_frame(rgb, "bt709", False, *SIZES[size]) for _ in range(6)]
    for frame in frames:
        frame.colorspace = frame.color_range = 1

    def name_them(stream):
        stream.codec_context.colorspace = stream.codec_context.color_range = 1

    encode(path, frames, codec=encoder, options=options, setup=name_them)
    _, pixels = next(reader(path, []))
    off = np.abs(pixels.reshape(-1, 3).mean(0) - rgb).max()
    return "exact" if off < 4 else f"off by {off:.0f} of 255"


def main() -> None:
    """Prints one table a kind of file."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    cv2.setNumThreads(THREADS)
    for size in SIZES:
        for codec in CODECS:
            with tempfile.TemporaryDirectory() as folder:
                cases = write_cases(Path(folder), codec, size)
                rows = {
                    reader: {name: check(name, READERS[reader], *cases[name], size) for name in cases}
                    for reader in READERS
                }
                for reader, row in rows.items():
                    row["BT.709 colours"] = colours(READERS[reader], Path(folder) / "hd.mp4", codec, size)
                best = dict.fromkeys(READERS, 0.0)
                for _ in range(TURNS):
                    for reader in READERS:
                        speed = frames_a_second(READERS[reader], cases["B-frames"][0])
                        best[reader] = max(best[reader], speed)
            print(f"\n{codec} {size}, {FRAMES} frames\n")
            titles = ["", *rows["OpenCV VideoCapture"], "frames a second"]
            print("| " + " | ".join(titles) + " |")
            print("|---" * len(titles) + "|")
            for reader, row in rows.items():
                print(
                    f"| {reader} | " + " | ".join([*row.values(), f"{best[reader]:.0f}"]) + " |", flush=True
                )


if __name__ == "__main__":
    main()
