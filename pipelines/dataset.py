"""tf.data over a built data set: batches as networks take them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.flow import LEVELS, ZERO_LEVEL
from pipelines.records import feature_description
from pipelines.schema import ClipSpec, Feature, RefusedError
from pipelines.transforms import (
    ClipTensors,
    GeometryRange,
    apply_flip,
    apply_geometry,
    apply_photometry,
    sample_flip,
    sample_geometry,
    sample_photometry,
)

META = (Feature.LABEL, Feature.CLASS, Feature.SUBJECT, Feature.VIDEO, Feature.START_SECONDS)
"""What goes along with a clip's inputs: label and identity."""


@dataclass(frozen=True)
class Augmentation:
    """What a training clip may suffer; all zero or false means none."""

    flip: bool = False
    geometry: GeometryRange = field(default_factory=GeometryRange)
    photometry: float = 0.0
    temporal_jitter: bool = False


def shard_paths(dataset: Path, index: dict[str, Any], subjects: Collection[str]) -> list[Path]:
    """Shards of the videos of `subjects`, in the index's order.

    Raises:
        RefusedError: no clip of any of them.
    """
    chosen = set(subjects)
    paths = [
        dataset / "shards" / entry["shard"]
        for entry in index["videos"]
        if entry["shard"] and entry["subject"] in chosen
    ]
    if not paths:
        raise RefusedError(f"the subjects must have clips in {dataset}. Received: {sorted(chosen)[:5]}, none")
    return paths


def clip_dataset(
    shards: Sequence[Path],
    spec: ClipSpec,
    *,
    batch_size: int,
    inputs: Sequence[str] = ("image", "flow"),
    num_flows: int | None = None,
    augmentation: Augmentation | None = None,
    shuffle: bool = False,
    seed: int = 0,
    cache: bool = False,
) -> tf.data.Dataset:
    """Batches `(inputs, meta)`.

    `inputs`: dict of `image` (B, S, S, 3) float32 0..1 RGB, the window's middle frame, and `flow`
    (B, S, S, 2L) float32, x0, y0, x1, y1, ..., -1..1 of max_flow_px; those that are asked for.
    `meta`: dict of the features in META, each (B,).

    Args:
        num_flows: L, flows a network takes; a window of that length out of the stored clip, from its middle
            or, with temporal jitter, from anywhere. Default: all.
        augmentation: given for training, None for everything else.
        cache: keeps decoded clips in memory (uint8) after the first epoch.
    """
    length = spec.num_flows if num_flows is None else num_flows
    if not 1 <= length <= spec.num_flows:
        raise RefusedError(
            f"num_flows must lie between 1 and the {spec.num_flows} flows that a stored clip has. "
            f"Received: {length}"
        )
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in shards])
    records = files.interleave(
        tf.data.TFRecordDataset, cycle_length=4 if shuffle else 1, num_parallel_calls=1, deterministic=True
    )

    def decode(record: tf.Tensor) -> dict[str, tf.Tensor]:
        return _decode(record, spec, length, "image" in inputs, "flow" in inputs)

    clips = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    if cache:
        clips = clips.cache()
    if shuffle:
        clips = clips.shuffle(1024, seed=seed, reshuffle_each_iteration=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)

    def finish(
        clip: dict[str, tf.Tensor], pair: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        return _finish(clip, pair, spec, length, inputs, augmentation)

    finished = tf.data.Dataset.zip(clips, seeds).map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    return finished.batch(batch_size).prefetch(2)


def _decode(
    record: tf.Tensor, spec: ClipSpec, length: int, with_image: bool, with_flow: bool
) -> dict[str, tf.Tensor]:
    """A record's pixels as uint8: the frames that may be a window's middle, and all flows."""
    size = spec.size
    clip = tf.io.parse_single_example(record, feature_description(spec))
    first, last = length // 2, length // 2 + spec.num_flows - length
    jpegs, pngs = clip.pop(Feature.RGB)[first : last + 1], clip.pop(Feature.FLOW)
    if with_image:
        frames = tf.map_fn(
            lambda jpeg: tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE"),
            jpegs,
            fn_output_signature=tf.uint8,
        )
        clip[Feature.RGB] = tf.ensure_shape(frames, (last - first + 1, size, size, 3))
    if with_flow:
        both = tf.map_fn(lambda png: tf.io.decode_png(png, channels=1), pngs, fn_output_signature=tf.uint8)
        both = tf.ensure_shape(both, (spec.num_flows, size, 2 * size, 1))
        clip[Feature.FLOW] = tf.concat(tf.split(both, 2, axis=2), axis=-1)
    return clip


def _finish(
    clip: dict[str, tf.Tensor],
    seed: tf.Tensor,
    spec: ClipSpec,
    length: int,
    inputs: Sequence[str],
    augmentation: Augmentation | None,
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Cuts the window, changes it at random, and scales it as networks take it."""
    size, spare = spec.size, spec.num_flows - length
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), num=4))
    if augmentation and augmentation.temporal_jitter:
        start = tf.random.stateless_uniform((), seeds[0], 0, spare + 1, tf.int32)
    else:
        start = tf.constant(spare // 2)
    if Feature.RGB in clip:
        image = tf.cast(clip[Feature.RGB][start], tf.float32) / 255.0
    else:
        image = tf.zeros((size, size, 3))
    if Feature.FLOW in clip:
        codes = tf.cast(clip[Feature.FLOW][start : start + length], tf.float32)
        flow = (codes - ZERO_LEVEL) * (spec.max_flow_px / LEVELS)
    else:
        flow = tf.zeros((length, size, size, 2))
    flow = tf.ensure_shape(flow, (length, size, size, 2))
    tensors = ClipTensors(image, flow, clip[Feature.POSE][start : start + length + 1])
    if augmentation:
        tensors = _augment(tensors, seeds[1:], augmentation, size)
    ready = {}
    if "image" in inputs:
        ready["image"] = tensors.image
    if "flow" in inputs:
        stack = tf.transpose(tensors.flow, [1, 2, 0, 3])
        ready["flow"] = tf.reshape(stack, (size, size, 2 * length)) / spec.max_flow_px
    return ready, {name: clip[name] for name in META}


def _augment(
    clip: ClipTensors, seeds: Sequence[tf.Tensor], augmentation: Augmentation, size: int
) -> ClipTensors:
    if augmentation.flip:
        clip = tf.cond(sample_flip(seeds[0]), lambda: apply_flip(clip), lambda: clip)
    if any(augmentation.geometry):
        clip = apply_geometry(clip, sample_geometry(seeds[1], augmentation.geometry, size))
    if augmentation.photometry:
        clip = apply_photometry(clip, sample_photometry(seeds[2], augmentation.photometry))
    return clip
