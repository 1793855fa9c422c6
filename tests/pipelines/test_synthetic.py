"""Generated recordings: layout, determinism, ground truth, and a class that lies in motion alone."""

from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.config import parse_settings
from pipelines.schema import JOINTS, RefusedError
from pipelines.synthetic import SyntheticSettings, generate
from pipelines.synthetic import generate as generate_function
from pipelines.synthetic.background import FAMILIES
from pipelines.synthetic.kinematics import pose_skeleton, sample_proportions, schema_joints
from pipelines.synthetic.motion import ANGLES, GROUPS, MOVEMENTS, sample_angles, sample_temper
from pipelines.synthetic.recording import sample_recording

SMALL = {"width": 320, "height": 240}
CLASSES = ("WMs", "FMs", "PR")


def small(**values: object) -> SyntheticSettings:
    return SyntheticSettings(**{**SMALL, **values})


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "set"
    generate(out, small(ground_truth=True, mask_every=3), subjects=6, seconds=0.5, seed=4)
    return out


def test_layout_and_manifest(data: Path) -> None:
    rows = list(csv.DictReader((data / "manifest.csv").open()))
    assert [row["label"] for row in rows] == [*CLASSES, *CLASSES]
    assert len({row["subject"] for row in rows}) == 6
    for row in rows:
        assert row["video"] == f"{row['label']}/{row['subject']}/video.mp4"
        assert row["group"] == row["subject"]
        assert 9 <= int(row["age_weeks"]) <= 20
    files = {f"{row['label']}/{row['subject']}/{name}" for row in rows for name in ("video.mp4", "truth.npz")}
    assert set(digests(data)) == files | {"manifest.csv"}


def test_videos_are_h264_of_the_asked_size_rate_and_length(data: Path) -> None:
    with av.open(str(data / "WMs/infant_001/video.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height, stream.average_rate) == (320, 240, 30)
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(times, np.arange(15) / 30, atol=1e-3)


def test_same_seed_same_bytes_whatever_the_workers_and_the_number(data: Path, tmp_path: Path) -> None:
    settings = small(ground_truth=True, mask_every=3)
    generate(tmp_path / "again", settings, subjects=3, seconds=0.5, seed=4, workers=2)
    generate(tmp_path / "other", settings, subjects=3, seconds=0.5, seed=5)
    first, again, other = digests(data), digests(tmp_path / "again"), digests(tmp_path / "other")
    videos = [name for name in again if name != "manifest.csv"]
    assert len(videos) == 6
    for name in videos:
        assert first[name] == again[name]
        assert first[name] != other[name]


def test_progress_counts_every_video(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    generate(
        tmp_path, small(), subjects=3, seconds=0.1, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_truth_masks_unpack_and_hold_the_visible_joints(data: Path) -> None:
    for path in data.rglob("truth.npz"):
        truth = np.load(path)
        masks = np.unpackbits(truth["masks"], axis=2, count=int(truth["width"]))
        assert masks.shape == (5, 240, 320)
        assert truth["mask_frames"].tolist() == [0, 3, 6, 9, 12]
        assert truth["joints"].shape == (15, len(JOINTS), 3)
        assert truth["joints"].dtype == np.float32
        assert 0.04 < masks.mean() < 0.25
        for mask, joints in zip(masks, truth["joints"][truth["mask_frames"]], strict=True):
            x, y = np.round(joints[joints[:, 2] == 1, :2]).astype(int).T
            assert len(x) > 15
            assert mask[y, x].mean() > 0.98


def test_mask_is_where_the_body_changed_the_picture() -> None:
    recording = sample_recording(2, small(distractors=0, shake_px=0), seconds=0.1, seed=8)
    picture, mask = next(recording.frames())
    empty = recording.scene.frame(0, recording.camera, (320, 240))
    changed = np.abs(picture.astype(int) - empty).max(-1) > 12
    assert changed[mask > 0].mean() > 0.9
    # Beyond the mask there is but a soft shadow: it never brightens.
    assert (picture[mask == 0].astype(int) - empty[mask == 0]).max() <= 60
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize(
    ("roll", "head"), [(0.0, (0, -1)), (90.0, (1, 0)), (180.0, (0, 1)), (270.0, (-1, 0))]
)
def test_roll_turns_clockwise_from_head_up(roll: float, head: tuple[int, int]) -> None:
    recording = sample_recording(0, small(roll_degrees=(roll, roll)), seconds=0.2, seed=3)
    joints = recording.joints[0, :, :2]
    upward = joints[JOINTS.index("nose")] - joints[
        [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
    ].mean(0)
    assert upward @ np.array(head) / np.linalg.norm(upward) > 0.9


def test_infants_left_is_on_the_right_of_the_picture_when_its_head_is_up() -> None:
    recording = sample_recording(1, small(roll_degrees=(0.0, 0.0)), seconds=1, seed=3)
    x = {name: recording.joints[:, i, 0] for i, name in enumerate(JOINTS)}
    for part in ("shoulder", "hip", "ear", "eye"):
        assert (x[f"left_{part}"] > x[f"right_{part}"]).all(), part
    assert (x["mouth_left"] > x["mouth_right"]).all()


def test_shake_moves_ground_and_body_together() -> None:
    calm = sample_recording(0, small(shake_px=0), seconds=1, seed=6)
    shaken = sample_recording(0, small(shake_px=4), seconds=1, seed=6)
    np.testing.assert_array_equal(calm.angles, shaken.angles)
    moved = shaken.joints[:, :, :2] - calm.joints[:, :, :2]
    assert 1 < np.sqrt((moved**2).sum(-1).mean()) < 12
    for k in (0, 12, 29):
        # The move that the joints tell, fitted, must carry the still ground onto the shaken one.
        still = np.column_stack([calm.joints[k, :, :2], np.ones(len(JOINTS))])
        fitted, residual, *_ = np.linalg.lstsq(still, shaken.joints[k, :, :2], rcond=None)
        assert residual.max() < 1e-3
        ground = calm.scene.frame(k, calm.camera, (320, 240)).astype(int)
        expected = cv2.warpAffine(ground.astype(np.uint8), fitted.T, (320, 240)).astype(int)[30:-30, 30:-30]
        filmed = shaken.scene.frame(k, shaken.camera, (320, 240)).astype(int)[30:-30, 30:-30]
        assert np.abs(filmed - expected).mean() < 0.3 * np.abs(filmed - ground[30:-30, 30:-30]).mean()


def _families(mode: str, seed: int = 0, number: int = 6) -> list[tuple[str, str]]:
    settings = SyntheticSettings(width=64, height=64, background_by_class=mode, clutter=0)
    recordings = [sample_recording(i, settings, seconds=0.1, seed=seed) for i in range(number)]
    return [(recording.label, recording.family) for recording in recordings]


def test_backgrounds_go_with_against_or_without_the_class() -> None:
    bound, crossed = dict(_families("with")), dict(_families("against"))
    assert len(set(bound.values())) == 3
    assert set(_families("with")) == set(bound.items())
    assert set(_families("against")) == set(crossed.items())
    for k, label in enumerate(CLASSES):
        assert crossed[label] == bound[CLASSES[(k + 1) % 3]]
        assert crossed[label] != bound[label]
    free = _families("random", number=24)
    for label in CLASSES:
        assert len({family for name, family in free if name == label}) >= min(4, len(FAMILIES))


def test_background_mode_changes_neither_subject_nor_movement() -> None:
    one, two = (
        sample_recording(1, small(background_by_class=mode), seconds=0.5, seed=1)
        for mode in ("with", "against")
    )
    np.testing.assert_array_equal(one.joints, two.joints)
    np.testing.assert_array_equal(one.body.head, two.body.head)


# --- movement ---------------------------------------------------------------------------------------

SUBJECTS, SECONDS, FPS = 30, 24, 6
_ENDS = [JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("wrist", "ankle")]


@pytest.fixture(scope="module")
def tracks() -> dict[str, np.ndarray]:
    """Class -> (subjects, T, 4 wrists and ankles, 2), torso lengths, six a second."""
    out: dict[str, list[np.ndarray]] = {label: [] for label in CLASSES}
    for i in range(SUBJECTS):
        rng = np.random.default_rng([i, 123])
        size = sample_proportions(rng)
        for label in CLASSES:
            angles = sample_angles(rng, label, sample_temper(rng), SECONDS * FPS, FPS)
            out[label].append(schema_joints(pose_skeleton(angles, size).points)[:, _ENDS, :2])
    return {label: np.array(values) for label, values in out.items()}


def _turns_per_second(track: np.ndarray) -> np.ndarray:
    """Changes of direction a second along x and y, one number a subject."""
    velocity = np.diff(track, axis=1)
    return (np.sign(velocity[:, 1:]) != np.sign(velocity[:, :-1])).mean((1, 2, 3)) * FPS


def test_fidgety_movements_change_direction_most(tracks: dict[str, np.ndarray]) -> None:
    turns = {label: _turns_per_second(track) for label, track in tracks.items()}
    assert turns["FMs"].min() > 1.5 * max(turns["WMs"].max(), turns["PR"].max())


def test_fidgety_movements_are_small_and_in_every_limb(tracks: dict[str, np.ndarray]) -> None:
    fidgety = tracks["FMs"]
    second = FPS
    smooth = np.apply_along_axis(lambda v: np.convolve(v, np.ones(second) / second, "valid"), 1, fidgety)
    quick = fidgety[:, second // 2 : second // 2 + smooth.shape[1]] - smooth
    size = np.sqrt((quick**2).sum(-1).mean(1))  # (subjects, limbs)
    assert 0.02 < np.median(size) < 0.12
    assert (size.min(1) > 0.25 * size.max(1)).mean() > 0.8


def test_poor_repertoire_repeats_itself(tracks: dict[str, np.ndarray]) -> None:
    def likeness(track: np.ndarray) -> float:
        """Best correlation of the movement with itself 1.7 to 3.7 seconds later."""
        speed = np.diff(track, axis=0).reshape(len(track) - 1, -1)
        lags = range(10, 23)
        return max(float(np.corrcoef(speed[lag:].ravel(), speed[:-lag].ravel())[0, 1]) for lag in lags)

    like = {label: np.array([likeness(t) for t in track]) for label, track in tracks.items()}
    assert np.median(like["PR"]) > 0.4
    assert np.median(like["PR"]) > 1.5 * np.median(like["WMs"])
    assert np.median(like["PR"]) > 3 * np.median(like["FMs"])


def test_poor_repertoire_moves_in_most_windows_and_least(tracks: dict[str, np.ndarray]) -> None:
    speed = {label: np.linalg.norm(np.diff(t, axis=1), axis=-1) * FPS for label, t in tracks.items()}
    windows = speed["PR"][:, : 7 * 3 * FPS].reshape(SUBJECTS, 7, 3 * FPS, 4)
    assert (windows.max((2, 3)) > 0.2).mean() > 0.85
    assert np.median(speed["PR"].mean((1, 2))) < np.median(speed["WMs"].mean((1, 2)))


def test_mean_speed_of_writhing_and_fidgety_subjects_overlaps(tracks: dict[str, np.ndarray]) -> None:
    speed = {k: (np.linalg.norm(np.diff(t, axis=1), axis=-1) * FPS).mean((1, 2)) for k, t in tracks.items()}
    assert np.percentile(speed["WMs"], 80) > np.percentile(speed["FMs"], 20)


@pytest.mark.parametrize("limb", ["left_arm", "right_leg"])
def test_an_odd_limb_moves_as_another_class_and_the_rest_stays(limb: str) -> None:
    plain = sample_recording(1, small(), seconds=8, seed=5)
    odd = sample_recording(1, small(odd_limb=limb, odd_movement="WMs"), seconds=8, seed=5)
    assert plain.label == odd.label == "FMs"
    columns = list(GROUPS[limb])
    rest = [column for column in range(len(ANGLES)) if column not in columns]
    np.testing.assert_array_equal(odd.angles[:, rest], plain.angles[:, rest])
    # What writhes goes far and slowly.
    assert (np.ptp(odd.angles[:, columns], axis=0) > 1.5 * np.ptp(plain.angles[:, columns], axis=0)).any()
    assert odd.roll_degrees == plain.roll_degrees
    assert odd.family == plain.family


@pytest.mark.parametrize("odd", [{"odd_limb": "tail", "odd_movement": "WMs"}, {"odd_limb": "left_arm"}])
def test_an_odd_limb_needs_a_limb_and_a_class(odd: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="odd_limb must be one of left_arm, right_arm"):
        small(**odd)


def test_posture_of_a_single_frame_does_not_tell_the_class() -> None:
    frames: dict[str, np.ndarray] = {}
    for label in MOVEMENTS:
        postures = []
        for i in range(400):
            rng = np.random.default_rng([i, CLASSES.index(label)])
            postures.append(sample_angles(rng, label, sample_temper(rng), 60, 6)[i % 60])
        frames[label] = np.array(postures)
    deviation = frames["WMs"].std(0)
    for label in ("FMs", "PR"):
        shift = np.abs(frames[label].mean(0) - frames["WMs"].mean(0)) / deviation
        # 26 angles, 400 frames a class: chance alone gives shifts of some 0.07.
        assert shift.max() < 0.35, ANGLES[int(shift.argmax())]
        ratio = frames[label].std(0) / deviation
        assert 0.75 < ratio.min() <= ratio.max() < 1.35


# --- refusals ---------------------------------------------------------------------------------------


def test_refuses_a_folder_that_holds_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(RefusedError, match="must be new or empty"):
        generate(tmp_path, small(), subjects=3, seconds=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_refuses_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RefusedError, match="must be a folder"):
        generate(tmp_path / "file", small(), subjects=3, seconds=0.1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder nobody can write to")
def test_refuses_an_unwritable_folder() -> None:
    with pytest.raises(RefusedError, match="must be writable"):
        generate(Path("/proc/tfgma"), small(), subjects=3, seconds=0.1)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"subjects": 2}, "subjects must be at least 3.*Received: 2"),
        ({"seconds": 0.0}, "seconds must hold at least one frame.*Received: 0"),
        ({"seed": -1}, "seed must be 0 or above.*Received: -1"),
        ({"workers": 0}, "workers must be at least 1.*Received: 0"),
    ],
)
def test_refuses_numbers_out_of_range(tmp_path: Path, values: dict[str, float], match: str) -> None:
    with pytest.raises(RefusedError, match=match):
        generate(tmp_path / "new", small(), **{"subjects": 3, "seconds": 0.1, **values})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "values",
    [{"classes": ("WMs", "XYZ")}, {"classes": ("PR", "PR")}, {"light": (1.2, 0.8)}, {"torso_share": (0, 1)}],
)
def test_refuses_settings_that_contradict_themselves(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="Received"):
        SyntheticSettings(**values)


def test_refuses_an_unknown_setting() -> None:
    with pytest.raises(RefusedError, match="unknown key shaking"):
        parse_settings({"shaking": 3}, SyntheticSettings, "synthesize")


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("sys").modules[generate_function.__module__]

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_manifest", full_disk)
    with pytest.raises(RefusedError, match=r"have room.*No space left"):
        generate(tmp_path / "new", small(), subjects=3, seconds=0.1)
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedError, match="have room"):
        generate(tmp_path / "empty", small(), subjects=3, seconds=0.1)
    assert os.listdir(tmp_path / "empty") == []


def test_an_interruption_with_workers_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "new", small(), subjects=6, seconds=1, workers=2, progress=interrupt)
    assert not (tmp_path / "new").exists()


def test_classes_can_be_a_subset_in_another_order(tmp_path: Path) -> None:
    manifest = generate(tmp_path, small(classes=("PR", "WMs")), subjects=4, seconds=0.1)
    assert [row["label"] for row in csv.DictReader(manifest.open())] == ["PR", "WMs", "PR", "WMs"]
