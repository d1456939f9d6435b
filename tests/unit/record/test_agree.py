"""The loop that settles a request: reads anew when beaten, refuses only on a fresh record, collects when due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from support import a_free_record, a_head, an_author, an_id, fill

from coordinator.errors import StoreUnavailable
from coordinator.limits import CHAIN_KEEP, CHAIN_MAX
from coordinator.names import Resource
from coordinator.record import agree
from coordinator.record.agree import settle
from coordinator.record.decide import Acquire, Ask, Author, Put, Refusal, Release, Request, Transition, Why
from coordinator.testing import ManualClock, MemoryStore

if TYPE_CHECKING:
    from coordinator.record.record import Record
    from coordinator.record.store import Appended, Beaten

NAME: Final = Resource.parse("tasks.json")


class Rivals(MemoryStore):
    """A store in which somebody else is quicker, so many times, and which counts what it is asked."""

    def __init__(self, rivals: int) -> None:
        super().__init__(ManualClock())
        self.rivals = rivals
        self.reads = self.turns = self.collections = 0

    def read(self, resource: Resource) -> Record | None:
        self.reads += 1
        return super().read(resource)

    def append(self, resource: Resource, record: Record, *, durable: bool) -> Appended | Beaten:
        if self.rivals:
            self.rivals -= 1
            super().append(resource, a_free_record(record.n, freed_ms=1), durable=durable)
        return super().append(resource, record, durable=durable)


def acquire(author: Author) -> Acquire:
    return Acquire(author, 10_000)


def test_who_is_beaten_decides_anew_on_what_is_there() -> None:
    store, author, asked = Rivals(3), an_author(1), []

    def request_for(n: int, _now_ms: int) -> Request:
        asked.append(n)
        return acquire(author)

    decision = settle(store, NAME, request_for)
    assert isinstance(decision, Transition)
    assert asked == [1, 2, 3, 4]
    assert decision.record.lease is not None
    assert decision.record.lease.fence == 4
    assert [record.n for record in store.history(NAME)] == [1, 2, 3, 4]


def test_who_is_beaten_for_ever_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agree, "DECIDE_TRIES", 5)
    with pytest.raises(StoreUnavailable) as caught:
        settle(Rivals(1000), NAME, lambda _n, _now_ms: acquire(an_author(1)))
    assert not caught.value.outcome_unknown


def test_nothing_is_refused_on_an_old_record() -> None:
    store = Rivals(0)
    holder = an_author(1)
    held = settle(store, NAME, lambda _n, _now_ms: acquire(holder))
    assert isinstance(held, Transition)
    freed = settle(store, NAME, lambda _n, _now_ms: Release(an_author(2), holder.request, 1))
    assert isinstance(freed, Transition)
    decision = settle(store, NAME, lambda _n, _now_ms: acquire(an_author(3)), known=held.record)
    assert isinstance(decision, Transition)  # by the known record it was held
    assert decision.record.n == 3


def test_a_known_record_saves_a_read() -> None:
    store = Rivals(0)
    (first,) = fill(store, NAME, 1)
    store.reads = 0
    with_known = settle(store, NAME, lambda _n, _now_ms: Ask(an_author(1)), known=first)
    reads_with = store.reads
    store.reads = 0
    settle(store, NAME, lambda _n, _now_ms: Ask(an_author(2)))
    assert isinstance(with_known, Transition)
    assert reads_with == store.reads - 1


def test_a_refusal_carries_the_record_it_was_read_from() -> None:
    store = Rivals(0)
    settle(store, NAME, lambda _n, _now_ms: acquire(an_author(1)))
    decision = settle(store, NAME, lambda _n, _now_ms: acquire(an_author(2)))
    assert decision == Refusal(Why.HELD, store.history(NAME)[-1])


@pytest.mark.parametrize(
    ("request_", "durable"),
    [
        (Acquire(an_author(1), 10_000), True),
        (Put(an_author(1), a_head(revision=0, n=1), 0), True),
        (Ask(an_author(1)), False),
    ],
)
def test_what_was_promised_is_durable_and_what_costs_a_wait_only_need_not_be(request_: Request, durable: bool) -> None:
    told = []

    class Told(MemoryStore):
        def append(self, resource: Resource, record: Record, *, durable: bool) -> Appended | Beaten:
            told.append(durable)
            return super().append(resource, record, durable=durable)

    settle(Told(), NAME, lambda _n, _now_ms: request_)
    assert told == [durable]


def test_a_chain_is_collected_when_it_is_long_and_stays_short() -> None:
    store = MemoryStore(ManualClock())
    fill(store, NAME, CHAIN_MAX - 1)
    settle(store, NAME, lambda _n, _now_ms: Ask(an_author(200)))
    assert len(store._chains[NAME].live) == CHAIN_MAX
    settle(store, NAME, lambda _n, _now_ms: Ask(an_author(201)))
    assert len(store._chains[NAME].live) == CHAIN_KEEP + 1
    assert len(store.history(NAME)) == CHAIN_MAX + 2


def test_a_collection_that_fails_does_not_undo_the_request() -> None:
    class Full(MemoryStore):
        def collect(self, resource: Resource, author: Author, *, keep: int) -> int:
            raise StoreUnavailable("full", resource=resource, cause=f"{author.agent} {keep}", outcome_unknown=False)

    store = Full()
    fill(store, NAME, CHAIN_MAX)
    decision = settle(store, NAME, lambda _n, _now_ms: Ask(an_author(200)))
    assert isinstance(decision, Transition)
    assert store.read(NAME) == decision.record
    assert decision.record.waiting[0].request == an_id(200)
