"""Posture and movement in numbers, and whether two groups differ."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pipelines.schema import FEATURE_JOINTS, RefusedError
from tests.conftest import random_clip
from tfgma.drift import drifts, holm, least_distance
from tfgma.movement_figures import MOVEMENT, POSE, movement_figures, pose_figures


def clip_of(features):
    return replace(random_clip(), joint_features=features)


def resting(frames=7):
    """Hands one trunk length aside of the middle line, feet half a trunk length below the hips."""
    features = np.zeros((frames, 18, 7), np.float32)
    for side, x in (("left", 1), ("right", -1)):
        features[:, FEATURE_JOINTS.index(f"{side}_wrist"), 0] = x
        features[:, FEATURE_JOINTS.index(f"{side}_ankle"), 1] = 1.5
    return features


def test_a_resting_body_has_a_posture_and_no_movement():
    found = pose_figures(clip_of(resting()))
    assert list(found) == list(POSE)
    assert found["hands_reach"] == pytest.approx(1)
    assert found["feet_reach"] == pytest.approx(0.5)
    moves = movement_figures(clip_of(resting()))
    assert list(moves) == list(MOVEMENT)
    assert moves == {"hand_speed": 0, "foot_speed": 0, "quickness": 0, "asymmetry": 0, "stillness": 1}


def test_speeds_are_of_the_hands_and_feet_and_sides_are_compared():
    features = resting()
    left, right = (FEATURE_JOINTS.index(f"{side}_wrist") for side in ("left", "right"))
    foot = FEATURE_JOINTS.index("left_ankle")
    features[:, left, 2:4] = 0.6, 0.8  # one trunk length a second
    features[:, right, 2] = -0.5
    features[:4, foot, 3] = 2
    features[..., left, 4:6] = 3, 4
    found = movement_figures(clip_of(features))
    assert found["hand_speed"] == pytest.approx(0.75)
    assert found["foot_speed"] == pytest.approx(2 * 4 / 7 / 2)
    speeds = np.array([1, 0.5, 8 / 7, 0])
    assert found["quickness"] == pytest.approx(5 / 4 / speeds.mean())
    assert found["asymmetry"] == pytest.approx(abs(np.log2((1 + 8 / 7) / 0.5)))
    assert found["stillness"] == 0
    assert pose_figures(clip_of(features[:0])) == movement_figures(clip_of(features[:0])) == {}


def test_what_differs_is_found_and_what_does_not_is_not():
    rng = np.random.default_rng(0)
    before = {name: rng.normal(size=60) for name in ("same", "other", "unknown", "only before")}
    now = {"same": rng.normal(size=30), "other": rng.normal(1.5, 1, 30), "unknown": np.full(30, np.nan)}
    same, other = drifts(before, now)
    assert (same.figure, other.figure) == ("same", "other")
    assert (same.changed, other.changed) == (False, True)
    assert other.higher > 0.75
    expected = stats.ks_2samp(before["other"], now["other"])
    assert (other.distance, other.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert other.adjusted == pytest.approx(2 * expected.pvalue)  # Holm: the smaller of two
    assert other.before == pytest.approx(np.percentile(before["other"], [25, 50, 75]))
    pairs = [(a > b) + (a == b) / 2 for a in now["other"] for b in before["other"]]
    assert other.higher == pytest.approx(np.mean(pairs))


def test_alike_groups_are_called_changed_as_seldom_as_promised():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        before, now = ({str(n): rng.normal(size=size) for n in range(4)} for size in (60, 25))
        alarms += any(row.changed for row in drifts(before, now))
    # 5 % at most: of 60 tries seldom more than 7.
    assert alarms <= 7


@pytest.mark.parametrize(("before", "now", "figures"), [(60, 25, 8), (40, 20, 3)])
def test_from_the_least_distance_on_a_figure_counts_as_changed(before, now, figures):
    least = least_distance(before, now, figures)
    old, alike = np.linspace(0, 1, before), np.linspace(0, 1, now)
    rest = [str(number) for number in range(figures - 1)]
    seen = set()
    for moved in range(0, now, 3):
        new = alike.copy()
        new[now - moved :] = 2  # beyond all old ones
        row = drifts({"one": old} | dict.fromkeys(rest, old), {"one": new} | dict.fromkeys(rest, alike))[0]
        assert row.changed == (row.distance >= least - 1e-9)
        seen.add(row.changed)
    assert seen == {False, True}


@pytest.mark.parametrize("levels", [[0.01, 0.04, 0.03, 0.02], [0.5, 0.5, 0.001], [0.9], [0.0, 1.0]])
def test_holms_levels_are_those_of_statsmodels(levels):
    np.testing.assert_allclose(holm(levels), multipletests(levels, method="holm")[1], atol=1e-15)


def test_too_few_subjects_are_refused():
    with pytest.raises(RefusedError, match="at least 5 subjects before and now"):
        drifts({"a": np.zeros(60)}, {"a": np.zeros(4)})
