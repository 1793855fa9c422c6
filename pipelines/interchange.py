"""Metadata with which tensorflow_datasets loads a built data set, without any code of ours."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipelines.files import written_whole
from pipelines.flow import LEVELS, ZERO_LEVEL
from pipelines.schema import FEATURE_JOINTS, FORMAT_VERSION, JOINT_FEATURES, JOINTS, ClipSpec, Feature

FEATURES_FILE = "features.json"
LABELS_FILE = f"{Feature.LABEL}.labels.txt"
INFO_FILE = "dataset_info.json"
FILES = (FEATURES_FILE, LABELS_FILE, INFO_FILE)
"""In the order in which they are written: without the last one tensorflow_datasets finds no data set."""

NAME = "tfgma"
WHOLE = "all"
"""tensorflow_datasets' name for the sum of all splits, which no split can have."""


def write_metadata(dataset: Path, index: dict[str, Any]) -> None:
    """Writes FILES for `index`, the content of dataset.json; equal indices give equal bytes.

    Then `tensorflow_datasets.builder_from_directory(dataset)` gives each video as a split named by its id.
    Splits are added by name ("a+b"), "all" is all of them: so folds by subject stay what they are, which
    shares of one split ("train[:80%]") would not. Shards keep their names, too: of a split of several shards
    tensorflow_datasets expects numbered ones, which a new video would all rename.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    spec = ClipSpec.model_validate(index["clip"])
    # tensorflow_datasets reads one name a line.
    labels = "".join(" ".join(name.split()) + "\n" for name in index["classes"])
    contents = {
        FEATURES_FILE: _json(_features(spec, len(index["classes"]), index["modalities"])),
        LABELS_FILE: labels,
        INFO_FILE: _json(_info(spec, index)),
    }
    for name in FILES:
        with written_whole(dataset / name) as temporary:
            temporary.write_bytes(contents[name].encode())


def remove_metadata(dataset: Path) -> None:
    """Withdraws the data set from tensorflow_datasets, until `write_metadata` is called."""
    (dataset / INFO_FILE).unlink(missing_ok=True)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _features(spec: ClipSpec, classes: int, modalities: Collection[str]) -> dict[str, Any]:
    """What `pipelines.records` writes, as tensorflow_datasets' `FeaturesDict` is stored."""
    frames, flows, size = spec.num_frames, spec.num_flows, spec.size
    text = _feature("text_feature.Text", text={})
    features = {
        Feature.LABEL: _feature("class_label_feature.ClassLabel", classLabel={"numClasses": str(classes)}),
        Feature.CLASS: text,
        Feature.SUBJECT: text,
        Feature.VIDEO: text,
        Feature.START_SECONDS: _reals(),
        Feature.FPS: _reals(),
        Feature.MASK_AREA: _reals(frames),
        Feature.QUALITY: _reals(),
    }
    if "pose" in modalities:
        features[Feature.POSE] = _reals(frames, len(JOINTS), 3)
        features[Feature.JOINT_FEATURES] = _reals(frames, len(FEATURE_JOINTS), len(JOINT_FEATURES))
    if "rgb" in modalities:
        features[Feature.RGB] = _images(frames, "jpeg", size, size, 3)
    if "flow" in modalities:
        features[Feature.FLOW] = _images(flows, "png", size, 2 * size, 1)
    return _feature("features_dict.FeaturesDict", featuresDict={"features": features})


def _feature(kind: str, **content: dict[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}", **content}


def _shape(*sides: int) -> dict[str, Any]:
    # Protocol buffers' JSON writes 64-bit integers as strings.
    return {"dimensions": [str(side) for side in sides]} if sides else {}


def _reals(*sides: int) -> dict[str, Any]:
    tensor = {"dtype": "float32", "encoding": "none", "shape": _shape(*sides)}
    return _feature("tensor_feature.Tensor", tensor=tensor)


def _images(count: int, encoding: str, *sides: int) -> dict[str, Any]:
    image = {"dtype": "uint8", "encodingFormat": encoding, "shape": _shape(*sides)}
    inner = _feature("image_feature.Image", image=image)
    return _feature("sequence_feature.Sequence", sequence={"feature": inner, "length": str(count)})


def _info(spec: ClipSpec, index: dict[str, Any]) -> dict[str, Any]:
    """The data set as tensorflow_datasets' `DatasetInfo` is stored.

    Sizes in bytes are left out: with them small data sets would be kept in memory, decoded.
    """
    description = f"Clips of {spec.num_frames} frames at {spec.fps:g} a second; each split is one video."
    if "pose" in index["modalities"]:
        description += f" {Feature.POSE}: x, y in pixels of the aligned frame, score."
    if "flow" in index["modalities"]:
        description += (
            f" {Feature.FLOW}: x field left of y field, in pixels (code - {ZERO_LEVEL}) * "
            f"{spec.max_flow_px:g} / {LEVELS}, positive right and down."
        )
    return {
        "name": NAME,
        "version": f"{FORMAT_VERSION}.0.0",
        "description": description,
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": _split(entry["id"]),
                "filepathTemplate": f"shards/{entry['shard']}",
                "shardLengths": [str(entry["clips"])],
            }
            for entry in index["videos"]
            if entry["shard"]
        ],
    }


def _split(identifier: str) -> str:
    return f"{WHOLE}_" if identifier == WHOLE else identifier
