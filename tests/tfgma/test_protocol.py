import pytest

from pipelines.config import parse_settings
from pipelines.schema import RefusedError
from tfgma.config import SplitSettings
from tfgma.protocol import protocol_of


def index_of(count=48, **changes):
    """What protocol_of reads of dataset.json: two videos a subject, two subjects a group, three sites."""
    videos = []
    for number in range(count):
        entry = {
            "subject": f"s{number:02d}",
            "label": f"c{(number // 2) % 2}",
            "group": f"g{number // 2}",
            "split": None,
            "shard": "x.tfrecord",
            "other": {"site": f"site{(number // 4) % 3}"},
        }
        for part in "ab":
            name = f"{entry['subject']}{part}"
            videos.append(entry | {"id": name, "sha256": name, "fingerprint": None} | changes)
    return {"classes": ["c0", "c1"], "videos": videos, "folds": []}


def test_a_lock_box_is_on_no_side_and_the_rest_is_tested_once():
    protocol = protocol_of(index_of(), SplitSettings(lock_box=0.25, folds=3))
    everybody = {entry["subject"] for entry in index_of()["videos"]}
    assert len(protocol.lock_box) == 12
    for fold in protocol.folds:
        assert set(fold.train + fold.val + fold.test) == everybody - set(protocol.lock_box)
    tested = [name for fold in protocol.folds for name in fold.test]
    assert sorted(tested) == sorted(everybody - set(protocol.lock_box))


def test_whom_the_manifest_tests_is_not_locked_away():
    index = index_of()
    for entry in index["videos"]:
        entry["split"] = "test" if entry["group"] in ("g0", "g1", "g2", "g3") else "train"
    protocol = protocol_of(index, SplitSettings(scheme="fixed", lock_box=0.25, folds=3))
    tested = {f"s{number:02d}" for number in range(8)}
    assert len(protocol.lock_box) == 10
    for fold in protocol.folds:
        assert set(fold.test) == tested
        assert len({*fold.train, *fold.val, *fold.test, *protocol.lock_box}) == 48


def test_without_a_lock_box_folds_stay_as_they_were():
    with_none = protocol_of(index_of(), SplitSettings(folds=3))
    assert with_none.lock_box == ()
    assert {name for fold in with_none.folds for name in fold.test} == {f"s{n:02d}" for n in range(48)}


def test_repeats_deal_anew():
    once, thrice = (protocol_of(index_of(), SplitSettings(folds=3, repeats=n)).folds for n in (1, 3))
    assert len(thrice) == 9
    assert thrice[:3] == once
    assert len({fold.test for fold in thrice}) == 9
    assert thrice[3:6] == protocol_of(index_of(), SplitSettings(folds=3, seed=1)).folds


def test_sites_come_from_any_column():
    protocol = protocol_of(index_of(), SplitSettings(scheme="site", site="site"))
    sites = [{(int(name[1:]) // 4) % 3 for name in fold.test} for fold in protocol.folds]
    assert sites == [{0}, {1}, {2}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"site": "ward"}, r"split.site must be group or a further column.*Received: 'ward'; there are site"),
        ({"site": "group"}, r"every side of a fold must hold every class"),
    ],
)
def test_sites_that_are_none_are_refused(changes, message):
    with pytest.raises(RefusedError, match=message):
        protocol_of(index_of(), SplitSettings(scheme="site", **changes))


def test_a_subject_of_two_sites_is_refused():
    index = index_of()
    index["videos"][1] = index["videos"][1] | {"other": {"site": "elsewhere"}}
    with pytest.raises(RefusedError, match=r"a subject must be of one site. Received: 's00' of 'site0' and"):
        protocol_of(index, SplitSettings(scheme="site", site="site"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repeats": 2, "scheme": "fixed"}, r"split.repeats needs split.scheme folds or nested"),
        ({"repeats": 2, "from_dataset": True}, r"split.repeats needs"),
        ({"lock_box": 0.2, "from_dataset": True}, r"split.lock_box needs sides that are dealt here"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(values, message):
    with pytest.raises(RefusedError, match=message):
        parse_settings(values, SplitSettings, "study.yaml")


def test_a_subject_of_two_classes_is_refused():
    index = index_of()
    index["videos"][1] = index["videos"][1] | {"label": "c1"}
    with pytest.raises(RefusedError, match=r"must have one label. Received: 's00' with 'c0' and 'c1'"):
        protocol_of(index, SplitSettings())


@pytest.mark.parametrize("side", ["val", "test"])
def test_a_side_of_the_data_sets_folds_that_has_nobody_left_is_refused(side):
    index = index_of(12)
    names = [f"s{number:02d}" for number in range(12)]
    index["folds"] = [{"train": names[:4], "val": names[4:8], "test": names[8:]}]
    settings = SplitSettings(from_dataset=True)
    assert protocol_of(index, settings).folds[0].test == tuple(names[8:])
    lost = set(index["folds"][0][side])
    for entry in index["videos"]:
        entry["shard"] = None if entry["subject"] in lost else entry["shard"]
    with pytest.raises(RefusedError, match=rf"Received: fold 0 of the data set, whose {side} side has none"):
        protocol_of(index, settings)


def left_out(index):
    for entry in index["videos"]:
        if entry["label"] == "c1":
            entry["shard"] = None


def one_class(index):
    index["classes"] = ["c0"]


def small_lock_box(index):
    index["videos"] = index["videos"][:24]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (left_out, {}, r"each class needs subjects with .*Received: none of c1, whose recordings were all"),
        (one_class, {}, r"a study needs two or more classes. Received: c0. Add"),
        (small_lock_box, {"lock_box": 0.1}, r"lock box of 10%. Received: 3 of class 'c0'. Raise split.lock"),
    ],
)
def test_classes_of_whom_there_are_too_few_are_refused(change, settings, message):
    index = index_of()
    change(index)
    with pytest.raises(RefusedError, match=message):
        protocol_of(index, SplitSettings(**settings))
