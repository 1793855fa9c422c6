"""tf.data over a built data set: batches as networks take them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config import InputSettings
from pipelines.flow import ZERO_LEVEL
from pipelines.inputs import (
    PICTURES,
    frame_indices,
    input_shape,
    pose_starts,
    refuse_missing,
    window_flows,
)
from pipelines.records import feature_description
from pipelines.sampling import Sampling
from pipelines.schema import JOINTS, MODALITIES, ClipSpec, Feature, RefusedError
from pipelines.transforms import (
    ClipPixels,
    Geometry,
    GeometryRange,
    Photometry,
    apply_flip,
    apply_geometry,
    apply_photometry,
    flip_joint_features,
    sample_flip,
    sample_geometry,
    sample_photometry,
)

# What is mapped here says tf.cond where it means it; AutoGraph would take seconds to find nothing to change.
as_written = tf.autograph.experimental.do_not_convert

DEFAULT_INPUTS = InputSettings()

SHUFFLED_RECORDS = 1024
"""Records that wait to be drawn from, where decoded clips are not kept in memory."""

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
    settings: InputSettings = DEFAULT_INPUTS,
    modalities: Collection[str] = MODALITIES,
    augmentation: Augmentation | None = None,
    shuffle: bool = False,
    seed: int = 0,
    cache: bool = False,
    sampling: Sampling | None = None,
    epochs: range = range(1),
    stored: bool = False,
) -> tf.data.Dataset:
    """Batches `(inputs, meta)` of passes over the clips, one after the other.

    `inputs`: dict of those that are asked for, each (B, *pipelines.inputs.input_shape(name)) float32: `image`
    (the window's middle frame), `frames`, `slow`, `fast` (frames spread over the window), RGB
    (0..1 - mean) / std; `flow`, x0, y0, x1, y1, ..., -1..1 of max_flow_px; `pose`, joint features.
    `meta`: dict of the features in META, each (B,).

    Args:
        settings: what of a clip a network takes; its window lies in the clip's middle or, with temporal
            jitter, anywhere.
        modalities: what the records hold (index["modalities"]).
        augmentation: given for training, None for everything else.
        shuffle: takes the clips of each pass in another order.
        seed: with a pass's number it fixes that pass's order, draw and augmentation.
        cache: keeps decoded clips in memory (uint8) after the first pass.
        sampling: which clips of these shards each pass takes, drawn anew; None for each once.
        epochs: numbers of the passes. A pass is the same whichever pass came before.
        stored: pictures and flow are as they are stored, uint8, a quarter of the bytes; for `scaled`, or a
            network that scales them itself (tfgma.stored_inputs).

    Raises:
        RefusedError: the records hold no such input, or their clips are too short for it.
    """
    refuse_missing(inputs, modalities)
    plan = _Plan.of(spec, settings, inputs, modalities, bool(augmentation and augmentation.temporal_jitter))
    paths, firsts = [str(path) for path in shards], sampling.firsts if sampling else [0] * len(shards)
    if shuffle and cache:
        # What is cached keeps one order for good; shards lie class by class.
        order = np.random.default_rng(seed).permutation(len(paths))
        paths, firsts = [paths[i] for i in order], [firsts[i] for i in order]
    # Each record will be read with its number, counted through the shards as they were given.
    files = tf.data.Dataset.from_tensor_slices((paths, np.array(firsts)))

    def read(files: tf.data.Dataset) -> tf.data.Dataset:
        return files.interleave(
            lambda path, first: tf.data.TFRecordDataset(path).enumerate(first),
            cycle_length=4 if shuffle else 1,
            num_parallel_calls=1,
            deterministic=True,
        )

    @as_written
    def decode(number: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return number, _decode(record, plan)

    decoded = read(files).map(decode, num_parallel_calls=tf.data.AUTOTUNE).cache() if cache else None

    @as_written
    def one_pass(epoch: tf.Tensor) -> tf.data.Dataset:
        if shuffle:
            # Of this function's graph, so that the order depends on no seed that is set elsewhere. TensorFlow
            # compares (0, tensor) with (0, 0) and fails, so it is not 0.
            tf.random.set_seed(1)
        if decoded is not None:
            # Clips that lie in memory anyway can all be drawn from.
            clips, drawn_from = decoded, max(SHUFFLED_RECORDS, sum(sampling.clips) if sampling else 0)
        else:
            around = files.shuffle(len(paths), seed=_seed(seed, epoch)) if shuffle else files
            clips, drawn_from = read(around), SHUFFLED_RECORDS
        if sampling and not sampling.takes_all:
            clips = _drawn(clips, sampling, seed, epoch)
        if shuffle:
            clips = clips.shuffle(drawn_from, seed=_seed(seed, epoch))
        if decoded is None:
            clips = clips.map(decode, num_parallel_calls=tf.data.AUTOTUNE)

        @as_written
        def finish(place: tf.Tensor, content: tuple[tf.Tensor, dict[str, tf.Tensor]]) -> tuple[Any, Any]:
            pair = tf.random.fold_in(tf.cast([seed, epoch], tf.int32), tf.cast(place, tf.int32))
            return _finish(content[1], pair, plan, augmentation)

        finished = clips.enumerate().map(finish, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
        return finished if stored else scaled(finished, settings)

    if len(epochs) == 1 and not shuffle:
        return one_pass(tf.constant(epochs[0], tf.int64)).prefetch(2)
    # One dataset for all passes: the next begins to be read while the last batches of one are trained on.
    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_pass).prefetch(2)


def scaled(stored: tf.data.Dataset, settings: InputSettings) -> tf.data.Dataset:
    """Batches of `clip_dataset(stored=True)` as networks take them."""

    @as_written
    def scale(inputs: dict[str, tf.Tensor], meta: dict[str, tf.Tensor]) -> tuple[Any, Any]:
        ready = dict(inputs)
        for name in PICTURES & set(inputs):
            ready[name] = (tf.cast(inputs[name], tf.float32) / 255.0 - settings.mean) / settings.std
        if "flow" in inputs:
            ready["flow"] = _dequantised(inputs["flow"])
        return ready, meta

    return stored.map(scale, num_parallel_calls=tf.data.AUTOTUNE)


def decoded_bytes(
    spec: ClipSpec,
    settings: InputSettings,
    inputs: Sequence[str],
    modalities: Collection[str],
    *,
    jitter: bool,
) -> int:
    """What a clip takes in memory with `cache`; `jitter`: its window may lie anywhere."""
    plan = _Plan.of(spec, settings, inputs, modalities, jitter)
    flows = spec.num_flows if "flow" in inputs else 0
    return spec.size**2 * (3 * len(plan.decoded) + 2 * flows)


def _seed(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """A seed of its own for each pass, as Dataset.shuffle takes it."""
    pair = tf.cast([seed, epoch], tf.int32)
    return tf.random.stateless_uniform((), pair, maxval=tf.int64.max, dtype=tf.int64)


def _drawn(numbered: tf.data.Dataset, sampling: Sampling, seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """Each of (number, content) as often as this pass's draw says."""
    times = tf.numpy_function(lambda epoch: sampling.draw((seed, int(epoch))), [epoch], tf.int64)
    times = tf.ensure_shape(times, (sum(sampling.clips),))

    def repeated(number: tf.Tensor, content: Any) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors((number, content)).repeat(times[number])

    return numbered.flat_map(repeated)


@dataclass(frozen=True)
class _Plan:
    """What is read of each record.

    `length`: L, flows of the window. `starts`: first frames that the window may have. `decoded`: frames of
    the clip that any window needs. `window`: frames that a window needs, counted from its start.
    """

    spec: ClipSpec
    settings: InputSettings
    inputs: tuple[str, ...]
    modalities: tuple[str, ...]
    length: int
    starts: tuple[int, ...]
    decoded: tuple[int, ...]
    window: tuple[int, ...]

    @classmethod
    def of(
        cls,
        spec: ClipSpec,
        settings: InputSettings,
        inputs: Sequence[str],
        modalities: Collection[str],
        anywhere: bool,
    ) -> _Plan:
        for name in inputs:
            input_shape(name, spec, settings)  # refuses what does not fit
        length = window_flows(spec, settings)
        spare = spec.num_flows - length
        starts = tuple(range(spare + 1)) if anywhere else (spare // 2,)
        window = sorted({i for n in PICTURES & set(inputs) for i in frame_indices(n, length, settings)})
        decoded = sorted({start + index for start in starts for index in window})
        return cls(
            spec,
            settings,
            tuple(inputs),
            tuple(modalities),
            length,
            starts,
            tuple(decoded),
            tuple(window),
        )


def _decode(record: tf.Tensor, plan: _Plan) -> dict[str, tf.Tensor]:
    """A record's pixels as uint8: the frames that may be needed, and all flows."""
    spec, size = plan.spec, plan.spec.size
    clip = tf.io.parse_single_example(record, feature_description(spec, plan.modalities))
    jpegs, pngs = clip.pop(Feature.RGB, None), clip.pop(Feature.FLOW, None)
    if plan.decoded:
        frames = tf.map_fn(
            lambda jpeg: tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE"),
            tf.gather(jpegs, plan.decoded),
            fn_output_signature=tf.uint8,
        )
        clip[Feature.RGB] = tf.ensure_shape(frames, (len(plan.decoded), size, size, 3))
    if "flow" in plan.inputs:
        both = tf.map_fn(lambda png: tf.io.decode_png(png, channels=1), pngs, fn_output_signature=tf.uint8)
        fields = tf.reshape(both, (spec.num_flows, size, 2, size))  # of a PNG x is left of y
        # By way of whole planes: a third of the time that one transpose of single pixels takes.
        planes = tf.reshape(tf.transpose(fields, [0, 2, 1, 3]), (2 * spec.num_flows, size * size))
        clip[Feature.FLOW] = tf.reshape(tf.transpose(planes), (size, size, 2 * spec.num_flows))
    return clip


def _finish(
    clip: dict[str, tf.Tensor], seed: tf.Tensor, plan: _Plan, augmentation: Augmentation | None
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Cuts the window and changes it at random; pictures and flow stay uint8."""
    size, length, settings = plan.spec.size, plan.length, plan.settings
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), num=4))
    number = tf.random.stateless_uniform((), seeds[0], 0, len(plan.starts), tf.int32)
    start = tf.constant(plan.starts)[number]
    frames, codes = tf.zeros((0, size, size, 3), tf.uint8), tf.zeros((size, size, 0), tf.uint8)
    if Feature.RGB in clip:
        windows = [[plan.decoded.index(start + index) for index in plan.window] for start in plan.starts]
        frames = tf.gather(clip[Feature.RGB], tf.constant(windows)[number])
    if Feature.FLOW in clip:
        codes = clip[Feature.FLOW][..., 2 * start : 2 * (start + length)]
        codes = tf.ensure_shape(codes, (size, size, 2 * length))
    if Feature.POSE in clip:
        joints = clip[Feature.JOINT_FEATURES][start : start + length + 1]
    if augmentation:
        flip = tf.logical_and(sample_flip(seeds[1]), augmentation.flip)
        if Feature.POSE in clip:
            joints = tf.where(flip, flip_joint_features(joints), joints)
        if Feature.RGB in clip or Feature.FLOW in clip:
            frames, codes = _augmented(frames, codes, flip, seeds[2:], augmentation)
    ready = {}
    for name in PICTURES & set(plan.inputs):
        places = [plan.window.index(index) for index in frame_indices(name, length, settings)]
        ready[name] = tf.gather(frames, places[0] if name == "image" else places)
    if "flow" in plan.inputs:
        ready["flow"] = codes
    if "pose" in plan.inputs:
        firsts = pose_starts(length, settings)
        ready["pose"] = tf.stack([joints[first : first + settings.pose_frames] for first in firsts])
        ready["pose"] = tf.ensure_shape(ready["pose"], input_shape("pose", plan.spec, settings))
    return ready, {name: clip[name] for name in META}


def _augmented(
    frames: tf.Tensor,
    codes: tf.Tensor,
    flip: tf.Tensor,
    seeds: Sequence[tf.Tensor],
    augmentation: Augmentation,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Frames (F, S, S, 3) and flow codes (S, S, 2L), uint8, changed by what is drawn with `seeds`.

    By OpenCV, which takes a twentieth of the time that tf.raw_ops.ImageProjectiveTransformV3 does.
    """
    geometry = sample_geometry(seeds[0], augmentation.geometry, codes.shape[0])
    photometry = sample_photometry(seeds[1], augmentation.photometry)

    def change(
        frames: np.ndarray, codes: np.ndarray, flip: bool, *drawn: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        clip = ClipPixels(frames, codes, np.zeros((0, len(JOINTS), 3), np.float32))
        if flip:
            clip = apply_flip(clip)
        if any(augmentation.geometry):
            clip = apply_geometry(clip, Geometry(*drawn[:3]))
        if augmentation.photometry:
            clip = apply_photometry(clip, Photometry(*drawn[3:]))
        return clip.frames, clip.flow

    changed = tf.numpy_function(
        change, [frames, codes, flip, *geometry, *photometry], (tf.uint8, tf.uint8), stateful=False
    )
    return tf.ensure_shape(changed[0], frames.shape), tf.ensure_shape(changed[1], codes.shape)


def _dequantised(codes: tf.Tensor) -> tf.Tensor:
    """uint8 codes of pipelines.flow -> float32 in -1..1 of max_flow_px, in one pass over the memory."""
    centred = tf.bitcast(codes + tf.constant(256 - ZERO_LEVEL, tf.uint8), tf.qint8)  # uint8 wraps
    # A narrow range has 127 levels on either side, as pipelines.flow.LEVELS has.
    return tf.quantization.dequantize(centred, -1.0, 1.0, mode="SCALED", narrow_range=True)
