"""Coverage of the bootstrap intervals; prints its figures."""

import pytest

from tests.coverage_of_intervals import coverage


@pytest.mark.long
def test_bootstrap_intervals_hold_the_truth_in_95_of_100_studies():
    found = coverage(studies=4000, resamples=2000, seed=1)
    print()
    for figure, methods in found.items():
        print(f"{figure}, 60 subjects: BCa {methods['bca']:.3f}, percentile {methods['percentile']:.3f}")
        assert 0.93 <= methods["bca"] <= 0.97
