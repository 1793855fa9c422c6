"""Which of a test's parameters `make test` tries; the others are for `make test-thorough`."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest


def _joined(value: Any) -> str:
    return value if isinstance(value, str) else "-".join(map(str, value))


def usual_and_thorough(
    values: Iterable[Any], usual: Collection[Any], name: Callable[[Any], str] = _joined
) -> list[Any]:
    """Values for `pytest.mark.parametrize`; those not in `usual` are marked `thorough`."""
    return [
        pytest.param(value, id=name(value), marks=[] if value in usual else pytest.mark.thorough)
        for value in values
    ]
