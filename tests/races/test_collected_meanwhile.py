"""P18: a writer stands still while its number, taken by another or by itself, is archived and deleted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .support.fleet import Fleet
    from .support.processes import Process

NAME = "plan.json"


def stop_in_put(fleet: Fleet, *points: str) -> tuple[Process, int]:
    """A writer that has stopped in a commit on revision 1, and the number of the record that it is about.

    Its queue lock is lost, as a frozen client's is on NFS: nobody waits for it.
    """
    fleet.test.document(NAME).commit(b"first", if_revision=0)
    frozen = fleet.start("frozen", queue_lost=True)
    for point in points:
        frozen.ask("pause", point=point, nth=1)
    n = fleet.newest(NAME).n + 1
    frozen.tell("put", name=NAME, text="frozen", on=1)
    frozen.wait_until_stopped(f"{points[0]} of record {n}")
    return frozen, n


def stop_in_renewal(fleet: Fleet, ttl: float) -> tuple[Process, int, int]:
    """A holder that has stopped before it puts a renewal, the number of that record, and its fence."""
    fleet.test.document(NAME).commit(b"first", if_revision=0)
    holder = fleet.start("holder", queue_lost=True)
    holder.tell("acquire", name=NAME, ttl=ttl, wait=0)
    holder.tell("pause", point="before_append", nth=1)
    holder.tell("renew")
    fence = holder.answer("its grant")["fence"]
    holder.answer("that it will stop")
    holder.wait_until_stopped("before it puts its renewal")
    return holder, fleet.newest(NAME).n + 1, fence


def assert_nothing_is_lost(fleet: Fleet, agents: list[str], newest: bytes) -> None:
    """Every revision is there once, by these agents, and the newest is what it should be, wherever it is looked for."""
    assert [(number, agent) for number, agent, _ in fleet.revisions(NAME)] == list(enumerate(agents, 1))
    assert fleet.test.document(NAME).read() == fleet.view(NAME) == newest
    numbers = [record.n for record in fleet.test.history(NAME)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_commit_put_again_under_a_deleted_number_is_refused(fleet: Fleet) -> None:
    frozen, n = stop_in_put(fleet, "before_append")
    fleet.churn(NAME, b"second")
    frozen.go_on()

    told = frozen.answer("the outcome of its commit")

    assert (told["error"], told["expected"], told["current"]) == ("RevisionConflict", 1, 2), told
    assert os.path.lexists(fleet.record_path(NAME, n))  # it was put, and it is no record
    assert_nothing_is_lost(fleet, ["test", "test"], b"second")
    fleet.churn(NAME, b"third", renewals=40)
    assert not os.path.lexists(fleet.record_path(NAME, n))
    assert_nothing_is_lost(fleet, ["test", "test", "test"], b"third")


def test_a_commit_put_again_under_a_deleted_number_is_refused_when_that_is_deleted_once_more(fleet: Fleet) -> None:
    frozen, n = stop_in_put(fleet, "before_append", "after_append")
    fleet.churn(NAME, b"second")
    frozen.go_on()
    frozen.wait_until_stopped("after it has put the number again")
    assert os.path.lexists(fleet.record_path(NAME, n))
    fleet.churn(NAME, b"third", renewals=40)
    assert not os.path.lexists(fleet.record_path(NAME, n))
    frozen.go_on()

    told = frozen.answer("the outcome of its commit")

    assert (told["error"], told["expected"], told["current"]) == ("RevisionConflict", 1, 3), told
    assert frozen.ask("put", name=NAME, text="fourth", on=3)["revision"] == 4
    assert_nothing_is_lost(fleet, ["test", "test", "test", "frozen"], b"fourth")


def test_a_renewal_put_under_a_deleted_number_is_made_anew_while_the_lease_stands(fleet: Fleet) -> None:
    holder, n, fence = stop_in_renewal(fleet, ttl=60)
    for _ in range(60):
        fleet.test.request_release(NAME, grace=0)  # two records each: into the line, and out of it
    fleet.collect_past(NAME, n)
    before = fleet.newest(NAME).n
    holder.go_on()

    assert holder.answer("that it is renewed") == {}

    assert os.path.lexists(fleet.record_path(NAME, n))
    renewal = fleet.newest(NAME)
    assert (renewal.kind, renewal.agent, renewal.n) == ("renew", "holder", before + 1)
    assert renewal.lease is not None
    assert renewal.lease.fence == fence
    assert holder.ask("commit", text="still mine")["revision"] == 2
    holder.ask("release")
    assert_nothing_is_lost(fleet, ["test", "holder"], b"still mine")


def test_a_renewal_put_under_a_deleted_number_does_not_outlive_a_successor(fleet: Fleet) -> None:
    holder, n, fence = stop_in_renewal(fleet, ttl=0.5)
    fleet.churn(NAME, b"the successor's")
    successor = next(record.n for record in fleet.test.history(NAME) if record.kind == "grant" and record.n > fence)
    holder.go_on()

    told = holder.answer("the outcome of its renewal")

    assert (told["error"], told["successor"], told["successor_fence"]) == ("StaleFence", "test", successor)
    assert os.path.lexists(fleet.record_path(NAME, n))
    refused = holder.refusal("commit", text="too late")
    assert refused["error"] == "StaleFence"
    with open(refused["kept"], "rb") as kept:
        assert kept.read() == b"too late"
    assert_nothing_is_lost(fleet, ["test", "test"], b"the successor's")


def test_a_commit_that_was_made_and_collected_meanwhile_is_acknowledged_by_the_archive(fleet: Fleet) -> None:
    frozen, n = stop_in_put(fleet, "after_append")
    fleet.churn(NAME, b"third")
    frozen.go_on()

    told = frozen.answer("the outcome of its commit")

    assert told == {"revision": 2, "fence": 0, "view": "fresh"}
    assert not os.path.lexists(fleet.record_path(NAME, n))
    assert_nothing_is_lost(fleet, ["test", "frozen", "test"], b"third")


@pytest.mark.parametrize("point", ["before_append", "after_append"])
def test_without_the_archive_the_outcome_is_told_to_be_unknown(fleet: Fleet, point: str) -> None:
    frozen, _ = stop_in_put(fleet, point)
    fleet.churn(NAME, b"another's")
    archive = fleet.place(NAME, "history")
    for name in os.listdir(archive):
        os.unlink(f"{archive}/{name}")
    frozen.go_on()

    told = frozen.answer("the outcome of its commit")

    assert (told["error"], told["outcome_unknown"]) == ("StoreUnavailable", True)
    assert fleet.test.document(NAME).read() == b"another's"
