"""Coverage of the bootstrap intervals; prints its figures."""

import numpy as np
import pytest

from tests.coverage_of_intervals import accuracy_coverage, coverage, coverage_of_others
from tfgma.intervals import BIASED


@pytest.mark.long
def test_bootstrap_intervals_hold_the_truth_in_95_of_100_studies():
    found = coverage(studies=4000, resamples=2000, seed=1)
    print()
    for figure, methods in found.items():
        print(f"{figure}, 60 subjects: BCa {methods['bca']:.3f}, percentile {methods['percentile']:.3f}")
        assert 0.93 <= methods["bca"] <= 0.97


@pytest.mark.long
def test_coverage_of_the_other_figures():
    """Of three classes, at three levels of skill; figures that no resampling tells have no interval."""
    print()
    for skill in (0.8, 1.5, 2.2):
        found = coverage_of_others(skill=skill, studies=2000, resamples=2000, seed=1)
        print(f"skill {skill}: {', '.join(f'{name} {share:.3f}' for name, share in found.items())}")
        for name, share in found.items():
            if name in BIASED:
                assert share < 0.9, name
            else:
                assert 0.91 <= share <= 0.97, name


@pytest.mark.long
def test_coverage_at_each_accuracy_alone():
    """It jumps with whether an accuracy is a multiple of 1/60; that of percentiles falls far."""
    found = accuracy_coverage(accuracies=np.linspace(0.55, 0.92, 75), resamples=4000, seed=1)
    print()
    for method, covered in found.items():
        print(f"accuracies 0.55 to 0.92, {method}: {covered.min():.3f} to {covered.max():.3f}")
    assert found["bca"].min() > 0.93
    assert found["bca"].max() < 0.98
    assert found["percentile"].min() < 0.9
