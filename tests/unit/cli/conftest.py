"""The command line, called in this process or started as one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from support import readable, wait_until

import coordinator
from coordinator.cli.app import execute
from coordinator.clock import SYSTEM_CLOCK
from coordinator.record.table_calls import TableCalls
from coordinator.record.table_setup import create_table

from .fleet import FLEET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines import Engine

    from coordinator import Workspace

DEADLINE_S = 40.0  # generous: a wait that is never over on a loaded machine
_SOURCES = os.path.dirname(os.path.dirname(os.path.abspath(coordinator.__file__)))


class Answer(NamedTuple):
    """What a command line came to."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error on the last line of stderr."""
        told: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        assert set(told) == {"error", "message", "hint", "fields"}
        return told


class Started:
    """``coordinator`` as a process of its own, in a session of its own; without a terminal."""

    def __init__(self, arguments: tuple[str, ...], program: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _SOURCES},
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._text = b""

    def line(self) -> str:
        """The next line that it, or its command, writes to stdout."""
        while b"\n" not in self._text:
            assert self._read(), f"stdout ended after {self._text!r}"
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def write_line(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait_until_stopped(self) -> None:
        """Returns when it was stopped by a signal."""

        def is_stopped() -> bool:
            pid, status = os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)
            assert not pid or os.WIFSTOPPED(status), "it ended instead of being stopped"
            return pid != 0

        wait_until(is_stopped)

    def end(self) -> Answer:
        """Waits until it, and all who hold its stdout, are gone."""
        while self._read():
            pass
        assert self._process.stderr
        error = self._process.stderr.read()
        return Answer(self._process.wait(DEADLINE_S), self._text.decode(), error.decode())

    def _read(self) -> bool:
        assert self._process.stdout
        assert readable(self._process.stdout, DEADLINE_S), f"nothing more came after {self._text!r}"
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        self._text += data
        return bool(data)

    def clear_away(self) -> None:
        """For the teardown, whatever became of the test."""
        if self._process.poll() is None:
            for number in (signal.SIGCONT, signal.SIGTERM):  # passed on to the command
                self._process.send_signal(number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()


@pytest.fixture(autouse=True)
def at_home(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the workspace ``shared``, as an agent of its own name, with no editor."""
    monkeypatch.chdir(workspace.directory)
    monkeypatch.setenv("COORDINATOR_AGENT", "bob")
    reach = ("TABLE", "REGION", "WORKSPACE_ID", "FALLBACK")
    for name in ("COORDINATOR_WORKSPACE", *(f"COORDINATOR_{each}" for each in reach), "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command line, in this process; what it starts is heard too."""

    def run(*arguments: str) -> Answer:
        capfd.readouterr()
        status = execute(list(arguments))
        said = capfd.readouterr()
        return Answer(status, said.out, said.err)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """The command line, as a process of its own."""
    started: list[Started] = []

    def run(*arguments: str, program: tuple[str, ...] = ("-m", "coordinator.cli")) -> Started:
        started.append(Started(arguments, list(program)))
        return started[-1]

    try:
        yield run
    finally:
        for each in started:
            each.clear_away()


@pytest.fixture
def calls(dynamodb: Engine) -> TableCalls:
    """The table ``fleet``, made."""
    made = TableCalls(FLEET, SYSTEM_CLOCK, client=dynamodb.client())
    create_table(made, SYSTEM_CLOCK)
    return made


@pytest.fixture
def used(workspace: Workspace) -> Workspace:
    """The workspace, with three resources on its mount."""
    for name in ("a.json", "b.json"):
        workspace.document(name).commit(b"{}\n", if_revision=0)
    workspace.lease("deploy/prod").release()
    return workspace
