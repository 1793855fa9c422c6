"""Assesses one video after another; of one that cannot be assessed stands why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.schema import RefusedError
from pipelines.video import SUFFIXES
from tfgma.calibration import UNCERTAIN
from tfgma.inference import Assessment, Predictor


@dataclass(frozen=True)
class Outcome:
    """Of one video: its assessment or, where there is none, the `refusal`."""

    video: Path
    assessment: Assessment | None
    refusal: str = ""

    @property
    def verdict(self) -> str:
        """A class, or UNCERTAIN."""
        return UNCERTAIN if self.assessment is None else self.assessment.verdict.answer

    @property
    def reason(self) -> str:
        """Why there is no class; empty where there is one."""
        return self.refusal if self.assessment is None else self.assessment.verdict.reason

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        if self.assessment is None:
            return {"video": str(self.video), "reason": self.refusal}
        return self.assessment.as_json()


def videos_in(paths: Sequence[Path]) -> list[Path]:
    """Those paths, a folder as the videos below it in order of their names.

    Raises:
        RefusedError: a folder without videos.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [
            one
            for one in sorted(path.rglob("*"))
            if one.suffix.lower() in SUFFIXES and one.is_file() and not one.name.startswith(".")
        ]
        if not inside:
            raise RefusedError(
                f"a folder of videos must hold some ({', '.join(sorted(SUFFIXES))}). Received: {str(path)!r}"
            )
        found += inside
    return found


def refuse_within(report: Path, videos: Sequence[Path]) -> None:
    """Keeps what is written out of the folders that are assessed: the next call would assess it.

    Raises:
        RefusedError: `report` lies in one of `videos`.
    """
    for folder in videos:
        if folder.is_dir() and report.resolve().is_relative_to(folder.resolve()):
            raise RefusedError(
                f"--report must lie outside of the folders that are assessed. Received: {str(report)!r}, "
                f"which is in {str(folder)!r}"
            )


def assess_each(
    predictor: Predictor, videos: Sequence[Path], overlays: Sequence[Path] | None = None
) -> Iterator[Outcome]:
    """An outcome for each video, as soon as it is known.

    `overlays`: an mp4 to write for each video; then assessments have pictures, too.
    """
    for number, video in enumerate(videos):
        film = None if overlays is None else overlays[number]
        try:
            yield Outcome(video, predictor.assess(video, pictures=film is not None, overlay=film))
        except RefusedError as error:
            yield Outcome(video, None, str(error))
