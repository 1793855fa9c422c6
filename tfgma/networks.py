"""A study's network, with the weights that it starts from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from pipelines.inputs import input_shape
from tfgma.config import StudyConfig
from tfgma.models.families import FAMILIES
from tfgma.models.scopes import set_scope
from tfgma.weights.packages import weights_file
from tfgma.weights.pretrained import head_layers, load_all_but_other_head, load_trunk


def build_network(config: StudyConfig, num_classes: int) -> keras.Model:
    """The study's network with the weights that it starts from; layers beyond its scope are frozen.

    Raises:
        RefusedError: an unreadable or foreign file of weights, or a scope that the network has not.
    """
    model = config.model
    family = FAMILIES[model.family]
    shapes = {name: input_shape(name, config.build.clip, config.inputs) for name in family.inputs}
    network = family(shapes, 1 if model.one_logit else num_classes, **model.builder_options())
    if model.weights is not None:
        load_all_but_other_head(network, Path(model.weights))
    for prefix, (path, trunk) in model.trunk_weights().items():
        load_trunk(network, weights_file(path, trunk), prefix)
    set_scope(network, model.scope, head_layers(network))
    return network


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers that are made here compute in `precision`; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
