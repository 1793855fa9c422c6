"""What is pooled from certificates of several folds, and that each is made once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.build import file_digest
from pipelines.schema import RefusedError
from tests.handmade_runs import answers
from tfgma import benchmark_exports
from tfgma.benchmark_exports import EXPORTS, certify_benchmark, exports_table, pooled
from tfgma.bundle import CalibrationDescription
from tfgma.certificate import CERTIFICATE_VERSION, Candidate, Limits, Making, certify
from tfgma.runs import METRICS_FILE, MODEL_FILE, write_json

FOLDS = [(range(6, 12), range(6)), (range(6), range(6, 9))]
"""Six test subjects and three; of each eight clips."""


CALIBRATION = CalibrationDescription(
    temperature=1.0, fitted=True, fits=tuple(np.linspace(0.6, 0.98, 10)), coverage=0.9
)


def certificates(wrong: tuple[str, ...] = ()) -> list[dict]:
    """Of both folds; the file decides otherwise for the subjects `wrong`, whom the network is right about."""
    found = []
    for number, part in enumerate(answers(FOLDS, skill=1.0)):
        test = part.where(part.sides == "test")
        network = replace(test, probabilities=0.7 * np.eye(3)[test.labels] + 0.1)
        values = network.probabilities.copy()
        changed = np.isin(test.subjects, wrong)
        values[changed] = np.roll(values[changed], 1, axis=1)
        file = replace(test, probabilities=values)
        costs = {"latency_ms": {"2": {"median": 3.0 + number}}}
        making = Making(("a",) * number, fine_tuning_steps=200 * number)
        candidate = Candidate(b"x" * (10 + number), [], file, making, costs)
        found.append(certify(network, {"int8": candidate}, Limits(), {}, CALIBRATION))
    return found


def test_folds_are_pooled_by_their_subjects() -> None:
    found = pooled(certificates(wrong=("s001", "s007")), "int8")
    assert (found["subjects"], found["changed_subjects"]) == (9, 2)
    assert (found["clips"], found["changed_clips"]) == (72, 16)
    assert found["subject_accuracy"]["network"] == pytest.approx(1)
    assert found["subject_accuracy"]["file"] == pytest.approx(7 / 9)
    assert found["clip_accuracy"]["file"] == pytest.approx(56 / 72)
    assert (found["bytes"], found["latency_ms"], found["float_layers"]) == (11, 3.0, 1)
    assert found["max_delta"] == pytest.approx(0.7)
    assert found["fine_tuned"] == 1
    (row,) = exports_table({"stam": {"int8": found}})
    assert row == ["stam", "int8", "0.00 MB", "3 ms", "2 of 9", "16 of 72", "2 of 9", "1.00", "-22.2"]
    same = exports_table({"stam": {"int8": pooled(certificates(), "int8")}})
    assert same[0][-1] == "+0.0"


def test_every_finished_method_is_certified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def write_and_certify(task):
        asked.append((task.run.name, task.fold))
        model = task.run / f"fold_{task.fold}" / MODEL_FILE
        return certificates()[task.fold] | {"network_sha256": file_digest(model)}

    monkeypatch.setattr(benchmark_exports, "write_and_certify", write_and_certify)
    monkeypatch.setattr(benchmark_exports, "read_run", lambda run: {"trained_folds": [0, 1]})

    def go(**options):
        return certify_benchmark(tmp_path, variants=["int8"], progress=lambda *_: None, **options)

    with pytest.raises(RefusedError, match=r"in which tfgma benchmark study has finished a method"):
        go()
    for name in ("stam", "spatial"):
        run = tmp_path / "runs" / "methods" / name
        for fold in (0, 1):
            (run / f"fold_{fold}").mkdir(parents=True)
            (run / f"fold_{fold}" / MODEL_FILE).write_bytes(b"weights")
    write_json(tmp_path / "runs" / "methods" / "stam" / METRICS_FILE, {})
    assert go(folds=1)["stam"]["int8"]["subjects"] == 6
    assert go()["stam"]["int8"]["subjects"] == 9
    assert asked == [("stam", 0), ("stam", 1)]
    # What an earlier version certified tells nothing of this one's files.
    kept = tmp_path / EXPORTS / "stam" / "fold_0.json"
    write_json(kept, json.loads(kept.read_text()) | {"certificate_version": CERTIFICATE_VERSION - 1})
    go()
    assert asked[2:] == [("stam", 0)]
    # Nor does that of a network which has been trained anew since.
    (tmp_path / "runs" / "methods" / "stam" / "fold_1" / MODEL_FILE).write_bytes(b"other weights")
    go()
    assert asked[3:] == [("stam", 1)]
