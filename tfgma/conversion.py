"""Writes a trained fold's SavedModel, TFLite and ONNX files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tfgma.bundle import ONNX, STREAM, certified_file
from tfgma.certificate import Making
from tfgma.forms import ConversionTask, form_of
from tfgma.int8_file import make_int8
from tfgma.onnx_file import convert_onnx
from tfgma.runs import MODEL_FILE, fold_folder
from tfgma.tflite import convert, convert_int16, save_model
from tfgma.weights.pretrained import load_network

SAVED_MODEL = "saved_model"


def write_models(task: ConversionTask, tell: Callable[[int, str], None]) -> dict[str, Making]:
    """Writes the SavedModel and a file for each variant; returns how each was made.

    Returns:
        Variant, with STREAM before it for files that take a frame at a time -> how it was made.

    Raises:
        RefusedError: the network needs operators that are not builtin, or a package is missing.
    """
    network = load_network(fold_folder(task.run, task.fold) / MODEL_FILE)
    tell(0, "SavedModel")
    save_model(network, task.folder / SAVED_MODEL, also=task.also)
    made: dict[str, Making] = {}
    for name in ("", STREAM) if task.streaming else ("",):
        with tempfile.TemporaryDirectory(dir=task.folder) as folder:
            form = form_of(name, task, network, Path(folder))
            for variant in streamed(task.variants) if name == STREAM else task.variants:
                file = f"{name}{variant}"
                say = partial(tell, len(made) + 1)
                say(file)
                made[file] = Making()
                if variant == "int8":
                    content, made[file] = make_int8(task, form, say)
                elif variant == ONNX:
                    content = convert_onnx(network, task.also)
                elif variant == "int16":
                    content = convert_int16(form.saved_model, form.calibration)
                else:
                    content = convert(form.saved_model, variant)
                (task.folder / certified_file(file)).write_bytes(content)
    return made


def streamed(variants: Sequence[str]) -> list[str]:
    """Those that are also written for one frame at a time: the TFLite files."""
    return [variant for variant in variants if variant != ONNX]
