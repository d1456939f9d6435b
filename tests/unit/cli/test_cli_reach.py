"""How a workspace is reached from the command line: ``--table`` and the like, ``init``, and no directory at all."""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import Workspace
from coordinator.errors import StoreUnavailable
from coordinator.files import SystemFiles
from coordinator.record import failover
from coordinator.record.authority import read_authority
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.table_calls import TableCalls

from .fleet import AT_TABLE, FLEET, id_of, mark_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Answer, Started


# ── how the workspace is reached ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        [*AT_TABLE, "--workspace-id", "w", "lease", "x", "--", "true"],
        ["lease", *AT_TABLE, "x", "--workspace-id=w", "--", "true"],
        ["lease", "run", "x", f"--table={FLEET}", "--workspace-id", "w", "--", "true"],
    ],
)
def test_it_may_be_said_anywhere(calls: TableCalls, call: Callable[..., Answer], line: list[str]) -> None:
    assert call("init", *AT_TABLE, "--workspace-id", "w").status == 0
    assert call(*line) == (0, "", "")
    shown = call("lease", "show", "x", *AT_TABLE, "--workspace-id", "w", "--json").value
    assert [one["kind"] for one in shown["history"]] == ["grant", "release"]
    assert read_authority(calls, "w") is not None


def test_it_may_be_said_by_the_environment(
    calls: TableCalls, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COORDINATOR_TABLE", FLEET)
    monkeypatch.setenv("COORDINATOR_WORKSPACE_ID", "w")
    monkeypatch.setenv("COORDINATOR_FALLBACK", "table")  # of a fleet, some of which has the directory
    assert call("init", "--json").value == {
        "directory": "",
        "workspace_id": "w",
        "primitive": "",
        "format": 1,
        "table": FLEET,
        "mode": "table",
        "epoch": 1,
    }
    assert call("lease", "x", "--", "true").status == 0
    assert call("status").out.splitlines()[1].split()[:2] == ["x", "free"]
    assert call("--workspace-id", "v", "status").status == 66, "the option goes first"
    monkeypatch.setenv("COORDINATOR_REGION", "eu-north-1")
    assert calls.is_here(), "an engine that has one database for each region"
    assert call("status").status == 78


def test_what_comes_after_the_dashes_is_the_commands(call: Callable[..., Answer], workspace: Workspace) -> None:
    assert call("lease", "x", "--", "echo", "--table", "t", "--region=r") == (0, "--table t --region=r\n", "")
    assert len(workspace.history("x")) == 2


@pytest.mark.parametrize("option", ["--table", "--region", "--workspace-id", "--fallback"])
def test_an_option_without_its_value(call: Callable[..., Answer], option: str) -> None:
    told = call("status", option)
    assert told.status == 2
    assert option in told.err


@pytest.mark.parametrize(
    ("line", "status", "about"),
    [
        (["--workspace-id", "w"], 2, "table"),
        (["--fallback", "table"], 2, "fallback"),
        ([*AT_TABLE, "--fallback", "mount"], 2, "fallback"),
        ([*AT_TABLE, "--workspace-id", "no such id"], 2, "no id of a workspace"),
        ([*AT_TABLE, "--workspace-id", "w"], 66, "coordinator init --table"),
        (["--table", "missing"], 78, "coordinator table create missing"),
    ],
)
@pytest.mark.usefixtures("calls")
def test_what_cannot_be_reached_so(call: Callable[..., Answer], line: list[str], status: int, about: str) -> None:
    told = call("status", *line)
    assert (told.status, told.out) == (status, "")
    assert about in told.err


@pytest.mark.usefixtures("calls")
def test_outside_of_every_workspace(
    call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = call("status", *AT_TABLE)
    assert told.status == 66
    assert "--workspace-id ID" in told.err


@pytest.mark.usefixtures("calls")
def test_a_directory_and_an_id_have_to_belong_together(call: Callable[..., Answer], workspace: Workspace) -> None:
    here = (*AT_TABLE, "--workspace", workspace.directory, "--workspace-id")
    assert call("status", *here, id_of(workspace)).status == 0
    told = call("status", *here, "another", "--json")
    assert (told.status, told.error["fields"]["argument"]) == (2, "workspace-id")
    assert id_of(workspace) in told.error["message"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EDQUOT, errno.EREMOTEIO], ids=errno.errorcode.get)
def test_flock_is_refused_and_the_rule_moves(
    code: int, calls: TableCalls, call: Callable[..., Answer], used: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_files: SystemFiles, path: str) -> None:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(SystemFiles, "try_lock", refuse)
    monkeypatch.setattr(failover, "FLOCK_REFUSED_MS", 1)
    assert call("lease", "a.json", *AT_TABLE, "--", "true").status == 69, "nothing falls back by itself (P31)"
    told = call("lease", "deploy/prod", *AT_TABLE, "--fallback", "table", "--json", "--", "true")
    assert told.status == 0
    notes = [json.loads(line).get("note", "") for line in told.err.splitlines()]
    assert [note for note in notes if f"flock is refused ({errno.errorcode[code]})" in note]
    found = read_authority(calls, id_of(used))
    assert found is not None
    assert (found.mode, found.epoch, found.by) == (TABLE, 2, "bob")


def test_a_mount_that_rules_goes_on_without_its_table(
    calls: TableCalls, call: Callable[..., Answer], used: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("status", *AT_TABLE).status == 0
    assert read_authority(calls, id_of(used)) is not None

    def no_answer(_calls: TableCalls, _action: str, about: str, *_: Any, **_request: Any) -> None:
        cause = "EndpointConnectionError"
        raise StoreUnavailable("the table did not answer", resource=about, cause=cause, outcome_unknown=False)

    monkeypatch.setattr(TableCalls, "call", no_answer)
    told = call("status", *AT_TABLE)
    assert (told.status, len(told.out.splitlines())) == (0, 4)
    assert "the table did not answer" in told.err
    assert call("lease", "a.json", *AT_TABLE, "--", "true").status == 0
    assert call("document", "show", "a.json", *AT_TABLE).out == "{}\n"
    assert call("document", "update", "a.json", '{"a": 1}', *AT_TABLE).status == 0, "nobody needs the inbox for this"


# ── without a directory ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def distant(calls: TableCalls, call: Callable[..., Answer]) -> tuple[str, ...]:
    """How a workspace without a directory is reached."""
    assert calls.table == FLEET
    reach = (*AT_TABLE, "--workspace-id", "w")
    assert call("init", *reach).out == (
        "w in the table fleet is a workspace\nthe table fleet rules the workspace w (epoch 1)\n"
    )
    return reach


def test_a_command_under_a_lease_without_a_directory(distant: tuple[str, ...], start: Callable[..., Started]) -> None:
    """The command reaches the same workspace by its environment."""
    inner = f"{sys.executable} -m coordinator.cli lease show x --json"
    told = start("lease", "x", *distant, "--", "sh", "-c", f"echo fence $COORDINATOR_FENCE; {inner}").end()
    assert told.status == 0, told.err
    first, _, rest = told.out.partition("\n")
    assert first == "fence 1"
    shown = json.loads(rest)
    assert (shown["state"], shown["holder"], shown["fence"]) == ("held", "bob", 1)


def test_two_at_once_without_a_directory(distant: tuple[str, ...], start: Callable[..., Started]) -> None:
    holder = start("lease", "x", *distant, "--", "sh", "-c", "echo held; read line")
    assert holder.line() == "held"
    refused = start("lease", "x", *distant, "--", "true").end()
    assert refused.status == 75
    assert "held by bob (fence 1)" in refused.err
    waits = start("lease", "x", *distant, "--wait", "60", "--", "sh", "-c", "echo $COORDINATOR_FENCE")
    holder.write_line("go on")
    assert holder.end().status == 0
    assert int(waits.line()) > 1
    assert waits.end().status == 0


def test_leases_are_shown_and_forced_without_a_directory(distant: tuple[str, ...], call: Callable[..., Answer]) -> None:
    with Workspace(table=FLEET, workspace="w", agent="carol") as far:
        lease = far.lease("x")
        assert "carol" in call("lease", "list", *distant).out
        assert call("lease", "release", "x", "--fence", str(lease.fence), *distant).status == 0
        assert call("lease", "list", *distant).out == "no lease is held\n"


def test_an_update_without_a_directory_is_durable(distant: tuple[str, ...], call: Callable[..., Answer]) -> None:
    told = call("document", "update", "plan.json", '[{"op":"add","path":"/a","value":1}]', "--wait", "0", *distant)
    assert told.status == 0, told.err
    assert told.out.startswith("durable, and not decided yet")


@pytest.mark.parametrize(
    "line", [["tasks", "list"], ["document", "show", "plan.json"], ["document", "edit", "plan.json"], ["gc"]]
)
def test_what_needs_the_directory_says_so(
    distant: tuple[str, ...], call: Callable[..., Answer], line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "true")
    assert call("lease", "plan.json", *distant, "--", "true").status == 0
    told = call(*line, *distant, "--json")
    assert (told.status, told.error["error"]) == (78, "NoDirectory"), told


# ── init ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_directory_that_is_ruled_by_the_table_from_birth(
    calls: TableCalls, call: Callable[..., Answer], tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    told = call("init", str(folder), *AT_TABLE, "--json")
    assert told.status == 0
    assert {name: told.value[name] for name in ("directory", "table", "mode", "epoch")} == {
        "directory": str(folder),
        "table": FLEET,
        "mode": "table",
        "epoch": 1,
    }
    assert call("lease", "x", *AT_TABLE, "-w", str(folder), "--", "true").status == 0
    refused = call("status", "-w", str(folder))
    assert refused.status == 78
    assert "--table" in refused.err
    found = read_authority(calls, told.value["workspace_id"])
    assert found is not None
    assert (found.born, found.directory) == (TABLE, mark_of(folder))
    assert call("status", *AT_TABLE, "--workspace-id", told.value["workspace_id"]).out.splitlines()[1].startswith("x")


def test_init_with_a_table_to_fall_back_on(calls: TableCalls, call: Callable[..., Answer], tmp_path: Path) -> None:
    told = call("init", str(tmp_path), *AT_TABLE, "--fallback", "table", "--json")
    assert (told.value["mode"], told.value["epoch"]) == ("mount", 1)
    found = read_authority(calls, told.value["workspace_id"])
    assert found is not None
    assert found.mode == MOUNT


def test_init_of_a_directory_and_of_an_id_at_once(call: Callable[..., Answer], tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    told = call("init", str(folder), "--table", FLEET, "--workspace-id", "w")
    assert told.status == 2
    assert list(folder.iterdir()) == []
