"""Leases: exclusive for a time, fenced, and honest about their end (P9 to P13).

A lease is a *hint* to those who play along and a *fence* for everyone: while it is held nobody else is granted it, but
a holder that was frozen, cut off or slow may not know that its time is over. So whatever must not be overwritten goes
through ``commit``, which is decided at the record (P1), or carries ``lease.fence`` to a system that refuses lower ones.

A lease belongs to the process that acquired it. A forked child that uses it is told so; a program started by ``exec``
has no handle on it (nothing of it lives in a descriptor or the environment); ``detach`` and ``resume`` hand it on.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from coordinator.clock import elapsed_max_ms, elapsed_min_ms
from coordinator.errors import BadValue, LeaseLost, StaleFence, StoreUnavailable, TableUnusable
from coordinator.events import Event, call_safely
from coordinator.limits import N_DIGITS, RENEW_PERCENT, TRUST_PERCENT
from coordinator.names import Resource, is_id, new_id
from coordinator.record.agree import Refusal, Spans, settle
from coordinator.record.decide import Author, Detach, Release, Renew, Request, Resume, Why

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from coordinator.clock import Instant
    from coordinator.record.member import Member
    from coordinator.record.record import Holding, Record

    LostCallback = Callable[[LeaseLost], None]

_REASONS: Final = {
    "expired": "its time ran out before it was renewed",
    "taken": "another holds it, or held it since",
    "released": "it was freed by somebody else",
    "sealed": "another store rules this workspace now",
    "ended": "this holder gave it up, or its host's deadline came",
    "forked": "it belongs to the parent process; a forked child has to acquire its own",
}
_NOT_YET_FREED: Final = frozenset({"expired", "ended"})  # lost by its holder's clocks; it may stand there still


class Granted(NamedTuple):
    """What an acquisition or resumption brought: the record, and when its request began, by our own clocks."""

    record: Record
    mark: Instant
    ends_in_ms: int  # the host's deadline, counted from mark; 0 when there is none
    waited_ms: int


class Dating:
    """Notes a holder's clocks just before the store tells its time, anew for each decision (P10).

    From the note on the holder trusts, from the store's time on the others wait: so the trust ends first. Noted once at
    the start, it would count the queueing against the lease, which might be granted with nothing left.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self.mark = member.clock.now()

    def now_ms(self) -> int:
        """The store's time."""
        self.mark = self._member.clock.now()
        return self._member.store.now_ms()


class Lease:
    """A lease that was granted. Made by ``Workspace.lease``; a context manager that releases it.

    Thread-safe: one holder's calls are carried out one after the other.

    Args:
        member: Who holds it.
        resource: What it is on.
        granted: The grant.
        on_lost: Called once, in the thread that finds out, when the lease is lost before it was released.
        renew_in_background: Renew by a daemon thread instead of at ``check``.
    """

    def __init__(
        self,
        member: Member,
        resource: Resource,
        granted: Granted,
        *,
        on_lost: LostCallback | None = None,
        renew_in_background: bool = False,
    ) -> None:
        held = granted.record.lease
        assert held is not None  # noqa: S101 - a grant's record has its lease
        self._member = member
        self._resource = resource
        self._record = granted.record
        self._held: Holding = held
        self._mark = self._began = granted.mark
        self._told = member.clock.now()  # after the store told its time at the grant or renewal; the mark is before
        self._ends_in_ms = granted.ends_in_ms
        self._on_lost = on_lost
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = False
        self._lost: LeaseLost | None = None
        self._stop = threading.Event()
        self._host = member.host
        if self._host is not None:
            self._host.opened(self)
        if renew_in_background:
            interval_ms = held.ttl_ms * TRUST_PERCENT * RENEW_PERCENT / 10_000
            threading.Thread(
                target=_renew_until_stopped,
                args=(weakref.ref(self), self._stop, member, interval_ms),
                name=f"renew {resource}",
                daemon=True,
            ).start()

    # ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def resource(self) -> str:
        """What is leased."""
        return str(self._resource)

    @property
    def fence(self) -> int:
        """The fencing token: greater than every earlier holder's, for ever (P3). Send it where writes are checked."""
        return self._held.fence

    @property
    def agent(self) -> str:
        """Who holds it."""
        return self._member.agent

    @property
    def ttl(self) -> float:
        """Seconds that it lasts without renewal."""
        return self._held.ttl_ms / 1000

    @property
    def remaining(self) -> float:
        """Seconds for which the holder may still trust it, by its own clocks (P10); 0 when it is over. Asks nobody."""
        if self._closed or self._lost or self._pid != os.getpid():
            return 0.0
        now = self._member.clock.now()
        left_ms = self._held.ttl_ms * TRUST_PERCENT // 100 - elapsed_max_ms(self._mark, now)
        if self._ends_in_ms:
            left_ms = min(left_ms, self._ends_in_ms - elapsed_max_ms(self._began, now))
        return max(left_ms, 0) / 1000

    @property
    def wanted(self) -> bool:
        """Whether others were waiting for it when it was last looked at (``check``, ``renew``, ``commit``; P12)."""
        return bool(self._record.waiting)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.resource!r} fence={self.fence} remaining={self.remaining:.1f}s>"

    # ── what a holder does ───────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Makes sure, at the store, that the lease is still this holder's; renews it when half its trust is used (P11).

        Raises:
            LeaseLost: Stop: it is not. The reason says why.
            StaleFence: The same, and a successor is known.
            StoreUnavailable: Nothing is known; a retry is safe while ``remaining`` is above 0.
        """
        self._refuse_child()
        with self._lock:
            self._refuse_when_over()
            if self._is_half_used():
                self.renew()
                return
            record = self._member.store.read(self._resource)
            if record is None or record.is_closed or not self._is_mine(record):
                raise self._find_out(record or self._record)
            self._record = record

    def renew(self) -> None:
        """Starts the ttl anew. Idempotent. Raises as ``check`` does."""
        self._act(lambda author, _n: Renew(author, self._held.lease_id, self.fence), renews=True)

    def release(self) -> None:
        """Lets go. A second call does nothing.

        Raises:
            LeaseLost: It was another's already: what was done under it was not exclusive to the end.
            StoreUnavailable: It may still be held; it then runs out by its ttl. A retry is safe.
        """
        self._refuse_child()  # before the lock: another thread of the parent may have held it at the fork
        with self._lock:
            if self._closed:
                return
            if self._lost and self._lost.reason not in _NOT_YET_FREED:
                raise self._lost
            self._settle(lambda author, _n: Release(author, self._held.lease_id, self.fence), renews=False)
            self._close()
            self._tell("released")

    def detach(self) -> str:
        """Gives the lease up without freeing it, and returns a token for ``Workspace.resume``, here or elsewhere (P12).

        The token is good for one resumption, until the ttl runs out. Raises as ``check`` does.
        """
        self._refuse_child()
        with self._lock:
            self._act(lambda author, _n: Detach(author, self._held.lease_id, self.fence), renews=True)
            self._close()
            return f"v1.{self.fence}.{self._held.lease_id}.{self._resource}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Releases. Never swallows the body's exception, and never hides it behind its own.

        Raises:
            LeaseLost: The body ended well, but the lease was another's before it did.
            TableUnusable: The body ended well, and the lease could not be released: somebody has to act.
        """
        if self._pid != os.getpid():
            return  # a forked child leaves the block too; the lease is its parent's to release
        trouble = self.let_go()
        if isinstance(trouble, LeaseLost | TableUnusable) and error is None:
            raise trouble

    def let_go(self) -> LeaseLost | StoreUnavailable | TableUnusable | None:
        """Releases as well as it can, once, and returns what stood in the way."""
        try:
            self.release()
        except (StoreUnavailable, TableUnusable) as error:
            self._close()
            self._tell("release_failed", reason=error.cause)
            return error
        except LeaseLost as lost:
            self._close()
            return lost
        return None

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _act(self, request_for: Callable[[Author, int], Request], *, renews: bool) -> Record:
        """Carries one holder's request through, under trust (P10)."""
        self._refuse_child()
        with self._lock:
            self._refuse_when_over()
            return self._settle(request_for, renews=renews)

    def _settle(self, request_for: Callable[[Author, int], Request], *, renews: bool) -> Record:
        """Decides the request at the record; if it renews, the trust begins anew at the moment before it was made."""
        author = self._member.author()
        dating = Dating(self._member)
        decision = settle(
            self._member.store,
            self._resource,
            lambda n, _now_ms: request_for(author, n),
            known=self._newest_known(),
            spans=self._spans,
            asked_ms=dating.now_ms if renews else self._reckoned_ms,
            queued=False,
        )
        if isinstance(decision, Refusal):
            if decision.why is Why.REVISION:
                self._record = decision.record
                raise RevisionMoved(decision.record)
            raise self._find_out(decision.record, decision.why)
        self._record = decision.record
        if renews and decision.record.lease:
            self._held, self._mark, self._told = decision.record.lease, dating.mark, self._member.clock.now()
        return decision.record

    def _newest_known(self) -> Record:
        """A look for nothing: in the table, this process's own collection has often moved the record meanwhile."""
        remembered = self._member.store.remembered(self._resource)
        return remembered if remembered and remembered.n > self._record.n else self._record

    def _reckoned_ms(self) -> int:
        """The store's time, reckoned from the last renewal's; rather too early than too late."""
        return self._held.renewed_ms + elapsed_min_ms(self._told, self._member.clock.now())

    def _is_half_used(self) -> bool:
        """Whether it is time to renew (P11)."""
        return self.remaining * 1000 <= self._held.ttl_ms * TRUST_PERCENT * (100 - RENEW_PERCENT) / 10_000

    def _spans(self, _record: Record | None) -> Spans:
        now = self._member.clock.now()
        return Spans(held_ms=elapsed_max_ms(self._mark, now))

    def _is_mine(self, record: Record) -> bool:
        held = record.lease
        return held is not None and (held.lease_id, held.fence) == (self._held.lease_id, self.fence)

    def _refuse_child(self) -> None:
        if self._pid != os.getpid():
            raise self._error(LeaseLost, "forked")

    def _refuse_when_over(self) -> None:
        if self._member.host is not None:
            self._member.host.look()  # before anything is written under an incarnation from before a freeze
        if self._lost:
            raise self._lost
        if self._closed:
            raise self._error(LeaseLost, "ended")
        if self.remaining <= 0:
            now = self._member.clock.now()
            ended = self._ends_in_ms and elapsed_max_ms(self._began, now) >= self._ends_in_ms
            raise self._find_out(self._newest(), Why.EXPIRED, reason="ended" if ended else "")

    def _newest(self) -> Record:
        """The newest record if it can be had: it names the successor, should there be one."""
        try:
            return self._member.store.read(self._resource) or self._record
        except StoreUnavailable:
            return self._record

    def _find_out(self, record: Record, why: Why = Why.TAKEN, *, reason: str = "") -> LeaseLost:
        """The error for a lease that is gone, with its successor if there is one; remembered, told and called back."""
        if record.is_closed:
            error = self._error(LeaseLost, "sealed")
        elif self._is_mine(record):
            error = self._error(LeaseLost, reason or str(why))
        else:
            ended_by = self._ended_by(record)
            if ended_by.lease is not None or ended_by.kind == "commit":
                agent, fence = (ended_by.lease.agent, ended_by.lease.fence) if ended_by.lease else (ended_by.agent, 0)
                error = self._error(StaleFence, "taken", successor=agent, successor_fence=fence)
            else:
                error = self._error(LeaseLost, "released", successor=ended_by.agent)
        return self._note_lost(error)

    def _note_lost(self, error: LeaseLost) -> LeaseLost:
        first, self._lost = self._lost is None, error
        self._stop.set()
        if self._host is not None and error.reason not in _NOT_YET_FREED:
            self._host.closed(self)
        if first:
            self._tell("lost", reason=error.reason, holder=error.successor)
            if self._on_lost:
                call_safely(self._on_lost, error)
        return error

    def _ended_by(self, newest: Record) -> Record:
        """The first record after the grant that another holds or committed; else the one that freed the lease."""
        try:
            later = [record for record in self._member.store.history(self._resource) if record.n > self.fence]
        except StoreUnavailable:
            return newest
        after = [record for record in later if not self._is_mine(record)]
        superseding = (record for record in after if record.lease is not None or record.kind == "commit")
        return next(superseding, after[0] if after else newest)

    def _error(self, kind: type[LeaseLost], reason: str, *, successor: str = "", successor_fence: int = 0) -> LeaseLost:
        who = (
            f": {successor} has fence {successor_fence}" if successor_fence else f" by {successor}" if successor else ""
        )
        return kind(
            f"the lease on {self.resource!r} with fence {self.fence} is lost ({reason}{who}): {_REASONS[reason]}",
            resource=self.resource,
            fence=self.fence,
            reason=reason,
            successor=successor,
            successor_fence=successor_fence,
            kept="",
        )

    def _close(self) -> None:
        self._closed = True
        self._stop.set()
        if self._host is not None:
            self._host.closed(self)

    def _tell(self, kind: str, *, reason: str = "", holder: str = "", **detail: Any) -> None:
        event = Event(kind, self.resource, self.agent, self.fence, holder=holder, reason=reason, detail=detail)
        self._member.events.tell(event)


class RevisionMoved(Exception):  # inside the project only: the document makes a RevisionConflict of it
    """A commit named a revision that is no longer the newest. ``args[0]`` is the newest record."""


def _renew_until_stopped(
    reference: weakref.ref[Lease], stop: threading.Event, member: Member, interval_ms: float
) -> None:
    """The body of the renewing thread. It holds no reference while it waits: a forgotten lease is not kept alive."""
    pause_ms = interval_ms
    while not member.clock.pause(pause_ms, stop):
        lease = reference()
        if lease is None:
            return
        try:
            lease.renew()
            pause_ms = interval_ms
        except LeaseLost:
            return
        except (StoreUnavailable, TableUnusable):  # credentials, say, that are just being rotated
            pause_ms = interval_ms / 10  # the trust that is left is for trying again
        del lease


def parse_token(token: str) -> tuple[Resource, int, str]:
    """Resource, fence and lease id of a token that ``Lease.detach`` gave."""
    version, _, rest = token.partition(".")
    fence, _, rest = rest.partition(".")
    lease_id, _, name = rest.partition(".")
    is_number = fence.isascii() and fence.isdecimal() and len(fence) <= N_DIGITS
    if version != "v1" or not is_number or not is_id(lease_id):
        raise BadValue(f"{token[:80]!r} is not the token of a detached lease", argument="token", value=token)
    return Resource.parse(name), int(fence), lease_id


def resume(member: Member, token: str) -> tuple[Resource, Granted]:
    """Takes up a detached lease.

    Raises:
        BadValue: It is no token.
        LeaseLost: It ran out, was taken, or the token was used already.
    """
    resource, fence, lease_id = parse_token(token)
    author, new_lease_id, dating = member.author(), new_id(), Dating(member)
    began, given_ms = dating.mark, member.host.left_ms() if member.host is not None else 0

    def left_ms() -> int:
        """Of this process's own host, if it has a deadline; the first holder's counts no more."""
        return max(given_ms - elapsed_max_ms(began, dating.mark), 1) if given_ms else 0

    def request_for(_n: int, now_ms: int) -> Resume:
        return Resume(author, lease_id, fence, new_lease_id, now_ms + left_ms() if given_ms else 0)

    member.store.show_life(author.incarnation)
    decision = settle(member.store, resource, request_for, asked_ms=dating.now_ms)
    if isinstance(decision, Refusal):
        reason = str(decision.why)
        holder = decision.record.lease.agent if decision.record.lease else ""
        raise LeaseLost(
            f"the detached lease on {str(resource)!r}, fence {fence}, cannot be resumed ({reason}): {_REASONS[reason]}",
            resource=str(resource),
            fence=fence,
            reason=reason,
            successor=holder,
            successor_fence=decision.record.lease.fence if decision.record.lease else 0,
            kept="",
        )
    return resource, Granted(decision.record, dating.mark, left_ms(), 0)
