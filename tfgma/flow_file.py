"""The flow network of a build as the bundle's TFLite file, so that a tablet needs RGB frames only."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np

from pipelines.config import BuildConfig
from pipelines.schema import RefusedError
from tfgma.bundle import FLOW, FLOW_FILE
from tfgma.forms import ConversionTask
from tfgma.inference import TFLiteModel
from tfgma.preprocessing import flow_network
from tfgma.runs import read_run, study_of
from tfgma.tflite import convert, save_signature
from tfgma.xla import answers_on

MOST_PX = 0.01
"""What the file's flow may be off from the network's; a stored flow has steps of a tenth of a pixel."""


def has_flow_network(build: BuildConfig, inputs: list[str]) -> bool:
    """Whether a network with these inputs takes flow that another network computes."""
    return FLOW in inputs and "flow" in build.network_sections


def write_flow(task: ConversionTask, tell: Callable[..., None]) -> dict[str, Any]:
    """Writes FLOW_FILE of the run's build to the task's folder.

    Returns:
        For the certificate: `file`, `sha256`, `bytes`, `operators`, and `max_delta_px` between the file's
        flow and the network's on `pairs_of_frames`.

    Raises:
        RefusedError: the network's weights are gone, it needs operators that are not builtin, or the file's
            flow is another.
    """
    network = flow_network(study_of(read_run(task.run)).build)
    flow = keras.Model(network.input, {FLOW: network.output[FLOW]})
    with tempfile.TemporaryDirectory(dir=task.folder) as folder:
        save_signature(flow, Path(folder), lambda inputs: {FLOW: flow(inputs, training=False)[FLOW]}, batch=1)
        content = convert(Path(folder), "float32")
    model = TFLiteModel(content, output=FLOW)
    worst = 0.0
    for pair in _pairs(flow.inputs[0].shape[1]):
        expected = keras.ops.convert_to_numpy(answers_on(flow, pair)[FLOW])[0]
        worst = max(worst, float(np.abs(model(pair) - expected).max()))
    if not worst <= MOST_PX:
        raise RefusedError(
            f"{FLOW_FILE} must find the flow that its network finds, within {MOST_PX} px. "
            f"Received: {worst:.3g} px off. Build with another flow.method"
        )
    (task.folder / FLOW_FILE).write_bytes(content)
    return {
        "file": FLOW_FILE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "operators": dict(sorted(Counter(model.operators).items())),
        "max_delta_px": worst,
        "pairs_of_frames": len(MOVED_PX),
    }


MOVED_PX = (0, 1, 4)


def _pairs(side: int) -> list[dict[str, np.ndarray]]:
    """Textures that move to the right, as (1, side, side, 3) float32 -1..1."""
    noise = np.random.default_rng(0).random((side, side + max(MOVED_PX), 3), np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, -1, 1, cv2.NORM_MINMAX)
    first, last = max(MOVED_PX), max(MOVED_PX) + side
    return [
        {"frame0": texture[None, :, first:last], "frame1": texture[None, :, first - moved : last - moved]}
        for moved in MOVED_PX
    ]
