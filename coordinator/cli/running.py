"""Running a command under a lease: the plain file made new before, what was written into it committed after."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from coordinator.cli import exits
from coordinator.cli.command import Command, Signals
from coordinator.cli.common import note, print_error, reached
from coordinator.document.content import parse_json
from coordinator.errors import AcquireCancelled, CoordinatorError, LeaseHeld, LeaseLost, MalformedDocument

if TYPE_CHECKING:
    from coordinator.cli.command import Ended
    from coordinator.document.lease import DocumentLease
    from coordinator.events import Event
    from coordinator.workspace import Workspace


def tell_kept(event: Event, *, as_json: bool) -> None:
    """Notes what a person at the terminal should know; for ``Workspace(on_event=…)``."""
    if event.kind == "view_edited":
        note(f"an edit made to {event.resource} without its lease is kept at {event.detail['kept']}", as_json=as_json)
    elif event.kind == "release_failed":
        note(f"{event.resource} could not be released ({event.reason}); its lease runs out by itself", as_json=as_json)


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
    with Signals() as signals:
        try:
            lease = workspace.lease(
                name,
                ttl=ttl,
                wait=wait,
                cancel=signals.cancel,
                renew_in_background=True,
                on_lost=lambda _error: signals.wake(),
            )
        except AcquireCancelled as error:
            print_error(error, as_json=as_json)
            return exits.SIGNAL_BASE + signals.first
        except LeaseHeld as error:
            print_error(error, as_json=as_json)
            return conflict_status
        try:
            with lease:
                return _Run(workspace, lease, signals, as_json=as_json).run(arguments, commit=commit)
        except LeaseLost as error:
            print_error(error, as_json=as_json)
            return exits.LOST


class _Run:
    """One command under one lease that is held."""

    def __init__(self, workspace: Workspace, lease: DocumentLease, signals: Signals, *, as_json: bool) -> None:
        self._workspace = workspace
        self._lease = lease
        self._signals = signals
        self._as_json = as_json

    def run(self, arguments: list[str], *, commit: bool) -> int:
        """Raises LeaseLost when it was lost before the command's edit was committed."""
        lease = self._lease
        has_directory = bool(self._workspace.directory)  # without, only the lease is to be had
        is_document = has_directory and self._workspace.document(lease.resource).revision > 0
        if is_document:
            lease.read()  # the command is to find the newest content in the plain file
        if self._signals.first:
            self._note("a signal came before the command was started")
            return exits.SIGNAL_BASE + self._signals.first
        try:
            command = Command(arguments, self._environment(), self._signals, self._note)
        except FileNotFoundError:
            self._note(f"{arguments[0]}: command not found")
            return exits.COMMAND_NOT_FOUND
        except OSError as error:
            self._note(f"{arguments[0]}: {error.strerror}")
            return exits.NOT_EXECUTABLE
        # A signal that comes after its end is not passed on to anybody, and what follows is carried through.
        ended = command.wait(lambda: lease.remaining)
        if ended.stopped:
            return self._lost(commits=commit and is_document)
        return self._commit(ended) if commit and is_document else ended.status

    def _environment(self) -> dict[str, str]:
        told = {
            "COORDINATOR_WORKSPACE": self._workspace.directory,
            "COORDINATOR_RESOURCE": self._lease.resource,
            "COORDINATOR_FENCE": str(self._lease.fence),
            **reached().environment(),
        }
        return {**os.environ, **told}

    def _commit(self, ended: Ended) -> int:
        """Commits what the command wrote into the plain file, whatever its status: an edit must not vanish."""
        is_json = self._lease.resource.endswith(".json")
        try:
            receipt = self._lease.commit_view(check=parse_json if is_json else None)
        except LeaseLost:
            raise
        except MalformedDocument as error:
            print_error(error, as_json=self._as_json)
            self._keep()
            return ended.status or exits.DATA
        except CoordinatorError as error:
            print_error(error, as_json=self._as_json)
            self._note(f"what the command wrote is not committed; it stands in {self._lease.resource} itself")
            return ended.status or exits.status_of(error)
        if receipt is not None:
            self._note(f"committed {self._lease.resource} as revision {receipt.revision}")
        return ended.status

    def _keep(self) -> None:
        """Puts the plain file right, while the lease is still held; what stood there is kept, and told as an event."""
        try:
            self._workspace.document(self._lease.resource).refresh_view()
        except CoordinatorError as error:
            self._note(f"what the command wrote stands in {self._lease.resource} itself: {error}")

    def _lost(self, *, commits: bool) -> int:
        """The command was stopped. Raises the LeaseLost, which tells where its edit is kept, if it made one."""
        if commits:
            self._lease.commit_view()  # half-done or not: it is refused, and thereby kept
        self._lease.check()
        # A renewal that hung was answered after all: the lease stands, but the command does not.
        self._note("the lease could not be trusted for a while, so the command was stopped")
        return exits.LOST

    def _note(self, text: str) -> None:
        note(text, as_json=self._as_json)
