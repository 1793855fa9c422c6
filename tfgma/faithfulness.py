"""Whether a map points at what a network's answer rests on: the answer falls when that is taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pipelines.schema import RefusedError

CELLS = 7
"""A picture is taken away in so many rows and columns of cells."""
POINTS = 8
"""Steps in which it is."""
ORDERS = 5
"""Random orders that a map is compared with."""
BATCH = 4


def cell_sums(relevance: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """(..., h, w) -> (cells, cells): the mean of each cell, over everything else too."""
    flat = relevance.reshape(-1, *relevance.shape[-2:]).mean(axis=0)
    height, width = flat.shape
    return np.array(
        [
            [flat[_span(row, height, cells), _span(column, width, cells)].mean() for column in range(cells)]
            for row in range(cells)
        ]
    )


def _span(number: int, length: int, cells: int) -> slice:
    """Cell `number`; where there are fewer pixels than cells, the pixel that it lies in."""
    first = number * length // cells
    return slice(first, max(first + 1, (number + 1) * length // cells))


def deletion_area(
    answer: Callable[[dict[str, np.ndarray]], np.ndarray],
    inputs: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    name: str,
    order: np.ndarray,
    *,
    axis: int = 1,
    cells: int = CELLS,
    points: int = POINTS,
) -> float:
    """Mean answer while the cells of one input are taken away in `order` (Petsiuk et al., BMVC 2018).

    The lower, the better the order knows what the answer rests on.

    Args:
        answer: inputs by name, each (B, ...) -> (B,), such as the probability of a class.
        inputs: by name, each (1, ...) float32.
        baseline: what a cell becomes.
        name: of the input whose cells are taken away.
        order: (cells * cells,) a permutation, row by row, the most relevant first.
        axis: of the input's rows; columns come next.
        cells: rows and columns of cells.
        points: steps.

    Raises:
        RefusedError: another number of cells in `order`.
    """
    if sorted(order.tolist()) != list(range(cells * cells)):
        raise RefusedError(f"order must name each of {cells * cells} cells once. Received: {order.tolist()}")
    full, empty = inputs[name][0], baseline[name][0]
    height, width = full.shape[axis - 1 : axis + 1]
    number = np.add.outer(np.arange(height) * cells // height * cells, np.arange(width) * cells // width)
    rank = np.argsort(order)[number]
    shape = [1] * full.ndim
    shape[axis - 1 : axis + 1] = height, width
    limits = np.linspace(0, cells * cells, points + 1).round().astype(int)
    answers: list[np.ndarray] = []
    for start in range(0, len(limits), BATCH):
        gone = [(rank < limit).reshape(shape) for limit in limits[start : start + BATCH]]
        batch = {other: np.repeat(value, len(gone), axis=0) for other, value in inputs.items()}
        batch[name] = np.stack([np.where(one, empty, full) for one in gone]).astype(np.float32)
        answers.append(answer(batch))
    return float(np.trapezoid(np.concatenate(answers), dx=1 / points))
