"""Getting a lease: at once, by waiting, in line, by taking over; and every way of not getting it."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import a_free_record, an_author, in_thread, together, wait_until

from coordinator import AcquireCancelled, AuthorityMoved, BadName, BadValue, LeaseHeld, LeaseLost, StaleFence, Workspace
from coordinator.limits import POLL_MAX_MS, TTL_MAX_MS, TURN_MS, WAIT_MAX_MS, WAITING_MAX
from coordinator.names import Resource
from coordinator.record.agree import settle
from coordinator.record.decide import Ask
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

    from support import Party

NAME = "tasks.json"


# ── at once ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_free_lease_is_granted_at_once(party: Party) -> None:
    before = party.clock.now()
    lease = party.agent("alice").lease(NAME, ttl=10)
    assert party.clock.now() == before
    assert (lease.resource, lease.fence, lease.agent, lease.ttl) == (NAME, 1, "alice", 10)
    assert [(event.kind, event.fence, event.holder, event.reason) for event in party.events] == [
        ("granted", 1, "", "free")
    ]


def test_a_refusal_says_who_holds_it_and_until_when(party: Party) -> None:
    alice, bob = party.agent("alice"), party.agent("bob")
    began_ms = party.clock.wall_ms()
    alice.lease(NAME, ttl=10)
    party.clock.advance(1500)
    with pytest.raises(
        LeaseHeld, match=r"held by alice \(fence 1\) since 1.5 s, for 8.5 s more; waited 0.0 s"
    ) as caught:
        bob.lease(NAME)
    assert caught.value.fields == {
        "resource": NAME,
        "holder": "alice",
        "fence": 1,
        "since_ms": began_ms,
        "until_ms": began_ms + 10_000,
        "now_ms": began_ms + 1500,
        "waiting": 0,
        "waited_ms": 0,
    }
    refused = party.events[-1]
    assert (refused.kind, refused.agent, refused.holder, refused.fence, refused.reason) == (
        "refused",
        "bob",
        "alice",
        1,
        "held",
    )
    assert bob.try_lease(NAME) is None


def test_the_same_agent_is_another_holder_the_second_time(party: Party) -> None:
    alice = party.agent("alice")
    alice.lease(NAME)
    assert alice.try_lease(NAME) is None


def test_fences_only_grow(party: Party) -> None:
    alice, bob = party.agent("alice"), party.agent("bob")
    fences = []
    for holder in (alice, bob, alice):
        with holder.lease(NAME) as lease:
            fences.append(lease.fence)
    assert fences == [1, 3, 5]


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("ttl", 0.099),
        ("ttl", TTL_MAX_MS / 1000 + 1),
        ("ttl", -1),
        ("ttl", math.nan),
        ("ttl", math.inf),
        ("ttl", "30"),
        ("ttl", None),
        ("ttl", True),
        ("wait", -1),
        ("wait", WAIT_MAX_MS / 1000 + 1),
        ("wait", math.inf),
        ("ends_in", -1),
        ("ends_in", math.nan),
    ],
)
def test_a_figure_out_of_its_limits_is_refused(party: Party, argument: str, value: Any) -> None:
    options: dict[str, Any] = {argument: value}
    with pytest.raises(BadValue) as caught:
        party.agent("alice").lease(NAME, **options)
    assert caught.value.argument == argument
    assert party.events == []


@pytest.mark.parametrize(("ends_in", "lawful"), [(30, True), (29.999, False), (0, False)])
def test_more_than_the_host_has_left_is_refused_with_the_figure(party: Party, ends_in: float, lawful: bool) -> None:
    alice = party.agent("alice")
    if lawful:
        assert alice.lease(NAME, ttl=30, ends_in=ends_in).fence == 1
        return
    with pytest.raises(BadValue) as caught:
        alice.lease(NAME, ttl=30, ends_in=ends_in)
    assert f"{max(ends_in, 0.001):g} s" in caught.value.hint
    assert party.store.read(Resource.parse(NAME)) is None


@pytest.mark.parametrize("name", ["", "../x", "/x", ".coordinator/x"])
def test_a_bad_name_is_refused(party: Party, name: str) -> None:
    with pytest.raises(BadName):
        party.agent("alice").lease(name)


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_waiting_ends_in_time_and_leaves_the_line(party: Party) -> None:
    party.agent("alice").lease(NAME, ttl=60)
    bob = party.agent("bob")
    began_ms = party.clock.wall_ms()
    with pytest.raises(LeaseHeld) as caught:
        bob.lease(NAME, wait=2)
    assert 2000 <= caught.value.waited_ms <= 2000 + POLL_MAX_MS
    assert caught.value.waited_ms - 1 <= party.clock.wall_ms() - began_ms <= caught.value.waited_ms
    assert bob.status_of(NAME).waiting == 0
    assert [record.kind for record in bob.history(NAME)] == ["grant", "ask", "leave"]


def test_who_waits_gets_it_when_it_is_released(party: Party) -> None:
    lease = party.agent("alice").lease(NAME, ttl=60)
    pauses: list[float] = []
    looked_at: list[bool] = []

    def on_pause(pause_ms: float) -> None:
        pauses.append(pause_ms)
        if len(pauses) == 20:
            looked_at.append(lease.wanted)  # not looked at since the line was empty
            lease.check()
            looked_at.append(lease.wanted)
            lease.release()

    party.clock.on_pause = on_pause
    with party.agent("bob").lease(NAME, wait=None) as bobs:
        assert bobs.fence == 4
        assert not bobs.wanted
    assert looked_at == [False, True]
    granted = [event for event in party.events if event.kind == "granted"][-1]
    assert (granted.agent, granted.reason) == ("bob", "free")
    assert granted.waited_ms >= sum(pauses) - 1
    assert max(pauses) <= POLL_MAX_MS


@pytest.mark.parametrize("wait", [None, 60])
def test_waiting_is_ended_by_cancelling(party: Party, wait: float | None) -> None:
    party.agent("alice").lease(NAME, ttl=600)
    cancel = threading.Event()
    party.clock.on_pause = lambda _: cancel.set()
    bob = party.agent("bob")
    with pytest.raises(AcquireCancelled) as caught:
        bob.lease(NAME, wait=wait, cancel=cancel)
    assert caught.value.waited_ms <= POLL_MAX_MS
    assert bob.status_of(NAME).waiting == 0
    assert (party.events[-1].kind, party.events[-1].reason) == ("refused", "cancelled")


def test_a_wait_is_really_woken_by_cancelling(workspace: Workspace) -> None:
    bob = Workspace(workspace.directory, agent="bob")
    cancel = threading.Event()
    with workspace.lease(NAME, ttl=600):
        with in_thread(lambda: bob.lease(NAME, wait=None, cancel=cancel)) as outcome:
            wait_until(lambda: workspace.status_of(NAME).waiting == 1)
            cancel.set()
        assert isinstance(outcome[0], AcquireCancelled)
        assert workspace.status_of(NAME).waiting == 0


def test_whatever_ends_the_waiting_the_place_is_given_up(party: Party) -> None:
    party.agent("alice").lease(NAME, ttl=600)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    party.clock.on_pause = interrupt
    bob = party.agent("bob")
    with pytest.raises(KeyboardInterrupt):
        bob.lease(NAME, wait=None)
    assert bob.status_of(NAME).waiting == 0


# ── the line (P12) ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_first_come_first_served(workspace: Workspace) -> None:
    order: list[str] = []
    names = ["bob", "carol", "dave", "erin"]
    holder = workspace.lease(NAME, ttl=60)

    def run(name: str) -> None:
        with Workspace(workspace.directory, agent=name).lease(NAME, ttl=60, wait=60):
            order.append(name)

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in names]
    for place, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda place=place: workspace.status_of(NAME).waiting == place)  # type: ignore[misc]
    holder.release()
    for thread in threads:
        thread.join(60)
    assert order == names
    assert workspace.status_of(NAME).waiting == 0


def test_more_than_the_line_holds_all_get_their_turn(workspace: Workspace) -> None:
    inside, count, guard = 0, 0, threading.Lock()

    def run(i: int) -> None:
        nonlocal inside, count
        with Workspace(workspace.directory, agent=f"agent-{i}").lease(NAME, ttl=60, wait=60):
            with guard:
                inside += 1
                assert inside == 1
            count += 1
            with guard:
                inside -= 1

    together(*[lambda i=i: run(i) for i in range(WAITING_MAX * 2)])
    assert count == WAITING_MAX * 2


def test_a_free_lease_for_which_others_wait_is_refused_to_who_does_not(party: Party) -> None:
    name = Resource.parse(NAME)
    bob = party.agent("bob")
    lease = party.agent("alice").lease(NAME)
    settle(party.store, name, lambda _n, _now_ms: Ask(an_author(1, "ghost")))  # one who died while waiting
    lease.release()
    with pytest.raises(LeaseHeld, match="is free, but 1 wait in line") as caught:
        bob.lease(NAME)
    assert (caught.value.holder, caught.value.fence, caught.value.waiting) == ("", 0, 1)


def test_a_waiter_that_died_costs_those_behind_it_one_turn(party: Party) -> None:
    name = Resource.parse(NAME)
    lease = party.agent("alice").lease(NAME, ttl=60)
    settle(party.store, name, lambda _n, _now_ms: Ask(an_author(1, "ghost")))
    lease.release()
    began_ms = party.clock.wall_ms()
    bobs = party.agent("bob").lease(NAME, wait=10)
    assert TURN_MS <= party.clock.wall_ms() - began_ms <= TURN_MS + 2 * POLL_MAX_MS
    assert not bobs.wanted  # the ghost is out of the line


# ── taking over (P9) ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_that_ran_out_by_the_stores_clock_is_taken_over(party: Party) -> None:
    party.agent("alice").lease(NAME, ttl=10)
    bob = party.agent("bob")
    party.clock.advance(10_000 + party.store.skew_ms)
    assert bob.try_lease(NAME) is None
    party.clock.advance(1)
    assert bob.lease(NAME).fence == 2
    stolen = party.events[-1]
    assert (stolen.kind, stolen.agent, stolen.holder, stolen.reason) == ("stolen", "bob", "alice", "expired")


def test_a_lease_that_is_silent_is_taken_over_though_the_stores_clock_stands(party: Party) -> None:
    party.agent("alice").lease(NAME, ttl=10)
    own = ManualClock()
    before = own.now()
    lease = party.agent("bob", own).lease(NAME, wait=60)
    waited_ms = (own.now().monotonic_ns - before.monotonic_ns) // 1_000_000
    assert 11_000 <= waited_ms <= 11_000 + 2 * POLL_MAX_MS
    assert (lease.fence, party.events[-1].kind, party.events[-1].reason) == (3, "stolen", "silent")


def test_a_sign_of_life_makes_a_watcher_begin_anew(party: Party) -> None:
    holder = party.agent("alice").lease(NAME, ttl=10)
    own = ManualClock()
    watched_ms = 0.0
    renewals = 0

    def on_pause(pause_ms: float) -> None:
        nonlocal watched_ms, renewals
        watched_ms += pause_ms
        if watched_ms >= 7000 and renewals < 2:
            watched_ms, renewals = 0, renewals + 1
            party.clock.advance(1)  # the store's clock crawls
            holder.renew()

    own.on_pause = on_pause
    party.agent("bob", own).lease(NAME, wait=120)
    assert renewals == 2
    assert watched_ms >= 11_000 - POLL_MAX_MS


def test_a_watcher_whose_own_clocks_disagree_believes_the_slower(party: Party) -> None:
    party.agent("alice").lease(NAME, ttl=10)
    own = ManualClock()
    own.on_pause = lambda pause_ms: own.advance(monotonic_ms=pause_ms)  # the monotonic one goes twice as fast
    wall_ms = own.wall_ms()
    party.agent("bob", own).lease(NAME, wait=120)
    assert own.wall_ms() - wall_ms >= 11_000


def test_a_lease_whose_host_is_dead_is_taken_over(party: Party) -> None:
    lease = party.agent("alice").lease(NAME, ttl=10, ends_in=12)
    party.clock.advance(7000)
    lease.renew()  # by its ttl alone it would last until 17 s
    bob = party.agent("bob")
    party.clock.advance(5000 + party.store.skew_ms)
    assert bob.try_lease(NAME) is None
    party.clock.advance(1)
    bob.lease(NAME)
    assert (party.events[-1].kind, party.events[-1].reason) == ("stolen", "dead")


# ── asking and breaking ──────────────────────────────────────────────────────────────────────────────────────────────


def test_asking_the_holder_to_let_go(party: Party) -> None:
    alice, bob = party.agent("alice"), party.agent("bob")
    lease = alice.lease(NAME, ttl=60)

    def on_pause(_: float) -> None:
        lease.check()
        if lease.wanted:
            lease.release()

    party.clock.on_pause = on_pause
    assert bob.request_release(NAME, grace=10) is True
    assert bob.status_of(NAME).state == "free"
    assert bob.status_of(NAME).waiting == 0


def test_asking_takes_nothing_by_itself(party: Party) -> None:
    alice, bob = party.agent("alice"), party.agent("bob")
    lease = alice.lease(NAME, ttl=60)
    began_ms = party.clock.wall_ms()
    assert bob.request_release(NAME, grace=3) is False
    assert 2999 <= party.clock.wall_ms() - began_ms <= 3000 + POLL_MAX_MS  # parts of a millisecond round up
    lease.check()
    assert bob.status_of(NAME).waiting == 0


def test_asking_for_what_nobody_holds_is_answered_at_once(party: Party) -> None:
    bob = party.agent("bob")
    assert bob.request_release(NAME) is True
    bob.lease(NAME).release()
    assert bob.request_release(NAME) is True
    assert "ask" not in [record.kind for record in bob.history(NAME)]


def test_asking_is_answered_when_another_holds_it_by_then(party: Party) -> None:
    lease, carol = party.agent("alice").lease(NAME, ttl=60), party.agent("carol")

    def on_pause(_: float) -> None:
        party.clock.on_pause = None
        lease.release()
        carol.lease(NAME, wait=2)

    party.clock.on_pause = on_pause
    assert party.agent("bob").request_release(NAME, grace=10) is True
    assert carol.status_of(NAME).holder == "carol"


def test_breaking_a_lease_wants_its_fence(party: Party) -> None:
    alice, operator = party.agent("alice"), party.agent("operator")
    lease = alice.lease(NAME, ttl=60)
    with pytest.raises(LeaseLost) as caught:
        operator.break_lease(NAME, fence=lease.fence + 1)
    assert (caught.value.reason, caught.value.successor, caught.value.successor_fence) == ("taken", "alice", 1)
    lease.check()
    operator.break_lease(NAME, fence=lease.fence)
    assert (party.events[-1].kind, party.events[-1].fence) == ("broken", 1)
    assert operator.lease(NAME).fence == 3
    with pytest.raises(StaleFence) as lost:
        lease.check()
    assert (lost.value.reason, lost.value.successor, lost.value.successor_fence) == ("taken", "operator", 3)
    with pytest.raises(LeaseLost) as again:
        operator.break_lease("other", fence=1)
    assert again.value.reason == "released"


# ── another store rules (P29) ────────────────────────────────────────────────────────────────────────────────────────


def test_a_sealed_chain_grants_nothing(party: Party) -> None:
    sealed = a_free_record(1, kind="sealed", mode="table", epoch=2)
    party.store.append(Resource.parse(NAME), sealed, durable=True)
    for wait in (0, 5):
        with pytest.raises(AuthorityMoved) as caught:
            party.agent("alice").lease(NAME, wait=wait)
        assert (caught.value.mode, caught.value.epoch) == ("table", 2)
    with pytest.raises(AuthorityMoved):
        party.agent("alice").document(NAME).commit(b"x", if_revision=0)


def test_a_name_that_leads_elsewhere_is_the_same_lease(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"x")
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "out").symlink_to("/")
    (tmp_path / "in").symlink_to(".coordinator")
    workspace = Workspace.init(tmp_path, agent="alice")
    with workspace.lease("alias/file") as lease:
        assert lease.resource == "real/file"
        assert workspace.try_lease("real/file") is None
    for name in ("out/etc/passwd", "in/x", "in"):
        with pytest.raises(BadName):
            workspace.lease(name)
