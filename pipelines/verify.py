"""Reads all of a built data set and names every shard that is not what dataset.json says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.build import SHARDS, file_digest
from pipelines.files import PART
from pipelines.record_writer import FEATURES_OF
from pipelines.records import feature_description
from pipelines.schema import ClipSpec, Feature

Progress = Callable[[int, int, str], None]
"""Called with shards done, shards in all, and the last one's name."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one shard.

    `vouched`: the shard is to the bit what dataset.json says, so that a build would take it for finished.
    """

    shard: str
    problem: str
    vouched: bool = False


@dataclass(frozen=True)
class Verification:
    """What a reading of the whole data set found.

    `shards`: shards that dataset.json names. `records`: records that could be read, good or bad.
    """

    shards: int
    records: int
    problems: tuple[Problem, ...]

    @property
    def verdict(self) -> str | None:
        """One sentence: rule, what was found, remedy; None if nothing is wrong."""
        if not self.problems:
            return None
        first = self.problems[0]
        broken = sorted({one.shard for one in self.problems})
        vouched = sorted({one.shard for one in self.problems if one.vouched})
        more = f" and {len(vouched) - 3} more" if len(vouched) > 3 else ""
        # The build compares hashes; of what a hash vouches for it must be told.
        delete = f"Delete {', '.join(vouched[:3])}{more} and build" if vouched else "Build"
        problems, shards = _count(len(self.problems), "problem"), _count(len(broken), "shard")
        return (
            f"every shard must hold what dataset.json says. Received: {problems} in {shards}, "
            f"the first in {first.shard} ({first.problem}). "
            f"{delete} the data set again with tfgma build-tfrecords: only those shards are made anew"
        )


def verify_dataset(
    dataset: Path, index: dict[str, Any], *, progress: Progress = lambda done, total, name: None
) -> Verification:
    """Reads every record of every shard and compares it with `index`, the content of dataset.json.

    Of each shard: that it is there, its SHA-256, and the number of its clips. Of each record: its checksum,
    its features and their shapes, that it holds no modality but the data set's, that its JPEG and PNG decode
    to frames (size, size, 3) and flows (size, 2 size) uint8, and whose clip it is. Also names
    what lies among the shards and belongs to none.

    Changes nothing, and keeps one record in memory at a time.
    """
    spec = ClipSpec.model_validate(index["clip"])
    entries = [entry for entry in index["videos"] if entry["shard"]]
    problems: list[Problem] = []
    records = 0
    for number, entry in enumerate(entries):
        progress(number, len(entries), entry["shard"])
        found, read = _check_shard(dataset / SHARDS / entry["shard"], entry, index, spec)
        problems += found
        records += read
    progress(len(entries), len(entries), "")
    problems += _strangers(dataset / SHARDS, {entry["shard"] for entry in entries})
    return Verification(len(entries), records, tuple(problems))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _check_shard(
    path: Path, entry: dict[str, Any], index: dict[str, Any], spec: ClipSpec
) -> tuple[list[Problem], int]:
    """What is wrong with one shard, and how many of its records could be read."""
    if not path.is_file():
        return [Problem(path.name, "is missing")], 0
    digest = file_digest(path)
    intact = digest == entry["shard_sha256"]
    found = [] if intact else [f"has SHA-256 {digest}, not {entry['shard_sha256']} as in dataset.json"]
    description = feature_description(spec, index["modalities"])
    read = 0
    try:
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            read += 1
            found += [f"record {read} {problem}" for problem in _check_record(raw, entry, index, description)]
    # TFRecord's checksums: what follows a damaged record cannot be found.
    except tf.errors.OpError as error:
        found.append(f"cannot be read beyond record {read}: {_first_line(error)}")
    if read != entry["clips"]:
        found.append(f"holds {_count(read, 'readable record')}, not {entry['clips']} as in dataset.json")
    return [Problem(path.name, problem, vouched=intact) for problem in found], read


def _check_record(
    raw: bytes, entry: dict[str, Any], index: dict[str, Any], description: dict[str, tf.io.FixedLenFeature]
) -> Iterator[str]:
    """What is wrong with one record, as the end of a sentence that opens with its number."""
    try:
        clip = tf.io.parse_single_example(raw, description)
    except tf.errors.OpError as error:
        yield f"is not of this data set's ClipSpec: {_first_line(error)}"
        return
    expected = {
        Feature.LABEL: index["classes"].index(entry["label"]) if entry["label"] in index["classes"] else None,
        Feature.CLASS: entry["label"],
        Feature.SUBJECT: entry["subject"],
        Feature.VIDEO: entry["id"],
    }
    for name, value in expected.items():
        got = clip[name].numpy()
        got = got.decode(errors="replace") if isinstance(got, bytes) else int(got)
        if got != value:
            yield f"has {name} {got!r}, not {value!r} as in dataset.json"
    held = tf.train.Example.FromString(raw).features.feature
    for name in (name for names in FEATURES_OF.values() for name in names):
        if name in held and name not in description:
            yield f"holds {name}, which is not among the modalities in dataset.json"
    size = index["clip"]["size"]
    if Feature.RGB in clip:
        yield from _check_pictures(Feature.RGB, clip[Feature.RGB], tf.io.decode_jpeg, (size, size, 3))
    if Feature.FLOW in clip:
        yield from _check_pictures(Feature.FLOW, clip[Feature.FLOW], tf.io.decode_png, (size, 2 * size, 1))


def _check_pictures(
    name: str, encoded: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int, int, int]
) -> Iterator[str]:
    """What is wrong with a clip's frames or flows: (T,) strings that decode to `shape` uint8 each."""
    for number, one in enumerate(encoded):
        try:
            got = tuple(decode(one).shape)
        except tf.errors.OpError as error:
            yield f"has a {name} {number} that does not decode: {_first_line(error)}"
            continue
        if got != shape:
            yield f"has a {name} {number} of shape {got}, not {shape}"


def _strangers(folder: Path, named: set[str]) -> list[Problem]:
    """Files among the shards that dataset.json does not name."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(PART):
            found.append(Problem(path.name, "is left over from a build that was stopped"))
        elif path.name not in named:
            found.append(Problem(path.name, "is not named in dataset.json"))
    return found


def _first_line(error: tf.errors.OpError) -> str:
    """What TensorFlow says, without the names of its own nodes."""
    text = str(error.message).strip().splitlines()[0]
    return text.partition("}}")[2].strip()[:120] or text[:120] if text.startswith("{{") else text[:120]
