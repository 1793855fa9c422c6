"""What a clip's flow and frames take on the disk, lose, and take to be read, by several codecs."""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.build import read_index
from pipelines.config import BuildConfig
from pipelines.dataset import shard_paths
from pipelines.record_writer import encode_flow, encode_rgb
from pipelines.records import decode_flow, read_shard
from tfgma.speed.sources import records
from tfgma.turns import interleaved


@dataclass(frozen=True)
class Codec:
    """One array to bytes, and back."""

    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]


def _picture(ending: str, *options: int) -> Codec:
    """A flow's fields side by side, as one grey picture."""

    def encode(flow: np.ndarray) -> bytes:
        both = np.concatenate([flow[..., 0], flow[..., 1]], axis=1)
        return cv2.imencode(ending, both, list(options))[1].tobytes()

    return Codec(encode, decode_flow)


def _colours(quality: int) -> Codec:
    return Codec(
        lambda frame: encode_rgb(frame, quality),
        lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB),
    )


def flow_codecs(shape: tuple[int, ...]) -> dict[str, Codec]:
    """Of (S, S, 2) uint8 codes; the records' own is `png_1_up`."""
    return {
        "png_1_up": Codec(encode_flow, decode_flow),
        "png_1": _picture(".png", cv2.IMWRITE_PNG_COMPRESSION, 1),
        "png_6": _picture(".png", cv2.IMWRITE_PNG_COMPRESSION, 6),
        "jpeg_95": _picture(".jpg", cv2.IMWRITE_JPEG_QUALITY, 95),
        "webp_lossless": _picture(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
        "zlib_1": Codec(
            lambda flow: zlib.compress(flow.tobytes(), 1),
            lambda content: np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape),
        ),
        "raw": Codec(
            lambda flow: flow.tobytes(),
            lambda content: np.frombuffer(content, np.uint8).reshape(shape).copy(),
        ),
    }


def frame_codecs() -> dict[str, Codec]:
    """Of (S, S, 3) uint8 RGB; the records' own is `jpeg_95`."""
    png = Codec(
        lambda frame: cv2.imencode(".png", frame[..., ::-1])[1].tobytes(),
        lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB),
    )
    return {"jpeg_90": _colours(90), "jpeg_95": _colours(95), "jpeg_98": _colours(98), "png": png}


def measure_records(
    out: Path,
    *,
    subjects: int,
    seconds: float,
    clips: int,
    rounds: int,
    workers: int,
    tell: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Figures of each codec on clips of generated infants, on one core, in turn.

    Returns:
        `flow` and `frames`: codec -> `bytes` of one field pair or frame, `error` (mean of absolute
        differences, of 255), `encode_ms` and `decode_ms` (medians over rounds). `ratios`:
        `records_bytes_vs_png`, bytes of the same clips as one colour and two grey PNG files a flow, over
        those of the records.
    """
    tell(0, rounds + 1, "data")
    dataset = records(out, subjects, seconds, workers)
    index, spec = read_index(dataset), BuildConfig().clip
    shards = shard_paths(dataset, index, [entry["subject"] for entry in index["videos"]])
    every = itertools.chain.from_iterable(read_shard(one, spec, index["modalities"]) for one in shards)
    some = [clip for clip, _ in itertools.islice(every, clips)]
    flows = np.concatenate([clip.flow for clip in some])
    frames = np.concatenate([clip.rgb for clip in some])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        found = {
            "flow": _figures(flow_codecs(flows.shape[1:]), flows, rounds),
            "frames": _figures(frame_codecs(), frames, rounds),
        }
    finally:
        cv2.setNumThreads(threads)
    held = spec.num_flows * found["flow"]["png_1_up"]["bytes"] + found["frames"]["jpeg_95"]["bytes"]
    grey = [cv2.imencode(".png", field)[1].size for pair in flows for field in np.moveaxis(pair, -1, 0)]
    pngs = 2 * spec.num_flows * float(np.mean(grey)) + found["frames"]["png"]["bytes"]
    tell(rounds + 1, rounds + 1, "done")
    return {"ratios": {"records_bytes_vs_png": round(pngs / held, 3)}, "clips": len(some), **found}


def _figures(codecs: dict[str, Codec], arrays: np.ndarray, rounds: int) -> dict[str, dict[str, float]]:
    encoded = {name: [codec.encode(one) for one in arrays] for name, codec in codecs.items()}

    def timed(work: Callable[[Any], Any], items: Iterable[Any]) -> Callable[[], float]:
        def turn() -> float:
            begin = time.perf_counter()
            for one in items:
                work(one)
            return time.perf_counter() - begin

        return turn

    turns = {}
    for name, codec in codecs.items():
        turns[f"{name} encode"] = timed(codec.encode, arrays)
        turns[f"{name} decode"] = timed(codec.decode, encoded[name])
    taken = interleaved(turns, rounds)
    return {
        name: {
            "bytes": round(float(np.mean([len(one) for one in encoded[name]])), 1),
            "error": round(_error(codec, arrays, encoded[name]), 4),
            **{
                f"{what}_ms": round(1000 * float(np.median(taken[f"{name} {what}"])) / len(arrays), 4)
                for what in ("encode", "decode")
            },
        }
        for name, codec in codecs.items()
    }


def _error(codec: Codec, arrays: np.ndarray, encoded: list[bytes]) -> float:
    pairs = zip(arrays, encoded, strict=True)
    return float(np.mean([np.abs(codec.decode(code).astype(np.int16) - one).mean() for one, code in pairs]))
