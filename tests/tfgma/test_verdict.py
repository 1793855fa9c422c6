import numpy as np
import pytest

from tfgma.bundle import CalibrationDescription
from tfgma.calibration import UNCERTAIN, apply_temperature, conformal_fits, conformal_ranks, conformal_sets
from tfgma.verdict import verdict

CLASSES = ("N", "PR", "CS")


def calibration(fits, temperature=1.0):
    return CalibrationDescription(temperature=temperature, fitted=True, fits=tuple(fits), coverage=0.9)


def test_one_possible_class_is_the_answer():
    found = verdict(np.array([0.9, 0.06, 0.04]), CLASSES, calibration(np.linspace(0.5, 0.99, 20)))
    assert (found.answer, found.possible, found.reason) == ("N", ("N",), "")


def test_probabilities_are_calibrated_and_sets_are_of_the_networks_own():
    fits = np.linspace(0.5, 0.99, 20)
    given = np.array([0.9, 0.06, 0.04])
    found = verdict(given, CLASSES, calibration(fits, temperature=5.0))
    np.testing.assert_allclose(found.probabilities, apply_temperature(given[None], 5.0)[0])
    assert found.probabilities.max() < 0.6
    assert found.answer == "N"


def test_no_single_class_is_no_answer_and_says_why():
    several = verdict(np.array([0.5, 0.45, 0.05]), CLASSES, calibration(np.linspace(0.3, 0.9, 20)))
    assert (several.answer, several.possible) == (UNCERTAIN, ("N", "PR"))
    assert "N, PR" in several.reason
    none = verdict(np.array([0.4, 0.3, 0.3]), CLASSES, calibration(np.linspace(0.8, 0.99, 20)))
    assert (none.answer, none.possible) == (UNCERTAIN, ())
    assert "no class fits" in none.reason


@pytest.mark.parametrize(("validated", "assessed"), [(8, False), (9, True)])
def test_few_validation_subjects_allow_no_answer(validated, assessed):
    found = verdict(np.array([1.0, 0.0, 0.0]), CLASSES, calibration([0.9] * validated))
    assert (found.answer == "N") == assessed
    assert ("at least 9" in found.reason) != assessed


def test_a_written_calibration_decides_as_the_evaluation_does():
    """Also where a candidate ties with a validation subject, after a round through JSON."""
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 3, 30), rng.dirichlet(np.ones(3), 30)
    fits = conformal_fits(labels, answers)
    written = CalibrationDescription.model_validate_json(calibration(fits.tolist()).model_dump_json())
    expected = conformal_sets(conformal_ranks(fits, answers), np.full(30, 30))
    for row, allowed in zip(answers, expected, strict=True):
        assert verdict(row, CLASSES, written).possible == tuple(np.array(CLASSES)[allowed])
