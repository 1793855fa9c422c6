"""The clips of one side of a run's fold, as a network takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipelines.build import read_index
from pipelines.dataset import clip_dataset, shard_paths
from pipelines.sampling import Sampling
from tfgma.runs import read_run, study_of


def fold_clips(
    run: Path,
    fold: int,
    side: str,
    network: keras.Model,
    sampling: Callable[[Any], Sampling] | None = None,
    **options: Any,
) -> tf.data.Dataset:
    """Clips of one side of a fold, one at a time and as `network` takes them, with their meta.

    `sampling`: of the side's entries in dataset.json, which clips are taken, in an order that mixes subjects;
    default: each once, in order. `options`: of `clip_dataset`, in place of these.
    """
    content = read_run(run)
    config = study_of(content)
    dataset = Path(content["dataset"])
    index = read_index(dataset)
    subjects = set(content["folds"][fold][side])
    entries = [entry for entry in index["videos"] if entry["shard"] and entry["subject"] in subjects]
    return clip_dataset(
        shard_paths(dataset, index, subjects),
        config.build.clip,
        inputs=[tensor.name for tensor in network.inputs],
        settings=config.inputs,
        modalities=index["modalities"],
        seed=config.train.seed,
        sampling=sampling(entries) if sampling else None,
        **({"batch_size": 1, "shuffle": sampling is not None} | options),
    )
