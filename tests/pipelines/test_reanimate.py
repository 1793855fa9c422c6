"""Recorded joints shown by generated infants: the movement stays, the child does not."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.joint_features import joint_features
from pipelines.reanimate import DEFAULTS, reanimate
from pipelines.schema import FEATURE_JOINTS, JOINTS, TORSO_JOINTS, RefusedError
from pipelines.synthetic import SyntheticSettings
from pipelines.synthetic.fitting import FADE_SECONDS, fit_track
from pipelines.synthetic.kinematics import limb_angles, pose_skeleton
from pipelines.synthetic.motion import ANGLES, REST
from pipelines.synthetic.recording import Recording, follow_recording, sample_recording
from pipelines.synthetic.track import steady_track
from tests.pipelines.test_sequences import write_deeplabcut, write_openpose

FPS = 30
SECONDS = 6
SMALL = SyntheticSettings(width=320, height=240, shake_px=0, fps=FPS, distractors=0, clutter=0)
BODY = [JOINTS.index(name) for name in FEATURE_JOINTS if name != "neck"]
ENDS = [
    BODY.index(JOINTS.index(f"{side}_{part}")) for side in ("left", "right") for part in ("wrist", "ankle")
]

# Bones of two bodies differ by 0.06 * sqrt(2) of their length, and joints lie half a torso from the trunk.
OTHER_BODY = 0.06 * 2**0.5 * 0.5
# The same body's bones are known as well as the spread lets guess them.
SAME_BODY = 0.06 * 0.5
# Fidgety movements of 2 a second that come one frame late agree by cos(2 pi 2 / 30) = 0.91.
AGREEMENT = 0.95


def recorded(index: int = 0, seconds: float = SECONDS, seed: int = 5, **values: object) -> Recording:
    """Of class WMs, FMs, PR for index 0, 1, 2."""
    return sample_recording(index, SMALL.model_copy(update=values), seconds=seconds, seed=seed)


def pose_of(recording: Recording) -> np.ndarray:
    """(T, 33, 3) joints, all of them seen."""
    pose = recording.joints.copy()
    pose[..., 2] = 0.9
    return pose


def coco(pose: np.ndarray) -> np.ndarray:
    """(T, 33, 3) -> (T, 18, 3)."""
    shoulders = pose[:, [JOINTS.index("left_shoulder"), JOINTS.index("right_shoulder")]].mean(axis=1)
    return np.stack(
        [shoulders if name == "neck" else pose[:, JOINTS.index(name)] for name in FEATURE_JOINTS], axis=1
    )


def followed(pose: np.ndarray, index: int, fps: float = FPS, seed: int = 5) -> Recording:
    fit = fit_track(steady_track(pose, fps, FPS, 0.1), FPS)
    return follow_recording(index, SMALL, fit, label="", seed=seed)


def aligned(new: np.ndarray, old: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 17) complex joints of both, torso lengths, after the one best similarity of the recording."""
    a, b = (pose[:, BODY, 0].astype(float) + 1j * pose[:, BODY, 1] for pose in (new, old))
    torso = old[:, TORSO_JOINTS, :2].astype(float)
    length = np.median(np.linalg.norm(torso[:, :2].mean(axis=1) - torso[:, 2:].mean(axis=1), axis=1))
    a, b = a - a.mean(), b - b.mean()
    return a * np.vdot(a, b) / np.vdot(a, a) / length, b / length


def error(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """(T, 17) torso lengths."""
    a, b = aligned(new, old)
    return np.abs(a - b)


def agreement(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Correlations of the velocities of wrists and ankles, of those that move 0.05 torsos a second."""
    a, b = (np.diff(one[:, ENDS], axis=0) for one in aligned(new, old))
    moving = np.abs(b).mean(axis=0) > 0.05 / FPS
    assert moving.any()
    a, b = a[:, moving] - a[:, moving].mean(axis=0), b[:, moving] - b[:, moving].mean(axis=0)
    across = np.sum(a.real * b.real + a.imag * b.imag, axis=0)
    return across / np.sqrt(np.sum(np.abs(a) ** 2, axis=0) * np.sum(np.abs(b) ** 2, axis=0))


# --- fidelity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("other", "limit"), [(0, SAME_BODY), (100, OTHER_BODY)])
def test_the_movement_stays(other: int, limit: float) -> None:
    errors = []
    for index in range(3):
        pose = pose_of(recorded(index))
        shown = followed(pose, index + other).joints
        errors.append(error(shown, pose).mean())
        assert agreement(shown, pose).min() > AGREEMENT
    assert np.mean(errors) < limit


def test_limb_angles_undo_the_directions_of_a_limb() -> None:
    rng = np.random.default_rng(0)
    angles = np.tile(REST, (50, 1))
    columns = [
        ANGLES.index(f"left_{name}") for name in ("arm_abduction", "arm_elevation", "arm_twist", "elbow")
    ]
    angles[:, columns] = rng.uniform([-3, -1.5, -3, 0.1], [3, 1.5, 3, 3], (50, 4))
    points = pose_skeleton(angles, recorded().body.size).points
    rest = angles[:, [ANGLES.index(name) for name in ("trunk_sway", "trunk_bend", "trunk_twist")]]
    assert not rest.any()  # body and girdle coordinates are the same
    # The mattress lifts what would sink into it; take what stays clear.
    clear = (points["left_elbow"][:, 2] > 0.1) & (points["left_wrist"][:, 2] > 0.1)
    assert clear.sum() > 10
    upper = points["left_elbow"] - points["left_shoulder"]
    lower = points["left_wrist"] - points["left_elbow"]
    found = limb_angles(*(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (upper, lower)))
    np.testing.assert_allclose(found[clear], angles[clear][:, columns], atol=0.01)


def test_a_shortened_limb_turns_out_of_the_picture() -> None:
    pose = pose_of(recorded(1))
    shoulder, elbow = (pose[:, JOINTS.index(f"left_{p}"), :2] for p in ("shoulder", "elbow"))
    along = (elbow - shoulder) / np.linalg.norm(elbow - shoulder, axis=1, keepdims=True)
    torso = float(np.median(np.linalg.norm(pose[:, 11:13, :2].mean(1) - pose[:, 23:25, :2].mean(1), axis=1)))
    share = np.linspace(1, 0.5, len(pose))[:, None]
    pose[:, JOINTS.index("left_elbow"), :2] = shoulder + 0.46 * torso * share * along
    pose[:, JOINTS.index("left_wrist"), :2] += pose[:, JOINTS.index("left_elbow"), :2] - elbow
    fit = fit_track(steady_track(pose, FPS, FPS, 0.1), FPS)
    elevation = np.rad2deg(fit.angles[:, ANGLES.index("left_arm_elevation")])
    # Half as long means 60 degrees, less what comes nearer to the camera and looks larger for it.
    assert elevation[:10].mean() < 20
    assert 48 < elevation[-1] < 72


@pytest.mark.parametrize("degrees", [60, -60, 150])
def test_a_body_that_rolls_is_followed_to_its_side(degrees: float) -> None:
    recording = recorded(seconds=8)
    roll = np.deg2rad(degrees) * np.sin(np.pi * np.arange(240) / 240) ** 2
    skeleton = pose_skeleton(recording.angles, recording.body.size, roll)
    xy, _ = recording.camera.project(np.stack([skeleton.points[name] for name in JOINTS], axis=1))
    pose = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], axis=-1).astype(np.float32)
    fit = fit_track(steady_track(pose, FPS, FPS, 0.1), FPS)
    middle = np.rad2deg(fit.side_roll[115:125].mean())
    # The full width is known to a fifth: 150 degrees, 0.87 as wide, may be taken for 180.
    assert abs(middle - degrees) < 30
    assert abs(np.rad2deg(fit.side_roll[[0, -1]])).max() < 30
    assert error(followed(pose, 0).joints, pose).mean() < OTHER_BODY


def test_place_and_direction_over_time_are_followed() -> None:
    pose = pose_of(recorded(2))
    whole = pose[..., 0] - 160 + 1j * (pose[..., 1] - 120)
    whole = (
        whole * np.exp(1j * np.linspace(0, 2.5, len(pose)))[:, None] + np.linspace(0, 90, len(pose))[:, None]
    )
    pose[..., 0], pose[..., 1] = whole.real, whole.imag
    shown = followed(pose, 2)
    assert error(shown.joints, pose).mean() < SAME_BODY
    # Far or not, all of it stays in the frame.
    assert shown.joints[..., :2].min() > 0
    assert (shown.joints[..., :2].max(axis=(0, 1)) < [320, 240]).all()


@pytest.mark.parametrize("fps", [12, 24, 60])
def test_any_frame_rate_keeps_its_time(fps: int) -> None:
    pose = pose_of(recorded(0, fps=fps))
    shown = followed(pose, 100, fps=fps).joints
    assert len(shown) == SECONDS * FPS
    times, at = np.arange(len(shown)) / FPS, np.arange(len(pose)) / fps
    columns = pose.reshape(len(pose), -1).T
    wanted = np.stack([np.interp(times, at, column) for column in columns], axis=1).reshape(shown.shape)
    assert error(shown, wanted).mean() < OTHER_BODY
    assert agreement(shown, wanted).min() > AGREEMENT


def test_the_size_of_the_recorded_picture_does_not_count() -> None:
    pose = pose_of(recorded(1))
    larger = pose.copy()
    larger[..., :2] = larger[..., :2] * 6 + 100
    np.testing.assert_allclose(followed(larger, 3).joints, followed(pose, 3).joints, atol=0.01)


# --- gaps, misreadings, noise -----------------------------------------------------------------------


def test_short_gaps_are_bridged() -> None:
    whole = pose_of(recorded(0))
    pose = whole.copy()
    pose[60:75, :, 2] = 0
    pose[120:130, JOINTS.index("left_wrist"), :2] = np.nan
    track = steady_track(pose, FPS, FPS, 0.1)
    assert track.seen.all()
    assert fit_track(track, FPS).seconds_at_rest == {}
    assert error(followed(pose, 0).joints, whole).mean() < SAME_BODY


def test_what_is_not_seen_for_long_comes_to_rest_and_is_reported() -> None:
    pose = pose_of(recorded(0))
    pose[60:135, JOINTS.index("left_wrist"), 2] = 0
    pose[:, JOINTS.index("right_ankle"), 2] = 0
    fit = fit_track(steady_track(pose, FPS, FPS, 0.1), FPS)
    assert fit.seconds_at_rest == {"left forearm": 2.5, "right shank": 6.0}
    faded = round(FADE_SECONDS * FPS)
    for name, frames in (("left_elbow", slice(60 + faded, 135 - faded)), ("right_knee", slice(None))):
        column = ANGLES.index(name)
        np.testing.assert_allclose(fit.angles[frames, column], REST[column], atol=1e-6)
    # It gets there without a jump: no faster than half a turn in the time of fading.
    step = np.abs(np.diff(fit.angles[:, ANGLES.index("left_elbow")])).max()
    assert step < np.pi / faded


def test_misread_joints_do_not_show() -> None:
    pose = pose_of(recorded(0))
    rng = np.random.default_rng(1)
    wrong = pose.copy()
    where = rng.uniform(size=pose.shape[:2]) < 0.02
    where[-1, JOINTS.index("right_knee")] = True
    wrong[where, :2] += rng.normal(0, 30, (where.sum(), 2))
    assert agreement(followed(wrong, 0).joints, pose).min() > AGREEMENT


def test_noise_is_halved() -> None:
    pose = np.repeat(pose_of(recorded(0))[:1], 300, axis=0)
    noisy = pose.copy()
    noisy[..., :2] += np.random.default_rng(0).normal(0, 1, noisy[..., :2].shape)
    assert 0.4 < (steady_track(noisy, FPS, FPS, 0.1).xy - pose[..., :2]).std() < 0.6


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_tracks_are_shown(frames: int) -> None:
    pose = pose_of(recorded(0))[:frames]
    assert error(followed(pose, 0).joints, pose).mean() < SAME_BODY


# --- files ------------------------------------------------------------------------------------------


def write_track(folder: Path, layout: str, pose: np.ndarray) -> Path:
    if layout == "deeplabcut":
        write_deeplabcut(folder / "anna.csv", coco(pose))
        return folder / "anna.csv"
    if layout == "openpose":
        write_openpose(folder / "anna", coco(pose))
        return folder / "anna"
    values = pose
    if layout == "stam":
        values = np.zeros((19, len(pose), 18))
        values[:7] = np.moveaxis(joint_features(coco(pose)[..., :2].astype(float), fps=FPS), -1, 0)
    np.save(folder / "anna.npy", values)
    return folder / "anna.npy"


@pytest.mark.parametrize("layout", ["deeplabcut", "openpose", "pose", "stam"])
def test_each_layout_is_shown(tmp_path: Path, layout: str) -> None:
    pose = pose_of(recorded(0, seconds=3))
    settings = SMALL.model_copy(update={"ground_truth": True, "mask_every": 30})
    poses = write_track(tmp_path, layout, pose)
    (shown,) = reanimate(poses, tmp_path / "out", settings, fps=FPS, seed=7)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["anna.mp4", "truth.npz"]
    assert (shown.video, shown.seconds, shown.seconds_at_rest) == ("anna.mp4", 3, {})
    joints = np.load(tmp_path / "out" / "truth.npz")["joints"]
    if layout == "stam":  # upright and smoothed over half a second by its own recipe
        places = np.moveaxis(np.load(poses)[:2], 0, -1)
        pose = np.zeros((len(places), len(JOINTS), 3))
        for index, name in enumerate(FEATURE_JOINTS):
            if name != "neck":
                pose[:, JOINTS.index(name), :2] = places[:, index]
    assert error(joints, pose).mean() < OTHER_BODY
    assert agreement(joints, pose).min() > AGREEMENT
    with av.open(str(tmp_path / "out" / "anna.mp4")) as container:
        assert len(list(container.decode(video=0))) == 90


def test_a_set_is_shown_without_names(tmp_path: Path) -> None:
    pose = coco(pose_of(recorded(0, seconds=1)))
    source = tmp_path / "source"
    for place in ("FMs/anna/first.csv", "FMs/anna/second.csv", "not FMs/berta/one.csv"):
        write_deeplabcut(source / place, pose)
    settings = SMALL.model_copy(update={"ground_truth": True})
    shown = reanimate(source, tmp_path / "out", settings)
    videos = ["FMs/infant_001/video.mp4", "FMs/infant_001/video_2.mp4", "not-FMs/infant_002/video.mp4"]
    assert [one.video for one in shown] == videos
    files = {
        p.relative_to(tmp_path / "out").as_posix(): p for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    truths = [name.replace("video", "truth").replace("mp4", "npz") for name in videos]
    assert set(files) == {*videos, *truths, "manifest.csv"}
    rows = list(csv.DictReader(files["manifest.csv"].open()))
    assert [row["video"] for row in rows] == videos
    assert [row["label"] for row in rows] == ["FMs", "FMs", "not FMs"]
    assert [row["subject"] for row in rows] == ["infant_001", "infant_001", "infant_002"]
    for path in files.values():
        content = path.read_bytes().lower()
        for word in (b"anna", b"berta", b"second", str(tmp_path).lower().encode()):
            assert word not in content, path
    with av.open(str(files[videos[0]])) as container:
        assert set(container.metadata) <= {"major_brand", "minor_version", "compatible_brands"}


def test_a_manifest_chooses_a_part_of_a_recording(tmp_path: Path) -> None:
    write_deeplabcut(tmp_path / "long.csv", coco(pose_of(recorded(0, seconds=3))))
    (tmp_path / "list.csv").write_text("video,subject,label,start,end\nlong.csv,anna,FMs,1,2.5\n")
    (shown,) = reanimate(tmp_path / "list.csv", tmp_path / "out", SMALL)
    assert shown.seconds == 1.5


def test_bones_are_those_of_the_seed_not_of_the_child() -> None:
    pose = pose_of(recorded(0))
    long = pose.copy()
    for side in ("left", "right"):
        knee = pose[:, JOINTS.index(f"{side}_knee"), :2]
        for part in ("ankle", "heel", "foot_index"):
            long[:, JOINTS.index(f"{side}_{part}"), :2] += 0.5 * (
                pose[:, JOINTS.index(f"{side}_ankle"), :2] - knee
            )
    one, two, other = followed(pose, 4), followed(long, 4), followed(pose, 4, seed=6)

    def shank(recording: Recording) -> float:
        points = recording.skeleton.points
        return float(np.median(np.linalg.norm(points["left_ankle"] - points["left_knee"], axis=1)))

    assert shank(one) == pytest.approx(shank(two), rel=0.02)
    assert one.body.size == two.body.size != other.body.size
    assert not np.array_equal(one.scene.ground, other.scene.ground)


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", pose_of(recorded(0, seconds=0.5)))
    content = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        reanimate(tmp_path / "t.npy", tmp_path / name, SMALL, seed=seed)
        content.append((tmp_path / name / "t.mp4").read_bytes())
    assert content[0] == content[1] != content[2]


def test_a_recording_brings_its_own_shake() -> None:
    assert SyntheticSettings(**DEFAULTS).shake_px == 0


# --- refusals ---------------------------------------------------------------------------------------


def without(*names: str) -> np.ndarray:
    pose = pose_of(recorded(0, seconds=0.5))
    pose[:, [any(name in joint for name in names) for joint in JOINTS], 2] = 0
    return pose


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (without(""), "must show a person.*Received: 15 frames without a joint"),
        (np.zeros((0, 33, 3), np.float32), "must show a person.*Received: 0 frames"),
        (np.full((4, 33, 3), np.nan, np.float32), "must show a person"),
        (without("left_hip"), "both shoulders and both hips"),
        (without("elbow", "wrist", "knee", "ankle"), "an elbow, wrist, knee or ankle"),
        (np.zeros((4, 17, 3), np.float32), r"must be \(T, 33, 3\) float.*Received: \(4, 17, 3\)"),
        (np.zeros((4, 33, 3), int), r"must be \(T, 33, 3\) float"),
    ],
)
def test_refuses_tracks_that_show_nobody(tmp_path: Path, array: np.ndarray, match: str) -> None:
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(RefusedError, match=match):
        reanimate(tmp_path / "t.npy", tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_refuses_what_holds_no_joints(tmp_path: Path) -> None:
    (tmp_path / "v.npy").write_text("no array")
    (tmp_path / "v.txt").write_text("no joints")
    (tmp_path / "FMs" / "anna").mkdir(parents=True)
    (tmp_path / "FMs" / "anna" / "v.mp4").touch()
    for name, match in (
        ("v.npy", "must be an array of NumPy"),
        ("v.txt", "must be a .csv, .h5 or .npy"),
        ("none.csv", "must name an existing file or folder"),
        (".", "must name recorded joints.*Received: the video v.mp4"),
    ):
        with pytest.raises(RefusedError, match=match):
            reanimate(tmp_path / name, tmp_path / "out", SMALL)


@pytest.mark.parametrize(
    ("values", "arguments", "match"),
    [
        ({}, {"fps": 0.0}, "must be a positive number. Received: 0"),
        ({}, {"fps": float("nan")}, "must be a positive number"),
        ({}, {"seed": -1}, "seed must be 0 or above"),
        ({"background_by_class": "with"}, {}, "backgrounds of re-animated recordings must be random"),
    ],
)
def test_refuses_numbers_and_settings(tmp_path: Path, values: dict, arguments: dict, match: str) -> None:
    np.save(tmp_path / "t.npy", pose_of(recorded(0, seconds=0.5)))
    with pytest.raises(RefusedError, match=match):
        reanimate(tmp_path / "t.npy", tmp_path / "out", SMALL.model_copy(update=values), **arguments)
    assert not (tmp_path / "out").exists()


def test_refuses_a_folder_that_holds_files(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", pose_of(recorded(0, seconds=0.5)))
    with pytest.raises(RefusedError, match="must be new or empty"):
        reanimate(tmp_path / "t.npy", tmp_path, SMALL)
