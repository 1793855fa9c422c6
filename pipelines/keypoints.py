"""Readers of keypoint files that other programs wrote, as OpenPose's 18 joints."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.optional import load
from pipelines.schema import FEATURE_JOINTS, RefusedError

BODY_25_TO_18: Final = (*range(8), *range(9, 19))
"""Where each of the 18 joints lies in OpenPose's BODY_25: it has a mid-hip between, and feet after them."""

OPENPOSE_LAYOUTS: Final = {54: tuple(range(18)), 75: BODY_25_TO_18}
"""Numbers a person (x, y, score a joint) -> where the 18 joints lie."""

LIMB_JOINTS: Final = tuple(
    f"{side}_{part}"
    for side in ("right", "left")
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)
"""Joints that a file of named body parts must have; head and neck may be missing."""

SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {"nose": ("nose",), "neck": ("neck",)} | {
    f"{side}_{part}": tuple(
        spelling for s in (side, side[0]) for p in parts for spelling in (f"{s}{p}", f"{p}{s}")
    )
    for side in ("right", "left")
    for part, parts in {
        "shoulder": ("shoulder", "sho"),
        "elbow": ("elbow", "elb"),
        "wrist": ("wrist", "wri"),
        "hip": ("hip",),
        "knee": ("knee", "kne"),
        "ankle": ("ankle", "ank"),
        "eye": ("eye",),
        "ear": ("ear",),
    }.items()
}
"""Joint -> names of body parts that mean it, in small letters and digits only.

The side stands before or after the part, written out or as one letter: `Right_Shoulder`, `RShoulder`,
`shoulder_r` and `rsho` are all `right_shoulder`.
"""

DEEPLABCUT_HEADER: Final = ("scorer", "bodyparts", "coords")
DEEPLABCUT_COORDS: Final = ("x", "y", "likelihood")
DEEPLABCUT_KEY: Final = "df_with_missing"

STAM_CHANNELS: Final = 7
"""Channels of a STAM sequence that count, of the 19 that it holds."""
STAM_SIDES: Final = ("train", "val", "test")
STAM_COLUMNS: Final = ["infant_id", "label"]


@dataclass(frozen=True)
class KeypointSequence:
    """One person's joints over time.

    `keypoints`: (T, 18, 3) float32, joints as in `pipelines.schema.FEATURE_JOINTS`: x right and y down in
    pixels, score 0..1; all three are 0 where a joint was not found. `fps`: frames a second, None when not
    known.
    """

    keypoints: np.ndarray
    fps: float | None

    def with_gaps(self, min_score: float) -> np.ndarray:
        """(T, 18, 2) float64, pixels, NaN where the score is 0 or below `min_score`."""
        score = self.keypoints[..., 2:]
        seen = (score >= min_score) & (score > 0)
        return np.where(seen, self.keypoints[..., :2].astype(np.float64), np.nan)


@dataclass(frozen=True)
class StamSequences:
    """A folder of infants in STAM's layout.

    `features`: infant -> (T, 18, 7) float32, channels x, y, vx, vy, ax, ay, displacement. `labels`: infant ->
    label. `folds`: names of the infants to train on, to validate on, to test on.
    """

    features: dict[str, np.ndarray]
    labels: dict[str, int]
    folds: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]


def read_openpose_folder(path: Path | str, fps: float | None = None) -> KeypointSequence:
    """What OpenPose's `--write_json` wrote for one video: a file a frame, COCO-18 or BODY_25.

    Of several people the one counts that lies nearest to the person of the frame before, by the mean distance
    of joints found in both; in the first frame, or with no joint in common, the one with the highest total
    score. Frames without a person have score 0.

    Args:
        path: folder with `*_keypoints.json`, numbered by frame.
        fps: frames a second, passed on.

    Raises:
        RefusedError: no such file, files of two videos, a missing frame, or a file of another form; it is
            named.
    """
    frames = []
    previous: np.ndarray | None = None
    for file in _numbered_files(Path(path)):
        people = [person for person in _people(file) if (person[:, 2] > 0).any()]
        if not people:
            frames.append(np.zeros((len(FEATURE_JOINTS), 3)))
            continue
        previous = choose_person(people, previous)
        frames.append(previous)
    return KeypointSequence(np.stack(frames).astype(np.float32), fps)


def _numbered_files(folder: Path) -> list[Path]:
    """The frames' files in order of their numbers, with or without zeros before."""
    found: list[tuple[str, int, Path]] = []
    for file in sorted(folder.glob("*_keypoints.json")):
        match = re.fullmatch(r"(.*?)(\d+)_keypoints", file.stem)
        if match is None:
            raise RefusedError(
                f"an OpenPose file must be named VIDEO_NUMBER_keypoints.json. Received: {file.name}"
            )
        found.append((match[1], int(match[2]), file))
    videos = sorted({video for video, _, _ in found})
    if len(videos) != 1:
        raise RefusedError(
            "a folder of OpenPose must hold the *_keypoints.json of one video. "
            f"Received: {len(videos)} in {folder}. Give each video a folder of its own"
        )
    found.sort()
    numbers = [number for _, number, _ in found]
    steps = np.diff(numbers)
    uneven = np.flatnonzero((steps != steps[:1]) | (steps == 0))
    if len(uneven):
        before, after = numbers[uneven[0]], numbers[uneven[0] + 1]
        raise RefusedError(
            "the frames of an OpenPose folder must be evenly numbered. "
            f"Received: {after} after {before} in {folder}. Write the folder again"
        )
    return [file for _, _, file in found]


def _people(file: Path) -> list[np.ndarray]:
    """Each person in a file of OpenPose, (18, 3) float64."""
    people = []
    try:
        for person in json.loads(file.read_text(encoding="utf-8"))["people"]:
            people.append(np.asarray(person["pose_keypoints_2d"], dtype=np.float64))
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(
            f"an OpenPose file must hold people with pose_keypoints_2d. Received: {file} ({error!r})"
        ) from error
    for numbers in people:
        if numbers.ndim != 1 or numbers.size not in OPENPOSE_LAYOUTS or not np.isfinite(numbers).all():
            raise RefusedError(
                f"a person of OpenPose must be {' or '.join(map(str, OPENPOSE_LAYOUTS))} finite numbers "
                f"(COCO or BODY_25). Received: {numbers.size} in {file}"
            )
    return [numbers.reshape(-1, 3)[list(OPENPOSE_LAYOUTS[numbers.size])] for numbers in people]


def choose_person(people: Sequence[np.ndarray], previous: np.ndarray | None) -> np.ndarray:
    """The one of `people` to follow: nearest to `previous`, else with the highest total score.

    Args:
        people: at least one, each (joints, 3): x and y in pixels, score, 0 where a joint was not found.
        previous: who was followed so far, likewise; None at first.
    """

    def unlikeness(person: np.ndarray) -> tuple[float, float]:
        distance = np.inf
        if previous is not None:
            both = (person[:, 2] > 0) & (previous[:, 2] > 0)
            if both.any():
                distance = float(np.linalg.norm(person[both, :2] - previous[both, :2], axis=1).mean())
        return distance, -float(person[:, 2].sum())

    return min(people, key=unlikeness)


def read_deeplabcut(path: Path | str, fps: float | None = None) -> KeypointSequence:
    """One animal's (here: person's) predictions as DeepLabCut writes them.

    Body parts are recognised by `SYNONYMS`, others are passed over. A missing neck lies between the
    shoulders, with the lower of their scores; other missing joints of the head have score 0.

    Args:
        path: `.csv`, or `.h5` (a pandas table named df_with_missing; nothing in it is executed).
        fps: frames a second, passed on.

    Raises:
        RefusedError: another form or ending, several animals, two body parts that mean one joint, or missing
            limbs; they are named.
    """
    path = Path(path)
    readers = {".csv": _deeplabcut_csv, ".h5": _deeplabcut_h5}
    if path.suffix.lower() not in readers:
        raise RefusedError(f"a DeepLabCut file must end in {' or '.join(readers)}. Received: {path}")
    if not path.is_file():
        raise RefusedError(f"a DeepLabCut file must exist. Received: {path}")
    labels, values = readers[path.suffix.lower()](path)
    return KeypointSequence(_named_keypoints(labels, values, path), fps)


def _deeplabcut_csv(path: Path) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """(scorer, body part, coordinate) a column, and (T, columns) float64."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    header = tuple(row[0] for row in rows[: len(DEEPLABCUT_HEADER)])
    if header != DEEPLABCUT_HEADER:
        raise RefusedError(
            f"a DeepLabCut table must open with the rows {', '.join(DEEPLABCUT_HEADER)}, for one animal. "
            f"Received: {', '.join(header) or 'nothing'} in {path}"
        )
    head, body = rows[: len(header)], rows[len(header) :]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(head[0]):
            raise RefusedError(
                f"every row of a DeepLabCut table must have {len(head[0])} cells. "
                f"Received: {len(row)} in row {number} of {path}"
            )
    try:
        values = np.array([[float(cell or "nan") for cell in row[1:]] for row in body])
    except ValueError as error:
        raise RefusedError(
            f"below its header, a DeepLabCut table must hold numbers. Received: {error} in {path}"
        ) from error
    return list(zip(*(row[1:] for row in head), strict=True)), values.reshape(len(body), -1)


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, tuples, strings and numbers; a file that asks for anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def _deeplabcut_h5(path: Path) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """(scorer, body part, coordinate) a column, and (T, columns) float64."""
    h5py = load("h5py", "train")
    labels: list[tuple[str, ...]] = []
    blocks = []
    try:
        with h5py.File(path, "r") as file:
            table = file[DEEPLABCUT_KEY]["table"]
            records = table[:]
            for field in table.dtype.names:
                if field == "index":
                    continue
                # PyTables pickles attributes that HDF5 has no type for, such as lists of labels.
                pickled = bytes(table.attrs[f"{field}_kind"])
                labels += [tuple(label) for label in _PlainUnpickler(io.BytesIO(pickled)).load()]
                blocks.append(np.asarray(records[field], dtype=np.float64).reshape(len(records), -1))
        values = np.concatenate(blocks, axis=1)
        valid = values.shape[1] == len(labels) and all(
            len(label) == len(DEEPLABCUT_HEADER) and all(isinstance(word, str) for word in label)
            for label in labels
        )
    except Exception as error:  # a damaged pickle may raise anything
        raise RefusedError(
            f"a DeepLabCut .h5 must hold a pandas table {DEEPLABCUT_KEY} with plain labels. "
            f"Received: {path} ({error!r}). Export the predictions as .csv"
        ) from error
    if not valid:
        raise RefusedError(
            f"the columns of a DeepLabCut .h5 must be labelled {', '.join(DEEPLABCUT_HEADER)}, for a single "
            f"animal. Received: {values.shape[1]} columns labelled {labels[:2]} in {path}"
        )
    return labels, values


def _named_keypoints(labels: Sequence[tuple[str, ...]], values: np.ndarray, path: Path) -> np.ndarray:
    """(T, 18, 3) float32 from columns labelled (scorer, body part, coordinate)."""
    joint_of = {spelling: joint for joint, spellings in SYNONYMS.items() for spelling in spellings}
    columns: dict[str, dict[str, np.ndarray]] = {}
    part_of: dict[str, str] = {}
    for (_, part, coord), column in zip(labels, values.T, strict=True):
        joint = joint_of.get(re.sub(r"[^a-z0-9]", "", part.lower()))
        if joint is None:
            continue
        if part_of.setdefault(joint, part) != part or coord in columns.get(joint, {}):
            raise RefusedError(
                f"one body part must mean {joint}. Received: {part_of[joint]} and {part} in {path}. "
                "Rename one of them"
            )
        columns.setdefault(joint, {})[coord] = column
    missing = [joint for joint in LIMB_JOINTS if joint not in columns]
    if missing:
        raise RefusedError(
            f"a DeepLabCut file must have the limbs' joints. Received: {path} without {', '.join(missing)}. "
            "Name its body parts like right_shoulder"
        )
    for joint, coords in columns.items():
        if set(coords) != set(DEEPLABCUT_COORDS):
            raise RefusedError(
                f"each body part of DeepLabCut must have {', '.join(DEEPLABCUT_COORDS)}. "
                f"Received: {part_of[joint]} with {', '.join(coords)} in {path}"
            )
    out = np.zeros((len(values), len(FEATURE_JOINTS), 3))
    for joint, coords in columns.items():
        found = np.stack([coords[coord] for coord in DEEPLABCUT_COORDS], axis=-1)
        found[~np.isfinite(found).all(axis=-1)] = 0
        out[:, FEATURE_JOINTS.index(joint)] = found
    if "neck" not in columns:
        shoulders = out[:, [FEATURE_JOINTS.index(f"{side}_shoulder") for side in ("right", "left")]]
        neck = np.concatenate([shoulders[..., :2].mean(axis=1), shoulders[..., 2:].min(axis=1)], axis=-1)
        out[:, FEATURE_JOINTS.index("neck")] = np.where(neck[:, 2:] > 0, neck, 0)
    return out.astype(np.float32)


def read_stam_sequences(root: Path | str) -> StamSequences:
    """A folder in the layout of STAM's published data (Nguyen-Thai et al., IEEE JBHI 2021).

    `pose_sequences/<infant>/raw_skel.npy`: (7 or more, T, 18) float, the first 7 channels count. `labels.txt`
    and `folds/random_split/{train,val,test}_NN.txt`: lines `infant_id,label` below a header that says so.

    Raises:
        RefusedError: a missing or misshapen file, an infant without a label, an unknown infant in a fold or
            with another label there, or an infant on two sides of a fold; it is named.
    """
    root = Path(root)
    labels = _stam_labels(root / "labels.txt")
    infants = sorted(path.name for path in root.glob("pose_sequences/*") if path.is_dir())
    if not infants:
        raise RefusedError(f"a STAM folder must hold pose_sequences/<infant>. Received: {root}")
    for infant in infants:
        if infant not in labels:
            raise RefusedError(f"every infant must have a line in {root / 'labels.txt'}. Received: {infant}")
    features = {
        infant: read_stam_features(root / "pose_sequences" / infant / "raw_skel.npy") for infant in infants
    }
    folder = root / "folds" / "random_split"
    numbers = sorted({file.stem.rpartition("_")[2] for file in folder.glob("*_*.txt")})
    if not numbers:
        raise RefusedError(f"a STAM folder must hold folds/random_split/train_00.txt. Received: {root}")
    known = {infant: labels[infant] for infant in infants}
    return StamSequences(features, known, [_stam_fold(folder, number, known) for number in numbers])


def _stam_labels(path: Path) -> dict[str, int]:
    """Infant -> label, in the file's order."""
    if not path.is_file():
        raise RefusedError(f"a STAM folder must hold {path.name}. Received: {path}, which is not there")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    header = rows[0] if rows else []
    if header != STAM_COLUMNS:
        raise RefusedError(f'{path} must open with {",".join(STAM_COLUMNS)}. Received: "{",".join(header)}"')
    labels: dict[str, int] = {}
    for row in rows[1:]:
        if len(row) != len(STAM_COLUMNS) or not row[1].strip().isdecimal() or row[0] in labels:
            raise RefusedError(
                f"{path} must give each infant one line with one whole number. Received: {','.join(row)}"
            )
        labels[row[0]] = int(row[1])
    return labels


def read_stam_features(path: Path | str) -> np.ndarray:
    """The features of one infant in STAM's published data, a `raw_skel.npy`.

    Returns:
        (T, 18, 7) float32, channels as in `pipelines.schema.JOINT_FEATURES`.

    Raises:
        RefusedError: no array of NumPy, another shape, or numbers that are not finite.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RefusedError(
            f"a STAM sequence must be an array of NumPy. Received: {path} ({error})"
        ) from error
    shape: tuple[int, ...] = getattr(array, "shape", ())
    if (
        len(shape) != 3
        or shape[0] < STAM_CHANNELS
        or shape[1] == 0
        or shape[2] != len(FEATURE_JOINTS)
        or array.dtype.kind != "f"
    ):
        raise RefusedError(
            f"a STAM sequence must be ({STAM_CHANNELS} or more, T, {len(FEATURE_JOINTS)}) float. "
            f"Received: {shape} in {path}"
        )
    features = np.moveaxis(array[:STAM_CHANNELS], 0, -1).astype(np.float32)
    if not np.isfinite(features).all():
        raise RefusedError(f"a STAM sequence must be finite. Received: NaN or infinity in {path}")
    return features


def _stam_fold(
    folder: Path, number: str, known: Mapping[str, int]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names on the three sides of a fold."""
    side_of: dict[str, str] = {}
    for side in STAM_SIDES:
        file = folder / f"{side}_{number}.txt"
        for infant, label in _stam_labels(file).items():
            if infant not in known:
                raise RefusedError(f"{file} must name infants in pose_sequences. Received: {infant}")
            if label != known[infant]:
                raise RefusedError(
                    f"{file} must agree with labels.txt. Received: {infant} with {label}, not {known[infant]}"
                )
            if infant in side_of:
                raise RefusedError(
                    "an infant must be on one side of a fold. "
                    f"Received: {infant} in {side_of[infant]} and {side} of fold {number} in {folder}"
                )
            side_of[infant] = side
    train, val, test = (
        tuple(infant for infant, where in side_of.items() if where == side) for side in STAM_SIDES
    )
    return train, val, test
