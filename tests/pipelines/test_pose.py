import hashlib
import shutil
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from pipelines import pose_model as model_room
from pipelines.pose import BodyFinder, JointSmoother, overlap
from pipelines.pose_model import assemble, careful_model, careful_part, pose_model, with_normalization
from pipelines.schema import JOINTS, RefusedError
from pipelines.video import sample_frames


@pytest.fixture(scope="module")
def finder():
    with BodyFinder(pose_model(), careful=careful_model()) as found:
        yield found


def truth_of(video):
    truth = np.load(video.with_name("truth.npz"))
    frames = list(sample_frames(video, 6))
    return frames[0].pixels, truth


def mask_of(truth, width):
    return np.unpackbits(truth["masks"][0], axis=-1)[:, :width].astype(bool)


def test_generated_infants_are_found_and_cut_out(infants, finder):
    scores, distances = [], []
    for video in sorted(infants.glob("*/*/video.mp4")):
        frame, truth = truth_of(video)
        finder.restart()
        body = finder.find(frame, 0)
        assert body is not None, video
        scores.append(overlap(body.mask, mask_of(truth, frame.shape[1])))
        big = [JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("shoulder", "hip")]
        distances.append(np.abs(body.joints[big, :2] - truth["joints"][0, big, :2]).mean())
    assert np.median(scores) > 0.9
    assert np.median(distances) < 12  # px of 640; left and right swapped would be far more


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_body_is_found_in_any_direction(infants, finder, quarter_turns):
    frame, truth = truth_of(sorted(infants.glob("*/*/video.mp4"))[0])
    turned = np.ascontiguousarray(np.rot90(frame, quarter_turns))
    finder.restart()
    body = finder.find(turned, 0)
    assert body is not None
    assert body.mask.shape == turned.shape[:2]
    assert overlap(body.mask, np.rot90(mask_of(truth, frame.shape[1]), quarter_turns)) > 0.85


def test_a_body_is_followed_through_a_video(infants, finder):
    video = sorted(infants.glob("*/*/video.mp4"))[3]
    truth = np.load(video.with_name("truth.npz"))
    finder.restart()
    scores = []
    for frame in sample_frames(video, 6):
        body = finder.find(frame.pixels, frame.seconds)
        assert body is not None
        if frame.index < len(truth["masks"]):
            mask = np.unpackbits(truth["masks"][frame.index], axis=-1)[:, : frame.pixels.shape[1]]
            scores.append(overlap(body.mask, mask.astype(bool)))
    assert np.median(scores) > 0.9
    assert min(scores) > 0.7


def test_a_body_that_is_gone_is_not_invented(infants, finder):
    """After the direction has settled the frame goes black, then the body comes back."""
    frame, _ = truth_of(sorted(infants.glob("*/*/video.mp4"))[0])
    finder.restart()
    shown = [frame] * 5 + [np.zeros_like(frame)] * 3 + [frame] * 3
    found = [finder.find(one, number / 6) is not None for number, one in enumerate(shown)]
    assert found == [True] * 5 + [False] * 3 + [True] * 3


def test_a_body_turned_over_is_found_in_its_new_direction(infants, finder):
    """The tracker follows the old direction; the other directions are tried where it fails."""
    frame, truth = truth_of(sorted(infants.glob("*/*/video.mp4"))[0])
    finder.restart()
    for number in range(5):
        assert finder.find(frame, number / 6) is not None
    later = [finder.find(np.rot90(frame, 2), number / 6) for number in range(5, 40)]
    good = [body for body in later if body is not None]
    mask = np.rot90(mask_of(truth, frame.shape[1]), 2)
    assert good
    assert overlap(good[-1].mask, mask) > 0.8


@pytest.mark.parametrize("what", ["black", "noise", "ramp"])
def test_nobody_is_found_where_nobody_is(finder, what):
    rng = np.random.default_rng(0)
    frame = {
        "black": np.zeros((480, 640, 3), np.uint8),
        "noise": rng.integers(0, 256, (480, 640, 3), np.uint8),
        "ramp": np.broadcast_to(
            np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 640, 3)
        ).copy(),
    }[what]
    finder.restart()
    assert finder.find(frame, 0) is None


def test_the_model_is_assembled_once_and_the_same_everywhere(tmp_path, monkeypatch):
    with zipfile.ZipFile(pose_model()) as bundle:
        names = ["palm_detector.tflite", "pose_detector.tflite", "pose_landmarks_detector.tflite"]
        assert sorted(bundle.namelist()) == names
        assert {entry.compress_type for entry in bundle.infolist()} == {zipfile.ZIP_STORED}
    monkeypatch.setenv("TFGMA_CACHE", str(tmp_path))
    shutil.copy(pose_model_of_user(monkeypatch), tmp_path / model_room.FILE_NAME)
    monkeypatch.setattr(model_room, "fetch_wheel", lambda folder: pytest.fail("fetched again"))
    assert pose_model() == tmp_path / model_room.FILE_NAME


def pose_model_of_user(monkeypatch):
    with monkeypatch.context() as context:
        context.delenv("TFGMA_CACHE")
        return pose_model()


def test_metadata_gives_the_input_normalisation():
    from pipelines.optional import load_mediapipe

    metadata = load_mediapipe("mediapipe.tasks.metadata.metadata_schema_py_generated")
    schema = load_mediapipe("mediapipe.tasks.metadata.schema_py_generated")
    with zipfile.ZipFile(pose_model()) as bundle:
        content = bundle.read("pose_detector.tflite")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (entry,) = [one for one in model.metadata if one.name == b"TFLITE_METADATA"]
    buffer = bytes(model.buffers[entry.buffer].data)
    assert metadata.ModelMetadata.ModelMetadataBufferHasIdentifier(buffer, 0)
    tree = metadata.ModelMetadataT.InitFromObj(metadata.ModelMetadata.GetRootAs(buffer, 0))
    (tensor,) = tree.subgraphMetadata[0].inputTensorMetadata
    options = tensor.processUnits[0].options
    assert (list(options.mean), list(options.std)) == ([127.5], [127.5])
    assert with_normalization(content, 127.5, 127.5)[4:8] == b"TFL3"


def test_a_wheel_with_another_network_is_refused(tmp_path):
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, *_ in model_room.PARTS.values():
            archive.writestr(path, b"another network")
    with pytest.raises(RefusedError, match=r"pose_detector.tflite must have SHA-256 9ba9.*Received: "):
        assemble(wheel, tmp_path / "cache" / "model.task")
    assert not (tmp_path / "cache").exists()


def test_the_careful_network_is_fetched_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TFGMA_CACHE", str(tmp_path))
    model = careful_model()
    assert hashlib.sha256(model.read_bytes()).hexdigest() == model_room.CAREFUL_SHA256
    assert list(tmp_path.iterdir()) == [model]
    monkeypatch.setattr(model_room, "fetch_package", lambda folder: pytest.fail("fetched again"))
    assert careful_model() == model


def test_a_package_with_another_network_is_refused(tmp_path):
    (tmp_path / "other.tflite").write_bytes(b"another network")
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(tmp_path / "other.tflite", model_room.CAREFUL_PART)
    with pytest.raises(RefusedError, match=r"pose_landmark_heavy.tflite must have SHA-256 59e4.*Received: "):
        careful_part(tmp_path / "package.tgz")


@pytest.mark.parametrize("fault", ["no npm", "no package"])
def test_no_careful_network_is_one_sentence(tmp_path, monkeypatch, fault):
    monkeypatch.setenv("TFGMA_CACHE", str(tmp_path))
    if fault == "no npm":
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(model_room, "PACKAGE", "@mediapipe/pose@0.0.0")
    with pytest.raises(RefusedError, match=r"which npm fetches. Received: .+ set pose.careful to false$"):
        careful_model()
    assert not list(tmp_path.iterdir())


def test_no_wheel_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(model_room, "WHEEL", "mediapipe==0.0.0")
    with pytest.raises(RefusedError, match=r"which pip could not fetch.*set pose.model to a .task file"):
        model_room.fetch_wheel(tmp_path)


def test_a_file_that_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "m.task").write_text("no zip")
    with pytest.raises(RefusedError, match=r"pose.model must be a MediaPipe .task file"):
        pose_model(str(tmp_path / "m.task"))


def test_still_joints_are_steadied_and_fast_ones_are_not():
    rng = np.random.default_rng(0)
    smoother, still = JointSmoother(), []
    for step in range(60):
        still.append(smoother.smooth(100 + 0.2 * rng.normal(size=(33, 2)), step / 6, 300))
    assert np.std(still[10:]) < 0.15  # px; 0.2 as seen
    smoother, fast = JointSmoother(), []
    for step in range(12):
        fast.append(smoother.smooth(np.full((1, 2), 40.0 * step), step / 6, 300))
    assert fast[-1][0, 0] == pytest.approx(440, rel=0.02)


@pytest.fixture(scope="module")
def two_infants(infants):
    """Frames of two generated infants side by side."""
    left, right = sorted(infants.glob("*/*/video.mp4"))[:2]
    pairs = zip(sample_frames(left, 6), sample_frames(right, 6), strict=False)
    return [np.hstack([first.pixels, second.pixels]) for first, second in pairs][:8]


@pytest.mark.parametrize(("box", "half"), [((0, 0, 0.5, 1), 0), ((0.5, 0, 0.5, 1), 1)])
def test_of_two_people_the_one_in_the_box_is_followed_and_the_other_cut_out(two_infants, box, half):
    with BodyFinder(pose_model()) as finder:
        finder.restart(box)
        bodies = [finder.find(frame, number / 6) for number, frame in enumerate(two_infants)]
    assert all(bodies)
    middle = two_infants[0].shape[1] // 2
    for body in bodies:
        sides = body.mask[:, :middle].sum(), body.mask[:, middle:].sum()
        assert sides[1 - half] < 0.02 * sides[half]
    assert [body.people for body in bodies] == [1] * len(bodies)


def test_nobody_in_the_box_is_nobody(two_infants):
    with BodyFinder(pose_model()) as finder:
        finder.restart((0.45, 0, 0.1, 0.1))
        assert finder.find(two_infants[0], 0.0) is None
        finder.restart()
        assert finder.find(two_infants[0], 0.0) is not None
