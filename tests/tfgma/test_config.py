import re
from pathlib import Path

import pytest

from pipelines.inputs import input_shape
from pipelines.schema import RefusedError
from tfgma.config import AugmentSettings, TrainSettings, load_study
from tfgma.models.families import FAMILIES

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = [*sorted(FOLDER.glob("*.yaml")), *sorted(FOLDER.glob("bench/*.yaml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_introduces_itself_and_can_be_used(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("# Command:", "# Data:", "# Time:", "# Score:"):
        assert any(line.startswith(word) for line in head), word
    study = load_study(path)
    for name in FAMILIES[study.model.family].inputs:
        assert min(input_shape(name, study.build.clip, study.inputs)) >= 1


def test_the_published_study_has_the_published_numbers():
    study = load_study(FOLDER / "two_stream_gma.yaml")
    clip = study.build.clip
    assert (clip.num_flows, clip.flow_channels, clip.size, clip.max_flow_px) == (30, 60, 224, 20)
    assert (study.model.fusion, study.train.batch_size, study.train.learning_rate) == ("conv1x1", 64, 1e-5)


def test_overrides_go_over_the_file_and_unknown_keys_are_refused():
    path = FOLDER / "demo.yaml"
    assert load_study(path, ("train.epochs=2",)).train.epochs == 2
    with pytest.raises(RefusedError, match=r"demo.yaml: unknown key train.epoch. Received: 2"):
        load_study(path, ("train.epoch=2",))


@pytest.mark.parametrize("settings", [TrainSettings, AugmentSettings])
def test_every_setting_of_a_training_stands_in_its_page_with_its_default(settings):
    page = (FOLDER.parent / "docs" / "training.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    told = {}
    for _, keys, defaults, *_ in rows:
        told |= dict(zip(re.findall(r"`(\w+)`", keys), defaults.strip().split(", "), strict=True))
    for name, field in settings.model_fields.items():
        default = field.default
        if default is None or isinstance(default, str | bool):
            assert told[name] == str(default).lower()
        else:
            assert float(told[name]) == default
