"""``coordinator lease NAME -- COMMAND``: real processes, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import readable, wait_until

import coordinator
from coordinator import DocumentLease, LeaseHeld, NoRoom, Workspace
from coordinator.cli.command import Command, Ended, Signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer, Started

# Tells which signal it got, and ends with a status of its own.
TELLS = """
import os, signal, sys
def got(number, frame):
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())  # print may be interrupted in the midst of itself
    os._exit(7)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, got)
print("ready", flush=True)
while True:
    signal.pause()
"""
# Starts a process that holds stdout, too; who of the two ignores SIGTERM is its argument.
FAMILY = """
import os, signal, sys
ready, tell = os.pipe()
is_parent = os.fork() != 0
if ("parent" if is_parent else "child") in sys.argv[1]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if is_parent:
    os.read(ready, 1)
    print("ready", os.getpid(), flush=True)
else:
    os.write(tell, b"1")
while True:
    signal.pause()
"""
ECHO = """
import os, sys
print("ready", os.getpid(), flush=True)
for line in sys.stdin:
    print("said", line, end="", flush=True)
"""
# Writes into the plain file, and waits.
EDITS = """
import os, signal, sys
with open(os.environ["COORDINATOR_RESOURCE"], "w") as file:
    file.write(sys.argv[1])
print("ready", flush=True)
while True:
    signal.pause()
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *arguments]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


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


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_signals_are_passed_on(start: Callable[..., Started], workspace: Workspace, name: str) -> None:
    running = start("lease", "x", "--", *python(TELLS))
    assert running.line() == "ready"
    running.send(signal.Signals[name])
    assert running.line() == f"got {name}"
    assert running.end() == (7, "", "")
    assert workspace.status_of("x").state == "free"


def test_an_ignored_signal_stays_ignored(start: Callable[..., Started]) -> None:
    """As under nohup(1): neither is it passed on, nor does the command stop ignoring it."""
    main = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from coordinator.cli import main; main()"
    asks = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    running = start("lease", "x", "--", *python(asks), program=("-c", main))
    assert running.line() == "True"
    assert running.end().status == 0


def test_a_signal_before_the_command_is_started(
    call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    read = DocumentLease.read

    def read_and_be_told(lease: DocumentLease) -> bytes:
        signal.raise_signal(signal.SIGTERM)
        return read(lease)

    def start(*_arguments: Any, **_options: Any) -> None:
        pytest.fail("it was started")

    monkeypatch.setattr(DocumentLease, "read", read_and_be_told)
    monkeypatch.setattr(subprocess, "Popen", start)
    assert call("lease", "plan.json", "--", "true").status == 143
    assert workspace.status_of("plan.json").state == "free"


def test_a_signal_while_the_command_is_being_started(
    call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def be_told_and_start(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return start(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", be_told_and_start)
    assert call("lease", "x", "--", "sleep", "60").status == 143


def test_a_signal_after_the_command_has_ended(
    call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    commit = DocumentLease.commit_view

    def be_told_and_commit(lease: DocumentLease, **options: Any) -> object:
        signal.raise_signal(signal.SIGTERM)
        return commit(lease, **options)

    monkeypatch.setattr(DocumentLease, "commit_view", be_told_and_commit)
    assert call("lease", "plan.json", "--", "sh", "-c", "echo '[1]' > plan.json").status == 0
    assert workspace.document("plan.json").read() == b"[1]\n"


def test_the_handlers_are_put_back(call: Callable[..., Answer]) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGTSTP)
    before = [signal.getsignal(number) for number in numbers]
    call("lease", "x", "--", "true")
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads a process's state from /proc, which is not here")
def test_the_command_is_stopped_and_goes_on_with_us(start: Callable[..., Started]) -> None:
    running = start("lease", "x", "--", *python(ECHO))
    pid = int(running.line().split()[1])
    running.send(signal.SIGTSTP)
    running.wait_until_stopped()

    def state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    wait_until(lambda: state() == "T")
    running.send(signal.SIGCONT)
    running.write_line("on we go")
    assert running.line() == "said on we go"


# ── on a terminal ────────────────────────────────────────────────────────────────────────────────────────────────────


class Terminal:
    """The command line on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._end = pty.fork()
        if not self.pid:
            sources = os.path.dirname(os.path.dirname(os.path.abspath(coordinator.__file__)))
            environment = {**os.environ, "PYTHONPATH": sources}
            os.execve(sys.executable, [sys.executable, "-m", "coordinator.cli", *arguments], environment)  # noqa: S606
        self._shown = b""

    def expect(self, text: str) -> None:
        while text.encode() not in self._shown:
            assert readable(self._end, 40), f"{text!r} did not come: {self._shown!r}"
            self._shown += os.read(self._end, 1 << 12)
        self._shown = self._shown.partition(text.encode())[2]

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def end(self) -> int:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while os.read(self._end, 1 << 12):
                pass
        os.close(self._end)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_on_a_terminal_the_command_can_read_it_and_be_interrupted() -> None:
    reads = """
import os, signal
def got(number, frame):
    os.write(1, b"interrupted\\n")  # print may be interrupted in the midst of itself
    os._exit(7)
signal.signal(signal.SIGINT, got)
print("asked:", input("name? "), flush=True)
while True:
    signal.pause()
"""
    terminal = Terminal("lease", "x", "--", *python(reads))
    terminal.expect("name? ")
    terminal.type("bob\n")
    terminal.expect("asked: bob")
    terminal.type("\x03")
    terminal.expect("interrupted")
    assert terminal.end() == 7


# ── the lease is lost ────────────────────────────────────────────────────────────────────────────────────────────────


def break_lease(workspace: Workspace, name: str) -> None:
    workspace.break_lease(name, fence=workspace.status_of(name).fence)


def test_the_command_is_stopped_with_all_that_it_started(start: Callable[..., Started], workspace: Workspace) -> None:
    running = start("lease", "x", "--ttl", "1", "--", *python(FAMILY, "nobody"))
    pid = int(running.line().split()[1])
    break_lease(workspace, "x")
    ended = running.end()  # nobody holds its stdout any more
    assert ended.status == 76
    assert "is lost (released by alice)" in ended.err
    assert is_gone(pid)


@pytest.mark.parametrize("stubborn", ["child", "parent and child"])
def test_one_that_does_not_listen_is_killed(start: Callable[..., Started], workspace: Workspace, stubborn: str) -> None:
    main = "import coordinator.cli.command as c; c.GRACE_SECONDS = 0.2; from coordinator.cli import main; main()"
    arguments = ("lease", "x", "--ttl", "1", "--json", "--", *python(FAMILY, stubborn))
    running = start(*arguments, program=("-c", main))
    pid = int(running.line().split()[1])
    break_lease(workspace, "x")
    with workspace.lease("x"):
        ended = running.end()
    assert ended.status == 76
    assert ended.error["fields"]["fence"] == 1
    assert ended.error["fields"]["reason"] in {"released", "taken"}
    assert is_gone(pid)


def test_the_lease_is_kept_alive_while_the_command_runs(start: Callable[..., Started], workspace: Workspace) -> None:
    running = start("lease", "x", "--ttl", "0.5", "--", *python(ECHO))
    running.line()
    renewed = {workspace.status_of("x").until_ms}

    def is_renewed() -> bool:
        renewed.add(workspace.status_of("x").until_ms)
        return len(renewed) >= 4

    wait_until(is_renewed)
    with pytest.raises(LeaseHeld):
        workspace.lease("x")


def test_after_a_freeze_that_outlasted_the_lease(start: Callable[..., Started], workspace: Workspace) -> None:
    running = start("lease", "x", "--ttl", "0.5", "--", *python(TELLS))
    assert running.line() == "ready"
    running.send(signal.SIGSTOP)
    running.wait_until_stopped()
    wait_until(lambda: workspace.status_of("x").state == "over")
    running.send(signal.SIGCONT)
    ended = running.end()
    assert ended.status == 76
    assert "got SIGTERM" in ended.out
    assert "(expired)" in ended.err


class HeardSignals(Signals):
    """Remembers for how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, seconds: float | None) -> None:
        self.waits.append(seconds)
        super().wait(seconds)


def test_the_trust_is_watched_even_if_the_store_hangs() -> None:
    """A renewal that hangs never says that the lease is lost; the time that is left does."""
    left = [0.05, 0.02]
    with HeardSignals() as signals:
        command = Command(["sleep", "60"], dict(os.environ), signals, lambda _text: None)
        assert command.wait(lambda: left.pop() if left else 0.0) == Ended(128 + 15, stopped=True)
    assert signals.waits[:2] == [0.02, 0.05], "it looks again when the trust is over, not later"


def test_an_edit_is_kept_and_not_committed(start: Callable[..., Started], workspace: Workspace) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    arguments = ("lease", "plan.json", "--ttl", "1", "--json", "--", *python(EDITS, "[half"))
    running = start(*arguments)
    running.line()
    break_lease(workspace, "plan.json")
    ended = running.end()
    assert ended.status == 76
    assert Path(ended.error["fields"]["kept"]).read_bytes() == b"[half"
    assert document.revision == 1
    assert [json.loads(line) for line in ended.err.splitlines()], "every line is JSON"


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
