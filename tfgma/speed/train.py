"""What a training step of the published two-stream network takes: by Keras, and by PyTorch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.speed.torch_two_stream import training_step
from tfgma.turns import Waiting, interleaved, times_as_fast

BATCH, SIZE, CHANNELS, CLASSES = 4, 224, 60, 3
WARM_UP_STEPS = 2


def measure_train(
    *,
    backend: str,
    rounds: int,
    threads: int,
    compiled: bool,
    precision: str = "float32",
    tell: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Seconds of a step of 4 clips, 224 px and 60 flow channels, in turn.

    `keras`: what `tfgma train` calls. `torch`: PyTorch, eager. `torch_compiled`: through torch.compile.

    Args:
        backend: Keras's.
        rounds: turns of each.
        threads: of each.
        compiled: whether `torch_compiled` takes part; compiling takes minutes.
        precision: of all, float32 or mixed_bfloat16.
        tell: is told.

    Returns:
        `ratios`, `seconds` of each turn, and `not_available`: name -> why not.

    Raises:
        RefusedError: PyTorch is not installed; a process was killed.
    """
    load("torch", "torch")
    size = {"batch": BATCH, "size": SIZE, "channels": CHANNELS, "classes": CLASSES, "threads": threads}
    environment = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    ours = environment | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ways: dict[str, tuple[Any, dict[str, Any], str, dict[str, str]]] = {
        "keras": (_keras_turn, size, precision, ours),
        "torch": (_torch_turn, size | {"compiled": False}, precision, environment),
    }
    if compiled:
        ways["torch_compiled"] = (_torch_turn, size | {"compiled": True}, precision, environment)
    missing = {}
    with contextlib.ExitStack() as stack:
        turns = {}
        for number, (name, (make, *options, variables)) in enumerate(ways.items()):
            tell(number, len(ways) + rounds, f"{name}: first steps")
            try:
                turns[name] = stack.enter_context(Waiting(name, make, *options, environment=variables)).turn
            except RefusedError as error:
                missing[name] = str(error)
        taken = interleaved(turns, rounds, lambda turn: tell(len(ways) + turn, len(ways) + rounds, "turns"))
    return {
        "backend": backend,
        "precision": precision,
        "ratios": {
            f"train_vs_{'torch_eager' if name == 'torch' else 'torch_compile'}": times_as_fast(
                found, taken["keras"]
            )
            for name, found in taken.items()
            if name != "keras"
        },
        "seconds": {name: found.tolist() for name, found in taken.items()},
        "not_available": missing,
    }


def _keras_turn(size: dict[str, int], precision: str) -> Callable[[], float]:
    import keras

    from tfgma.models.two_stream import TwoStream
    from tfgma.networks import computing_in
    from tfgma.xla import jit_compile

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(size["threads"])
    elif keras.backend.backend() == "torch":
        load("torch", "torch").set_num_threads(size["threads"])
    rng = np.random.default_rng(0)
    side = (size["batch"], size["size"], size["size"])
    inputs = {
        "image": rng.random((*side, 3), np.float32),
        "flow": rng.random((*side, size["channels"]), np.float32),
    }
    labels = {"logits": np.arange(size["batch"]) % size["classes"]}
    with computing_in(precision):
        network = TwoStream(inputs["image"].shape[1:], inputs["flow"].shape[1:], size["classes"])
    network.compile(
        keras.optimizers.AdamW(1e-5, weight_decay=1e-4, amsgrad=True),
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        jit_compile=jit_compile(),
    )
    return _timed(lambda: network.train_on_batch(inputs, labels))


def _torch_turn(options: dict[str, Any], precision: str) -> Callable[[], float]:
    step = training_step(**options, bfloat16=precision == "mixed_bfloat16")
    try:
        return _timed(step)
    except RefusedError:
        raise
    except Exception as error:  # of the compiler, each of a class of its own
        reason = str(error).strip().splitlines()[0]
        raise RefusedError(f"PyTorch must do a step. Received: {reason}") from error


def _timed(step: Callable[[], Any]) -> Callable[[], float]:
    for _ in range(WARM_UP_STEPS):  # which trace and compile
        step()

    def turn() -> float:
        begin = time.perf_counter()
        step()
        return time.perf_counter() - begin

    return turn
