"""Whether large arrays lie where others lay before."""

import platform
import resource

import numpy as np
import pytest

from tfgma.freed_memory import keep_freed_memory
from tfgma.processes import run_apart

ARRAY_BYTES = 2**26


def page_faults(keep, tell):
    """Of writing a large array, the second time."""
    if keep:
        keep_freed_memory()
    faults = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.full(ARRAY_BYTES, 1, np.uint8)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return faults[1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the GNU C library alone is told")
def test_an_array_of_the_same_size_needs_no_new_pages():
    new = run_apart(page_faults, False, tell=print)
    kept = run_apart(page_faults, True, tell=print)
    assert kept < new / 10
