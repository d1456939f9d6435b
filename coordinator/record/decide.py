"""What to do about a request: a pure table (P4). No store, no clock, no file is touched here.

The record is looked at from the asker's side, which gives one of six *standings*; the asker wants one of eleven
*verbs*. The table has a cell for each pair. ``—`` is impossible: a request that names no lease cannot be its holder's.

    verb       FREE            MINE          SPENT         LIVE          OVER            SEALED
    Acquire    grant in turn   —             —             held          grant in turn   moved
    Ask        enter line      —             —             enter line    enter line      moved
    Leave      leave line      —             —             leave line    leave line      moved
    Break      gone            —             —             break         break           moved
    Put        commit          —             —             held          commit, break   moved
    Raise      raise floor     —             —             raise floor   raise floor     moved
    Renew      gone            renew         expired       taken         taken           moved
    Release    gone            free          free          taken         taken           moved
    Detach     gone            detach        expired       taken         taken           moved
    Resume     gone            resume        expired       taken         taken           moved
    Commit     gone            commit        expired       taken         taken           moved

    FREE    nobody holds the lease
    MINE    the request names the lease that stands there, and the holder's trust in it is not used up (P10)
    SPENT   it names that lease, but the holder's own clocks say that the trust is used up
    LIVE    another's, running
    OVER    another's, and it may be taken over (P9): run out, silent under our eyes, its process gone, or its host's
            deadline passed
    SEALED  the chain is closed: another store rules (P29)
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from coordinator.limits import TRUST_PERCENT, TURN_MS, WAITING_MAX, WATCHED_PERCENT
from coordinator.record.record import BLANK, FoldAt, Head, Holding, Record, Waiter


class Standing(enum.Enum):
    """How a record stands to the one who asks."""

    FREE = "free"
    MINE = "mine"
    SPENT = "spent"
    LIVE = "live"
    OVER = "over"
    SEALED = "sealed"


class Why(enum.StrEnum):
    """Why a request was refused."""

    HELD = "held"
    IN_LINE = "in_line"
    LINE_FULL = "line_full"
    NOTHING = "nothing"
    REVISION = "revision"
    EXPIRED = "expired"
    TAKEN = "taken"
    RELEASED = "released"
    MOVED = "sealed"


class Author(NamedTuple):
    """Who asks. ``request`` is fresh for each request and the same for all its retries (P7)."""

    request: str
    agent: str
    incarnation: str


class Readings(NamedTuple):
    """The clocks, as the asker read them.

    Attributes:
        now_ms: The store's clock.
        skew_ms: How far that clock may be off between two readings.
        watched_ms: For how long, at least, this asker has seen the lease unchanged (min of its clocks, P9).
        gone: Whether the process that holds the lease has ended, for certain (life.py).
        held_ms: For how long, at most, this asker has held its lease since the request that last renewed it (P10).
    """

    now_ms: int
    skew_ms: int
    watched_ms: int = 0
    held_ms: int = 0
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Acquire:
    """Wants the lease. ``place`` is the request that entered the line for it, or empty."""

    author: Author
    ttl_ms: int
    dead_by_ms: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Wants a place in the line, which also asks the holder to let go (P12)."""

    author: Author


@dataclass(frozen=True, slots=True)
class Leave:
    """Gives its place up."""

    author: Author
    place: str


@dataclass(frozen=True, slots=True)
class Break:
    """Frees a lease by force, if its fence is still this one. Its holder is fenced out."""

    author: Author
    fence: int


@dataclass(frozen=True, slots=True)
class Put:
    """Commits content without a lease, on exactly this revision; with ``fold``, as a fold line (P24)."""

    author: Author
    head: Head
    on_revision: int
    why: str = ""
    fold: FoldAt | None = None


@dataclass(frozen=True, slots=True)
class Raise:
    """Raises the floor, before anything below it is deleted (P18)."""

    author: Author
    floor: int


@dataclass(frozen=True, slots=True)
class Renew:
    """A holder's sign of life."""

    author: Author
    lease_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Release:
    """A holder lets go."""

    author: Author
    lease_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Detach:
    """A holder gives its lease to whoever has the token, without letting go (P12)."""

    author: Author
    lease_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Takes up a detached lease. ``new_lease_id`` makes the token good for one use."""

    author: Author
    lease_id: str
    fence: int
    new_lease_id: str
    dead_by_ms: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """A holder's new content."""

    author: Author
    lease_id: str
    fence: int
    head: Head
    on_revision: int | None = None
    why: str = ""


Request = Acquire | Ask | Leave | Break | Put | Raise | Renew | Release | Detach | Resume | Commit
_HOLDERS: Final = (Renew, Release, Detach, Resume, Commit)


@dataclass(frozen=True, slots=True)
class Transition:
    """Yes: append this record."""

    record: Record


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, and why. ``record`` is what the answer was read from."""

    why: Why
    record: Record


Decision = Transition | Refusal


def decide(record: Record | None, request: Request, readings: Readings) -> Decision:
    """The answer to one request on one record.

    Args:
        record: The newest record, or None when the resource has none.
        request: What is wanted, and by whom.
        readings: The asker's clocks.

    Returns:
        A Transition whose record has position ``record.n + 1``, or a Refusal. Deterministic.
    """
    record = record or BLANK
    return TABLE[type(request), standing(record, request, readings)](record, request, readings)


def standing(record: Record, request: Request, readings: Readings) -> Standing:
    """Which column of the table applies."""
    if record.is_closed:
        return Standing.SEALED
    lease = record.lease
    if lease is None:
        return Standing.FREE
    if isinstance(request, _HOLDERS) and (request.lease_id, request.fence) == (lease.lease_id, lease.fence):
        return Standing.MINE if readings.held_ms * 100 < lease.ttl_ms * TRUST_PERCENT else Standing.SPENT
    return Standing.OVER if over_reason(lease, readings) else Standing.LIVE


def over_reason(lease: Holding, readings: Readings) -> str:
    """Why a contender may take this lease over (P9); empty when it may not. The ttl is the holder's own."""
    if readings.now_ms > lease.renewed_ms + lease.ttl_ms + readings.skew_ms:
        return "expired"
    if readings.gone and not lease.detached:
        return "gone"
    if readings.watched_ms * 100 >= lease.ttl_ms * WATCHED_PERCENT:
        return "silent"
    if lease.dead_by_ms and readings.now_ms > lease.dead_by_ms + readings.skew_ms:
        return "dead"
    return ""


# ── the cells ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _next(record: Record, author: Author, kind: str, readings: Readings, why: str = "") -> Record:
    """The record after this one, by this author, with everything else as it was."""
    return replace(
        record,
        n=record.n + 1,
        kind=kind,
        why=why,
        request=author.request,
        agent=author.agent,
        incarnation=author.incarnation,
        at_ms=readings.now_ms,
        floor=max(record.floor, 1),
    )


def _grant(record: Record, request: Acquire, readings: Readings) -> Decision:
    place = next((i for i, waiter in enumerate(record.waiting) if waiter.request == request.place), None)
    ahead = len(record.waiting) if place is None else place
    if ahead and not _turn_came(record, ahead, readings):
        return Refusal(Why.IN_LINE, record)
    n = record.n + 1
    lease = Holding(
        fence=n,  # P3: the position of the grant, so that it only grows and is never given twice
        lease_id=request.author.request,
        agent=request.author.agent,
        incarnation=request.author.incarnation,
        ttl_ms=request.ttl_ms,
        granted_ms=readings.now_ms,
        renewed_ms=readings.now_ms,
        dead_by_ms=request.dead_by_ms,
    )
    # Those ahead had their turns and did not come: they are gone, or will enter the line anew.
    waiting = record.waiting[ahead + (place is not None) :]
    why = over_reason(record.lease, readings) if record.lease else "free"
    granted = _next(record, request.author, "grant", readings, why)
    return Transition(replace(granted, lease=lease, freed_ms=0, waiting=waiting))


def _turn_came(record: Record, ahead: int, readings: Readings) -> bool:
    """Whether those ahead in line have left the lease untaken for a turn each (fairness only: P2).

    Told by the store's clock, for one-shot callers, or, should that clock be set back, by how long this caller has
    watched.
    """
    turns_ms = ahead * TURN_MS
    lease = record.lease
    if lease is None:
        return readings.now_ms - record.freed_ms >= turns_ms or readings.watched_ms >= turns_ms
    over_ms = lease.until_ms + readings.skew_ms
    watched_over_ms = readings.watched_ms - lease.ttl_ms * WATCHED_PERCENT // 100
    return readings.now_ms - over_ms >= turns_ms or watched_over_ms >= turns_ms


def _enter(record: Record, request: Ask, readings: Readings) -> Decision:
    if any(waiter.request == request.author.request for waiter in record.waiting):
        return Refusal(Why.NOTHING, record)
    if len(record.waiting) >= WAITING_MAX:
        return Refusal(Why.LINE_FULL, record)
    waiting = (*record.waiting, Waiter(request.author.request, readings.now_ms))
    return Transition(replace(_next(record, request.author, "ask", readings), waiting=waiting))


def _leave(record: Record, request: Leave, readings: Readings) -> Decision:
    waiting = tuple(waiter for waiter in record.waiting if waiter.request != request.place)
    if waiting == record.waiting:
        return Refusal(Why.NOTHING, record)
    return Transition(replace(_next(record, request.author, "leave", readings), waiting=waiting))


def _break(record: Record, request: Break, readings: Readings) -> Decision:
    if record.lease is None or record.lease.fence != request.fence:
        return Refusal(Why.TAKEN, record)
    return Transition(_freed(_next(record, request.author, "break", readings, "forced"), readings))


def _freed(record: Record, readings: Readings) -> Record:
    return replace(record, lease=None, freed_ms=readings.now_ms)


def _put(record: Record, request: Put, readings: Readings) -> Decision:
    if record.revision != request.on_revision:
        return Refusal(Why.REVISION, record)
    # A lease that may be taken over is ended by this commit: its holder, should it wake with clocks that stood still,
    # finds another lease id and is refused, instead of writing over what is committed here (P2).
    why = over_reason(record.lease, readings) if record.lease else request.why
    committed = _next(record, request.author, "fold" if request.fold else "commit", readings, why)
    revision = record.revision + 1
    committed = replace(
        committed,
        head=replace(request.head, n=record.n + 1, revision=revision, fence=0),
        fold=replace(request.fold, revision=revision) if request.fold else record.fold,
    )
    return Transition(_freed(committed, readings) if record.lease else committed)


def _raise_floor(record: Record, request: Raise, readings: Readings) -> Decision:
    if not record.floor < request.floor <= record.n:
        return Refusal(Why.NOTHING, record)
    return Transition(replace(_next(record, request.author, "floor", readings), floor=request.floor))


def _renewed(record: Record, author: Author, kind: str, readings: Readings, **changes: object) -> Record:
    """The record of a holder's sign of life."""
    assert record.lease is not None  # noqa: S101 - MINE says so
    # Later than the one before even if the store's clock stands still or was set back: contenders watch it change (P9).
    renewed_ms = max(readings.now_ms, record.lease.renewed_ms + 1)
    lease = replace(record.lease, renewed_ms=renewed_ms, **changes)  # type: ignore[arg-type]
    return replace(_next(record, author, kind, readings), lease=lease)


def _renew(record: Record, request: Renew, readings: Readings) -> Decision:
    return Transition(_renewed(record, request.author, "renew", readings))


def _release(record: Record, request: Release, readings: Readings) -> Decision:
    return Transition(_freed(_next(record, request.author, "release", readings), readings))


def _detach(record: Record, request: Detach, readings: Readings) -> Decision:
    return Transition(_renewed(record, request.author, "detach", readings, detached=True, dead_by_ms=0))


def _resume(record: Record, request: Resume, readings: Readings) -> Decision:
    assert record.lease is not None  # noqa: S101 - MINE says so
    if not record.lease.detached:
        return Refusal(Why.TAKEN, record)
    if over_reason(record.lease, readings):
        return Refusal(Why.EXPIRED, record)
    changes = {
        "detached": False,
        "lease_id": request.new_lease_id,
        "incarnation": request.author.incarnation,
        "agent": request.author.agent,
        "dead_by_ms": request.dead_by_ms,
    }
    return Transition(_renewed(record, request.author, "resume", readings, **changes))


def _commit(record: Record, request: Commit, readings: Readings) -> Decision:
    if request.on_revision is not None and record.revision != request.on_revision:
        return Refusal(Why.REVISION, record)
    # It does not renew: a renewal needs the store's time, which on NFS is a synced write of its own (2 ms measured).
    head = replace(request.head, n=record.n + 1, revision=record.revision + 1, fence=request.fence)
    return Transition(replace(_next(record, request.author, "commit", readings, request.why), head=head))


def _refuse(why: Why) -> Callable[..., Decision]:
    return lambda record, _request, _readings: Refusal(why, record)


def _impossible(record: Record, request: Request, readings: Readings) -> Decision:
    found = standing(record, request, readings)
    raise AssertionError(f"{type(request).__name__} names no lease, so it cannot be {found}")


_held, _expired, _taken, _gone, _moved = map(_refuse, (Why.HELD, Why.EXPIRED, Why.TAKEN, Why.RELEASED, Why.MOVED))

_Cell = Callable[..., Decision]
_ROWS: Final[tuple[tuple[type[Request], tuple[_Cell, ...]], ...]] = (
    # verb     FREE          MINE         SPENT        LIVE          OVER          SEALED
    (Acquire, (_grant, _impossible, _impossible, _held, _grant, _moved)),
    (Ask, (_enter, _impossible, _impossible, _enter, _enter, _moved)),
    (Leave, (_leave, _impossible, _impossible, _leave, _leave, _moved)),
    (Break, (_gone, _impossible, _impossible, _break, _break, _moved)),
    (Put, (_put, _impossible, _impossible, _held, _put, _moved)),
    (Raise, (_raise_floor, _impossible, _impossible, _raise_floor, _raise_floor, _moved)),
    (Renew, (_gone, _renew, _expired, _taken, _taken, _moved)),
    (Release, (_gone, _release, _release, _taken, _taken, _moved)),
    (Detach, (_gone, _detach, _expired, _taken, _taken, _moved)),
    (Resume, (_gone, _resume, _expired, _taken, _taken, _moved)),
    (Commit, (_gone, _commit, _expired, _taken, _taken, _moved)),
)

TABLE: Final[dict[tuple[type, Standing], _Cell]] = {
    (verb, column): cell for verb, cells in _ROWS for column, cell in zip(Standing, cells, strict=True)
}
