"""Clips read from TFRecord files, by TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from pipelines.clips import Clip
from pipelines.record_writer import FEATURES_OF, Identity
from pipelines.schema import (
    FEATURE_JOINTS,
    JOINT_FEATURES,
    JOINTS,
    MODALITIES,
    ClipSpec,
    Feature,
    RefusedError,
)


def decode_flow(png: bytes) -> np.ndarray:
    """The inverse of `pipelines.record_writer.encode_flow`."""
    both = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.stack(np.split(both, 2, axis=1), axis=-1)


def _decode_jpeg(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


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
