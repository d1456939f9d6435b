"""``authority adopt``: directories that were moved, restored or copied, and tables that were restored."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from coordinator import Workspace
from coordinator.errors import NoRoom
from coordinator.files import SYSTEM_FILES
from coordinator.record import authority as authorities
from coordinator.record.authority import Authority, change, read_authority
from coordinator.record.failover import FailoverStore
from coordinator.record.format import read_format, renew_id
from coordinator.record.record import MOUNT, TABLE
from coordinator.testing import FailAt, InterceptedFiles

from .fleet import AT_TABLE, FLEET, copied, id_of, mark_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.record.table_calls import TableCalls

    from .conftest import Answer


# ── adopt ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("moved", [False, True])
def test_a_directory_that_was_restored(
    calls: TableCalls, call: Callable[..., Answer], used: Workspace, tmp_path: Path, *, moved: bool
) -> None:
    assert call("authority", "move", "table" if moved else "mount", "--yes", *AT_TABLE).status == 0
    before = read_authority(calls, id_of(used))
    assert before is not None
    aside = copied(used, tmp_path / "restored")
    shutil.rmtree(used.directory)
    os.rename(aside, used.directory)
    os.chdir(used.directory)
    refused = call("status", *AT_TABLE, "--json")
    assert (refused.status, refused.error["error"]) == (78, "TableUnusable")
    assert "coordinator authority adopt" in refused.error["hint"]
    told = call("authority", "adopt", *AT_TABLE, "--json")
    assert told.status == 0
    assert told.value == {
        "workspace_id": id_of(used),
        "id_before": id_of(used),
        "mode": before.mode,
        "epoch": before.epoch,
        "registered": mark_of(used.directory),
    }
    found = read_authority(calls, id_of(used))
    assert found is not None
    assert (found.mode, found.epoch, found.born) == (before.mode, before.epoch, before.born)
    assert (found.by, found.directory) == ("bob", mark_of(used.directory))
    assert found.at_ms > 0
    assert call("document", "show", "a.json", *AT_TABLE).out == "{}\n"
    assert call("authority", "adopt", *AT_TABLE).status == 0, "again: it is"
    assert read_authority(calls, id_of(used)) == found


def test_adopting_what_the_table_does_not_know(
    calls: TableCalls, call: Callable[..., Answer], workspace: Workspace
) -> None:
    assert call("authority", "adopt").status == 2
    told = call("authority", "adopt", *AT_TABLE)
    assert told.out == f"the table fleet knows {workspace.directory} as the workspace {id_of(workspace)}\n"
    assert read_authority(calls, id_of(workspace)) == Authority(MOUNT, 1, MOUNT, mark_of(workspace.directory), "bob", 0)


def test_the_rule_is_moved_while_a_directory_is_adopted(
    calls: TableCalls, call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Authority(MOUNT, 1, MOUNT, "inode of the first", "carol")
    authorities.register(calls, id_of(workspace), first)
    moves = [
        Authority(TABLE, 2, MOUNT, first.directory, "carol", 2),
        Authority(MOUNT, 3, MOUNT, first.directory, "d", 3),
    ]

    def move_first(calls: TableCalls, workspace_id: str, old: Authority, new: Authority) -> Authority:
        if moves:
            change(calls, workspace_id, old, moves.pop(0))
        return change(calls, workspace_id, old, new)

    monkeypatch.setattr(authorities, "change", move_first)
    told = call("authority", "adopt", *AT_TABLE, "--json").value
    assert (told["mode"], told["epoch"], told["registered"]) == ("mount", 3, mark_of(workspace.directory))
    assert moves == []


def test_a_copy_gets_an_id_of_its_own(
    calls: TableCalls, call: Callable[..., Answer], used: Workspace, tmp_path: Path
) -> None:
    assert call("status", *AT_TABLE).status == 0  # registers it
    copy = copied(used, tmp_path / "copy")
    path = copy / ".coordinator" / "format.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"of_a_newer_version": [1]}))
    there = (*AT_TABLE, "--workspace", str(copy))
    assert call("status", *there).status == 78
    told = call("authority", "adopt", "--new-id", *there, "--json")
    assert told.status == 0
    fresh = told.value["workspace_id"]
    assert (told.value["id_before"], told.value["registered"]) == (id_of(used), mark_of(copy))
    written = json.loads(path.read_text())
    assert (written["workspace_id"], written["of_a_newer_version"]) == (fresh, [1])
    assert sorted(each.name for each in path.parent.iterdir()) == sorted(os.listdir(f"{used.directory}/.coordinator"))

    assert call("authority", "move", "table", *there).status == 0
    assert call("lease", "a.json", *there, "--", "true").status == 0
    assert call("document", "show", "a.json", *there).out == "{}\n"
    mine, first = read_authority(calls, fresh), read_authority(calls, id_of(used))
    assert mine is not None
    assert first is not None
    assert (mine.mode, first.mode) == (TABLE, MOUNT), "the first one knows nothing of it"
    assert call("authority", "show", *AT_TABLE, "--json").value["on_mount"] == 3


def test_the_first_directory_keeps_its_id(calls: TableCalls, call: Callable[..., Answer], used: Workspace) -> None:
    assert call("status", *AT_TABLE).status == 0  # registers it
    told = call("authority", "adopt", "--new-id", *AT_TABLE, "--json")
    assert (told.status, told.error["fields"]["argument"]) == (2, "new-id")
    assert read_format(SYSTEM_FILES, used.directory).workspace_id == id_of(used)
    assert calls.table == FLEET


@pytest.mark.usefixtures("calls")
def test_a_copy_whose_records_are_in_the_table_keeps_its_id(
    call: Callable[..., Answer], used: Workspace, tmp_path: Path
) -> None:
    early = copied(used, tmp_path / "early")
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    late = copied(used, tmp_path / "late")
    told = call("authority", "adopt", "--new-id", *AT_TABLE, "--workspace", str(late), "--json")
    assert (told.status, told.error["error"]) == (78, "AuthorityMoved")
    assert "a.json, b.json, deploy/prod" in told.error["message"]
    assert read_format(SYSTEM_FILES, str(late)).workspace_id == id_of(used)
    told = call("authority", "adopt", "--new-id", *AT_TABLE, "--workspace", str(early), "--json")
    assert (told.status, told.value["mode"]) == (0, "mount"), "it was copied before the move"
    assert call("document", "show", "a.json", *AT_TABLE, "--workspace", str(early)).out == "{}\n"

    assert call("authority", "move", "mount", "--yes", *AT_TABLE).status == 0
    back = copied(used, tmp_path / "back")
    told = call("authority", "adopt", "--new-id", *AT_TABLE, "--workspace", str(back), "--json")
    assert (told.status, told.value["mode"]) == (0, "mount"), "copied after all was brought back"
    assert told.value["epoch"] == 3, "its chains tell of so many moves"
    assert call("lease", "a.json", *AT_TABLE, "--workspace", str(back), "--", "true").status == 0
    assert call("authority", "move", "table", *AT_TABLE, "--workspace", str(back)).status == 0
    assert call("document", "show", "a.json", *AT_TABLE, "--workspace", str(back)).out == "{}\n"


@pytest.mark.usefixtures("calls")
def test_a_copy_of_a_workspace_that_was_born_in_the_table(call: Callable[..., Answer], tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    assert call("init", str(folder), *AT_TABLE).status == 0
    empty, full = tmp_path / "empty", tmp_path / "full"
    shutil.copytree(folder, empty, symlinks=True)
    there = (*AT_TABLE, "--workspace")
    assert call("authority", "adopt", "--new-id", *there, str(empty), "--json").value["mode"] == "table"
    assert call("lease", "x", *there, str(empty), "--", "true").status == 0

    with Workspace(folder, table=FLEET) as opened:
        opened.document("a.json").commit(b"{}\n", if_revision=0)
    shutil.copytree(folder, full, symlinks=True)
    told = call("authority", "adopt", "--new-id", *there, str(full), "--json")
    assert (told.status, told.error["error"]) == (78, "AuthorityMoved")


@pytest.mark.parametrize("operation", ["create", "rename"])
def test_an_id_that_cannot_be_written(workspace: Workspace, operation: str) -> None:
    files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.ENOSPC, operation, contains="format.json"))
    before = sorted(os.listdir(f"{workspace.directory}/.coordinator"))
    with pytest.raises(NoRoom):
        renew_id(files, workspace.directory, "fresh")
    assert read_format(SYSTEM_FILES, workspace.directory).workspace_id == id_of(workspace)
    assert sorted(os.listdir(f"{workspace.directory}/.coordinator")) == before


# ── a table that was restored ────────────────────────────────────────────────────────────────────────────────────────


def forget(calls: TableCalls, workspace_id: str, *, known: Authority | None) -> None:
    """Makes the table what one restored to an earlier point is; to a point before it knew anything, with None."""
    items = calls.client.scan(TableName=FLEET, ConsistentRead=True)["Items"]
    for item in items:
        calls.client.delete_item(TableName=FLEET, Key={"pk": item["pk"], "sk": item["sk"]})
    if known is not None:
        authorities.register(calls, workspace_id, known)


@pytest.mark.parametrize("moves", [["table"], ["table", "mount"], ["table", "mount", "table"]])
@pytest.mark.parametrize("knew", ["nothing", "the workspace"])
def test_a_table_that_was_restored_to_before_a_move(
    calls: TableCalls, call: Callable[..., Answer], used: Workspace, moves: list[str], *, knew: str
) -> None:
    for mode in moves:
        assert call("authority", "move", mode, "--yes", *AT_TABLE).status == 0
    known = Authority(MOUNT, 1, MOUNT, mark_of(used.directory), "carol")
    forget(calls, id_of(used), known=None if knew == "nothing" else known)
    told = call("authority", "adopt", *AT_TABLE, "--json")
    assert (told.status, told.value["mode"], told.value["epoch"]) == (0, moves[-1], 1 + len(moves))
    for name in ("a.json", "b.json"):
        assert call("document", "show", name, *AT_TABLE).out == "{}\n"
    assert call("lease", "deploy/prod", *AT_TABLE, "--", "true").status == 0
    assert call("authority", "move", "mount", "--yes", *AT_TABLE).status == 0
    assert call("lease", "deploy/prod", "--", "true").status == 0
    fences = [record.lease.fence for record in used.history("deploy/prod") if record.kind == "grant" and record.lease]
    assert fences == sorted(set(fences)), "what was granted before the seal is not granted again"


def test_a_table_that_was_restored_and_not_adopted(
    calls: TableCalls, call: Callable[..., Answer], used: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must end, and say what to do."""
    assert call("authority", "move", "table", *AT_TABLE).status == 0
    forget(calls, id_of(used), known=Authority(MOUNT, 1, MOUNT, mark_of(used.directory), "carol"))
    learn, asked = FailoverStore.learn, []

    def learn_for_a_while(store: FailoverStore) -> Authority:
        asked.append(store)
        assert len(asked) < 20, "it asks who rules for ever"
        return learn(store)

    monkeypatch.setattr(FailoverStore, "learn", learn_for_a_while)
    told = call("document", "show", "a.json", *AT_TABLE)
    assert told.status == 78
    assert "coordinator authority adopt" in told.err
