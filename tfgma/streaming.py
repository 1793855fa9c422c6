"""Answers one frame after the other by a bundle's streaming file, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np

from pipelines.schema import RefusedError
from tfgma.bundle import OUTPUT, checked_file, read_bundle, stream_file
from tfgma.inference import THREADS, TFLiteModel


class StreamingModel(TFLiteModel):
    """A TFLite file that takes a frame at a time, with what it keeps of the frames before."""

    def __init__(self, content: bytes, threads: int = THREADS) -> None:
        """Loads the file; the stream is at its beginning.

        Raises:
            RefusedError: as `TFLiteModel`, or a file that keeps nothing from frame to frame.
        """
        super().__init__(content, threads)
        outputs, shapes = self._output_details, self.input_shapes
        self._places = {
            name: (detail["index"], outputs[name]["index"])
            for name, detail in self._input_details.items()
            if name in outputs
        }
        if not self._places:
            raise RefusedError(
                "a file that streams must take states and give them back. Received: one without states. "
                "Export it with --streaming"
            )
        self._given = {name: shape[1:] for name, shape in shapes.items() if name not in self._places}
        # Two sets, swapped after each frame: one that fails leaves the stream as it was.
        self._now, self._next = (
            {name: np.zeros(shapes[name], np.float32) for name in self._places} for _ in range(2)
        )

    @classmethod
    def open(cls, bundle: Path, variant: str = "float32", threads: int = THREADS) -> Self:
        """The streaming file of that variant in a bundle.

        Raises:
            RefusedError: not a bundle, one without streaming files, an unknown variant, or a changed file.
        """
        description = read_bundle(bundle)
        if description.streaming is None:
            raise RefusedError(
                f"a bundle must hold files that stream. Received: {str(bundle)!r}, which has none. "
                "Export it again with --streaming"
            )
        return cls(checked_file(bundle, description, stream_file(variant)), threads)

    @property
    def states(self) -> dict[str, np.ndarray]:
        """Copies of what is kept of the frames so far: name -> (1, ...) float32."""
        return {name: values.copy() for name, values in self._now.items()}

    def reset(self) -> None:
        """Forgets all frames."""
        for values in self._now.values():
            values.fill(0)

    def step(self, **inputs: np.ndarray) -> np.ndarray:
        """Takes the next frame and answers for all frames since the beginning.

        Args:
            inputs: what the file takes, as bundle.json says under `streaming`: `frame` (H, W, 3) float32 RGB
                (0..1 - mean) / std; `flow` (H, W, 2) float32 from the frame before, x then y, -1..1 of
                max_flow_px, zeros with the first frame.

        Returns:
            (C,) float32 probabilities.

        Raises:
            RefusedError: an input is missing, is not known, is not finite, or has another shape or dtype. The
                stream is as it was.
        """
        if inputs.keys() != self._given.keys():
            raise RefusedError(
                f"a step must have the inputs {', '.join(self._given)}. "
                f"Received: {', '.join(sorted(inputs)) or 'none'}"
            )
        for name, shape in self._given.items():
            given = inputs[name]
            if given.shape != shape or given.dtype != np.float32:
                raise RefusedError(
                    f"a step's {name} must be float32 of shape {shape}. "
                    f"Received: {given.dtype} of shape {given.shape}. Make it as bundle.json says"
                )
            if not np.isfinite(given).all():  # they would stay in the states
                raise RefusedError(
                    f"a step's {name} must be finite. "
                    f"Received: {np.sum(~np.isfinite(given))} values that are not. "
                    "Leave that frame out"
                )
        for name, values in inputs.items():
            self._interpreter.set_tensor(self._input_details[name]["index"], values[None])
        for name, (place, _) in self._places.items():
            self._interpreter.set_tensor(place, self._now[name])
        self._interpreter.invoke()
        for name, (_, place) in self._places.items():
            np.copyto(self._next[name], self._interpreter.tensor(place)())
        self._now, self._next = self._next, self._now
        return self._interpreter.get_tensor(self._output_details[OUTPUT]["index"])[0]

    def answer(self, clip: Mapping[str, np.ndarray]) -> np.ndarray:
        """(C,) float32 probabilities after the last frame of a clip, see `clip_steps`; forgets the rest."""
        self.reset()
        answers = [self.step(**inputs) for inputs in clip_steps(clip)]
        return answers[-1]


def clip_steps(clip: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """A clip's inputs frame by frame, as `StreamingModel.step` takes them.

    Args:
        clip: `frames` (1, T, H, W, 3), `flow` (1, H, W, 2L), or both with T = L + 1 (pipelines.inputs).

    Returns:
        For each frame `frame` (H, W, 3) and `flow` (H, W, 2), the flow that leads to it; zeros lead to the
        first. For flow alone, one after the other.
    """
    streams = {}
    if "frames" in clip:
        streams["frame"] = clip["frames"][0]
    if "flow" in clip:
        stack = clip["flow"][0]
        fields = np.moveaxis(stack.reshape(*stack.shape[:2], -1, 2), 2, 0)
        if "frames" in clip:
            fields = np.concatenate([np.zeros_like(fields[:1]), fields])
        streams["flow"] = fields
    for values in zip(*streams.values(), strict=True):
        yield dict(zip(streams, values, strict=True))
