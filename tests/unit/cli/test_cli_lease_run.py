"""``coordinator lease NAME -- COMMAND``: what comes of the command, and of the document that it wrote."""

from __future__ import annotations

import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import wait_until

from coordinator import DocumentLease, NoRoom, Workspace

from .lease_run_support import ECHO, python

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer, Started


# ── exit status ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "exit 75"], 75),
        (["sh", "-c", "kill -KILL $$"], 128 + 9),
        (["sh", "-c", "kill -TERM $$"], 128 + 15),
        (["./there-is-no-such-command"], 127),
    ],
)
def test_the_commands_status_comes_through(
    start: Callable[..., Started], workspace: Workspace, command: list[str], status: int
) -> None:
    ended = start("lease", "deploy/prod", "--", *command).end()
    assert ended.status == status
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert workspace.status_of("deploy/prod").state == "free"
    assert workspace.status_of("deploy/prod").fence == 0
    assert len(workspace.history("deploy/prod")) == 2, "it was granted and released"


def test_a_file_that_cannot_be_executed(call: Callable[..., Answer], tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(stat.S_IRUSR | stat.S_IWUSR)
    ended = call("lease", "x", "--", str(script))
    assert ended.status == 126
    assert "Permission denied" in ended.err


def test_stdin_and_stdout_are_the_commands(start: Callable[..., Started]) -> None:
    running = start("lease", "x", "--json", "--", *python(ECHO))
    assert running.line().startswith("ready")
    running.write_line("hello")
    assert running.line() == "said hello"
    assert running._process.stdin
    running._process.stdin.close()
    assert running.end() == (0, "", "")


def test_options_after_the_dashes_are_the_commands(call: Callable[..., Answer]) -> None:
    assert call("lease", "x", "--json", "--", "echo", "--json", "--", "-w") == (0, "--json -- -w\n", "")


@pytest.mark.parametrize("line", [["x", "make", "--json"], ["x"], ["run", "x", "true"], ["shwo", "x"]])
def test_without_dashes_nothing_is_run(call: Callable[..., Answer], workspace: Workspace, line: list[str]) -> None:
    refused = call("lease", *line)
    assert refused.status == 2
    assert "`--`" in refused.err
    assert workspace.status() == []


def test_the_commands_environment(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.lease("x").release()
    told = "import os; print([os.environ['COORDINATOR_' + n] for n in ('WORKSPACE', 'RESOURCE', 'FENCE')])"
    assert call("lease", "x", "--", *python(told)) == (0, f"{[workspace.directory, 'x', '3']}\n", "")
    assert workspace.history("x")[-1].agent == "bob"


@pytest.mark.parametrize("name", ["list", "show", "release", "run"])
def test_a_resource_that_is_called_like_a_command(call: Callable[..., Answer], workspace: Workspace, name: str) -> None:
    assert call("lease", "run", name, "--", "sh", "-c", "exit 5").status == 5
    assert [record.kind for record in workspace.history(name)] == ["grant", "release"]


@pytest.mark.parametrize(
    ("option", "value"), [("--wait", "soon"), ("--wait", "-1"), ("--wait", "nan"), ("--ttl", "0"), ("--ttl", "x")]
)
def test_figures_out_of_bounds(call: Callable[..., Answer], workspace: Workspace, option: str, value: str) -> None:
    refused = call("lease", "x", option, value, "--", "true")
    assert refused.status == 2
    assert option.removeprefix("--") in refused.err
    assert workspace.status() == []


# ── held by another ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_held_by_another(call: Callable[..., Answer], workspace: Workspace, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with workspace.lease("x"):
        refused = call("lease", "x", "--", "touch", str(marker))
        assert refused.status == 75
        assert "held by alice (fence 1)" in refused.err
        assert call("lease", "x", "--conflict-exit-code", "9", "--", "touch", str(marker)).status == 9
        refused = call("lease", "x", "--json", "--", "touch", str(marker))
    assert refused.status == 75
    assert refused.error["error"] == "LeaseHeld"
    assert (refused.error["fields"]["holder"], refused.error["fields"]["fence"]) == ("alice", 1)
    assert not marker.exists()


@pytest.mark.parametrize("wait", ["forever", "60"])
def test_the_next_one_waits_and_gets_it(start: Callable[..., Started], workspace: Workspace, wait: str) -> None:
    lease = workspace.lease("x")
    running = start("lease", "x", "--wait", wait, "--", "sh", "-c", "echo $COORDINATOR_FENCE")
    wait_until(lambda: workspace.status_of("x").waiting == 1)
    lease.release()
    assert int(running.line()) > lease.fence
    assert running.end().status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_waiting(
    start: Callable[..., Started], workspace: Workspace, tmp_path: Path, number: signal.Signals
) -> None:
    with workspace.lease("x"):
        running = start("lease", "x", "--wait", "forever", "--", "touch", str(tmp_path / "marker"))
        wait_until(lambda: workspace.status_of("x").waiting == 1)
        running.send(number)
        ended = running.end()
        assert workspace.status_of("x").waiting == 0, "it left the line"
    assert ended.status == 128 + number
    assert "Traceback" not in ended.err
    assert not (tmp_path / "marker").exists()


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_command_wrote_is_committed(call: Callable[..., Answer], workspace: Workspace) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    done = call("lease", "plan.json", "--", "sh", "-c", "echo '[1]' > plan.json; exit 4")
    assert done.status == 4, "an edit is committed whatever the status is"
    assert done.out == ""
    assert "committed plan.json as revision 2" in done.err
    newest = document.history()[-1]
    assert (newest.revision, newest.agent, newest.fence) == (2, "bob", 2)
    assert document.read() == b"[1]\n"


def test_a_command_that_wrote_nothing(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    assert call("lease", "plan.json", "--", "true") == (0, "", "")
    assert workspace.document("plan.json").revision == 1


def test_a_file_that_was_never_committed_stays_the_users_own(call: Callable[..., Answer], workspace: Workspace) -> None:
    Path("notes").write_text("mine\n")
    assert call("lease", "notes", "--", "sh", "-c", "echo more >> notes") == (0, "", "")
    assert workspace.document("notes").revision == 0
    assert Path("notes").read_text() == "mine\nmore\n"


def test_no_commit(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    done = call("lease", "plan.json", "--no-commit", "--", "sh", "-c", "echo '[1]' > plan.json")
    assert done == (0, "", "")
    assert workspace.document("plan.json").revision == 1


@pytest.mark.parametrize("option", ["--commit", "--no-commit"])
def test_the_command_finds_the_newest_content(call: Callable[..., Answer], workspace: Workspace, option: str) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    Path("plan.json").write_text("[by hand]")
    done = call("lease", "plan.json", option, "--", "cat", "plan.json")
    assert (done.status, done.out) == (0, "{}\n")
    (kept,) = document.conflicts()
    assert f"an edit made to plan.json without its lease is kept at {kept}" in done.err
    assert Path(kept).read_text() == "[by hand]"
    assert document.revision == 1


@pytest.mark.parametrize(("own", "status"), [(0, 65), (4, 4)])
def test_a_json_that_is_none_is_kept(call: Callable[..., Answer], workspace: Workspace, own: int, status: int) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    done = call("lease", "plan.json", "--", "sh", "-c", f"printf '[1' > plan.json; exit {own}")
    assert done.status == status
    (kept,) = document.conflicts()
    assert kept in done.err
    assert Path(kept).read_bytes() == b"[1"
    assert Path("plan.json").read_bytes() == b"{}\n"
    assert document.revision == 1


def test_a_commit_that_finds_no_room(
    call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)

    def full(_lease: DocumentLease, **_options: Any) -> None:
        raise NoRoom("the disk is full", resource="plan.json", cause="ENOSPC", outcome_unknown=False)

    monkeypatch.setattr(DocumentLease, "commit_view", full)
    edit = "printf '[1]' > plan.json"
    done = call("lease", "plan.json", "--", "sh", "-c", edit)
    assert done.status == 73
    assert "stands in plan.json itself" in done.err
    assert call("lease", "plan.json", "--", "sh", "-c", f"{edit}; exit 4").status == 4


def test_what_a_successor_committed_is_not_told_as_this_holders_edit(workspace: Workspace) -> None:
    """What ``lease run`` does when the lease was lost: keep the edit, if the command made one."""
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    lease = workspace.lease("plan.json")
    lease.read()
    carol = Workspace(workspace.directory, agent="carol")
    carol.break_lease("plan.json", fence=lease.fence)
    with carol.lease("plan.json") as successor:
        successor.commit(b"[3]\n")
    assert lease.commit_view() is None, "this holder wrote nothing, so nothing of it is kept"
