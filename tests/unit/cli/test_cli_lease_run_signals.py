"""``coordinator lease NAME -- COMMAND``: real signals, a terminal, and a lease that is lost meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import readable, wait_until

import coordinator
from coordinator import DocumentLease, LeaseHeld, Workspace
from coordinator.cli.command import Command, Ended, Signals

from .lease_run_support import ECHO, EDITS, FAMILY, TELLS, python

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer, Started


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


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
