"""One process's part in a workspace: who it is, and what it acts through. Handed to everything above."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from coordinator.folders import make_dirs, write_new
from coordinator.names import new_id
from coordinator.record.decide import Author

if TYPE_CHECKING:
    from coordinator.clock import Clock
    from coordinator.errors import NewerFormat
    from coordinator.events import Events
    from coordinator.files import Files
    from coordinator.record.mount import Places
    from coordinator.record.store import Store
    from coordinator.record.table import TableStore


class AfterFork(Protocol):
    """Has locks that must be made anew in a forked child."""

    def after_fork(self) -> None:
        """Called in the child."""
        ...


class Member:
    """An agent, in this process.

    A forked child is another incarnation: it shares the object, and is told apart by its process id, so that it never
    writes a path of its parent's (P19) nor acts under its parent's leases.

    Attributes:
        agent: The agent's name.
        store: The store that rules.
        files: The seam to the file system.
        clock: The seam to time.
        places: Where the workspace keeps what.
        events: Where events go.
        guard: For what is made once in a process.
        newer: The error for every write, when the workspace may be read by this version but not written.
        table: The table, if there is one, whichever store rules: for the inbox.
    """

    def __init__(
        self,
        agent: str,
        store: Store,
        *,
        files: Files,
        clock: Clock,
        places: Places,
        events: Events,
        newer: NewerFormat | None = None,
        table: TableStore | None = None,
    ) -> None:
        self.agent = agent
        self.store = store
        self.files = files
        self.clock = clock
        self.places = places
        self.events = events
        self.newer = newer
        self.table = table
        self._life = (os.getpid(), new_id())
        self.guard = threading.Lock()
        self._also: weakref.WeakSet[AfterFork] = weakref.WeakSet()
        _members.add(self)

    @property
    def has_directory(self) -> bool:
        """Whether content can be read and written here: else there is the table only."""
        return bool(self.places.root)

    @property
    def incarnation(self) -> str:
        """This life of this process; fresh after a fork."""
        pid = os.getpid()
        if self._life[0] != pid:
            with self.guard:
                if self._life[0] != pid:
                    self._life = (pid, new_id())
        return self._life[1]

    def author(self) -> Author:
        """A fresh request by this agent."""
        return Author(new_id(), self.agent, self.incarnation)

    def write_scratch(self, data: bytes, mode: int | None = None) -> str:
        """Writes a synced file under a name that nobody else knows; returns its path, to be renamed from. OSError."""
        path = f"{self.places.scratch}/{new_id()}"
        try:
            write_new(self.files, path, data, mode)
        except FileNotFoundError:  # a restore may leave empty folders out
            make_dirs(self.files, self.places.state, self.places.scratch)
            write_new(self.files, path, data, mode)
        return path

    def also_after_fork(self, part: AfterFork) -> None:
        """Has a part called in a forked child, too, for as long as it lives."""
        self._also.add(part)

    def after_fork(self) -> None:
        """In a forked child: a lock held by another thread at the fork would never be released here."""
        self.guard = threading.Lock()
        self.store.after_fork()
        for part in list(self._also):
            part.after_fork()


_members: weakref.WeakSet[Member] = weakref.WeakSet()


def _after_fork() -> None:
    for member in list(_members):
        member.after_fork()


os.register_at_fork(after_in_child=_after_fork)
