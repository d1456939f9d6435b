"""The workspace: made once, opened by many, looked at and looked after."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from support import together

from coordinator import BadName, BadValue, Damaged, NoRoom, NotAWorkspace, StoreUnavailable, Unsuitable, Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.limits import TTL_DEFAULT_MS
from coordinator.names import parse_agent
from coordinator.testing import Call, FailAt, InterceptedFiles

if TYPE_CHECKING:
    from pathlib import Path


def test_opening_makes_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent" / "deeper"):
        with pytest.raises(NotAWorkspace):
            Workspace(path)
    assert list(tmp_path.iterdir()) == []


def test_making_wants_an_existing_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(NotAWorkspace):
            Workspace.init(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_making_twice_is_opening(tmp_path: Path) -> None:
    first = Workspace.init(tmp_path, agent="a")
    assert Workspace.init(tmp_path, agent="b").format == first.format == Workspace(tmp_path).format
    assert Workspace.init(tmp_path, primitive="symlink").format == first.format
    with pytest.raises(BadValue):
        Workspace.init(tmp_path, primitive="directory")
    with pytest.raises(BadValue):
        Workspace.init(tmp_path, primitive="hardlink")


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    made = together(*[lambda: Workspace.init(tmp_path).format.workspace_id] * 8)
    assert len(set(made)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [".coordinator"]


def test_where_links_are_refused_the_other_primitive_is_chosen(tmp_path: Path) -> None:
    files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.EPERM, "symlink", times=1000))
    workspace = Workspace.init(tmp_path, agent="a", files=files)
    assert workspace.format.primitive == "directory"
    with workspace.lease("x") as lease:
        lease.commit(b"1")
    assert Workspace(tmp_path).document("x").read() == b"1"


@pytest.mark.parametrize(
    ("op", "code", "missing"),
    [
        ("try_lock", errno.ENOLCK, "flock"),
        ("try_lock", errno.EOPNOTSUPP, "flock"),
        ("sync", errno.EINVAL, "fsync"),
        ("sync_dir", errno.EINVAL, "fsync"),
        ("touch", errno.EPERM, "time"),
    ],
)
def test_a_file_system_that_will_not_do_is_told_what_it_lacks(tmp_path: Path, op: str, code: int, missing: str) -> None:
    files = InterceptedFiles(SYSTEM_FILES, FailAt(code, op, times=1000))
    with pytest.raises(Unsuitable) as caught:
        Workspace.init(tmp_path, files=files)
    assert any(missing in thing and errno.errorcode[code] in thing for thing in caught.value.missing)
    assert list(tmp_path.iterdir()) == []


def test_locks_that_do_not_exclude_are_found_out(tmp_path: Path) -> None:
    class NoLocks:
        """As a mount with ``nolock``: everybody gets the lock."""

        def __getattr__(self, name: str) -> object:
            return getattr(SYSTEM_FILES, name)

        def try_lock(self, path: str) -> object:
            return SYSTEM_FILES.try_lock(f"{path}-{os.urandom(4).hex()}")

    with pytest.raises(Unsuitable, match="two descriptors hold one exclusive lock"):
        Workspace.init(tmp_path, files=NoLocks())  # type: ignore[arg-type]


@pytest.mark.parametrize("nth", range(1, 60, 4))
def test_making_it_without_room_leaves_nothing(tmp_path: Path, nth: int) -> None:
    made = 0

    def hook(call: Call) -> None:
        nonlocal made
        if call.when == "before" and call.op in {"mkdir", "create", "write", "symlink", "touch"}:
            made += 1
            if made >= nth:
                raise OSError(errno.ENOSPC, "full", call.path)

    try:
        Workspace.init(tmp_path, files=InterceptedFiles(SYSTEM_FILES, hook))
    except NoRoom:
        assert list(tmp_path.iterdir()) == []
    else:
        assert made < nth
    Workspace.init(tmp_path, agent="a").lease("x").release()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"format": 1}', b"\xff"])
def test_a_damaged_format_is_told_and_not_replaced(tmp_path: Path, text: bytes) -> None:
    Workspace.init(tmp_path)
    path = tmp_path / ".coordinator" / "format.json"
    path.write_bytes(text)
    for use in (Workspace, Workspace.init):
        with pytest.raises(Damaged) as caught:
            use(tmp_path)
        assert caught.value.path == str(path)
    assert path.read_bytes() == text


def test_a_folder_without_format_is_told_and_not_replaced(tmp_path: Path) -> None:
    Workspace.init(tmp_path)
    (tmp_path / ".coordinator" / "format.json").unlink()
    with pytest.raises(NotAWorkspace):
        Workspace(tmp_path)
    with pytest.raises(Damaged):
        Workspace.init(tmp_path)
    assert (tmp_path / ".coordinator" / "resources").is_dir()


@pytest.mark.parametrize("op", ["refresh", "read"])
def test_a_mount_that_does_not_answer_is_unavailable_and_not_absent(tmp_path: Path, op: str) -> None:
    Workspace.init(tmp_path)
    files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.ESTALE, op, times=1000))
    for use in (Workspace, Workspace.init):
        with pytest.raises(StoreUnavailable):
            use(tmp_path, files=files)


def test_who_acts(tmp_path: Path) -> None:
    Workspace.init(tmp_path)
    assert parse_agent(Workspace(tmp_path).agent)
    assert Workspace(tmp_path, agent="reviewer-1").agent == "reviewer-1"
    with pytest.raises(BadName):
        Workspace(tmp_path, agent="not an agent")


def test_the_directory_is_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    Workspace.init(tmp_path / "real")
    assert Workspace(tmp_path / "link").directory == os.path.realpath(tmp_path / "real")
    assert Workspace(str(tmp_path / "link")).directory == os.path.realpath(tmp_path / "real")


def test_the_default_ttl_is_the_documented_one(workspace: Workspace) -> None:
    assert workspace.lease("x").ttl == TTL_DEFAULT_MS / 1000 == 30


def test_status_tells_each_state(workspace: Workspace) -> None:
    assert workspace.status() == []
    free = workspace.status_of("never")
    assert (free.state, free.fence, free.holder, free.revision) == ("free", 0, "", 0)
    workspace.lease("held").commit(b"12345")
    workspace.lease("freed").release()
    workspace.lease("detached").detach()
    found = {status.resource: status for status in workspace.status()}
    assert {name: status.state for name, status in found.items()} == {
        "held": "held",
        "freed": "free",
        "detached": "detached",
    }
    held = found["held"]
    assert (held.holder, held.fence, held.revision, held.size_bytes, held.conflicts) == ("alice", 1, 1, 5, 0)
    assert held.until_ms - held.since_ms == TTL_DEFAULT_MS


def test_sweeping_leaves_what_is_young(workspace: Workspace) -> None:
    workspace.lease("x").release()
    folder = os.path.join(workspace.directory, ".coordinator")
    for name in ("scratch/old", "scratch/young", "clock/old"):
        with open(f"{folder}/{name}", "wb"):
            pass
    for name in ("scratch/old", "clock/old"):
        os.utime(f"{folder}/{name}", (1, 1))
    assert workspace.collect().files == 2
    assert os.listdir(f"{folder}/scratch") == ["young"]
    assert "old" not in os.listdir(f"{folder}/clock")
    assert workspace.lease("x").fence == 3


def test_a_workspace_that_is_dropped_keeps_no_descriptor(workspace: Workspace, no_open_files_left: None) -> None:
    """A long-lived process may open one after another; the sign of life of each is a lock, and so a descriptor."""
    del no_open_files_left
    for name in ("one", "two", "three"):
        Workspace(workspace.directory, agent=name).lease("x").release()
