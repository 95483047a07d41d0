"""Files that are whole or not there."""

import errno
import os
import stat
import time

import pytest

from lmc_lib import files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def test_is_the_parts_in_order(path):
    assert files.write(path, b"one", b"", b" two")
    assert path.read_bytes() == b"one two"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_the_first_stays_unless_it_is_to_be_replaced(path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    assert files.write(path, b"first", replace=False)
    assert not files.write(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert files.write(path, b"third")
    assert path.read_bytes() == b"third"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_others_may_read_it_as_any_file(path):
    path.with_name("usual").write_bytes(b"")
    for replace in (False, True):
        files.write(path, b"one", replace=replace)
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.with_name("usual").stat().st_mode)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_fails_leaves_the_former_file_and_nothing_else(path, monkeypatch, error, step):
    path.write_bytes(b"former")

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(os if step == "fsync" else type(path), step, fail)
    with pytest.raises(type(error)):
        files.write(path, b"new")
    assert path.read_bytes() == b"former"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_what_somebody_removes_before_it_is_in_place_is_written_again(path, monkeypatch):
    """As one whose clock is a day fast, who takes it for abandoned."""
    flush = os.fsync
    times = []

    def remove(descriptor):
        flush(descriptor)
        times.append(1)
        for each, _ in files.aside(path):
            if len(times) < 3:
                each.unlink()

    monkeypatch.setattr(os, "fsync", remove)
    assert files.write(path, b"one", replace=False)
    assert path.read_bytes() == b"one"
    assert len(times) == 4  # twice removed, once in place, and the folder


def test_a_missing_folder_is_told(path):
    with pytest.raises(FileNotFoundError):
        files.write(path / "none", b"one")


def test_a_flush_that_folders_do_not_know_loses_nothing(path, monkeypatch):
    flush = os.fsync

    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no folders")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    assert files.write(path, b"one")
    assert path.read_bytes() == b"one"


def test_a_link_is_replaced_and_not_followed(path):
    target = path.with_name("target")
    target.write_bytes(b"kept")
    path.symlink_to(target)
    assert not files.write(path, b"new", replace=False)
    assert files.write(path, b"new")
    assert (path.read_bytes(), target.read_bytes(), path.is_symlink()) == (b"new", b"kept", False)


def test_what_writers_left_is_listed_with_whether_it_is_abandoned(path):
    names = [".file-host-1-a", ".file-host-1-b", ".filed-host-1-c", "file", ".other-host-1-d"]
    for name in names:
        path.with_name(name).touch()
    os.utime(path.with_name(names[1]), (time.time() - 90_000,) * 2)
    assert list(files.aside(path)) == [(path.with_name(names[0]), False), (path.with_name(names[1]), True)]
