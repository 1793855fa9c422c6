"""The command line as a user meets it: whole commands."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.schema import JOINTS
from tests.commands import TFGMA, one_sentence, tfgma, tfgma_here
from tests.conftest import numbered_frames, write_video
from tests.golden_networks import REFERENCE, published_checkpoint
from tests.pipelines.test_sequences import CONFIG as JOINTS_ALONE
from tests.pipelines.test_sequences import walk, write_deeplabcut
from tests.test_documents import run_with

STUDY = Path(__file__).parent / "study.yaml"


@pytest.fixture(scope="module")
def bundle(dataset, tmp_path_factory):
    """One fold, trained, evaluated and exported through the command line."""
    folder = tmp_path_factory.mktemp("cli")
    options = ["train.clip_norm=5", "train.weight_average=0.5", "train.balance=weights"]
    changes = [part for option in options for part in ("--set", option)]
    trained = tfgma(
        *("train", "--config", STUDY, "--data", dataset, "--out", folder / "run", "--fold", "1", "--json"),
        *changes,
    )
    assert json.loads(trained)["trained_folds"] == [1]
    used = json.loads((folder / "run" / "run.json").read_text())["config"]["train"]
    assert [f"train.{key}={used[key]}" for key in ("clip_norm", "weight_average", "balance")] == [
        "train.clip_norm=5.0",
        *options[1:],
    ]
    metrics = json.loads(tfgma("evaluate", folder / "run", "--json"))
    assert 0 <= metrics["test"]["subject"]["accuracy"] <= 1
    assert Path(metrics["report"]).is_file()
    # After three epochs most clips are near a tie.
    allowed = ("--max-changed-subjects", 100, "--max-accuracy-loss", 1)
    some = ("--variant", "float32", "--variant", "int8")
    exported = json.loads(
        tfgma("export", folder / "run", "--out", folder / "bundle", *allowed, *some, "--json")
    )
    assert exported["certificate"]["variants"]["float32"]["clip"]["max_delta"] < 1e-4
    return folder / "bundle"


def test_predict_answers_for_a_new_video_in_each_exported_variant(bundle, infants):
    video = sorted(infants.glob("FMs/*/video.mp4"))[0]
    for variant in ("float32", "int8"):
        answer = json.loads(tfgma_here("predict", video, "--model", bundle, "--variant", variant, "--json"))
        (one,) = answer["videos"]
        assert set(one["probabilities"]) == set(one["calibrated_probabilities"]) == {"FMs", "PR", "WMs"}
        assert (one["verdict"], one["possible"]) == ("not assessable / uncertain", ["FMs", "PR", "WMs"])
        assert "subjects, and a verdict needs at least 9" in one["reason"]
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=0.02)
        assert len(one["clips"]) == 4
        assert answer["notice"].startswith("Research use only")


def test_explain_writes_what_the_answer_rests_on(bundle, infants, tmp_path):
    run = bundle.parent / "run"
    sides = json.loads((run / "run.json").read_text())["folds"][1]
    videos = {path.parent.name: path for path in infants.glob("*/*/video.mp4")}
    video = videos[sides["test"][0]]
    out = tmp_path / "why"
    found = json.loads(tfgma_here("explain", run, video, "--out", out, "--clips", 2, "--json"))
    assert (found["fold"], found["seen_in_training"]) == (1, False)
    assert found["explained"] == max(found["probabilities"], key=found["probabilities"].get)
    assert len(found["clips"]) == 4
    assert all(np.isfinite(list(clip["parts"].values())).all() for clip in found["clips"])
    assert {path.name for path in out.iterdir()} == {"explanation.html", "explanation.json", "maps.npz"}
    with np.load(out / "maps.npz") as arrays:
        methods = {name.partition("_")[2] for name in arrays}
    assert methods == {
        f"{one}_{of}" for one in ("grad_cam", "integrated_gradients") for of in ("flow", "image")
    }
    # The same clips and the same network as the bundle's float32 file.
    answer = json.loads(tfgma_here("predict", video, "--model", bundle, "--json"))["videos"][0]
    for one, clip in zip(found["clips"], answer["clips"], strict=True):
        assert one["probabilities"] == pytest.approx(clip["probabilities"], abs=1e-4)
    said = tfgma_here("explain", run, videos[sides["train"][0]], "--out", tmp_path / "seen", "--class", "FMs")
    assert "the network was trained on this subject" in said
    assert "FMs 0." in said


@pytest.mark.thorough
def test_adapt_fits_a_bundle_to_a_site(bundle, dataset, infants, tmp_path):
    index = json.loads((dataset / "dataset.json").read_text())
    site = tmp_path / "site"
    site.mkdir()
    (site / "shards").symlink_to(dataset / "shards")
    few = tfgma_here("adapt", bundle, "--data", dataset, "--out", tmp_path / "ours", code=1)
    assert "the data set that its network was trained on" in few
    index["videos"] = [
        entry | {"id": f"{entry['id']}_{turn}", "subject": f"{entry['subject']}_{turn}"}
        for turn in range(3)
        for entry in index["videos"]
    ]
    (site / "dataset.json").write_text(json.dumps(index | {"videos": index["videos"][:19]}))
    few = tfgma_here("adapt", bundle, "--data", site, "--out", tmp_path / "ours", code=1)
    assert "at least 20 subjects of known class. Received: 19" in few
    assert not (tmp_path / "ours").exists()
    (site / "dataset.json").write_text(json.dumps(index))
    found = json.loads(tfgma_here("adapt", bundle, "--data", site, "--out", tmp_path / "ours", "--json"))
    assert found["subjects"] == 27
    before, after = (json.loads((one / "bundle.json").read_text()) for one in (bundle, tmp_path / "ours"))
    assert len(after["calibration"]["fits"]) == 27
    assert after["calibration"]["temperature"] == found["temperature"]
    changed = ("calibration", "adaptation", "sha256")
    assert {name: value for name, value in after.items() if name not in changed} == {
        name: value for name, value in before.items() if name not in changed
    }
    assert after["adaptation"]["subjects"] == 27
    assert "Adapted to a site" in (tmp_path / "ours" / "MODEL_CARD.md").read_text()
    video = sorted(infants.glob("FMs/*/video.mp4"))[0]
    one, other = (
        json.loads(tfgma_here("predict", video, "--model", model, "--json"))["videos"][0]
        for model in (bundle, tmp_path / "ours")
    )
    assert one["probabilities"] == other["probabilities"]
    assert "a verdict needs at least 9" in one["reason"]
    assert "a verdict needs at least 9" not in other["reason"]
    again = tfgma_here("adapt", tmp_path / "ours", "--data", site, "--out", tmp_path / "twice", code=1)
    assert "a bundle is adapted once" in again


def test_explain_refuses_in_one_sentence_and_writes_nothing(bundle, infants, tmp_path):
    run, video = bundle.parent / "run", next(infants.glob("*/*/video.mp4"))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for arguments, rule in (
        ((run, video, "--class", "XYZ"), "--class must be one of FMs, PR, WMs"),
        ((run, video, "--fold", 0), r"--fold must be one of [1]"),
        ((run, text), "text.mp4"),
        ((tmp_path, video), "RUN must be a folder that tfgma train wrote"),
    ):
        told = tfgma_here("explain", *arguments, "--out", tmp_path / "why", code=1)
        assert one_sentence(told), told
        assert rule in told
        assert not (tmp_path / "why").exists()


def test_the_python_of_the_export_page_runs(bundle, infants, tmp_path):
    (tmp_path / "new.mp4").symlink_to(sorted(infants.glob("FMs/*/video.mp4"))[0])
    assert "not assessable / uncertain" in run_with(bundle, "mine", tmp_path)


def test_predict_says_what_it_could_not_assess_and_still_answers_for_the_rest(bundle, infants, tmp_path):
    good = sorted(infants.glob("FMs/*/video.mp4"))[0]
    bad = tmp_path / "text.mp4"
    bad.write_text("no video")
    done = subprocess.run(
        [str(TFGMA), "predict", str(bad), str(good), "--model", str(bundle), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert [Path(one["video"]).name for one in answer["videos"]] == ["video.mp4"]
    assert Path(answer["refused"][0]["video"]).name == "text.mp4"
    assert one_sentence(done.stderr)


def test_predict_writes_a_page_a_video_and_an_index(bundle, infants, tmp_path):
    source = tmp_path / "recordings"
    (source / "a").mkdir(parents=True)
    (source / "a" / "one.mp4").symlink_to(sorted(infants.glob("FMs/*/video.mp4"))[0])
    (source / "bad.mp4").write_text("no video")
    done = subprocess.run(
        [str(TFGMA), "predict", str(source), "--model", str(bundle), "--report", str(tmp_path / "pages")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1  # of the one that cannot be read
    assert "pages:" in done.stdout
    names = {path.name for path in (tmp_path / "pages").iterdir()}
    assert names == {
        "index.html",
        "assessments.csv",
        "one.html",
        "one.pdf",
        "one_overlay.mp4",
        "bad.html",
        "bad.pdf",
    }
    page = (tmp_path / "pages" / "one.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 1
    assert "://" not in page
    with (tmp_path / "pages" / "assessments.csv").open() as file:
        rows = {Path(row["video"]).name: row for row in csv.DictReader(file)}
    assert rows["one.mp4"]["page"] == "one.html"
    assert rows["bad.mp4"]["reason"]


def test_predict_runs_where_tensorflow_cannot_be_imported(bundle, infants, tmp_path):
    """A poisoned `tensorflow` and `keras` come first on the path."""
    for name in ("tensorflow", "keras", "sklearn", "scipy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('{name} was imported')")
    video = sorted(infants.glob("FMs/*/video.mp4"))[0]
    pages = tmp_path / "pages"
    tfgma("predict", video, "--model", bundle, "--report", pages, env={"PYTHONPATH": str(tmp_path)})
    assert (pages / "video.pdf").exists()


def test_help_imports_no_heavy_package():
    script = (
        "import sys; sys.argv = ['tfgma', '--help']\n"
        "try:\n    from tfgma.cli import main; main()\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'cv2', 'mediapipe', 'av', 'numpy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy - {'numpy'}, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize(
    "command",
    [
        "synthesize",
        "build-tfrecords",
        "inspect",
        "train",
        "evaluate",
        "compare",
        "export",
        "predict",
        "demo",
        "doctor",
    ],
)
def test_every_command_explains_itself_with_an_example(command):
    text = tfgma_here(command, "--help")
    assert f"tfgma {command}" in text.split("Example:")[1]


def test_inspect_shows_a_table_and_a_picture(dataset, tmp_path):
    text = tfgma_here("inspect", dataset, "--picture", tmp_path / "sheet.png")
    assert "infant_001" in text
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    content = json.loads(tfgma_here("inspect", dataset, "--picture", tmp_path / "sheet.png", "--json"))
    assert len(content["videos"]) == 9


def test_preview_says_who_can_be_assessed(infants, tmp_path):
    video = sorted(infants.glob("*/*/video.mp4"))[0]
    usual = ["preview", video, "--out", tmp_path / "p", "--config", STUDY]
    answer = json.loads(tfgma_here(*usual, "--json"))
    (item,) = answer["items"]
    assert (item["source"], item["verdict"], item["reasons"]) == (str(video), "assessable", [])
    assert {path.name for path in (tmp_path / "p").iterdir()} == {item["mask"], item["sheet"]}
    text = tfgma_here(*usual, "--set", "build.quality.min_sharpness=0.99")
    assert "not assessable" in text
    assert "--box: box must be" in tfgma_here(*usual, "--box", "1,2,3", code=1)


def test_inspect_verifies_every_record(dataset, tmp_path):
    assert json.loads(tfgma_here("inspect", dataset, "--verify", "--json")) == {
        "verified": True,
        "shards": 9,
        "records": 36,
        "problems": [],
    }
    broken = tmp_path / "dataset"
    shutil.copytree(dataset, broken)
    shard = sorted((broken / "shards").iterdir())[2]
    shard.write_bytes(shard.read_bytes()[:-100])
    done = subprocess.run(
        [str(TFGMA), "inspect", str(broken), "--verify", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["verified"], answer["shards"], answer["records"]) == (False, 9, 35)
    assert {one["shard"] for one in answer["problems"]} == {shard.name}
    assert one_sentence(done.stderr)
    assert "Build the data set again" in done.stderr
    text = tfgma_here("inspect", broken, "--verify", code=1)
    assert f"3 problems in 1 shard, the first in {shard.name}" in text
    usage = tfgma_here("inspect", broken, "--verify", "--picture", tmp_path / "sheet.png", code=2)
    assert "exclude each other" in usage


def test_synthesize_writes_the_source_layout(tmp_path):
    found = json.loads(
        tfgma_here("synthesize", tmp_path / "v", "--subjects", 3, "--seconds", 0.5, "--seed", 3, "--json")
    )
    assert Path(found["manifest"]).is_file()
    assert len(list((tmp_path / "v").glob("*/*/video.mp4"))) == 3


def test_synthesize_shows_recorded_joints_as_a_generated_infant(tmp_path):
    tfgma_here("synthesize", tmp_path / "v", "--subjects", 3, "--seconds", 0.5, "--ground-truth")
    joints = np.load(next(tmp_path.glob("v/FMs/*/truth.npz")))["joints"]
    joints[:, JOINTS.index("left_wrist"), 2] = 0
    np.save(tmp_path / "one.npy", joints)
    arguments = ["synthesize", tmp_path / "shown", "--motion", tmp_path / "one.npy", "--motion-fps", 15]
    (video,) = json.loads(tfgma_here(*arguments, "--json"))["videos"]
    assert (video["video"], video["seconds"]) == ("one.mp4", 1)
    assert video["seconds_at_rest"]["left forearm"] == 1
    assert (tmp_path / "shown" / "one.mp4").is_file()
    arguments[1] = tmp_path / "again"
    assert "left forearm not seen for 1.0 s" in tfgma_here(*arguments)


def bad_input(tmp_path, case):
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "FMs" / "anna").mkdir(parents=True)
    if case == "empty folder":
        return ["build-tfrecords", videos, "--out", out], out
    write_video(videos / "FMs" / "anna" / "v.mp4", numbered_frames(90))
    if case == "no scheduler":
        return ["build-tfrecords", videos, "--out", out, "--scheduler", "tcp://127.0.0.1:9"], out
    if case == "key in the data set":
        return ["build-tfrecords", videos, "--out", out, "--deidentify", "--key", out / "key"], out
    if case == "key in the source":
        return [
            "build-tfrecords",
            videos,
            "--out",
            out,
            "--deidentify",
            "--key",
            videos / "key",
        ], videos / "key"
    if case == "no key":
        return ["build-tfrecords", videos, "--out", out, "--deidentify"], out
    if case == "key alone":
        return ["build-tfrecords", videos, "--out", out, "--key", tmp_path / "key"], tmp_path / "key"
    if case == "unknown modality":
        return ["build-tfrecords", videos, "--out", out, "--modalities", "flow,depth"], out
    if case == "nobody":
        return ["build-tfrecords", videos, "--out", out, "--config", STUDY], None
    if case == "unwritable":
        (tmp_path / "file").touch()
        return ["build-tfrecords", videos, "--out", tmp_path / "file" / "d"], None
    if case == "unknown key":
        (tmp_path / "c.yaml").write_text("build: {clip: {fsp: 6}}")
        return ["build-tfrecords", videos, "--out", out, "--config", tmp_path / "c.yaml"], out
    if case == "no config":
        return ["build-tfrecords", videos, "--out", out, "--config", tmp_path / "none.yaml"], out
    if case == "other version":
        out.mkdir()
        (out / "dataset.json").write_text('{"format_version": 99}')
        return ["train", "--data", out, "--out", tmp_path / "run"], tmp_path / "run"
    if case == "no tracking store":
        store = "http://127.0.0.1:9"
        return ["train", "--data", out, "--out", tmp_path / "run", "--mlflow", store], tmp_path / "run"
    if case == "no fold":
        return ["train", "--data", out, "--out", tmp_path / "run", "--fold", "first"], tmp_path / "run"
    if case == "no subjects":
        return ["synthesize", out, "--subjects", "0"], out
    if case == "no such motion":
        return ["synthesize", out, "--motion", tmp_path / "none.csv"], out
    if case == "motion and subjects":
        return ["synthesize", out, "--motion", videos, "--subjects", "3"], out
    if case == "motion of videos":
        return ["synthesize", out, "--motion", videos], out
    if case == "rate without motion":
        return ["synthesize", out, "--subjects", "3", "--motion-fps", "25"], out
    raise AssertionError(case)


@pytest.mark.parametrize(
    "case",
    [
        "empty folder",
        "no scheduler",
        "key in the data set",
        "key in the source",
        "no key",
        "key alone",
        "unknown modality",
        "nobody",
        "unwritable",
        "unknown key",
        "no config",
        "other version",
        "no tracking store",
        "no fold",
        "no subjects",
        "no such motion",
        "motion and subjects",
        "motion of videos",
        "rate without motion",
    ],
)
def test_bad_input_is_one_sentence_exit_1_and_nothing_half_written(tmp_path, case):
    arguments, not_there = bad_input(tmp_path, case)
    command = tfgma if case == "empty folder" else tfgma_here
    assert one_sentence(command(*arguments, code=1))
    assert not_there is None or not not_there.exists()
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_wrong_usage_is_exit_2():
    assert "No such option" in tfgma_here("train", "--dta", "x", code=2)
    assert "Missing option '--subjects'" in tfgma_here("synthesize", "x", code=2)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_build_leaves_no_half_shard(infants, tmp_path):
    """Ctrl-C in the middle; the next call completes the data set."""
    import signal
    import time

    out = tmp_path / "dataset"
    arguments = [str(TFGMA), "build-tfrecords", str(infants), "--out", str(out), "--config", str(STUDY)]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (out / "dataset.json").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped on request" in stderr
    assert "Traceback" not in stderr
    assert not list(out.rglob("*.part"))
    listed = {entry["shard"] for entry in json.loads((out / "dataset.json").read_text())["videos"]}
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("shards/*.tfrecord")}
    assert listed <= set(before)
    assert 1 <= len(listed) < 9
    tfgma_here("build-tfrecords", infants, "--out", out, "--config", STUDY)
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("shards/*.tfrecord")}
    assert len(after) == 9
    assert all(after[name] == before[name] for name in listed)


def test_convert_weights_writes_a_network_and_says_what_it_holds(tmp_path):
    checkpoint = tmp_path / "stam.npz"
    np.savez(checkpoint, **published_checkpoint("stam_uniform3"))
    out = tmp_path / "stam.keras"
    answer = json.loads(
        tfgma_here("convert-weights", checkpoint, "--network", "stam_uniform3", "--out", out, "--json")
    )
    assert out.is_file()
    assert answer["inputs"] == {"pose": [9, 30, 18, 7]}
    assert answer["outputs"]["alpha"] == [9]
    refused = tfgma_here("convert-weights", checkpoint, "--network", "stam_uniform3", "--out", out, code=1)
    assert "--out must be a new file" in refused
    assert "Usage" in tfgma_here("convert-weights", checkpoint, code=2)


def test_convert_weights_lists_every_network():
    names = json.loads(tfgma_here("convert-weights", "--list", "--json"))
    assert {path.stem for path in REFERENCE.glob("*.json")} <= set(names)
    assert names["raft_large"]["options"]["num_updates"] == 12
    assert "slow_r50" in tfgma_here("convert-weights", "--list")


def test_a_copy_to_share_of_joints(tmp_path):
    for number, label in enumerate(("FMs", "WMs")):
        write_deeplabcut(tmp_path / "source" / label / f"gertrude{number}" / "v.csv", walk(seed=number))
    clip = JOINTS_ALONE.clip.model_dump()
    command = ["build-tfrecords", tmp_path / "source", "--out", tmp_path / "out", "--workers", 1]
    command += ["--set", f"build.clip={json.dumps(clip)}", "--modalities", "pose"]
    command += ["--deidentify", "--key", tmp_path / "key"]
    text = tfgma_here(*command)
    assert f"what was removed: {tmp_path / 'out' / 'deidentification.json'}" in text
    assert (tmp_path / "key").stat().st_size == 32
    again = json.loads(tfgma_here(*command, "--json"))
    assert (again["made"], again["kept"]) == (0, 2)
    shown = tfgma_here("inspect", tmp_path / "out", "--json")
    assert "gertrude" not in text + shown
    assert json.loads(tfgma_here("inspect", tmp_path / "out", "--verify", "--json"))["verified"]


@pytest.mark.thorough
def test_a_pose_study_goes_from_joints_to_a_prediction_by_config_alone(infants, dataset, tmp_path):
    """The same data set, another family: STAM on the joints of the pose stage."""
    config = tmp_path / "stam.yaml"
    config.write_text(
        STUDY.read_text().split("model:")[0]
        + "inputs: {pose_frames: 5, pose_stride: 4}\nmodel: {family: stam, features: 8}\n"
        + "train: {epochs: 1, batch_size: 8, picture_every: 2}\n"
    )
    tfgma_here("train", "--config", config, "--data", dataset, "--out", tmp_path / "run", "--fold", "0")
    tfgma_here("evaluate", tmp_path / "run")
    only = ("--variant", "float32", "--variant", "int8", "--onnx", "--attention")
    exported = tfgma_here("export", tmp_path / "run", "--out", tmp_path / "bundle", *only, "--json")
    variants = json.loads(exported)["certificate"]["variants"]
    assert list(variants) == ["float32", "int8", "onnx"]
    files = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["files"]
    for name, found in variants.items():
        limit = 0.05 if name == "int8" else 1e-4
        assert found["clip"]["max_delta"] < limit
        assert set(found["also"]) == {"alpha", "beta"}
        assert all(0 < one["mean_delta"] <= one["max_delta"] < limit for one in found["also"].values())
        assert set(found["latency_ms"]) == {"1", "2", "4"}
        content = (tmp_path / "bundle" / found["file"]).read_bytes()
        assert files[found["file"]] == found["sha256"] == hashlib.sha256(content).hexdigest()
    assert variants["onnx"]["file"] == "model.onnx"
    assert "Softmax" in variants["onnx"]["operators"]
    run_with(tmp_path / "bundle", "both", tmp_path)
    assert "ONNX Runtime" in (tmp_path / "bundle" / "report.html").read_text()
    video = sorted(infants.glob("FMs/*/video.mp4"))[0]
    answer = json.loads(tfgma_here("predict", video, "--model", tmp_path / "bundle", "--json"))
    assert set(answer["videos"][0]["probabilities"]) == {"FMs", "PR", "WMs"}
    described = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["attention"]
    for clip in answer["videos"][0]["clips"]:
        for name in ("alpha", "beta"):
            shares = np.array(clip[name])
            assert list(shares.shape) == described[name]["shape"]
            np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-4)
