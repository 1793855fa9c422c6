import pytest

from pipelines.config import BuildConfig
from pipelines.schema import RefusedError
from pipelines.tools import standard_tools
from tfgma import preprocessing
from tfgma.chosen_tools import chosen_tools


def test_networks_are_loaded_only_where_settings_name_one():
    assert chosen_tools(BuildConfig()) is standard_tools
    by_network = BuildConfig(flow={"method": "horn_schunck"})
    assert chosen_tools(by_network) is preprocessing.make_tools


def test_unusable_weights_are_refused_before_any_video_is_read(tmp_path):
    missing = BuildConfig(segmentation={"method": "u2net", "weights": str(tmp_path / "missing.pth")})
    with pytest.raises(RefusedError, match=r"missing\.pth"):
        chosen_tools(missing)
