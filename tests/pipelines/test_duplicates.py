import pytest

from pipelines.duplicates import same_recordings
from pipelines.fingerprints import Fingerprint, thumbnail
from pipelines.schema import RefusedError
from tests.pipelines.test_fingerprints import FPS, figure


def text(seed):
    made = Fingerprint(FPS)
    for index in range(12 * FPS):
        made.add(index, thumbnail(*figure(seed, index / FPS)))
    return made.text()


def video(subject, *, group=None, sha256=None, fingerprint=""):
    sha256 = sha256 or f"sha of {subject}"
    group = group or subject
    return {"id": f"{subject}_v", "subject": subject, "group": group, "sha256": sha256} | {
        "fingerprint": fingerprint
    }


def test_the_same_file_under_two_subjects_is_one_recording():
    (same,) = same_recordings([video("a", sha256="x"), video("b"), video("c", sha256="x")])
    assert same.videos == ("a_v", "c_v")
    assert same.subjects == ("a", "c")
    assert same.why == "the same file"


def test_the_same_movement_in_another_file_is_one_recording():
    videos = [video("a", fingerprint=text(1)), video("b", fingerprint=text(2))]
    assert same_recordings(videos) == []
    (same,) = same_recordings([*videos, video("c", fingerprint=text(2))])
    assert same.subjects == ("b", "c")
    assert same.why.startswith("near-duplicates (movements agree by 1.00")


def test_one_subject_and_one_group_may_show_a_recording_twice():
    assert same_recordings([video("a", sha256="x"), video("a", sha256="x")]) == []
    first, second = (video(name, group="g", fingerprint=text(1)) for name in "ab")
    assert same_recordings([first, second]) == []
    # a and c are joined by the two groups of b's videos.
    joined = [video("a", group="g", sha256="x"), video("b", group="g"), video("b", group="h", sha256="y")]
    assert same_recordings([*joined, video("c", group="h", sha256="x")]) == []


def test_joints_alone_have_no_fingerprint_and_the_file_counts():
    videos = [video(name, fingerprint=None) for name in "ab"]
    assert same_recordings(videos) == []
    assert len(same_recordings([one | {"sha256": "x"} for one in videos])) == 1


def test_a_build_without_fingerprints_is_refused():
    old = video("a")
    del old["fingerprint"]
    with pytest.raises(RefusedError, match=r"must have a fingerprint.*Received: 'a_v' without. Build"):
        same_recordings([video("b"), old])
