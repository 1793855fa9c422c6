"""A training step on TensorFlow with and without XLA, in turn, for small networks and the published one.

Prints for each the first step, which traces and compiles, the median of later ones, and the ratio of the
medians, without / with: below 1 is faster without, which is what tfgma/xla.py then chooses.

    .venv/bin/python benchmarks/training_step_by_xla.py
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from tfgma.turns import Waiting, interleaved

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = ("spatial", "temporal", "two_stream", "stam", "cnn_lstm", "c3d", "two_stream_3d")
STUDIES = {CONFIGS / "bench" / f"{name}.yaml": 16 for name in NAMES} | {CONFIGS / "two_stream_gma.yaml": 4}
"""Study -> clips in a batch."""
CLASSES, TURNS = 3, 8


def main() -> None:
    """Each study in turn."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for study, batch in STUDIES.items():
        with (
            Waiting("with", step_of, study, batch, True, environment={}) as with_xla,
            Waiting("without", step_of, study, batch, False, environment={}) as without,
        ):
            ways = {"with": with_xla.turn, "without": without.turn}
            first = {name: turn() for name, turn in ways.items()}
            found = interleaved(ways, TURNS, lambda number: None)
        medians = {name: statistics.median(turns) for name, turns in found.items()}
        told = ", ".join(f"{name} {first[name]:.1f} s first, then {medians[name]:.3f} s" for name in ways)
        print(f"{study.stem}: {told}, ratio {medians['without'] / medians['with']:.2f}", flush=True)


def step_of(study: Path, batch: int, by_xla: bool) -> Callable[[], float]:
    """A turn: one training step, and how long it took."""
    import keras

    from tfgma.config import load_study
    from tfgma.networks import build_network
    from tfgma.outputs import trained_outputs

    network = build_network(load_study(study), CLASSES)
    heads = trained_outputs(network.output)
    trainer = keras.Model(network.input, {name: network.output[name] for name in heads})
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    trainer.compile(
        keras.optimizers.AdamW(1e-4, weight_decay=1e-4, amsgrad=True),
        dict.fromkeys(heads, loss),
        jit_compile=by_xla,
    )
    trainer.optimizer.build(trainer.trainable_variables)
    rng = np.random.default_rng(0)
    inputs = {one.name: rng.random((batch, *one.shape[1:]), np.float32) for one in network.inputs}
    labels = dict.fromkeys(heads, np.eye(CLASSES, dtype=np.float32)[np.arange(batch) % CLASSES])

    def turn() -> float:
        begin = time.perf_counter()
        trainer.train_on_batch(inputs, labels)
        return time.perf_counter() - begin

    return turn


if __name__ == "__main__":
    main()
