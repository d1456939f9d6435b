"""Leases and logs bound to an invocation: what may be asked for inside, what is left of it after, and thaws."""

from __future__ import annotations

import errno
import math
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support import together

from coordinator import (
    BadValue,
    LeaseHeld,
    LeaseLost,
    StaleFence,
    StoreUnavailable,
    Workspace,
)
from coordinator.document import folding
from coordinator.files import SYSTEM_FILES
from coordinator.limits import MARGIN_MS
from coordinator.log.writer import LogWriter
from coordinator.names import Resource
from coordinator.testing import Call, CrashFiles, FailAt, InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import Party

    from coordinator.events import Event

NAME = "tasks.json"
PLAN = "plan.json"


@dataclass
class Context:
    """A Lambda's, with a deadline by a clock of the test; ``off_ms`` makes it tell something else."""

    clock: ManualClock
    had_ms: int = 60_000
    aws_request_id: str = "request-1"
    off_ms: int = 0
    _began_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self._began_ms = self.clock.wall_ms()

    def get_remaining_time_in_millis(self) -> int:
        return self.had_ms - (self.clock.wall_ms() - self._began_ms) + self.off_ms


def ended(events: list[Event]) -> dict[str, Any]:
    """What the last invocation told at its end."""
    found = [event for event in events if event.kind == "invocation_ended"]
    return {"reason": found[-1].reason, **found[-1].detail}


def thaws(events: list[Event]) -> list[str]:
    return [event.reason for event in events if event.kind == "invocation_thawed"]


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


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_still_held_is_released_at_the_end(party: Party) -> None:
    alice = party.agent("alice")
    token = party.agent("bob").lease("resumed", ttl=60).detach()
    outside = alice.lease("outside")
    with alice.invocation(Context(party.clock)):
        alice.lease("a")
        alice.lease_many(["b", "c"])
        alice.lease("released").release()
        alice.resume(token)
        kept = alice.lease("detached", ttl=50).detach()
        assert ended_by(alice, "a", "b", "c", "resumed", "detached") == ["held"] * 4 + ["detached"]
    assert ended_by(alice, "a", "b", "c", "resumed", "released") == ["free"] * 5
    assert ended_by(alice, "outside", "detached") == ["held", "detached"]
    told = ended(party.events)
    assert (told["released"], told["kept"], told["trouble"]) == (["resumed", "c", "b", "a"], [], [])
    assert (told["reason"], told["request"]) == ("", "request-1")
    outside.check()
    assert alice.resume(kept).resource == "detached"


def ended_by(workspace: Workspace, *names: str) -> list[str]:
    return [workspace.status_of(name).state for name in names]


def test_the_bodys_exception_comes_out_as_it_is(party: Party) -> None:
    alice, mine = party.agent("alice"), ZeroDivisionError("mine")

    def body() -> None:
        with alice.invocation(Context(party.clock, 90_000)):
            alice.lease(NAME, ttl=10)
            party.clock.advance(20_000)
            party.agent("bob").lease(NAME)
            raise mine

    with pytest.raises(ZeroDivisionError) as caught:
        body()
    assert caught.value is mine
    assert caught.value.__context__ is None
    assert ended(party.events)["reason"] == "trouble"
    assert alice.lease("a").ttl == 30  # unbound again


def test_a_lease_that_was_anothers_is_told_once_the_others_are_released(party: Party) -> None:
    alice = party.agent("alice")

    def body() -> None:
        with alice.invocation(Context(party.clock, 90_000)):
            for name in ("a", NAME, "b"):
                alice.lease(name, ttl=10 if name == NAME else 60)
            party.clock.advance(20_000)
            party.agent("bob").lease(NAME)

    with pytest.raises(StaleFence) as caught:
        body()
    assert caught.value.resource == NAME
    assert ended_by(alice, "a", "b") == ["free", "free"]
    assert party.agent("carol").status_of(NAME).holder == "bob"
    assert ended(party.events)["released"] == ["b", "a"]


def test_a_loss_that_the_body_knows_of_is_not_told_again(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, 90_000)):
        lease = alice.lease(NAME, ttl=10)
        party.clock.advance(20_000)
        party.agent("bob").lease(NAME)
        with pytest.raises(StaleFence):
            lease.check()
    assert ended(party.events)["trouble"] == []


def test_one_that_merely_ran_out_is_freed(party: Party) -> None:
    alice = party.agent("alice")
    with alice.invocation(Context(party.clock, 90_000)):
        lease = alice.lease(NAME, ttl=10)
        party.clock.advance(8000)
        with pytest.raises(LeaseLost):
            lease.check()
    assert alice.status_of(NAME).state == "free"


def test_a_release_that_fails_keeps_no_other_from_it(workspace: Workspace) -> None:
    events: list[Event] = []
    broken, inside = FailAt(errno.EIO, "symlink", contains="/b/", times=100), False
    alice = Workspace(
        workspace.directory,
        agent="alice",
        files=InterceptedFiles(SYSTEM_FILES, lambda call: broken(call) if inside else None),
        on_event=events.append,
    )
    with alice.invocation(Context(ManualClock())):
        for name in ("a", "b", "c"):
            alice.lease(name)
        inside = True
    inside = False
    assert ended_by(alice, "a", "b", "c") == ["free", "held", "free"]
    told = ended(events)
    assert (told["released"], told["kept"], told["reason"]) == (["c", "a"], ["b"], "trouble")
    assert "release_failed" in [event.kind for event in events]


def test_whatever_a_release_raises_the_rest_is_done_and_the_block_is_left(
    party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = party.agent("alice")

    def refuse() -> None:
        raise ZeroDivisionError

    def body() -> None:
        with alice.invocation(Context(party.clock)):
            alice.lease("a")
            monkeypatch.setattr(alice.lease("b"), "release", refuse)

    with pytest.raises(ZeroDivisionError):
        body()
    assert ended_by(alice, "a", "b") == ["free", "held"]
    with alice.invocation(Context(party.clock)):
        assert alice.lease("a").fence > 1


def test_a_renewing_lease_is_renewed_no_more_after_the_block(workspace: Workspace) -> None:
    with workspace.invocation(Context(ManualClock())):
        workspace.lease(NAME, ttl=0.2, renew_in_background=True)
    fence = workspace.history(NAME)[-1].n
    assert workspace.history(NAME)[-1].kind == "release"
    for thread in threading.enumerate():
        if thread.name == f"renew {NAME}":
            thread.join(10)
    assert workspace.history(NAME)[-1].n == fence


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unsynced(calls: list[Call]) -> set[str]:
    """The log files whose last write no sync followed."""
    last: dict[str, str] = {}
    for call in calls:
        if "/log/" in call.path and call.op in {"write", "sync"} and call.when == "after":
            last[call.path] = call.op
    assert last, "no log was written"
    return {path for path, op in last.items() if op == "write"}


def test_what_was_appended_is_synced_before_the_block_is_left(workspace: Workspace) -> None:
    calls: list[Call] = []
    alice = Workspace(workspace.directory, agent="alice", files=InterceptedFiles(SYSTEM_FILES, calls.append))
    with alice.invocation(Context(ManualClock())):
        for i in range(3):
            alice.document(PLAN).update({str(i): i}, wait=10)
            alice.document("other.json").update({str(i): i}, wait=10)
        assert len(unsynced(calls)) == 2  # on a local disk it is the fold that is synced
    assert unsynced(calls) == set()
    assert alice.document(PLAN).read_json() == {"0": 0, "1": 1, "2": 2}


@pytest.mark.parametrize("left_ms", [60_000, MARGIN_MS - 100])
@pytest.mark.parametrize("raises", [False, True])
def test_it_survives_a_power_failure(left_ms: int, *, raises: bool) -> None:
    """Also when there is no time left, and also when the body raised."""
    clock = ManualClock()
    disk = CrashFiles(clock)
    disk.mkdir("/shared")
    disk.sync_all()
    alice = Workspace.init("/shared", agent="alice", files=disk, clock=clock)
    writer = LogWriter(alice._member, Resource.parse(PLAN))

    def body() -> None:
        with alice.invocation(Context(clock)):
            writer.append([b'{"id":"one"}'], sync=False)
            assert any(not is_found(state.files) for state in disk.crash_states(seed=1))
            clock.advance(60_000 - left_ms)
            if raises:
                raise ZeroDivisionError

    if raises:
        with pytest.raises(ZeroDivisionError):
            body()
    else:
        body()
    assert all(is_found(state.files) for state in disk.crash_states(seed=1))


def is_found(files: CrashFiles) -> bool:
    folder = f"/shared/.coordinator/resources/{PLAN}/@/log"
    try:
        return any(b'"id":"one"' in files.read(f"{folder}/{name}") for name in files.listdir(folder))
    except FileNotFoundError:
        return False


def test_logs_that_cannot_be_synced_are_told(workspace: Workspace) -> None:
    events: list[Event] = []
    broken = FailAt(errno.EIO, "sync", contains="/log/", times=100)
    is_broken = False
    alice = Workspace(
        workspace.directory,
        agent="alice",
        files=InterceptedFiles(SYSTEM_FILES, lambda call: broken(call) if is_broken else None),
        on_event=events.append,
    )

    def body(error: Exception | None) -> None:
        nonlocal is_broken
        with alice.invocation(Context(ManualClock())):
            alice.document(PLAN).update({"a": 1}, wait=10)
            alice.lease(NAME)
            is_broken = True
            if error:
                raise error

    with pytest.raises(StoreUnavailable):
        body(None)
    assert (ended(events)["reason"], ended(events)["released"]) == ("trouble", [NAME])
    is_broken = False
    mine = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as caught:
        body(mine)
    assert caught.value is mine
    is_broken = False
    assert alice.document(PLAN).update({"b": 2}).state == "applied"
    assert alice.document(PLAN).read_json() == {"a": 1, "b": 2}


def log_files(workspace: Workspace) -> list[str]:
    folder = os.path.join(workspace.directory, ".coordinator/resources", PLAN, "@/log")
    return sorted(os.path.join(folder, name) for name in os.listdir(folder))


def test_each_invocation_has_a_log_of_its_own_and_says_when_it_ends(workspace: Workspace) -> None:
    """P27: a sandbox that is never thawed leaves none that somebody has to retire."""
    document = workspace.document(PLAN)
    seen: set[str] = set()
    for i in range(3):
        with workspace.invocation(Context(ManualClock(), aws_request_id=f"request-{i}")):
            document.update({str(i): i})
            seen |= set(log_files(workspace))
    assert len(seen) == 3
    for path in log_files(workspace):
        with open(path, "rb") as file:
            assert b'{"end":' in file.read().splitlines()[-1]
    assert document.read_json() == {"0": 0, "1": 1, "2": 2}


def test_what_is_in_memory_of_a_document_is_kept(workspace: Workspace) -> None:
    document = workspace.document(PLAN)
    document.update({"a": 1})
    before = document._folding
    with workspace.invocation(Context(ManualClock())):
        document.update({"b": 2})
    record = workspace.history(PLAN)[-1]
    assert document._folding is before
    assert before.compactor.is_current(record)
    document.update({"c": 3})
    document.close()
    assert document.read_json() == {"a": 1, "b": 2, "c": 3}


@pytest.fixture
def refreshed_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain files are refreshed once a minute: in no test by itself."""
    monkeypatch.setattr(folding, "VIEW_PAUSE_MIN_MS", 60_000)


def put_off() -> list[threading.Timer]:
    """What is to be done later, and was not cancelled."""
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    return [timer for timer in timers if not timer.finished.is_set()]


@pytest.mark.usefixtures("refreshed_late")
def test_the_plain_file_is_up_to_date_and_nobody_is_at_work_on_it(workspace: Workspace) -> None:
    document = workspace.document(PLAN)
    with workspace.invocation(Context(ManualClock())):
        for i in range(20):
            document.update({str(i): i})
        assert len(put_off()) == 1
        assert plain_file(workspace) != document.read()
    assert plain_file(workspace) == document.read()
    assert put_off() == []


def plain_file(workspace: Workspace) -> bytes:
    with open(os.path.join(workspace.directory, PLAN), "rb") as file:
        return file.read()


@pytest.mark.usefixtures("refreshed_late")
def test_with_little_time_left_logs_are_synced_and_no_more_is_begun(workspace: Workspace) -> None:
    calls: list[Call] = []
    events: list[Event] = []
    clock = ManualClock()
    alice = Workspace(
        workspace.directory,
        agent="alice",
        files=InterceptedFiles(SYSTEM_FILES, calls.append),
        clock=clock,
        on_event=events.append,
    )
    document = alice.document(PLAN)
    with alice.invocation(Context(clock, 30_000)):
        for i in range(20):
            document.update({str(i): i}, wait=10)
        alice.lease(NAME)
        clock.advance(29_600)
        assert unsynced(calls)
        assert len(put_off()) == 1
        del calls[:]
    assert {call.op for call in calls} == {"sync", "sync_dir"}
    assert all("/log" in call.path for call in calls)
    told = ended(events)
    assert (told["reason"], told["synced"], told["ended"]) == ("hurried", 1, 0)
    assert (told["released"], told["kept"]) == ([], [NAME])
    assert 0 < told["left_ms"] <= 400
    assert put_off() == []
    document.update({"after": True})
    document.close()
    assert plain_file(workspace) == document.read()  # what was cancelled is made up for


# ── thaws (P19) ──────────────────────────────────────────────────────────────────────────────────────────────────────

THAWS = {
    "the monotonic clock stopped": {"wall_ms": 5000, "boot_ms": 5000},
    "only the wall clock went on": {"wall_ms": 5000},
    "only boot time went on": {"boot_ms": 5000},
    "the wall clock was set back": {"every_ms": 10, "wall_ms": -60_000},
}
NO_THAWS = {
    "all went on": {"every_ms": 600_000},
    "they were slewed": {"every_ms": 600_000, "wall_ms": 300},
    "nothing happened": {"every_ms": 0},
    "boot time is not kept": {"monotonic_ms": 5000, "wall_ms": 5000},
}


@pytest.mark.parametrize("span", THAWS)
def test_a_thaw_is_told_when_a_block_is_entered(party: Party, span: str) -> None:
    alice = party.agent("alice")
    before = alice._member.incarnation
    party.clock.advance(**THAWS[span])
    with alice.invocation(Context(party.clock)):
        assert thaws(party.events) == ["clocks"]
        assert alice._member.incarnation != before
        first = alice._member.incarnation
        assert alice._member.incarnation == first


@pytest.mark.parametrize("span", NO_THAWS)
def test_that_time_passes_is_no_thaw(party: Party, span: str) -> None:
    alice = party.agent("alice")
    before = alice._member.incarnation
    party.clock.advance(**NO_THAWS[span])
    with alice.invocation(Context(party.clock, 900_000)):
        lease = alice.lease(NAME, ttl=800)
        party.clock.advance(**NO_THAWS[span])
        lease.renew()
    assert thaws(party.events) == []
    assert alice._member.incarnation == before


def test_another_invocation_is_another_incarnation(party: Party) -> None:
    alice, incarnations = party.agent("alice"), []
    for request in ("one", "one", "two", "two", "one"):
        with alice.invocation(Context(party.clock, aws_request_id=request)):
            incarnations.append(alice._member.incarnation)
    assert thaws(party.events) == ["invocation"] * 2
    assert [incarnations.index(one) for one in incarnations] == [0, 0, 2, 2, 4]


@pytest.mark.parametrize("use", ["check", "renew", "commit"])
def test_a_thaw_inside_is_told_when_a_lease_is_used(workspace: Workspace, use: str) -> None:
    clock = ManualClock()
    events: list[Event] = []
    alice = Workspace(workspace.directory, agent="alice", clock=clock, on_event=events.append)
    document = alice.document(PLAN)
    with alice.invocation(Context(clock, 600_000)):
        lease = alice.lease(NAME, ttl=60)
        document.update({"a": 1})
        before, logs = alice._member.incarnation, log_files(alice)
        clock.advance(10, wall_ms=5000)  # shorter than the ttl: the lease is still held
        uses: dict[str, Callable[[], object]] = {
            "check": lease.check,
            "renew": lease.renew,
            "commit": lambda: lease.commit(b"mine"),
        }
        uses[use]()
        assert thaws(events) == ["clocks"]
        assert alice._member.incarnation != before
        document.update({"b": 2})
        assert len(set(log_files(alice)) - set(logs)) == 1
    assert alice.history(NAME)[-1].incarnation != before
    assert document.read_json() == {"a": 1, "b": 2}


def test_what_was_appended_before_a_thaw_is_synced_before_its_log_is_left(workspace: Workspace) -> None:
    calls: list[Call] = []
    clock = ManualClock()
    files = InterceptedFiles(SYSTEM_FILES, calls.append)
    alice = Workspace(workspace.directory, agent="alice", clock=clock, files=files)
    writer = LogWriter(alice._member, Resource.parse(PLAN))
    written = writer.append([b'{"id":"one"}'], sync=False)
    clock.advance(10, wall_ms=5000)
    assert unsynced(calls)
    with alice.invocation(Context(clock)):
        assert unsynced(calls) == set()
        assert writer.append([b'{"id":"two"}']).incarnation != written.incarnation


def test_outside_of_an_invocation_nobody_looks_for_thaws(party: Party) -> None:
    alice = party.agent("alice")
    before = alice._member.incarnation
    lease = alice.lease(NAME, ttl=600)
    party.clock.advance(wall_ms=5000)
    lease.check()
    assert alice._member.incarnation == before


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
