"""Which videos or sequences of joints there are, of whom, with which label."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.keypoints import read_stam_sequences
from pipelines.schema import Box, RefusedError
from pipelines.video import SUFFIXES

KEYPOINT_SUFFIXES = (".csv", ".h5", ".npy")
"""Files of joints: DeepLabCut's, and STAM's sequences. A folder of them is OpenPose's."""

STAM_FOLDER = "pose_sequences"

REQUIRED = ("video", "subject", "label")
OPTIONAL = ("group", "start", "end", "age_weeks", "box", "split")
FIXED_SIDES = ("train", "test")
"""What the column split may say; training takes it where a study's split.scheme is fixed."""


@dataclass(frozen=True)
class Source:
    """One video with what is known of it.

    `id` names its shard; `start`, `end` in seconds; `box`: where the subject is at first; `split` is one of
    FIXED_SIDES, or None where the manifest does not say; `other` holds the manifest's further columns;
    `file_name` is what a data set calls its file, by default as it is called.
    """

    id: str
    path: Path
    subject: str
    label: str
    group: str
    start: float = 0.0
    end: float | None = None
    age_weeks: float | None = None
    box: Box | None = None
    split: str | None = None
    other: dict[str, str] = field(default_factory=dict)
    file_name: str | None = None

    @property
    def has_pictures(self) -> bool:
        """False for files and folders of joints."""
        return not (self.path.suffix.lower() in KEYPOINT_SUFFIXES or self.path.is_dir())


def read_sources(source: Path) -> list[Source]:
    """The videos, or the sequences of joints, of a data set.

    Args:
        source: a CSV manifest; a folder with `manifest.csv`; a folder `<class>/<subject>/*.mp4`, or with
            DeepLabCut's files (.csv, .h5) or OpenPose's folders in place of videos; or a folder in STAM's
            layout.

    Raises:
        RefusedError: nothing there, a missing column or label, a video that is listed twice, videos beside
            sequences of joints, or one subject with two labels or on two sides; the row is named.
    """
    if source.is_file():
        if source.suffix.lower() != ".csv":
            raise RefusedError(
                f"SOURCE must be a folder or a .csv manifest. Received: {str(source)!r}. "
                "Put the video at CLASS/SUBJECT/ below a folder, or list it in a manifest"
            )
        found = _read_manifest(source)
    elif source.is_dir():
        manifest = source / "manifest.csv"
        if (source / STAM_FOLDER).is_dir():
            found = _read_stam(source)
        else:
            found = _read_manifest(manifest) if manifest.is_file() else _read_folders(source)
    else:
        raise RefusedError(f"SOURCE must be an existing folder or .csv manifest. Received: {str(source)!r}")
    _refuse_conflicts(found)
    return found


def read_folds(source: Path) -> list[dict[str, list[str]]]:
    """The folds that a folder in STAM's layout brings along, `{"train", "val", "test"}: subjects`; else none.

    Raises:
        RefusedError: as `pipelines.keypoints.read_stam_sequences`.
    """
    if not (source / STAM_FOLDER).is_dir():
        return []
    return [
        {"train": list(train), "val": list(val), "test": list(test)}
        for train, val, test in read_stam_sequences(source).folds
    ]


def _read_stam(root: Path) -> list[Source]:
    return [
        Source(
            _identifier(Path(f"{infant}.npy")),
            root / STAM_FOLDER / infant / "raw_skel.npy",
            infant,
            str(label),
            infant,
        )
        for infant, label in sorted(read_stam_sequences(root).labels.items())
    ]


def _read_folders(root: Path) -> list[Source]:
    below = [path for path in sorted(root.glob("*/*/*")) if not path.name.startswith(".")]
    paths = [path for path in below if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not paths:  # beside videos such files are their by-products
        paths = [path for path in below if _is_keypoints(path)]
        # DeepLabCut writes both; one is enough.
        paths = [
            path for path in paths if path.suffix.lower() != ".h5" or path.with_suffix(".csv") not in paths
        ]
    if not paths:
        raise RefusedError(
            f"SOURCE must hold videos at CLASS/SUBJECT/NAME.mp4. Received: {str(root)!r} with none "
            f"({', '.join(sorted(SUFFIXES))} count; DeepLabCut's .csv and .h5 and OpenPose's folders as well)"
        )
    return [
        Source(
            _identifier(path.relative_to(root)),
            path,
            path.parent.name,
            path.parent.parent.name,
            path.parent.name,
        )
        for path in paths
    ]


def _is_keypoints(path: Path) -> bool:
    if path.is_dir():
        return next(path.glob("*_keypoints.json"), None) is not None
    return path.suffix.lower() in (".csv", ".h5")


def _read_manifest(path: Path) -> list[Source]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [column for column in reader.fieldnames or [] if column]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RefusedError(f"a manifest must be a readable UTF-8 CSV file. Received: {error}") from error
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise RefusedError(
            f"{path.name} must have the columns {', '.join(REQUIRED)}. "
            f"Received: {', '.join(columns) or 'none'}. Add {', '.join(missing)}"
        )
    if not rows:
        raise RefusedError(f"{path.name} must list at least one video. Received: no rows")
    return [_source(row, number, path) for number, row in enumerate(rows, start=2)]


def _source(row: dict[str, str | None], number: int, manifest: Path) -> Source:
    where = f"{manifest.name}, row {number}"
    if None in row:
        raise RefusedError(f"{where}: a row must have one value a column. Received: more values than columns")
    values = {column: (value or "").strip() for column, value in row.items()}
    for column in REQUIRED:
        if not values[column]:
            raise RefusedError(f"{where}: {column} must not be empty. Received: {dict(values)}")
    path = (manifest.parent / values["video"]).resolve()
    if not path.is_relative_to(manifest.parent.resolve()):
        identifier = _identifier(Path(values["video"]).relative_to(Path(values["video"]).anchor))
    else:
        identifier = _identifier(Path(values["video"]))
    start = _number(values, "start", where) or 0.0
    end = _number(values, "end", where)
    if end is not None and end <= start:
        raise RefusedError(f"{where}: end must lie after start. Received: start={start:g}, end={end:g}")
    if start or end is not None:
        identifier += f"_{start:g}_{'' if end is None else format(end, 'g')}".replace(".", "p")
    return Source(
        id=identifier,
        path=path,
        subject=values["subject"],
        label=values["label"],
        group=values.get("group") or values["subject"],
        start=start,
        end=end,
        age_weeks=_number(values, "age_weeks", where),
        box=parse_box(values["box"], where) if values.get("box") else None,
        split=_fixed_side(values, where),
        other={name: values[name] for name in values if name not in REQUIRED + OPTIONAL},
    )


def _fixed_side(values: dict[str, str], where: str) -> str | None:
    text = values.get("split", "")
    if text and text not in FIXED_SIDES:
        raise RefusedError(
            f"{where}: split must be {' or '.join(FIXED_SIDES)}, or empty. Received: {text!r}. A validation "
            "side is taken from the training side"
        )
    return text or None


def _number(values: dict[str, str], column: str, where: str) -> float | None:
    text = values.get(column, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise RefusedError(f"{where}: {column} must be a number of at least 0. Received: {text!r}")
    return number


def parse_box(text: str, where: str) -> Box:
    """A part of the frame from `left,top,width,height`, shares of its width and height.

    Raises:
        RefusedError: not four numbers, or none of the frame; `where` is named.
    """
    try:
        left, top, width, height = (float(part) for part in text.replace(";", ",").split(","))
    except ValueError:
        left, top, width, height = (math.nan,) * 4
    inside = left >= 0 and top >= 0 and left + width <= 1.001 and top + height <= 1.001
    if not (inside and width > 0 and height > 0):
        raise RefusedError(
            f"{where}: box must be left,top,width,height as shares 0 to 1 of the frame. Received: {text!r}"
        )
    return left, top, width, height


def _identifier(path: Path) -> str:
    """A name that is safe as a file's: letters and digits of any script, dash, underscore."""
    parts = [part for part in path.with_suffix("").parts if part not in ("..", ".")]
    return re.sub(r"[^\w-]+", "-", "__".join(parts))


def _refuse_conflicts(sources: list[Source]) -> None:
    kinds = {source.has_pictures: source for source in sources}
    if len(kinds) > 1:
        raise RefusedError(
            "a data set must be of videos or of sequences of joints. "
            f"Received: {kinds[True].path.name} and {kinds[False].path.name}. Build two data sets"
        )
    labels: dict[str, Source] = {}
    ids: dict[str, Source] = {}
    for source in sources:
        first = labels.setdefault(source.subject, source)
        if first.label != source.label:
            raise RefusedError(
                f"a subject must have one label. Received: {source.subject!r} with {first.label!r} "
                f"({first.path.name}) and {source.label!r} ({source.path.name}). Correct the label, or give "
                "the two people names of their own"
            )
        if first.split != source.split:
            raise RefusedError(
                f"a subject must have one value in the column split. Received: {source.subject!r} with "
                f"{first.split!r} ({first.path.name}) and {source.split!r} ({source.path.name}). Correct it"
            )
        twin = ids.setdefault(source.id, source)
        if twin is not source:
            raise RefusedError(
                f"each video must be listed once. Received: {source.path} and {twin.path}, both known as "
                f"{source.id!r}. Remove or rename one"
            )
