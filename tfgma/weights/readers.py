"""Tensors of a checkpoint file by name, whichever program wrote it, without running anything in it."""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from pipelines.schema import RefusedError
from tfgma.weights.torch_pickle import (
    UNREADABLE,
    MalformedError,
    Tensor,
    arrays,
    bfloat16_as_float32,
    is_legacy,
    read_legacy,
    read_zip,
)

SECTIONS: Final = ("model_state", "state_dict", "model_state_dict", "model")
"""Where training programs put the weights, beside their optimizer and settings."""
WRAPPER: Final = "module."
"""What PyTorch's wrappers for several devices put before every name."""

GROWTH: Final = 16
SLACK_BYTES: Final = 64 * 2**20
"""Tensors may take GROWTH times the file and this: weights tied or compressed, but no bomb."""

SAFETENSORS_DTYPES: Final[dict[str, np.dtype]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, read-only, with their own axes and dtypes (bfloat16 as float32).

    What kind of file it is follows from its content: PyTorch's (.pth, .pt, .pth.tar, .pyth, .ckpt; a
    state_dict or a training's checkpoint that holds one), NumPy's .npz, or safetensors. Nothing in the file
    is run, and what is not a tensor is left out. A "module." before every name is taken away.

    Args:
        path: the file.

    Raises:
        RefusedError: it cannot be read, is none of these, is damaged, or holds no named tensors.
    """
    try:
        tensors = _read(Path(path))
        if not tensors:
            raise MalformedError("it holds no named tensors")
    except (
        *(ValueError, LookupError, TypeError, OverflowError, MemoryError, RuntimeError),
        *(OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error),
    ) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise RefusedError(
            "a checkpoint must be a whole file of PyTorch, NumPy (.npz) or safetensors with named tensors. "
            f"Received: {path} ({reason[:200]}). Fetch it again, or save the network's state_dict"
        ) from error
    if all(name.startswith(WRAPPER) for name in tensors):
        tensors = {name.removeprefix(WRAPPER): tensor for name, tensor in tensors.items()}
    return tensors


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(64)
        size = path.stat().st_size
        limit = GROWTH * size + SLACK_BYTES
        file.seek(0)
        if start.startswith(b"PK\x03\x04"):
            return _read_zip(file, size, limit)
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
            return _read_safetensors(file, limit)
        if is_legacy(start):
            value, fetch = read_legacy(file)
            return arrays(_named_tensors(value), fetch, limit)
    raise MalformedError("it begins like none of them" if size else "it is empty")


def _named_tensors(value: Any) -> dict[str, Tensor]:
    """The tensors of a state_dict, or of the one in a training's checkpoint."""
    if not isinstance(value, dict):
        return {}
    sections = [value.get(name) for name in SECTIONS]
    for mapping in (*sections, value):
        tensors = _tensors(mapping) if isinstance(mapping, dict) else {}
        if tensors:
            return tensors
    return {}


def _tensors(mapping: dict[str, Any]) -> dict[str, Tensor]:
    for name, value in mapping.items():
        if value is UNREADABLE:
            raise MalformedError(f"{name[:80]!r} is a tensor of a kind that cannot be read")
    return {name: value for name, value in mapping.items() if isinstance(value, Tensor)}


def _read_zip(file: BinaryIO, size: int, limit: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        pickles = [one.filename for one in members if f"/{one.filename}".endswith("/data.pkl")]
        if len(pickles) == 1:
            value, fetch = read_zip(archive, pickles[0].removesuffix("data.pkl"), size)
            return arrays(_named_tensors(value), fetch, limit)
        if not members or not all(one.filename.endswith(".npy") for one in members):
            raise MalformedError("it is a zip file of something else")
        if not {one.compress_type for one in members} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise MalformedError("it is compressed in a way that NumPy does not use")
        if sum(one.file_size for one in members) > limit:
            raise MalformedError("its tensors are far larger than the file")
        file.seek(0)
        with np.load(file, allow_pickle=False) as content:
            found = {name: content[name] for name in content.files}
        # NumPy hands out the bytes of a member that is no array.
        if not all(isinstance(values, np.ndarray) for values in found.values()):
            raise MalformedError("one of its members is no array")
        return {name: values for name, values in found.items() if values.dtype.kind in "biufc"}


def _read_safetensors(file: BinaryIO, limit: int) -> dict[str, np.ndarray]:
    """The format is 8 bytes with the header's length, the header in JSON, and the tensors' bytes."""
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    begin = 8 + length
    end = file.seek(0, 2)
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise MalformedError(f"{name[:80]!r} has a kind of numbers that cannot be read")
        dtype, shape = SAFETENSORS_DTYPES[entry["dtype"]], tuple(entry["shape"])
        first, last = entry["data_offsets"]
        if not all(isinstance(number, int) and number >= 0 for number in (first, last, *shape)):
            raise MalformedError(f"the shape or place of {name[:80]!r} is not a count")
        if last - first != math.prod(shape) * dtype.itemsize or begin + last > end:
            raise MalformedError(f"{name[:80]!r} does not lie where it says")
        limit -= last - first
        if limit < 0:
            raise MalformedError("its tensors are far larger than the file")
        file.seek(begin + first)
        values = np.frombuffer(file.read(last - first), dtype).reshape(shape)
        found[name] = bfloat16_as_float32(values) if entry["dtype"] == "BF16" else values
    return found
