"""What a store is, on one screen. Stores hold no rules (P4): they keep records, and let n + 1 be put once (P1).

The same contract fits the mount (one symbolic link a record), memory, and a table where ``append`` is one conditional
write on the item's ``n`` (P8). Which store rules is stored in the workspace (P28), never chosen per call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from coordinator.names import Resource
    from coordinator.record.decide import Author
    from coordinator.record.record import Holding, Record


class Appended(NamedTuple):
    """The record stands. ``live_records``: how many the store keeps of this resource, to tell when to collect."""

    record: Record
    live_records: int


class Beaten(NamedTuple):
    """Somebody else's record stands at that n; ``current`` is the newest one."""

    current: Record


class Store(Protocol):
    """Where records are kept. Thread-safe; usable in a forked child."""

    @property
    def mode(self) -> str:
        """``mount`` or ``table``."""
        ...

    @property
    def skew_ms(self) -> int:
        """How far two readings of ``now_ms`` may be apart from true time's order (P9)."""
        ...

    @property
    def live_keep(self) -> int:
        """How many records a collection leaves."""
        ...

    @property
    def live_max(self) -> int:
        """Above how many a collection is due."""
        ...

    def read(self, resource: Resource) -> Record | None:
        """The newest record, never older than one that this process has seen; None when there is none.

        Raises:
            StoreUnavailable: No answer; nothing is known.
            CorruptRecord, NewerFormat: The newest record cannot be understood.
        """
        ...

    def remembered(self, resource: Resource) -> Record | None:
        """The newest record that this process knows, if a look costs more than being wrong; else None. Asks nobody."""
        ...

    def append(self, resource: Resource, record: Record, *, durable: bool) -> Appended | Beaten:
        """Puts record n if n is absent: the one way to change anything (P1). Retrying the same record is safe (P7).

        Args:
            resource: Whose chain.
            record: Its ``n`` is that of the record it was decided on, plus 1.
            durable: Return only when the record survives a power failure. Without it, it may be lost with its host.

        Raises:
            StoreUnavailable: ``outcome_unknown`` says whether the record may stand nonetheless.
        """
        ...

    def append_together(
        self, appends: Sequence[tuple[Resource, Record]]
    ) -> list[Appended] | dict[Resource, Record] | None:
        """Puts several records of several resources, all or none. None: this store puts one at a time.

        Returns:
            What was appended, in order; or the newest record of each resource for which somebody else came first.

        Raises:
            StoreUnavailable: As ``append``. A retry of the same records is safe.
        """
        ...

    def make_durable(self, resource: Resource, n: int) -> None:
        """Returns when record n, which was read here, survives a power failure: its author may not be that far.

        Raises:
            StoreUnavailable: It may not survive one.
        """
        ...

    def now_ms(self) -> int:
        """The store's own clock, Unix milliseconds: one clock for all who use this store."""
        ...

    def turn(self, resource: Resource, *, wait_ms: int | None = None) -> AbstractContextManager[bool]:
        """Queues those who would append (P5): held for one read-decide-append. Not what makes the append safe.

        Args:
            resource: Whose turn.
            wait_ms: How long to queue at most; None: the store's own bound; 0: try once.

        Returns:
            A context manager; what it gives is whether the turn was had. The caller may go on without.
        """
        ...

    def history(self, resource: Resource) -> list[Record]:
        """Every record that is still known, oldest first, those archived included."""
        ...

    def collect(self, resource: Resource, author: Author, *, keep: int) -> int:
        """Archives and deletes all but the newest ``keep`` records; returns how many were deleted (P18)."""
        ...

    def resources(self) -> Iterable[Resource]:
        """Every resource that has a record, or a log that is to be folded into its first."""
        ...

    def show_life(self, incarnation: str) -> None:
        """Lets others know when this process ends, where that can be told."""
        ...

    def is_gone(self, lease: Holding) -> bool:
        """Whether the process that holds a lease has ended, for certain; False when that cannot be told."""
        ...

    def close(self) -> None:
        """Gives back what only this process needs. The store can be used on nonetheless."""
        ...

    def after_fork(self) -> None:
        """Called in a forked child, before anything else: makes locks held by other threads at the fork anew."""
        ...
