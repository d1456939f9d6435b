"""One process's part in a workspace: who it is, and what it acts through. Handed to everything above."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from coordinator.errors import StoreUnavailable
from coordinator.folders import make_dirs, write_new
from coordinator.limits import THAW_MS
from coordinator.names import new_id
from coordinator.record.decide import Author

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.clock import Clock
    from coordinator.errors import NewerFormat
    from coordinator.events import Events
    from coordinator.files import Files
    from coordinator.lease import Lease
    from coordinator.record.places import Places
    from coordinator.record.store import Store
    from coordinator.record.table import TableStore


class AfterFork(Protocol):
    """Has locks that must be made anew in a forked child."""

    def after_fork(self) -> None:
        """Called in the child."""
        ...


@runtime_checkable
class OwnLog(Protocol):
    """A part that writes paths of its own, which another life of this process may not write (P19)."""

    def sync(self) -> None:
        """Makes durable what was written. Raises StoreUnavailable."""
        ...

    def restart(self, incarnation: str = "") -> None:
        """Leaves those paths; what is written next goes to fresh ones."""
        ...


class Host(Protocol):
    """What this process's leases end with, at the latest: an invocation (P13)."""

    def left_ms(self) -> int:
        """How long it lasts for certain. Raises BadValue when that is over."""
        ...

    def opened(self, lease: Lease) -> None:
        """A lease was acquired or resumed."""
        ...

    def closed(self, lease: Lease) -> None:
        """It is this process's no longer, or was given up."""
        ...

    def look(self) -> None:
        """Looks at the clocks: whether the process stood still since."""
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
        host: What leases are bound to; None when this process ends when it likes.
        tell_compactor: Called with a document's name when something was appended to its inbox (True), and whenever its
            outcome is looked for (False): where nobody folds by himself.
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
        self.host: Host | None = None
        self.hosted = ""  # the id of the last one
        self.tell_compactor: Callable[[str, bool], None] | None = None
        self._life = (os.getpid(), new_id())
        self._looked = clock.now()
        self.guard = threading.Lock()
        self._also: weakref.WeakSet[AfterFork] = weakref.WeakSet()
        _members.add(self)

    @property
    def has_directory(self) -> bool:
        """Whether content can be read and written here: else there is the table only."""
        return bool(self.places.root)

    @property
    def incarnation(self) -> str:
        """This life of this process; fresh after a fork or a thaw."""
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
        with self.guard:
            self._also.add(part)

    def own_logs(self) -> list[OwnLog]:
        """The parts that write paths of this life."""
        with self.guard:
            return [part for part in self._also if isinstance(part, OwnLog)]

    def stood_still(self) -> dict[str, int] | None:
        """What each clock says has passed since this was last asked, when they disagree: after a thaw, most likely."""
        with self.guard:
            before, now = self._looked, self.clock.now()
            self._looked = now
        spans = {name[:-3]: (now[i] - before[i]) // 1_000_000 for i, name in enumerate(now._fields)}
        told = [span for name, span in spans.items() if span or name != "boot"]  # boot time is not kept everywhere
        return spans if max(told) - min(told) > THAW_MS else None

    def renew_life(self) -> None:
        """Begins another life, after a freeze (P19): logs are left, once what they hold is synced, and begun anew.

        They are left without an end: what the process is in is a copy, for all it knows, and the end is not its to say.
        """
        with self.guard:
            self._life = (os.getpid(), new_id())
        for log in self.own_logs():
            with contextlib.suppress(StoreUnavailable):  # who waits for it is told by the next attempt
                log.sync()
            log.restart()

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
