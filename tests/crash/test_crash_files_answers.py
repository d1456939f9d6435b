"""The file system that forgets answers as the real one does."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.files import SYSTEM_FILES
from coordinator.folders import write_new
from coordinator.testing import ManualClock
from coordinator.testing.crash import CrashFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coordinator.files import FileLock, Files


Step = tuple[str, ...]

PATHS: Final = (
    "",
    "a",
    "b",
    "a/x",
    "a/y",
    "b/x",
    "a/x/z",
    "b/x/z",
    "a/" + "n" * 255,
    "b/" + "n" * 256,
    "a/../b",
    "l/x",
)
TARGETS: Final = (
    "x",
    "a",
    "b",
    "../b",
    "../a/x",
    "l",
    "nowhere",
    "<root>",
    "<root>/a/x",
    "v=1/n=1",
    "t" * 4095,
    "t" * 4096,
    "",
)
ONE_PATH: Final = (
    "listdir",
    "refresh",
    "readlink",
    "read",
    "stat",
    "realpath",
    "mkdir",
    "create",
    "write",
    "unlink",
    "rmdir",
    "sync_dir",
    "try_lock",
    "unlock",
    "touch",
)


class Player:
    """Plays steps on one file system, and tells what came of each."""

    def __init__(self, files: Files, root: str) -> None:
        self._files, self._root = files, root
        self._locks: list[FileLock] = []

    def play(self, step: Step) -> object:
        op, *names = step
        try:
            return getattr(self, f"_{op}", self._plain)(op, *names)
        except OSError as error:
            code = error.errno or 0
            # macOS: unlink of a directory is EPERM; POSIX: either of the two for a rename onto a full directory.
            same = {("unlink", errno.EPERM): errno.EISDIR, ("rename", errno.EEXIST): errno.ENOTEMPTY}
            return errno.errorcode[same.get((op, code), code)]

    def close(self) -> None:
        for lock in self._locks:
            lock.unlock()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _plain(self, op: str, name: str) -> object:
        return getattr(self._files, op)(self._path(name))

    def _listdir(self, _op: str, name: str) -> object:
        return sorted(self._files.listdir(self._path(name)))

    def _stat(self, _op: str, name: str) -> object:
        found = self._files.stat(self._path(name))
        # A directory's size, and a link's mode, are each file system's own.
        return found.kind, 0 if found.kind == "directory" else found.size_bytes, found.kind == "symlink" or found.mode

    def _create(self, _op: str, name: str) -> object:
        with self._files.create(self._path(name), 0o640 if name.endswith("y") else None) as file:
            file.write(b"one ")
            file.write(b"two")
            file.sync()
        with pytest.raises(OSError, match="Bad file descriptor"):
            file.write(b"three")
        return "made"

    def _write(self, _op: str, name: str) -> None:
        write_new(self._files, self._path(name), name.encode() * 3)

    def _symlink(self, _op: str, target: str, name: str) -> None:
        self._files.symlink(target.replace("<root>", self._root), self._path(name))

    def _rename(self, _op: str, old: str, new: str) -> None:
        self._files.rename(self._path(old), self._path(new))

    def _try_lock(self, _op: str, name: str) -> object:
        lock = self._files.try_lock(self._path(name))
        if lock:
            self._locks.append(lock)
        return lock is not None

    def _unlock(self, _op: str, name: str) -> object:
        if self._locks:
            lock = self._locks.pop(len(name) % len(self._locks))
            lock.unlock()
            lock.unlock()
        return len(self._locks)

    def _touch(self, _op: str, name: str) -> object:
        path = self._path(name)
        assert self._files.touch(path) == self._files.stat(path).mtime_ns
        return "touched"


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def both(folder: str) -> tuple[Player, Player]:
    """The real one in a folder of its own, and the other one under the very same path."""
    crash, made = CrashFiles(umask=0o022), ""
    for part in folder.split("/")[1:]:
        made = f"{made}/{part}"
        crash.mkdir(made)
    return Player(SYSTEM_FILES, folder), Player(crash, folder)


def compare(folder: str, steps: list[Step]) -> set[object]:
    """Plays the steps on both, one by one; returns what came of them."""
    real, model = both(folder)
    outcomes: set[object] = set()
    try:
        for i, step in enumerate(steps):
            expected, found = real.play(step), model.play(step)
            assert found == expected, f"{step} after {steps[:i]}"
            outcomes.add(found if isinstance(found, str) else type(found).__name__)
        for name in PATHS:
            for op in ("listdir", "readlink", "read", "stat", "realpath"):
                assert model.play((op, name)) == real.play((op, name)), f"{op} {name!r} after {steps}"
    finally:
        real.close()
        model.close()
    return outcomes


SCRIPT: Final[list[Step]] = [
    ("mkdir", "a"),
    ("mkdir", "a"),
    ("mkdir", "b/x"),
    ("write", "a/x"),
    ("write", "a/x"),
    ("create", "a/y"),
    ("listdir", "a/x"),
    ("listdir", "nowhere"),
    ("mkdir", "a/x/z"),
    ("readlink", "a/x"),
    ("readlink", "a"),
    ("readlink", "nowhere"),
    ("symlink", "a", "l"),
    ("symlink", "a", "l"),
    ("readlink", "l"),
    ("read", "l/x"),
    ("read", "a"),
    ("stat", "l"),
    ("rmdir", "l"),
    ("rmdir", "a"),
    ("rmdir", "a/x"),
    ("unlink", "a"),
    ("rename", "a", "a"),
    ("rename", "a", "a/x/z"),
    ("rename", "a", "a/z"),
    ("rename", "a/x", "a"),
    ("rename", "a/x", "a/y"),
    ("rename", "a/y", "b"),
    ("mkdir", "c"),
    ("rename", "b", "c"),
    ("rename", "c", "b"),
    ("unlink", "b"),
    ("mkdir", "b"),
    ("write", "b/x"),
    ("rename", "a", "b"),
    ("rename", "b", "a"),
    ("rename", "b/x", "a"),
    ("rename", "nowhere", "b/x/z"),
    ("rename", "nowhere", "b/z"),
    ("symlink", "m", "k"),
    ("symlink", "k", "m"),
    ("read", "k"),
    ("realpath", "k"),
    ("realpath", "k/more/../x"),
    ("touch", "k"),
    ("symlink", "nowhere", "n"),
    ("touch", "n"),
    ("stat", "nowhere"),
    ("touch", "a"),
    ("touch", "b/x/z"),
    ("try_lock", "nowhere"),
    ("try_lock", "n"),
    ("unlock", ""),
    ("try_lock", "n"),
    ("unlink", "nowhere"),
    ("try_lock", "nowhere"),
    ("try_lock", "a"),
    ("try_lock", "absent/x"),
    ("sync_dir", "a"),
    ("sync_dir", "b/x"),
    ("sync_dir", "absent"),
    ("write", "a/" + "n" * 256),
    ("symlink", "", "empty"),
    ("symlink", "t" * 4096, "long"),
    ("realpath", "l/../b/./x"),
]


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[], str]:
    """Makes a fresh folder at each call."""
    real = os.path.realpath(tmp_path)

    def make() -> str:
        path = f"{real}/{len(os.listdir(real))}"
        os.mkdir(path)
        return path

    return make


def test_it_answers_as_the_real_one_by_script(folders: Callable[[], str]) -> None:
    outcomes = compare(folders(), SCRIPT)
    wanted = {"EEXIST", "ENOENT", "ENOTDIR", "EISDIR", "EINVAL", "ENOTEMPTY", "ELOOP", "ENAMETOOLONG"}
    assert wanted <= outcomes


_names = st.sampled_from(PATHS)
# Which of two refusals comes first is the kernel's own affair: no name here is too long.
_renamed = st.sampled_from([path for path in PATHS if path and len(path) < 255])
_steps = st.one_of(
    st.tuples(st.sampled_from(ONE_PATH), _names),
    st.tuples(st.just("mkdir"), st.sampled_from(("a", "b", "a/x"))),
    st.tuples(st.just("symlink"), st.sampled_from(TARGETS), st.sampled_from(("l", "a/x", "a/y", "b"))),
    st.tuples(st.just("rename"), _renamed, _renamed),
)


@settings(max_examples=300)
@given(steps=st.lists(_steps, min_size=5, max_size=30))
def test_it_answers_as_the_real_one_by_chance(folders: Callable[[], str], steps: list[Step]) -> None:
    compare(folders(), steps)


def test_a_difference_would_be_seen(folders: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrashFiles, "rmdir", CrashFiles.unlink)
    with pytest.raises(AssertionError, match="rmdir"):
        compare(folders(), SCRIPT)


def test_times_are_those_of_its_clock() -> None:
    clock = ManualClock()
    files = CrashFiles(clock)
    first = files.touch("/f")
    clock.advance(1500)
    assert files.stat("/f").mtime_ns == first == (clock.wall_ms() - 1500) * 1_000_000
    write_new(files, "/g", b"x")
    assert files.touch("/f") == files.stat("/g").mtime_ns == clock.wall_ms() * 1_000_000
