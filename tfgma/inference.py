"""Runs a bundle on videos, without TensorFlow."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipelines.clips import Clip
from pipelines.inputs import clip_inputs, input_buffers
from pipelines.optional import load
from pipelines.process import ProcessReport, video_clips
from pipelines.schema import RefusedError
from pipelines.tools import ONE_VIDEO_THREADS, Tools, standard_finder, standard_tools
from tfgma.bundle import (
    FLOW,
    FLOW_FILE,
    OUTPUT,
    BundleDescription,
    CalibrationDescription,
    checked_file,
    model_file,
    read_bundle,
)
from tfgma.clip_pictures import clip_picture
from tfgma.network_flow import NetworkFlow
from tfgma.overlay import OverlayVideo
from tfgma.verdict import Verdict, verdict

THREADS = 2


class TFLiteModel:
    """A TFLite file behind its named inputs and output."""

    def __init__(self, content: bytes, threads: int = THREADS, output: str = OUTPUT) -> None:
        """Loads the file.

        Raises:
            RefusedError: not a TFLite file with one signature that answers `output`, or one with operators
                that this runtime has not.
        """
        self._output = output
        interpreter = load("ai_edge_litert.interpreter", "runtime").Interpreter
        try:
            self._interpreter: Any = interpreter(model_content=content, num_threads=threads)
            foreign = foreign_operators(self.operators)
            if foreign:
                raise RefusedError(
                    "a model must hold builtin operators only. "
                    f"Received: {', '.join(foreign)}. Export it again"
                )
            self._interpreter.allocate_tensors()  # finds every operator's kernel now
            # Not kept: it allocates anew for each clip, and while it is there nothing else may run the file.
            signature = self._interpreter.get_signature_runner()
        except RefusedError:
            raise
        except ValueError as error:
            if "builtin" in str(error):  # an operator's code or version
                raise _unknown_operators(error) from error
            raise RefusedError(
                f"a model must be a TFLite file with one signature. Received: {error}. "
                "Copy the bundle again, or export it again"
            ) from error
        except RuntimeError as error:
            raise _unknown_operators(error) from error
        self._output_details = dict(sorted(signature.get_output_details().items()))
        if output not in self._output_details:
            raise RefusedError(
                f"a model's signature must answer {output}. Received: {', '.join(self._output_details)}. "
                "Export it again"
            )
        self._input_details = dict(sorted(signature.get_input_details().items()))

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape with the batch, which is 1."""
        return {
            name: tuple(int(length) for length in detail["shape"])
            for name, detail in self._input_details.items()
        }

    @property
    def takes_float32(self) -> bool:
        """Whether inputs and output are float32 in the file, whatever it computes with."""
        details = [*self._input_details.values(), self._output_details[self._output]]
        return all(detail["dtype"] == np.float32 for detail in details)

    @property
    def operators(self) -> list[str]:
        """Names of the operators in the file, in order."""
        # A delegate's nodes stand at the end and cover those that the file has.
        names = [op["op_name"] for op in self._interpreter._get_ops_details()]
        return [name for name in names if name != "DELEGATE"]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Inputs by name, in any order, each (1, ...) float32 -> the output without its batch, float32.

        That is (C,) probabilities, but for files of flow.

        Raises:
            RefusedError: an input is missing, is not known, or has another shape or dtype.
        """
        return self.outputs(inputs)[self._output]

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `__call__`, but all that the file answers, by name and without the batch."""
        check_inputs(inputs, self.input_shapes)
        for name, detail in self._input_details.items():
            self._interpreter.set_tensor(detail["index"], _quantised(inputs[name], detail))
        self._interpreter.invoke()
        return {
            name: _dequantised(self._interpreter.get_tensor(detail["index"]), detail)[0]
            for name, detail in self._output_details.items()
        }


def check_inputs(inputs: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses what is not one clip of `shapes` (with the batch, which is 1).

    Raises:
        RefusedError: an input is missing, is not known, or has another shape or dtype.
    """
    if inputs.keys() != shapes.keys():
        raise RefusedError(
            f"a clip must have the inputs {', '.join(shapes)}. Received: {', '.join(sorted(inputs))}"
        )
    for name, shape in shapes.items():
        given = inputs[name]
        if given.shape != shape or given.dtype != np.float32:
            raise RefusedError(
                f"a clip's {name} must be float32 of shape {shape}. "
                f"Received: {given.dtype} of shape {given.shape}. Cut clips as bundle.json says"
            )


def _quantised(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Float32 as the file's tensor holds it."""
    if detail["dtype"] != np.int8:
        return values
    scale, zero_point = detail["quantization"]
    return np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8)


def _dequantised(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """What the file's tensor holds as float32."""
    if detail["dtype"] != np.int8:
        return values
    scale, zero_point = detail["quantization"]
    return ((values.astype(np.float32) - zero_point) * scale).astype(np.float32)


def foreign_operators(names: Iterable[str]) -> list[str]:
    """Those of `names` that a plain LiteRT runtime has not: TensorFlow's own (Flex...) and custom ones."""
    return sorted({name for name in names if name.startswith("Flex") or name == "CUSTOM"})


def _unknown_operators(error: Exception) -> RefusedError:
    said = " ".join(str(error).split()).rstrip(".")
    return RefusedError(
        "the runtime must have every operator of a model, in its version. "
        f"Received: {said}. Update ai-edge-litert, or export the model again"
    )


def _tools(bundle: Path, description: BundleDescription) -> Tools:
    """What finds the body, and flow by the bundle's own file if it has one."""
    build = description.build
    sections = set(build.network_sections)
    if sections == {FLOW} and FLOW_FILE in description.files:
        model = TFLiteModel(checked_file(bundle, description, FLOW_FILE), ONE_VIDEO_THREADS, FLOW)
        side = model.input_shapes["frame0"][1]

        def answer(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            return model({"frame0": first, "frame1": second})[None]

        return Tools(standard_finder(build, ONE_VIDEO_THREADS), NetworkFlow(build.clip.size, side, answer))
    make_tools = standard_tools
    if sections:
        # Only such bundles need the networks' Keras.
        make_tools = load("tfgma.preprocessing", "train").make_tools
    return make_tools(build, ONE_VIDEO_THREADS)


@dataclass(frozen=True)
class Assessment:
    """What a bundle says of one video.

    `start_seconds`: (N,). `clip_probabilities`: (N, C). `probabilities`: (C,), the mean over clips.
    `calibration`: the bundle's. `pictures`: a JPEG a clip, if they were asked for.
    `attention`: of bundles exported with it, `alpha` (N, moments) and `beta` (N, moments, 18), shares.
    """

    video: str
    classes: tuple[str, ...]
    start_seconds: np.ndarray
    clip_probabilities: np.ndarray
    report: ProcessReport
    calibration: CalibrationDescription
    pictures: tuple[bytes, ...] = ()
    attention: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def probabilities(self) -> np.ndarray:
        """(C,) mean probability over clips."""
        return self.clip_probabilities.mean(axis=0)

    @property
    def predicted(self) -> str:
        """The class of highest mean probability."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def verdict(self) -> Verdict:
        """What the validation subjects' answers allow to say."""
        return verdict(self.probabilities, self.classes, self.calibration)

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""

        def named(values: np.ndarray) -> dict[str, float]:
            return {name: round(float(p), 6) for name, p in zip(self.classes, values, strict=True)}

        said, shares = self.verdict, self.attention.items()
        return {
            "video": self.video,
            "verdict": said.answer,
            "reason": said.reason,
            "possible": list(said.possible),
            "calibrated_probabilities": named(said.probabilities),
            "predicted": self.predicted,
            "probabilities": named(self.probabilities),
            "clips": [
                {"start_seconds": round(float(start), 3), "probabilities": named(row)}
                | {name: np.round(values[n].astype(float), 6).tolist() for name, values in shares}
                for n, (start, row) in enumerate(
                    zip(self.start_seconds, self.clip_probabilities, strict=True)
                )
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
        self._model = TFLiteModel(checked_file(bundle, self.description, model_file(variant)))
        self._buffers = [
            input_buffers(self.description.inputs, self.description.build.clip, self.description.sampling)
            for _ in range(2)
        ]
        self._tools = _tools(bundle, self.description)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        """Frees the pose network."""
        self._tools.finder.close()

    def assess(self, video: Path, *, pictures: bool = False, overlay: Path | None = None) -> Assessment:
        """The video's clips, each answered by the network; one video at a time.

        Args:
            video: a file.
            pictures: whether what each clip looked like is kept, some ten thousand bytes a clip.
            overlay: an mp4 to write, of what the network saw and answered; see `OverlayVideo`.

        Raises:
            RefusedError: the video cannot be assessed.
        """
        report = ProcessReport()
        starts: list[float] = []
        answers: list[Future[dict[str, np.ndarray]]] = []
        clips = video_clips(
            video, self.description.build, self._tools.finder, flow=self._tools.flow, report=report
        )
        build, sampling = self.description.build, self.description.sampling
        kept: list[bytes] = []
        waiting: deque[Clip] = deque()
        with contextlib.ExitStack() as stack:
            film = None
            if overlay is not None:
                spec = build.clip
                film = OverlayVideo(overlay, self.description.classes, spec.fps, spec.max_flow_px)
                stack.enter_context(film)
            # The network answers for a clip while the next one is being made, in the other buffers.
            network = stack.enter_context(ThreadPoolExecutor(1))
            for number, clip in enumerate(clips):
                starts.append(clip.start_seconds)
                if pictures:
                    kept.append(clip_picture(clip, build.clip.max_flow_px))
                if number >= len(self._buffers):
                    answer = answers[number - len(self._buffers)].result()
                    if film:
                        film.add(waiting.popleft(), answer[OUTPUT])
                if film:
                    waiting.append(clip)
                buffers = self._buffers[number % len(self._buffers)]
                inputs = clip_inputs(clip, self.description.inputs, build.clip, sampling, buffers)
                answers.append(network.submit(self._model.outputs, inputs))
            if film:
                for clip, late in zip(waiting, answers[len(answers) - len(waiting) :], strict=True):
                    film.add(clip, late.result()[OUTPUT])

        def column(name: str) -> np.ndarray:
            return np.stack([answer.result()[name] for answer in answers])

        return Assessment(
            str(video),
            self.description.classes,
            np.array(starts),
            column(OUTPUT),
            report,
            self.description.calibration,
            tuple(kept),
            {name: column(name) for name in self.description.attention},
        )
