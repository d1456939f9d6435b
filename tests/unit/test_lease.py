"""A lease that was granted: its trust, its renewal, its end, and whom it is handed on to."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from support import a_free_record, an_id

from coordinator import BadName, BadValue, DocumentLease, LeaseLost, StaleFence, StoreUnavailable, Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.lease import parse_token
from coordinator.names import Resource
from coordinator.testing import Call, FailAt, InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import Party


NAME = "tasks.json"


def kinds(workspace: Workspace) -> list[str]:
    return [record.kind for record in workspace.history(NAME)]


def take_over(party: Party) -> DocumentLease:
    """Another's grant, after the ttl of 10 s by the store's clock."""
    party.clock.advance(10_000 + party.store.skew_ms + 1)
    return party.agent("bob").lease(NAME, ttl=10)


# ── the with block (P11) ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_block_releases_at_its_end(party: Party) -> None:
    alice = party.agent("alice")
    with alice.lease(NAME) as lease:
        assert alice.status_of(NAME).state == "held"
        assert lease.remaining == 24
    assert alice.status_of(NAME).state == "free"
    assert party.kinds() == ["granted", "released"]


def test_the_bodys_exception_comes_out_as_it_is_and_the_lease_is_released(party: Party) -> None:
    alice, mine = party.agent("alice"), ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as caught, alice.lease(NAME):
        raise mine
    assert caught.value is mine
    assert caught.value.__context__ is None
    assert alice.status_of(NAME).state == "free"


def test_the_bodys_exception_is_not_hidden_by_a_lost_lease(party: Party) -> None:
    mine = ZeroDivisionError("mine")

    def body() -> None:
        with party.agent("alice").lease(NAME, ttl=10):
            take_over(party)
            raise mine

    with pytest.raises(ZeroDivisionError) as caught:
        body()
    assert caught.value is mine


def test_a_body_that_ended_well_is_told_that_the_lease_was_lost_before(party: Party) -> None:
    with pytest.raises(StaleFence) as caught, party.agent("alice").lease(NAME, ttl=10):
        take_over(party)
    assert (caught.value.successor, caught.value.successor_fence, caught.value.fence) == ("bob", 2, 1)
    assert party.agent("carol").status_of(NAME).holder == "bob"  # the successor's lease is untouched


def test_a_body_that_outlived_its_trust_but_nobody_came_ends_well(party: Party) -> None:
    with party.agent("alice").lease(NAME, ttl=10):
        party.clock.advance(9000)
    assert party.agent("bob").status_of(NAME).state == "free"


def test_a_store_that_does_not_answer_at_the_end_is_an_event_and_no_exception(workspace: Workspace) -> None:
    events: list[Any] = []
    hook = FailAt(errno.EIO, "symlink", nth=2, times=1000)
    alice = Workspace(
        workspace.directory, agent="alice", files=InterceptedFiles(SYSTEM_FILES, hook), on_event=events.append
    )
    with alice.lease(NAME, ttl=600) as lease:
        pass
    assert [event.kind for event in events] == ["granted", "release_failed"]
    assert events[1].reason.startswith("EIO")
    assert lease.remaining == 0
    assert workspace.status_of(NAME).holder == "alice"  # it runs out by its ttl


# ── trust and renewal (P10, P11) ─────────────────────────────────────────────────────────────────────────────────────


def test_check_renews_when_half_of_the_trust_is_used_and_not_before(party: Party) -> None:
    alice = party.agent("alice")
    lease = alice.lease(NAME, ttl=10)
    party.clock.advance(3999)
    lease.check()
    assert kinds(alice) == ["grant"]
    assert lease.remaining == 4.001
    party.clock.advance(1)
    lease.check()
    assert kinds(alice) == ["grant", "renew"]
    assert lease.remaining == 8
    assert alice.status_of(NAME).until_ms == party.clock.wall_ms() + 10_000


def test_a_holder_that_checks_keeps_its_lease_for_ever(party: Party) -> None:
    lease, bob = party.agent("alice").lease(NAME, ttl=10), party.agent("bob")
    for _ in range(50):
        party.clock.advance(7000)
        lease.check()
        assert bob.try_lease(NAME) is None
    assert lease.fence == 1


@pytest.mark.parametrize("call", ["check", "renew", "commit", "detach"])
def test_at_80_percent_of_the_ttl_trust_ends(party: Party, call: str) -> None:
    lost: list[LeaseLost] = []
    alice = party.agent("alice")
    lease = alice.lease(NAME, ttl=10, on_lost=lost.append)
    calls: dict[str, Callable[[], object]] = {
        "check": lease.check,
        "renew": lease.renew,
        "commit": lambda: lease.commit(b"x"),
        "detach": lease.detach,
    }
    party.clock.advance(8000)
    assert lease.remaining == 0
    with pytest.raises(LeaseLost) as caught:
        calls[call]()
    assert (caught.value.reason, caught.value.fence, caught.value.successor) == ("expired", 1, "")
    assert type(caught.value) is LeaseLost
    assert kinds(alice) == ["grant"]
    for _ in range(3):
        with pytest.raises(LeaseLost):
            lease.check()
    assert [error.reason for error in lost] == ["expired"]
    assert party.kinds().count("lost") == 1


def test_a_millisecond_before_it_is_trusted(party: Party) -> None:
    lease = party.agent("alice").lease(NAME, ttl=10)
    party.clock.advance(7999)
    assert lease.remaining == 0.001
    lease.check()
    assert lease.remaining == 8


@pytest.mark.parametrize("clock", ["monotonic_ms", "wall_ms", "boot_ms"])
def test_whichever_clock_went_on_while_the_sandbox_was_frozen_counts(party: Party, clock: str) -> None:
    own = ManualClock()
    lease = party.agent("alice", own).lease(NAME, ttl=10)
    own.advance(**{clock: 8000})
    with pytest.raises(LeaseLost):
        lease.check()


def test_a_wall_clock_that_is_set_back_gives_no_more_trust(party: Party) -> None:
    own = ManualClock()
    lease = party.agent("alice", own).lease(NAME, ttl=10)
    own.advance(7000, wall_ms=-3_600_000)
    assert lease.remaining == 1


def test_trust_begins_before_the_request_and_not_with_its_answer(workspace: Workspace) -> None:
    own = ManualClock()

    def slow(call: Call) -> None:
        if call.when == "after" and call.op == "symlink":
            own.advance(3000)

    files = InterceptedFiles(SYSTEM_FILES, slow)
    lease = Workspace(workspace.directory, agent="slow", files=files, clock=own).lease(NAME, ttl=10)
    assert 4.99 <= lease.remaining <= 5
    lease.renew()
    assert lease.remaining == 5


def test_an_expired_lease_can_still_be_released(party: Party) -> None:
    alice = party.agent("alice")
    lease = alice.lease(NAME, ttl=10)
    party.clock.advance(8000)
    with pytest.raises(LeaseLost):
        lease.check()
    lease.release()
    assert alice.status_of(NAME).state == "free"


def test_a_renewal_that_the_store_does_not_answer_can_be_tried_again(workspace: Workspace) -> None:
    hook = FailAt(errno.EIO, "touch", nth=2)
    alice = Workspace(workspace.directory, agent="alice", files=InterceptedFiles(SYSTEM_FILES, hook))
    with alice.lease(NAME, ttl=600) as lease:
        with pytest.raises(StoreUnavailable):
            lease.renew()
        assert lease.remaining > 0
        lease.renew()


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_release_is_idempotent_and_ends_everything(party: Party) -> None:
    alice = party.agent("alice")
    lease = alice.lease(NAME)
    lease.release()
    with alice.lease(NAME) as successor:
        lease.release()  # nothing, and nothing to the successor
        successor.check()
        for call in (lease.check, lease.renew, lease.detach):
            with pytest.raises(LeaseLost) as caught:
                call()
            assert caught.value.reason == "ended"
    assert lease.remaining == 0
    assert kinds(alice) == ["grant", "release", "grant", "release"]


def test_a_holder_that_was_superseded_is_told_by_whom(party: Party) -> None:
    own = ManualClock()  # stands still, as in a frozen sandbox
    told: list[LeaseLost] = []
    lease = party.agent("alice", own).lease(NAME, ttl=10, on_lost=told.append)
    take_over(party).release()
    party.agent("carol").lease(NAME)
    for call in (lease.check, lease.renew, lease.release, lease.check):
        with pytest.raises(StaleFence) as caught:
            call()
        assert (caught.value.reason, caught.value.successor, caught.value.successor_fence) == ("taken", "bob", 2)
    assert told == [caught.value]
    lost = [event for event in party.events if event.kind == "lost"]
    assert [(event.agent, event.holder, event.fence, event.reason) for event in lost] == [("alice", "bob", 1, "taken")]


def test_a_holder_under_whom_somebody_committed_is_fenced_out(party: Party) -> None:
    own = ManualClock()
    lease = party.agent("alice", own).lease(NAME, ttl=10)
    party.clock.advance(10_101)
    party.agent("bob").document(NAME).commit(b"new", if_revision=0)
    with pytest.raises(StaleFence) as caught:
        lease.commit(b"late")
    assert caught.value.successor == "bob"
    with open(caught.value.kept, "rb") as file:
        assert file.read() == b"late"
    assert party.agent("carol").document(NAME).read() == b"new"


def test_a_sealed_chain_ends_a_lease(party: Party) -> None:
    lease = party.agent("alice").lease(NAME)
    held = party.store.read(Resource.parse(NAME))
    assert held is not None
    sealed = a_free_record(2, kind="sealed", lease=held.lease, mode="table", epoch=2)
    party.store.append(Resource.parse(NAME), sealed, durable=True)
    for call in (lease.check, lease.renew, lambda: lease.commit(b"x")):
        with pytest.raises(LeaseLost) as caught:
            call()
        assert caught.value.reason == "sealed"


def test_the_hosts_deadline_ends_a_lease_whatever_was_renewed(party: Party) -> None:
    alice = party.agent("alice")
    lease = alice.lease(NAME, ttl=10, ends_in=12)
    party.clock.advance(7000)
    lease.renew()
    assert lease.remaining == 5  # of the host's time, not 8 of the ttl's
    party.clock.advance(5000)
    with pytest.raises(LeaseLost) as caught:
        lease.check()
    assert caught.value.reason == "ended"
    held = party.store.read(Resource.parse(NAME))
    assert held is not None
    assert held.lease is not None
    assert held.lease.dead_by_ms == held.lease.granted_ms + 12_000


def test_whoever_waits_is_seen_at_the_next_check(party: Party) -> None:
    lease = party.agent("alice").lease(NAME, ttl=60)
    seen: list[tuple[bool, bool]] = []

    def on_pause(_: float) -> None:
        before = lease.wanted
        lease.check()
        seen.append((before, lease.wanted))

    party.clock.on_pause = on_pause
    assert party.agent("bob").request_release(NAME, grace=0.001) is False
    lease.check()
    assert seen[0] == (False, True)
    assert not lease.wanted


def test_a_holder_whose_lease_was_broken_and_granted_anew_is_told_by_whom(party: Party) -> None:
    alice = party.agent("alice").lease(NAME)
    party.agent("warden").break_lease(NAME, fence=alice.fence)
    successor = party.agent("bob").lease(NAME)
    with pytest.raises(StaleFence) as caught:
        alice.commit(b"late")
    assert (caught.value.reason, caught.value.successor, caught.value.successor_fence) == (
        "taken",
        "bob",
        successor.fence,
    )
    with open(caught.value.kept, "rb") as file:
        assert file.read() == b"late"


# ── handing on (P12) ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_detached_lease_is_taken_up_elsewhere_once(party: Party) -> None:
    alice, bob = party.agent("alice"), party.agent("bob")
    lease = alice.lease(NAME, ttl=10)
    party.clock.advance(5000)
    token = lease.detach()
    assert alice.status_of(NAME).state == "detached"
    assert lease.remaining == 0
    lease.release()  # it is no longer this holder's to release
    assert alice.try_lease(NAME) is None
    party.clock.advance(9000)  # detaching renewed it
    resumed = bob.resume(token)
    assert (resumed.fence, resumed.agent, resumed.remaining) == (1, "bob", 8)
    resumed.commit(b"by bob")
    with pytest.raises(LeaseLost) as caught:
        party.agent("carol").resume(token)
    assert (caught.value.reason, caught.value.successor) == ("taken", "bob")
    resumed.release()
    with pytest.raises(LeaseLost) as freed:
        bob.resume(token)
    assert freed.value.reason == "released"
    assert kinds(alice) == ["grant", "detach", "resume", "commit", "release"]


def test_a_detached_lease_runs_out_like_any_other(party: Party) -> None:
    token = party.agent("alice").lease(NAME, ttl=10).detach()
    party.clock.advance(10_102)  # a renewal within the same millisecond counts one more
    with pytest.raises(LeaseLost) as caught:
        party.agent("bob").resume(token)
    assert caught.value.reason == "expired"
    assert party.agent("carol").lease(NAME).fence == 3


def test_leaving_the_block_after_detaching_leaves_the_lease_alone(party: Party) -> None:
    alice = party.agent("alice")
    with alice.lease("a.b/c.json") as lease:
        token = lease.detach()
    assert parse_token(token)[0] == "a.b/c.json"
    with alice.resume(token) as resumed:
        assert resumed.resource == "a.b/c.json"
    assert alice.status_of("a.b/c.json").state == "free"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        f"v2.1.{an_id(1)}.tasks.json",
        f"v1.x.{an_id(1)}.tasks.json",
        "v1.1.short.tasks.json",
        f"v1.1.{an_id(1)}",
        f"v1.1.{an_id(1)}.",
        f"v1.1.{an_id(1)}.../x",
        f"v1.².{an_id(1)}.tasks.json",
    ],
)
def test_what_is_no_token_is_refused(party: Party, token: str) -> None:
    with pytest.raises((BadValue, BadName)):
        party.agent("alice").resume(token)
