"""Clips as TFRecord examples: the one place that knows how they are written and read."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from pipelines.clips import Clip
from pipelines.files import written_whole
from pipelines.schema import (
    FEATURE_JOINTS,
    JOINT_FEATURES,
    JOINTS,
    MODALITIES,
    ClipSpec,
    Feature,
    RefusedError,
)

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
    # Level 1: flow hardly shrinks with more effort, and encoding is then as fast as writing.
    return _png(np.concatenate([flow[..., 0], flow[..., 1]], axis=1))


def decode_flow(png: bytes) -> np.ndarray:
    """The inverse of `encode_flow`."""
    both = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.stack(np.split(both, 2, axis=1), axis=-1)


def encode_rgb(image: np.ndarray, quality: int) -> bytes:
    """(S, S, 3) uint8 RGB -> JPEG."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _decode_jpeg(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def encode_clip(
    clip: Clip, identity: Identity, jpeg_quality: int = 95, modalities: Collection[str] = MODALITIES
) -> bytes:
    """One clip as a serialised `tf.train.Example`, with these of MODALITIES and nothing of the others."""

    def texts(values: list[bytes]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def reals(values: Any) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(values)))

    features = {
        Feature.LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[identity.label])),
        Feature.CLASS: texts([identity.class_name.encode()]),
        Feature.SUBJECT: texts([identity.subject.encode()]),
        Feature.VIDEO: texts([identity.video.encode()]),
        Feature.START_SECONDS: reals([clip.start_seconds]),
        Feature.FPS: reals([clip.fps]),
        Feature.MASK_AREA: reals(clip.mask_area),
        Feature.QUALITY: reals([clip.quality]),
    }
    if "rgb" in modalities:
        features[Feature.RGB] = texts([encode_rgb(frame, jpeg_quality) for frame in clip.rgb])
    if "flow" in modalities:
        features[Feature.FLOW] = texts([encode_flow(field) for field in clip.flow])
    if "pose" in modalities:
        features[Feature.POSE] = reals(clip.pose)
        features[Feature.JOINT_FEATURES] = reals(clip.joint_features)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # Maps have no order of their own; equal clips shall give equal bytes.
    return example.SerializeToString(deterministic=True)


def feature_description(
    spec: ClipSpec, modalities: Collection[str] = MODALITIES
) -> dict[str, tf.io.FixedLenFeature]:
    """What `tf.io.parse_single_example` needs to read a clip of a data set with these modalities."""
    frames, flows = spec.num_frames, spec.num_flows
    fixed = tf.io.FixedLenFeature
    of_modalities = {
        Feature.RGB: fixed([frames], tf.string),
        Feature.FLOW: fixed([flows], tf.string),
        Feature.POSE: fixed([frames, len(JOINTS), 3], tf.float32),
        Feature.JOINT_FEATURES: fixed([frames, len(FEATURE_JOINTS), len(JOINT_FEATURES)], tf.float32),
    }
    return {
        Feature.LABEL: fixed([], tf.int64),
        Feature.CLASS: fixed([], tf.string),
        Feature.SUBJECT: fixed([], tf.string),
        Feature.VIDEO: fixed([], tf.string),
        Feature.START_SECONDS: fixed([], tf.float32),
        Feature.FPS: fixed([], tf.float32),
        Feature.MASK_AREA: fixed([frames], tf.float32),
        Feature.QUALITY: fixed([], tf.float32),
        **{name: of_modalities[name] for one in MODALITIES if one in modalities for name in FEATURES_OF[one]},
    }


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
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for example in examples:
                    writer.write(example)
                    count += 1
            if not count:
                temporary.unlink()
    except tf.errors.OpError as error:
        raise OSError(f"{path.name}: {error.message}") from error
    return count


def read_shard(
    path: Path, spec: ClipSpec, modalities: Collection[str] = MODALITIES
) -> Iterator[tuple[Clip, Identity]]:
    """The clips of one shard of a data set with these modalities, in the order they were written.

    Arrays of the others have no frames.

    Raises:
        RefusedError: the shard is damaged or was written for another ClipSpec; it is named.
    """
    description = feature_description(spec, modalities)
    no_features = np.zeros((0, len(FEATURE_JOINTS), len(JOINT_FEATURES)), np.float32)
    try:
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            parsed = {k: v.numpy() for k, v in tf.io.parse_single_example(raw, description).items()}
            frames = [_decode_jpeg(jpeg) for jpeg in parsed.get(Feature.RGB, ())]
            flows = [decode_flow(png) for png in parsed.get(Feature.FLOW, ())]
            clip = Clip(
                start_seconds=float(parsed[Feature.START_SECONDS]),
                fps=float(parsed[Feature.FPS]),
                rgb=np.stack(frames) if frames else np.zeros((0, spec.size, spec.size, 3), np.uint8),
                flow=np.stack(flows) if flows else np.zeros((0, spec.size, spec.size, 2), np.uint8),
                pose=parsed.get(Feature.POSE, np.zeros((0, len(JOINTS), 3), np.float32)),
                joint_features=parsed.get(Feature.JOINT_FEATURES, no_features),
                mask_area=parsed[Feature.MASK_AREA],
                quality=float(parsed[Feature.QUALITY]),
            )
            yield (
                clip,
                Identity(
                    label=int(parsed[Feature.LABEL]),
                    class_name=parsed[Feature.CLASS].decode(),
                    subject=parsed[Feature.SUBJECT].decode(),
                    video=parsed[Feature.VIDEO].decode(),
                ),
            )
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        raise RefusedError(
            f"a shard must be whole and of this data set's ClipSpec. Received: {path.name} "
            f"({error.message.splitlines()[0][:120]}). Build it again"
        ) from error
