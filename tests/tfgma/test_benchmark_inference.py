"""Who is timed when, what is made of the times, and what is refused; the processes by a tiny network."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.tfgma.test_onnx import small
from tfgma import benchmark_inference as room
from tfgma.benchmark_inference import (
    PEERS,
    benchmark_inference,
    contenders,
    figures,
    inference_table,
)
from tfgma.benchmark_networks import write_onnx_int8
from tfgma.contenders import Contender, noise, waiting
from tfgma.onnx_file import convert_onnx
from tfgma.onnx_model import ONNXModel

FILES = {"float32": Path("a.tflite"), "int8": Path("b.tflite"), "onnx": Path("c.onnx")}


def times(*rounds: float) -> np.ndarray:
    """Of those milliseconds by the clock, and twice as many of the processor."""
    clock = np.repeat(np.array(rounds)[:, None], 3, axis=1)
    return np.stack([clock, 2 * clock], axis=-1)


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    found = figures({"int8": times(1, 2, 10), "torch": times(6, 12, 60)})
    assert found["int8"]["times_torch"] == 6
    assert found["torch"]["times_torch"] == 1
    assert (found["int8"]["median_ms"], found["int8"]["processor_ms"]) == (2, 4)
    assert 2 < found["int8"]["p95_ms"] <= 10
    assert figures({"int8": times(1)})["int8"]["times_torch"] is None


def test_files_come_first_and_then_peers_by_their_own_file() -> None:
    files = FILES | {"onnx-int8": Path("d.onnx")}
    found = contenders(files, list(PEERS), 2)
    assert [(one.name, one.runtime, str(one.file)) for one in found] == [
        ("float32", "tflite", "a.tflite"),
        ("int8", "tflite", "b.tflite"),
        ("torch", "torch", "c.onnx"),
        ("torch-compiled", "torch-compiled", "c.onnx"),
        ("onnx", "onnx", "c.onnx"),
        ("onnx-int8", "onnx", "d.onnx"),
    ]
    assert {one.threads for one in found} == {2}


def test_a_peer_that_cannot_run_is_a_row_that_says_why() -> None:
    (row,) = room._timed([Contender("torch", "torch", None, 1)], 1, lambda turn: None)
    assert "bundle must hold model.onnx" in row["not_available"]
    fast = {"contender": "int8", "threads": 1} | figures({"int8": times(1), "torch": times(6)})["int8"]
    rows = inference_table({"networks": {"net": [fast, row]}})
    assert rows[0] == ["net", "int8", "1", "1", "1", "2", "6.00"]
    assert rows[1][3].startswith("not available: the bundle must hold model.onnx")
    assert [len(one) for one in rows] == [7, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"peers": ["caffe"]}, r'--peer must be one of torch, .*Received: "caffe"'),
        ({"peers": [], "variants": ["int4"]}, r'variant must be one of .*Received: "int4"'),
        ({"peers": []}, r"either --config or --bundle must be given. Received: neither"),
        ({"peers": [], "bundle": Path("b"), "configs": [Path("c")]}, r"must be given. Received: both"),
        ({"peers": [], "bundle": Path("nowhere")}, r"--model must be a folder that tfgma export wrote"),
    ],
)
def test_what_cannot_be_timed_is_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        benchmark_inference(tmp_path, **options)


@pytest.mark.parametrize(
    ("peer", "package", "extra"), [("torch", "torch", "torch"), ("onnx-int8", "onnxruntime", "onnx")]
)
def test_the_extra_of_a_missing_peer_is_named(
    tmp_path: Path, monkeypatch, peer: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RefusedError, match=rf"needs the package {package}\..*'tfgma\[{extra}\]'"):
        benchmark_inference(tmp_path, peers=[peer])


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(convert_onnx(small("two_stream")))
    return path


def test_an_int8_file_answers_nearly_as_its_float32(file: Path, tmp_path: Path) -> None:
    write_onnx_int8(file, tmp_path / "int8.onnx", 0, lambda: None)
    exact, quantised = ONNXModel(file.read_bytes()), ONNXModel((tmp_path / "int8.onnx").read_bytes())
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(quantised.operators)
    inputs = noise(exact.input_shapes)
    np.testing.assert_allclose(quantised(inputs), exact(inputs), atol=0.05)


def test_a_process_waits_for_its_turns(file: Path) -> None:
    with waiting(Contender("onnx", "onnx", file, 1)) as process:
        for clips in (3, 2):
            taken = process.turn(clips)
            assert taken.shape == (clips, 2)
            assert (taken > 0).all()


def test_a_file_that_cannot_be_run_ends_its_process(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(RefusedError, match=r"a model must be an ONNX file"):
        waiting(Contender("onnx", "onnx", tmp_path / "model.onnx", 1))
