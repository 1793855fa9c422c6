"""What comes of assessing a video: an answer, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import files_below
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
        inside = files_below(path, SUFFIXES)
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


def outcome_of(predictor: Predictor, video: Path, film: Path | None = None) -> Outcome:
    """What comes of a video. `film`: an overlay to write; then the assessment has pictures, too."""
    try:
        return Outcome(video, predictor.assess(video, pictures=film is not None, overlay=film))
    except RefusedError as error:
        return Outcome(video, None, str(error))
