"""An export's folder: what is in it and how it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from pipelines.config import BuildConfig, InputSettings, Settings, explain_invalid
from pipelines.schema import RefusedError

BUNDLE_FILE = "bundle.json"
CERTIFICATE_FILE = "certificate.json"
BUNDLE_VERSION = 4
VARIANTS = ("float32", "float16", "dynamic", "int8")
"""What an export writes unless told otherwise."""
ALL_VARIANTS = (*VARIANTS, "int16")
"""The TFLite files."""
ONNX = "onnx"
"""The network for ONNX Runtime, in float32: certified as a variant, and not for `predict`."""
EXACT = ("float32", ONNX)
"""Files that compute as the network does, but for rounding."""
STREAM = "stream_"
"""What the names of files that take a frame at a time begin with."""
FLOW_FILE = "flow.tflite"
"""Where flow is found by a network: that, from one RGB frame to the next."""
FLOW = "flow"
"""What FLOW_FILE answers, and the input that takes it."""
OUTPUT = "probabilities"


class TensorDescription(Settings):
    """A named input or output: axes after the batch, which is 1."""

    shape: tuple[int, ...]
    meaning: str


class StateDescription(Settings):
    """What a streaming file keeps from frame to frame: axes after the batch, and what it begins with."""

    shape: tuple[int, ...]
    initial: float = 0.0


class StreamingDescription(Settings):
    """What streaming files take and keep. `frames`: of a clip, after which they answer as certified."""

    frames: int
    inputs: dict[str, TensorDescription]
    states: dict[str, StateDescription]


class CalibrationDescription(Settings):
    """What a network's validation subjects tell of its answers.

    `temperature`: what logits are divided by; 1, and not `fitted`, where validation cannot tell. `fits`: the
    probability of each validation subject's own class, before that, sorted. `coverage`: share of subjects
    whose conformal set shall hold their class.
    """

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    fitted: bool
    fits: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]
    coverage: Annotated[float, Field(gt=0, lt=1)]


class BundleDescription(Settings):
    """The content of bundle.json.

    `sha256`: of all else here, see `sealed`. `streaming`: of files that take a frame at a time, where there
    are any. `files`: SHA-256 of every TFLite file, of an ONNX file and of certificate.json. `runtime`:
    version of ai-edge-litert that ran the files when they were exported. `adaptation`: what `tfgma adapt`
    fitted to which site, where it did. `attention`: what every file answers besides, of what the network
    weighed, where that was asked for.
    """

    bundle_version: int
    sha256: str
    classes: tuple[str, ...]
    sampling: InputSettings
    build: BuildConfig
    inputs: dict[str, TensorDescription]
    output: str
    files: dict[str, str]
    calibration: CalibrationDescription
    metrics: dict[str, Any]
    run: dict[str, Any]
    runtime: str
    notice: str
    streaming: StreamingDescription | None = None
    adaptation: dict[str, Any] | None = None
    attention: dict[str, TensorDescription] = Field(default_factory=dict)


def model_file(variant: str) -> str:
    """Name of the file that takes clips, a TFLite file but for ONNX.

    Raises:
        RefusedError: an unknown variant.
    """
    if variant == ONNX:
        return "model.onnx"
    return f"model_{_known(variant)}.tflite"


def stream_file(variant: str) -> str:
    """Name of the TFLite file that takes a frame at a time.

    Raises:
        RefusedError: an unknown variant.
    """
    return f"{STREAM}{_known(variant)}.tflite"


def certified_file(name: str) -> str:
    """The file of a certificate's entry.

    >>> certified_file("int8"), certified_file("stream_int8"), certified_file("onnx")
    ('model_int8.tflite', 'stream_int8.tflite', 'model.onnx')
    """
    variant = name.removeprefix(STREAM)
    return model_file(variant) if variant == name else stream_file(variant)


def _known(variant: str) -> str:
    if variant not in ALL_VARIANTS:
        raise RefusedError(f'variant must be one of {", ".join(ALL_VARIANTS)}. Received: "{variant}"')
    return variant


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of bundle.json with the SHA-256 of all but itself: by it a changed byte is noticed."""
    others = {name: value for name, value in content.items() if name != "sha256"}
    # As it is read again: plain values, so that tuples are lists here too.
    written = json.dumps(json.loads(json.dumps(others)), sort_keys=True)
    return others | {"sha256": hashlib.sha256(written.encode()).hexdigest()}


def read_bundle(bundle: Path) -> BundleDescription:
    """What bundle.json says.

    Raises:
        RefusedError: no bundle there, one of another version, or one whose bundle.json or certificate.json
            was changed.
    """
    try:
        content = json.loads((bundle / BUNDLE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"--model must be a folder that tfgma export wrote. Received: {str(bundle)!r} ({error})"
        ) from error
    version = content.get("bundle_version") if isinstance(content, dict) else None
    if version != BUNDLE_VERSION:
        raise RefusedError(
            f"a bundle must have version {BUNDLE_VERSION}. Received: {version} in {str(bundle)!r}. "
            "Export it again"
        )
    given, digest = content.get("sha256"), sealed(content)["sha256"]
    if given != digest:
        raise RefusedError(
            f"{BUNDLE_FILE} must be as it was exported, SHA-256 {given}. Received: {digest}. "
            "Copy the bundle again"
        )
    try:
        description = BundleDescription.model_validate(content)
    except ValidationError as error:
        raise RefusedError(explain_invalid(error, BUNDLE_FILE)) from error
    if CERTIFICATE_FILE in description.files and (bundle / CERTIFICATE_FILE).exists():
        checked_file(bundle, description, CERTIFICATE_FILE)
    return description


def checked_file(bundle: Path, description: BundleDescription, name: str) -> bytes:
    """The bytes of the file `name`.

    Raises:
        RefusedError: the file is missing or is not the one that was exported.
    """
    try:
        content = (bundle / name).read_bytes()
    except OSError as error:
        raise RefusedError(f"the bundle must hold {name}. Received: {error}. Export it again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != description.files.get(name):
        raise RefusedError(
            f"{name} must be the exported file, SHA-256 {description.files.get(name)}. Received: {digest}. "
            "Copy the bundle again"
        )
    return content
