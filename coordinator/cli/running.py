"""Running a command under a lease."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from coordinator.cli import exits
from coordinator.cli.common import environment_for, note, print_error
from coordinator.document.document import parse_json
from coordinator.errors import AcquireCancelled, CoordinatorError, LeaseHeld, LeaseLost, MalformedDocument

if TYPE_CHECKING:
    from types import FrameType

    from coordinator.document.lease import DocumentLease
    from coordinator.workspace import Workspace

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOOK_SECONDS = 0.1
GRACE_SECONDS = 5.0


class _Signals:
    """Signals that this process got: they cancel the waiting for the lease, and later go to the command."""

    def __init__(self) -> None:
        self.first = 0
        self.cancel = threading.Event()
        self.command: _Command | None = None

    def install(self) -> None:
        for number in FORWARDED:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup(1) and the like stay in force
                signal.signal(number, self._got)

    def _got(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or number
        self.cancel.set()
        if self.command is not None:
            self.command.forward(number)

    def pass_on_to(self, command: _Command) -> None:
        """From now on to the command; what came while it was being started goes to it now."""
        self.command = command
        if self.first:
            command.forward(self.first)


class _Command:
    """The command, in a process group of its own, so that its children are stopped with it.

    On a terminal it stays in ours: job control goes on working, and the terminal itself sends it the interrupt.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._on_terminal = sys.stdin is not None and sys.stdin.isatty()
        group = None if self._on_terminal else 0
        self._process = subprocess.Popen(arguments, env=environment, process_group=group)  # noqa: S603 - the user's own

    def forward(self, number: int) -> None:
        """Sends a signal on, unless the terminal has done so."""
        if not (self._on_terminal and number == signal.SIGINT):
            self._send(number)

    def _send(self, number: int) -> None:
        if self._process.poll() is not None:
            return
        if self._on_terminal:
            self._process.send_signal(number)
            return
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def wait_while_held(self, lost: threading.Event) -> int | None:
        """Its exit status, as a shell would say it; None when the lease was lost and it was stopped."""
        while True:
            try:
                return _as_shell_says(self._process.wait(LOOK_SECONDS))
            except subprocess.TimeoutExpired:
                if lost.is_set():
                    self._stop()
                    return None

    def _stop(self) -> None:
        self._send(signal.SIGTERM)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGKILL)
            self._process.wait()


def _as_shell_says(status: int) -> int:
    return exits.SIGNAL_BASE - status if status < 0 else status


def run_under_lease(
    workspace: Workspace,
    name: str,
    arguments: list[str],
    *,
    ttl: float,
    wait: float | None,
    commit: bool,
    conflict_status: int,
    as_json: bool,
) -> int:
    """Runs a command under the lease on ``name``; returns the exit status of ``coordinator lease``."""
    signals, lost = _Signals(), threading.Event()
    signals.install()

    def on_lost(_error: LeaseLost) -> None:
        lost.set()

    try:
        lease = workspace.lease(
            name, ttl=ttl, wait=wait, cancel=signals.cancel, renew_in_background=True, on_lost=on_lost
        )
    except AcquireCancelled as error:
        print_error(error, as_json=as_json)
        return exits.SIGNAL_BASE + signals.first
    except LeaseHeld as error:
        print_error(error, as_json=as_json)
        return conflict_status
    try:
        with lease:
            managed = commit and workspace.document(name).revision > 0
            if managed:
                lease.read()  # the command is to find the newest content in the plain file
            status = _run(workspace, lease, arguments, signals, lost)
            if status is None:
                lease.check()  # says how it was lost
                return exits.LOST
            return _commit(workspace, lease, status) if managed else status
    except LeaseLost as error:
        print_error(error, as_json=as_json)
        return exits.LOST


def _run(
    workspace: Workspace, lease: DocumentLease, arguments: list[str], signals: _Signals, lost: threading.Event
) -> int | None:
    try:
        command = _Command(arguments, environment_for(workspace, lease.resource, lease.fence))
    except FileNotFoundError:
        note(f"{arguments[0]}: command not found")
        return exits.COMMAND_NOT_FOUND
    except OSError as error:
        note(f"{arguments[0]}: {error.strerror}")
        return exits.NOT_EXECUTABLE
    signals.pass_on_to(command)
    return command.wait_while_held(lost)


def _commit(workspace: Workspace, lease: DocumentLease, status: int) -> int:
    """Commits what the command wrote into the plain file, whatever its status: an edit must not vanish."""
    try:
        receipt = lease.commit_view(check=parse_json if lease.resource.endswith(".json") else None)
    except MalformedDocument as error:
        kept = workspace.document(lease.resource).refresh_view().conflicts
        note(f"not committed: {error.message}; what the command wrote is kept at {', '.join(kept)}")
        return status or exits.DATA
    except LeaseLost:
        raise
    except CoordinatorError as error:
        note(f"not committed: {error}")
        return status or exits.status_of(error)
    if receipt is not None:
        note(f"committed {lease.resource} as revision {receipt.revision}")
    return status
