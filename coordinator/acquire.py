"""Getting a lease: look, decide, wait in line, take over when that is due (P9, P12).

A waiter looks without any lock, and takes the queue lock only when it has something to append. It looks the more often
the nearer the front of the line it stands, and the less often the longer nothing has changed.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from coordinator.clock import CautiousTimer, Instant, elapsed_max_ms, elapsed_min_ms
from coordinator.errors import AcquireCancelled, AuthorityMoved, BadValue, LeaseHeld, LeaseLost, StoreUnavailable
from coordinator.events import Event
from coordinator.lease import Dating, Granted
from coordinator.limits import POLL_MAX_MS, POLL_MIN_MS, TTL_MAX_MS, TTL_MIN_MS, WAIT_MAX_MS, WAITING_MAX
from coordinator.record.agree import Refusal, Spans, settle
from coordinator.record.decide import Acquire, Ask, Break, Leave, Readings, Transition, Why, decide
from coordinator.record.record import BLANK

if TYPE_CHECKING:
    import threading

    from coordinator.names import Resource
    from coordinator.record.decide import Author
    from coordinator.record.member import Member
    from coordinator.record.record import Holding, Record

_LIFE_ASKED_MS = 20
_CLOCK_KEEP_MS = 1000  # how long a waiter reckons with its own clock before it asks the store's anew


def check_bounds(ttl_ms: int, wait_ms: int | None, ends_in_ms: int) -> None:
    """Refuses a ttl, wait or deadline outside its limits.

    Raises:
        BadValue: With the figure that was given and the one that is lawful (P13 for ``ends_in_ms``).
    """
    if not TTL_MIN_MS <= ttl_ms <= TTL_MAX_MS:
        raise BadValue(
            f"a ttl of {ttl_ms / 1000:g} s is outside {TTL_MIN_MS / 1000:g} s … {TTL_MAX_MS / 1000:g} s",
            argument="ttl",
            value=ttl_ms / 1000,
        )
    if wait_ms is not None and not 0 <= wait_ms <= WAIT_MAX_MS:
        raise BadValue(
            f"a wait of {wait_ms / 1000:g} s is outside 0 s … {WAIT_MAX_MS / 1000:g} s",
            argument="wait",
            value=wait_ms / 1000,
            hint="wait=0 tries once, wait=None waits for as long as it takes",
        )
    if ends_in_ms and ttl_ms > ends_in_ms:
        raise BadValue(
            f"a ttl of {ttl_ms / 1000:g} s is longer than the {ends_in_ms / 1000:g} s that this host has left",
            argument="ttl",
            value=ttl_ms / 1000,
            hint=f"ask for at most {ends_in_ms / 1000:g} s, or do the work in another invocation",
        )


class _Watch:
    """How long this process has seen one lease unchanged (P9), and the store's time as far as it is known."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._key: object = None
        self._unchanged = CautiousTimer(member.clock)
        self._now_ms = 0
        self._asked: Instant | None = None
        self._lease: Holding | None = None
        self._life: Instant | None = None  # when the holder's sign of life was last looked for
        self._gone = False

    def see(self, record: Record | None) -> None:
        """Notes what stands there now. Others entering the line are no sign of life of the holder."""
        lease = record.lease if record else None
        key = (lease.lease_id, lease.fence, lease.renewed_ms) if lease else ("free", record.freed_ms if record else 0)
        if key != self._key:
            self._key = key
            self._unchanged.restart()
            self._lease, self._life, self._gone = lease, None, False

    def unchanged_ms(self) -> int:
        """How long, at the least."""
        return self._unchanged.elapsed_ms()

    def readings(self) -> Readings:
        """For a look only: the store's time is reckoned, low rather than high, from when it was last asked."""
        now = self._member.clock.now()
        if self._asked is None or elapsed_max_ms(self._asked, now) >= _CLOCK_KEEP_MS:
            self._asked, self._now_ms = now, self._member.store.now_ms()
        reckoned_ms = self._now_ms + elapsed_min_ms(self._asked, now)
        return Readings(reckoned_ms, self._member.store.skew_ms, watched_ms=self.unchanged_ms(), gone=self._is_gone())

    def spans(self, record: Record | None) -> Spans:
        """For the decision itself."""
        self.see(record)
        return Spans(watched_ms=self.unchanged_ms(), gone=self._is_gone())

    def _is_gone(self) -> bool:
        """Whether the holder's process has ended: asked for every _LIFE_ASKED_MS, for each holder anew."""
        if self._lease is None:
            return False
        now = self._member.clock.now()
        if self._life is None or elapsed_max_ms(self._life, now) >= _LIFE_ASKED_MS:
            self._life, self._gone = now, self._member.store.is_gone(self._lease)
        return self._gone


class Acquisition:
    """One acquire call, from its first look to a grant or a refusal. Also several at once (together.py).

    ``author``: of the request, when its id is the caller's to choose, who may try again with it from anywhere.
    ``known``: the newest record, when the caller has read it just now: the first look costs nothing then.
    """

    def __init__(
        self,
        member: Member,
        resource: Resource,
        ttl_ms: int,
        ends_in_ms: int,
        cancel: threading.Event | None,
        *,
        author: Author | None = None,
        known: Record | None = None,
    ) -> None:
        self._known = known
        self._member = member
        self.resource = resource
        self._ttl_ms = ttl_ms
        self._ends_in_ms = ends_in_ms
        self._cancel = cancel
        self._began = member.clock.now()
        self._watch = _Watch(member)
        self._author = author or member.author()  # one request, however often it is tried
        self._place = ""

    def run(self, wait_ms: int | None) -> Granted:
        """Tries, and waits in line; see ``acquire``."""
        try:
            while True:
                outcome = self._attempt()
                if isinstance(outcome, Granted):
                    return outcome
                left_ms = None if wait_ms is None else wait_ms - self.waited_ms()
                if left_ms is not None and left_ms <= 0:
                    raise self.refused(outcome)
                if self._cancel is not None and self._cancel.is_set():
                    raise self.cancelled()
                record = self._enter_line(outcome.record)
                self._pause(record, left_ms)
        except BaseException:
            self._leave_line()
            raise

    def anew(self) -> Acquisition:
        """The same wish once more, as another request: what this one was granted has been freed since."""
        ends_in_ms = max(self._ends_in_ms - self.waited_ms(), 1) if self._ends_in_ms else 0
        return Acquisition(self._member, self.resource, self._ttl_ms, ends_in_ms, self._cancel)

    def waited_ms(self) -> int:
        """Since it began, at the most."""
        return elapsed_max_ms(self._began, self._member.clock.now())

    def _attempt(self) -> Granted | Refusal:
        """One look; one append if it promises something."""
        record, self._known = self._known, None
        if record is None:
            record = self._member.store.remembered(self.resource)
            if record is None or record.lease or record.waiting:  # else it is tried on what is remembered, at no cost
                record = self._member.store.read(self.resource)
        self._watch.see(record)
        if record is not None and (record.lease or record.waiting):  # else there is nothing to look at the time for
            look = decide(record, self.request(0, 0), self._watch.readings())
            if isinstance(look, Refusal):
                return self.moved_or(look)
        self._member.store.show_life(self._author.incarnation)
        dating = Dating(self._member)
        decision = settle(
            self._member.store,
            self.resource,
            self.request,
            known=record or replace(BLANK, mode=self._member.store.mode),
            spans=self.spans,
            asked_ms=dating.now_ms,
        )
        if isinstance(decision, Refusal):
            return self.moved_or(decision)
        self.tell_granted(decision.record, record)
        return Granted(decision.record, dating.mark, self.left_of_host_ms(dating.mark), self.waited_ms())

    def spans(self, record: Record | None) -> Spans:
        """What this process's clocks say of the record being decided on."""
        return self._watch.spans(record)

    def request(self, _n: int, now_ms: int) -> Acquire:
        """The request at a time of the store's clock; the same one, however often it is tried."""
        dead_by_ms = now_ms + self._ends_in_ms - self.waited_ms() if self._ends_in_ms else 0
        return Acquire(self._author, self._ttl_ms, max(dead_by_ms, 0), self._place)

    def left_of_host_ms(self, mark: Instant) -> int:
        """The host's deadline, counted from a moment; 0: it has none."""
        return max(self._ends_in_ms - elapsed_max_ms(self._began, mark), 1) if self._ends_in_ms else 0

    def moved_or(self, refusal: Refusal) -> Refusal:
        """A refusal; AuthorityMoved if it is that of a closed chain."""
        if refusal.why is Why.MOVED:
            raise moved_error(self._member, self.resource, refusal.record)
        return refusal

    def _enter_line(self, record: Record) -> Record:
        """Takes a place, which also tells the holder that somebody waits; again, if it was passed over meanwhile."""
        if any(waiter.request == self._place for waiter in record.waiting) or len(record.waiting) >= WAITING_MAX:
            return record
        author = self._member.author()
        decision = settle(self._member.store, self.resource, lambda _n, _now: Ask(author), known=record, queued=False)
        if isinstance(decision, Transition):
            self._place = author.request
        return decision.record

    def _leave_line(self) -> None:
        """Gives the place up, as well as it can: one that stays costs those behind it one turn."""
        if self._place:
            leave_line(self._member, self.resource, self._place)

    def _pause(self, record: Record, left_ms: int | None) -> None:
        self._watch.see(record)
        places = [waiter.request for waiter in record.waiting]
        if self._place in places:
            pause(self._member, places.index(self._place), self._watch.unchanged_ms(), left_ms, self._cancel)
        else:  # the line is full: a crowd outside must not look more often the longer it is
            pause(self._member, WAITING_MAX, self.waited_ms(), left_ms, self._cancel)

    def refused(self, refusal: Refusal) -> LeaseHeld:
        """The error for one that was not had in time."""
        record, lease = refusal.record, refusal.record.lease
        now_ms = self._watch.readings().now_ms
        if lease:
            until = max(lease.until_ms - now_ms, 0) / 1000
            since = max(now_ms - lease.granted_ms, 0) / 1000
            text = f"is held by {lease.agent} (fence {lease.fence}) since {since:.1f} s, for {until:.1f} s more"
        else:
            text = f"is free, but {len(record.waiting)} wait in line for it"
        waited_ms = self.waited_ms()
        held = LeaseHeld(
            f"the lease on {str(self.resource)!r} {text}; waited {waited_ms / 1000:.1f} s",
            resource=str(self.resource),
            holder=lease.agent if lease else "",
            fence=lease.fence if lease else 0,
            since_ms=lease.granted_ms if lease else record.freed_ms,
            until_ms=lease.until_ms if lease else now_ms,
            now_ms=now_ms,
            waiting=len(record.waiting),
            waited_ms=waited_ms,
        )
        self._tell("refused", held.fence, held.holder, str(refusal.why), waited_ms)
        return held

    def cancelled(self) -> AcquireCancelled:
        """The error for one whose caller gave up."""
        waited_ms = self.waited_ms()
        self._tell("refused", 0, "", "cancelled", waited_ms)
        return AcquireCancelled(
            f"waiting for the lease on {str(self.resource)!r} was cancelled after {waited_ms / 1000:.1f} s",
            resource=str(self.resource),
            waited_ms=waited_ms,
        )

    def tell_granted(self, record: Record, before: Record | None) -> None:
        """Tells of a grant, which may be a steal (P14)."""
        why = record.why
        stolen_from = before.lease.agent if before and before.lease and why != "free" else ""
        self._tell("granted" if why == "free" else "stolen", record.n, stolen_from, why, self.waited_ms())

    def _tell(self, kind: str, fence: int, holder: str, reason: str, waited_ms: int) -> None:
        name = str(self.resource)
        self._member.events.tell(Event(kind, name, self._member.agent, fence, holder, reason, waited_ms))


def acquire(
    member: Member,
    resource: Resource,
    *,
    ttl_ms: int,
    wait_ms: int | None,
    ends_in_ms: int = 0,
    cancel: threading.Event | None = None,
) -> Granted:
    """Acquires a lease.

    Args:
        member: Who wants it.
        resource: What.
        ttl_ms: How long it lasts without renewal.
        wait_ms: 0 tries once; None waits for as long as it takes.
        ends_in_ms: After this time the host is dead for certain (a Lambda's deadline, P13); 0 when it has none.
        cancel: Ends the waiting when set.

    Raises:
        BadValue: A bound is broken.
        LeaseHeld: Not to be had within ``wait_ms``; says who holds it.
        AcquireCancelled: ``cancel`` was set.
        StoreUnavailable: A retry is safe. A grant that was made and not heard of runs out by its ttl.
        AuthorityMoved: Another store rules.
    """
    check_bounds(ttl_ms, wait_ms, ends_in_ms)
    return Acquisition(member, resource, ttl_ms, ends_in_ms, cancel).run(wait_ms)


def moved_error(member: Member, resource: Resource, record: Record) -> AuthorityMoved:
    """The error for a chain that is sealed (P29)."""
    return AuthorityMoved(
        f"{str(resource)!r} is no longer ruled by this store: its chain is sealed",
        path=member.places.root,
        mode=record.mode,
        epoch=record.epoch,
    )


def pause(
    member: Member, ahead: int, unchanged_ms: int, left_ms: int | None, cancel: threading.Event | None = None
) -> None:
    """Waits between two looks: a tenth of the time that nothing has changed, more for those further back."""
    pause_ms = min(max(POLL_MIN_MS * (1 + ahead), unchanged_ms / 10), POLL_MAX_MS) * random.uniform(0.5, 1.0)
    member.clock.pause(pause_ms if left_ms is None else min(pause_ms, max(left_ms, 0)), cancel)


def leave_line(member: Member, resource: Resource, place: str) -> None:
    """Gives a place in line up; a store that does not answer is no reason to fail."""
    author = member.author()
    try:
        settle(member.store, resource, lambda _n, _now: Leave(author, place))
    except StoreUnavailable:
        return


def request_release(member: Member, resource: Resource, grace_ms: int) -> bool:
    """Asks the holder to let go, and waits for it, at most ``grace_ms`` (P12).

    The holder sees it as ``lease.wanted`` at its next check. Nothing is taken from it.

    Returns:
        True when the holder that was asked no longer holds the lease, or nobody did; False when grace ran out.
    """
    record = member.store.read(resource)
    if record is None or record.lease is None:
        return True
    asked, author, began = record.lease.fence, member.author(), member.clock.now()
    settle(member.store, resource, lambda _n, _now: Ask(author), known=record)
    try:
        while True:
            record = member.store.read(resource)
            if record is None or record.lease is None or record.lease.fence != asked:
                return True
            waited_ms = elapsed_max_ms(began, member.clock.now())
            if waited_ms >= grace_ms:
                return False
            pause(member, 0, waited_ms, grace_ms - waited_ms)
    finally:
        leave_line(member, resource, author.request)


def break_lease(member: Member, resource: Resource, fence: int) -> Record:
    """Frees a lease by force, if its fence is still this one; its holder is fenced out at its next step.

    Returns:
        The record before.

    Raises:
        LeaseLost: It is not held, or not with that fence: somebody else was quicker; look again.
    """
    before = member.store.read(resource)
    author = member.author()
    decision = settle(member.store, resource, lambda _n, _now: Break(author, fence))
    if isinstance(decision, Refusal):
        holder = decision.record.lease
        now = f"{holder.agent} holds it with fence {holder.fence}" if holder else "nobody holds it"
        raise LeaseLost(
            f"the lease on {str(resource)!r} is not held with fence {fence}: {now}",
            resource=str(resource),
            fence=fence,
            reason="taken" if holder else "released",
            successor=holder.agent if holder else "",
            successor_fence=holder.fence if holder else 0,
            kept="",
            hint="look again (coordinator lease show) and decide anew",
        )
    member.events.tell(Event("broken", str(resource), member.agent, fence, reason="forced"))
    assert before is not None  # noqa: S101 - it had a lease
    return before
