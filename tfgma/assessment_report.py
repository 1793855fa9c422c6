"""A folder of assessments that grows video by video."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from pipelines.schema import RefusedError
from tfgma.assessment_content import INDEX_FILE, Model, Place, place_below, places
from tfgma.assessment_page import TABLE_FILE, Row, row_of, write_index, write_page
from tfgma.inference import Predictor
from tfgma.outcomes import Outcome, outcome_of
from tfgma.watching import arrivals

INDEX_EVERY_SECONDS = 10.0

Progress = Callable[[int, int, str], None]


class AssessmentReport:
    """Pages, and an index of them, which is whole at the end. Use as a context manager."""

    def __init__(self, out: Path, model: Model) -> None:
        """Makes the folder.

        Raises:
            RefusedError: it cannot be made.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RefusedError(f"--report must be a folder. Received: {str(out)!r} ({error})") from error
        self._out, self._model = out, model
        self._rows: list[Row] = []
        self._indexed = 0.0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        """Writes the index, if there is anything in it: of a report that was refused nothing is changed."""
        if self._rows:
            write_index(self._out, self._rows, self._model)

    def go_on(self, root: Path) -> list[Path]:
        """Takes the rows of an earlier call over whose videos lie below `root` and whose pages are there.

        Returns:
            Their videos.

        Raises:
            RefusedError: the table there is of another model.
        """
        table = self._out / TABLE_FILE
        if not table.exists():
            return []
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        models = {cells.get("model_sha256", "none") for cells in rows}
        if models - {self._model.sha256}:
            raise RefusedError(
                f"{TABLE_FILE} in --report must be of the file with SHA-256 {self._model.sha256}. "
                f"Received: {', '.join(sorted(models))}. Choose another folder"
            )
        videos = []
        for cells in rows:
            video = Path(cells["video"])
            if video.is_relative_to(root) and (self._out / cells["page"]).exists():
                self._rows.append(Row(place_below(root, video).label, cells))
                videos.append(video)
        return videos

    @property
    def index(self) -> Path:
        """The page to open."""
        return self._out / INDEX_FILE

    def refuse_overwriting(self, videos: Sequence[Path], found: Sequence[Place]) -> None:
        """Keeps overlays from the place of a video.

        Raises:
            RefusedError: one would be written there.
        """
        films = {(self._out / place.film).resolve() for place in found}
        for video in videos:
            if video.resolve() in films:
                raise RefusedError(
                    f"--report must be a folder where no overlay replaces a video. Received: {str(video)!r}, "
                    "whose name an overlay would get. Choose another folder"
                )

    def assess(self, predictor: Predictor, video: Path, place: Place) -> Outcome:
        """Assesses a video and writes its page; the outcome is without pictures: they would fill memory."""
        outcome = outcome_of(predictor, video, self._out / place.film)
        write_page(self._out, place, outcome, self._model)
        self._rows.append(row_of(place, outcome, self._model))
        if time.monotonic() - self._indexed > INDEX_EVERY_SECONDS:
            write_index(self._out, self._rows, self._model)
            self._indexed = time.monotonic()
        if outcome.assessment is None:
            return outcome
        return replace(outcome, assessment=replace(outcome.assessment, pictures=()))


def assess_each(
    predictor: Predictor, videos: Sequence[Path], report: AssessmentReport | None, progress: Progress
) -> Iterator[Outcome]:
    """The outcome of each video, in order; with a report its page is written.

    Raises:
        RefusedError: an overlay would be written over one of the videos.
    """
    found = places(videos)
    if report is not None:
        report.refuse_overwriting(videos, found)
    for number, (video, place) in enumerate(zip(videos, found, strict=True)):
        progress(number, len(videos), video.name)
        yield outcome_of(predictor, video) if report is None else report.assess(predictor, video, place)
    if videos:
        progress(len(videos), len(videos), "done")


def assess_arrivals(predictor: Predictor, folder: Path, report: AssessmentReport) -> Iterator[Outcome]:
    """The outcome of each video that is in `folder` or comes to it, and that has no page yet; without end.

    Raises:
        RefusedError: no folder, or a report of another model.
    """
    for video in arrivals(folder, report.go_on(folder)):
        yield report.assess(predictor, video, place_below(folder, video))
