"""Several leases at once: all of them, or none.

In the table it is one transaction. On the mount they are taken one after the other, always in the order of their names,
so that two who want the same ones never wait for each other; those that were had are freed when one is not to be had.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from coordinator.acquire import Acquisition, check_bounds, pause
from coordinator.clock import elapsed_max_ms
from coordinator.errors import BadValue, LeaseHeld, LeaseLost, StoreUnavailable, TableUnusable
from coordinator.lease import Dating, Granted, Lease
from coordinator.limits import LEASES_TOGETHER_MAX, TRUST_PERCENT, WAITING_MAX
from coordinator.record.agree import settle
from coordinator.record.decide import Readings, Refusal, Release, decide
from coordinator.record.record import BLANK

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record

L = TypeVar("L", bound=Lease)


class HeldTogether(Generic[L]):
    """Leases that were acquired at once, by name. A context manager that releases all of them."""

    def __init__(self, leases: Sequence[L]) -> None:
        self._leases = {lease.resource: lease for lease in leases}

    def __getitem__(self, name: str) -> L:
        return self._leases[name]

    def __iter__(self) -> Iterator[L]:
        return iter(self._leases.values())

    def __len__(self) -> int:
        return len(self._leases)

    def check(self) -> None:
        """``Lease.check`` of each. Raises LeaseLost, StoreUnavailable."""
        for lease in self:
            lease.check()

    def release(self) -> None:
        """Releases each, the last first; raises the first error after all were tried."""
        errors: list[Exception] = []
        for lease in reversed(list(self)):
            try:
                lease.release()
            except (LeaseLost, StoreUnavailable, TableUnusable) as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As a lease's own: never swallows the body's exception."""
        lost: list[LeaseLost | TableUnusable] = []
        for lease in reversed(list(self)):
            try:
                lease.__exit__(kind, error, trace)
            except (LeaseLost, TableUnusable) as one:
                lost.append(one)
        if lost:
            raise lost[0]


def acquire_together(
    member: Member,
    resources: Sequence[Resource],
    *,
    ttl_ms: int,
    wait_ms: int | None,
    ends_in_ms: int = 0,
    cancel: threading.Event | None = None,
) -> list[Granted]:
    """Acquires several leases, all or none; in the order of ``resources``, which is that of their names.

    Who waits here stands in no line: they are tried again until all are free at once.

    Args:
        member: Who wants them.
        resources: Which, each once, sorted.
        ttl_ms: As for ``acquire``.
        wait_ms: As for ``acquire``, for all of them together.
        ends_in_ms: As for ``acquire``.
        cancel: As for ``acquire``.

    Raises:
        BadValue: None, too many, or a bound is broken.
        LeaseHeld, AcquireCancelled, StoreUnavailable: As ``acquire``; none is held then, but for what was granted
            and not heard of, which runs out by its ttl.
    """
    check_bounds(ttl_ms, wait_ms, ends_in_ms)
    if not 1 <= len(resources) <= LEASES_TOGETHER_MAX:
        raise BadValue(
            f"{len(resources)} leases cannot be had at once: 1 to {LEASES_TOGETHER_MAX} can",
            argument="names",
            value=len(resources),
        )
    wanted = [Acquisition(member, resource, ttl_ms, ends_in_ms, cancel) for resource in resources]
    while True:
        outcome = _attempt(member, wanted)
        if outcome is None:
            return _one_by_one(member, wanted, ttl_ms=ttl_ms, wait_ms=wait_ms)
        if isinstance(outcome, list):
            return outcome
        one, refusal = outcome
        waited_ms = one.waited_ms()
        left_ms = None if wait_ms is None else wait_ms - waited_ms
        if refusal is not None and left_ms is not None and left_ms <= 0:
            raise one.refused(refusal)
        if cancel is not None and cancel.is_set():
            raise one.cancelled()
        pause(member, WAITING_MAX if refusal else 0, waited_ms if refusal else 0, left_ms, cancel)


def _attempt(
    member: Member, wanted: Sequence[Acquisition]
) -> list[Granted] | tuple[Acquisition, Refusal | None] | None:
    """One look at all, and one append if that promises something. None: this store puts one record at a time."""
    member.store.show_life(member.incarnation)
    before = [_newest(member, one.resource) for one in wanted]
    # Asked for after the records were read: an earlier time might be another store's, if the rule moved in between.
    dating = Dating(member)
    now_ms = dating.now_ms()
    appends: list[tuple[Resource, Record]] = []
    for one, record in zip(wanted, before, strict=True):
        spans = one.spans(record)
        start = record or replace(BLANK, mode=member.store.mode)
        readings = Readings(now_ms, member.store.skew_ms, *spans)
        decision = decide(start, one.request(0, now_ms), readings)
        if isinstance(decision, Refusal):
            return one, one.moved_or(decision)
        appends.append((one.resource, decision.record))
    result = member.store.append_together(appends)
    if result is None:
        return None
    if isinstance(result, dict):
        return wanted[0], None  # somebody came first: look again
    granted = []
    for one, (_, record), old in zip(wanted, appends, before, strict=True):
        one.tell_granted(record, old)
        granted.append(Granted(record, dating.mark, one.left_of_host_ms(dating.mark), one.waited_ms()))
    return granted


def _newest(member: Member, resource: Resource) -> Record | None:
    """What is remembered, if it looks free: it is tried on that, at no cost."""
    record = member.store.remembered(resource)
    if record is None or record.lease or record.waiting:
        record = member.store.read(resource)
    return record


def _one_by_one(member: Member, wanted: Sequence[Acquisition], *, ttl_ms: int, wait_ms: int | None) -> list[Granted]:
    """In the order of the names. Who waits for a later one holds the earlier ones for part of their trust only."""
    began = wanted[0]
    patience_ms = ttl_ms * TRUST_PERCENT // 200
    while True:
        had: list[tuple[Resource, Granted]] = []
        first = member.clock.now()
        try:
            for one in wanted:
                left_ms = None if wait_ms is None else max(wait_ms - began.waited_ms(), 0)
                if had:
                    round_ms = max(patience_ms - elapsed_max_ms(first, member.clock.now()), 0)
                    left_ms = round_ms if left_ms is None else min(left_ms, round_ms)
                had.append((one.resource, one.anew().run(left_ms)))
                first = had[0][1].mark
        except BaseException as error:
            for resource, granted in reversed(had):
                _free(member, resource, granted)
            if not isinstance(error, LeaseHeld) or (wait_ms is not None and began.waited_ms() >= wait_ms):
                raise
        else:
            return [granted for _, granted in had]


def _free(member: Member, resource: Resource, granted: Granted) -> None:
    """Frees what was had in vain; should the store not answer, it runs out by its ttl."""
    lease, author = granted.record.lease, member.author()
    assert lease is not None  # noqa: S101 - it was granted
    try:
        settle(
            member.store,
            resource,
            lambda _n, _now_ms: Release(author, lease.lease_id, lease.fence),
            known=granted.record,
        )
    except StoreUnavailable:
        return
