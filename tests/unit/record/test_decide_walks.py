"""What holds of ``decide`` for any sequence of requests."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from decide_support import REQUESTS, SKEW_MS
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW_MS, SHA256, an_author, an_id

from coordinator.limits import RECORD_MAX_BYTES, WAITING_MAX
from coordinator.record.decide import (
    Acquire,
    Ask,
    Break,
    Commit,
    Detach,
    Leave,
    Put,
    Raise,
    Readings,
    Release,
    Renew,
    Request,
    Resume,
    Transition,
    decide,
)
from coordinator.record.record import Head, Record, decode, encode


class Step(NamedTuple):
    """One actor's request. ``stale``: it names the lease before the present one, as a frozen holder would."""

    verb: type
    actor: int
    after_ms: int
    watched_ms: int
    held_ms: int
    stale: bool
    figure: int


STEPS: Final = st.builds(
    Step,
    st.sampled_from(sorted(REQUESTS, key=lambda verb: verb.__name__)),
    st.integers(0, 5),
    st.one_of(st.integers(-200, 400), st.integers(0, 12_000)),
    st.sampled_from([0, 300, 1200, 11_000, 20_000]),
    st.sampled_from([0, 4000, 7999, 8000, 20_000]),
    st.booleans(),
    st.integers(0, 12),
)


class Walk:
    """A chain grown by ``decide`` alone, and what must hold of each step."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.now_ms = NOW_MS
        self.counter = 0
        self.leases: list[tuple[str, int]] = [(an_id(9999), 9999)]
        self.fences: list[int] = []
        self.places = [an_id(60 + i) for i in range(6)]

    def request(self, step: Step) -> Request:
        self.counter += 1
        author = an_author(100_000 + self.counter, f"agent-{step.actor}")
        lease_id, fence = self.leases[-2 if step.stale and len(self.leases) > 1 else -1]
        revision = max((self.record.revision if self.record else 0) - step.stale, 0)
        head = Head(0, 0, author.incarnation, SHA256, step.figure, 0)
        if step.verb is Ask:
            self.places[step.actor] = author.request
        requests: dict[type, Request] = {
            Acquire: Acquire(author, 10_000, 0, self.places[step.actor]),
            Ask: Ask(author),
            Leave: Leave(author, self.places[step.actor]),
            Break: Break(author, fence),
            Put: Put(author, head, revision),
            Raise: Raise(author, step.figure),
            Renew: Renew(author, lease_id, fence),
            Release: Release(author, lease_id, fence),
            Detach: Detach(author, lease_id, fence),
            Resume: Resume(author, lease_id, fence, an_id(200_000 + self.counter)),
            Commit: Commit(author, lease_id, fence, head, revision if step.figure % 2 else None),
        }
        return requests[step.verb]

    def take(self, step: Step) -> None:
        self.now_ms += step.after_ms
        request = self.request(step)
        decision = decide(self.record, request, Readings(self.now_ms, SKEW_MS, step.watched_ms, step.held_ms))
        if isinstance(decision, Transition):
            self.must_hold(request, decision.record)
            self.record = decision.record
            if decision.record.lease and decision.record.kind in {"grant", "resume"}:
                self.leases.append((decision.record.lease.lease_id, decision.record.lease.fence))

    def must_hold(self, request: Request, after: Record) -> None:
        before = self.record
        assert after.n == (before.n if before else 0) + 1
        assert after.floor >= (before.floor if before else 1)
        assert after.floor <= after.n
        assert len(after.waiting) <= WAITING_MAX
        assert after.lease is None or after.freed_ms == 0
        assert len(encode(after)) <= RECORD_MAX_BYTES
        assert decode(encode(after), resource="r", path="p") == after
        held = before.lease if before else None
        if after.kind == "grant":
            assert after.lease is not None
            assert after.lease.fence == after.n
            assert after.lease.fence > max(self.fences, default=0)
            self.fences.append(after.lease.fence)
        elif after.lease is not None:
            assert held is not None
            assert after.lease.fence == held.fence
            assert after.lease.renewed_ms >= held.renewed_ms
        self.must_hold_of_content(request, after)

    def must_hold_of_content(self, request: Request, after: Record) -> None:
        before = self.record
        held = before.lease if before else None
        if after.kind != "commit":
            assert after.head == (before.head if before else None)
            return
        assert after.head is not None
        assert after.revision == (before.revision if before else 0) + 1
        assert after.head.n == after.n
        if isinstance(request, Commit):
            assert held is not None
            assert (request.lease_id, request.fence) == (held.lease_id, held.fence)
            assert after.head.fence == held.fence
        else:
            assert after.head.fence == 0
            assert after.lease is None


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=60))
def test_what_holds_for_any_sequence_of_requests(steps: list[Step]) -> None:
    walk = Walk()
    for step in steps:
        walk.take(step)


def test_what_holds_for_long_random_walks_which_reach_every_kind_of_record() -> None:
    kinds: set[str] = set()
    for seed in range(10):
        dice, walk = random.Random(seed), Walk()
        for _ in range(400):
            walk.take(
                Step(
                    dice.choice(list(REQUESTS)),
                    dice.randrange(6),
                    dice.choice([-100, 0, 5, 300, 3000]),
                    dice.choice([0, 0, 0, 300, 11_000]),
                    dice.choice([0, 0, 0, 7999, 8000]),
                    dice.random() < 0.25,
                    dice.randrange(13) if dice.random() < 0.5 else walk.counter // 4,
                )
            )
            if walk.record:
                kinds.add(walk.record.kind)
    assert kinds == {"grant", "ask", "leave", "break", "commit", "floor", "renew", "release", "detach", "resume"}
