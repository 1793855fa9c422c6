import numpy as np
import pytest

from pipelines.schema import RefusedError
from pipelines.splits import (
    Fold,
    SameRecording,
    join_groups,
    lock_away,
    refuse_leaks,
    split_by_site,
    split_fixed,
    split_folds,
)


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


def test_the_validation_side_rotates_within_each_test_side_if_nested():
    names, labels, groups = people()
    plain = split_folds(names, labels, groups, folds=3, val_share=0.25, seed=1)
    nested = split_folds(names, labels, groups, folds=3, val_share=0.25, seed=1, nested=True)
    # 5 groups a class, of which a test side takes 1 or 2: 3 or 4 validation sides.
    assert 9 <= len(nested) <= 12
    by_test = {fold.test: [one for one in nested if one.test == fold.test] for fold in nested}
    assert list(by_test) == [fold.test for fold in plain]
    for fold, rotated in zip(plain, by_test.values(), strict=True):
        assert rotated[0] == fold
        assert sorted(name for one in rotated for name in one.val) == sorted({*names} - {*fold.test})
        for one in rotated:
            assert sorted(one.train + one.val + one.test) == names


def test_the_fixed_test_side_stays_and_the_others_are_validated_on_once():
    names, labels, groups = people()
    test = names[:6]
    folds = split_fixed(names, labels, groups, test=test, folds=3, seed=0)
    assert [fold.test for fold in folds] == [tuple(test)] * 3
    assert sorted(name for fold in folds for name in fold.val) == names[6:]
    assert all(sorted(fold.train + fold.val) == names[6:] for fold in folds)
    again = split_fixed(names, labels, groups, test=test, folds=3, seed=0)
    other = split_fixed(names, labels, groups, test=test, folds=3, seed=1)
    assert folds == again
    assert folds != other


@pytest.mark.parametrize(
    ("test", "folds", "message"),
    [
        ([], 3, r"fixed needs a manifest whose column split.*Received: 0 of 30"),
        ([f"s{i:02d}" for i in range(30)], 3, r"Received: 30 of 30 subjects"),
        (["s00", "s02", "s03", "s04", "s05"], 3, r"group 'g0' with 's00' as test and 's01' as train"),
        (["s00", "s01"], 3, r"fold 0, whose test side lacks c1, c2"),
        ([f"s{i:02d}" for i in range(6)], 5, r"at least 5 groups.*5 validation sides. Received: 4 of class"),
    ],
)
def test_a_fixed_test_side_that_cannot_be_is_refused(test, folds, message):
    names, labels, groups = people()
    with pytest.raises(RefusedError, match=message):
        split_fixed(names, labels, groups, test=test, folds=folds, seed=0)


def test_subjects_are_joined_through_the_groups_of_all_their_videos():
    subjects = ["a", "b", "b", "c", "d", "e"]
    groups = ["x", "x", "y", "y", "z", "d"]
    # A group that is named as a subject is not that subject's: d is of z alone.
    assert join_groups(subjects, groups) == {"a": "x", "b": "x", "c": "x", "d": "z", "e": "d"}


def random_people(rng):
    """Subjects with one to three videos each, groups of all sizes, some subjects with two groups."""
    count = int(rng.integers(6, 40))
    labels = rng.choice(["x", "y", "z"][: rng.integers(1, 4)], count)
    rows = []
    for i in range(count):
        for _ in range(rng.integers(1, 4)):
            group = f"g{rng.integers(count)}" if rng.random() < 0.4 else f"s{i}"
            rows.append((f"s{i}", group))
    return [f"s{i}" for i in range(count)], list(labels), rows


def reachable(subject, rows):
    """Subjects that share a group with `subject`, directly or through others, by plain search."""
    seen, todo = set(), [subject]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            mine = {group for name, group in rows if name == one}
            todo += [name for name, group in rows if group in mine]
    return seen


def test_random_groupings_give_folds_without_leak_or_a_refusal():
    made = {"folds": 0, "nested": 0, "fixed": 0}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        names, labels, rows = random_people(rng)
        group_of = join_groups([name for name, _ in rows], [group for _, group in rows])
        for name in names[:5]:
            assert reachable(name, rows) == {one for one in names if group_of[one] == group_of[name]}
        arguments = names, labels, [group_of[name] for name in names]
        count = int(rng.integers(2, 5))
        wanted = {group_of[name] for name in rng.choice(names, 3)}
        test = [name for name in names if group_of[name] in wanted]
        scheme = ["folds", "nested", "fixed"][seed % 3]
        try:
            if scheme == "fixed":
                folds = split_fixed(*arguments, test=test, folds=count, seed=seed)
            else:
                share = float(rng.choice([0.1, 0.2, 0.5]))
                folds = split_folds(
                    *arguments, folds=count, val_share=share, seed=seed, nested=scheme == "nested"
                )
        except RefusedError:
            continue
        made[scheme] += 1
        for fold in folds:
            assert sorted(fold.train + fold.val + fold.test) == sorted(names)
            for side in (fold.train, fold.val, fold.test):
                assert {dict(zip(names, labels, strict=True))[name] for name in side} == set(labels)
                for name in side:
                    assert reachable(name, rows) <= set(side)
        tested = {fold.test for fold in folds}
        assert sorted(name for side in tested for name in side) == sorted(
            test if scheme == "fixed" else names
        )
        refuse_leaks(folds, group_of, [])
    assert min(made.values()) >= 5, made


def test_each_site_is_tested_by_the_others():
    names, labels, groups = people(60)
    site_of = {name: f"site{int(group[1:]) // 10}" for name, group in zip(names, groups, strict=True)}
    folds = split_by_site(names, labels, groups, list(site_of.values()), val_share=0.25, seed=0)
    assert [{site_of[name] for name in fold.test} for fold in folds] == [{"site0"}, {"site1"}, {"site2"}]
    for fold in folds:
        assert sorted(fold.train + fold.val + fold.test) == names
    refuse_leaks(folds, dict(zip(names, groups, strict=True)), [])


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (["a"] * 60, r"there must be two or more. Received: 1 site\."),
        (["a"] * 30 + [""] + ["b"] * 29, r"Received: no site for 's30'"),
        (["a"] * 31 + ["b"] * 29, r"a group must be of one site. Received: group 'g15' of a, b"),
        (["a"] * 2 + ["b"] * 28 + ["c"] * 30, r"fold 0, whose test side lacks c1, c2"),
    ],
)
def test_sites_that_cannot_be_left_out_are_refused(sites, message):
    with pytest.raises(RefusedError, match=message):
        split_by_site(*people(60), sites, val_share=0.25, seed=0)


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.3, 1 / 3, 0.4, 0.45, 0.5])
def test_shares_are_what_was_asked_for(share):
    names = [f"s{number:03d}" for number in range(240)]
    labels = [f"c{number % 3}" for number in range(240)]
    locked = lock_away(names, labels, names, share=share, seed=3)
    assert len(locked) / 240 == pytest.approx(share, rel=0.1, abs=0.005)
    for fold in split_folds(names, labels, names, folds=4, val_share=share, seed=3):
        assert len(fold.test) == 60
        assert len(fold.val) / 180 == pytest.approx(share, rel=0.1, abs=0.01)
    for fold in split_by_site(names, labels, names, ["a"] * 120 + ["b"] * 120, val_share=share, seed=3):
        assert len(fold.val) / 120 == pytest.approx(share, rel=0.1, abs=0.015)


def test_a_share_of_nobody_is_refused():
    with pytest.raises(RefusedError, match=r"lock box of 0%. Received: 10 of class .* Raise split.lock_box"):
        lock_away(*people(60), share=1e-9, seed=0)


def test_a_lock_box_holds_every_class_and_whole_groups():
    names, labels, groups = people(60)
    locked = lock_away(names, labels, groups, share=0.2, seed=3)
    assert 10 <= len(locked) <= 14
    assert locked == lock_away(names, labels, groups, share=0.2, seed=3)
    assert locked != lock_away(names, labels, groups, share=0.2, seed=4)
    group_of, label_of = (dict(zip(names, of, strict=True)) for of in (groups, labels))
    assert {label_of[name] for name in locked} == set(labels)
    assert not {group_of[name] for name in locked} & {group_of[one] for one in names if one not in locked}


FOLD = Fold(train=("a", "b"), val=("c",), test=("d",))
OWN = {name: name for name in "abcd"}


@pytest.mark.parametrize(
    ("fold", "group_of", "same", "message"),
    [
        (Fold(("a", "b"), ("c",), ("b",)), OWN, (), r"'b' in train and test of fold 1. Correct"),
        (FOLD, OWN | {"b": "twins", "d": "twins"}, (), r"'b' in train and 'd' in test of fold 1, both of g"),
        (
            FOLD,
            OWN,
            ("a", "c"),
            r"'v1' of 'a' in train and 'v2' of 'c' in val of fold 1, the same file. Give",
        ),
        (FOLD, OWN, ("d", "b"), r"'v1' of 'd' in test and 'v2' of 'b' in train of fold 1"),
    ],
)
def test_a_leak_is_an_error_whoever_made_the_folds(fold, group_of, same, message):
    same = [SameRecording(("v1", "v2"), same, "the same file")] if same else []
    whole = Fold(("a", "b", "c", "d"), (), ())
    with pytest.raises(RefusedError, match=message):
        refuse_leaks([whole, fold], group_of, same)


def test_what_stands_twice_on_one_side_is_no_leak():
    refuse_leaks([FOLD], OWN | {"b": "a"}, [SameRecording(("v1", "v2"), ("a", "b"), "the same file")])
    refuse_leaks([FOLD], OWN, [SameRecording(("v1", "v2"), ("a", "nobody"), "the same file")])


@pytest.mark.parametrize(
    ("locked", "group_of", "same", "message"),
    [
        (("b",), OWN, None, r"'b' in lock box and train of fold 0"),
        (("e",), OWN | {"e": "twins", "d": "twins"}, None, r"'e' in lock box and 'd' in test of fold 0"),
        (("e",), OWN | {"e": "e"}, ("a", "e"), r"'v1' of 'a' in train and 'v2' of 'e' in lock box of fold 0"),
    ],
)
def test_a_lock_box_that_leaks_is_an_error(locked, group_of, same, message):
    same = [SameRecording(("v1", "v2"), same, "the same file")] if same else []
    with pytest.raises(RefusedError, match=message):
        refuse_leaks([FOLD], group_of, same, locked)
