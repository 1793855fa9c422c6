"""Certificates: of answers written by hand, whose deltas and changed decisions are known."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.handmade_runs import answers
from tfgma.bundle import CalibrationDescription
from tfgma.certificate import Candidate, Limits, Making, certify, compare, decisions, failures, refuse_failed
from tfgma.runs import Predictions

SUBJECTS, CLIPS = 12, 8  # of each subject two videos of four clips


CALIBRATION = CalibrationDescription(
    temperature=1.0, fitted=True, fits=tuple(np.linspace(0.6, 0.98, 10)), coverage=0.9
)


@pytest.fixture
def network() -> Predictions:
    (part,) = answers([(range(12, 24), range(12))], skill=0.9)
    return part.where(part.sides == "test")


def changed(network: Predictions, probabilities: np.ndarray) -> Predictions:
    return replace(network, probabilities=probabilities)


def swapped(network: Predictions, rows: np.ndarray) -> Predictions:
    """In `rows` (N,) bool, the first two classes stand for each other."""
    values = network.probabilities.copy()
    values[rows] = values[rows][:, [1, 0, 2]]
    return changed(network, values)


def certified(network: Predictions, file: Predictions, variant: str = "int8", **limits: float) -> dict:
    candidate = Candidate(b"abc", ["CONV_2D", "SOFTMAX", "CONV_2D"], file, Making(losses={"conv_5": 0.9}))
    return certify(network, {variant: candidate}, Limits.model_validate(limits), {"cores": 2}, CALIBRATION)


def test_equal_answers_are_certified(network: Predictions) -> None:
    found = certified(network, network)
    assert (found["clips"], found["subjects"]) == (SUBJECTS * CLIPS, SUBJECTS)
    int8 = found["variants"]["int8"]
    assert int8["failures"] == []
    assert int8["sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert (int8["file"], int8["bytes"]) == ("model_int8.tflite", 3)
    assert int8["operators"] == {"CONV_2D": 2, "SOFTMAX": 1}
    for level in ("clip", "subject"):
        assert (int8[level]["changed"], int8[level]["max_delta"]) == (0, 0)
        assert int8[level]["differences"]["accuracy"]["difference"] == 0
        assert int8[level]["calibration"]["network"] == int8[level]["calibration"]["file"]
    refuse_failed(found)


@pytest.mark.parametrize(
    ("variant", "delta", "said"),
    [
        ("float32", 1e-5, []),
        ("float32", 2e-3, ["a clip's beta is off by 0.002, 0.0001 is allowed"]),
        ("onnx", float("nan"), ["a clip's beta is off by nan, 0.0001 is allowed"]),
        ("int8", 2e-3, []),
    ],
)
def test_what_is_answered_besides_is_held_to_the_limit_of_float32(
    network: Predictions, variant: str, delta: float, said: list[str]
) -> None:
    also = {name: {"mean_delta": 0.0, "max_delta": most} for name, most in (("alpha", 0.0), ("beta", delta))}
    found = certify(network, {variant: Candidate(b"abc", [], network, also=also)}, Limits(), {}, CALIBRATION)
    assert found["variants"][variant]["also"] == also
    assert found["variants"][variant]["failures"] == said


def test_deltas_and_changed_decisions_are_counted(network: Predictions) -> None:
    one = network.subjects == "s001"
    row = int(np.flatnonzero(one)[0])
    values = network.probabilities.copy()
    values[row] = np.roll(values[row], 1)
    found = compare(network, changed(network, values), CALIBRATION)
    delta = np.abs(np.roll(network.probabilities[row], 1) - network.probabilities[row])
    assert found["clip"]["max_delta"] == pytest.approx(delta.max(), abs=1e-12)
    assert found["clip"]["mean_delta"] == pytest.approx(delta.sum() / values.size, abs=1e-12)
    assert found["subject"]["max_delta"] == pytest.approx(delta.max() / CLIPS, abs=1e-12)
    assert found["clip"]["changed"] == 1
    assert found["clip"]["changed_names"] == [f"{network.videos[row]} at {network.start_seconds[row]:.3f} s"]
    difference = found["clip"]["differences"]["accuracy"]
    assert difference["difference"] == pytest.approx(difference["file"] - difference["network"])
    assert abs(difference["difference"]) == pytest.approx(1 / len(values))


def test_verdicts_may_change_where_decisions_do_not(network: Predictions) -> None:
    ours = replace(network, probabilities=np.tile([0.65, 0.2, 0.15], (len(network.labels), 1)))
    values = ours.probabilities.copy()
    values[network.subjects == "s002"] = [0.55, 0.3, 0.15]  # below all subjects of known class
    found = compare(ours, changed(ours, values), CALIBRATION)["subject"]
    assert found["changed"] == 0
    assert (found["changed_verdicts"], found["changed_verdict_names"]) == (1, ["s002"])
    certificate = certified(ours, changed(ours, values))
    assert certificate["variants"]["int8"]["subject"]["changed_verdicts"] == 1
    refuse_failed(certificate)
    assert compare(ours, ours, CALIBRATION)["subject"]["changed_verdicts"] == 0


def test_the_interval_of_a_loss_holds_it(network: Predictions) -> None:
    found = compare(network, swapped(network, np.isin(network.subjects, ["s000", "s001"])), CALIBRATION)
    accuracy = found["subject"]["differences"]["accuracy"]
    low, high = accuracy["interval"]
    assert low < accuracy["difference"] < 0
    assert low <= -2 / SUBJECTS <= high
    calibration = found["clip"]["calibration"]
    assert calibration["file"]["brier"] > calibration["network"]["brier"]


def test_a_changed_subject_is_refused_by_name_with_the_layers_that_lose_most(network: Predictions) -> None:
    file = swapped(network, np.isin(network.subjects, ["s003"]))
    found = certified(network, file)
    assert found["variants"]["int8"]["subject"]["changed_names"] == ["s003"]
    with pytest.raises(
        RefusedError,
        match=r"int8: 1 subjects are decided otherwise, 0 are allowed: s003; accuracy .*conv_5 \(0.9\)",
    ):
        refuse_failed(found)
    refuse_failed(certified(network, file, changed_subjects=1, accuracy_loss=0.1))


def test_a_loss_of_just_the_limit_is_allowed(network: Predictions) -> None:
    found = decisions(network, swapped(network, np.isin(network.subjects, ["s000"])))
    assert found["subject"]["accuracy_loss"] == 1 / SUBJECTS
    assert failures("int8", found, Limits(changed_subjects=1, accuracy_loss=1 / SUBJECTS)) == []
    (said,) = failures("int8", found, Limits(changed_subjects=1, accuracy_loss=0.9 / SUBJECTS))
    assert said == "accuracy by subject is 8.3 points less, 7.5 are allowed"


def test_a_gain_is_no_failure(network: Predictions) -> None:
    wrong = network.probabilities.argmax(axis=1) != network.labels
    values = network.probabilities.copy()
    values[wrong] = np.eye(3)[network.labels[wrong]]
    found = compare(network, changed(network, values), CALIBRATION)
    assert found["clip"]["changed"] == wrong.sum() > 0
    assert failures("int8", found, Limits(changed_subjects=SUBJECTS)) == []


def test_float32_has_a_limit_of_its_own(network: Predictions) -> None:
    values = network.probabilities + np.array([2e-4, -1e-4, -1e-4])
    file = changed(network, np.clip(values, 0, 1))
    assert certified(network, file, "float16")["variants"]["float16"]["failures"] == []
    for exact in ("float32", "onnx"):
        with pytest.raises(RefusedError, match=rf"{exact}: a clip's probability is off by 0.0002, 0.0001 is"):
            refuse_failed(certified(network, file, exact))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.0])
def test_what_is_no_probability_is_refused(network: Predictions, bad: float) -> None:
    values = network.probabilities.copy()
    values[5, 1] = bad
    with pytest.raises(RefusedError, match=r"int8: its answers are not probabilities"):
        refuse_failed(certified(network, changed(network, values)))
