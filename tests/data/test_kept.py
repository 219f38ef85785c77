import os

import pytest

from sweepengine.data.kept import DIGEST, keep, kept_folder, read_kept


def test_content_is_kept_until_a_byte_of_it_changes(tmp_path):
    path = tmp_path / "folder" / "file"
    keep(path, b"content")
    assert read_kept(path) == b"content"
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    damaged = bytearray(path.read_bytes())
    damaged[DIGEST] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(OSError, match="damaged"):
        read_kept(path)


def test_what_is_no_file_is_neither_read_nor_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a file of ours"):
        read_kept(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    keep(tmp_path / "file" / "below", b"content")
    (tmp_path / "folder").mkdir()
    keep(tmp_path / "folder", b"content")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder", "pipe"]


def test_folder_is_below_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_folder() == tmp_path / "sweepengine"
