"""A sandbox that was thawed: told when a block is entered or a lease used, and another incarnation since (P19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from invocation_support import NAME, PLAN, Context, log_files, thaws, unsynced

from coordinator import Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.log.writer import LogWriter
from coordinator.names import Resource
from coordinator.testing import Call, InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import Party

    from coordinator.events import Event


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
