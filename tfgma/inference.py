"""Runs a bundle on videos, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipelines.inputs import clip_inputs
from pipelines.optional import load
from pipelines.process import ProcessReport, video_clips
from pipelines.schema import RefusedError
from pipelines.tools import ONE_VIDEO_THREADS, standard_tools
from tfgma.bundle import OUTPUT, checked_model, read_bundle

THREADS = 2


class TFLiteModel:
    """A TFLite file behind its named inputs and output."""

    def __init__(self, content: bytes, threads: int = THREADS) -> None:
        """Loads the file.

        Raises:
            RefusedError: not a TFLite file with one signature.
        """
        interpreter = load("ai_edge_litert.interpreter", "runtime").Interpreter
        try:
            self._interpreter: Any = interpreter(model_content=content, num_threads=threads)
            self._run = self._interpreter.get_signature_runner()
        except ValueError as error:
            raise RefusedError(
                f"a model must be a TFLite file with one signature. Received: {error}"
            ) from error

    @property
    def operators(self) -> list[str]:
        """Names of the operators in the file, in order."""
        return [op["op_name"] for op in self._interpreter._get_ops_details()]

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Inputs by name, each (1, ...) float32 -> (C,) float32 probabilities."""
        return self._run(**inputs)[OUTPUT][0]


@dataclass(frozen=True)
class Assessment:
    """What a bundle says of one video.

    `start_seconds`: (N,). `clip_probabilities`: (N, C). `probabilities`: (C,), the mean over clips.
    """

    video: str
    classes: tuple[str, ...]
    start_seconds: np.ndarray
    clip_probabilities: np.ndarray
    report: ProcessReport

    @property
    def probabilities(self) -> np.ndarray:
        """(C,) mean probability over clips."""
        return self.clip_probabilities.mean(axis=0)

    @property
    def predicted(self) -> str:
        """The class of highest mean probability."""
        return self.classes[int(self.probabilities.argmax())]

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""

        def named(values: np.ndarray) -> dict[str, float]:
            return {name: round(float(p), 6) for name, p in zip(self.classes, values, strict=True)}

        return {
            "video": self.video,
            "predicted": self.predicted,
            "probabilities": named(self.probabilities),
            "clips": [
                {"start_seconds": round(float(start), 3), "probabilities": named(row)}
                for start, row in zip(self.start_seconds, self.clip_probabilities, strict=True)
            ],
            "seconds": round(self.report.decode.seconds, 3),
            "body_share": round(self.report.body_share, 4),
            "clips_left_out": self.report.clips_left_out,
            "damaged": self.report.decode.damaged,
        }


class Predictor:
    """A bundle ready to assess videos. Use as a context manager."""

    def __init__(self, bundle: Path, variant: str = "float32") -> None:
        """Loads the bundle's network of that variant, and the pose network.

        Raises:
            RefusedError: not a bundle, an unknown variant, a changed file, or no pose network.
        """
        self.description = read_bundle(bundle)
        self._model = TFLiteModel(checked_model(bundle, self.description, variant))
        make_tools = standard_tools
        if self.description.build.network_sections:
            # Only such bundles need the networks' Keras.
            make_tools = load("tfgma.preprocessing", "train").make_tools
        self._tools = make_tools(self.description.build, ONE_VIDEO_THREADS)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Frees the pose network."""
        self._tools.finder.close()

    def assess(self, video: Path) -> Assessment:
        """The video's clips, each answered by the network.

        Raises:
            RefusedError: the video cannot be assessed.
        """
        report = ProcessReport()
        starts, answers = [], []
        clips = video_clips(
            video, self.description.build, self._tools.finder, flow=self._tools.flow, report=report
        )
        for clip in clips:
            starts.append(clip.start_seconds)
            inputs = clip_inputs(
                clip, self.description.inputs, self.description.build.clip, self.description.sampling
            )
            answers.append(self._model(inputs))
        return Assessment(str(video), self.description.classes, np.array(starts), np.stack(answers), report)
