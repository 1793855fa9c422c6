"""What a study cannot train on a data set, said before hours of work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pipelines.build import with_network_digests
from pipelines.config import BuildConfig
from pipelines.dataset import decoded_bytes
from pipelines.inputs import input_shape, refuse_missing
from pipelines.schema import RefusedError
from tfgma.config import StudyConfig, flat
from tfgma.losses import head_weights
from tfgma.models.families import FAMILIES
from tfgma.networks import build_network
from tfgma.outputs import trained_outputs

CACHE_SHARE = 0.7
"""Of the memory; network, batches and system need the rest."""


def as_built(config: StudyConfig, index: dict[str, Any]) -> StudyConfig:
    """The study with the options that the data set was built with, which no config need repeat.

    A bundle then blanks faces where the frames that it learned from had none.
    """
    made = {name: index["config"][name] for name in ("modalities", "deidentify")}
    return config.model_copy(update={"build": config.build.model_copy(update=made)})


def refuse_other_build(index: dict[str, Any], build: BuildConfig) -> None:
    """A bundle prepares videos by the study's build settings, so the data must have been built by them."""
    if build.deidentify:
        build = with_network_digests(build)
    wanted, found = flat(build.model_dump()), flat(index["config"])
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise RefusedError(
                f"the data set must be built with the config's settings, build.{key}={wanted.get(key)}. "
                f"Received: a data set with {found.get(key)}. Build it again, or change the config"
            )


def refuse_unfit(config: StudyConfig, index: dict[str, Any]) -> None:
    """Says what a network cannot take from the data set, or cannot start from."""
    model = config.model
    for name in FAMILIES[model.family].inputs:
        input_shape(name, config.build.clip, config.inputs)
    # A two-stream network of one stream takes no other input.
    alone = getattr(model, "streams", None)
    inputs = FAMILIES[model.family].inputs
    refuse_missing([alone] if alone in inputs else inputs, index["modalities"])
    if model.one_logit and len(index["classes"]) != 2:
        raise RefusedError(
            f"model.one_logit needs two classes. Received: {len(index['classes'])}, "
            f"{', '.join(index['classes'])}. Leave it out"
        )
    if config.augment.cutmix and "pose" in inputs:
        raise RefusedError(
            f"augment.cutmix cuts pictures, which {model.family} does not take. Received: "
            f"{config.augment.cutmix:g}. Set it to 0; augment.mixup mixes joints"
        )
    given = [path for path in (model.weights, *(path for path, _ in model.trunk_weights().values())) if path]
    if model.scope == "scratch" and given:
        raise RefusedError(
            f"model.scope scratch starts from random weights. Received: {given[0]}. Leave the weights out, "
            "or set the scope to all"
        )
    if model.scope not in ("all", "scratch") and not given:
        raise RefusedError(
            f"model.scope {model.scope} trains a part of a network that has weights. Received: no weights. "
            "Name them in model.weights, or set the scope to all"
        )
    _refuse_too_large(config, index, [alone] if alone in inputs else inputs)
    if config.train.head_weights is not None:
        network = build_network(config, len(index["classes"]))
        head_weights(config.train, trained_outputs(network.output))


def _refuse_too_large(config: StudyConfig, index: dict[str, Any], inputs: Sequence[str]) -> None:
    if not config.train.cache:
        return
    jitter = config.augment.temporal_jitter
    one = decoded_bytes(config.build.clip, config.inputs, inputs, index["modalities"], jitter=jitter)
    needed = one * sum(entry["clips"] for entry in index["videos"] if entry["shard"])
    if needed > CACHE_SHARE * _memory():
        raise RefusedError(
            f"train.cache needs at most {CACHE_SHARE:.0%} of the machine's {_memory() / 1e9:.1f} GB for the "
            f"decoded clips. Received: {needed / 1e9:.1f} GB. Set train.cache=false"
        )


def _memory() -> float:
    """The machine's, in bytes; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
