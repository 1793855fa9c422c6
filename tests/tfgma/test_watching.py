import itertools

import pytest

from pipelines.schema import RefusedError
from tfgma.watching import arrivals


def test_a_video_is_taken_when_it_has_stopped_growing(tmp_path):
    looks = itertools.count()

    def sleep(seconds):
        """Between looks a copy goes on: of one file for two looks."""
        look = next(looks)
        assert look < 20
        if look < 3:
            with (tmp_path / "slow.mp4").open("a") as file:
                file.write("more")
        if look == 5:
            (tmp_path / "below").mkdir()
            (tmp_path / "below" / "late.MOV").write_text("whole")

    (tmp_path / "known.mp4").touch()
    (tmp_path / "ready.mp4").touch()
    (tmp_path / ".hidden.mp4").touch()
    (tmp_path / "notes.txt").touch()
    found = arrivals(tmp_path, [tmp_path / "known.mp4"], sleep)
    assert next(found) == tmp_path / "ready.mp4"
    assert next(looks) == 1  # after one pause
    assert next(found) == tmp_path / "slow.mp4"
    assert next(looks) >= 4
    assert (tmp_path / "slow.mp4").read_text() == "more" * 2
    assert next(found) == tmp_path / "below" / "late.MOV"


def test_a_video_that_vanishes_is_forgotten(tmp_path):
    (tmp_path / "gone.mp4").touch()

    def sleep(seconds):
        (tmp_path / "gone.mp4").unlink(missing_ok=True)

    found = arrivals(tmp_path, (), sleep)
    (tmp_path / "here.mp4").touch()
    assert next(found) == tmp_path / "here.mp4"


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"--watch must be a folder\. Received"):
        next(arrivals(tmp_path / "none", ()))
