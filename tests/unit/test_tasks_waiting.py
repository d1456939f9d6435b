"""A task board with nothing to claim, or with a lease in the way: who waits, for what, and at which cost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import in_thread
from tasks_support import board_of_three, claim, opened_as, status_of  # noqa: F401 - fixtures

from coordinator import LeaseHeld, StoreUnavailable, TaskBoard, Workspace
from coordinator.document.compactor import Folded
from coordinator.files import SYSTEM_FILES
from coordinator.tasks import NoTask, idle
from coordinator.testing import Call, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable


# ── nothing to claim ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_task_is_false_and_can_stand_in_a_with(board: TaskBoard) -> None:
    board.claim_next(count=3, ttl=60)
    none = board.claim_next()
    assert isinstance(none, NoTask)
    assert not none
    assert none.next_ms == min(told["until_ms"] for told in board.list()) + 1
    with none as task:
        assert task is None
    with pytest.raises(AttributeError, match="ask `if task:`"):
        none.complete()


def test_a_claim_in_vain_writes_nothing(workspace: Workspace, open_as: Callable[..., TaskBoard]) -> None:
    board = open_as("ann")
    board.add({"id": "a", "needs": ["gpu"]})
    before = workspace.document("tasks.json").revision
    assert not board.claim_next(needs=[])
    assert not open_as("other").claim_next(needs=["cpu"], wait=0.1)
    assert workspace.document("tasks.json").revision == before


def test_a_claim_on_an_idle_board_waits_without_hammering(board: TaskBoard, open_as: Callable[..., TaskBoard]) -> None:
    calls: list[Call] = []
    board.claim_next(count=3, ttl=60)
    waiting = open_as("waiting", files=InterceptedFiles(SYSTEM_FILES, calls.append))
    assert not waiting.claim_next()
    calls.clear()
    assert not waiting.claim_next(wait=1.5)
    assert not [call for call in calls if call.op in {"write", "sync", "create", "symlink", "rename", "sync_dir"}]
    assert sum(call.when == "before" for call in calls) < 250


def test_that_test_sees_a_claim_that_hammers(
    board: TaskBoard, open_as: Callable[..., TaskBoard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle.Idle, "may_claim", lambda _self: True)
    with pytest.raises(AssertionError):
        test_a_claim_on_an_idle_board_waits_without_hammering(board, open_as)


def test_a_claim_that_waits_is_given_what_is_added(open_as: Callable[..., TaskBoard], board: TaskBoard) -> None:
    board.claim_next(count=3, ttl=60)
    waiting = open_as("waiting")
    with in_thread(lambda: waiting.claim_next(wait=None)) as outcome:
        assert not outcome
        board.add({"id": "new"})
    assert outcome[0].id == "new"


def test_a_crowd_that_waits_shares_out_what_is_added(open_as: Callable[..., TaskBoard], board: TaskBoard) -> None:
    board.claim_next(count=3, ttl=60)
    crowd = [open_as(f"w{i}") for i in range(6)]
    got: list[Any] = []

    def work(one: TaskBoard) -> None:
        got.append(one.claim_next(wait=30))

    threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in crowd]
    for thread in threads:
        thread.start()
    for i in range(6):
        board.add({"id": f"n{i}"})
    for thread in threads:
        thread.join(60)
    assert sorted(task.id for task in got) == [f"n{i}" for i in range(6)]


def test_what_is_added_right_after_a_claim_in_vain_in_the_same_fold(
    open_as: Callable[..., TaskBoard], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = open_as("ann")
    board.add([{"id": "a"}, {"id": "b"}])
    assert claim(board).id == "a", "one is left, so the next claim asks without looking"
    add = {"do": "task.add", "board": board.spec, "tasks": [{"id": "c", "kind": "x"}]}
    document, perform = board._access.document, board._access.document.perform

    def claim_and_add(operations: list[Any], **how: Any) -> list[Any]:
        monkeypatch.setattr(document, "perform", perform)
        receipts = perform([*operations, add], **how)
        assert receipts[0].revision == receipts[1].revision
        assert receipts[0].result["tasks"] == []
        return receipts[:1]

    monkeypatch.setattr(document, "perform", claim_and_add)
    assert claim(board, where={"kind": "x"}, wait=10).id == "c"


def test_waiting_ends_when_it_is_cancelled(board: TaskBoard) -> None:
    board.claim_next(count=3, ttl=60)
    cancel = threading.Event()
    with in_thread(lambda: board.claim_next(wait=None, cancel=cancel)) as outcome:
        cancel.set()
    assert isinstance(outcome[0], NoTask)


def test_what_a_dead_writer_left_in_its_log_is_found(workspace: Workspace, open_as: Callable[..., TaskBoard]) -> None:
    """It was durable, and its writer died before anybody folded it: nobody else would write either."""
    board = open_as("ann")
    board.add({"id": "a", "needs": ["nobody"]})
    op = {"do": "task.add", "board": board.spec, "tasks": [{"id": "left"}]}
    assert workspace.document("tasks.json").perform([op], wait=0)[0].state == "durable"
    assert claim(board, needs=[]).id == "left"


# ── a lease in the way ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_waits_for_a_lease_to_end(workspace: Workspace, board: TaskBoard) -> None:
    lease = workspace.lease("tasks.json", ttl=60)
    with in_thread(board.claim_next) as outcome:
        assert not outcome
        lease.release()
    assert outcome[0].id == "a"


def test_a_lease_that_does_not_end(
    workspace: Workspace, board: TaskBoard, open_as: Callable[..., TaskBoard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "UPDATE_WAIT_DEFAULT_MS", 100)
    monkeypatch.setattr("coordinator.tasks.board.WAIT_DEFAULT", 0.1)
    task = claim(board)
    with workspace.lease("tasks.json", ttl=60) as lease:
        for other in (board, open_as("other")):  # the one asks at once, the other looks first
            with pytest.raises(LeaseHeld) as caught:
                other.claim_next()
            assert (caught.value.holder, caught.value.fence) == ("alice", lease.fence)
        with pytest.raises(LeaseHeld) as caught:
            board.add({"id": "later"}, op_id="add-later", wait=0.1)
        assert caught.value.op_id == "add-later"  # type: ignore[attr-defined]
        assert task.complete("soon", wait=0.1).state == "durable"
    assert board.add({"id": "later"}, op_id="add-later") == ["later"]
    assert status_of(board, "a") == "done"


def test_nothing_that_is_decided_in_time(board: TaskBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.document.compactor.Compactor.fold_once", lambda *_, **__: Folded())
    with pytest.raises(StoreUnavailable) as caught:
        board.add({"id": "later"}, wait=0.05)
    assert caught.value.outcome_unknown
    op_id = caught.value.op_id
    monkeypatch.undo()
    assert board.add({"id": "later"}, op_id=op_id) == ["later"]
