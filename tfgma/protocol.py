"""Who is trained, validated and tested on in a study, and who is locked away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.duplicates import same_recordings
from pipelines.schema import RefusedError
from pipelines.splits import (
    SIDES,
    Fold,
    join_groups,
    lock_away,
    refuse_leaks,
    refuse_missing_classes,
    split_by_site,
    split_fixed,
    split_folds,
)
from tfgma.config import SplitSettings


@dataclass(frozen=True)
class Protocol:
    """`folds` of subjects, and the subjects of the `lock_box`, who are on no side of any of them."""

    folds: list[Fold]
    lock_box: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Subject:
    """What a data set says of one subject: class, joined group, side in the manifest, and site."""

    name: str
    label: str
    group: str
    side: str | None
    site: str


def protocol_of(index: dict[str, Any], settings: SplitSettings) -> Protocol:
    """The study's sides.

    Args:
        index: content of dataset.json.
        settings: how to deal.

    Raises:
        RefusedError: a class without subjects, a subject of two classes, too few subjects, an empty side in
            the data set's own folds, sides in the manifest that the settings do not take, a site that is
            missing or not one, or a leak: a subject, a group or a recording would be on two sides of a fold.
    """
    videos = [entry for entry in index["videos"] if entry["shard"]]
    _refuse_empty_classes(index["classes"], {one["label"] for one in videos})
    _refuse_two_classes(videos)
    group_of = join_groups([one["subject"] for one in videos], [one["group"] for one in videos])
    site_of = _sites(videos, settings.site) if settings.scheme == "site" else {}
    subjects = [
        _Subject(name, one["label"], group_of[name], one["split"], site_of.get(name, ""))
        for name, one in {one["subject"]: one for one in videos}.items()
    ]
    locked: tuple[str, ...] = ()
    if settings.lock_box:
        # Whom the manifest tests stays in the test.
        others = [one for one in subjects if settings.scheme != "fixed" or one.side != "test"]
        locked = lock_away(*_columns(others), share=settings.lock_box, seed=settings.seed)
    folds = _folds(index["folds"], [one for one in subjects if one.name not in locked], settings)
    refuse_leaks(folds, group_of, same_recordings(videos), locked)
    if settings.from_dataset:
        # A test side of one class may be meant; a network that never saw a class is not.
        label_of = {one.name: one.label for one in subjects}
        refuse_missing_classes(folds, "train", label_of, "Correct the data set's folds")
        _refuse_empty_sides(folds)
    return Protocol(folds, locked)


def _refuse_empty_classes(classes: Sequence[str], found: Collection[str]) -> None:
    if len(classes) < 2:
        raise RefusedError(
            f"a study needs two or more classes. Received: {', '.join(classes)}. "
            "Add subjects of another class and build again"
        )
    empty = [name for name in classes if name not in found]
    if empty:
        raise RefusedError(
            "each class needs subjects with clips that can be assessed. Received: none of "
            f"{', '.join(empty)}, whose recordings were all left out. tfgma inspect says why; add others, or "
            "remove the class, and build again"
        )


def _refuse_two_classes(videos: Sequence[dict[str, Any]]) -> None:
    label_of: dict[str, str] = {}
    for one in videos:
        label = label_of.setdefault(one["subject"], one["label"])
        if label != one["label"]:
            raise RefusedError(
                f"a subject must have one label. Received: {one['subject']!r} with {label!r} and "
                f"{one['label']!r}. Correct the manifest and build again"
            )


def _refuse_empty_sides(folds: Sequence[Fold]) -> None:
    for number, fold in enumerate(folds):
        for side in SIDES:
            if not getattr(fold, side):
                raise RefusedError(
                    "every side of a fold must hold subjects with clips. Received: fold "
                    f"{number} of the data set, whose {side} side has none. tfgma inspect says what was left "
                    "out; correct the data set's folds, or set split.from_dataset to false"
                )


def _columns(subjects: list[_Subject]) -> tuple[list[str], list[str], list[str]]:
    return [one.name for one in subjects], [one.label for one in subjects], [one.group for one in subjects]


def _folds(
    given: list[dict[str, list[str]]], subjects: list[_Subject], settings: SplitSettings
) -> list[Fold]:
    if settings.from_dataset:
        if not given:
            raise RefusedError(
                "split.from_dataset needs a data set with folds of its own. Received: one without. "
                "Set it to false"
            )
        known = {one.name for one in subjects}
        return [
            Fold(**{side: tuple(name for name in fold[side] if name in known) for side in fold})
            for fold in given
        ]
    people = _columns(subjects)
    test = [one.name for one in subjects if one.side == "test"]
    if settings.scheme == "fixed":
        return split_fixed(*people, test=test, folds=settings.folds, seed=settings.seed)
    if test:
        raise RefusedError(
            "a test side that the manifest fixes must be kept: split.scheme must be fixed. Received: "
            f"{settings.scheme!r}, and {len(test)} subjects with test in the column split. Set it, or remove "
            "the column and build again"
        )
    if settings.scheme == "site":
        sites = [one.site for one in subjects]
        return split_by_site(*people, sites, val_share=settings.val_share, seed=settings.seed)
    return [
        fold
        for turn in range(settings.repeats)
        for fold in split_folds(
            *people,
            folds=settings.folds,
            val_share=settings.val_share,
            seed=settings.seed + turn,
            nested=settings.scheme == "nested",
        )
    ]


def _sites(videos: list[dict[str, Any]], column: str) -> dict[str, str]:
    """Subject -> site, by the manifest's `column`; "" where it says nothing."""
    if column != "group" and not any(column in entry["other"] for entry in videos):
        columns = sorted({name for entry in videos for name in entry["other"]})
        raise RefusedError(
            "split.site must be group or a further column of the manifest. "
            f"Received: {column!r}; there are {', '.join(columns) or 'none'}. Add the column and build again"
        )
    found: dict[str, str] = {}
    for entry in videos:
        site = str(entry["group"] if column == "group" else entry["other"].get(column, ""))
        if found.setdefault(entry["subject"], site) != site:
            raise RefusedError(
                f"a subject must be of one site. Received: {entry['subject']!r} of "
                f"{found[entry['subject']]!r} and {site!r}. Correct the manifest and build again"
            )
    return found
