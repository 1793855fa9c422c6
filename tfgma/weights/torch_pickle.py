"""PyTorch's checkpoint files, read without running anything that is written in them.

A pickle is a program: it imports names, calls them and gathers what they answer. Here its operations only
build plain values. What it would import stays a name, and of all calls only those that describe a tensor mean
something; any other answers `INERT`, so that weights can be read although settings and optimizers lie beside
them. The numbers lie outside the pickle, as members of a zip file (PyTorch 1.6 and later) or one storage
after the other (before).
"""

from __future__ import annotations

import io
import math
import mmap
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np

MAX_OPERATIONS: Final = 5_000_000
"""Of a pickle: a checkpoint has some 30 a tensor; a file that only builds lists would fill the memory."""
MAX_AXES: Final = 32
LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
LEGACY_VERSION: Final = 1001

DTYPES: Final[dict[str, np.dtype]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("<c8"),
    "ComplexDoubleStorage": np.dtype("<c16"),
    "UntypedStorage": np.dtype("u1"),
    "QInt8Storage": np.dtype("i1"),
    "QUInt8Storage": np.dtype("u1"),
    "QInt32Storage": np.dtype("<i4"),
}


class MalformedError(ValueError):
    """A file that breaks its format's rules; the message says which."""


class Inert:
    """Stands for anything that a pickle would make by a call that describes no tensor."""

    __slots__ = ()


INERT: Final = Inert()
UNREADABLE: Final = Inert()
"""A sparse or quantised tensor, or one of a kind that NumPy lacks."""


@dataclass(frozen=True)
class Name:
    """What a pickle would import."""

    module: str
    attribute: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers outside the pickle.

    `kind`: PyTorch's class, a key of DTYPES if it is known. `count`: its elements. `view`: offset and count,
    in elements, of the part that is meant; None for all of it.
    """

    key: str
    kind: str
    count: int
    view: tuple[int, int] | None

    @property
    def dtype(self) -> np.dtype:
        """How the elements lie in the file."""
        if self.kind not in DTYPES:
            raise MalformedError(f"{self.kind[:40]} is not a kind of numbers that can be read")
        return DTYPES[self.kind]


@dataclass(frozen=True)
class Tensor:
    """A tensor that is yet to be read: `size`, `stride` and `offset` count elements of the storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:  # noqa: D105
        numbers = (self.offset, *self.size, *self.stride)
        if len(self.size) != len(self.stride) or len(self.size) > MAX_AXES:
            raise MalformedError("a tensor's size and stride disagree")
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise MalformedError("a tensor's size, stride or offset is not a count")

    @property
    def itemsize(self) -> int:
        """Bytes of an element of `array`."""
        return 4 if self.storage.kind == "BFloat16Storage" else self.storage.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of `array`, were each element held apart."""
        return math.prod(self.size) * self.itemsize

    def array(self, fetch: Fetch) -> np.ndarray:
        """The tensor, read-only; bfloat16, which NumPy lacks, as float32."""
        values = fetch(self.storage)
        if self.storage.view is not None:
            start, count = self.storage.view
            if not 0 <= start <= start + count <= len(values):
                raise MalformedError("a view lies outside its storage")
            values = values[start : start + count]
        if math.prod(self.size):
            last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
            if last >= len(values):
                raise MalformedError("a tensor reaches beyond its storage")
            strides = [step * values.itemsize for step in self.stride]
            values = np.lib.stride_tricks.as_strided(
                values[self.offset :], self.size, strides, writeable=False
            )
        else:
            values = np.zeros(self.size, values.dtype)
        if self.storage.kind == "BFloat16Storage":
            return bfloat16_as_float32(values)
        return values


Fetch = Callable[[Storage], np.ndarray]
"""Reads a whole storage: -> (count,) of its dtype."""


def bfloat16_as_float32(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers whose upper halves are `bits` (..., uint16)."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_zip(archive: zipfile.ZipFile, root: str, size: int) -> tuple[Any, Fetch]:
    """The value that a zip checkpoint holds, with `Tensor` for tensors, and what reads their storages.

    Args:
        archive: the file.
        root: what its members' names begin with.
        size: bytes of the file; all storages together must be no larger.

    Raises:
        MalformedError: it breaks the format's rules.
    """
    if f"{root}byteorder" in archive.namelist():
        order = _stored(archive, f"{root}byteorder")
        if order != b"little":
            raise MalformedError("it was written by a big-endian machine")
    value = unpickle(io.BytesIO(_stored(archive, f"{root}data.pkl")))
    members: dict[str, bytes] = {}
    left = size

    def fetch(storage: Storage) -> np.ndarray:
        nonlocal left
        if storage.key not in members:
            members[storage.key] = _stored(archive, f"{root}data/{storage.key}")
            left -= len(members[storage.key])
            # Members may overlap, so that a small file would fill the memory.
            if left < 0:
                raise MalformedError("its storages are larger than the file")
        raw = members[storage.key]
        if storage.count * storage.dtype.itemsize > len(raw):
            raise MalformedError("a storage is shorter than it says")
        return np.frombuffer(raw, storage.dtype, storage.count)

    return value, fetch


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        member = archive.getinfo(name)
    except KeyError as error:
        raise MalformedError(f"it lacks {name[:80]!r}") from error
    # PyTorch never compresses; a few compressed bytes could fill the memory.
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise MalformedError("its numbers are compressed")
    return archive.read(member)


def is_legacy(start: bytes) -> bool:
    """Whether a file that begins with these 64 bytes is a checkpoint as PyTorch before 1.6 wrote it."""
    try:
        return unpickle(io.BytesIO(start)) == LEGACY_MAGIC
    except MalformedError:
        return False


def read_legacy(file: BinaryIO) -> tuple[Any, Fetch]:
    """As `read_zip`, for a checkpoint as PyTorch before 1.6 wrote it; `fetch` needs the file still open.

    Raises:
        MalformedError: it breaks the format's rules.
    """
    # A map gives no more than there is, whatever length is asked for.
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found: dict[str, Storage] = {}
    magic, version, system = (unpickle(data) for _ in range(3))
    if magic != LEGACY_MAGIC or version != LEGACY_VERSION or not isinstance(system, dict):
        raise MalformedError("its first lines are not those of a checkpoint")
    if system.get("little_endian") is not True:
        raise MalformedError("it was written by a big-endian machine")
    value = unpickle(data, found)
    keys = unpickle(data)
    starts: dict[str, int] = {}
    position = data.tell()
    for key in keys if isinstance(keys, list) else ():
        storage = found.get(key) if isinstance(key, str) else None
        if storage is None or key in starts:
            raise MalformedError("its list of storages is not that of its tensors")
        if int.from_bytes(data[position : position + 8], "little") != storage.count:
            raise MalformedError("a storage is not as long as it says")
        starts[key] = position + 8
        position += 8 + storage.count * storage.dtype.itemsize
        if position > len(data):
            raise MalformedError("it ends within a storage")

    arrays: dict[str, np.ndarray] = {}

    def fetch(storage: Storage) -> np.ndarray:
        whole = found[storage.key]
        if storage.key not in starts or (storage.count, storage.kind) != (whole.count, whole.kind):
            raise MalformedError("its list of storages is not that of its tensors")
        if storage.key not in arrays:
            start = starts[storage.key]
            raw = data[start : start + storage.count * storage.dtype.itemsize]
            arrays[storage.key] = np.frombuffer(raw, storage.dtype)
        return arrays[storage.key]

    return value, fetch


def unpickle(stream: Any, storages: dict[str, Storage] | None = None) -> Any:
    """The value of the pickle that begins at `stream`'s position; afterwards that is behind it.

    Args:
        stream: a binary file or map.
        storages: is given the storages that the pickle names.

    Raises:
        MalformedError: it is not a whole pickle of protocol 2 or later.
    """
    try:
        return _run(stream, {} if storages is None else storages)
    except MalformedError:
        raise
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise MalformedError(f"its pickle is broken: {error}") from error


LITERALS: Final = frozenset(
    [
        *("INT", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "BINFLOAT"),
        *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    ]
)


def _run(stream: Any, storages: dict[str, Storage]) -> Any:
    stack: list[Any] = []
    marked: list[list[Any]] = []  # the stacks below each mark
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, marked.pop()
        return items

    for number, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        if number > MAX_OPERATIONS:
            raise MalformedError(f"its pickle has more than {MAX_OPERATIONS} operations")
        match operation.name:
            case name if name in LITERALS:
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(operation.name == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(INERT)
            case "MARK":
                marked.append(stack)
                stack = []
            case "POP":
                stack.pop()
            case "POP_MARK":
                since_mark()
            case "TUPLE":
                items = since_mark()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(operation.name[-1])
                items = [stack.pop() for _ in range(length)]
                stack.append(tuple(reversed(items)))
            case "FROZENSET":
                since_mark()
                stack.append(INERT)
            case "APPEND":
                item = stack.pop()
                _extend(stack[-1], [item])
            case "APPENDS":
                items = since_mark()
                _extend(stack[-1], items)
            case "ADDITEMS":
                since_mark()
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _update(stack[-1], [key, value])
            case "SETITEMS":
                items = since_mark()
                _update(stack[-1], items)
            case "GLOBAL":
                module, _, attribute = str(argument).partition(" ")
                stack.append(Name(module, attribute))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(Name(str(module), str(attribute)))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_described(function, arguments))
            case "NEWOBJ_EX":
                del stack[-3:]
                stack.append(INERT)
            case "BUILD":
                stack.pop()  # an object's state
            case "BINPERSID":
                stack.append(_persistent(stack.pop(), storages))
            case "PROTO" | "FRAME" | "STOP":
                pass
            case other:
                raise MalformedError(f"its pickle uses {other}")
    return stack.pop()


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif target is not INERT:
        raise MalformedError("its pickle appends to something that is no list")


def _update(target: Any, items: list[Any]) -> None:
    """Puts keys and values, in turn, into a mapping; only text names weights, other keys are passed over."""
    if isinstance(target, dict):
        target.update(
            (key, value) for key, value in zip(items[::2], items[1::2], strict=True) if isinstance(key, str)
        )
    elif target is not INERT:
        raise MalformedError("its pickle sets items of something that is no mapping")


def _described(function: Any, arguments: Any) -> Any:
    """What a call describes, for the few that a checkpoint's weights need; nothing is called."""
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        return INERT
    match (function.module, function.attribute), arguments:
        case ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"), _:
            match arguments:
                case (Storage() as storage, offset, tuple() as size, tuple() as stride, *_):
                    return Tensor(storage, offset, size, stride)
            raise MalformedError("a tensor is not described as PyTorch does")
        case ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"), (tensor, *_):
            return tensor
        case ("torch._tensor", "_rebuild_from_type_v2"), (Name("torch._utils") as inner, _, inside, *_):
            return _described(inner, inside)
        case ("torch._utils", attribute), _ if attribute.startswith("_rebuild_"):
            return UNREADABLE
        case ("torch", "Size"), (tuple() as size,):
            return size
        case ("collections", "OrderedDict"), ():
            return {}
        case ("collections", "OrderedDict"), (list() as pairs,):
            mapping: dict[str, Any] = {}
            for pair in pairs:
                _update(mapping, list(pair))
            # A list is used once: asked for again and again it would fill the memory.
            pairs.clear()
            return mapping
    return INERT


def _persistent(identity: Any, storages: dict[str, Storage]) -> Any:
    match identity:
        case ("storage", Name() as kind, str() as key, _, int() as count, *rest) if count >= 0:
            view = None
            if rest and rest[0] is not None:
                match rest[0]:
                    case (_, int() as start, int() as length) if start >= 0 and length >= 0:
                        view = (start, length)
                    case _:
                        raise MalformedError("a view is not described as PyTorch does")
            storage = Storage(key, kind.attribute, count, view)
            storages.setdefault(key, storage)
            return storage
        case ("module", *_):
            return INERT
    raise MalformedError("a storage is not described as PyTorch does")


def arrays(tensors: Mapping[str, Tensor], fetch: Fetch, limit: int) -> dict[str, np.ndarray]:
    """Reads the tensors by name.

    Raises:
        MalformedError: as views of few numbers they would take more than `limit` bytes, or one is malformed.
    """
    if sum(tensor.nbytes for tensor in tensors.values()) > limit:
        raise MalformedError("its tensors are far larger than the file")
    return {name: tensor.array(fetch) for name, tensor in tensors.items()}
