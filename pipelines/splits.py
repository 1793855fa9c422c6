"""Who is trained on, who is validated on, and who is kept for the test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from pipelines.schema import RefusedError


@dataclass(frozen=True)
class Fold:
    """Subjects of the three sides of one fold; no subject or group is on two sides."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def split_folds(
    subjects: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    folds: int,
    val_share: float,
    seed: int,
) -> list[Fold]:
    """Stratified folds of subjects that keep groups (siblings, sites) together.

    Each subject is tested in exactly one fold; the validation side is taken from the training side.

    Args:
        subjects, labels, groups: one entry a subject.
        folds: number of folds, at least 2.
        val_share: share of the training side that is validated on.
        seed: shuffles subjects before they are dealt out.

    Raises:
        RefusedError: a class has fewer groups than folds, or some side would lack a class.
    """
    names, classes = np.array(subjects), np.array(labels)
    members = np.array(groups)
    for label in np.unique(classes):
        available = len(np.unique(members[classes == label]))
        needed = max(folds, 3)  # one group each to train, validate and test on
        if available < needed:
            raise RefusedError(
                f"each class needs at least {needed} groups of subjects for {folds} folds with a validation "
                f"side. Received: {available} of class {str(label)!r}. Lower split.folds or add subjects"
            )
    outer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    inner = StratifiedGroupKFold(max(2, math.floor(1 / val_share)), shuffle=True, random_state=seed)
    found: list[Fold] = []
    for rest, test in outer.split(names, classes, members):
        train, val = next(iter(inner.split(names[rest], classes[rest], members[rest])))
        fold = Fold(
            train=tuple(sorted(names[rest][train])),
            val=tuple(sorted(names[rest][val])),
            test=tuple(sorted(names[test])),
        )
        _refuse_missing_class(fold, dict(zip(names, classes, strict=True)), len(found))
        found.append(fold)
    return found


def _refuse_missing_class(fold: Fold, label_of: dict[str, str], number: int) -> None:
    everything = set(label_of.values())
    for side in ("train", "val", "test"):
        missing = everything - {label_of[name] for name in getattr(fold, side)}
        if missing:
            raise RefusedError(
                f"every side of a fold must hold every class. Received: fold {number}, whose {side} side "
                f"lacks {', '.join(sorted(missing))}. Lower split.folds, change split.seed, or add subjects"
            )
