"""Read, decide, append; when beaten, decide anew on what is there (P1). The only loop that changes a record."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from coordinator.errors import StoreUnavailable
from coordinator.limits import CHAIN_KEEP, CHAIN_MAX, DECIDE_TRIES
from coordinator.record.decide import Author, Decision, Raise, Readings, Refusal, Request, Transition, decide
from coordinator.record.store import Beaten

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


def settle(
    store: Store,
    resource: Resource,
    request_for: Callable[[int, int], Request],
    *,
    known: Record | None = None,
    spans: Callable[[Record | None], Spans] | None = None,
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

    Returns:
        The Transition that now stands in the chain, or the Refusal.

    Raises:
        StoreUnavailable: See Store.append. A retry with the same request is safe.
    """
    with store.turn(resource):
        record = known if known is not None else store.read(resource)
        fresh = known is None
        for _ in range(DECIDE_TRIES):
            now_ms = store.now_ms()
            request = request_for((record.n if record else 0) + 1, now_ms)
            watched_ms, held_ms = spans(record) if spans else Spans()
            decision = decide(record, request, Readings(now_ms, store.skew_ms, watched_ms, held_ms))
            if isinstance(decision, Refusal):
                if fresh:
                    return decision
                record, fresh = store.read(resource), True
                continue
            durable = decision.record.kind not in _NEED_NOT_BE_DURABLE
            result = store.append(resource, decision.record, durable=durable)
            if not isinstance(result, Beaten):
                break
            record, fresh = result.current, True
        else:
            raise StoreUnavailable(
                f"{resource!r} changed {DECIDE_TRIES} times while one request was being decided",
                resource=resource,
                cause="beaten every time",
                outcome_unknown=False,
            )
    if result.live_records > CHAIN_MAX and not isinstance(request, Raise):
        # A collection that fails changes nothing about the request, which stands; the next append tries again.
        with contextlib.suppress(StoreUnavailable):
            store.collect(resource, _collector(request.author), keep=CHAIN_KEEP)
    return decision


def _collector(author: Author) -> Author:
    from coordinator.names import new_id  # noqa: PLC0415 - one in some hundred appends

    return Author(new_id(), author.agent, author.incarnation)


__all__ = ["Decision", "Refusal", "Spans", "Transition", "settle"]
