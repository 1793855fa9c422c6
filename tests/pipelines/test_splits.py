import numpy as np
import pytest

from pipelines.schema import RefusedError
from pipelines.splits import split_folds


def people(count=30, siblings=2, classes=3):
    names = [f"s{i:02d}" for i in range(count)]
    labels = [f"c{(i // siblings) % classes}" for i in range(count)]
    groups = [f"g{i // siblings}" for i in range(count)]
    return names, labels, groups


@pytest.mark.parametrize("seed", range(5))
def test_no_subject_or_group_is_on_two_sides_and_each_is_tested_once(seed):
    names, labels, groups = people()
    folds = split_folds(names, labels, groups, folds=5, val_share=0.25, seed=seed)
    group_of = dict(zip(names, groups, strict=True))
    tested = [name for fold in folds for name in fold.test]
    assert sorted(tested) == names
    for fold in folds:
        sides = [set(fold.train), set(fold.val), set(fold.test)]
        assert set.union(*sides) == set(names)
        in_groups = [{group_of[name] for name in side} for side in sides]
        assert not in_groups[0] & in_groups[1]
        assert not in_groups[0] & in_groups[2]
        assert not in_groups[1] & in_groups[2]


def test_every_side_holds_every_class_in_like_shares():
    names, labels, groups = people(60, siblings=1)
    label_of = dict(zip(names, labels, strict=True))
    for fold in split_folds(names, labels, groups, folds=5, val_share=0.25, seed=0):
        counts = np.unique([label_of[name] for name in fold.test], return_counts=True)[1]
        assert counts.tolist() == [4, 4, 4]
        assert len({label_of[name] for name in fold.val}) == 3


def test_seeds_repeat_and_differ():
    names, labels, groups = people()
    first = split_folds(names, labels, groups, folds=3, val_share=0.25, seed=1)
    assert first == split_folds(names, labels, groups, folds=3, val_share=0.25, seed=1)
    assert first != split_folds(names, labels, groups, folds=3, val_share=0.25, seed=2)


def test_too_few_groups_of_a_class_are_refused():
    names, labels, groups = people(12, siblings=1)
    labels[0] = "rare"
    with pytest.raises(RefusedError, match=r"at least 3 groups.*Received: 1 of class 'rare'"):
        split_folds(names, labels, groups, folds=3, val_share=0.25, seed=0)
