"""Videos and data sets that speeds are measured on, made once."""

from __future__ import annotations

from pathlib import Path

from pipelines.build import build_dataset
from pipelines.config import BuildConfig
from pipelines.files import folder_written_whole
from pipelines.synthetic import SyntheticSettings, generate

SEED = 5


def infants(out: Path, subjects: int, seconds: float, workers: int) -> Path:
    """A folder of generated infants, 640x480 at 30 frames a second, one video of `seconds` each."""
    folder = out / f"videos_{subjects}x{seconds:g}s"
    if not folder.is_dir():
        settings = SyntheticSettings()
        with folder_written_whole(folder) as half:
            generate(half, settings, subjects=subjects, seconds=seconds, seed=SEED, workers=workers)
    return folder


def records(out: Path, subjects: int, seconds: float, workers: int) -> Path:
    """A data set of such infants with the published settings: 224 px, 6 frames a second, clips of 5 s."""
    folder = out / f"records_{subjects}x{seconds:g}s"
    if not folder.is_dir():
        videos = infants(out, subjects, seconds, workers)
        with folder_written_whole(folder) as half:
            build_dataset(videos, half, BuildConfig(), workers=workers)
    return folder
