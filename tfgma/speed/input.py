"""How many clips a second are ready for a training step: from records, and from folders of PNG files."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.build import read_index
from pipelines.config import BuildConfig
from pipelines.dataset import Augmentation, clip_dataset, shard_paths
from pipelines.files import folder_written_whole
from pipelines.optional import load
from pipelines.records import read_shard
from tfgma.batches import for_fit
from tfgma.config import AugmentSettings
from tfgma.fitting import augmentation_of, ready_to_train
from tfgma.speed import png_loader
from tfgma.speed.sources import records
from tfgma.turns import Waiting, interleaved, times_as_fast

BATCH = 8
READY_BATCHES = 6
"""What may lie ready when a turn begins is not timed."""
TIMED_BATCHES = 12
EPOCHS = 10_000
PUBLISHED = Augmentation(flip=True)
"""Of the published system, whose loader is compared with."""


def measure_input(
    out: Path,
    *,
    subjects: int,
    seconds: float,
    rounds: int,
    workers: int,
    tell: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Clips a second of `workers` cores, in turn.

    `png`: PyTorch's loader with `workers` processes, from one colour and two PNG files a flow. `records`:
    decoded anew each time. `records_cached`: decoded once, as `tfgma train` does by default; both with the
    published system's flips, and in uint8, which the training step scales. `records_cached_scaled`: scaled
    before it, to float32 as the PNG loader does. `records_cached_default`: with all that `tfgma train` does
    by default.

    Raises:
        RefusedError: PyTorch is not installed; a process was killed.
    """
    load("torch", "torch")
    tell(0, rounds + 1, "data")
    dataset = records(out, subjects, seconds, workers)
    pngs = _png_folders(dataset, out / f"{dataset.name}_png")
    default = augmentation_of(AugmentSettings())
    ways: dict[str, tuple[Any, ...]] = {
        "png": (_png, pngs, workers),
        "records": (_records, dataset, PUBLISHED, False, True),
        "records_cached": (_records, dataset, PUBLISHED, True, True),
        "records_cached_scaled": (_records, dataset, PUBLISHED, True, False),
        "records_cached_default": (_records, dataset, default, True, True),
    }
    with contextlib.ExitStack() as stack:
        turns = {
            name: stack.enter_context(Waiting(name, *way, environment=_environment(workers))).turn
            for name, way in ways.items()
        }
        taken = interleaved(turns, rounds, lambda number: tell(number + 1, rounds + 1, "turns"))
    return {
        "ratios": {
            "input_vs_png": times_as_fast(taken["png"], taken["records_cached"]),
            "input_vs_png_scaled": times_as_fast(taken["png"], taken["records_cached_scaled"]),
            "input_vs_png_uncached": times_as_fast(taken["png"], taken["records"]),
        },
        "seconds_per_clip": {name: found.tolist() for name, found in taken.items()},
    }


def _environment(workers: int) -> dict[str, str]:
    return {
        "TF_NUM_INTRAOP_THREADS": str(workers),
        "TF_NUM_INTEROP_THREADS": str(workers),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _png_folders(dataset: Path, out: Path) -> Path:
    if not out.is_dir():
        index, spec, number = read_index(dataset), BuildConfig().clip, itertools.count()
        with folder_written_whole(out) as half:
            for shard in shard_paths(dataset, index, [entry["subject"] for entry in index["videos"]]):
                for clip, _ in read_shard(shard, spec, index["modalities"]):
                    png_loader.write_clip(clip, half / f"{next(number):05d}")
    return out


def _png(root: Path, workers: int) -> Callable[[], float]:
    return _timed(flow for _, flow, _ in png_loader.batches(root, BATCH, workers))


def _records(dataset: Path, augmentation: Augmentation, cache: bool, stored: bool) -> Callable[[], float]:
    ready_to_train()
    index = read_index(dataset)
    data = clip_dataset(
        shard_paths(dataset, index, [entry["subject"] for entry in index["videos"]]),
        BuildConfig().clip,
        batch_size=BATCH,
        augmentation=augmentation,
        shuffle=True,
        cache=cache,
        epochs=range(EPOCHS),
        stored=stored,
    )
    batches = for_fit(data, ["logits"], len(index["classes"]), one_logit=False)
    flows = (inputs["flow"] for inputs, _ in batches)
    clips = sum(entry["clips"] for entry in index["videos"])
    for _ in itertools.islice(flows, -(-clips // BATCH)):
        pass  # the first pass, which fills the cache
    return _timed(flows)


def _timed(batches: Iterator[Any]) -> Callable[[], float]:
    """A turn, which answers with the seconds a clip takes. `batches`: of one of the inputs."""

    def take(count: int) -> int:
        return sum(len(batch) for batch in itertools.islice(batches, count))

    def turn() -> float:
        take(READY_BATCHES)
        begin = time.perf_counter()
        clips = take(TIMED_BATCHES)
        return (time.perf_counter() - begin) / clips

    return turn
