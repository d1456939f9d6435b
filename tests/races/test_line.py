"""Those who wait are granted the lease in the order in which they came (P12)."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

from coordinator.limits import TURN_MS

if TYPE_CHECKING:
    from .support.fleet import Fleet
    from .support.processes import Process

NAME = "deploy/prod"


def enter_line(fleet: Fleet, waiter: Process, place: int) -> None:
    waiter.ask("pause", point="after_append", nth=1)  # its first record is the one with which it enters the line
    waiter.tell("acquire", name=NAME, ttl=30, wait=None)
    waiter.wait_until_stopped("after it has entered the line")
    assert fleet.test.status_of(NAME).waiting == place
    waiter.go_on()


def slowest_turn_ms(fleet: Fleet) -> int:
    """The longest that the lease was left free before it was granted again."""
    records = fleet.test.history(NAME)
    return max(later.at_ms - before.at_ms for before, later in pairwise(records) if before.kind == "release")


def test_three_that_wait_are_granted_it_in_the_order_in_which_they_came(fleet: Fleet) -> None:
    waiters = [fleet.start(f"waiter-{i}") for i in range(3)]
    lease = fleet.test.lease(NAME, ttl=60)
    for i, waiter in enumerate(waiters):
        enter_line(fleet, waiter, i + 1)
    assert [record.agent for record in fleet.test.history(NAME)][1:] == ["waiter-0", "waiter-1", "waiter-2"]

    lease.check()
    assert lease.wanted
    lease.release()
    for waiter in waiters:
        waiter.answer(f"{waiter.name}'s grant")
        waiter.ask("check")
        waiter.ask("release")

    granted = [record.agent for record in fleet.test.history(NAME) if record.kind == "grant"]
    # One who is not scheduled for a whole turn is passed over: then the machine stood still, and not the line.
    assert granted == ["test", "waiter-0", "waiter-1", "waiter-2"] or slowest_turn_ms(fleet) >= TURN_MS / 2, granted


def test_one_who_comes_while_others_wait_does_not_jump_the_line(fleet: Fleet) -> None:
    waiter = fleet.start("waiter")
    with fleet.test.lease(NAME, ttl=60):
        waiter.ask("pause", point="after_append", nth=1)
        waiter.tell("acquire", name=NAME, ttl=30, wait=None)
        waiter.wait_until_stopped("after it has entered the line")

    jumped = fleet.test.try_lease(NAME, ttl=30)  # free, and the one in line stands still

    freed, newest = next(record for record in fleet.test.history(NAME) if record.kind == "release"), fleet.newest(NAME)
    assert jumped is None or newest.at_ms - freed.at_ms >= TURN_MS / 2
    if jumped:
        jumped.release()
    waiter.go_on()
    waiter.answer("its grant")


def test_one_killed_in_line_costs_those_behind_it_one_turn(fleet: Fleet) -> None:
    first, second = fleet.start("first"), fleet.start("second")
    lease = fleet.test.lease(NAME, ttl=60)
    enter_line(fleet, first, 1)
    enter_line(fleet, second, 2)
    first.kill()
    began = time.monotonic()
    lease.release()

    second.answer("its grant")

    waited_ms = (time.monotonic() - began) * 1000
    freed, granted = fleet.test.history(NAME)[-2:]
    assert (freed.kind, granted.kind, granted.agent) == ("release", "grant", "second")
    assert TURN_MS / 2 < waited_ms < TURN_MS + 5000  # when exactly it was freed is only known about
    assert granted.waiting == ()
