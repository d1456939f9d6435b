"""A lease's holder stops for good, or for longer than its ttl, at each named point of a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordinator import Workspace
from coordinator.testing.files import POINTS

if TYPE_CHECKING:
    from .support.fleet import Fleet
    from .support.processes import Process

NAME = "reports/plan.md"
BEFORE, IN_FLIGHT, AFTER = b"before\n" * 100, b"in flight\n" * 200, b"after\n" * 300
TTL_S = 0.4
MADE = {"after_append", "before_view_rename", "after_view_rename"}  # P1: the append is the commit point

pytestmark = pytest.mark.parametrize("point", POINTS)


def stop_in_commit(fleet: Fleet, *points: str) -> tuple[Process, int]:
    """A holder that has stopped at the first of these points of its commit, and its fence."""
    fleet.test.document(NAME).commit(BEFORE, if_revision=0)
    holder = fleet.start("holder")
    holder.tell("acquire", name=NAME, ttl=TTL_S, wait=0)  # all at once: the ttl runs from here on
    for point in points:
        holder.tell("pause", point=point, nth=1)
    holder.tell("commit", text=IN_FLIGHT.decode())
    fence = holder.answer("its grant")["fence"]
    for point in points:
        assert holder.answer(f"that it will stop {point}") == {}
    holder.wait_until_stopped(points[0])
    return holder, fence


def succeed(fleet: Fleet, fence: int, found: bytes) -> int:
    """The test itself is granted the lease, finds what was there, and commits; returns its fence."""
    with fleet.test.lease(NAME, ttl=30, wait=30) as lease:
        assert lease.fence > fence
        assert lease.read() == found
        lease.commit(AFTER)
        return lease.fence


def expected(point: str, fence: int, successor: int) -> list[tuple[int, str, int]]:
    middle = [("holder", fence)] if point in MADE else []
    return [(i + 1, *one) for i, one in enumerate([("test", 0), *middle, ("test", successor)])]


def test_killed_there_it_is_made_whole_or_not_at_all(fleet: Fleet, point: str) -> None:
    holder, fence = stop_in_commit(fleet, point)
    holder.kill()
    found = IN_FLIGHT if point in MADE else BEFORE

    assert Workspace(fleet.directory, agent="reader").document(NAME).read() == found
    assert fleet.view(NAME) == found  # one read through the library has repaired it

    successor = succeed(fleet, fence, found)

    assert fleet.test.document(NAME).read() == fleet.view(NAME) == AFTER
    assert fleet.revisions(NAME) == expected(point, fence, successor)
    assert [fleet.test.document(NAME).at(1), fleet.test.document(NAME).at(2)] == [
        BEFORE,
        IN_FLIGHT if point in MADE else AFTER,
    ]
    assert fleet.test.document(NAME).conflicts() == []


def test_frozen_there_and_thawed_later_it_overwrites_nothing(fleet: Fleet, point: str) -> None:
    holder, fence = stop_in_commit(fleet, point)
    found = IN_FLIGHT if point in MADE else BEFORE
    successor = succeed(fleet, fence, found)

    holder.go_on()
    told = holder.answer("the outcome of its commit")

    if point in MADE:
        assert (told["revision"], told["fence"]) == (2, fence)
        made = next(record for record in fleet.test.history(NAME) if record.revision == 2)
        assert made.agent == "holder"
        assert fence < made.n < successor  # acknowledged late, and made in time
    else:
        assert told["error"] == "StaleFence", told
        assert (told["reason"], told["successor"], told["successor_fence"]) == ("taken", "test", successor)
        with open(told["kept"], "rb") as kept:
            assert kept.read() == IN_FLIGHT

    reader = Workspace(fleet.directory, agent="reader").document(NAME)
    assert reader.read() == fleet.view(NAME) == AFTER
    assert fleet.revisions(NAME) == expected(point, fence, successor)
    assert reader.conflicts() == []
    for do in ("check", "renew", "leave_block"):
        refused = holder.refusal(do)
        assert (refused["error"], refused["successor_fence"]) == ("StaleFence", successor), refused
    assert fleet.newest(NAME).kind == "release"  # the successor's own: nothing was written after it


def test_frozen_there_and_thawed_under_its_successor_it_disturbs_nothing(fleet: Fleet, point: str) -> None:
    holder, fence = stop_in_commit(fleet, point)
    with fleet.test.lease(NAME, ttl=30, wait=30) as lease:
        holder.go_on()
        told = holder.answer("the outcome of its commit")
        assert told.get("revision") == (2 if point in MADE else None)
        assert told.get("successor_fence") == (None if point in MADE else lease.fence)
        assert holder.refusal("leave_block")["successor_fence"] == lease.fence
        lease.check()
        assert lease.read() == (IN_FLIGHT if point in MADE else BEFORE)
        lease.commit(AFTER)

    assert fleet.test.document(NAME).read() == fleet.view(NAME) == AFTER
    assert fleet.revisions(NAME) == expected(point, fence, lease.fence)
