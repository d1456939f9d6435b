"""Two stores, one of which rules: the mount, or the table after a sealed move (P28 to P31).

To everybody above it is a store like any other. It asks who rules once, at the beginning, and again only when a record
says that it is closed. Each resource is brought to the ruling store when it is first used there (moving.py), by whoever
comes first; nobody waits for anybody, and nothing has to be drained.
"""

from __future__ import annotations

import contextlib
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from coordinator.clock import elapsed_max_ms
from coordinator.errors import StoreUnavailable, TableUnusable
from coordinator.events import Event
from coordinator.limits import DECIDE_TRIES, FLOCK_REFUSED_MS, QUEUE_POLL_MAX_MS
from coordinator.names import new_id
from coordinator.record.authority import change, register
from coordinator.record.decide import Author
from coordinator.record.moving import Step, imported, marked, next_step, opened, sealed
from coordinator.record.record import BLANK, MOUNT, TABLE, Record
from coordinator.record.store import Appended, Beaten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coordinator.clock import Clock, Instant
    from coordinator.events import Events
    from coordinator.names import Resource
    from coordinator.record.authority import Authority
    from coordinator.record.mount import MountStore
    from coordinator.record.record import Holding
    from coordinator.record.store import Store
    from coordinator.record.table import TableStore

# What flock is refused with where it is not to be had, or its quota is used up. EREMOTEIO is what Linux makes of
# NFS4ERR_RESOURCE.
_REFUSED: Final = ("ENOLCK", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EIO", "EDQUOT", "EINVAL", "EREMOTEIO")


class FailoverStore:
    """The store that rules, of two. See Store for the contract.

    Args:
        mount: The one on the directory.
        table: The one in the table.
        fresh: Who rules as long as the table knows nothing of the workspace, and its directory's mark.
        agent: Who acts; for the records that move a resource.
        clock: This machine's clocks.
        events: Where moves are told.
        falls_back: Move to the table when flock is refused for FLOCK_REFUSED_MS (P29); else that is an error (P31).
    """

    def __init__(
        self,
        mount: MountStore,
        table: TableStore,
        fresh: Authority,
        *,
        agent: str,
        clock: Clock,
        events: Events,
        falls_back: bool,
    ) -> None:
        self.mount = mount
        self.table = table
        self._fresh = self._authority = self._dated = fresh  # the last: by whose clock the time was told last
        self._agent = agent
        self._clock = clock
        self._events = events
        self._falls_back = falls_back
        self._guard = threading.Lock()
        self._there: dict[Resource, Store] = {}  # brought to the store that rules, as far as is known here
        self._refused_since: Instant | None = None

    # ── who rules ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def authority(self) -> Authority:
        """Who rules, as far as is known here."""
        return self._authority

    @property
    def _ruling(self) -> Store:
        return self.table if self._authority.mode == TABLE else self.mount

    @property
    def mode(self) -> str:
        """See Store."""
        return self._authority.mode

    @property
    def skew_ms(self) -> int:
        """See Store."""
        return self._ruling.skew_ms

    @property
    def live_keep(self) -> int:
        """See Store."""
        return self._ruling.live_keep

    @property
    def live_max(self) -> int:
        """See Store."""
        return self._ruling.live_max

    def learn(self) -> Authority:
        """Asks the table who rules.

        Raises:
            StoreUnavailable, TableUnusable: It cannot be told.
        """
        found = register(self.table.calls, self.table.workspace, self._fresh)
        with self._guard:
            self._there.clear()
            before, self._authority = self._authority, found
        if (found.mode, found.epoch) != (before.mode, before.epoch):
            detail = {"mode": found.mode, "epoch": found.epoch, "by": found.by}
            self._events.tell(Event("authority_moved", "", self._agent, reason=found.mode, detail=detail))
        return found

    def move(self, mode: str) -> Authority:
        """Gives the rule to a store, if it has not got it: the command, and the fallback.

        Returns:
            What stands. Raises StoreUnavailable, TableUnusable; a retry is safe.
        """
        old = self.learn()
        if old.mode != mode:
            now_ms = self.table.now_ms()
            new = replace(old, mode=mode, epoch=old.epoch + 1, by=self._agent, at_ms=now_ms)
            change(self.table.calls, self.table.workspace, old, new)
        return self.learn()

    def bring_all(self) -> int:
        """Brings every resource to the store that rules; returns how many there are."""
        found = list(self.resources())
        for resource in found:
            self._store_of(resource)
        return len(found)

    # ── where a resource is ──────────────────────────────────────────────────────────────────────────────────────────

    def _store_of(self, resource: Resource) -> Store:
        if self._authority.epoch == 1:  # never moved
            return self._ruling
        return self._there.get(resource) or self._bring(resource)

    def _bring(self, resource: Resource) -> Store:
        """Takes every step that is due (moving.py)."""
        author = Author(new_id(), self._agent, new_id())
        for _ in range(DECIDE_TRIES):
            authority = self._authority
            on_mount, in_table = self.mount.read(resource), self.table.read(resource)
            step = next_step(authority, on_mount, in_table)
            if step in {Step.USE_MOUNT, Step.USE_TABLE}:
                store: Store = self.mount if step is Step.USE_MOUNT else self.table
                with self._guard:
                    if self._authority is authority:
                        self._there[resource] = store
                return store
            if step is Step.LEARN:
                self._learn_of(on_mount, in_table)
            else:
                self._take(step, resource, on_mount, in_table, author._replace(request=new_id()))
        raise StoreUnavailable(
            f"{str(resource)!r} was moved {DECIDE_TRIES} times while it was looked for",
            resource=str(resource),
            cause="beaten every time",
            outcome_unknown=False,
        )

    def _take(
        self, step: Step, resource: Resource, on_mount: Record | None, in_table: Record | None, author: Author
    ) -> None:
        """One step. Being beaten is as good: somebody else took one."""
        epoch = self._authority.epoch
        if step in {Step.IMPORT, Step.MARK} and on_mount is not None:
            self.mount.make_durable(resource, on_mount.n)  # whoever put the seal may have failed to, or not come to it
        if step is Step.SEAL:
            self.mount.append(resource, sealed(on_mount, author, epoch, _at_ms(on_mount)), durable=True)
        elif step is Step.OPEN:
            assert in_table is not None  # noqa: S101 - it is marked
            self.mount.append(resource, opened(on_mount, in_table, author, self.mount.now_ms()), durable=True)
        elif step is Step.IMPORT:
            assert on_mount is not None  # noqa: S101 - it is sealed
            record = imported(on_mount, in_table, author, on_mount.epoch, self.table.now_ms())
            self.table.put_over(resource, record, in_table)
        else:
            record = marked(on_mount, in_table, author, epoch, self.table.now_ms())
            self.table.put_over(resource, record, in_table)

    def _elsewhere(self, record: Record | None) -> bool:
        """Whether a record says that its resource went on in the other store; then who rules is asked anew."""
        if record is None or not record.is_closed:
            return False
        self._learn_of(record)
        return True

    def _learn_of(self, *records: Record | None) -> None:
        """Asks who rules, since a record tells of a move: the table has to know of it."""
        found = self.learn()
        if any(record is not None and record.epoch > found.epoch for record in records):
            raise TableUnusable(
                f"the table {self.table.calls.table!r} does not know of moves that the records tell of: it says epoch "
                f"{found.epoch}",
                table=self.table.calls.table,
                cause="the table was restored to an earlier point, or made anew",
                hint="stop the agents, then: coordinator authority adopt",
            )

    # ── the contract ─────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, resource: Resource) -> Record | None:
        """See Store."""
        while True:
            record = self._store_of(resource).read(resource)
            if not self._elsewhere(record):
                return record

    def remembered(self, resource: Resource) -> Record | None:
        """See Store."""
        return self._store_of(resource).remembered(resource)

    def append(self, resource: Resource, record: Record, *, durable: bool) -> Appended | Beaten:
        """See Store. A record that was decided on the other store's is beaten by what came over from there."""
        store = self._store_of(resource)
        result = store.append(resource, record, durable=durable) if record.mode == store.mode else None
        if isinstance(result, Appended):
            return result
        if result is None or self._elsewhere(result.current):
            current = self.read(resource)
            if current is None:  # in a store that has never heard of it: decide on nothing, once more
                current = replace(BLANK, mode=self.mode)
            return Beaten(current)
        return result

    def append_together(
        self, appends: Sequence[tuple[Resource, Record]]
    ) -> list[Appended] | dict[Resource, Record] | None:
        """See Store: where the table rules all of them."""
        if any(self._store_of(resource) is not self.table for resource, _ in appends):
            return None
        # Asked for the time first, somebody may have read the records when another store ruled by then, whose clock is
        # another: a lease in use would seem to have ended.
        is_dated = self._dated is self._authority
        stale = [resource for resource, record in appends if not is_dated or record.mode != self.mode]
        result = self.table.append_together(appends) if not stale else dict.fromkeys(stale)
        if isinstance(result, list):
            return result
        return {resource: self.read(resource) or BLANK for resource in result}

    def make_durable(self, resource: Resource, n: int) -> None:
        """See Store."""
        self._store_of(resource).make_durable(resource, n)

    def now_ms(self) -> int:
        """See Store."""
        self._dated = self._authority
        return self._ruling.now_ms()

    @contextmanager
    def turn(self, resource: Resource, *, wait_ms: int | None = None) -> Iterator[bool]:
        """See Store. Where the table rules the lock on the mount still saves folds made in vain, if it is to be had."""
        with contextlib.ExitStack() as stack:
            yield self._enter(stack, resource, wait_ms)

    def _enter(self, stack: contextlib.ExitStack, resource: Resource, wait_ms: int | None) -> bool:
        while self._authority.mode == MOUNT:
            try:
                has_turn = stack.enter_context(self.mount.turn(resource, wait_ms=wait_ms))
            except StoreUnavailable as error:
                if not self._falls_back or not error.cause.startswith(_REFUSED):
                    raise
                self._fall_back_when_due(error)
            else:
                self._refused_since = None
                return has_turn
        try:
            return stack.enter_context(self.mount.turn(resource, wait_ms=wait_ms))
        except StoreUnavailable:
            return stack.enter_context(self.table.turn(resource, wait_ms=wait_ms))

    def _fall_back_when_due(self, error: StoreUnavailable) -> None:
        """After a refusal of flock: waits a little, or moves the rule to the table when that has lasted too long."""
        now = self._clock.now()
        self._refused_since = self._refused_since or now
        if elapsed_max_ms(self._refused_since, now) < FLOCK_REFUSED_MS:
            self._clock.pause(QUEUE_POLL_MAX_MS)
            return
        self._events.tell(Event("falling_back", str(error.resource), self._agent, reason=error.cause.split(":")[0]))
        self.move(TABLE)
        self._refused_since = None

    def history(self, resource: Resource) -> list[Record]:
        """See Store: what both know, by position."""
        if self._authority.epoch == 1:
            found = self._ruling.history(resource)
            if not found or found[-1].epoch == 1:
                return found
            self._learn_of(found[-1])  # it was away, or is: some of its records are in the other store
        known = {record.n: record for store in (self.mount, self.table) for record in store.history(resource)}
        return [known[n] for n in sorted(known)]

    def collect(self, resource: Resource, author: Author, *, keep: int) -> int:
        """See Store."""
        return self._store_of(resource).collect(resource, author, keep=keep)

    def resources(self) -> Iterable[Resource]:
        """See Store."""
        if self._authority.epoch == 1 and self._authority.mode == MOUNT:
            return self.mount.resources()
        return sorted({*self.mount.resources(), *self.table.resources()})

    def show_life(self, incarnation: str) -> None:
        """See Store."""
        self.mount.show_life(incarnation)

    def is_gone(self, lease: Holding) -> bool:
        """See Store: on a disk of one host, whichever store rules."""
        return self.mount.is_gone(lease)

    def close(self) -> None:
        """See Store."""
        self.mount.close()
        self.table.close()

    def after_fork(self) -> None:
        """See Store."""
        self._guard = threading.Lock()
        self.mount.after_fork()
        self.table.after_fork()


def _at_ms(record: Record | None) -> int:
    """The time of a seal, by the mount's clock as far as the chain tells: the mount may no longer tell the time."""
    return record.at_ms if record else 0
