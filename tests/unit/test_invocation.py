"""Leases bound to an invocation: what may be asked for inside, one at a time, and what is no invocation."""

from __future__ import annotations

import math
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from invocation_support import NAME, PLAN, Context, ended_by
from support import together

from coordinator import BadValue, LeaseHeld, LeaseLost, Workspace
from coordinator.names import Resource
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import Party


# ── what a lease may ask for (P13) ───────────────────────────────────────────────────────────────────────────────────


def test_a_lease_ends_with_the_invocation(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, 10_500)):
        party.clock.advance(2000)
        lease = alice.lease(NAME, ttl=8)
        held = party.store.read(Resource.parse(NAME))
        assert held is not None
        assert held.lease is not None
        assert held.lease.dead_by_ms == party.clock.wall_ms() + 8000
        party.clock.advance(4000)
        lease.renew()
        assert lease.remaining == 4
        party.clock.advance(4000)
        with pytest.raises(LeaseLost) as caught:
            lease.check()
        assert caught.value.reason == "ended"


def test_more_than_is_left_is_refused_with_the_figure(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, 12_500)):
        with pytest.raises(BadValue, match=r"30 s is longer than the 12 s") as caught:
            alice.lease(NAME, ttl=30)
        assert "at most 12 s" in caught.value.hint
        with pytest.raises(BadValue, match=r"12\.001 s"):
            alice.lease_many([NAME, PLAN], ttl=12.001)
        assert alice.lease(NAME, ttl=12).ttl == 12
    assert party.store.history(Resource.parse(PLAN)) == []


def test_the_default_is_shortened_instead(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, 12_500)):
        assert alice.lease(NAME).ttl == 12
        assert [lease.ttl for lease in alice.lease_many(["a", "b"])] == [12, 12]
        tried = alice.try_lease("c")
        assert tried is not None
        assert tried.ttl == 12
    with alice.invocation(Context(party.clock, 900_000)):
        assert alice.lease(NAME).ttl == 30


def test_the_default_is_shortened_to_a_deadline_that_was_given(party: Party) -> None:
    alice = party.agent("alice")
    assert alice.lease("a", ends_in=12).ttl == 12
    with alice.invocation(Context(party.clock, 20_500)):
        assert alice.lease("b", ends_in=12).ttl == 12
        assert alice.lease("c", ends_in=90).ttl == 20
        with pytest.raises(BadValue, match="the 12 s that"):
            alice.lease("d", ttl=13, ends_in=12)


def test_with_nothing_left_there_is_no_lease_and_the_block_ends_well(party: Party) -> None:
    alice, detached = party.agent("alice"), party.agent("bob").lease(NAME, ttl=60).detach()
    with alice.invocation(Context(party.clock, 550)) as invocation:
        assert invocation.remaining == 0.05
        calls: list[Callable[[], object]] = [
            lambda: alice.lease(PLAN),
            lambda: alice.lease(PLAN, ttl=0.1),
            lambda: alice.resume(detached),
        ]
        for call in calls:
            with pytest.raises(BadValue, match=r"0\.55 s left, and 0\.5 s of that"):
                call()
        assert alice.document(PLAN).name == PLAN
    assert party.agent("carol").resume(detached).fence == 1


def test_the_margin_can_be_set(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, 10_000), margin=0) as invocation:
        assert invocation.remaining == 10
        assert alice.lease(NAME, ttl=10).ttl == 10
    with alice.invocation(Context(party.clock, 10_000), margin=9):
        assert alice.lease(NAME).ttl == 1
    with pytest.raises(BadValue, match="margin"):
        alice.invocation(Context(party.clock), margin=-1)


def test_waiting_ends_with_the_invocation(party: Party) -> None:
    party.agent("bob").lease(NAME, ttl=600)
    alice = party.agent("alice")
    for wait in (None, 300):
        with alice.invocation(Context(party.clock, 3000)), pytest.raises(LeaseHeld) as caught:
            alice.lease(NAME, wait=wait)
        assert 2400 <= caught.value.waited_ms <= 2450


def test_what_is_left_is_reckoned_by_the_clock_that_went_furthest(party: Party) -> None:
    """The context reckons by the wall clock: set back, it would promise time that there is not."""
    alice, own = party.agent("alice"), party.clock
    with alice.invocation(Context(own, 60_500)):
        own.advance(monotonic_ms=50_000, wall_ms=-3_600_000)
        assert alice.lease(NAME).ttl == 10
    context = Context(own, 60_500)
    with alice.invocation(context) as invocation:
        context.off_ms = -40_000  # … and where it says less it is believed
        assert invocation.remaining == 20
        assert alice.lease(NAME, ttl=20).ttl == 20


def test_a_resumed_lease_ends_with_the_invocation_that_resumed_it(party: Party) -> None:
    alice = party.agent("alice")
    token = party.agent("bob").lease(NAME, ttl=60).detach()
    with alice.invocation(Context(party.clock, 10_500)):
        lease = alice.resume(token)
        assert lease.remaining == 10
        party.clock.advance(10_000)
        with pytest.raises(LeaseLost) as caught:
            lease.check()
        assert caught.value.reason == "ended"
    assert alice.status_of(NAME).state == "free"


def test_a_lease_resumed_elsewhere_outlives_its_first_hosts_deadline(party: Party) -> None:
    """That deadline is no longer its holder's: neither does it end then, nor may anybody take it over."""
    alice, bob = party.agent("alice"), party.agent("bob")
    with alice.invocation(Context(party.clock, 10_500)):
        token = alice.lease(NAME, ttl=10).detach()
    party.clock.advance(3000)
    resumed = bob.resume(token)
    for _ in range(40):
        assert party.agent("carol").try_lease(NAME) is None
        resumed.check()
        party.clock.advance(500)


def test_a_lease_resumed_in_an_invocation_ends_with_that(party: Party) -> None:
    token = party.agent("alice").lease(NAME, ttl=60).detach()
    bob = party.agent("bob")
    with bob.invocation(Context(party.clock, 5_500)):
        resumed = bob.resume(token)
        assert resumed.remaining <= 5
        held = party.store.read(Resource.parse(NAME))
        assert held is not None
        assert held.lease is not None
        assert 0 < held.lease.dead_by_ms - held.lease.renewed_ms <= 5000


def test_a_detached_lease_outlives_the_invocation_as_long_as_its_ttl(party: Party) -> None:
    """P12: it is given to whoever has the token, whose host is another."""
    alice, bob = party.agent("alice"), party.agent("bob")
    with alice.invocation(Context(party.clock, 10_500)):
        lease = alice.lease(NAME, ttl=10)
        party.clock.advance(7000)
        token = lease.detach()
    party.clock.advance(5000)
    resumed = bob.resume(token)
    party.clock.advance(7000)
    resumed.check()


# ── one at a time ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_blocks_do_not_nest(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, aws_request_id="outer")):
        lease = alice.lease(NAME)
        with pytest.raises(BadValue, match=r"'outer'.*is under way"), alice.invocation(Context(party.clock)):
            raise AssertionError
        lease.check()
        with party.agent("bob").invocation(Context(party.clock)):  # another workspace object has its own
            pass
    assert alice.status_of(NAME).state == "free"
    with alice.invocation(Context(party.clock)):
        pass


def test_of_several_threads_one_gets_in(workspace: Workspace) -> None:
    inside = threading.Barrier(4, timeout=30)
    got: list[bool] = []

    def enter() -> None:
        try:
            with workspace.invocation(Context(ManualClock())):
                got.append(True)
                inside.wait()
        except BadValue:
            inside.wait()

    together(*[enter] * 4)
    assert got == [True]
    assert workspace._member.host is None


def test_leases_of_all_threads_are_released(workspace: Workspace) -> None:
    with workspace.invocation(Context(ManualClock(), 900_000)):
        together(*[lambda i=i: workspace.lease(f"n{i}", ttl=600) for i in range(8)])
        assert len(workspace._member.host._open) == 8  # type: ignore[union-attr]
    assert {status.state for status in workspace.status()} == {"free"}


def test_after_the_block_the_workspace_is_unbound(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, 5000)):
        pass
    lease = alice.lease(NAME, ttl=600)
    party.clock.advance(10_000)
    lease.check()
    with alice.invocation(Context(party.clock, 5000)):
        lease.check()
    lease.check()


def test_a_forked_child_leaves_its_parents_leases_alone(workspace: Workspace) -> None:
    read_end, write_end = os.pipe()
    with workspace.invocation(Context(ManualClock())):
        workspace.lease("parent")
        pid = os.fork()
        if not pid:
            workspace.lease("child")
    if not pid:
        os.write(write_end, " ".join(ended_by(workspace, "parent", "child")).encode())
        os._exit(0)
    os.close(write_end)
    told = os.read(read_end, 100)
    os.close(read_end)
    assert os.waitpid(pid, 0)[1] == 0
    assert told in {b"held free", b"free free"}  # the parent may have left before; the child freed its own
    released = [record for record in workspace.history("parent") if record.kind == "release"]
    assert [record.n for record in released] == [2]
    assert ended_by(workspace, "parent", "child") == ["free", "free"]


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


class NoId:
    def get_remaining_time_in_millis(self) -> int:
        return 1000


class NoTime:
    aws_request_id = "x"


@pytest.mark.parametrize("context", [None, {}, "x", NoId(), NoTime(), object()], ids=lambda value: type(value).__name__)
def test_what_is_no_context_is_refused(party: Party, context: Any) -> None:
    with pytest.raises(BadValue, match="not the context of a Lambda invocation") as caught:
        party.agent("alice").invocation(context)
    assert "second argument" in caught.value.hint


@pytest.mark.parametrize(
    "told", [None, "1000", math.nan, math.inf, True, 10**400, [1]], ids=lambda value: repr(value)[:9]
)
def test_a_context_that_tells_no_time_is_refused(party: Party, told: Any) -> None:
    context, alice = Context(party.clock), party.agent("alice")
    context.get_remaining_time_in_millis = lambda: told  # type: ignore[method-assign]
    with pytest.raises(BadValue, match="milliseconds"), alice.invocation(context):
        raise AssertionError
    with alice.invocation(Context(party.clock)):
        pass


@pytest.mark.parametrize(("told", "longest_s"), [(-5000, 0), (0, 0), (2500.7, 2), (10**15, 86_400 - 0.5)])
def test_any_number_of_milliseconds_is_taken(party: Party, told: float, longest_s: float) -> None:
    context = Context(party.clock)
    context.get_remaining_time_in_millis = lambda: told  # type: ignore[method-assign,assignment,return-value]
    with party.agent("alice").invocation(context) as invocation:
        assert invocation.remaining == longest_s
        assert "request-1" in repr(invocation)
