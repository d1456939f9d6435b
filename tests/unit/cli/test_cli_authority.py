"""``authority show`` and ``authority move``."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from engines.faults import PASS, held
from support import wait_until

from coordinator import Workspace
from coordinator.errors import NoDirectory
from coordinator.files import SystemFiles
from coordinator.mounts import Mounted
from coordinator.record.authority import Authority, change, read_authority
from coordinator.record.record import MOUNT, TABLE

from .fleet import AT_TABLE, FLEET, id_of, mark_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine
    from engines.faults import Fault
    from engines.fixtures import ProxyFactory

    from coordinator.record.table_calls import TableCalls

    from .conftest import Answer, Started


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_without_a_table(call: Callable[..., Answer], used: Workspace) -> None:
    told = call("authority", "show", "--json").value
    assert told == {
        "workspace_id": id_of(used),
        "directory": used.directory,
        "table": None,
        "mode": "mount",
        "epoch": 1,
        "born": None,
        "registered": None,
        "by": None,
        "at_ms": None,
        "on_mount": 3,
        "in_table": 0,
        "to_come": [],
        "trouble": [],
    }
    assert "the mount rules; no table was named\n" in call("authority", "show").out


def test_show_before_and_after_a_move(calls: TableCalls, call: Callable[..., Answer], used: Workspace) -> None:
    before = call("authority", "show", *AT_TABLE, "--json").value
    assert (before["mode"], before["epoch"], before["born"]) == ("mount", 1, "mount")
    assert (before["on_mount"], before["in_table"], before["to_come"]) == (3, 0, [])
    assert before["registered"] == mark_of(used.directory)
    assert call("status", *AT_TABLE).out.endswith(f"the mount rules the workspace {id_of(used)} (epoch 1)\n")

    old = read_authority(calls, id_of(used))
    assert old is not None
    # as somebody would leave it who was killed right after the first step of a move
    change(calls, id_of(used), old, Authority(TABLE, 2, MOUNT, old.directory, "carol", 1_790_000_000_000))
    Workspace(used.directory, table=FLEET, agent="carol").status_of("a.json")
    after = call("authority", "show", *AT_TABLE, "--json").value
    assert (after["mode"], after["epoch"], after["by"], after["at_ms"]) == ("table", 2, "carol", 1_790_000_000_000)
    assert (after["on_mount"], after["in_table"]) == (2, 1)
    assert after["to_come"] == ["b.json", "deploy/prod"]
    assert call("authority", "show", *AT_TABLE, "--json").value == after, "looking moves nothing"
    text = call("authority", "show", *AT_TABLE).out
    assert re.search(r"^the table fleet rules \(epoch 2\) since 20\d\d-\d\d-\d\d .*, by carol$", text, re.MULTILINE)
    assert "2 come over when they are first used, or now: authority move: b.json, deploy/prod\n" in text


def test_show_when_the_mount_is_gone(calls: TableCalls, call: Callable[..., Answer], used: Workspace) -> None:
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    assert calls.table == FLEET
    os.rename(used.directory, f"{used.directory}-away")
    os.chdir("/")
    gone = ("authority", "show", *AT_TABLE, "--workspace", used.directory)
    told = call(*gone, "--workspace-id", id_of(used), "--json")
    assert told.status == 0
    assert (told.value["mode"], told.value["epoch"]) == ("table", 2)
    assert (told.value["on_mount"], told.value["in_table"]) == (0, 3)
    assert "the directory cannot be had" in told.value["trouble"][0]
    assert "the directory cannot be had" in call(*gone, "--workspace-id", id_of(used)).err
    assert call(*gone).status == 66, "whose it is cannot be told"
    assert call(*gone, "--workspace-id", "stranger").status == 66
    assert call("authority", "show", *AT_TABLE, "--workspace-id", id_of(used)).err == "", "it was not asked for"


@pytest.mark.usefixtures("calls")
def test_show_by_the_id_of_one_whose_mount_rules(call: Callable[..., Answer], used: Workspace) -> None:
    assert call("authority", "show", *AT_TABLE).status == 0  # registers it
    distant = (*AT_TABLE, "--workspace-id", id_of(used))
    assert call("status", *distant).status == 78
    told = call("authority", "show", *distant, "--json")
    assert (told.status, told.value["mode"], told.value["in_table"]) == (0, "mount", 0)


@pytest.mark.usefixtures("calls")
def test_show_when_the_mount_fails_in_the_midst(
    call: Callable[..., Answer], used: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    listdir = SystemFiles.listdir

    def fail(files: SystemFiles, path: str) -> Any:
        if "/resources" in path:
            raise OSError(errno.EIO, "Input/output error", path)
        return listdir(files, path)

    monkeypatch.setattr(SystemFiles, "listdir", fail)
    told = call("authority", "show", *AT_TABLE, "--json")
    assert (told.status, told.value["in_table"]) == (0, 3)
    assert "EIO" in told.value["trouble"][0]
    assert told.value["directory"] == used.directory


@pytest.mark.usefixtures("calls")
def test_show_tells_of_a_move_to_a_table_that_is_not_named(call: Callable[..., Answer], used: Workspace) -> None:
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    assert used.directory
    assert "3 have been moved to a table: name it with --table\n" in call("authority", "show").out


# ── move ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_and_back(calls: TableCalls, call: Callable[..., Answer], used: Workspace) -> None:
    with Workspace(used.directory, table=FLEET, agent="carol") as carol:
        lease = carol.lease("b.json", ttl=600)
        told = call("authority", "move", "table", *AT_TABLE)
        assert (told.status, told.err) == (0, "")
        assert told.out.splitlines() == [
            "a.json: in the table",
            "b.json: in the table",
            "deploy/prod: in the table",
            "the table rules (epoch 2): 3 resources",
        ]
        lease.commit(b'{"at": "the table"}\n')
        assert call("status", *AT_TABLE).out.endswith(f"the table fleet rules the workspace {id_of(used)} (epoch 2)\n")
        assert call("lease", "show", "b.json", *AT_TABLE, "--json").value["fence"] == lease.fence
        assert call("lease", "b.json", "--", "true").status == 78, "whoever names no table cannot go on"
        assert call("authority", "move", "table", *AT_TABLE, "--json").value == {
            "mode": "table",
            "epoch": 2,
            "brought": ["a.json", "b.json", "deploy/prod"],
            "trouble": [],
        }

        back = call("authority", "move", "mount", "--yes", *AT_TABLE)
        assert back.out.splitlines()[-1] == "the mount rules (epoch 3): 3 resources"
        assert "b.json: on the mount" in back.out
        lease.commit(b'{"at": "the mount"}\n')
        lease.release()
    assert used.document("b.json").content().data == b'{"at": "the mount"}\n'
    found = read_authority(calls, id_of(used))
    assert found is not None
    assert (found.mode, found.epoch, found.by) == (MOUNT, 3, "bob")
    assert call("lease", "b.json", "--", "sh", "-c", f"test $COORDINATOR_FENCE -gt {lease.fence}").status == 0


@pytest.mark.usefixtures("calls")
def test_back_to_the_mount_only_when_somebody_says_so(call: Callable[..., Answer], used: Workspace) -> None:
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    told = call("authority", "move", "mount", *AT_TABLE, "--json")
    assert (told.status, told.error["error"]) == (2, "BadValue")
    assert "--yes" in told.error["hint"]
    assert call("authority", "show", *AT_TABLE, "--json").value["epoch"] == 2
    assert used.directory


@pytest.mark.parametrize(("answer", "status", "epoch"), [("y", 0, 3), ("n", 130, 2), ("", 130, 2)])
@pytest.mark.usefixtures("calls")
def test_the_person_at_the_terminal_is_asked(
    call: Callable[..., Answer],
    used: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    *,
    answer: str,
    status: int,
    epoch: int,
) -> None:
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "wb", buffering=0) as person, os.fdopen(end, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        person.write(f"{answer}\n".encode())
        told = call("authority", "move", "mount", *AT_TABLE)
    assert told.status == status
    assert "Move? [y/N]" in told.err
    assert call("authority", "show", *AT_TABLE, "--json").value["epoch"] == epoch
    assert used.directory


def test_a_move_that_is_killed_is_taken_up_again(
    calls: TableCalls,
    dynamodb: Engine,
    fault_proxy: ProxyFactory,
    start: Callable[..., Started],
    used: Workspace,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed while the second resource is on its way: sealed on the mount, and not in the table yet."""
    never = threading.Event()
    updates: list[int] = []

    def plan(number: int, operation: str, _body: Any) -> Fault:
        if operation != "UpdateItem":
            return PASS
        updates.append(number)
        return held(never) if len(updates) == 3 else PASS  # the rule itself, the first resource, and this one

    proxy = fault_proxy(dynamodb, plan)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", proxy.endpoint_url)
        killed = start("authority", "move", "table", *AT_TABLE)
    assert killed.line() == "a.json: in the table"
    wait_until(lambda: proxy.held == 1)
    killed.send(signal.SIGKILL)
    assert killed.end().status == -signal.SIGKILL
    found = read_authority(calls, id_of(used))
    assert found is not None
    assert (found.mode, found.epoch) == (TABLE, 2)
    shown = json.loads(start("authority", "show", *AT_TABLE, "--json").end().out)
    assert (shown["on_mount"], shown["in_table"], shown["to_come"]) == (1, 2, ["b.json", "deploy/prod"])

    again = start("authority", "move", "table", *AT_TABLE, "--json").end()
    assert json.loads(again.out) == {
        "mode": "table",
        "epoch": 2,
        "brought": ["a.json", "b.json", "deploy/prod"],
        "trouble": [],
    }
    shown = json.loads(start("authority", "show", *AT_TABLE, "--json").end().out)
    assert (shown["on_mount"], shown["in_table"], shown["to_come"]) == (0, 3, [])
    with Workspace(used.directory, table=FLEET) as opened:
        assert opened.document("b.json").content().data == b"{}\n"


def test_a_mount_that_fails_in_the_midst_of_a_move(
    calls: TableCalls, call: Callable[..., Answer], used: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    symlink = SystemFiles.symlink
    put: list[str] = []

    def fail(files: SystemFiles, target: str, path: str) -> None:
        put.append(path)
        if len(put) > 1:
            raise OSError(errno.EROFS, "Read-only file system", path)
        symlink(files, target, path)

    with monkeypatch.context() as patch:
        patch.setattr(SystemFiles, "symlink", fail)
        told = call("authority", "move", "table", *AT_TABLE)
    assert told.status == 73
    assert told.out == "a.json: in the table\n"
    assert "say the same command again" in told.err
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    found = read_authority(calls, id_of(used))
    assert found is not None
    assert found.epoch == 2


@pytest.mark.usefixtures("calls")
def test_one_damaged_resource_does_not_hold_the_others(call: Callable[..., Answer], used: Workspace) -> None:
    record = next(Path(used.directory, ".coordinator").glob("resources/b.json/*/chain/*"))
    text = os.readlink(record).replace("kind=", "kind=x")
    record.unlink()
    record.symlink_to(text)
    told = call("authority", "move", "table", *AT_TABLE, "--json")
    assert told.status == 65
    assert told.value["brought"] == ["a.json", "deploy/prod"]
    assert "b.json" in told.value["trouble"][0]
    shown = call("authority", "show", *AT_TABLE, "--json").value
    assert (shown["in_table"], len(shown["trouble"])) == (2, 1)


@pytest.mark.parametrize("mode", ["table", "mount"])
@pytest.mark.usefixtures("calls")
def test_a_move_needs_the_directory_and_the_table(call: Callable[..., Answer], used: Workspace, mode: str) -> None:
    assert call("authority", "show", *AT_TABLE).status == 0  # registers it
    told = call("authority", "move", mode, "--yes", *AT_TABLE, "--workspace-id", id_of(used), "--json")
    assert (told.status, told.error["error"]) == (78, "NoDirectory")
    told = call("authority", "move", mode, "--yes", "--json")
    assert (told.status, told.error["fields"]["argument"]) == (2, "table")
    assert call("authority", "move", "elsewhere", *AT_TABLE).status == 2


@pytest.mark.usefixtures("calls")
def test_a_move_without_the_directory_where_the_table_rules(call: Callable[..., Answer]) -> None:
    distant = (*AT_TABLE, "--workspace-id", "w")
    assert call("init", *distant).status == 0
    told = call("authority", "move", "mount", "--yes", *distant, "--json")
    assert (told.status, told.error["error"]) == (78, "NoDirectory")
    with pytest.raises(NoDirectory):
        Workspace(table=FLEET, workspace="w").move_authority("mount")


@pytest.mark.usefixtures("calls")
def test_the_rule_does_not_go_back_to_a_mount_whose_locks_are_one_hosts(
    call: Callable[..., Answer], used: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    nolock = Mounted(used.directory, "nfs4", frozenset({"rw", "nolock"}))
    monkeypatch.setattr(SystemFiles, "mount_of", lambda *_: nolock)
    told = call("authority", "move", "mount", "--yes", *AT_TABLE, "--json")
    assert (told.status, told.error["error"]) == (78, "Unsuitable")
    assert "nolock" in told.error["message"]
    assert call("authority", "show", *AT_TABLE, "--json").value["mode"] == "table"
    assert call("authority", "move", "mount", "--yes", "--single-host", *AT_TABLE).status == 0
    assert call("authority", "show", *AT_TABLE, "--json").value["mode"] == "mount"


def test_init_on_a_mount_whose_locks_are_one_hosts(
    call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    monkeypatch.setattr(SystemFiles, "mount_of", lambda *_: Mounted("/", "fuse.mount-s3", frozenset()))
    told = call("init", str(folder), "--json")
    assert (told.status, told.error["error"]) == (78, "Unsuitable")
    assert list(folder.iterdir()) == []
    assert call("init", str(folder), "--single-host").status == 0
