"""Compares masks of `tfgma preview` with masks drawn by hand.

    python benchmarks/masks.py FOLDER [--fast]

FOLDER holds pictures `NAME.jpg` with masks `NAME_mask.png` (white is the body). Pictures in which the body
covers less than a tenth are left out. The time is that of finding the body with a long side of 512 px.
`--fast` leaves out the careful network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from pipelines.config import BuildConfig
from pipelines.pose import overlap
from pipelines.tools import ONE_VIDEO_THREADS, standard_finder
from tfgma.preview import write_previews

MIN_BODY_SHARE = 0.1
TIMED_SIDE_PX = 512


def main(folder: Path, fast: bool) -> None:
    """Prints the figures."""
    truths = {}
    for picture in sorted(folder.glob("*.jpg")):
        mask = cv2.imread(str(picture.with_name(f"{picture.stem}_mask.png")), cv2.IMREAD_GRAYSCALE)
        if (mask > 127).mean() >= MIN_BODY_SHARE:
            truths[picture] = mask > 127
    scores, assessable, seconds = [], [], []
    config = BuildConfig.model_validate({"pose": {"careful": not fast}})
    finder = standard_finder(config, ONE_VIDEO_THREADS)
    for picture, truth in truths.items():
        with tempfile.TemporaryDirectory() as out:
            (item,) = write_previews(picture, Path(out), config, finder)
            found = cv2.imread(f"{out}/{item.mask}", cv2.IMREAD_GRAYSCALE) > 127
        scores.append(overlap(found, truth))
        assessable.append(not item.reasons)
        frame = cv2.imread(str(picture), cv2.IMREAD_COLOR_RGB)
        scale = TIMED_SIDE_PX / max(frame.shape[:2])
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        finder.restart()
        start = time.perf_counter()
        finder.find(frame, 0.0)
        seconds.append(time.perf_counter() - start)
    ious = np.array(scores)
    print(f"{len(ious)} pictures: mean IoU {ious.mean():.3f}, tenth percentile {np.quantile(ious, 0.1):.3f}")
    kept = ious[assessable]
    share = len(kept) / len(ious)
    print(f"{len(kept)} assessable ({share:.0%}): mean {kept.mean():.3f}, least {kept.min():.3f}")
    print(f"{1000 * np.mean(seconds):.0f} ms a picture")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fast", action="store_true")
    given = parser.parse_args()
    main(given.folder, given.fast)
