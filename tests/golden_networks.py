"""Answers of the published networks' original code, and the weights that they were given.

Names, shapes and answers lie in tests/golden/reference. Weights and inputs follow from names alone.
"""

import json
import zlib
from pathlib import Path

import keras
import numpy as np

REFERENCE = Path(__file__).parent / "golden" / "reference"
TOLERANCE = 1e-4


def noise(name, shape):
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)


def published_tensor(name, shape):
    """The float32 tensor that the original code was given under that name."""
    values, leaf = noise(name, shape), name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        values = 1 + 0.1 * np.abs(values)
    elif leaf == "running_mean":
        values = 0.1 * values
    elif len(shape) < 2:
        values = (1.0 if leaf == "weight" else 0.0) + 0.1 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return values.astype(np.float32)


def description(name):
    """`inputs`, `outputs` and `state_dict` of a published network, each name -> PyTorch shape."""
    return json.loads((REFERENCE / f"{name}.json").read_text())


def published_checkpoint(name):
    """All tensors of a published network, by name."""
    return {key: published_tensor(key, shape) for key, shape in description(name)["state_dict"].items()}


def published_inputs(name):
    """The inputs by the published name, channels last, float32."""
    inputs = {}
    for key, shape in description(name)["inputs"].items():
        if len(shape) < 2:
            continue  # a setting of the run, not an array
        label, _, scale = key.partition("*")
        values = noise(f"input:{label}", shape) * float(scale or 1)
        inputs[label] = channels_last(label, values).astype(np.float32)
    return inputs


def channels_last(name, values):
    """(B, C, ...) -> (B, ..., C); poses are (B, clips, C, T, joints)."""
    return np.moveaxis(values, 2 if name == "pose" else 1, -1)


def published_answers(name):
    """Output name (with the slice that was kept) -> array as the original code gives it, channels first."""
    with np.load(REFERENCE / f"{name}.npz") as file:
        return dict(file)


def answer_errors(name, answers):
    """Published output -> (largest error, largest published value); `answers` by our names, channels last."""
    errors = {}
    for key, expected in published_answers(name).items():
        label, _, kept = key.partition("[")
        if label == "A":
            continue  # not an output: the graph of joints
        ours = keras.ops.convert_to_numpy(answers[label]).astype(np.float64)
        if kept:
            ours = ours[:, ::4, ::4, :]
        if expected.ndim == 4:
            ours = np.moveaxis(ours, -1, 1)
        assert ours.shape == expected.shape, key
        errors[label] = np.abs(ours - expected).max(), np.abs(expected).max()
    return errors


def assert_answers_as_published(name, answers, tolerances=None):
    """`answers`: our outputs by name; all of the published ones must be there."""
    for label, (error, largest) in answer_errors(name, answers).items():
        limit = (tolerances or {}).get(label, TOLERANCE) * max(1, largest)
        assert error <= limit, f"{name} {label}: {error:.2e} > {limit:.2e}"


OUR_INPUTS = {"slowfast_r50": {"video0": "slow", "video1": "fast"}}


def our_inputs(name):
    """Published inputs by our names."""
    names = OUR_INPUTS.get(name, {"video0": "frames"})
    return {names.get(key, key): values for key, values in published_inputs(name).items()}


def our_options(name):
    """What the converter must be told: shapes, and updates where they are not in the tensors."""
    options = [f"{key}_shape={','.join(map(str, v.shape[1:]))}" for key, v in our_inputs(name).items()]
    updates = description(name)["inputs"].get("num_flow_updates")
    return options + ([f"num_updates={updates[0]}"] if updates else [])
