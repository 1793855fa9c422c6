"""What networks take from a clip: which of its frames, flows and joints, in which shape and scale."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pipelines.clips import Clip
from pipelines.config import InputSettings
from pipelines.flow import dequantize_flow
from pipelines.schema import FEATURE_JOINTS, JOINT_FEATURES, MODALITIES, ClipSpec, RefusedError

PICTURES = frozenset({"image", "frames", "slow", "fast"})
"""Inputs made of a clip's frames."""


def window_flows(spec: ClipSpec, settings: InputSettings) -> int:
    """L: flows of the window that a network sees; the window has L + 1 frames.

    Raises:
        RefusedError: longer than a clip.
    """
    length = settings.num_flows or spec.num_flows
    if length > spec.num_flows:
        raise RefusedError(
            f"inputs.num_flows must be at most the {spec.num_flows} flows of a stored clip. "
            f"Received: {length}"
        )
    return length


def spread(count: int, over: int) -> list[int]:
    """`count` indices spread evenly over range(over), first and last included; the middle one for one.

    Raises:
        RefusedError: more than there are.
    """
    if not 1 <= count <= over:
        raise RefusedError(
            f"a clip's window of {over} frames must hold the frames that a network takes. Received: {count}. "
            "Lower inputs.num_frames, or build with longer clips or a higher rate"
        )
    return [over // 2] if count == 1 else [number * (over - 1) // (count - 1) for number in range(count)]


def frame_indices(name: str, length: int, settings: InputSettings) -> list[int]:
    """Which frames of a window of `length` flows make the input `name` of PICTURES."""
    if name == "image":
        return [length // 2]
    chosen = spread(settings.num_frames, length + 1)
    if name != "slow":
        return chosen
    return [
        chosen[place] for place in spread(max(1, settings.num_frames // settings.slow_every), len(chosen))
    ]


def pose_starts(length: int, settings: InputSettings) -> list[int]:
    """First frames of the short clips that a pose network sees in a window of `length` flows.

    Raises:
        RefusedError: not one fits.
    """
    last = length + 1 - settings.pose_frames
    if last < 0:
        raise RefusedError(
            f"a clip's window must last at least inputs.pose_frames = {settings.pose_frames} frames. "
            f"Received: {length + 1}. Build with longer clips or a higher rate"
        )
    return list(range(0, last + 1, settings.pose_stride))


def input_shape(name: str, spec: ClipSpec, settings: InputSettings) -> tuple[int, ...]:
    """Shape of the input `name`, without batch.

    Raises:
        RefusedError: an unknown name, or a clip too short for it.
    """
    length, size = window_flows(spec, settings), spec.size
    if name == "image":
        return size, size, 3
    if name in PICTURES:
        return len(frame_indices(name, length, settings)), size, size, 3
    if name == "flow":
        return size, size, 2 * length
    if name == "pose":
        clips = len(pose_starts(length, settings))
        return clips, settings.pose_frames, len(FEATURE_JOINTS), len(JOINT_FEATURES)
    raise RefusedError(
        f'an input must be one of {", ".join(sorted(PICTURES))}, flow, pose. Received: "{name}"'
    )


def refuse_missing(names: Collection[str], modalities: Collection[str]) -> None:
    """Raises where records with these modalities cannot give the inputs `names`.

    Raises:
        RefusedError: a modality is missing; it is named.
    """
    needed = {"rgb" if name in PICTURES else name for name in names}
    missing = [one for one in MODALITIES if one in needed and one not in modalities]
    if missing:
        raise RefusedError(
            f"a network that takes {', '.join(sorted(names))} needs a data set that holds the modality "
            f"{' and '.join(missing)}. Received: one that holds {' and '.join(modalities)} only. Build it "
            f"from videos with {' and '.join(missing)} among build.modalities, or choose another network"
        )


def input_buffers(names: Collection[str], spec: ClipSpec, settings: InputSettings) -> dict[str, np.ndarray]:
    """Arrays for `clip_inputs` to fill, each (1, ...) float32."""
    return {name: np.empty((1, *input_shape(name, spec, settings)), np.float32) for name in names}


def clip_inputs(
    clip: Clip,
    names: Collection[str],
    spec: ClipSpec,
    settings: InputSettings,
    out: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """A clip's middle window as the network takes it, each (1, ...) float32.

    Pictures are RGB (0..1 - mean) / std; `flow` -1..1 of max_flow_px; `pose` joint features.

    Args:
        out: `input_buffers` that are filled and returned, in place of new ones.
    """
    ready = input_buffers(names, spec, settings) if out is None else out
    length = window_flows(spec, settings)
    start = (spec.num_flows - length) // 2
    for name in PICTURES & set(names):
        chosen = [start + index for index in frame_indices(name, length, settings)]
        pictures = ready[name] if name == "image" else ready[name][0]
        np.divide(clip.rgb[chosen], 255, out=pictures, dtype=np.float32)
        pictures -= np.float32(settings.mean)
        pictures /= np.float32(settings.std)
    if "flow" in names:
        stack = ready["flow"].reshape(spec.size, spec.size, length, 2)
        dequantize_flow(np.moveaxis(clip.flow[start : start + length], 0, 2), 1.0, out=stack)
    if "pose" in names:
        features = clip.joint_features[start : start + length + 1]
        for place, first in enumerate(pose_starts(length, settings)):
            ready["pose"][0, place] = features[first : first + settings.pose_frames]
    return ready
