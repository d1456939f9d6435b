"""The end of an invocation: what is still held is released, and what was appended is synced, whatever fails."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest
from invocation_support import NAME, PLAN, Context, ended, ended_by, log_files, unsynced

from coordinator import LeaseLost, StaleFence, StoreUnavailable, Workspace
from coordinator.document import folding
from coordinator.files import SYSTEM_FILES
from coordinator.limits import MARGIN_MS
from coordinator.log.writer import LogWriter
from coordinator.names import Resource
from coordinator.testing import Call, CrashFiles, FailAt, InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from support import Party

    from coordinator.events import Event


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
