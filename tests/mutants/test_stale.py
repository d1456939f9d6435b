"""StaleFiles against what was measured of real clients."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from coordinator.files import SYSTEM_FILES, Files
from coordinator.folders import make_dirs, refresh_down, write_new
from coordinator.testing import Call
from coordinator.testing.stale import StaleFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def top(tmp_path: Path) -> str:
    return os.path.realpath(tmp_path)


@pytest.fixture
def here() -> Files:
    return StaleFiles(SYSTEM_FILES)


@pytest.fixture
def there() -> Files:
    return StaleFiles(SYSTEM_FILES)


def absent(look: Callable[[str], object], path: str) -> bool:
    try:
        look(path)
    except FileNotFoundError as error:
        return str(error.filename) == path
    return False


def replace(files: Files, path: str, data: bytes) -> None:
    write_new(files, f"{path}.new", data)
    files.rename(f"{path}.new", path)


OPENINGS = ["listdir", "refresh", "sync_dir"]


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("lookup", ["stat", "read"])
def test_an_absent_name_stays_absent_until_its_folder_is_opened(
    top: str, here: Files, there: Files, lookup: str, opening: str
) -> None:
    path = f"{top}/name"
    assert absent(getattr(here, lookup), path)
    write_new(there, path, b"new")
    assert absent(getattr(here, lookup), path)
    assert absent(here.stat, path)
    assert absent(here.unlink, path)
    assert not absent(there.stat, path)
    getattr(here, opening)(top)
    assert here.read(path) == b"new"


def test_an_absent_link_stays_absent_until_its_folder_is_opened(top: str, here: Files, there: Files) -> None:
    path = f"{top}/link"
    assert absent(here.readlink, path)
    there.symlink("target", path)
    assert absent(here.readlink, path)
    assert here.listdir(top) == ["link"]
    assert here.readlink(path) == "target"


@pytest.mark.parametrize("opening", OPENINGS)
def test_a_replaced_file_is_read_stale_until_its_folder_is_opened(
    top: str, here: Files, there: Files, opening: str
) -> None:
    path = f"{top}/file"
    write_new(there, path, b"old")
    assert here.read(path) == b"old"
    before = here.stat(path)
    replace(there, path, b"newer")
    assert here.read(path) == b"old"
    assert here.stat(path) == before
    assert there.read(path) == b"newer"
    getattr(here, opening)(top)
    assert here.read(path) == b"newer"
    assert here.stat(path).size_bytes == 5


def test_a_switched_link_is_read_stale_until_its_folder_is_opened(top: str, here: Files, there: Files) -> None:
    there.symlink("old", f"{top}/link")
    assert here.readlink(f"{top}/link") == "old"
    there.symlink("new", f"{top}/aside")
    there.rename(f"{top}/aside", f"{top}/link")
    assert here.readlink(f"{top}/link") == "old"
    here.refresh(top)
    assert here.readlink(f"{top}/link") == "new"


@pytest.mark.parametrize("opening", OPENINGS)
def test_opening_another_folder_does_not_help(top: str, here: Files, there: Files, opening: str) -> None:
    there.mkdir(f"{top}/folder")
    path = f"{top}/folder/name"
    assert absent(here.stat, path)
    write_new(there, path, b"new")
    getattr(here, opening)(top)
    assert absent(here.stat, path)
    getattr(here, opening)(f"{top}/folder")
    assert not absent(here.stat, path)


def test_a_folder_that_was_absent_hides_all_that_is_in_it(top: str, here: Files, there: Files) -> None:
    path = f"{top}/a/b/name"
    assert absent(here.listdir, f"{top}/a/b")
    make_dirs(there, top, f"{top}/a/b")
    write_new(there, path, b"new")
    assert absent(here.listdir, f"{top}/a/b")
    assert absent(here.read, path)
    assert absent(here.refresh, f"{top}/a")
    assert absent(lambda name: here.symlink("target", name), f"{top}/a/link")
    refresh_down(here, top, f"{top}/a/b")
    assert here.read(path) == b"new"


def test_exclusive_creation_is_decided_by_the_server_whatever_is_remembered(
    top: str, here: Files, there: Files
) -> None:
    def make(files: Files, kind: str) -> None:
        path = f"{top}/{kind}"
        if kind == "symlink":
            files.symlink("target", path)
        elif kind == "create":
            files.create(path).close()
        elif kind == "mkdir":
            files.mkdir(path)
        else:
            prepared = f"{top}/prepared-{id(files)}"
            files.mkdir(prepared)
            write_new(files, f"{prepared}/record", b"record")
            files.rename(prepared, path)

    for kind in ("symlink", "create", "mkdir", "rename"):
        assert absent(here.stat, f"{top}/{kind}")
        make(there, kind)
        with pytest.raises(OSError, match=f"exists|not empty.*{kind}"):
            make(here, kind)
        assert absent(here.stat, f"{top}/{kind}"), "what has taken the name is still not seen"
        here.refresh(top)
        with pytest.raises(OSError, match=f"exists|not empty.*{kind}"):
            make(here, kind)
        # The other way round: it is remembered as taken, and free again.
        if kind == "symlink":
            assert here.readlink(f"{top}/{kind}") == "target"
            there.unlink(f"{top}/{kind}")
            make(here, kind)


def test_a_clients_own_changes_are_known_to_it(top: str, here: Files) -> None:
    path = f"{top}/file"
    assert absent(here.stat, path)
    write_new(here, path, b"old")
    assert here.read(path) == b"old"
    replace(here, path, b"new")
    assert here.read(path) == b"new"
    assert absent(here.stat, f"{path}.new")
    here.rename(path, f"{path}-moved")
    assert absent(here.read, path)
    assert here.read(f"{path}-moved") == b"new"
    here.unlink(f"{path}-moved")
    assert absent(here.read, f"{path}-moved")


def test_files_in_a_folder_that_a_client_moves_go_with_it(top: str, here: Files) -> None:
    here.mkdir(f"{top}/old")
    write_new(here, f"{top}/old/file", b"data")
    assert here.read(f"{top}/old/file") == b"data"
    assert absent(here.stat, f"{top}/new/file")
    here.rename(f"{top}/old", f"{top}/new")
    assert absent(here.read, f"{top}/old/file")
    assert here.read(f"{top}/new/file") == b"data"


def test_locks_and_the_servers_time_are_asked_of_the_server(top: str, here: Files, there: Files) -> None:
    path = f"{top}/lock"
    assert absent(here.stat, path)
    lock = there.try_lock(path)
    assert lock is not None
    assert here.try_lock(path) is None
    lock.unlock()
    first = here.touch(f"{top}/clock")
    assert there.touch(f"{top}/clock") >= first
    assert here.realpath(path) == path


def test_its_hook_sees_what_is_answered_from_memory(top: str) -> None:
    calls: list[Call] = []
    here = StaleFiles(SYSTEM_FILES, calls.append)
    write_new(SYSTEM_FILES, f"{top}/file", b"data")
    for _ in range(2):
        here.read(f"{top}/file")
    assert calls == [Call("before", "read", f"{top}/file"), Call("after", "read", f"{top}/file")] * 2
