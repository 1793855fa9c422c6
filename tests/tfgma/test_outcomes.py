import pytest

from pipelines.schema import RefusedError
from tfgma.outcomes import outcome_of, refuse_within, videos_in


def test_folders_are_the_videos_below_them_in_order(tmp_path):
    for name in ("b/2.MP4", "b/1.mov", "a/3.avi", "a/.hidden.mp4", "a/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    single = tmp_path / "a" / "notes.txt"
    found = videos_in([single, tmp_path])
    assert found == [single, *(tmp_path / name for name in ("a/3.avi", "b/1.mov", "b/2.MP4"))]


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"a folder of videos must hold some \(.*\.mp4.*\)\. Received"):
        videos_in([tmp_path])


def test_a_refusal_is_an_outcome(tmp_path):
    class Picky:
        def assess(self, video, *, pictures, overlay):
            assert pictures == (overlay is not None)
            if "bad" in video.name:
                raise RefusedError("no")
            return video.name

    bad = outcome_of(Picky(), tmp_path / "bad")
    assert (bad.assessment, bad.verdict, bad.reason) == (None, "not assessable / uncertain", "no")
    assert bad.as_json() == {"video": str(tmp_path / "bad"), "reason": "no"}
    assert outcome_of(Picky(), tmp_path / "good", tmp_path / "film.mp4").assessment == "good"


def test_nothing_is_written_among_the_videos(tmp_path):
    video = tmp_path / "in" / "one.mp4"
    video.parent.mkdir()
    video.touch()
    for report in (tmp_path / "in", tmp_path / "in" / "pages", tmp_path / "out" / ".." / "in"):
        with pytest.raises(RefusedError, match="--report must lie outside of the folders that are assessed"):
            refuse_within(report, [video, tmp_path / "in"])
    refuse_within(tmp_path / "in-pages", [tmp_path / "in"])
    refuse_within(tmp_path / "in", [video])  # a single video beside its page
