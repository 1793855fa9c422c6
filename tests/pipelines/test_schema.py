import pytest

from pipelines.config import BuildConfig, parse_overrides, parse_settings, read_yaml
from pipelines.schema import JOINTS, MIRRORED_JOINTS, ClipSpec, RefusedError


def test_clip_arithmetic():
    spec = ClipSpec(fps=6, clip_seconds=5, stride_seconds=2.5)
    assert (spec.num_flows, spec.num_frames, spec.stride_frames, spec.flow_channels) == (30, 31, 15, 60)


def test_mirrored_joints_swap_left_and_right_and_undo_themselves():
    assert JOINTS[MIRRORED_JOINTS[JOINTS.index("left_wrist")]] == "right_wrist"
    assert JOINTS[MIRRORED_JOINTS[JOINTS.index("mouth_right")]] == "mouth_left"
    assert MIRRORED_JOINTS[JOINTS.index("nose")] == JOINTS.index("nose")
    assert [MIRRORED_JOINTS[i] for i in MIRRORED_JOINTS] == list(range(len(JOINTS)))


def test_a_clip_of_no_flow_is_refused():
    with pytest.raises(RefusedError, match=r"at least one flow. Received: clip_seconds=0.05, fps=6"):
        parse_settings({"clip": {"clip_seconds": 0.05}}, BuildConfig, "demo.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clip": {"fsp": 6}}, r"demo.yaml: unknown key clip.fsp. Received: 6. Remove it"),
        ({"flow": {"method": "cat"}}, r"flow.method: Input should be 'farneback', 'dis'.*Received: 'cat'"),
        ({"clip": {"size": 7}}, r"clip.size.*Received: 7"),
    ],
)
def test_wrong_settings_name_key_rule_and_value(values, message):
    with pytest.raises(RefusedError, match=message):
        parse_settings(values, BuildConfig, "demo.yaml")


def test_equal_settings_have_equal_digests_and_others_do_not():
    assert BuildConfig().digest() == BuildConfig(clip=ClipSpec()).digest()
    assert BuildConfig().digest() != BuildConfig(clip=ClipSpec(fps=5)).digest()


def test_overrides_are_yaml_values_at_dotted_places():
    before = {"train": {"epochs": 3}}
    assert parse_overrides(before, ["train.epochs=5", "model.streams=flow"]) == {
        "train": {"epochs": 5},
        "model": {"streams": "flow"},
    }
    assert before == {"train": {"epochs": 3}}


@pytest.mark.parametrize("override", ["epochs", "=3", "train.epochs.x=1"])
def test_an_override_that_names_no_setting_is_refused(override):
    with pytest.raises(RefusedError, match=r"--set must"):
        parse_overrides({"train": {"epochs": 3}}, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "readable YAML"), ("- 1", "must hold a mapping.*list"), (None, "existing YAML")],
)
def test_a_config_that_is_no_mapping_is_refused(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RefusedError, match=message):
        read_yaml(path)
