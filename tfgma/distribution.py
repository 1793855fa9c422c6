"""One training on several devices: each takes its part of every batch."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from pipelines.dataset import as_written
from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.backends import DATA_PARALLEL

PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"
SIMULATED_CPUS = re.compile(r"--xla_force_host_platform_device_count=(\d+)")


@dataclass(frozen=True)
class Shares:
    """How a batch is shared out.

    `devices`: of all processes together. `processes`: that train one network. `process`: this one's number.
    `strategy`: TensorFlow's, which networks are built under.
    """

    devices: int = 1
    processes: int = 1
    process: int = 0
    strategy: tf.distribute.Strategy | None = None

    def building(self) -> contextlib.AbstractContextManager[Any]:
        """What is built and compiled inside is fitted on all devices."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()


def is_follower(distribute: str | None) -> bool:
    """Whether another process trains the same network and writes the run."""
    return distribute is not None and os.environ.get(PROCESS, "0") != "0"


def join_processes(distribute: str | None) -> None:
    """Meets the other processes, if Keras's environment variables name any; before anything is computed.

    `--xla_force_host_platform_device_count=N` in XLA_FLAGS divides the CPU into N devices on JAX; it does so
    on TensorFlow as well.

    Raises:
        RefusedError: the Keras backend cannot spread a training.
    """
    if distribute is None:
        return
    backend = keras.backend.backend()
    if backend not in ("jax", "tensorflow"):
        raise RefusedError(
            f"--distribute {DATA_PARALLEL} needs the backend jax or tensorflow. Received: {backend}. "
            "Choose one of these, or leave it out"
        )
    if backend == "jax":
        if PROCESSES in os.environ:
            keras.distribution.initialize()
        return
    if PROCESSES in os.environ:
        raise RefusedError(
            f"a training of several processes needs the backend jax. Received: tensorflow, and {PROCESSES}="
            f"{os.environ[PROCESSES]} in the environment. Choose jax, or unset it"
        )
    simulated = SIMULATED_CPUS.search(os.environ.get("XLA_FLAGS", ""))
    if simulated:
        parts = [tf.config.LogicalDeviceConfiguration()] * int(simulated[1])
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)


def leave_processes(distribute: str | None) -> None:
    """Parts from the other processes, when all have fitted; else who is done first would end the others."""
    if distribute is not None and keras.backend.backend() == "jax" and PROCESSES in os.environ:
        load("jax", "jax").distributed.shutdown()


@contextlib.contextmanager
def spread(distribute: str | None) -> Iterator[Shares]:
    """What is built (see `Shares.building`) and fitted inside is on all GPUs, or CPUs where there is none."""
    if distribute is None:
        yield Shares()
    elif keras.backend.backend() == "jax":
        # Each process is given its rows of every batch, so nothing is left to be sharded.
        everywhere = keras.distribution.DataParallel(auto_shard_dataset=False)
        with everywhere.scope():
            yield Shares(everywhere.num_model_replicas, everywhere.num_processes, everywhere.data_shard_id)
    else:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        yield Shares(len(devices), strategy=tf.distribute.MirroredStrategy(devices))


def share_statistics(network: keras.Model) -> None:
    """Lets batch normalisation take its statistics from the whole batch, as on one device."""
    if keras.backend.backend() != "tensorflow":
        return  # JAX does so by itself
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def refuse_uneven(batch_size: int, shares: Shares) -> None:
    """Refuses batches that the devices cannot share: clips of each would be left out.

    Raises:
        RefusedError: `batch_size` is no multiple of the number of devices.
    """
    if batch_size % shares.devices:
        nearest = -(-batch_size // shares.devices) * shares.devices
        raise RefusedError(
            f"train.batch_size must be a multiple of the {shares.devices} devices that share a batch. "
            f"Received: {batch_size}. Set train.batch_size={nearest}"
        )


def shared_train(batches: tf.data.Dataset, shares: Shares) -> tf.data.Dataset:
    """This process's rows of each batch; of an epoch's last one, as many as the devices can share evenly."""
    if shares.devices == 1:
        return batches

    @as_written
    def part(*batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rows = tf.shape(tf.nest.flatten(batch)[0])[0]
        rows -= rows % shares.devices
        return tf.nest.map_structure(lambda value: _rows(value, rows, shares), batch)

    return batches.map(part).filter(lambda *batch: tf.shape(tf.nest.flatten(batch)[0])[0] > 0)


def shared_steps(clips: int, batch_size: int, shares: Shares) -> int:
    """Steps of an epoch of so many clips."""
    return clips // batch_size + (clips % batch_size >= shares.devices)


def batches_made(clips: int, batch_size: int) -> int:
    """Batches of an epoch of so many clips; the last may be too small for a step on all devices."""
    return -(-clips // batch_size)


def shared_validation(
    batches: tf.data.Dataset, clips: int, batch_size: int, shares: Shares
) -> tf.data.Dataset:
    """Batches `(inputs, labels)` filled up for the devices, with weights that leave the mean loss as it was.

    Args:
        batches: of `batch_size`, a multiple of the number of devices, but for the last.
        clips: in all of them.
        batch_size: rows.
        shares: see Shares.
    """
    if shares.devices == 1:
        return batches
    last = clips % batch_size
    filled = clips - last + -(-last // shares.devices) * shares.devices

    @as_written
    def part(inputs: dict[str, tf.Tensor], labels: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        rows = tf.shape(tf.nest.flatten(inputs)[0])[0]
        wanted = rows + (-rows) % shares.devices
        # Keras divides by the rows that were filled up too.
        weights = tf.cast(tf.range(wanted) < rows, tf.float32) * (filled / clips)
        repeated = tf.minimum(tf.range(wanted), rows - 1)
        batch = tf.nest.map_structure(lambda value: tf.gather(value, repeated), (inputs, labels))
        return tf.nest.map_structure(lambda value: _rows(value, wanted, shares), (*batch, weights))

    return batches.map(part)


def _rows(value: tf.Tensor, rows: tf.Tensor, shares: Shares) -> tf.Tensor:
    mine = rows // shares.processes
    return value[shares.process * mine : (shares.process + 1) * mine]
