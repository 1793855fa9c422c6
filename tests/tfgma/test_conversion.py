"""What is written of a trained fold: calibration clips that stand for all, and int8 that decides alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfgma.forms import CALIBRATION_CLIPS, representative
from tfgma.int8_file import layer_names, layer_of, rungs


def test_rungs_double_up_to_half() -> None:
    assert rungs(0) == rungs(1) == []
    assert rungs(2) == [1]
    assert rungs(40) == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(("rare", "common"), [(3, 40), (10, 10), (2, 400)])
def test_calibration_clips_are_of_all_classes_alike_and_of_many_subjects(rare: int, common: int) -> None:
    entries = [
        {"clips": 30, "subject": f"s{number}", "label": "PR" if number < rare else "WMs"}
        for number in range(rare + common)
    ]
    sampling = representative(entries)
    times = sampling.draw(0)
    owner = np.repeat(sampling.subjects, sampling.clips)
    of_class = np.repeat(sampling.classes, sampling.clips)
    per_class = [times[of_class == name].sum() for name in ("PR", "WMs")]
    assert abs(int(per_class[0]) - int(per_class[1])) <= 1
    assert sum(per_class) >= min(CALIBRATION_CLIPS, rare + common)
    # Within a class each subject gives as many clips as any other, or one more.
    for chosen in (of_class == "PR", of_class == "WMs"):
        counts = [times[chosen & (owner == name)].sum() for name in np.unique(owner[chosen])]
        assert max(counts) <= sampling.clips_per_subject * (1 + common // rare)


def test_layers_are_named_as_the_network_names_them() -> None:
    trunk = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3, name="conv_1")], name="trunk")
    inputs = keras.Input((4, 4, 3))
    network = keras.Model(inputs, keras.layers.Flatten(name="flat")(trunk(inputs)), name="net")
    layers = layer_names(network)
    assert {"trunk", "conv_1", "flat"} <= layers
    assert layer_of("net_1/trunk_1/conv_1_1/Relu;net_1/trunk_1/conv_1_1/add", layers) == "conv_1"
    assert layer_of("net_1/trunk_1/conv_1/Relu", layers) == "conv_1"
    assert layer_of("StatefulPartitionedCall:0", layers) == "StatefulPartitionedCall:0"
