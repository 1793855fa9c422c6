"""What bundle.json says is what was written there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.config import BuildConfig, InputSettings
from pipelines.schema import RefusedError
from tfgma.bundle import BUNDLE_FILE, BUNDLE_VERSION, CERTIFICATE_FILE, read_bundle, sealed

CONTENT = {
    "bundle_version": BUNDLE_VERSION,
    "classes": ("FMs", "PR"),
    "sampling": InputSettings().model_dump(),
    "build": BuildConfig().model_dump(),
    "inputs": {"image": {"shape": (32, 32, 3), "meaning": "RGB"}},
    "output": "probabilities",
    "files": {"model_float32.tflite": "ab" * 32},
    "calibration": {"temperature": 1.1, "fitted": True, "fits": [0.1, 1 / 3], "coverage": 0.9},
    "metrics": {"subject": {"accuracy": 0.1 + 0.2}},
    "run": {},
    "runtime": "2.3",
    "notice": "Research use only.",
}


def written(folder: Path, content: dict[str, Any]) -> Path:
    (folder / BUNDLE_FILE).write_text(json.dumps(content, indent=1))
    return folder


def test_what_was_sealed_is_read_and_sealed_alike(tmp_path: Path) -> None:
    content = sealed(CONTENT)
    found = read_bundle(written(tmp_path, content))
    assert (found.classes, found.calibration.fits) == (("FMs", "PR"), (0.1, 1 / 3))
    assert sealed(content) == content
    again = json.loads((tmp_path / BUNDLE_FILE).read_text())
    assert sealed(again) == again


def test_no_changed_byte_changes_what_is_read(tmp_path: Path) -> None:
    whole = read_bundle(written(tmp_path, sealed(CONTENT)))
    content = (tmp_path / BUNDLE_FILE).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.permutation(len(content))[:400]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(7))
        (tmp_path / BUNDLE_FILE).write_bytes(changed)
        try:
            assert read_bundle(tmp_path) == whole, place
        except RefusedError:
            refused += 1
    assert refused > 200  # others were white space


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("PR", "FMs")},
        {"calibration": CONTENT["calibration"] | {"temperature": 0.9}},
        {"inputs": {}},
    ],
)
def test_a_changed_description_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(
        RefusedError, match=r"bundle.json must be as it was exported, SHA-256 .*Copy the bundle again"
    ):
        read_bundle(written(tmp_path, sealed(CONTENT) | change))


def test_a_changed_certificate_is_refused(tmp_path: Path) -> None:
    certificate = b'{"variants": {}}'
    files = {CERTIFICATE_FILE: hashlib.sha256(certificate).hexdigest()}
    written(tmp_path, sealed(CONTENT | {"files": files}))
    (tmp_path / CERTIFICATE_FILE).write_bytes(certificate)
    read_bundle(tmp_path)
    (tmp_path / CERTIFICATE_FILE).write_bytes(certificate + b" ")
    with pytest.raises(RefusedError, match=r"certificate\.json must be the exported file"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 0.0}, r"calibration.temperature: .* greater than 0. Received: 0.0"),
        ({"temperature": float("nan")}, r"calibration.temperature: .*finite"),
        ({"coverage": 7.0}, r"calibration.coverage: .* less than 1. Received: 7.0"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, float], said: str) -> None:
    content = CONTENT | {"calibration": CONTENT["calibration"] | change}
    with pytest.raises(RefusedError, match=said):
        read_bundle(written(tmp_path, sealed(content)))


def test_a_missing_key_is_named_and_nothing_else_is_told(tmp_path: Path) -> None:
    content = {name: value for name, value in CONTENT.items() if name != "files"}
    with pytest.raises(RefusedError, match=r"^bundle.json: files is required. Received: none. Add it$"):
        read_bundle(written(tmp_path, sealed(content)))
