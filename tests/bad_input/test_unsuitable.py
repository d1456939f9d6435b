"""File systems that lack something: refused at init with each thing named and nothing left behind, or worked around."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from coordinator import Workspace
from coordinator.errors import NoRoom, StoreUnavailable, Unsuitable
from coordinator.files import SYSTEM_FILES, FileLock, SystemFiles
from coordinator.testing import FailAt, InterceptedFiles

if TYPE_CHECKING:
    from pathlib import Path


class NoLocks(SystemFiles):
    """Everybody gets the lock, as on a mount with ``nolock`` of its own kind."""

    def try_lock(self, path: str) -> FileLock | None:
        return SYSTEM_FILES.try_lock(f"{path}.{os.urandom(4).hex()}")


class ShortLinks(SystemFiles):
    """Symbolic links to at most so many bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def symlink(self, target: str, path: str) -> None:
        if len(target.encode()) > self._limit:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        super().symlink(target, path)


class OverwritingLinks(SystemFiles):
    """A symbolic link replaces the one that is there: not exclusive."""

    def symlink(self, target: str, path: str) -> None:
        if os.path.lexists(path):
            os.unlink(path)
        super().symlink(target, path)


class Both(SystemFiles):
    """Neither symbolic links nor renaming a folder work."""

    def symlink(self, target: str, path: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), target, None, path)

    def rename(self, old: str, new: str) -> None:
        if os.path.isdir(old):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), new)
        super().rename(old, new)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.json").write_bytes(b"precious")
    return tmp_path


def refused(folder: Path, files: SystemFiles | InterceptedFiles, primitive: str | None = None) -> Unsuitable:
    """The refusal, after which the directory is as it was before."""
    with pytest.raises(Unsuitable) as caught:
        Workspace.init(folder, files=files, primitive=primitive)
    assert os.listdir(folder) == ["tasks.json"]
    assert (folder / "tasks.json").read_bytes() == b"precious"
    assert caught.value.path == str(folder)
    assert caught.value.hint
    assert all(what in str(caught.value) for what in caught.value.missing)
    return caught.value


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_flock_that_is_refused(folder: Path, code: int) -> None:
    error = refused(folder, InterceptedFiles(SYSTEM_FILES, FailAt(code, "try_lock", times=100)))
    assert len(error.missing) == 1
    assert error.missing[0].startswith("flock: ")
    assert errno.errorcode[code] in error.missing[0]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EDQUOT, errno.EREMOTEIO], ids=errno.errorcode.get)
def test_flock_that_is_refused_later(folder: Path, code: int) -> None:
    """Over a quota of locks, say: no room that is made would help, and the hint says what would."""
    Workspace.init(folder, agent="alice")
    files = InterceptedFiles(SYSTEM_FILES, FailAt(code, "try_lock", times=100))
    with pytest.raises(StoreUnavailable) as raised:
        Workspace(folder, agent="bob", files=files).lease("tasks.json", wait=1)
    assert type(raised.value) is StoreUnavailable
    assert raised.value.cause.startswith(errno.errorcode[code])
    assert "quota of locks" in raised.value.hint


def test_a_full_disk_is_told_as_such_when_there_is_no_file_to_lock_yet(folder: Path) -> None:
    Workspace.init(folder, agent="alice")
    files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.ENOSPC, "try_lock", times=100))
    with pytest.raises(NoRoom):
        Workspace(folder, agent="bob", files=files).lease("tasks.json", wait=1)


def test_flock_that_everybody_gets(folder: Path) -> None:
    error = refused(folder, NoLocks())
    assert [what.partition(":")[0] for what in error.missing] == ["flock"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES], ids=errno.errorcode.get)
def test_without_symbolic_links_directories_are_renamed(folder: Path, code: int) -> None:
    files = InterceptedFiles(SYSTEM_FILES, FailAt(code, "symlink", times=10**6))
    workspace = Workspace.init(folder, agent="alice", files=files)
    assert workspace.format.primitive == "directory"
    with workspace.lease("tasks.json", ttl=5) as lease:
        assert lease.read() == b"precious"
        lease.commit(b"new")
    assert Workspace(folder, files=files).document("tasks.json").read() == b"new"


def test_symbolic_links_that_replace_each_other_are_not_trusted(folder: Path) -> None:
    assert Workspace.init(folder, files=OverwritingLinks()).format.primitive == "directory"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_symbolic_links_wanted_and_refused(folder: Path, code: int) -> None:
    files = InterceptedFiles(SYSTEM_FILES, FailAt(code, "symlink", times=10**6))
    error = refused(folder, files, primitive="symlink")
    assert len(error.missing) == 1
    assert "symlink" in error.missing[0]


def test_neither_primitive(folder: Path) -> None:
    error = refused(folder, Both())
    assert ["symlink" in error.missing[0], "directory" in error.missing[1]] == [True, True]
    assert "EPERM" in error.missing[0]
    assert "EXDEV" in error.missing[1]


def test_each_thing_that_is_missing_is_named_at_once(folder: Path) -> None:
    class Nothing(Both, NoLocks):
        pass

    error = refused(folder, Nothing())
    assert [("flock" in what, "symlink" in what, "directory" in what) for what in error.missing[:3]] == [
        (False, True, False),
        (False, False, True),
        (True, False, False),
    ]


@pytest.mark.parametrize(("limit", "primitive"), [(512, "directory"), (998, "directory"), (1000, "symlink")])
def test_short_symbolic_links_are_found_out_at_init(folder: Path, limit: int, primitive: str) -> None:
    files = ShortLinks(limit)
    workspace = Workspace.init(folder, agent="a" * 64, files=files)
    assert workspace.format.primitive == primitive
    with workspace.lease("tasks.json", ttl=5) as lease:
        lease.commit(b"new")
    assert workspace.document("tasks.json").read() == b"new"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_flock_refused_later_is_told_and_nothing_falls_back(folder: Path, code: int) -> None:
    Workspace.init(folder)
    files = InterceptedFiles(SYSTEM_FILES, FailAt(code, "try_lock", times=100))
    with pytest.raises(StoreUnavailable, match=errno.errorcode[code]) as caught:
        Workspace(folder, files=files).lease("tasks.json", ttl=5)
    assert not caught.value.outcome_unknown
    assert caught.value.hint
