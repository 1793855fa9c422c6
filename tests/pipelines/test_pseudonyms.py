"""Pseudonyms, their key, and copies of data sets in which nothing names anybody."""

import json
import os
import shutil
import stat

import av
import numpy as np
import pytest
import tensorflow as tf

from pipelines import pseudonyms
from pipelines.alignment import Alignment
from pipelines.build import BuildReport, build_dataset, file_digest, read_index
from pipelines.config import BuildConfig, parse_settings
from pipelines.faces import FACE_JOINTS
from pipelines.manifest import Source, read_sources
from pipelines.pseudonyms import LOG, Pseudonyms, read_key, without_names
from pipelines.records import read_shard
from pipelines.schema import ClipSpec, RefusedError
from pipelines.verify import verify_dataset
from tests.conftest import numbered_frames, write_video
from tests.faults import CHEAP, cheap_tools, write_killer, write_sources
from tests.pipelines.test_sequences import CONFIG as JOINTS_ALONE
from tests.pipelines.test_sequences import walk, write_deeplabcut

SHARED = CHEAP.model_copy(update={"deidentify": True})
KEY = bytes(range(7, 39))


def write_key(path, key=KEY):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(key)
    return path


def everything(folder):
    """All bytes under a folder, names of files first, and all strings of its records decoded once more."""
    found = ["\n".join(str(path.relative_to(folder)) for path in folder.rglob("*")).encode()]
    for path in folder.rglob("*"):
        if path.is_file():
            found.append(path.read_bytes())
        if path.suffix == ".tfrecord":
            for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                example = tf.train.Example.FromString(raw)
                for feature in example.features.feature.values():
                    found += feature.bytes_list.value
        if path.suffix == ".json":
            found.append(json.dumps(json.loads(path.read_text()), ensure_ascii=False).encode())
    return b"\n".join(found)


def assert_unnamed(folder, names):
    held = everything(folder).lower()
    assert not [name for name in names if name.lower().encode() in held]


def with_sound_and_title(video, path):
    """The video with a sound whose samples are a word, and metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(video)) as old, av.open(str(path), "w") as new:
        new.metadata["title"] = "Bath of Quentin Testperson"
        new.metadata["location"] = "+48.2082+016.3738/"
        picture = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream("pcm_s16le", rate=8000, layout="mono")
        word = np.frombuffer(b"LULLABY!" * 2000, np.int16)[None]
        frame = av.AudioFrame.from_ndarray(word, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        new.mux(sound.encode(frame))
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                new.mux(packet)
    return path


NAMES = (
    "quentin",
    "testperson",
    "zoë",
    "ulrike",
    "holzinger",
    "ward-77",
    "+48.2082",
    "lullaby!",
    "scan_0815",
    "kontrolle",
    "0815.mkv",
    "wrong_ending",
)


@pytest.fixture(scope="module")
def source(infants, tmp_path_factory):
    """A manifest of three generated infants under names, with further columns, and three useless videos."""
    root = tmp_path_factory.mktemp("study") / "Holzinger"
    videos = [sorted((infants / label).glob("*/video.mp4"))[0] for label in ("FMs", "PR", "WMs")]
    with_sound_and_title(videos[0], root / "quentin" / "scan_0815.mkv")
    for video, name in zip(videos[1:], ("Zoë kontrolle.mp4", "ulrike.mp4"), strict=True):
        shutil.copy(video, root / name)
    (root / "wrong_ending_quentin.mp4").write_text("no video")
    write_video(root / "grey_ulrike.mp4", numbered_frames(90))
    write_video(root / "short_Zoë.mp4", numbered_frames(20))
    rows = [
        "quentin/scan_0815.mkv,Quentin Testperson,FMs,Holzinger twins,train,13,0,5,ward-77,",
        "Zoë kontrolle.mp4,Zoë,PR,Holzinger twins,train,14,0,,ward-77,yes",
        "ulrike.mp4,Ulrike,WMs,Ulrike,test,15,0,,,",
        "wrong_ending_quentin.mp4,Quentin Testperson,FMs,Holzinger twins,train,13,0,,,",
        "grey_ulrike.mp4,Ulrike,WMs,Ulrike,test,15,0,,,",
        "short_Zoë.mp4,Zoë,PR,Holzinger twins,train,14,0,,,",
    ]
    head = "video,subject,label,group,split,age_weeks,start,end,bed,siblings"
    (root / "manifest.csv").write_text("\n".join([head, *rows]) + "\n")
    return root, dict(zip(("FMs", "PR", "WMs"), videos, strict=True))


CLIP = {"clip": {"fps": 6, "clip_seconds": 2, "stride_seconds": 1, "size": 224, "max_flow_px": 8}}


@pytest.fixture(scope="module")
def shared(source, tmp_path_factory):
    """The de-identified copy, its key, and the data set that it is a copy of."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "keys").mkdir()
    config = parse_settings({**CLIP, "deidentify": True}, BuildConfig, "test")
    build_dataset(source[0], folder / "copy", config, key_file=folder / "keys" / "study", workers=2)
    build_dataset(source[0], folder / "plain", parse_settings(CLIP, BuildConfig, "test"), workers=2)
    return folder


def test_nothing_in_the_copy_names_anybody(shared):
    assert_unnamed(shared / "copy", NAMES)
    # The same search finds what is there.
    held = everything(shared / "plain").lower()
    there = [name for name in NAMES if name.lower().encode() in held]
    assert set(NAMES) - set(there) == {"+48.2082", "lullaby!"}


def test_sound_and_metadata_are_in_the_video_and_not_in_the_copy(source, shared):
    held = (source[0] / "quentin" / "scan_0815.mkv").read_bytes()
    assert b"LULLABY!" in held
    assert b"Quentin Testperson" in held
    assert b"LULLABY!" not in everything(shared / "copy")


def test_what_is_needed_to_study_stays(source, shared):
    copy, plain = read_index(shared / "copy"), read_index(shared / "plain")
    names = read_key(shared / "keys" / "study", source[0], shared / "copy")
    assert copy["classes"] == plain["classes"]
    assert [entry["id"] for entry in copy["videos"]] == sorted(entry["id"] for entry in copy["videos"])
    entry_of = {entry["id"]: entry for entry in copy["videos"]}
    original_of = {one.id: one for one in read_sources(source[0])}
    assert len(entry_of) == 6
    for before in plain["videos"]:
        after = entry_of[names.source(original_of[before["id"]]).id]
        for same in ("label", "split", "start", "end", "age_weeks", "box", "clips", "seconds", "fingerprint"):
            assert after[same] == before[same], same
        assert after["quality"] == before["quality"]
        assert after["subject"] == names.subject(before["subject"])
        assert after["video"] == after["id"]
        assert after["shard"] in (f"{after['id']}.tfrecord", None)
        assert after["other"] == {}
        assert (after["sha256"] == after["key"]["sha256"]) or after["left_out"]
        assert after["sha256"] != before["sha256"]
        assert bool(after["left_out"]) == bool(before["left_out"])
    twins = {one["subject"]: one["group"] for one in copy["videos"]}
    assert len(twins) == 3
    assert sorted(list(twins.values()).count(group) for group in set(twins.values())) == [1, 2]
    assert not verify_dataset(shared / "copy", copy).problems


def test_left_out_videos_say_why_under_their_pseudonyms(shared):
    reasons = {entry["id"]: entry["left_out"] for entry in read_index(shared / "copy")["videos"]}
    told = [(name, reason) for name, reason in reasons.items() if reason]
    assert len(told) == 3
    for name, reason in told:
        assert f"Received: {name} " in reason or f"Received: {name}," in reason, reason
    assert sum("must show a person" in reason for _, reason in told) == 1


def test_every_true_face_joint_of_every_written_frame_is_blanked(source, shared):
    """Truth is where the generator put them; the plain copy shows what there was to see."""
    index, plain = read_index(shared / "copy"), read_index(shared / "plain")
    spec = ClipSpec.model_validate(index["clip"])
    frames = seen = 0
    for entry in index["videos"]:
        if not entry["shard"]:
            continue
        (other,) = (one for one in plain["videos"] if one["label"] == entry["label"] and one["shard"])
        truth = np.load(source[1][entry["label"]].with_name("truth.npz"))
        alignment = Alignment(**entry["alignment"])
        shards = shared / "copy" / "shards" / entry["shard"], shared / "plain" / "shards" / other["shard"]
        both = zip(*(read_shard(path, spec) for path in shards), strict=True)
        for (clip, _), (before, _) in both:
            np.testing.assert_array_equal(clip.pose, before.pose)
            np.testing.assert_array_equal(clip.flow, before.flow)
            for number, (frame, uncut) in enumerate(zip(clip.rgb, before.rgb, strict=True)):
                time = round((clip.start_seconds + number / spec.fps) * int(truth["fps"]))
                joints = truth["joints"][min(time, len(truth["joints"]) - 1), :, :2].astype(np.float64)
                places = np.rint(alignment.aligned(joints[None])[0][list(FACE_JOINTS)]).astype(int)
                assert ((places > 4) & (places < spec.size - 4)).all()
                for x, y in places:
                    # JPEG rings by a few levels around edges.
                    assert frame[y - 3 : y + 4, x - 3 : x + 4].max() <= 8
                    seen += int(uncut[y, x].max() > 40)
                frames += 1
                assert frame.max() > 100  # the rest of the body is there
    assert frames == 3 * 4 * 13
    assert seen > 0.9 * frames * len(FACE_JOINTS)
    counted = json.loads((shared / "copy" / LOG).read_text())["faces_blanked"]
    assert counted == {"frames": frames, "blanked_wholly": 0}


def test_the_log_counts_and_holds_no_value(source, shared):
    text = (shared / "copy" / LOG).read_text()
    log = json.loads(text)
    names = log["replaced_by_pseudonyms"]
    assert (names["subject"], names["group"], names["video, its file and its shard"]) == (3, 2, 6)
    assert names["names in sentences"] >= 3
    assert log["dropped_columns"] == {"bed": 2, "siblings": 1}
    key = (shared / "keys" / "study").read_bytes()
    assert key.hex() not in text
    assert len(key) == 32
    assert stat.S_IMODE((shared / "keys" / "study").stat().st_mode) == 0o600
    assert key not in everything(shared / "copy")
    assert key.hex().encode() not in everything(shared / "copy")


@pytest.fixture
def four(tmp_path):
    """Four videos, of which one is damaged for the tools below, and a key."""
    root = write_sources(tmp_path / "source", 3)
    (root / "PR" / "subject_001" / "broken_by_gertrude.mp4").write_text("no video")
    return root, tmp_path / "out", write_key(tmp_path / "keys" / "key")


def content(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def build(source, out, key, config=SHARED, **options):
    report = BuildReport()
    index = build_dataset(source, out, config, key_file=key, make_tools=cheap_tools, report=report, **options)
    return index, report


def test_the_same_key_does_nothing_anew(four):
    _, first = build(*four)
    assert len(first.made) == 4
    before = content(four[1])
    times = {path: path.stat().st_mtime_ns for path in (four[1] / "shards").iterdir()}
    _, report = build(*four)
    assert (report.made, report.redone, report.removed) == ([], {}, [])
    assert len(report.kept) == 4
    assert content(four[1]) == before
    assert {path: path.stat().st_mtime_ns for path in (four[1] / "shards").iterdir()} == times
    assert_unnamed(four[1], ["subject_00", "gertrude", "__v"])


def test_a_stopped_build_names_nobody_and_goes_on(four):
    def stop(done, total, name):
        if name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(*four, progress=stop)
    assert (four[1] / "journal.jsonl").exists()
    assert_unnamed(four[1], ["subject_00", "gertrude", "__v"])
    _, report = build(*four)
    assert len(report.kept) == 1
    stopped = content(four[1])
    shutil.rmtree(four[1])
    build(*four)
    assert content(four[1]) == stopped


def test_another_key_another_folder(four, tmp_path):
    source, out, key = four
    build(*four)
    before = content(out)
    other = write_key(tmp_path / "other", KEY[::-1])
    with pytest.raises(RefusedError, match=r"de-identified by the same key. Received: .*another key's"):
        build(source, out, other)
    with pytest.raises(RefusedError, match=r"is completed with --deidentify and its key"):
        build(source, out, None, CHEAP)
    with pytest.raises(RefusedError, match=r"the key of a data set must be there .* no file"):
        build(source, out, tmp_path / "lost")
    assert not (tmp_path / "lost").exists()
    build(source, tmp_path / "plain", None, CHEAP)
    with pytest.raises(RefusedError, match=r"one that holds what is not de-identified"):
        build(source, tmp_path / "plain", key)
    (out / LOG).write_text("{")
    with pytest.raises(RefusedError, match=r"deidentification.json must say by which key"):
        build(*four)
    assert {name: bytes for name, bytes in content(out).items() if name != LOG} == {
        name: bytes for name, bytes in before.items() if name != LOG
    }
    index, _ = build(source, tmp_path / "again", other)
    ids = {entry["id"] for entry in index["videos"]}
    assert not ids & {name.split("/")[-1].removesuffix(".tfrecord") for name in before}


def test_deidentifying_is_part_of_what_a_shard_depends_on():
    assert SHARED.that_decide(pictures=True).digest() != CHEAP.that_decide(pictures=True).digest()
    assert SHARED.that_decide(pictures=False).digest() != CHEAP.that_decide(pictures=False).digest()


@pytest.mark.parametrize(("config", "key"), [(SHARED, None), (CHEAP, "key")])
def test_key_and_setting_come_together(tmp_path, config, key):
    write_sources(tmp_path / "source", 1)
    with pytest.raises(RefusedError, match=r"takes both --deidentify .* Received: --\w+ alone"):
        build(tmp_path / "source", tmp_path / "out", key and tmp_path / key, config)
    assert not (tmp_path / "key").exists()


def test_a_background_is_never_part_of_a_deidentified_frame():
    values = {"deidentify": True, "mask_body": False}
    with pytest.raises(RefusedError, match=r"deidentify needs mask_body.* Received: false"):
        parse_settings(values, BuildConfig, "test")
    assert parse_settings({**values, "modalities": ["flow", "pose"]}, BuildConfig, "test").deidentify


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("source/key", r"outside SOURCE"),
        ("source/PR/key", r"outside SOURCE"),
        ("out/key", r"outside --out"),
        ("out/../out/deep/key", r"outside --out"),
        ("folder", r"a file that can be read and written"),
        ("nowhere/key", r"a file that can be read and written"),
    ],
)
def test_a_key_in_the_wrong_place_is_refused(tmp_path, place, message):
    write_sources(tmp_path / "source", 1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RefusedError, match=message):
        build(tmp_path / "source", tmp_path / "out", tmp_path / place)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.rglob("key")] == []


def test_a_key_behind_a_link_into_the_copy_is_refused(tmp_path):
    write_sources(tmp_path / "source", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "key").symlink_to(tmp_path / "out" / "key")
    with pytest.raises(RefusedError, match="outside --out"):
        build(tmp_path / "source", tmp_path / "out", tmp_path / "key")


@pytest.mark.parametrize("bad", [b"", KEY[:-1], KEY + b"\n", bytes(32)])
def test_a_damaged_key_is_refused(tmp_path, bad):
    write_sources(tmp_path / "source", 1)
    with pytest.raises(RefusedError, match=rf"must be 32 random bytes. Received: {len(bad)} bytes"):
        build(tmp_path / "source", tmp_path / "out", write_key(tmp_path / "key", bad))
    assert not (tmp_path / "out").exists()


def test_a_new_key_is_for_its_owner_alone_at_every_moment(tmp_path, monkeypatch):
    modes = []
    write = os.fdopen

    def looked_at(descriptor, mode):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return write(descriptor, mode)

    monkeypatch.setattr(pseudonyms.os, "fdopen", looked_at)
    (tmp_path / "source").mkdir()
    before = os.umask(0)
    try:
        names = read_key(tmp_path / "key", tmp_path / "source", tmp_path / "out")
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    again = read_key(tmp_path / "key", tmp_path / "source", tmp_path / "out")
    assert again.fingerprint == names.fingerprint
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["key"]


def test_pseudonyms_are_hmac_sha256_of_the_key():
    import hashlib
    import hmac

    names = Pseudonyms(KEY)
    assert names.subject("Anna") == "s" + hmac.new(KEY, b"subject\0Anna", hashlib.sha256).hexdigest()[:16]
    assert names.subject("Anna") != names.subject("anna")
    assert Pseudonyms(KEY[::-1]).subject("Anna") != names.subject("Anna")
    assert names.file_hash("00") == hmac.new(KEY, b"file\x0000", hashlib.sha256).hexdigest()
    assert names.file_hash(None) is None
    one = Source("a", "a.mp4", "a", "FMs", "a")
    hidden = names.source(one)
    assert len({hidden.id[1:], hidden.subject[1:], hidden.group[1:], names.fingerprint}) == 4


def test_names_are_taken_out_of_sentences(tmp_path):
    path = tmp_path / "ward_a" / "a_anna2.MP4"
    one = Source("FMs__a_anna2", path, "Anna", "FMs", "jo")
    text = f"a video of ANNA, anna2 and jo: {path}, in {path.parent}, a_anna2.mp4, joke, jo_1, FMs__a_anna2"
    clean, count = without_names(text, one, "X")
    assert clean == "a video of X, X2 and X: X, in X, X, joke, X_1, X"
    assert count == 8
    short = Source("1", tmp_path / "video.mp4", "1", "FMs", "1")
    assert without_names("a video of 1 s or 10 s", short, "X") == ("a video of X s or 10 s", 1)


def test_what_a_library_says_of_a_broken_video_stays_away(tmp_path, monkeypatch):
    from pipelines import process
    from pipelines.build import process_video

    def broken(*arguments, **options):
        raise ValueError("the title is Bath of Quentin")

    (tmp_path / "out" / "shards").mkdir(parents=True)
    source = Pseudonyms(KEY).source(read_sources(write_sources(tmp_path / "source", 1))[0])
    monkeypatch.setattr(process, "video_clips", broken)
    entry = process_video(source, ["FMs"], tmp_path / "out", SHARED, cheap_tools)
    assert entry["left_out"] == "failed unexpectedly: ValueError"


def test_paths_of_networks_do_not_name_the_machine(tmp_path):
    weights = tmp_path / "gertrude.keras"
    weights.write_bytes(b"1")
    write_sources(tmp_path / "source", 1)
    # Not used: the standard flow has no weights.
    config = SHARED.model_copy(update={"flow": CHEAP.flow.model_copy(update={"weights": str(weights)})})
    index, _ = build(tmp_path / "source", tmp_path / "out", write_key(tmp_path / "key"), config)
    assert index["config"]["flow"]["weights"] == file_digest(weights)
    assert_unnamed(tmp_path / "out", ["gertrude", str(tmp_path)])


def test_joints_alone_get_pseudonyms_too(tmp_path):
    write_deeplabcut(tmp_path / "source" / "FMs" / "gertrude" / "walk0815.csv", walk(seed=1))
    write_deeplabcut(tmp_path / "source" / "WMs" / "gudrun" / "walk0816.csv", walk(seed=2))
    config = JOINTS_ALONE.model_copy(update={"deidentify": True})
    index, _ = build(tmp_path / "source", tmp_path / "out", write_key(tmp_path / "key"), config)
    assert index["modalities"] == ["pose"]
    assert all(entry["clips"] for entry in index["videos"])
    assert_unnamed(tmp_path / "out", ["gertrude", "gudrun", "walk081"])
    assert json.loads((tmp_path / "out" / LOG).read_text())["faces_blanked"] is None


def test_folds_that_come_along_name_pseudonyms():
    folds = [{"train": ["anna", "ben"], "val": ["eve"], "test": ["kim"]}]
    names = Pseudonyms(KEY)
    (fold,) = names.folds(folds)
    assert fold["train"] == sorted([names.subject("anna"), names.subject("ben")])
    assert fold["test"] == [names.subject("kim")]


def test_a_video_that_kills_its_worker_is_not_named(tmp_path):
    from tests.faults import killing_tools

    source = write_sources(tmp_path / "source", 1)
    write_killer(source, "gertrude")
    index = build_dataset(
        source, tmp_path / "out", SHARED, key_file=write_key(tmp_path / "key"), make_tools=killing_tools
    )
    assert sum((entry["left_out"] or "").startswith("killed its worker") for entry in index["videos"]) == 1
    assert_unnamed(tmp_path / "out", ["gertrude", "subject_00"])
