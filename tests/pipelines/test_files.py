import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from pipelines import files
from pipelines.files import folder_written_whole, full_disk_refused, written_whole
from pipelines.schema import RefusedError


def test_the_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with written_whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail():
        with written_whole(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_no_file(tmp_path):
    with written_whole(tmp_path / "a.json"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_bytes_reach_the_disk_before_their_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    """The order of calls, since no test can cut the power."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        calls.append(f"fsync {kind}")
        fsync(descriptor)

    def note_replace(old, new):
        calls.append("rename")
        replace(old, new)

    monkeypatch.setattr(files.os, "fsync", note_fsync)
    monkeypatch.setattr(files.os, "replace", note_replace)
    with written_whole(tmp_path / "a.json") as temporary:
        temporary.write_text("x")
    assert calls == ["fsync file", "rename", "fsync folder"]


def test_a_file_system_without_fsync_of_folders_is_served_and_other_errors_are_not_hidden(
    tmp_path, monkeypatch
):
    fsync = os.fsync
    code = errno.EINVAL

    def refuse_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", refuse_folders)
    with written_whole(tmp_path / "a.json") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a.json").read_text() == "x"
    code = errno.EIO
    with (
        pytest.raises(OSError, match=os.strerror(errno.EIO)),
        written_whole(tmp_path / "a.json") as temporary,
    ):
        temporary.write_text("y")


def test_a_process_that_is_killed_in_the_middle_leaves_the_old_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom pipelines.files import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('ne')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.json", "a.json.part"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "file"),
        RuntimeError("ResourceExhaustedError: logs/events; No space left on device\nTraceback"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_one_sentence_whoever_met_it(error, tmp_path):
    with (
        pytest.raises(
            RefusedError, match=r"^the disk must have room .*no space left in .*Make room, then go"
        ),
        full_disk_refused(tmp_path, "go on"),
    ):
        raise error


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), RefusedError("No. Received: 1")]
)
def test_what_is_no_full_disk_stays_what_it_was(error, tmp_path):
    with pytest.raises(type(error)) as found, full_disk_refused(tmp_path, "go on"):
        raise error
    assert found.value is error


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_there_whole_or_not_at_all(tmp_path, there):
    out = tmp_path / "new" / "folder"
    if there:
        out.mkdir(parents=True)
    with folder_written_whole(out) as half:
        (half / "a").write_text("whole")
        assert not (out / "a").exists()
    assert [path.name for path in out.iterdir()] == ["a"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o755
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_that_failed_half_way_leaves_nothing(tmp_path):
    def fail():
        with folder_written_whole(tmp_path / "folder") as half:
            (half / "a").write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_kept(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("kept")
    with (
        pytest.raises(RefusedError, match=r"--out must be a new or empty folder\. Received: "),
        folder_written_whole(tmp_path / "folder"),
    ):
        pytest.fail("nothing may begin")
    assert (tmp_path / "folder" / "mine").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 1
