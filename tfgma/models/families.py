"""Every family of networks, by the name that a config gives."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfgma.models.two_stream import TwoStream

FAMILIES: dict[str, Callable[..., keras.Model]] = {"two_stream": TwoStream}
"""name -> builder(image_shape, flow_shape, num_classes, **options)."""
