"""Several leases at once: all or none, on the mount one after the other, in the table as one transaction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from support import table_named, together

from coordinator import AcquireCancelled, BadValue, LeaseHeld, StoreUnavailable, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Opener = Callable[[str], Workspace]


@pytest.fixture(params=["mount", "table"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one workspace as any agent."""
    if request.param == "mount":
        Workspace.init(tmp_path, agent="founder")
        return lambda agent: Workspace(tmp_path, agent=agent)
    engine = request.getfixturevalue("dynamodb")
    table = table_named(engine)
    Workspace.init(table=table, workspace="fleet", agent="founder")
    return lambda agent: Workspace(table=table, workspace="fleet", agent=agent)


def test_all_are_held_and_all_are_released(opened: Opener) -> None:
    alice, bob = opened("alice"), opened("bob")
    with alice.lease_many(["c", "a", "b", "a"]) as held:
        assert [lease.resource for lease in held] == ["a", "b", "c"]
        assert len(held) == 3
        held.check()
        assert held["b"].fence == 1
        for name in "abc":
            with pytest.raises(LeaseHeld, match="held by alice"):
                bob.lease(name)
    with bob.lease_many(["a", "b", "c"]) as held:
        assert [lease.fence for lease in held] == [3, 3, 3]


def test_one_that_is_held_keeps_all_from_being_had(opened: Opener) -> None:
    alice, bob = opened("alice"), opened("bob")
    with alice.lease("b"), pytest.raises(LeaseHeld, match="'b' is held by alice"):
        bob.lease_many(["a", "b", "c"])
    for name in "abc":
        alice.lease(name).release()  # nobody holds any of them


def test_waiting_until_all_are_free(opened: Opener) -> None:
    alice, bob = opened("alice"), opened("bob")
    held = alice.lease("b", ttl=20)
    timer = threading.Timer(0.3, held.release)
    timer.start()
    with bob.lease_many(["a", "b"], ttl=20, wait=20) as both:
        assert len(both) == 2
    timer.join()


def test_two_who_want_the_same_ones_in_another_order_never_wait_for_each_other(opened: Opener) -> None:
    names, rounds = ["a", "b", "c"], 6

    def run(agent: str, wanted: list[str]) -> int:
        workspace = opened(agent)
        for _ in range(rounds):
            with workspace.lease_many(wanted, ttl=10, wait=60) as held:
                held.check()
        return rounds

    done = together(lambda: run("alice", names), lambda: run("bob", names[::-1]), timeout_seconds=100)
    assert done == [rounds, rounds]


def test_a_body_that_fails_releases_all_and_is_not_hidden(opened: Opener) -> None:
    alice = opened("alice")
    with pytest.raises(ZeroDivisionError), alice.lease_many(["a", "b"]):
        raise ZeroDivisionError
    alice.lease_many(["a", "b"]).release()


def test_cancelled(opened: Opener) -> None:
    alice, bob, cancel = opened("alice"), opened("bob"), threading.Event()
    cancel.set()
    with alice.lease("a"), pytest.raises(AcquireCancelled):
        bob.lease_many(["a", "b"], wait=30, cancel=cancel)


@pytest.mark.parametrize("names", [[], [f"n{i}" for i in range(26)]])
def test_none_or_too_many(opened: Opener, names: list[str]) -> None:
    with pytest.raises(BadValue, match="1 to 25"):
        opened("alice").lease_many(names)


def test_a_release_that_fails_does_not_keep_the_others(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = opened("alice"), opened("bob")
    held = alice.lease_many(["a", "b", "c"])

    def fail() -> None:
        raise StoreUnavailable("no answer", resource="b", cause="EIO", outcome_unknown=True)

    monkeypatch.setattr(held["b"], "release", fail)
    with pytest.raises(StoreUnavailable):
        held.release()
    bob.lease_many(["a", "c"]).release()
