"""How batches are shared out, without a training; tests/test_backends.py trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.schema import RefusedError
from tfgma.distribution import (
    Shares,
    is_follower,
    join_processes,
    refuse_uneven,
    shared_steps,
    shared_train,
    shared_validation,
)


def numbered(rows, size):
    """Batches `(inputs, labels)` that hold the rows' numbers."""
    numbers = np.arange(rows, dtype=np.float32)
    return tf.data.Dataset.from_tensor_slices(({"flow": numbers}, {"logits": numbers})).batch(size)


def test_one_device_takes_the_batches_as_they_are():
    data = numbered(7, 4)
    assert shared_train(data, Shares()) is data
    assert shared_validation(data, 7, 4, Shares()) is data


@pytest.mark.parametrize(("rows", "kept"), [(16, [6, 6, 4]), (15, [6, 6, 2]), (13, [6, 6]), (12, [6, 6])])
def test_each_process_trains_on_its_rows_of_every_batch(rows, kept):
    """Put together they are the whole batch; of the last one, what two devices can share."""
    parts = [list(shared_train(numbered(rows, 6), Shares(2, 2, process))) for process in (0, 1)]
    found = [np.concatenate([one[0]["flow"], other[0]["flow"]]) for one, other in zip(*parts, strict=True)]
    assert [len(batch) for batch in found] == kept
    assert len(kept) == shared_steps(rows, 6, Shares(2, 2))
    np.testing.assert_array_equal(np.concatenate(found), np.arange(sum(kept)))
    for inputs, labels in parts[1]:
        np.testing.assert_array_equal(inputs["flow"], labels["logits"])


@pytest.mark.parametrize(("rows", "devices", "processes"), [(23, 5, 1), (21, 5, 5), (20, 5, 1), (3, 4, 2)])
def test_filled_up_validation_has_the_mean_of_what_is_there(rows, devices, processes):
    """As Keras means: over each batch's rows with weights, then over batches by their rows."""
    size = 10 if devices == 5 else 4
    shares = [Shares(devices, processes, process) for process in range(processes)]
    data = numbered(rows, size)
    parts = [list(shared_validation(data, rows, size, one)) for one in shares]
    total, count, weights = 0.0, 0, 0.0
    for pieces in zip(*parts, strict=True):
        values = np.concatenate([labels["logits"] for _, labels, _ in pieces])
        weight = np.concatenate([weight for *_, weight in pieces])
        assert len(values) % devices == 0
        loss = np.mean(values * weight)
        total, count, weights = total + loss * len(values), count + len(values), weights + weight.sum()
    assert total / count == pytest.approx(np.arange(rows).mean(), rel=1e-6)
    assert weights == pytest.approx(count)


def test_batches_that_devices_cannot_share_are_refused():
    refuse_uneven(16, Shares())
    refuse_uneven(16, Shares(devices=4))
    with pytest.raises(
        RefusedError, match=r"multiple of the 4 devices .* Received: 6. Set train.batch_size=8"
    ):
        refuse_uneven(6, Shares(devices=4))


def test_what_cannot_be_spread_is_refused(monkeypatch):
    join_processes(None)
    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "torch")
        with pytest.raises(RefusedError, match=r"needs the backend jax or tensorflow. Received: torch"):
            join_processes("data-parallel")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(RefusedError, match=r"several processes needs the backend jax. Received: tensorflow"):
        join_processes("data-parallel")


def test_the_first_process_writes_the_run(monkeypatch):
    assert not is_follower("data-parallel")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "1")
    assert is_follower("data-parallel")
    assert not is_follower(None)
