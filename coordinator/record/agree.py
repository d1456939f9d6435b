"""Read, decide, append; when beaten, decide anew on what is there (P1). The only loop that changes a record."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from coordinator.errors import CoordinatorError, StoreUnavailable
from coordinator.limits import DECIDE_TRIES
from coordinator.record.decide import Author, Decision, Raise, Readings, Refusal, Request, Transition, decide
from coordinator.record.record import BLANK
from coordinator.record.store import Appended, Beaten

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.names import Resource
    from coordinator.record.record import Record
from coordinator.record.store import Store

# Lost with its host, these cost a wait or a place in line, never an acknowledged update: the lease they would have
# ended or renewed runs out by its ttl, which is all that its holder was promised.
_NEED_NOT_BE_DURABLE = frozenset({"release", "renew", "ask", "leave"})


class Spans(NamedTuple):
    """What the asker's own clocks say, read anew for each decision (see Readings)."""

    watched_ms: int = 0
    held_ms: int = 0
    gone: bool = False


def settle(
    store: Store,
    resource: Resource,
    request_for: Callable[[int, int], Request],
    *,
    known: Record | None = None,
    spans: Callable[[Record | None], Spans] | None = None,
    asked_ms: Callable[[], int] | None = None,
    queued: bool = True,
    in_turn: bool = False,
) -> Decision:
    """Carries one request through.

    Args:
        store: The store that rules.
        resource: Whose record.
        request_for: Makes the request for a record at position n (first argument) at a time of the store's clock, ms
            (second); called once for each decision, with the same request id each time.
        known: The newest record, as far as the caller knows: saves one read. Being wrong costs one more decision; a
            refusal is never given on it without reading anew.
        spans: What the caller's own clocks say about the record being decided on.
        asked_ms: Gives the store's time, once for each decision; None: ``store.now_ms``. For callers that note their
            own clocks at that moment, or that only tell people when, and reckon.
        queued: Queue for the turn (P5). A holder, whose next record hardly anybody contends for, tries it once without:
            that saves five round trips on NFS.
        in_turn: The caller has the turn: nothing is queued for, and collecting is the caller's business.

    Returns:
        The Transition that now stands in the chain, or the Refusal.

    Raises:
        StoreUnavailable: See Store.append. A retry with the same request is safe.
    """
    ask = _Asking(store, resource, request_for, spans, asked_ms or store.now_ms)
    if in_turn:
        return ask.until_settled(known)[0]
    decision, result = ask.once(known) if known is not None and not queued else (None, None)
    if decision is None:
        with store.turn(resource):
            decision, result = ask.until_settled(known if queued else None)
    if result is None:
        return decision
    request = ask.request
    if result.live_records > store.live_max and request is not None and not isinstance(request, Raise):
        # A collection that fails changes nothing about the request, which stands; the next append tries again.
        with contextlib.suppress(CoordinatorError):
            store.collect(resource, _collector(request.author), keep=store.live_keep)
    return decision


class _Asking:
    """One request on its way."""

    def __init__(
        self,
        store: Store,
        resource: Resource,
        request_for: Callable[[int, int], Request],
        spans: Callable[[Record | None], Spans] | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._resource = resource
        self._request_for = request_for
        self._spans = spans
        self._now_ms = now_ms
        self.request: Request | None = None

    def once(self, record: Record) -> tuple[Decision | None, Appended | None]:
        """One decision on a record that may be old, and one append; None when it takes more than that."""
        decision = self._decide(record)
        if isinstance(decision, Refusal):
            return None, None
        result = self._append(decision)
        return (None, None) if isinstance(result, Beaten) else (decision, result)

    def until_settled(self, known: Record | None) -> tuple[Decision, Appended | None]:
        """Decides and appends until it stands or is refused on a fresh record."""
        record, fresh = (known, False) if known is not None else (self._store.read(self._resource), True)
        for _ in range(DECIDE_TRIES):
            decision = self._decide(record)
            if isinstance(decision, Refusal):
                if fresh:
                    return decision, None
                record, fresh = self._store.read(self._resource), True
                continue
            result = self._append(decision)
            if not isinstance(result, Beaten):
                return decision, result
            record, fresh = result.current, True
        raise StoreUnavailable(
            f"{str(self._resource)!r} changed {DECIDE_TRIES} times while one request was being decided",
            resource=str(self._resource),
            cause="beaten every time",
            outcome_unknown=False,
        )

    def _decide(self, record: Record | None) -> Decision:
        now_ms = self._now_ms()
        self.request = self._request_for((record.n if record else 0) + 1, now_ms)
        spans = self._spans(record) if self._spans else Spans()
        if record is None:  # the first record says which store it was put into
            record = replace(BLANK, mode=self._store.mode)
        return decide(record, self.request, Readings(now_ms, self._store.skew_ms, *spans))

    def _append(self, decision: Transition) -> Appended | Beaten:
        durable = decision.record.kind not in _NEED_NOT_BE_DURABLE
        return self._store.append(self._resource, decision.record, durable=durable)


def _collector(author: Author) -> Author:
    from coordinator.names import new_id  # noqa: PLC0415 - one in some hundred appends

    return Author(new_id(), author.agent, author.incarnation)


__all__ = ["Decision", "Refusal", "Spans", "Transition", "settle"]
