"""Who is trained on, who is validated on, and who is kept for the test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from pipelines.schema import RefusedError

SIDES = ("train", "val", "test")
LOCK_BOX = "lock box"
"""Who is on no side of any fold."""

_FEWER_FOLDS = "Lower split.folds or add subjects"
_OTHER_FOLDS = "Lower split.folds, change split.seed, or add subjects"
_OTHER_SITES = (
    "Join small sites in the manifest's column and build again, set split.scheme to folds, or add subjects"
)


@dataclass(frozen=True)
class Fold:
    """Subjects of the three sides of one fold; no subject or group is on two sides."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class SameRecording:
    """Two videos of subjects of different groups that show one recording; `why` says how that was seen."""

    videos: tuple[str, str]
    subjects: tuple[str, str]
    why: str


@dataclass(frozen=True)
class _People:
    """One entry a subject: name, class, group; (N,) str each."""

    names: np.ndarray
    classes: np.ndarray
    groups: np.ndarray

    def part(self, chosen: np.ndarray) -> _People:
        return _People(self.names[chosen], self.classes[chosen], self.groups[chosen])

    def fewest_groups(self) -> tuple[int, str]:
        """Number of groups of the class that has the fewest, and the class."""
        return min(
            (len(np.unique(self.groups[self.classes == label])), str(label))
            for label in np.unique(self.classes)
        )


def join_groups(subjects: Sequence[str], groups: Sequence[str]) -> dict[str, str]:
    """Subject -> group, from one entry a video.

    A subject whose videos carry several groups joins these into one, and so do subjects through each other:
    if a is of x, b of x and of y, and c of y, then a, b and c are one group. It has its first name in the
    alphabet.
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for subject, group in zip(subjects, groups, strict=True):
        # "group" comes before "subject", so that the smaller root is always a group's name.
        low, high = sorted((root(("subject", subject)), root(("group", group))))
        parent[high] = low
    return {subject: root(("subject", subject))[1] for subject in subjects}


def split_folds(
    subjects: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    folds: int,
    val_share: float,
    seed: int,
    nested: bool = False,
) -> list[Fold]:
    """Stratified folds of subjects that keep groups (siblings, sites) together.

    scikit-learn's StratifiedGroupKFold deals the subjects into `folds` test sides, so that each subject is
    tested once, then deals the rest of each into equal parts, of which the first are the validation side:
    the fewest that come within a tenth of `val_share`, 0.4 by two of five, or one part where a class has
    fewer groups. If `nested`, each of 1 / `val_share` parts, rounded down, is the validation side in turn,
    one fold for each pair of test and validation side; folds of one test side follow each other.

    Args:
        subjects, labels, groups: one entry a subject.
        folds: number of test sides, at least 2.
        val_share: share of what is not tested that is validated on.
        seed: shuffles subjects before they are dealt out.
        nested: rotate the validation side within each test side.

    Raises:
        RefusedError: a class has fewer groups than folds, or some side would lack a class.
    """
    people = _People(np.array(subjects), np.array(labels), np.array(groups))
    needed = max(folds, 3)  # one group each to train, validate and test on
    _refuse_few_groups(people, needed, f"{folds} folds with a validation side")
    found: list[Fold] = []
    for rest, test in _deal(people, folds, seed):
        taken, parts = _validated(rest, val_share, nested=nested)
        _refuse_few_groups(rest, parts, f"a training and a validation side beside test side {len(found)}")
        inner = _deal(rest, parts, seed) if nested else [_parted(rest, taken, parts, seed)]
        found += [_fold(train, val, test) for train, val in inner]
    return _with_every_class(found, people)


def split_fixed(
    subjects: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    test: Collection[str],
    folds: int,
    seed: int,
) -> list[Fold]:
    """Folds that share one given test side; the others are dealt into `folds` validation sides.

    Each subject outside `test` is validated on once and trained on in the other folds.

    Args:
        subjects, labels, groups: one entry a subject.
        test: the subjects that are tested.
        folds: number of validation sides, at least 2.
        seed: shuffles subjects before they are dealt out.

    Raises:
        RefusedError: nobody or everybody is tested, a group is on both sides, a class has fewer groups than
            folds, or some side would lack a class.
    """
    people = _People(np.array(subjects), np.array(labels), np.array(groups))
    is_test = np.isin(people.names, sorted(test))
    if is_test.all() or not is_test.any():
        raise RefusedError(
            "split.scheme fixed needs a manifest whose column split says test for some subjects and train "
            f"for others. Received: {is_test.sum()} of {len(is_test)} subjects for the test. Correct the "
            "column and build again, or set split.scheme to folds"
        )
    for group in np.unique(people.groups[is_test]):
        torn = people.groups == group
        if not is_test[torn].all():
            tested, trained = people.names[torn & is_test][0], people.names[torn & ~is_test][0]
            raise RefusedError(
                "a group must be on one side of the split. Received: "
                f"group {str(group)!r} with {str(tested)!r} as test and {str(trained)!r} as train. "
                "Give all of it one value in the manifest's column split, and build again"
            )
    rest, kept = people.part(~is_test), people.part(is_test)
    _refuse_few_groups(rest, folds, f"{folds} validation sides")
    return _with_every_class([_fold(train, val, kept) for train, val in _deal(rest, folds, seed)], people)


def split_by_site(
    subjects: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    sites: Sequence[str],
    *,
    val_share: float,
    seed: int,
) -> list[Fold]:
    """One fold a site, which is its test side: does a network work where it was not trained?

    The validation side is dealt from the other sites as `split_folds` does.

    Args:
        subjects, labels, groups, sites: one entry a subject.
        val_share: share of the other sites' subjects that is validated on.
        seed: shuffles subjects before they are dealt out.

    Raises:
        RefusedError: fewer than two sites, a subject without one, a group of two sites, or some side would
            lack a class.
    """
    people, of_site = _People(np.array(subjects), np.array(labels), np.array(groups)), np.array(sites)
    names = np.unique(of_site)
    if "" in names or len(names) < 2:
        nobody = people.names[of_site == ""]
        raise RefusedError(
            "to leave one site out, each subject needs a site, and there must be two or more. Received: "
            + (f"no site for {str(nobody[0])!r}" if len(nobody) else f"{len(names)} site")
            + ". Fill the manifest's column and build again, or set split.scheme to folds"
        )
    for group in np.unique(people.groups):
        found = np.unique(of_site[people.groups == group])
        if len(found) > 1:
            raise RefusedError(
                f"a group must be of one site. Received: group {str(group)!r} of {', '.join(found)}. "
                "Correct the manifest and build again"
            )
    folds = []
    for name in names:
        rest, test = people.part(of_site != name), people.part(of_site == name)
        taken, parts = _validated(rest, val_share)
        purpose = f"a training and a validation side beside site {str(name)!r}"
        _refuse_few_groups(rest, parts, purpose, _OTHER_SITES)
        folds.append(_fold(*_parted(rest, taken, parts, seed), test))
    return _with_every_class(folds, people, _OTHER_SITES)


def lock_away(
    subjects: Sequence[str], labels: Sequence[str], groups: Sequence[str], *, share: float, seed: int
) -> tuple[str, ...]:
    """Subjects to be kept out of everything until a study is finished.

    Stratified by class, groups kept together: some of as few equal parts as come within a tenth of `share`,
    0.4 by two of five.

    Raises:
        RefusedError: a class has fewer groups than there are parts.
    """
    people = _People(np.array(subjects), np.array(labels), np.array(groups))
    taken, parts = _nearest(share)
    _refuse_few_groups(people, parts, f"a lock box of {share:.0%}", "Raise split.lock_box or add subjects")
    _, kept = _parted(people, taken, parts, seed)
    return tuple(sorted(kept.names.tolist()))


def refuse_missing_classes(
    folds: Sequence[Fold], side: str, label_of: Mapping[str, str], remedy: str
) -> None:
    """Nothing if that side of every fold holds every class.

    Args:
        folds: of subjects.
        side: one of SIDES.
        label_of: the class of each subject; they name the classes.
        remedy: what the user is told to do.

    Raises:
        RefusedError: the first fold that lacks one.
    """
    for number, fold in enumerate(folds):
        missing = set(label_of.values()) - {label_of[name] for name in getattr(fold, side)}
        if missing:
            raise RefusedError(
                f"every side of a fold must hold every class. Received: fold {number}, whose {side} side "
                f"lacks {', '.join(sorted(missing))}. {remedy}"
            )


def refuse_leaks(
    folds: Sequence[Fold],
    group_of: Mapping[str, str],
    same_recordings: Sequence[SameRecording],
    lock_box: Collection[str] = (),
) -> None:
    """Nothing if no subject, group or recording is on two sides of a fold, whoever made the folds.

    Args:
        folds: what is to be trained.
        group_of: the group of each subject in them.
        same_recordings: videos that show one recording under the names of two subjects.
        lock_box: subjects that must be on no side, nor anybody of their groups and recordings.

    Raises:
        RefusedError: the first leak, with fold, sides and names.
    """
    for number, fold in enumerate(folds):
        side_of: dict[str, str] = {}
        seen: dict[str, str] = {}
        for side in (LOCK_BOX, *SIDES):
            for subject in lock_box if side == LOCK_BOX else getattr(fold, side):
                if side_of.setdefault(subject, side) != side:
                    raise RefusedError(
                        f"a subject must be on one side of a fold. Received: {subject!r} in "
                        f"{side_of[subject]} and {side} of fold {number}. Correct the folds"
                    )
                other = seen.setdefault(group_of[subject], subject)
                if side_of[other] != side:
                    raise RefusedError(
                        f"a group must be on one side of a fold. Received: {other!r} in {side_of[other]} and "
                        f"{subject!r} in {side} of fold {number}, both of group {group_of[subject]!r}. "
                        "Correct the folds or the groups"
                    )
        for same in same_recordings:
            first, second = (side_of.get(subject) for subject in same.subjects)
            if first and second and first != second:
                raise RefusedError(
                    "one recording must be on one side of a fold. Received: "
                    f"{same.videos[0]!r} of {same.subjects[0]!r} in {first} and {same.videos[1]!r} of "
                    f"{same.subjects[1]!r} in {second} of fold {number}, {same.why}. Give both subjects one "
                    "group in the manifest and build again, or remove one of the videos"
                )


def _deal(people: _People, parts: int, seed: int) -> list[tuple[_People, _People]]:
    """(the others, the part) for each part."""
    dealer = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return [
        (people.part(rest), people.part(part))
        for rest, part in dealer.split(people.names, people.classes, people.groups)
    ]


def _parted(people: _People, taken: int, parts: int, seed: int) -> tuple[_People, _People]:
    """(the others, the first `taken` parts) of so many."""
    names = [name for _, part in _deal(people, parts, seed)[:taken] for name in part.names.tolist()]
    chosen = np.isin(people.names, names)
    return people.part(~chosen), people.part(chosen)


def _validated(people: _People, share: float, *, nested: bool = False) -> tuple[int, int]:
    """How many of how many parts are the validation side."""
    taken, parts = _nearest(share)
    groups, _ = people.fewest_groups()
    if nested or parts > groups:
        return 1, max(2, min(math.floor(1 / share), groups))
    return taken, parts


def _nearest(share: float) -> tuple[int, int]:
    """(a, b) with a / b within a tenth of `share`, which is above 0; the least b."""
    return next(
        (round(share * parts), parts)
        for parts in itertools.count(max(2, math.floor(1 / (1.1 * share))))
        if abs(round(share * parts) / parts - share) <= share / 10
    )


def _fold(train: _People, val: _People, test: _People) -> Fold:
    return Fold(*(tuple(sorted(side.names.tolist())) for side in (train, val, test)))


def _refuse_few_groups(people: _People, needed: int, purpose: str, remedy: str = _FEWER_FOLDS) -> None:
    available, label = people.fewest_groups()
    if available < needed:
        raise RefusedError(
            f"each class needs at least {needed} groups of subjects for {purpose}. "
            f"Received: {available} of class {label!r}. {remedy}"
        )


def _with_every_class(folds: list[Fold], people: _People, remedy: str = _OTHER_FOLDS) -> list[Fold]:
    label_of = dict(zip(people.names.tolist(), people.classes.tolist(), strict=True))
    for side in SIDES:
        refuse_missing_classes(folds, side, label_of, remedy)
    return folds
