"""From clip scores to one score a subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.schema import RefusedError

MAX_OVERSHOOT = 1e-6
"""Float32 softmax may pass 0 or 1 by rounding, never by more than this."""

LEAST_PROBABILITY = 1e-8
"""Under the logarithm no probability is less: predictions.csv keeps eight decimals."""


def check_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """`probabilities` (N, C) -> the same as float64, each row known to be a distribution over C classes.

    A row's sum may differ from one by C / 256: the int8 models answer in steps of 1 / 256.

    Raises:
        RefusedError: another shape, no row, fewer than two classes, a value that is not finite or not
            between 0 and 1, or a row that does not sum to one.
    """
    values = np.asarray(probabilities)
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2 or values.dtype.kind not in "fiu":
        raise RefusedError(
            "probabilities must be numbers of shape (N, C) with N >= 1 and C >= 2. "
            f"Received: shape {values.shape}, dtype {values.dtype}. Give one row a clip, one column a class"
        )
    values = values.astype(np.float64)
    for wrong, rule, remedy in (
        (~np.isfinite(values).all(axis=1), "be finite", "Leave out clips that the model could not score"),
        (
            ((values < -MAX_OVERSHOOT) | (values > 1 + MAX_OVERSHOOT)).any(axis=1),
            "lie between 0 and 1",
            "Apply softmax to logits first",
        ),
        (
            np.abs(values.sum(axis=1) - 1) > values.shape[1] / 256,
            "sum to one over the classes",
            "Apply softmax to logits first",
        ),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise RefusedError(
                f"probabilities must {rule}. Received: {values[row].tolist()} in row {row}. {remedy}"
            )
    return values


def average_by(groups: Sequence[str], probabilities: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Mean probabilities of each group, for example of each subject over its clips.

    Probabilities are averaged, not logits: one very sure clip then cannot outvote all others.

    Args:
        groups: (N,) name of the group of each row.
        probabilities: (N, C) float, each row summing to one.

    Returns:
        The G names in sorted order, and (G, C) float64 mean probabilities, in the same order.

    Raises:
        RefusedError: lengths differ, an empty name, or rows that `check_probabilities` refuses.

    >>> average_by(["b", "a", "b"], np.array([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5]]))
    (['a', 'b'], array([[0.25, 0.75],
           [0.75, 0.25]]))
    """
    values = check_probabilities(probabilities)
    names, index = _number_groups(groups, len(values), "probabilities")
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, index, values)
    return names, sums / np.bincount(index)[:, None]


def median_by(groups: Sequence[str], probabilities: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Each class's median probability in each group, scaled to sum to one; otherwise as `average_by`.

    Where all medians are zero (clips that are each sure of another class) the mean is taken.

    >>> median_by(["a", "a", "a"], np.array([[1.0, 0.0], [0.2, 0.8], [0.2, 0.8]]))
    (['a'], array([[0.2, 0.8]]))
    """
    values = check_probabilities(probabilities)
    names, index = _number_groups(groups, len(values), "probabilities")
    medians = np.stack([np.median(values[index == number], axis=0) for number in range(len(names))])
    medians[medians.sum(axis=1) == 0] = average_by(groups, values)[1][medians.sum(axis=1) == 0]
    return names, medians / medians.sum(axis=1, keepdims=True)


def log_odds_by(groups: Sequence[str], probabilities: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The distribution whose logits are the means of the rows' logits; otherwise as `average_by`.

    Logits are ln p, p no less than LEAST_PROBABILITY; with two classes their difference is the log-odds. One
    very sure clip weighs more than with the mean.

    >>> log_odds_by(["a", "a"], np.array([[0.5, 0.5], [0.9, 0.1]]))[1].round(2)
    array([[0.75, 0.25]])
    """
    values = check_probabilities(probabilities)
    names, index = _number_groups(groups, len(values), "probabilities")
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, index, np.log(np.clip(values, LEAST_PROBABILITY, 1)))
    means = sums / np.bincount(index)[:, None]
    powers = np.exp(means - means.max(axis=1, keepdims=True))
    return names, powers / powers.sum(axis=1, keepdims=True)


Aggregation = Callable[[Sequence[str], np.ndarray], tuple[list[str], np.ndarray]]
"""(N,) groups, (N, C) probabilities -> G names in sorted order, (G, C) probabilities."""

AGGREGATIONS: dict[str, Aggregation] = {"mean": average_by, "median": median_by, "log_odds": log_odds_by}
"""Those that need no fitting, by name."""


def label_by(groups: Sequence[str], labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The one label of each group.

    Args:
        groups: (N,) name of the group of each row.
        labels: (N,) int, index of each row's class.

    Returns:
        The G names in the order of `average_by`, and (G,) int64 labels, in the same order.

    Raises:
        RefusedError: lengths differ, an empty name, labels that are not integers, or a group with two labels.

    >>> label_by(["b", "a", "b"], np.array([2, 0, 2]))
    (['a', 'b'], array([0, 2]))
    """
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise RefusedError(
            f"labels must be integers of shape (N,). Received: shape {values.shape}, dtype {values.dtype}. "
            "Give the index of each row's class"
        )
    names, index = _number_groups(groups, len(values), "labels")
    of_group = np.zeros(len(names), np.int64)
    of_group[index] = values
    wrong = of_group[index] != values
    if wrong.any():
        group = int(index[np.argmax(wrong)])
        found = np.unique(values[index == group]).tolist()
        raise RefusedError(
            f"every row of a group must have the same label. Received: labels {found} for {names[group]!r}. "
            "Correct the labels, or name the groups apart"
        )
    return names, of_group


def _number_groups(groups: Sequence[str], length: int, beside: str) -> tuple[list[str], np.ndarray]:
    """Sorted unique names, and (length,) int64 position of each row's group among them."""
    rows = [str(group) for group in groups]
    if len(rows) != length:
        raise RefusedError(
            f"groups must have one name for each row of {beside}. "
            f"Received: {len(rows)} names, {length} rows. Give both from the same clips"
        )
    if "" in rows:
        # Rows without a name would otherwise become one big subject.
        raise RefusedError(
            f"groups must be names of at least one character. Received: '' in row {rows.index('')}. "
            "Name each clip's subject"
        )
    names = sorted(set(rows))
    position = {name: number for number, name in enumerate(names)}
    return names, np.array([position[row] for row in rows], dtype=np.int64)
