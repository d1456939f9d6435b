"""Leases: one suite, over a directory, over a table, and through the coordinator function by HTTP and by invocation."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import in_thread, together, wait_until

from coordinator import AcquireCancelled, BadName, BadValue, LeaseHeld, LeaseLost, StaleFence

if TYPE_CHECKING:
    from coordinator import Event, Workspace
    from remote.faces import Face


def test_a_lease_is_one_agents_until_it_is_released_and_its_fence_only_grows(face: Face) -> None:
    alice, bob, name = face.agent("alice"), face.agent("bob"), face.name("a")
    with alice.lease(name, ttl=20) as lease:
        assert (lease.resource, lease.agent, lease.ttl, lease.wanted) == (name, "alice", 20, False)
        assert 10 < lease.remaining <= 16
        with pytest.raises(LeaseHeld, match="alice") as held:
            bob.lease(name)
        assert bob.try_lease(name) is None
        lease.check()
        first = lease.fence
    fields = held.value.fields
    assert (fields["resource"], fields["holder"], fields["fence"]) == (name, "alice", first)
    assert fields["since_ms"] <= fields["now_ms"] <= fields["until_ms"]
    with bob.lease(name) as lease:
        assert lease.fence > first
    assert bob.status_of(name).state == "free"


def test_who_waits_gets_it_when_it_is_free_and_the_holder_sees_that_it_is_wanted(face: Face) -> None:
    alice, bob, name = face.agent("alice"), face.agent("bob"), face.name("a")
    lease = alice.lease(name, ttl=20)

    def wait_for_it() -> int:
        with bob.lease(name, wait=20) as mine:
            return mine.fence

    with in_thread(wait_for_it) as outcome:

        def is_wanted() -> bool:
            lease.renew()
            return lease.wanted

        wait_until(is_wanted, 10)
        lease.release()
    assert outcome == [pytest.approx(lease.fence, abs=100)]
    assert outcome[0] > lease.fence


def test_a_wait_ends_with_its_time_or_when_it_is_cancelled(face: Face) -> None:
    alice, bob, name = face.agent("alice"), face.agent("bob"), face.name("a")
    with alice.lease(name, ttl=20):
        with pytest.raises(LeaseHeld) as held:
            bob.lease(name, wait=0.3)
        assert 300 <= held.value.waited_ms < 10_000
        cancel = threading.Event()

        def wait_for_ever() -> Workspace | None:
            bob.lease(name, wait=None, cancel=cancel)
            return None

        with in_thread(wait_for_ever) as outcome:
            wait_until(lambda: alice.status_of(name).waiting > 0, 10)
            cancel.set()
    assert isinstance(outcome[0], AcquireCancelled)
    assert outcome[0].resource == name


def test_a_lease_that_was_not_renewed_is_taken_and_its_holder_is_told_once(face: Face) -> None:
    lost: list[LeaseLost] = []
    events: list[Event] = []
    alice, bob = face.agent("alice", on_event=events.append), face.agent("bob")
    name = face.name("a")
    lease = alice.lease(name, ttl=0.3, on_lost=lost.append)
    with bob.lease(name, ttl=20, wait=20) as taken:
        assert lease.remaining == 0
        with pytest.raises(StaleFence) as told:
            lease.check()
        with pytest.raises(LeaseLost):
            lease.renew()
        error = told.value
        assert (error.resource, error.fence, error.reason) == (name, lease.fence, "taken")
        assert (error.successor, error.successor_fence) == ("bob", taken.fence)
        assert lost == [error]
        assert [event.holder for event in events if event.kind == "lost"] == ["bob"]
        with pytest.raises(LeaseLost):
            lease.release()
        taken.check()


def test_a_block_that_ended_well_tells_that_its_lease_was_lost_and_one_that_raised_raises_its_own(face: Face) -> None:
    alice, bob, name = face.agent("alice"), face.agent("bob"), face.name("a")
    with pytest.raises(StaleFence), alice.lease(name, ttl=0.3):
        taken = bob.lease(name, ttl=20, wait=20)
    taken.release()
    with pytest.raises(ZeroDivisionError), alice.lease(name, ttl=0.3), bob.lease(name, ttl=20, wait=20):
        _ = 1 / 0


def test_a_lease_is_renewed_in_the_background(face: Face) -> None:
    alice, bob, name = face.agent("alice"), face.agent("bob"), face.name("a")
    with alice.lease(name, ttl=2.5, renew_in_background=True) as lease:
        until_ms = bob.status_of(name).until_ms
        wait_until(lambda: bob.status_of(name).until_ms > until_ms, 20)
        lease.check()
        assert lease.remaining > 0


def test_to_release_twice_is_no_error_and_what_was_released_is_over(face: Face) -> None:
    alice, name = face.agent("alice"), face.name("a")
    lease = alice.lease(name)
    lease.release()
    lease.release()
    assert lease.remaining == 0
    with pytest.raises(LeaseLost) as lost:
        lease.check()
    assert lost.value.reason == "ended"


def test_a_detached_lease_goes_on_elsewhere(face: Face) -> None:
    alice, again, bob, name = face.agent("alice"), face.agent("alice"), face.agent("bob"), face.name("a")
    lease = alice.lease(name, ttl=20)
    token = lease.detach()
    assert lease.remaining == 0
    with pytest.raises(LeaseHeld):
        bob.lease(name)
    with again.resume(token) as resumed:
        assert resumed.fence == lease.fence
        resumed.check()
    with bob.lease(name) as mine:
        assert mine.fence > lease.fence
        with pytest.raises(LeaseLost):
            again.resume(token)


@pytest.mark.parametrize("token", ["", "v1.1.x.a", "v2.1.aaaaaaaaaaaaaaaaaaaa.a", "v1.-1.aaaaaaaaaaaaaaaaaaaa.a"])
def test_what_is_no_token_is_refused(face: Face, token: str) -> None:
    with pytest.raises(BadValue):
        face.agent("alice").resume(token)


def test_several_are_had_together_or_none(face: Face) -> None:
    alice, bob = face.agent("alice"), face.agent("bob")
    names = [face.name(what) for what in "abc"]
    with alice.lease_many(names, ttl=20) as held:
        assert [lease.resource for lease in held] == sorted(names)
        held.check()
        with pytest.raises(LeaseHeld) as refused:
            bob.lease_many([names[1], other := face.name("d")])
        assert refused.value.holder == "alice"
    with bob.lease(other), bob.lease(names[1]):
        pass
    with pytest.raises(BadValue):
        bob.lease_many([])


def test_a_holder_that_is_asked_lets_go(face: Face) -> None:
    alice, bob, name = face.agent("alice"), face.agent("bob"), face.name("a")
    assert bob.request_release(name, grace=0.1)
    lease = alice.lease(name, ttl=20)
    assert not bob.request_release(name, grace=0.2)
    with in_thread(lambda: bob.request_release(name, grace=20)) as outcome:

        def is_wanted() -> bool:
            lease.renew()
            return lease.wanted

        wait_until(is_wanted, 10)
        lease.release()
    assert outcome == [True]


def test_status_and_history_tell_who_held_what(face: Face) -> None:
    alice, name = face.agent("alice"), face.name("deploy/prod")
    free = alice.status_of(name)
    assert (free.resource, free.state, free.fence, free.revision) == (name, "free", 0, 0)
    with alice.lease(name, ttl=20) as lease:
        status = alice.status_of(name)
        assert (status.state, status.holder, status.fence) == ("held", "alice", lease.fence)
        assert status.since_ms <= status.now_ms < status.until_ms
        assert name in [one.resource for one in alice.status()]
        lease.renew()
    records = alice.history(name)
    assert [record.kind for record in records] == ["grant", "renew", "release"]
    assert {record.agent for record in records} == {"alice"}
    assert records[0].lease is not None
    assert records[0].lease.fence == lease.fence
    assert records[-1].lease is None


@pytest.mark.parametrize("name", ["", "../up", "a//b", ".coordinator/x", "a\0b", "x" * 600])
def test_a_bad_name_is_refused(face: Face, name: str) -> None:
    with pytest.raises(BadName):
        face.agent("alice").lease(name)


@pytest.mark.parametrize(
    "figures", [{"ttl": 0.01}, {"ttl": 1e6}, {"ttl": "long"}, {"wait": -1}, {"ttl": 20, "ends_in": 3}]
)
def test_a_figure_outside_its_limits_is_refused(face: Face, figures: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        face.agent("alice").lease(face.name("a"), **figures)


class _Context:
    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 5000


def test_an_invocation_bounds_its_leases_and_releases_them_at_its_end(face: Face) -> None:
    alice, bob, name = face.agent("alice"), face.agent("bob"), face.name("a")
    with alice.invocation(_Context(), margin=0.5):
        lease = alice.lease(name)
        assert lease.ttl <= 5
        with pytest.raises(BadValue):
            alice.lease(face.name("b"), ttl=30)
        with pytest.raises(LeaseHeld):
            bob.lease(name)
    with bob.lease(name) as mine:
        assert mine.fence > lease.fence


def test_of_a_crowd_one_at_a_time_has_it_and_every_fence_is_another(face: Face) -> None:
    name, inside, fences = face.name("a"), [], []

    def work(i: int) -> None:
        workspace = face.agent(f"agent-{i}")
        for _ in range(3):
            with workspace.lease(name, ttl=20, wait=30) as lease:
                inside.append(i)
                assert len(inside) == 1
                fences.append(lease.fence)
                inside.remove(i)

    together(*(lambda i=i: work(i) for i in range(4)))
    assert len(set(fences)) == 12
    assert fences == sorted(fences)
