"""Several command lines at once, each a process of its own: who gets the lease, and what becomes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import wait_until

from coordinator import LeaseHeld, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Started

PROGRAM = (sys.executable, "-m", "coordinator.cli")
# What people do to a tasks.json: read it, change it, write it whole; without any care for others.
COUNTS = """
import json, os
name = os.environ["COORDINATOR_RESOURCE"]
with open(name) as file:
    told = json.load(file)
told["count"] += 1
told["fences"].append(int(os.environ["COORDINATOR_FENCE"]))
with open(name, "w") as file:
    json.dump(told, file)
"""


def test_careless_programs_lose_nothing_under_the_lease(start: Callable[..., Started], workspace: Workspace) -> None:
    document = workspace.document("tasks.json")
    document.commit(b'{"count": 0, "fences": []}', if_revision=0)
    command = ("lease", "tasks.json", "--wait", "forever", "--", sys.executable, "-S", "-c", COUNTS)
    running = [start(*command) for _ in range(4)]
    ended = [each.end() for each in running]
    assert [each.status for each in ended] == [0] * 4
    assert [each.out for each in ended] == [""] * 4, "the note of the commit goes to stderr"
    told = document.read_json()
    assert told["count"] == 4
    assert told["fences"] == sorted(set(told["fences"]))
    assert [each.fence for each in document.history()] == [0, *told["fences"]]
    assert sorted(each.err for each in ended) == [
        f"coordinator: committed tasks.json as revision {revision}\n" for revision in (2, 3, 4, 5)
    ]
    assert document.conflicts() == []


def test_the_second_runner_starts_when_the_first_has_ended(
    start: Callable[..., Started], workspace: Workspace, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    first = start("lease", "x", "--", "sh", "-c", 'echo ready; read line; echo ended > "$0"', str(marker))
    assert first.line() == "ready"
    second = start("lease", "x", "--wait", "40", "--", "cat", str(marker))
    wait_until(lambda: workspace.status_of("x").waiting == 1)
    assert not marker.exists()
    first.write_line("go on")
    assert first.end().status == 0
    assert second.end() == (0, "ended\n", ""), "what the first has done is there when the second begins"


def test_of_many_that_make_it_one_does(start: Callable[..., Started], tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    ended = [each.end() for each in [start("init", str(folder), "--json") for _ in range(4)]]
    assert [(each.status, each.err) for each in ended] == [(0, "")] * 4
    assert {each.value["workspace_id"] for each in ended} == {Workspace(folder).format.workspace_id}
    assert [entry.name for entry in folder.iterdir()] == [".coordinator"]


def test_a_command_that_wants_its_own_lease_is_refused(start: Callable[..., Started]) -> None:
    """It would wait for itself for ever; at once is better."""
    ended = start("lease", "x", "--", *PROGRAM, "lease", "x", "--json", "--", "echo", "inner").end()
    assert (ended.status, ended.out) == (75, "")
    assert ended.error["fields"]["holder"] == "bob"


def test_a_command_finds_the_workspace_from_anywhere(
    start: Callable[..., Started], workspace: Workspace, tmp_path: Path
) -> None:
    inner = 'cd "$0" && shift 0 && exec "$@" status x --json'
    ended = start("lease", "x", "--", "sh", "-c", inner, str(tmp_path), *PROGRAM).end()
    assert ended.status == 0, ended.err
    ((state, fence),) = [(each["state"], each["fence"]) for each in ended.value]
    assert (state, fence) == ("held", 1)
    assert workspace.status_of("x").state == "free"


def test_a_runner_that_is_killed_leaves_the_lease_to_its_ttl(
    start: Callable[..., Started], workspace: Workspace
) -> None:
    """As `lease run --help` says: nobody can pass SIGKILL on, so the command runs on, and others wait for the ttl."""
    running = start("lease", "x", "--ttl", "3", "--", "sh", "-c", 'echo ready; read line; echo "$line"')
    assert running.line() == "ready"
    running.send(signal.SIGKILL)
    running._process.wait()
    with pytest.raises(LeaseHeld):
        workspace.lease("x")
    taken = start("lease", "x", "--wait", "30", "--", "sh", "-c", "echo $COORDINATOR_FENCE").end()
    assert taken.status == 0
    assert int(taken.out) > 1
    running.write_line("still there")
    assert running.line() == "still there"
    assert running.end().status == -signal.SIGKILL


def test_an_interrupt_while_edit_waits_leaves_the_line(
    start: Callable[..., Started], workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDITOR", f"touch '{tmp_path / 'marker'}'")
    with workspace.lease("x"):
        waiting = start("document", "edit", "x", "--wait", "forever")
        wait_until(lambda: workspace.status_of("x").waiting == 1)
        waiting.send(signal.SIGINT)
        assert waiting.end() == (130, "", "")
        assert workspace.status_of("x").waiting == 0
    assert not (tmp_path / "marker").exists()


def test_bytes_come_through_untouched(workspace: Workspace) -> None:
    """Stdout is the command's own, note or no note, whatever its bytes are."""
    workspace.document("data").commit(b"1", if_revision=0)
    done = subprocess.run(
        [*PROGRAM, "lease", "data", "--json", "--", "sh", "-c", r"printf '\377\000\r\n'; printf 2 > data"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"\xff\x00\r\n"
    assert json.loads(done.stderr) == {"note": "committed data as revision 2"}


def test_options_may_stand_before_the_name(start: Callable[..., Started], workspace: Workspace) -> None:
    ended = start("lease", "--agent", "carol", "--ttl", "5", "x", "--", "sh", "-c", "exit 4").end()
    assert ended == (4, "", "")
    granted = workspace.history("x")[0]
    assert granted.lease
    assert (granted.agent, granted.lease.ttl_ms) == ("carol", 5000)


def test_a_large_document_that_is_read_in_part(workspace: Workspace) -> None:
    """`coordinator document show big | head -c1`: more than a pipe takes at once, and then nobody reads."""
    workspace.document("big").commit(b"x" * 1_000_000, if_revision=0)
    process = subprocess.Popen(
        [*PROGRAM, "document", "show", "big"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # set, it would hide the broken pipe: a short write is no error
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.read(1) == b"x"
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait(60) == 0
