import zipfile

import numpy as np
import pytest

from pipelines.detectors import anchors
from pipelines.palm_network import DETECTOR_CELLS, PalmNetwork, palm_network
from pipelines.pose_model import pose_model
from pipelines.schema import RefusedError
from pipelines.squares import Square

SIZE = 192


@pytest.fixture(scope="module")
def network():
    return palm_network(pose_model())


def test_the_network_s_own_shapes_are_those_that_are_decoded(network):
    outputs = network._detector.run(np.zeros((SIZE, SIZE, 3), np.float32))
    count = len(anchors(DETECTOR_CELLS))
    assert sorted(one.shape for one in outputs) == [(count, 1), (count, 18)]
    assert network._detector.size == SIZE


def test_no_palm_is_seen_where_there_is_none(network):
    grey = np.full((200, 300, 3), 120, np.uint8)
    assert network.detect(grey, Square(150, 100, 0, 200), 0.5) == []


def test_answers_are_placed_in_the_frame_however_the_square_is_turned(network, monkeypatch):
    """One cell tells of a palm: box, wrist and middle knuckle come out where they lie in the frame."""
    square = Square(150, 100, 90, 96)
    wanted = np.array([[130, 90], [0, 0], [120, 90], [0, 0], [140, 95]], float)
    inside = square.points(wanted, SIZE)
    places = anchors(DETECTOR_CELLS) * SIZE
    boxes, logits = np.zeros((len(places), 18), np.float32), np.full((len(places), 1), -9, np.float32)
    cell = 700
    logits[cell] = 3
    boxes[cell, :2] = inside[0] - places[cell]
    boxes[cell, 2:4] = 20, 24
    boxes[cell, 4:6] = inside[2] - places[cell]
    boxes[cell, 8:10] = inside[4] - places[cell]
    monkeypatch.setattr(network._detector, "run", lambda picture: [boxes, logits])
    (palm,) = network.detect(np.zeros((200, 300, 3), np.uint8), square, 0.5)
    np.testing.assert_allclose(palm.center, wanted[0], atol=1e-3)
    np.testing.assert_allclose(palm.wrist, wanted[2], atol=1e-3)
    np.testing.assert_allclose(palm.knuckle, wanted[4], atol=1e-3)
    assert palm.side_px == pytest.approx(24 * 96 / SIZE)
    assert palm.score == pytest.approx(1 / (1 + np.exp(-3)))


def test_a_file_without_the_detector_has_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "poses.task", "w") as bundle:
        bundle.writestr("pose_detector.tflite", b"")
    assert palm_network(tmp_path / "poses.task") is None


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_what_is_no_bundle_is_refused(tmp_path, content):
    (tmp_path / "x.task").write_bytes(content)
    with pytest.raises(RefusedError, match=r"must be a MediaPipe .task file. Received: x.task"):
        palm_network(tmp_path / "x.task")


def test_a_broken_detector_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.task", "w") as bundle:
        bundle.writestr("palm_detector.tflite", b"no network")
    with pytest.raises(RefusedError, match=r"Received: x.task"):
        palm_network(tmp_path / "x.task")
    with pytest.raises(ValueError, match=r".+"):
        PalmNetwork(b"no network")
