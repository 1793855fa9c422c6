"""Turns a trained fold into a bundle: SavedModel and TFLite files that answer as the network does."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.build import read_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.schema import RefusedError
from tfgma.bundle import BUNDLE_FILE, BUNDLE_VERSION, OUTPUT, VARIANTS, InputDescription, model_file
from tfgma.config import StudyConfig
from tfgma.evaluation import fold_metrics
from tfgma.inference import TFLiteModel
from tfgma.outputs import LOGITS, probabilities_of
from tfgma.report import render
from tfgma.runs import MODEL_FILE, fold_folder, read_run, study_of, write_json
from tfgma.weights.pretrained import load_network

SIGNATURE = "serving_default"
FLOAT32_TOLERANCE = 1e-3
CALIBRATION_CLIPS = 120
NOTICE = "Research use only. Not a medical device; not for diagnosis."
MEANINGS = {
    "image": "RGB of the upright masked body, the window's middle frame, (0..1 - mean) / std",
    "frames": "RGB of the upright masked body, frames spread over the window, (0..1 - mean) / std",
    "slow": "as frames, few of them",
    "fast": "as frames, all of them",
    "flow": "x0, y0, x1, y1, ... in -1..1 of max_flow_px, positive right and down",
    "pose": "joint features (x, y, velocity, acceleration, displacement) of 18 joints in short clips",
}

Progress = Callable[[int, int, str], None]


def export(
    run: Path, out: Path, *, fold: int | None = None, progress: Progress = lambda done, total, text: None
) -> dict[str, Any]:
    """Writes the bundle of one fold (default: the first trained) to `out`; returns bundle.json's content.

    Every TFLite file is opened by the LiteRT runtime, run on the fold's test clips, and compared with Keras.

    Raises:
        RefusedError: not a run, an untrained fold, the data set is gone, `out` is not empty, a file holds
            operators beyond the builtin ones, or float32 differs from Keras by more than 1e-3.
    """
    content = read_run(run)
    config = study_of(content)
    fold = content["trained_folds"][0] if fold is None else fold
    if fold not in content["trained_folds"]:
        raise RefusedError(f"--fold must be one of {content['trained_folds']}. Received: {fold}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RefusedError(f"--out must be a new or empty folder. Received: {str(out)!r}")
    network = load_network(fold_folder(run, fold) / MODEL_FILE)
    steps = len(VARIANTS) + 2
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise RefusedError(f"--out must be writable. Received: {str(out)!r} ({error.strerror})") from error
    try:
        progress(0, steps, "SavedModel")
        save_model(network, building / "saved_model")
        calibration = _clips(content, config, fold, "train", network)
        with tempfile.TemporaryDirectory(dir=building) as folder:
            single = Path(folder)
            save_model(network, single, batch=1)
            for number, variant in enumerate(VARIANTS, start=1):
                progress(number, steps, variant)
                file = building / model_file(variant)
                file.write_bytes(
                    convert(single, variant, lambda: itertools.islice(calibration(), CALIBRATION_CLIPS))
                )
        progress(steps - 1, steps, "comparison with Keras")
        agreement = compare(network, building, _clips(content, config, fold, "test", network))
        if agreement["float32"]["max_difference"] > FLOAT32_TOLERANCE:
            raise RefusedError(
                f"model_float32.tflite must answer as Keras does within {FLOAT32_TOLERANCE:g}. "
                f"Received: {agreement['float32']['max_difference']:.2e}"
            )
        description = _describe(run, content, config, fold, network, building, agreement)
        write_json(building / BUNDLE_FILE, description)
        card = render("MODEL_CARD.md.j2", bundle=description, config=config, fold=fold)
        (building / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        building.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    progress(steps, steps, "done")
    return description


def _specs(network: keras.Model, batch: int | None) -> dict[str, tf.TensorSpec]:
    return {
        tensor.name: tf.TensorSpec((batch, *tensor.shape[1:]), tf.float32, name=tensor.name)
        for tensor in network.inputs
    }


def save_model(network: keras.Model, path: Path, batch: int | None = None) -> None:
    """Writes a SavedModel: named inputs -> `probabilities`; any batch size by default."""
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(
        SIGNATURE,
        lambda inputs: {OUTPUT: probabilities_of(network(inputs, training=False)[LOGITS])},
        input_signature=[_specs(network, batch)],
    )
    archive.write_out(str(path), verbose=False)


def convert(saved_model: Path, variant: str, clips: Callable[[], Iterator[dict[str, np.ndarray]]]) -> bytes:
    """A network as a TFLite file of batch 1 with builtin operators only.

    Args:
        saved_model: what `save_model` wrote with batch 1. From the network's concrete functions the file held
            variables and answered NaN.
        variant: float32; float16 (weights); dynamic (int8 weights); int8 (weights and activations, calibrated
            on `clips`; inputs and output stay float32).
        clips: gives inputs by name, each (1, ...) float32.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if variant == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = clips
    return converter.convert()


def compare(
    network: keras.Model, bundle: Path, clips: Callable[[], Iterator[dict[str, np.ndarray]]]
) -> dict[str, dict[str, float]]:
    """Each variant against Keras over `clips`.

    Returns:
        `{variant: {"clips", "same_class" (share), "max_difference", "mean_difference" (of probabilities)}}`.

    Raises:
        RefusedError: a file holds operators that no plain runtime has.
    """
    models = {variant: TFLiteModel((bundle / model_file(variant)).read_bytes()) for variant in VARIANTS}
    for variant, model in models.items():
        foreign = sorted({name for name in model.operators if name.startswith("Flex") or name == "CUSTOM"})
        if foreign:
            raise RefusedError(f"{model_file(variant)} must hold builtin operators only. Received: {foreign}")
    expected: list[np.ndarray] = []
    answers: dict[str, list[np.ndarray]] = {variant: [] for variant in VARIANTS}
    for inputs in clips():
        logits = np.asarray(network.predict_on_batch(inputs)[LOGITS], np.float64)
        expected.append(np.asarray(probabilities_of(logits))[0])
        for variant, model in models.items():
            answers[variant].append(model(inputs))
    truth = np.stack(expected)
    found = {}
    for variant, rows in answers.items():
        given = np.stack(rows)
        difference = np.abs(given - truth)
        found[variant] = {
            "clips": len(truth),
            "same_class": float((given.argmax(axis=1) == truth.argmax(axis=1)).mean()),
            # A NaN anywhere must not pass for agreement.
            "max_difference": float(np.nan_to_num(difference, nan=1.0).max()),
            "mean_difference": float(np.nan_to_num(difference, nan=1.0).mean()),
        }
    return found


def _clips(
    run: dict[str, Any], config: StudyConfig, fold: int, side: str, network: keras.Model
) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    """Single clips of one side of a fold, in an order that mixes subjects."""
    dataset = Path(run["dataset"])
    index = read_index(dataset)
    shards = shard_paths(dataset, index, run["folds"][fold][side])
    data = clip_dataset(
        shards,
        config.build.clip,
        batch_size=1,
        inputs=[tensor.name for tensor in network.inputs],
        settings=config.inputs,
        modalities=index["modalities"],
        shuffle=side == "train",
        seed=config.train.seed,
    )
    return lambda: ({name: value.numpy() for name, value in inputs.items()} for inputs, _ in data)


def _describe(
    run: Path,
    content: dict[str, Any],
    config: StudyConfig,
    fold: int,
    network: keras.Model,
    folder: Path,
    agreement: dict[str, dict[str, float]],
) -> dict[str, Any]:
    inputs = {
        tensor.name: InputDescription(shape=tensor.shape[1:], meaning=MEANINGS[tensor.name]).model_dump()
        for tensor in network.inputs
    }
    return {
        "bundle_version": BUNDLE_VERSION,
        "classes": content["classes"],
        "sampling": config.inputs.model_dump(),
        "build": config.build.model_dump(),
        "inputs": inputs,
        "output": OUTPUT,
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.glob("*.tflite"))
        },
        "agreement": agreement,
        "metrics": fold_metrics(run, fold),
        "run": {
            "fold": fold,
            "dataset_sha256": content["dataset_sha256"],
            "environment": content["environment"],
        },
        "notice": NOTICE,
    }
