import numpy as np
import pytest

from pipelines.sampling import Sampling

SHARDS = {
    "clips": (5, 2, 3, 1),
    "subjects": ("anna", "ben", "anna", "eve"),
    "classes": ("WMs", "PR", "WMs", "PR"),
}
OF_SUBJECT = np.repeat(SHARDS["subjects"], SHARDS["clips"])
OF_CLASS = np.repeat(SHARDS["classes"], SHARDS["clips"])


def test_without_a_rule_each_clip_is_taken_once():
    plain = Sampling(**SHARDS)
    np.testing.assert_array_equal(plain.draw(0), np.ones(11))
    assert plain.class_counts() == {"WMs": 8, "PR": 3}
    assert plain.firsts == [0, 5, 7, 10]


def test_so_many_clips_of_each_subject_over_all_its_videos_and_others_in_other_epochs():
    few = Sampling(**SHARDS, clips_per_subject=2)
    seen = np.zeros(11)
    for seed in range(60):
        times = few.draw(seed)
        assert set(times) <= {0, 1}
        # Eve has one clip, which is not repeated.
        assert {name: times[name == OF_SUBJECT].sum() for name in ("anna", "ben", "eve")} == {
            "anna": 2,
            "ben": 2,
            "eve": 1,
        }
        seen += times
    assert few.class_counts() == {"WMs": 2, "PR": 3}
    anna = seen[OF_SUBJECT == "anna"]
    # 60 draws of 2 in 8: 15 of each expected, standard deviation 3.4.
    assert anna.min() >= 4
    assert anna.max() <= 26


@pytest.mark.parametrize("clips_per_subject", [None, 3])
def test_balanced_epochs_hold_each_class_as_often(clips_per_subject):
    sampling = Sampling(**SHARDS, clips_per_subject=clips_per_subject, balanced=True)
    wanted = 6 if clips_per_subject is None else 3
    assert sampling.class_counts() == {"WMs": wanted, "PR": wanted}
    draws = [sampling.draw(seed) for seed in range(20)]
    for times in draws:
        for name in ("WMs", "PR"):
            of_class = times[name == OF_CLASS]
            assert of_class.sum() == wanted
            taken = of_class[of_class > 0] if clips_per_subject else of_class
            assert taken.max() - taken.min() <= 1  # none twice before each once
    assert len({tuple(times) for times in draws}) > 10
    np.testing.assert_array_equal(draws[3], sampling.draw(3))


def test_balance_takes_no_more_clips_of_a_subject_than_were_drawn():
    sampling = Sampling((9, 9, 9), ("anna", "ben", "eve"), ("WMs", "WMs", "PR"), 2, balanced=True)
    for seed in range(20):
        times = sampling.draw(seed)
        assert times.sum() == 6
        assert all(np.count_nonzero(part) <= 2 for part in np.split(times, 3))
