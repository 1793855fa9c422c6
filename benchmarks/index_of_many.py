"""What dataset.json takes of many videos: its size, and seconds and memory to write and to read it.

    .venv/bin/python benchmarks/index_of_many.py DATASET --videos 50000

The first video of DATASET is taken so often, with the windows and the fingerprint of a minute.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipelines.build import INDEX, read_index, write_index

WINDOWS, FINGERPRINT = 12, 1930
"""Of a minute: clips of 5 s, and letters of base64."""


def main() -> None:
    """Prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--videos", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for what in (made_and_written, read):
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # memory is counted by process
                print(what.__name__, *pool.apply(what, (options.dataset, options.videos, out)))
        print(f"{(out / INDEX).stat().st_size / options.videos:.0f} bytes a video")


def made_and_written(dataset: Path, count: int, out: Path) -> tuple[str, str, str]:
    """Seconds to write, and memory before and after."""
    index = read_index(dataset)
    text = json.dumps(index["videos"][0])
    index["videos"] = [_minute(json.loads(text), number) for number in range(count)]
    return f"before: {_peak_mb()}", _timed(lambda: write_index(out, index)), f"after: {_peak_mb()}"


def read(dataset: Path, count: int, out: Path) -> tuple[str, str]:
    """Seconds to read, and memory after."""
    return _timed(lambda: read_index(out)), _peak_mb()


def _minute(entry: dict[str, Any], number: int) -> dict[str, Any]:
    name = f"s{number:07d}"
    first = entry["windows"][0]
    windows = [{**first, "start_seconds": 5.0 * place} for place in range(WINDOWS)]
    letters = entry["fingerprint"] * (1 + FINGERPRINT // len(entry["fingerprint"]))
    return {**entry, "id": name, "subject": name, "windows": windows, "fingerprint": letters[:FINGERPRINT]}


def _timed(do: Callable[[], object]) -> str:
    begin = time.perf_counter()
    do()
    return f"{time.perf_counter() - begin:.1f} s"


def _peak_mb() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most"


if __name__ == "__main__":
    main()
