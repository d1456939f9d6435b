"""The seam to the file system: what each call promises, and the small combinations of them."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.files import SYSTEM_FILES
from coordinator.folders import make_dirs, refresh_down, remove_quietly, remove_tree, sweep, write_new
from coordinator.testing import Call, FailAt, InterceptedFiles

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_is_exclusive_and_written_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    with SYSTEM_FILES.create(path) as file:
        file.write(b"ab")
        file.write(b"c" * 3_000_000)
        file.sync()
        file.close()
    assert SYSTEM_FILES.read(path) == b"ab" + b"c" * 3_000_000
    with pytest.raises(FileExistsError):
        SYSTEM_FILES.create(path)


def test_short_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:3])))
    write_new(SYSTEM_FILES, str(tmp_path / "f"), b"0123456789")
    assert (tmp_path / "f").read_bytes() == b"0123456789"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o755])
def test_a_mode_is_exact_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    path = str(tmp_path / "f")
    before = os.umask(0o077)
    try:
        write_new(SYSTEM_FILES, path, b"", mode)
        write_new(SYSTEM_FILES, path + "2", b"")
    finally:
        os.umask(before)
    assert SYSTEM_FILES.stat(path).mode == mode
    assert SYSTEM_FILES.stat(path + "2").mode == 0o600


def test_what_stat_tells(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("f")
    os.mkfifo(tmp_path / "pipe")
    kinds = {name: SYSTEM_FILES.stat(str(tmp_path / name)).kind for name in ("f", "link", "pipe", ".")}
    assert kinds == {"f": "file", "link": "symlink", "pipe": "other", ".": "directory"}
    found = SYSTEM_FILES.stat(str(tmp_path / "f"))
    assert found.size_bytes == 3
    assert found.inode == (tmp_path / "f").stat().st_ino


def test_a_link_is_exclusive_and_carries_its_text(tmp_path: Path) -> None:
    path = str(tmp_path / "link")
    SYSTEM_FILES.symlink("v=1/" + "x" * 996, path)
    assert len(SYSTEM_FILES.readlink(path)) == 1000
    with pytest.raises(FileExistsError):
        SYSTEM_FILES.symlink("other", path)
    with pytest.raises(OSError, match="Invalid argument"):
        SYSTEM_FILES.readlink(str(tmp_path))


def test_directories(tmp_path: Path) -> None:
    top = str(tmp_path)
    SYSTEM_FILES.mkdir(f"{top}/d")
    with pytest.raises(FileExistsError):
        SYSTEM_FILES.mkdir(f"{top}/d")
    (tmp_path / "d" / "f").touch()
    assert SYSTEM_FILES.listdir(f"{top}/d") == ["f"]
    SYSTEM_FILES.refresh(f"{top}/d")
    SYSTEM_FILES.sync_dir(f"{top}/d")
    for call in (SYSTEM_FILES.listdir, SYSTEM_FILES.refresh, SYSTEM_FILES.sync_dir):
        with pytest.raises(FileNotFoundError):
            call(f"{top}/absent")
        with pytest.raises(NotADirectoryError):
            call(f"{top}/d/f")
    with pytest.raises(OSError, match="not empty"):
        SYSTEM_FILES.rmdir(f"{top}/d")


def test_a_directory_renamed_onto_one_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """The second primitive rests on it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record").write_text(name, encoding="ascii")
    with pytest.raises(OSError, match=r"not empty|exists") as caught:
        SYSTEM_FILES.rename(str(tmp_path / "a"), str(tmp_path / "b"))
    assert caught.value.errno in {errno.ENOTEMPTY, errno.EEXIST}
    assert (tmp_path / "b" / "record").read_text(encoding="ascii") == "b"


def test_touch_sets_now_and_makes_what_is_absent(tmp_path: Path) -> None:
    path = str(tmp_path / "clock")
    first = SYSTEM_FILES.touch(path)
    os.utime(path, (1, 1))
    again = SYSTEM_FILES.touch(path)
    assert first > 10**18
    assert again >= first
    assert os.stat(path).st_mtime_ns == again


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lock_excludes_until_it_is_freed(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = SYSTEM_FILES.try_lock(path)
    assert first is not None
    assert SYSTEM_FILES.try_lock(path) is None
    first.unlock()
    first.unlock()  # twice is nothing
    second = SYSTEM_FILES.try_lock(path)
    assert second is not None
    second.unlock()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    code = (
        "import os, sys; from coordinator.files import SYSTEM_FILES; lock = SYSTEM_FILES.try_lock(sys.argv[1]);"
        "print(lock is not None, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert SYSTEM_FILES.try_lock(path) is None
        process.kill()
        process.wait(60)
    lock = SYSTEM_FILES.try_lock(path)
    assert lock is not None
    lock.unlock()


def test_no_program_started_meanwhile_inherits_a_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = SYSTEM_FILES.try_lock(path)
    assert lock is not None
    code = "import os; print(sorted(os.listdir('/dev/fd')))"
    with_lock = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, close_fds=False)
    lock.unlock()
    without = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, close_fds=False)
    assert with_lock.stdout == without.stdout


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_lock_that_is_refused_raises_what_the_system_said(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, no_open_files_left: None
) -> None:
    _ = no_open_files_left

    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("portalocker.portalocker.LOCKER", refuse)
    with pytest.raises(OSError, match=re.escape(os.strerror(code))) as caught:
        SYSTEM_FILES.try_lock(str(tmp_path / "lock"))
    assert caught.value.errno == code


def test_the_lock_file_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = SYSTEM_FILES.try_lock(path)
    assert lock is not None
    inode = os.stat(path).st_ino
    lock.unlock()
    assert os.stat(path).st_ino == inode


# ── combinations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_make_dirs_makes_every_name_durable(tmp_path: Path) -> None:
    top = str(tmp_path)
    calls: list[Call] = []
    make_dirs(InterceptedFiles(SYSTEM_FILES, calls.append), top, f"{top}/a/b/c")
    synced = [call.path for call in calls if call.op == "sync_dir" and call.when == "after"]
    assert synced == [top, f"{top}/a", f"{top}/a/b"]
    calls.clear()
    make_dirs(InterceptedFiles(SYSTEM_FILES, calls.append), top, f"{top}/a/b/c")  # whoever made them may have died
    assert [call.path for call in calls if call.op == "sync_dir" and call.when == "after"] == synced


def test_make_dirs_tells_of_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError):
        make_dirs(SYSTEM_FILES, str(tmp_path), f"{tmp_path}/a/b")


def test_refresh_down_opens_each_directory_from_the_top(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    top = str(tmp_path)
    calls: list[Call] = []
    refresh_down(InterceptedFiles(SYSTEM_FILES, calls.append), top, f"{top}/a/b")
    assert [call.path for call in calls if call.when == "after"] == [top, f"{top}/a", f"{top}/a/b"]
    with pytest.raises(FileNotFoundError):
        refresh_down(SYSTEM_FILES, top, f"{top}/a/x/y")


@pytest.mark.parametrize("op", ["write", "sync"])
def test_write_new_leaves_nothing_when_it_fails(tmp_path: Path, op: str) -> None:
    files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.ENOSPC, op))
    with pytest.raises(OSError, match="No space"):
        write_new(files, str(tmp_path / "f"), b"data")
    assert list(tmp_path.iterdir()) == []


def test_write_new_syncs_before_it_returns(tmp_path: Path) -> None:
    calls: list[Call] = []
    write_new(InterceptedFiles(SYSTEM_FILES, calls.append), str(tmp_path / "f"), b"data")
    assert [call.op for call in calls if call.when == "after"] == ["create", "write", "sync"]


def test_an_error_at_close_is_told_unless_another_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.close

    def close(descriptor: int) -> None:
        real(descriptor)
        raise OSError(errno.EIO, "told at close, as NFS does")

    def body(fails: bool) -> None:
        with SYSTEM_FILES.create(str(tmp_path / f"f{fails}")):
            monkeypatch.setattr(os, "close", close)
            if fails:
                raise ZeroDivisionError

    with pytest.raises(OSError, match="told at close"):
        body(fails=False)
    monkeypatch.setattr(os, "close", real)
    with pytest.raises(ZeroDivisionError):
        body(fails=True)


def test_removing(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "f").touch()
    (tmp_path / "d" / "link").symlink_to(tmp_path)
    remove_quietly(SYSTEM_FILES, str(tmp_path / "absent"))
    remove_tree(SYSTEM_FILES, str(tmp_path / "d"))
    remove_tree(SYSTEM_FILES, str(tmp_path / "absent"))
    assert list(tmp_path.iterdir()) == []  # and the link's target is still there


def test_sweeping_removes_only_what_is_old(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    (tmp_path / "old-folder" / "x").mkdir(parents=True)
    (tmp_path / "new").touch()
    for name in ("old", "old-folder"):
        os.utime(tmp_path / name, (1000, 1000))
    assert sweep(SYSTEM_FILES, str(tmp_path), 1_000_001) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]


def test_no_descriptor_outlives_a_call(tmp_path: Path, no_open_files_left: None) -> None:
    _ = no_open_files_left
    path = str(tmp_path / "f")
    write_new(SYSTEM_FILES, path, b"x")
    SYSTEM_FILES.read(path)
    SYSTEM_FILES.listdir(str(tmp_path))
    SYSTEM_FILES.refresh(str(tmp_path))
    SYSTEM_FILES.sync_dir(str(tmp_path))
    SYSTEM_FILES.touch(path)
    lock = SYSTEM_FILES.try_lock(path)
    assert SYSTEM_FILES.try_lock(path) is None
    assert lock is not None
    lock.unlock()
    assert stat.S_ISREG(os.stat(path).st_mode)


def test_a_file_that_nobody_closed_is_closed_with_the_last_name_of_it(tmp_path: Path, no_open_files_left: None) -> None:
    """So a fault between opening and closing, or a forked child that drops its parent's file, leaks nothing."""
    del no_open_files_left
    for i in range(100):
        SYSTEM_FILES.create(str(tmp_path / str(i))).write(b"x")
