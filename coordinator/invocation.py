"""Leases and logs that end with a Lambda invocation (P10, P13, P19).

A Lambda's process does not end when its handler returns: its sandbox is frozen, and thawed for the next event, minutes
or hours later, or never. So that nothing is under way then, an invocation is a block::

    def handler(event, context):
        with workspace.invocation(context):
            …

*Inside*, every lease ends with the invocation: others may have it soon after the deadline at which a sandbox that runs
out of time is killed, without a ``finally``. A margin before that deadline is kept for the end of the block.

*At its end* logs are synced first, for that is what must not be lost; then leases that are still held are released;
then plain files are brought up to date, and logs are ended, so that they are collected as soon as they are folded (P27)
even if this sandbox is never thawed. What is in memory of a document is kept for the next invocation. When there is
less time left than the margin, logs are synced and no more is begun.

*A thaw* makes another incarnation of this process (P19). It is told by clocks that disagree about the time that has
passed, when a block is entered or a lease in it is used, or by the next invocation's id. What a freeze does to a lease
needs no telling: its holder reckons with the clock that went on (P10).
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypedDict

from coordinator.clock import elapsed_max_ms, millis_of
from coordinator.errors import BadValue, LeaseLost, StoreUnavailable
from coordinator.events import Event
from coordinator.limits import TTL_DEFAULT_MS, TTL_MAX_MS, TTL_MIN_MS
from coordinator.names import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from coordinator.document.document import Document
    from coordinator.document.folding import Folding
    from coordinator.lease import Lease
    from coordinator.record.member import Member

_MILLIS_MAX: Final = 1e300  # no invocation lasts longer; NaN is not below it either


class LambdaContext(Protocol):
    """What is looked at of the context object that a Lambda's handler is given."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """How long the invocation may still last."""
        ...


# ── what a lease may ask for ─────────────────────────────────────────────────────────────────────────────────────────


class _DefaultTtl(float):
    """The ttl of a caller who gave none: it is shortened to what is left, where one that was given is refused."""

    __slots__ = ()


TTL_DEFAULT: Final = _DefaultTtl(TTL_DEFAULT_MS / 1000)


class Bounds(TypedDict):
    """Of one acquisition, as ``acquire`` wants them."""

    ttl_ms: int
    wait_ms: int | None
    ends_in_ms: int


def bounds(member: Member, ttl: float, wait: float | None, ends_in: float | None) -> Bounds:
    """What a caller asked for, and no more than the invocation lasts, if there is one (P13).

    Raises:
        BadValue: A figure is none, or nothing is left of the invocation. That the figures are lawful, ``acquire`` sees.
    """
    ttl_ms = millis_of(ttl, "ttl")
    wait_ms = None if wait is None else millis_of(wait, "wait")
    ends_in_ms = 0 if ends_in is None else max(millis_of(ends_in, "ends_in"), 1)
    host = member.host
    if host is not None:
        left_ms = host.left_ms()
        ends_in_ms = min(ends_in_ms, left_ms) if ends_in_ms else left_ms
        longest_ms = left_ms - TTL_MIN_MS  # a lease that is had later than this is of no use
        wait_ms = longest_ms if wait_ms is None else min(wait_ms, longest_ms)
    if isinstance(ttl, _DefaultTtl) and ends_in_ms:
        ttl_ms = min(ttl_ms, ends_in_ms)
    return Bounds(ttl_ms=ttl_ms, wait_ms=wait_ms, ends_in_ms=ends_in_ms)


# ── the block ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Invocation:
    """One invocation of a Lambda function. Made by ``Workspace.invocation``; a context manager. Thread-safe.

    A child that is forked inside is bound to the same deadline; what it has opened ends with its own way out.

    Args:
        member: Whose leases and logs.
        context: The handler's.
        documents: Tells those that are open.
        margin_ms: Kept for the end.
    """

    def __init__(
        self, member: Member, context: LambdaContext, documents: Callable[[], Sequence[Document]], margin_ms: int
    ) -> None:
        request = getattr(context, "aws_request_id", None)
        if not isinstance(request, str) or not callable(getattr(context, "get_remaining_time_in_millis", None)):
            raise BadValue(
                f"{context!r:.80} is not the context of a Lambda invocation",
                argument="context",
                value=repr(context)[:80],
                hint="pass on the second argument of the handler",
            )
        self._member = member
        self._context = context
        self._request = request
        self._documents = documents
        self._margin_ms = margin_ms
        self._guard = threading.Lock()
        self._open: dict[Lease, None] = {}
        self._entered = member.clock.now()
        self._had_ms = 0
        self._is_leaving = False

    @property
    def remaining(self) -> float:
        """Seconds that are left for work: until the margin begins, by the clock that says least; never negative."""
        return max(min(self._told_ms(), self._reckoned_ms()) - self._margin_ms, 0) / 1000

    def __repr__(self) -> str:
        return f"<Invocation {self._request!r} of {self._member.agent}>"

    # ── entering and leaving ─────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        member = self._member
        self._entered = member.clock.now()  # before the time left is asked for: the safe side
        self._had_ms = min(self._told_ms(), TTL_MAX_MS)
        with member.guard:
            if member.host is not None:
                raise BadValue(
                    f"{member.host!r} is under way in this process: another cannot be bound to the same workspace",
                    argument="context",
                    value=self._request,
                    hint="one invocation at a time; for more, open a Workspace each",
                )
            self._is_leaving = False
            member.host = self
            before, member.hosted = member.hosted, self._request
        member.also_after_fork(self)
        try:
            spans = member.stood_still()
            if spans or before not in {"", self._request}:
                self._thawed("clocks" if spans else "invocation", spans or {})
        except BaseException:
            member.host = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Never swallows the body's exception, and never hides it behind its own.

        Raises:
            LeaseLost: The body ended well, but a lease that was still held was another's before it did.
            StoreUnavailable: The body ended well, but a log could not be synced.
        """
        member = self._member
        if member.host is not self:
            return
        with self._guard:
            self._is_leaving = True
        end = _End(member, self._reckoned_ms, self._margin_ms)
        try:
            with end.step():
                self.look()
            end.sync()
            while not end.is_hurried() and (lease := self._take_newest()) is not None:
                end.release(lease)
            for document in self._documents():
                end.rest(document)
        finally:
            with self._guard:
                end.kept += [lease.resource for lease in self._open]
                self._open.clear()
            with member.guard:
                member.host = None
        self._tell("invocation_ended", end.reason(), end.detail())
        if error is None and end.errors:
            raise end.errors[0]

    def after_fork(self) -> None:
        """In a forked child: the leases are the parent's."""
        self._guard = threading.Lock()
        self._open = {}

    # ── for leases (record/member.py: Host) ──────────────────────────────────────────────────────────────────────────

    def left_ms(self) -> int:
        """How long a lease may last that is asked for now.

        Raises:
            BadValue: Too little for any.
        """
        remaining_ms = min(self._told_ms(), self._reckoned_ms())
        left_ms = remaining_ms - self._margin_ms
        if left_ms >= TTL_MIN_MS and not self._is_leaving:
            return left_ms
        raise BadValue(
            f"this invocation has {max(remaining_ms, 0) / 1000:g} s left, and {self._margin_ms / 1000:g} s of that are "
            "kept for its end: no lease can be had in it any more",
            argument="ttl",
            value=max(left_ms, 0) / 1000,
            hint="do the work in another invocation, or give the function more time",
        )

    def opened(self, lease: Lease) -> None:
        """A lease was acquired or resumed."""
        with self._guard:
            self._open[lease] = None

    def closed(self, lease: Lease) -> None:
        """It was released, detached or lost."""
        with self._guard:
            self._open.pop(lease, None)

    def look(self) -> None:
        """Looks whether the process stood still since the last look; then it goes on as another incarnation."""
        spans = self._member.stood_still()
        if spans:
            self._thawed("clocks", spans)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _told_ms(self) -> int:
        """What the context says; it reckons by the wall clock."""
        left: Any = self._context.get_remaining_time_in_millis()
        if isinstance(left, bool) or not isinstance(left, int | float) or not abs(left) < _MILLIS_MAX:
            raise BadValue(
                f"get_remaining_time_in_millis() of the context says {left!r:.80}: not a number of milliseconds",
                argument="context",
                value=repr(left)[:80],
                hint="pass on the second argument of the handler",
            )
        return int(max(min(left, TTL_MAX_MS), 0))

    def _reckoned_ms(self) -> int:
        """What is left of what was told at the beginning, by the clock that went furthest since."""
        return self._had_ms - elapsed_max_ms(self._entered, self._member.clock.now())

    def _take_newest(self) -> Lease | None:
        """The lease that was had last: released in the opposite order."""
        with self._guard:
            return self._open.popitem()[0] if self._open else None

    def _thawed(self, reason: str, spans: dict[str, int]) -> None:
        self._member.renew_life()
        self._tell("invocation_thawed", reason, {f"{clock}_ms": span for clock, span in spans.items()})

    def _tell(self, kind: str, reason: str, detail: dict[str, Any]) -> None:
        detail = {"request": self._request, **detail}
        self._member.events.tell(Event(kind, "", self._member.agent, reason=reason, detail=detail))


class _End:
    """What is done at the end of an invocation, and what came of it. One failure does not keep the rest from it."""

    def __init__(self, member: Member, left_ms: Callable[[], int], margin_ms: int) -> None:
        self._member = member
        self._left_ms = left_ms
        self._margin_ms = margin_ms
        self._was_hurried = False
        self.errors: list[Exception] = []  # to be raised, if the body raised nothing
        self._trouble: list[str] = []
        self._synced = self._ended = 0
        self._released: list[str] = []
        self.kept: list[str] = []  # not released: they run out, at the invocation's deadline at the latest

    def is_hurried(self) -> bool:
        """Whether there is time for nothing more."""
        self._was_hurried = self._was_hurried or self._left_ms() < self._margin_ms
        return self._was_hurried

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around one thing: what it raises is noted."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, there is more to be done
            self._note(error)
            self.errors.append(error)

    def _note(self, error: Exception) -> None:
        self._trouble.append(f"{type(error).__name__}: {error}")

    def sync(self) -> None:
        """What was appended is durable then, whatever time is left."""
        for log in self._member.own_logs():
            with self.step():
                log.sync()
                self._synced += 1

    def release(self, lease: Lease) -> None:
        """One lease, as at the end of its own block."""
        with self.step():
            trouble = lease.let_go()
            if isinstance(trouble, LeaseLost):
                raise trouble
            if trouble is None:
                self._released.append(lease.resource)
            else:
                self.kept.append(lease.resource)
                self._note(trouble)

    def rest(self, document: Document) -> None:
        """One document: nothing of it is under way then, and its log is ended (P27)."""
        folding, distant = document.open_parts()
        with self.step():
            if self.is_hurried():
                if folding is not None:
                    _stop_refreshing(folding, wait_ms=0)
                return
            if folding is not None:
                folding.flush()
                _stop_refreshing(folding, wait_ms=self._left_ms() - self._margin_ms)
                _end_log(folding, self._member, Resource.parse(document.name))
                self._ended += 1
            if distant is not None:
                try:
                    distant.close()
                except StoreUnavailable as error:  # what is in it is durable; it is fenced and emptied instead
                    self._note(error)

    def reason(self) -> str:
        """In one word."""
        return "trouble" if self._trouble else "hurried" if self._was_hurried else ""

    def detail(self) -> dict[str, Any]:
        """For the event."""
        return {
            "left_ms": self._left_ms(),
            "synced": self._synced,
            "ended": self._ended,
            "released": self._released,
            "kept": self.kept,
            "trouble": self._trouble,
        }


def _end_log(folding: Folding, member: Member, resource: Resource) -> None:
    """Ends this process's log of a document; what is in memory of the document stays, and the next update begins one.

    Another thread that waits for an update of its own is told what became of it as ever.
    """
    from coordinator.document.submit import Submissions  # noqa: PLC0415 - a lease does without

    fresh = Submissions(member, resource, folding.compactor, folding.folded)
    ended, folding.submissions = folding.submissions, fresh  # first: who comes now goes to the fresh one
    ended.close()


def _stop_refreshing(folding: Folding, *, wait_ms: int) -> None:
    """Cancels what was put off, and waits for what is under way in another thread.

    A refresh that a freeze stops in the middle all the same does no harm: it is repaired by whoever reads (P16).
    """
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer) and getattr(timer.function, "__self__", None) is folding:
            timer.cancel()
            if wait_ms > 0:
                timer.join(wait_ms / 1000)
