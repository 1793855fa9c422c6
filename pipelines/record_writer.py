"""Clips written as TFRecord files, without the seconds that importing TensorFlow takes."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from pipelines.clips import Clip
from pipelines.files import written_whole
from pipelines.schema import MODALITIES, Feature

FEATURES_OF = {
    "rgb": (Feature.RGB,),
    "flow": (Feature.FLOW,),
    "pose": (Feature.POSE, Feature.JOINT_FEATURES),
}
"""Modality -> features that only records with it hold."""


@dataclass(frozen=True)
class Identity:
    """Whose clip it is."""

    label: int
    class_name: str
    subject: str
    video: str


def encode_flow(flow: np.ndarray) -> bytes:
    """(S, S, 2) uint8 codes -> PNG of (S, 2S), x field left of y field. Lossless."""
    # Level 1: flow hardly shrinks with more effort. Rows as differences from those above: encoded in half the
    # time that OpenCV's own choice of a filter takes, decoded in three quarters, no larger (docs/speed.md).
    both = np.concatenate([flow[..., 0], flow[..., 1]], axis=1)
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return cv2.imencode(".png", both, options)[1].tobytes()


def encode_rgb(image: np.ndarray, quality: int) -> bytes:
    """(S, S, 3) uint8 RGB -> JPEG."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_clip(
    clip: Clip, identity: Identity, jpeg_quality: int = 95, modalities: Collection[str] = MODALITIES
) -> bytes:
    """One clip as a serialised `tf.train.Example`, with these of MODALITIES and nothing of the others."""
    example = _Example()

    def put(name: str, kind: str, values: Iterable[Any]) -> None:
        getattr(example.features.feature[name], kind).value.extend(values)

    put(Feature.LABEL, "int64_list", [identity.label])
    put(Feature.CLASS, "bytes_list", [identity.class_name.encode()])
    put(Feature.SUBJECT, "bytes_list", [identity.subject.encode()])
    put(Feature.VIDEO, "bytes_list", [identity.video.encode()])
    put(Feature.START_SECONDS, "float_list", [clip.start_seconds])
    put(Feature.FPS, "float_list", [clip.fps])
    put(Feature.MASK_AREA, "float_list", clip.mask_area.tolist())
    put(Feature.QUALITY, "float_list", [clip.quality])
    if "rgb" in modalities:
        put(Feature.RGB, "bytes_list", [encode_rgb(frame, jpeg_quality) for frame in clip.rgb])
    if "flow" in modalities:
        put(Feature.FLOW, "bytes_list", [encode_flow(field) for field in clip.flow])
    if "pose" in modalities:
        put(Feature.POSE, "float_list", clip.pose.ravel().tolist())
        put(Feature.JOINT_FEATURES, "float_list", clip.joint_features.ravel().tolist())
    # Maps have no order of their own; equal clips shall give equal bytes.
    return bytes(example.SerializeToString(deterministic=True))


def write_shard(path: Path, examples: Iterable[bytes]) -> int:
    """Writes the examples, all or none of them (`pipelines.files.written_whole`); returns how many.

    If `examples` raises, or is empty, nothing is left behind.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    count = 0
    try:
        # A worker that a scheduler gave up may still be writing the same shard.
        with written_whole(path, f".{secrets.token_hex(4)}") as temporary:
            with temporary.open("wb") as file:
                for example in examples:
                    file.write(framed(example))
                    count += 1
            if not count:
                temporary.unlink()
    except OSError as error:
        error.filename = error.filename or path.name  # a full disk does not say whose
        raise
    return count


def framed(example: bytes) -> bytes:
    """A record of a TFRecord file: its length and its bytes, each followed by a checksum."""
    length = struct.pack("<Q", len(example))
    return length + _masked_checksum(length) + example + _masked_checksum(example)


def _masked_checksum(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    # Turned and moved, as the format asks: checksums of what holds checksums are weak.
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _field(name: str, number: int, kind: str, *, many: bool = False, oneof: bool = False) -> dict[str, Any]:
    field: dict[str, Any] = {"name": name, "number": number}
    field["label"] = "LABEL_REPEATED" if many else "LABEL_OPTIONAL"
    field |= {"type": kind} if kind.isupper() else {"type": "TYPE_MESSAGE", "typeName": f".tfgma.{kind}"}
    return field | ({"oneofIndex": 0} if oneof else {})


def _example_class() -> type[Any]:
    """The message `tf.train.Example`: its fields as their published definition numbers them."""
    entry = {
        "name": "FeatureEntry",  # what a map<string, Feature> is made of
        "field": [_field("key", 1, "TYPE_STRING"), _field("value", 2, "Feature")],
        "options": {"mapEntry": True},
    }
    messages = [
        {"name": "BytesList", "field": [_field("value", 1, "TYPE_BYTES", many=True)]},
        {"name": "FloatList", "field": [_field("value", 1, "TYPE_FLOAT", many=True)]},
        {"name": "Int64List", "field": [_field("value", 1, "TYPE_INT64", many=True)]},
        {
            "name": "Feature",
            "field": [
                _field("bytes_list", 1, "BytesList", oneof=True),
                _field("float_list", 2, "FloatList", oneof=True),
                _field("int64_list", 3, "Int64List", oneof=True),
            ],
            "oneofDecl": [{"name": "kind"}],
        },
        {
            "name": "Features",
            "field": [_field("feature", 1, "Features.FeatureEntry", many=True)],
            "nestedType": [entry],
        },
        {"name": "Example", "field": [_field("features", 1, "Features")]},
    ]
    file = {"name": "tfgma/example.proto", "package": "tfgma", "syntax": "proto3", "messageType": messages}
    # A pool of its own: TensorFlow's message of this kind may live in the same process.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(json_format.ParseDict(file, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfgma.Example"))


_Example = _example_class()
