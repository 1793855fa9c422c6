import csv
import json
import pickle

import numpy as np
import pytest

from pipelines.keypoints import (
    LIMB_JOINTS,
    SYNONYMS,
    read_deeplabcut,
    read_openpose_folder,
    read_stam_sequences,
)
from pipelines.schema import FEATURE_JOINTS, RefusedError

BODY_25 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow"),
    *("left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee"),
    *("left_ankle", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe"),
    *("left_heel", "right_big_toe", "right_small_toe", "right_heel"),
)
PARTS = (*LIMB_JOINTS, "nose", "left_eye")


def person(x, score=0.9, joints=18):
    """(joints, 3): joint i at (x + i, 100 + i)."""
    places = np.arange(joints)
    return np.stack([x + places, 100.0 + places, np.full(joints, score)], axis=-1)


def write_frame(folder, number, *people, video="child"):
    folder.mkdir(exist_ok=True)
    text = {"version": 1.3, "people": [{"pose_keypoints_2d": list(one.ravel())} for one in people]}
    (folder / f"{video}_{number:012d}_keypoints.json").write_text(json.dumps(text))


# OpenPose


def test_openpose_frames_come_in_order_of_their_numbers(tmp_path):
    for number in (2, 10, 6):
        write_frame(tmp_path, number, person(number))
    sequence = read_openpose_folder(tmp_path, fps=25.0)
    assert sequence.fps == 25
    assert sequence.keypoints.dtype == np.float32
    np.testing.assert_allclose(sequence.keypoints, np.stack([person(x) for x in (2, 6, 10)]), rtol=1e-6)


def test_openpose_numbers_need_no_zeros_before(tmp_path):
    for number in (9, 10, 11):
        write_frame(tmp_path, number, person(number))
        (tmp_path / f"child_{number:012d}_keypoints.json").rename(tmp_path / f"child_{number}_keypoints.json")
    assert list(read_openpose_folder(tmp_path).keypoints[:, 0, 0]) == [9, 10, 11]


def test_body_25_is_mapped_by_name(tmp_path):
    write_frame(tmp_path, 0, person(0, joints=25))
    sequence = read_openpose_folder(tmp_path)
    assert sequence.fps is None
    expected = [BODY_25.index(name) for name in FEATURE_JOINTS]
    np.testing.assert_array_equal(sequence.keypoints[0, :, 0], expected)


def test_frames_without_a_person_have_score_0(tmp_path):
    write_frame(tmp_path, 0, person(0))
    write_frame(tmp_path, 1)
    write_frame(tmp_path, 2, person(2, score=0))
    keypoints = read_openpose_folder(tmp_path).keypoints
    assert keypoints[0].any()
    assert not keypoints[1:].any()


def test_the_surest_person_is_taken_first_and_then_followed(tmp_path):
    write_frame(tmp_path, 0, person(500, score=0.5), person(100, score=0.8))
    write_frame(tmp_path, 1, person(480, score=0.9), person(110, score=0.4))
    write_frame(tmp_path, 2)
    write_frame(tmp_path, 3, person(120, score=0.4), person(470, score=0.9))
    keypoints = read_openpose_folder(tmp_path).keypoints
    assert list(keypoints[:, 0, 0]) == [100, 110, 0, 120]


def test_likeness_counts_joints_found_in_both(tmp_path):
    half, far = person(102), person(300, score=0.99)
    half[9:] = 0
    write_frame(tmp_path, 0, person(100))
    write_frame(tmp_path, 1, far, half)
    np.testing.assert_allclose(read_openpose_folder(tmp_path).keypoints[1], half, rtol=1e-6)


def test_without_a_joint_in_common_the_surest_person_counts(tmp_path):
    first, second = person(100), person(100, score=0.5)
    first[9:], second[:9] = 0, 0
    third = second.copy()
    third[9:, 0] += 50
    third[9:, 2] = 0.7
    write_frame(tmp_path, 0, first)
    write_frame(tmp_path, 1, second, third)
    np.testing.assert_allclose(read_openpose_folder(tmp_path).keypoints[1], third, rtol=1e-6)


def test_unsure_joints_become_gaps(tmp_path):
    body = person(5)
    body[3, 2], body[4, 2], body[5, 2] = 0.2, 0, 0.3
    write_frame(tmp_path, 0, body)
    sequence = read_openpose_folder(tmp_path)
    gaps = np.isnan(sequence.with_gaps(0.25)).all(axis=-1)[0]
    assert list(np.flatnonzero(gaps)) == [3, 4]
    assert list(np.flatnonzero(np.isnan(sequence.with_gaps(0)).any(axis=-1)[0])) == [4]
    np.testing.assert_array_equal(sequence.with_gaps(0)[0, 6], [11, 106])


def test_refuses_folders_that_are_not_one_video(tmp_path):
    with pytest.raises(RefusedError, match=r"of one video\. Received: 0"):
        read_openpose_folder(tmp_path)
    write_frame(tmp_path, 0, person(0))
    write_frame(tmp_path, 1, person(0), video="other")
    with pytest.raises(RefusedError, match=r"of one video\. Received: 2"):
        read_openpose_folder(tmp_path)


def test_refuses_a_lost_frame_and_a_doubled_one(tmp_path):
    for number in (0, 1, 3):
        write_frame(tmp_path / "lost", number, person(0))
    with pytest.raises(RefusedError, match=r"evenly numbered\. Received: 3 after 1"):
        read_openpose_folder(tmp_path / "lost")
    write_frame(tmp_path / "doubled", 7, person(0))
    source = tmp_path / "doubled" / f"child_{7:012d}_keypoints.json"
    (tmp_path / "doubled" / "child_7_keypoints.json").write_text(source.read_text())
    with pytest.raises(RefusedError, match=r"evenly numbered\. Received: 7 after 7"):
        read_openpose_folder(tmp_path / "doubled")


def test_refuses_a_file_without_a_number(tmp_path):
    (tmp_path / "child_keypoints.json").write_text("{}")
    with pytest.raises(RefusedError, match=r"VIDEO_NUMBER_keypoints\.json\. Received: child_keypoints"):
        read_openpose_folder(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"people": [{}]}', '{"people": [{"pose_keypoints_2d": "a"}]}']
)
def test_refuses_other_files_of_json_and_names_them(tmp_path, text):
    (tmp_path / "child_0_keypoints.json").write_text(text)
    with pytest.raises(RefusedError, match=r"must hold people with pose_keypoints_2d\. .*child_0_keypoints"):
        read_openpose_folder(tmp_path)


@pytest.mark.parametrize("numbers", [[0.0] * 51, [float("nan")] * 54, [[0.0] * 54]])
def test_refuses_other_numbers_of_joints(tmp_path, numbers):
    text = json.dumps({"people": [{"pose_keypoints_2d": numbers}]})
    (tmp_path / "child_0_keypoints.json").write_text(text)
    with pytest.raises(RefusedError, match=r"54 or 75 finite numbers .*child_0_keypoints"):
        read_openpose_folder(tmp_path)


# DeepLabCut


def columns(parts=PARTS, coords=("x", "y", "likelihood")):
    return [("DLC_resnet50", part, coord) for part in parts for coord in coords]


def predictions(labels, frames=4):
    """(T, columns) with likelihoods in 0..1."""
    values = np.random.default_rng(0).uniform(10, 400, (frames, len(labels)))
    values[:, [label[-1] == "likelihood" for label in labels]] /= 400
    return values


def write_csv(path, labels, values):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for name, row in zip(("scorer", "bodyparts", "coords"), zip(*labels, strict=True), strict=True):
            writer.writerow([name, *row])
        for number, row in enumerate(values):
            writer.writerow([number, *("" if np.isnan(value) else value for value in row)])
    return path


def write_h5(path, labels, values, pickled=None):
    """What pandas 2 and 3 write with `to_hdf(path, key="df_with_missing", format="table")`."""
    h5py = pytest.importorskip("h5py")
    records = np.zeros(len(values), [("index", "i8"), ("values_block_0", "f8", (values.shape[1],))])
    records["index"], records["values_block_0"] = np.arange(len(values)), values
    with h5py.File(path, "w") as file:
        table = file.create_dataset("df_with_missing/table", data=records)
        table.attrs["values_block_0_kind"] = np.bytes_(pickled or pickle.dumps(labels, protocol=0))
    return path


WRITERS = {".csv": write_csv, ".h5": write_h5}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    def to_file(labels, values):
        return WRITERS[request.param](tmp_path / f"child{request.param}", labels, values)

    return to_file


def test_deeplabcut_is_mapped_by_name(write):
    labels = columns()
    values = predictions(labels)
    sequence = read_deeplabcut(write(labels, values), fps=60.0)
    assert sequence.fps == 60
    assert sequence.keypoints.shape == (4, 18, 3)
    assert sequence.keypoints.dtype == np.float32
    for number, part in enumerate(PARTS):
        expected = values[:, 3 * number : 3 * number + 3]
        np.testing.assert_allclose(
            sequence.keypoints[:, FEATURE_JOINTS.index(part)], expected, rtol=1e-6, err_msg=part
        )
    for name in ("right_eye", "left_ear", "right_ear"):
        assert not sequence.keypoints[:, FEATURE_JOINTS.index(name)].any()


def test_a_missing_neck_lies_between_the_shoulders_with_the_lower_score(write):
    labels = columns()
    values = predictions(labels)
    values[1, labels.index(("DLC_resnet50", "left_shoulder", "x"))] = np.nan
    keypoints = read_deeplabcut(write(labels, values)).keypoints
    shoulders = keypoints[:, [FEATURE_JOINTS.index("right_shoulder"), FEATURE_JOINTS.index("left_shoulder")]]
    neck = keypoints[:, FEATURE_JOINTS.index("neck")]
    np.testing.assert_allclose(neck[0, :2], shoulders[0, :, :2].mean(axis=0), rtol=1e-6)
    assert neck[0, 2] == shoulders[0, :, 2].min() > 0
    assert not shoulders[1, 1].any()
    assert not neck[1].any()


def test_a_neck_that_is_there_is_kept_and_other_body_parts_are_passed_over(write):
    labels = columns((*PARTS, "neck", "tail_base"))
    values = predictions(labels)
    keypoints = read_deeplabcut(write(labels, values)).keypoints
    place = labels.index(("DLC_resnet50", "neck", "x"))
    np.testing.assert_allclose(
        keypoints[:, FEATURE_JOINTS.index("neck")], values[:, place : place + 3], rtol=1e-6
    )


@pytest.mark.parametrize("spelling", ["RShoulder", "right shoulder", "Shoulder_R", "shoulder-right", "rsho"])
def test_spellings_of_a_joint(write, spelling):
    parts = tuple(spelling if part == "right_shoulder" else part for part in PARTS)
    labels = columns(parts)
    values = predictions(labels)
    keypoints = read_deeplabcut(write(labels, values)).keypoints
    place = parts.index(spelling) * 3
    np.testing.assert_allclose(
        keypoints[:, FEATURE_JOINTS.index("right_shoulder")], values[:, place : place + 3], rtol=1e-6
    )


def test_no_spelling_means_two_joints():
    spellings = [spelling for several in SYNONYMS.values() for spelling in several]
    assert len(spellings) == len(set(spellings))
    assert set(SYNONYMS) == set(FEATURE_JOINTS)


def test_refuses_missing_limbs_by_name(write):
    labels = columns(tuple(part for part in PARTS if part not in ("left_knee", "right_hip")))
    with pytest.raises(RefusedError, match=r"limbs' joints\. Received: .* without right_hip, left_knee"):
        read_deeplabcut(write(labels, predictions(labels)))


def test_refuses_two_parts_that_mean_one_joint(write):
    labels = columns((*PARTS, "LKnee"))
    with pytest.raises(RefusedError, match=r"must mean left_knee\. Received: left_knee and LKnee"):
        read_deeplabcut(write(labels, predictions(labels)))


def test_refuses_hand_labels_without_likelihood(write):
    labels = columns(coords=("x", "y"))
    with pytest.raises(
        RefusedError, match=r"must have x, y, likelihood\. Received: right_shoulder with x, y "
    ):
        read_deeplabcut(write(labels, predictions(labels)))


def test_refuses_several_animals(tmp_path):
    rows = [["scorer", "a"], ["individuals", "one"], ["bodyparts", "nose"], ["coords", "x"], ["0", "1"]]
    path = tmp_path / "child.csv"
    path.write_text("\n".join(",".join(row) for row in rows))
    with pytest.raises(RefusedError, match=r"for one animal\. Received: scorer, individuals, bodyparts"):
        read_deeplabcut(path)
    labels = [("a", "one", "nose", "x")]
    with pytest.raises(
        RefusedError, match=r"for a single animal\. Received: 1 columns labelled \[\('a', 'one'"
    ):
        read_deeplabcut(write_h5(tmp_path / "child.h5", labels, predictions(labels)))


def test_refuses_broken_tables(tmp_path):
    labels = columns()
    path = write_csv(tmp_path / "child.csv", labels, predictions(labels))
    text = path.read_text()
    path.write_text(text + "4,1,2\n")
    with pytest.raises(RefusedError, match=r"must have 43 cells\. Received: 3 in row 8 of .*child\.csv"):
        read_deeplabcut(path)
    path.write_text(text + ",".join(["4", *["word"] * 42]) + "\n")
    with pytest.raises(RefusedError, match=r"must hold numbers\. Received: .*word.* in .*child\.csv"):
        read_deeplabcut(path)
    path.write_text("")
    with pytest.raises(RefusedError, match=r"Received: nothing in .*child\.csv"):
        read_deeplabcut(path)


def test_refuses_other_endings_and_absent_files(tmp_path):
    with pytest.raises(RefusedError, match=r"must end in \.csv or \.h5\. Received: .*child\.xlsx"):
        read_deeplabcut(tmp_path / "child.xlsx")
    with pytest.raises(RefusedError, match=r"must exist\. Received: .*child\.csv"):
        read_deeplabcut(tmp_path / "child.csv")


def test_nothing_in_an_h5_is_executed(tmp_path):
    called = tmp_path / "called"

    class Attack:
        def __reduce__(self):
            return (open, (str(called), "w"))

    attack = pickle.dumps([Attack()], protocol=0)
    assert pickle.loads(attack)  # the attack is a real one
    assert called.exists()
    called.unlink()
    labels = columns()
    path = write_h5(tmp_path / "child.h5", labels, predictions(labels), pickled=attack)
    with pytest.raises(RefusedError, match=r"with plain labels\. Received: .*child\.h5 .*asks for "):
        read_deeplabcut(path)
    assert not called.exists()


def test_refuses_other_files_of_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "child.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(RefusedError, match=r"must hold a pandas table df_with_missing .*child\.h5"):
        read_deeplabcut(path)
    with h5py.File(path, "w") as file:
        file["df_with_missing/block0_values"] = np.zeros((3, 3))
    with pytest.raises(RefusedError, match=r"must hold a pandas table df_with_missing .*child\.h5"):
        read_deeplabcut(path)


# STAM


def write_stam(root, infants=("a", "b", "c", "d"), folds=2):
    for number, infant in enumerate(infants):
        folder = root / "pose_sequences" / infant
        folder.mkdir(parents=True)
        np.save(folder / "raw_skel.npy", number + np.arange(19 * 5 * 18).reshape(19, 5, 18) / 1000)
    labels = {infant: number % 2 for number, infant in enumerate(infants)}
    write_labels(root / "labels.txt", labels)
    split = root / "folds" / "random_split"
    split.mkdir(parents=True)
    for fold in range(folds):
        turned = infants[fold:] + infants[:fold]
        for side, names in (("train", turned[2:]), ("val", turned[1:2]), ("test", turned[:1])):
            write_labels(split / f"{side}_{fold:02d}.txt", {name: labels[name] for name in names})
    return root


def write_labels(path, labels):
    path.write_text("infant_id,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items()))


def test_stam_folder_is_read_as_it_was_written(tmp_path):
    sequences = read_stam_sequences(write_stam(tmp_path))
    assert sequences.labels == {"a": 0, "b": 1, "c": 0, "d": 1}
    assert sequences.folds == [(("c", "d"), ("b",), ("a",)), (("d", "a"), ("c",), ("b",))]
    assert set(sequences.features) == set(sequences.labels)
    written = np.load(tmp_path / "pose_sequences" / "c" / "raw_skel.npy")
    read = sequences.features["c"]
    assert read.dtype == np.float32
    assert read.shape == (5, 18, 7)
    for channel in range(7):
        np.testing.assert_allclose(read[..., channel], written[channel], rtol=1e-6)


def test_refuses_an_infant_without_a_label(tmp_path):
    write_stam(tmp_path)
    write_labels(tmp_path / "labels.txt", {"a": 0, "c": 0, "d": 1})
    with pytest.raises(RefusedError, match=r"every infant must have a line in .*labels\.txt\. Received: b"):
        read_stam_sequences(tmp_path)


def test_refuses_an_unknown_infant_in_a_fold(tmp_path):
    write_stam(tmp_path)
    write_labels(tmp_path / "folds" / "random_split" / "val_01.txt", {"z": 0})
    with pytest.raises(RefusedError, match=r"val_01\.txt must name infants in pose_sequences\. Received: z"):
        read_stam_sequences(tmp_path)


def test_refuses_an_infant_on_two_sides(tmp_path):
    write_stam(tmp_path)
    write_labels(tmp_path / "folds" / "random_split" / "test_01.txt", {"c": 0})
    with pytest.raises(RefusedError, match=r"on one side of a fold\. Received: c in val and test of fold 01"):
        read_stam_sequences(tmp_path)


def test_refuses_a_fold_with_another_label(tmp_path):
    write_stam(tmp_path)
    write_labels(tmp_path / "folds" / "random_split" / "test_01.txt", {"b": 0})
    with pytest.raises(RefusedError, match=r"agree with labels\.txt\. Received: b with 0, not 1"):
        read_stam_sequences(tmp_path)


def test_refuses_a_fold_without_one_side_and_a_folder_without_folds(tmp_path):
    write_stam(tmp_path)
    split = tmp_path / "folds" / "random_split"
    (split / "val_01.txt").unlink()
    with pytest.raises(RefusedError, match=r"must hold val_01\.txt"):
        read_stam_sequences(tmp_path)
    for file in split.iterdir():
        file.unlink()
    with pytest.raises(RefusedError, match=r"must hold folds/random_split/train_00\.txt"):
        read_stam_sequences(tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((6, 5, 18)),
        np.zeros((19, 5, 17)),
        np.zeros((19, 0, 18)),
        np.zeros((19, 18)),
        np.zeros((19, 5, 18), int),
    ],
)
def test_refuses_another_shape_and_names_the_file(tmp_path, array):
    write_stam(tmp_path)
    np.save(tmp_path / "pose_sequences" / "b" / "raw_skel.npy", array)
    with pytest.raises(
        RefusedError, match=r"\(7 or more, T, 18\) float\. Received: \(.* in .*b.raw_skel\.npy"
    ):
        read_stam_sequences(tmp_path)


def test_refuses_pickled_broken_and_absent_arrays(tmp_path):
    write_stam(tmp_path)
    path = tmp_path / "pose_sequences" / "b" / "raw_skel.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(RefusedError, match=r"array of NumPy\. Received: .*b.raw_skel\.npy .*allow_pickle"):
        read_stam_sequences(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(RefusedError, match=r"array of NumPy\. Received: .*b.raw_skel\.npy"):
        read_stam_sequences(tmp_path)
    path.unlink()
    with pytest.raises(RefusedError, match=r"array of NumPy\. Received: .*b.raw_skel\.npy"):
        read_stam_sequences(tmp_path)


def test_refuses_numbers_that_are_not_finite(tmp_path):
    write_stam(tmp_path)
    array = np.zeros((19, 5, 18))
    array[3, 2, 1] = np.nan
    np.save(tmp_path / "pose_sequences" / "d" / "raw_skel.npy", array)
    with pytest.raises(RefusedError, match=r"must be finite\. Received: .*d.raw_skel\.npy"):
        read_stam_sequences(tmp_path)


@pytest.mark.parametrize("line", ["a", "a,", "a,x", "b,0"])
def test_refuses_lines_that_give_no_label_or_a_second_one(tmp_path, line):
    write_stam(tmp_path)
    with (tmp_path / "labels.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RefusedError, match=rf"one line with one whole number\. Received: {line}"):
        read_stam_sequences(tmp_path)


def test_refuses_a_folder_of_another_layout(tmp_path):
    with pytest.raises(RefusedError, match=r"must hold labels\.txt"):
        read_stam_sequences(tmp_path)
    (tmp_path / "labels.txt").write_text("name,class\n")
    with pytest.raises(RefusedError, match=r'must open with infant_id,label\. Received: "name,class"'):
        read_stam_sequences(tmp_path)
    write_labels(tmp_path / "labels.txt", {"a": 0})
    with pytest.raises(RefusedError, match=r"must hold pose_sequences/<infant>"):
        read_stam_sequences(tmp_path)
