"""The task board, as a worker in this process sees it. With other processes: test_tasks_processes.py."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest
from support import wait_until
from tasks_support import board_of_three, claim, opened_as, status_of  # noqa: F401 - fixtures

from coordinator import ClaimLost, Event, OperationRejected, TaskBoard

if TYPE_CHECKING:
    from collections.abc import Callable


# ── the way of a task ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_way_of_a_task(board: TaskBoard) -> None:
    task = claim(board, ttl=60)
    assert (task.id, task.attempt, task.task["title"], task.task["status"]) == ("a", 1, "A", "in-progress")
    assert 0 < task.remaining <= 60
    found = board.get("a")
    assert found is not None
    assert (found["holder"], found["epoch"], found["until_ms"]) == ("ann", task.epoch, task.until_ms)
    assert claim(board).id == "b"
    receipt = task.complete({"ok": True})
    assert (receipt.state, receipt.result["status"]) == ("applied", "done")
    assert task.is_over
    assert task.remaining == 0
    done = board.get("a")
    assert done is not None
    assert (done["status"], done["by"], done["result"]) == ("done", "ann", {"ok": True})
    assert board.stats()["by_status"] == {"done": 1, "in-progress": 1, "pending": 1}


def test_what_is_added_is_given_ids_and_can_be_one_task(board: TaskBoard) -> None:
    ids = board.add([{"title": "x"}, {"title": "y"}])
    assert len(set(ids)) == 2
    assert board.add({"id": 7, "title": "z"}) == ["7"]
    assert [told["title"] for told in board.list()][3:] == ["x", "y", "z"]


def test_an_addition_is_all_or_nothing(board: TaskBoard) -> None:
    with pytest.raises(OperationRejected) as caught:
        board.add([{"id": "new"}, {"id": "a"}])
    assert caught.value.why == "duplicate"
    with pytest.raises(OperationRejected, match="nowhere"):
        board.add([{"id": "new"}, {"id": "x", "dependencies": ["nowhere"]}])
    with pytest.raises(OperationRejected) as caught:
        board.add([{"id": "x", "dependencies": ["y"]}, {"id": "y", "dependencies": ["x"]}])
    assert caught.value.why == "cycle"
    assert len(board.list()) == 3


def test_dependencies_priorities_and_needs(open_as: Callable[..., TaskBoard]) -> None:
    board = open_as("ann")
    board.add(
        [
            {"id": "last", "dependencies": ["first", "able"]},
            {"id": "low", "priority": "low"},
            {"id": "able", "needs": ["python", "gpu"]},
            {"id": "first", "priority": "high"},
        ]
    )
    assert [told["blocked_by"] for told in board.list()] == [["first", "able"], [], [], []]
    assert claim(board, needs=["python"]).id == "first"
    assert claim(board, needs={"python"}).id == "low"
    assert not board.claim_next(needs={"python"})
    able = claim(board, needs=["python", "gpu", "more"])
    assert able.id == "able"
    able.complete()
    assert not board.claim_next()
    board.complete("first", 1)
    assert claim(board).id == "last"


def test_where_ids_and_count(open_as: Callable[..., TaskBoard]) -> None:
    board = open_as("ann")
    board.add([{"id": str(i), "kind": "odd" if i % 2 else "even", "tags": ["x", str(i)]} for i in range(10)])
    assert claim(board, where={"kind": "odd"}).id == "1"
    assert claim(board, where={"tags": ["7", "8"]}).id == "7"
    assert [task.id for task in board.claim_next(ids=["9", 8, "1"], count=5)] == ["8", "9"]
    assert [task.id for task in board.claim_next(count=3)] == ["0", "2", "3"]
    assert board.claim_next(where={"kind": "none"}, count=3) == []
    assert [told["id"] for told in board.list(where={"kind": "even"}, status="pending")] == ["4", "6"]
    assert {told["id"] for told in board.list(status=["in-progress", "done"])} == set("1789023")
    assert len(board.list(holder="ann")) == 7
    assert board.list(holder="nobody") == []


def test_a_failed_task_is_tried_again_after_a_pause(board: TaskBoard) -> None:
    task = claim(board)
    receipt = task.fail("no network", delay=0.3)
    assert receipt.result["status"] == "pending"
    assert not board.claim_next(ids=["a"])
    again = claim(board, ids=["a"], wait=10)
    assert (again.attempt, again.epoch > task.epoch) == (2, True)
    again.fail("no network either", delay=0)
    third = claim(board, ids=["a"])
    assert third.fail("never").result["status"] == "failed"
    failed = board.get("a")
    assert failed is not None
    assert (failed["status"], failed["error"], failed["attempts"]) == ("failed", "never", 3)
    assert claim(board).fail("x" * 10_000, retryable=False).result["status"] == "failed"
    assert len(board.list(status="failed")[1]["error"]) == 8192


def test_release_does_not_count_as_an_attempt(board: TaskBoard) -> None:
    claim(board).release()
    assert (claim(board).id, claim(board).id) == ("a", "b")
    assert board.list()[0]["attempts"] == 1


def test_cancel_ends_a_claim(board: TaskBoard) -> None:
    task = claim(board)
    receipt = board.cancel("a", "not wanted")
    assert receipt.result == {"id": "a", "status": "cancelled", "holder": "ann"}
    with pytest.raises(ClaimLost) as caught:
        task.heartbeat()
    assert (caught.value.task_id, caught.value.fence, caught.value.resource) == ("a", task.epoch, "tasks.json")
    assert task.lost is caught.value
    with pytest.raises(OperationRejected, match="there is no task"):
        board.cancel("zzz")


def test_what_is_said_of_an_unknown_claim(board: TaskBoard) -> None:
    calls: list[Callable[[], object]] = [
        lambda: board.complete("zzz", 1),
        lambda: board.heartbeat("a", 99),
        lambda: board.fail("zzz", 1, "e"),
        lambda: board.release("a", 99),
    ]
    for say in calls:
        with pytest.raises(OperationRejected) as caught:
            say()
        assert caught.value.why == "unknown"


# ── a claim that was lost ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_completion_is_refused_and_kept(open_as: Callable[..., TaskBoard], board: TaskBoard) -> None:
    events: list[Event] = []
    slow = open_as("slow", on_event=events.append)
    late = claim(slow, ttl=0.1)
    winner = claim(board, ids=[late.id], wait=10)
    with pytest.raises(ClaimLost) as caught:
        late.complete({"late": 1})
    error = caught.value
    assert (error.successor, error.successor_fence, error.fence) == ("ann", winner.epoch, late.epoch)
    assert error.kept
    assert "late_results" in str(error)
    assert late.lost is error
    assert [event.kind for event in events if event.kind == "lost"] == ["lost"]
    winner.complete({"won": 1})
    told = board.get(late.id)
    assert told is not None
    assert told["result"] == {"won": 1}
    kept = [(one["epoch"], one["agent"], one["result"]) for one in told["late_results"]]
    assert kept == [(late.epoch, "slow", {"late": 1})]


def test_a_late_completion_without_a_result_says_that_nothing_is_kept(board: TaskBoard) -> None:
    late = claim(board, ttl=0.1)
    claim(board, ids=["a"], wait=10)
    with pytest.raises(ClaimLost, match="nothing of it is kept") as caught:
        late.complete()
    assert caught.value.kept == ""


def test_a_claim_that_nobody_else_took_can_still_be_completed(board: TaskBoard) -> None:
    late = claim(board, ttl=0.1)
    wait_until(lambda: late.remaining == 0)
    board.add({"id": "tick"})  # any operation lets it go
    late.complete()
    assert status_of(board, "a") == "done"


def test_a_heartbeat_extends_a_claim(board: TaskBoard) -> None:
    task = claim(board, ttl=0.3)
    until_ms = task.until_ms
    task.heartbeat(ttl=60)
    assert task.until_ms > until_ms + 30_000
    assert task.remaining > 30
    task.heartbeat()
    assert task.remaining > 30, "a shorter one takes nothing away"
    assert not board.claim_next(ids=["a"], wait=0.5)


def test_heartbeats_in_the_background(open_as: Callable[..., TaskBoard], board: TaskBoard) -> None:
    lost: list[ClaimLost] = []
    task = claim(board, ttl=0.3, renew_in_background=True, on_lost=lost.append)
    other = open_as("other")
    assert not other.claim_next(ids=["a"], wait=1)
    assert not lost
    other.cancel("a")
    wait_until(lambda: bool(lost))
    assert task.lost is lost[0]
    assert task.is_over


def test_heartbeats_end_with_the_task_and_with_the_last_reference(board: TaskBoard) -> None:
    def beating() -> int:
        return sum(thread.name.startswith("heartbeats") for thread in threading.enumerate())

    task = claim(board, ttl=0.3, renew_in_background=True)
    forgotten = claim(board, ttl=0.3, renew_in_background=True)
    assert beating() == 2
    task.complete()
    del forgotten
    gc.collect()
    wait_until(lambda: beating() == 0)
    assert task.lost is None
    assert claim(board, ids=["b"], wait=10).attempt == 2


# ── with ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_with_completes(board: TaskBoard) -> None:
    with board.claim_next() as task:
        assert task is not None
    assert status_of(board, "a") == "done"
    with board.claim_next() as task:
        assert task is not None
        task.complete({"n": 1})
    assert [told["result"] for told in board.list()] == [None, {"n": 1}, None]


def test_with_fails_on_an_exception_and_never_swallows_it(board: TaskBoard) -> None:
    with pytest.raises(ZeroDivisionError), board.claim_next():
        1 / 0  # noqa: B018 - that is the scenario
    told = board.get("a")
    assert told is not None
    assert (told["status"], told["error"]) == ("pending", "ZeroDivisionError: division by zero")
    assert told["not_before_ms"] > 0


def test_with_after_a_word_of_its_own(board: TaskBoard) -> None:
    def give_up() -> None:
        with board.claim_next() as task:
            assert task is not None
            task.fail("futile", retryable=False)
            raise RuntimeError("after that")

    with pytest.raises(RuntimeError):
        give_up()
    told = board.get("a")
    assert told is not None
    assert (told["status"], told["error"]) == ("failed", "futile")
    with board.claim_next() as task:
        assert task is not None
        task.release()
    assert status_of(board, "b") == "pending"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_with_releases_when_the_program_ends(board: TaskBoard, kind: type[BaseException]) -> None:
    with pytest.raises(kind), board.claim_next():
        raise kind
    told = board.get("a")
    assert told is not None
    assert (told["status"], told["attempts"], told["error"]) == ("pending", 0, None)


def test_with_tells_when_the_task_was_lost(board: TaskBoard) -> None:
    def lose() -> None:
        with board.claim_next():
            board.cancel("a")

    with pytest.raises(ClaimLost):
        lose()


def test_with_hides_no_exception_behind_its_own(open_as: Callable[..., TaskBoard], board: TaskBoard) -> None:
    events: list[Event] = []
    other = open_as("other", on_event=events.append)

    def fail_in_vain() -> None:
        with other.claim_next():
            board.cancel("a")
            raise ValueError("the body's own")

    with pytest.raises(ValueError, match="the body's own") as caught:
        fail_in_vain()
    assert "could not be given back" in caught.value.__notes__[0]
    assert [event.detail["task"] for event in events if event.kind == "release_failed"] == ["a"]


def test_with_in_a_forked_child_leaves_the_task_to_its_parent(board: TaskBoard) -> None:
    with board.claim_next() as task:
        assert task is not None
        pid = os.fork()
        if pid == 0:
            try:
                task.__exit__(None, None, None)
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert status_of(board, "a") == "in-progress"
    assert status_of(board, "a") == "done"


def test_a_forked_child_may_go_on_with_the_board(board: TaskBoard) -> None:
    task = claim(board)
    pid = os.fork()
    if pid == 0:
        try:
            task.complete("by the child")
            board.claim_next(ttl=60)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert [told["status"] for told in board.list()] == ["done", "in-progress", "pending"]
    assert claim(board).id == "c"


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_tried_again_under_its_id_is_done_once(open_as: Callable[..., TaskBoard], board: TaskBoard) -> None:
    ids = board.add({"title": "once"}, op_id="add-1")
    assert open_as("again").add({"title": "once"}, op_id="add-1") == ids
    first = claim(board, op_id="claim-1")
    other = open_as("again")
    again = claim(other, op_id="claim-1")
    assert (again.id, again.epoch) == (first.id, first.epoch)
    board.fail(first.id, first.epoch, "x", op_id="fail-1")
    assert other.fail(first.id, first.epoch, "x", op_id="fail-1").again
    assert board.complete("b", claim(board).epoch).state == "applied"
    assert board.complete("b", 2).result["again"]


def test_a_claim_in_vain_under_an_id_does_not_wait(board: TaskBoard) -> None:
    board.claim_next(count=3, ttl=60)
    assert not board.claim_next(op_id="claim-1", wait=None)


# ── threads ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_threads_of_one_board_share_out_its_tasks(board: TaskBoard) -> None:
    board.add([{"id": f"t{i}"} for i in range(37)])
    got: list[str] = []

    def work() -> None:
        while task := board.claim_next():
            got.append(task.id)
            board.list()
            task.complete()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == len(set(got)) == 40
    assert board.stats()["by_status"] == {"done": 40}
