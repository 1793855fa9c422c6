"""Clips as folders of PNG files, and PyTorch's loader for them, as the published system reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.clips import Clip
from pipelines.optional import load


def write_clip(clip: Clip, folder: Path) -> None:
    """One colour picture, of the middle frame, and two grey ones a flow."""
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "image.png"), clip.rgb[len(clip.rgb) // 2, ..., ::-1])
    for number, field in enumerate(clip.flow):
        for axis, name in enumerate("xy"):
            cv2.imwrite(str(folder / f"{name}_{number:03d}.png"), field[..., axis])


class PngClips:
    """What PyTorch's loader asks for clips by their number; half of them are in a mirror."""

    def __init__(self, root: Path) -> None:
        """`root`: of folders as `write_clip` writes them."""
        self._folders = sorted(root.iterdir())
        steps = (len(list(self._folders[0].iterdir())) - 1) // 2
        self._flows = [f"{axis}_{step:03d}.png" for step in range(steps) for axis in "xy"]

    def __len__(self) -> int:
        """Clips."""
        return len(self._folders)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, int]:
        """`image` (3, S, S) 0..1, `flow` (2L, S, S) -1..1, both float32, and a label."""
        folder = self._folders[number]
        image = cv2.imread(str(folder / "image.png"), cv2.IMREAD_COLOR)
        flow = np.stack([cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE) for name in self._flows])
        codes = flow.astype(np.float32)
        codes -= 128
        codes /= 127
        bright = np.moveaxis(image, -1, 0).astype(np.float32) / max(1, image.max())
        if np.random.random() < 0.5:
            bright, codes = bright[..., ::-1].copy(), codes[..., ::-1].copy()
            codes[::2] *= -1
        return bright, codes, 0


def batches(root: Path, batch_size: int, workers: int) -> Iterator[Any]:
    """Batches of tensors for ever, shuffled, by so many processes of PyTorch's loader.

    Raises:
        RefusedError: PyTorch is not installed.
    """
    load("torch", "torch").set_num_threads(1)
    loader = load("torch.utils.data", "torch").DataLoader(
        PngClips(root),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=True,
        prefetch_factor=2,
        worker_init_fn=_one_thread,
        drop_last=True,
    )
    while True:
        yield from loader


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
