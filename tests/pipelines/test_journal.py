import json

import pytest

from pipelines.journal import Journal


def test_what_was_added_is_read_in_order(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    assert journal.read() == []
    journal.add({"id": "a"}, {"id": "b", "text": "two\nlines"})
    journal.add()
    journal.add({"id": "ü"})
    assert [one["id"] for one in Journal(tmp_path / "j.jsonl").read()] == ["a", "b", "ü"]
    journal.remove()
    assert journal.read() == []
    journal.remove()


def test_a_line_cut_short_anywhere_is_not_read_and_spoils_no_other(tmp_path):
    path = tmp_path / "j.jsonl"
    Journal(path).add({"id": "a"}, {"id": "b"})
    whole = path.read_bytes()
    first = len(json.dumps({"id": "a"})) + 1
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        Journal(path).add({"id": "c"})
        kept = ["a"] if length >= first else []
        assert [one["id"] for one in Journal(path).read()] == [*kept, "c"]


def test_a_full_disk_is_not_hidden(tmp_path):
    (tmp_path / "j.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        Journal(tmp_path / "j.jsonl").add({"id": "a"})
