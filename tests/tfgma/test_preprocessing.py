"""U2-Net, OpenPose and RAFT in the place of the standard tools."""

import cv2
import keras
import numpy as np
import pytest

from pipelines.build import build_dataset
from pipelines.config import BuildConfig, parse_settings
from pipelines.flow import FlowEstimator, dequantize_flow
from pipelines.pose import BodyFinder
from pipelines.records import read_shard
from pipelines.schema import FEATURE_JOINTS, JOINTS, RefusedError
from pipelines.tools import standard_tools
from tests.golden_networks import published_checkpoint
from tfgma.models.raft import raft_small
from tfgma.preprocessing import NetworkBodyFinder, make_tools, network_flow, refuse_unusable_weights
from tfgma.weights.layout import load_tensors

HORN_SCHUNCK = {"method": "horn_schunck"}
PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8), (0, 0), 4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Network -> checkpoint with weights that follow from names."""
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for name in ("raft_small", "u2net", "openpose"):
        files[name] = folder / f"{name}.npz"
        np.savez(files[name], **published_checkpoint(name))
    return files


def settings(**sections):
    return parse_settings({"clip": {"size": 64, "clip_seconds": 1}} | sections, BuildConfig, "test")


def test_raft_in_the_build_answers_as_the_network_on_frames_with_a_border(weights):
    flow = {"method": "raft_small", "weights": str(weights["raft_small"]), "num_updates": 2}
    tool = network_flow(settings(flow=flow))
    first, second = PICTURE[:64, :64], PICTURE[:64, 2:66]
    found = tool.between(tool.prepare(first), tool.prepare(second))
    assert found.shape == (64, 64, 2)

    network = raft_small((128, 128, 3), (128, 128, 3), num_updates=2)
    load_tensors(network, published_checkpoint("raft_small"))
    wide = [
        np.pad(one, ((0, 64), (0, 64), (0, 0)), "edge") / np.float32(127.5) - 1 for one in (first, second)
    ]
    answer = network.predict_on_batch({"frame0": wide[0][None], "frame1": wide[1][None]})["flow"]
    expected = keras.ops.convert_to_numpy(answer)[0, :64, :64]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found).max() > 0.1


def test_horn_and_schunck_s_flow_needs_no_weights_and_takes_any_size():
    """A picture of 60 px that moves by 2 px: its network takes 64."""
    tool = network_flow(parse_settings({"clip": {"size": 60}, "flow": HORN_SCHUNCK}, BuildConfig, "test"))
    texture = cv2.normalize(PICTURE, None, 0, 255, cv2.NORM_MINMAX)
    first, second = texture[:60, 2:62], texture[:60, :60]
    assert tool.prepare(first).shape == (1, 64, 64, 3)
    found = tool.between(tool.prepare(first), tool.prepare(second))
    assert found.shape == (60, 60, 2)
    np.testing.assert_allclose(found[15:-15, 15:-15].mean(axis=(0, 1)), [2, 0], atol=0.1)
    nothing = settings(flow=HORN_SCHUNCK)
    assert nothing.that_decide(pictures=True) == settings(
        flow=HORN_SCHUNCK | {"num_updates": 3, "weights": "w.npz"}
    ).that_decide(pictures=True)


@pytest.mark.thorough
def test_a_data_set_is_built_with_the_flow_that_the_config_chooses(weights, infants, tmp_path):
    flow = {"method": "raft_small", "weights": str(weights["raft_small"]), "num_updates": 1, "masked": False}
    source = tmp_path / "source" / "FMs" / "a"
    source.mkdir(parents=True)
    (source / "v.mp4").symlink_to(sorted(infants.glob("FMs/*/video.mp4"))[0])
    fields = {}
    for name, section in {"raft": flow, "farneback": {"masked": False}}.items():
        config = settings(flow=section)
        build_dataset(tmp_path / "source", tmp_path / name, config, make_tools=make_tools)
        clip, _ = next(read_shard(tmp_path / name / "shards" / "FMs__a__v.tfrecord", config.clip))
        fields[name] = (dequantize_flow(clip.flow, config.clip.max_flow_px), clip.rgb)
    # Untrained, so its flow is its own; all but the flow is the same.
    np.testing.assert_array_equal(fields["raft"][1], fields["farneback"][1])
    assert np.abs(fields["raft"][0] - fields["farneback"][0]).mean() > 1


@pytest.mark.thorough
def test_masks_and_joints_of_networks_lie_in_the_frame(weights):
    finder = NetworkBodyFinder(
        settings(
            segmentation={"method": "u2net", "weights": str(weights["u2net"]), "size": 64},
            pose={"method": "openpose", "weights": str(weights["openpose"]), "long_side_px": 64},
        )
    )
    mask = finder._u2net.mask(PICTURE)
    assert mask.shape == (96, 128)
    assert mask.dtype == bool
    assert 0 < mask.mean() < 1  # spread over its own range, so never all or nothing
    finder.restart()
    finder.close()


@pytest.mark.thorough
def test_joints_are_read_off_maps_at_the_frames_scale(weights, monkeypatch):
    """Maps with one person: a spot a joint, and unit vectors along the limbs."""
    from pipelines.part_association import OPENPOSE_LIMBS

    config = settings(
        segmentation={"method": "u2net", "weights": str(weights["u2net"]), "size": 32},
        pose={"method": "openpose", "weights": str(weights["openpose"]), "long_side_px": 256},
    )
    finder = NetworkBodyFinder(config)
    height, width = 24, 32  # maps of a frame of 192 x 256, twice the picture
    rng = np.random.default_rng(2)
    places = np.stack([rng.uniform(4, 28, 18), rng.uniform(4, 20, 18)], axis=1)
    rows, columns = np.mgrid[:height, :width] + 0.5
    heatmap, paf = np.zeros((height, width, 19), np.float32), np.zeros((height, width, 38), np.float32)
    for joint, (x, y) in enumerate(places):
        heatmap[..., joint] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2)
    for limb, (first, second) in enumerate(OPENPOSE_LIMBS):
        start, end = places[FEATURE_JOINTS.index(first)], places[FEATURE_JOINTS.index(second)]
        paf[..., 2 * limb : 2 * limb + 2] = (end - start) / np.linalg.norm(end - start)

    class Maps:
        inputs = (keras.Input((192, 256, 3)),)

        def predict_on_batch(self, inputs):
            assert inputs["image"].shape == (1, 192, 256, 3)
            return {"heatmap": heatmap[None], "paf": paf[None]}

    monkeypatch.setattr(finder._openpose, "_network", Maps())
    body = finder.find(PICTURE, 0.0)
    for joint, name in enumerate(FEATURE_JOINTS):
        if name == "neck":
            continue
        found = body.joints[JOINTS.index(name)]
        np.testing.assert_allclose(found[:2], places[joint] * 4, atol=1.5)
        assert found[2] > 0.5
    heatmap[:] = 0
    finder.restart()
    assert finder.find(PICTURE, 0.2) is None


def test_standard_tools_where_no_network_is_chosen():
    tools = make_tools(settings())
    with tools:
        assert isinstance(tools.finder, BodyFinder)
        assert isinstance(tools.flow, FlowEstimator)


def test_wrong_choices_are_refused(weights):
    with pytest.raises(RefusedError, match=r"flow.method raft_large needs flow.weights. Received: none"):
        settings(flow={"method": "raft_large"})
    wrong = settings(flow={"method": "raft_large", "weights": str(weights["raft_small"])})
    with pytest.raises(RefusedError, match=r"a checkpoint must hold the tensors of raft_large"):
        refuse_unusable_weights(wrong)
    with pytest.raises(RefusedError, match=r"flow.method must be a standard one.*Received: \"raft_large\""):
        standard_tools(wrong)
    missing = settings(segmentation={"method": "u2net", "weights": "none.pth"})
    with pytest.raises(RefusedError, match=r"none\.pth"):
        refuse_unusable_weights(missing)
