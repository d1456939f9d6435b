"""A process stops, or dies, in the append of a grant or a release, with the queue lock, or just with a lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from coordinator.limits import MOUNT_SKEW_MS, QUEUE_WAIT_MAX_MS, WATCHED_PERCENT

if TYPE_CHECKING:
    from coordinator.record.record import Record

    from .support.fleet import Fleet
    from .support.processes import Process

NAME = "tasks.json"
TTL_S = 0.4
APPENDS = pytest.mark.parametrize("point", ["before_append", "after_append"])


def stop_in_grant(fleet: Fleet, point: str) -> Process:
    holder = fleet.start("holder")
    holder.ask("pause", point=point, nth=1)
    holder.tell("acquire", name=NAME, ttl=TTL_S, wait=0)
    holder.wait_until_stopped(f"{point} of its grant")
    return holder


def stop_in_release(fleet: Fleet, point: str) -> tuple[Process, int]:
    holder = fleet.start("holder")
    holder.tell("acquire", name=NAME, ttl=TTL_S, wait=0)
    holder.tell("commit", text="the holder's")
    holder.tell("pause", point=point, nth=1)
    holder.tell("leave_block")
    fence = holder.answer("its grant")["fence"]
    assert holder.answer("its receipt")["revision"] == 1
    holder.answer("that it will stop")
    holder.wait_until_stopped(f"{point} of its release")
    return holder, fence


def succeed(fleet: Fleet, text: bytes) -> int:
    with fleet.test.lease(NAME, ttl=30, wait=30) as lease:
        lease.commit(text)
        return lease.fence


def grants(fleet: Fleet) -> list[Record]:
    return [record for record in fleet.test.history(NAME) if record.kind == "grant"]


# ── the grant ────────────────────────────────────────────────────────────────────────────────────────────────────────


@APPENDS
def test_killed_in_its_grant_it_holds_up_nobody_longer_than_its_ttl(fleet: Fleet, point: str) -> None:
    stop_in_grant(fleet, point).kill()
    made = point == "after_append"

    assert fleet.test.status_of(NAME).state == ("held" if made else "free")
    fence = succeed(fleet, b"the successor's")

    assert [record.agent for record in grants(fleet)] == (["holder", "test"] if made else ["test"])
    assert grants(fleet)[-1].n == fence
    assert fleet.test.document(NAME).read() == b"the successor's"


def test_frozen_before_its_grant_it_is_granted_anew_above_its_successor(fleet: Fleet) -> None:
    holder = stop_in_grant(fleet, "before_append")
    successor = succeed(fleet, b"the successor's")
    holder.go_on()

    fence = holder.answer("its grant")["fence"]

    assert fence > successor
    assert [(record.agent, record.n) for record in grants(fleet)] == [("test", successor), ("holder", fence)]


def test_a_lease_that_is_granted_after_a_freeze_is_handed_out_with_time_left(fleet: Fleet) -> None:
    holder = stop_in_grant(fleet, "before_append")
    succeed(fleet, b"the successor's")
    holder.go_on()

    holder.answer("its grant")

    assert holder.ask("commit", text="built on it")["revision"] == 2


def test_a_lease_whose_grant_waited_for_a_frozen_ones_turn_is_handed_out_with_time_left(fleet: Fleet) -> None:
    stop_in_grant(fleet, "before_append")
    assert not fleet.queue_is_free(NAME)

    lease = fleet.test.lease(NAME, ttl=QUEUE_WAIT_MAX_MS / 1000, wait=0)  # the ttl is no longer than the bounded wait

    lease.check()


def test_frozen_before_its_grant_it_is_refused_while_its_successor_holds_it(fleet: Fleet) -> None:
    holder = stop_in_grant(fleet, "before_append")
    with fleet.test.lease(NAME, ttl=30, wait=30) as lease:
        holder.go_on()
        refused = holder.answer("its refusal")
        lease.check()

        assert (refused["error"], refused["holder"], refused["fence"]) == ("LeaseHeld", "test", lease.fence)


def test_frozen_after_its_grant_it_learns_that_the_lease_is_a_successors(fleet: Fleet) -> None:
    holder = stop_in_grant(fleet, "after_append")
    successor = succeed(fleet, b"the successor's")
    holder.go_on()

    assert holder.answer("its late grant")["fence"] == 1

    refused = holder.refusal("commit", text="too late")
    assert (refused["error"], refused["successor"], refused["successor_fence"]) == ("StaleFence", "test", successor)
    with open(refused["kept"], "rb") as kept:
        assert kept.read() == b"too late"
    assert holder.refusal("check")["error"] == "StaleFence"
    assert fleet.test.document(NAME).read() == fleet.view(NAME) == b"the successor's"


def test_a_holder_whose_grant_took_long_does_not_write_of_times_to_come(fleet: Fleet) -> None:
    holder = fleet.start("holder")
    holder.ask("pause_before", op="try_lock", contains="queue.lock")
    holder.tell("acquire", name=NAME, ttl=60, wait=0)
    holder.wait_until_stopped("before it queues for its grant")
    began_ms = fleet.test.status_of(NAME).now_ms
    while fleet.test.status_of(NAME).now_ms < began_ms + 300:  # by the store's clock; nothing else moves here
        pass
    holder.go_on()
    holder.answer("its grant")

    holder.ask("commit", text="the holder's")
    holder.ask("release")

    assert fleet.newest(NAME).kind == "release"
    assert fleet.newest(NAME).at_ms <= fleet.test.status_of(NAME).now_ms + 20  # a tick of the file system's clock


# ── the release ──────────────────────────────────────────────────────────────────────────────────────────────────────


@APPENDS
def test_killed_in_its_release_it_has_let_go_or_is_followed_after_its_ttl(fleet: Fleet, point: str) -> None:
    holder, fence = stop_in_release(fleet, point)
    holder.kill()

    with fleet.test.lease(NAME, ttl=30, wait=0 if point == "after_append" else 30) as lease:
        assert lease.fence > fence
        assert lease.read() == b"the holder's"


def test_frozen_before_its_release_it_is_told_that_it_was_not_alone_to_the_end(fleet: Fleet) -> None:
    holder, _ = stop_in_release(fleet, "before_append")
    successor = succeed(fleet, b"the successor's")
    before = fleet.newest(NAME)
    holder.go_on()

    refused = holder.answer("the end of its block")

    assert (refused["error"], refused["successor"], refused["successor_fence"]) == ("StaleFence", "test", successor)
    assert fleet.newest(NAME) == before


def test_frozen_before_its_release_it_does_not_release_its_successors_lease(fleet: Fleet) -> None:
    holder, _ = stop_in_release(fleet, "before_append")
    with fleet.test.lease(NAME, ttl=30, wait=30) as lease:
        holder.go_on()
        assert holder.answer("the end of its block")["successor_fence"] == lease.fence
        lease.check()
        assert fleet.test.status_of(NAME).holder == "test"


def test_frozen_after_its_release_it_has_ended_well(fleet: Fleet) -> None:
    holder, _ = stop_in_release(fleet, "after_append")
    succeed(fleet, b"the successor's")
    holder.go_on()

    assert holder.answer("the end of its block") == {}
    assert fleet.test.document(NAME).read() == b"the successor's"


# ── the queue ────────────────────────────────────────────────────────────────────────────────────────────────────────


@APPENDS
def test_one_frozen_with_the_queue_lock_holds_up_others_for_a_bounded_time_only(fleet: Fleet, point: str) -> None:
    fleet.test.document(NAME).commit(b"first", if_revision=0)
    frozen = fleet.start("frozen")
    frozen.ask("pause", point=point, nth=1)
    frozen.tell("put", name=NAME, text="second", on=1)
    frozen.wait_until_stopped(f"{point} with the queue lock")
    assert not fleet.queue_is_free(NAME)
    made = point == "after_append"

    began = time.monotonic()
    receipt = fleet.test.document(NAME).commit(b"another", if_revision=2 if made else 1)
    waited_ms = (time.monotonic() - began) * 1000

    assert receipt.revision == (3 if made else 2)
    assert QUEUE_WAIT_MAX_MS * 0.9 < waited_ms < 15_000
    assert not fleet.queue_is_free(NAME)  # it still has it: nobody waited for it to let go

    frozen.go_on()
    told = frozen.answer("the outcome of its commit")
    if made:
        assert told["revision"] == 2
    else:
        assert (told["error"], told["expected"], told["current"]) == ("RevisionConflict", 1, 2)
    assert fleet.queue_is_free(NAME)
    assert fleet.test.document(NAME).read() == fleet.view(NAME) == b"another"


def test_one_killed_with_the_queue_lock_holds_up_nobody(fleet: Fleet) -> None:
    frozen = stop_in_grant(fleet, "before_append")
    assert not fleet.queue_is_free(NAME)
    frozen.kill()

    assert fleet.queue_is_free(NAME)


# ── the holder ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("waits", [True, False], ids=["waiting in line", "coming later"])
def test_a_killed_holder_is_followed_after_its_ttl_and_not_before(fleet: Fleet, waits: bool) -> None:
    holder, successor = fleet.start("holder", shared=True), fleet.start("successor", shared=True)
    holder.ask("acquire", name=NAME, ttl=TTL_S, wait=0)
    if waits:
        successor.ask("pause", point="after_append", nth=1)
        successor.tell("acquire", name=NAME, ttl=30, wait=None)
        successor.wait_until_stopped("after it has entered the line")
        successor.go_on()
    holder.kill()
    if not waits:
        successor.tell("acquire", name=NAME, ttl=30, wait=None)

    assert successor.answer("its grant")["fence"] > 1
    successor.ask("check")

    first, second = grants(fleet)
    assert first.lease is not None
    after_ms = second.at_ms - first.lease.renewed_ms  # by the store's clock
    ttl_ms = TTL_S * 1000
    assert second.why in {"expired", "silent"}
    assert ttl_ms < after_ms <= ttl_ms * WATCHED_PERCENT / 100 + MOUNT_SKEW_MS + 5000


@pytest.mark.parametrize("waits", [True, False], ids=["waiting in line", "coming later"])
def test_on_a_disk_of_one_host_a_killed_holder_is_followed_at_once(fleet: Fleet, waits: bool) -> None:
    """Its death is seen by its sign of life (life.py), long before its ttl."""
    holder, successor = fleet.start("holder"), fleet.start("successor")
    holder.ask("acquire", name=NAME, ttl=3600, wait=0)
    if waits:
        successor.ask("pause", point="after_append", nth=1)
        successor.tell("acquire", name=NAME, ttl=30, wait=None)
        successor.wait_until_stopped("after it has entered the line")
        successor.go_on()
    holder.kill()
    if not waits:
        successor.tell("acquire", name=NAME, ttl=30, wait=0)
    assert successor.answer("its grant")["fence"] > 1
    assert fleet.newest(NAME).why == "gone"


def test_a_frozen_holder_is_not_taken_for_a_dead_one(fleet: Fleet) -> None:
    holder, successor = fleet.start("holder"), fleet.start("successor")
    holder.ask("acquire", name=NAME, ttl=3600, wait=0)
    holder.ask("pause_before", op="listdir", contains=NAME)
    holder.tell("check")
    holder.wait_until_stopped("in its check")
    assert successor.refusal("acquire", name=NAME, ttl=30, wait=0.2)["error"] == "LeaseHeld"
    holder.go_on()
    holder.answer("that it still holds it")
    assert successor.refusal("acquire", name=NAME, ttl=30, wait=0)["error"] == "LeaseHeld"


def test_a_detached_lease_outlives_its_process(fleet: Fleet) -> None:
    holder, successor = fleet.start("holder"), fleet.start("successor")
    holder.ask("acquire", name=NAME, ttl=3600, wait=0)
    holder.ask("detach")
    holder.kill()
    assert successor.refusal("acquire", name=NAME, ttl=30, wait=0.2)["error"] == "LeaseHeld"
