"""The task board, as a worker in this process sees it. With other processes: test_tasks_processes.py."""

from __future__ import annotations

import gc
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import in_thread, wait_until

from coordinator import (
    BadValue,
    ClaimLost,
    Event,
    LeaseHeld,
    MalformedDocument,
    NoSuchDocument,
    OperationRejected,
    StoreUnavailable,
    Task,
    TaskBoard,
    Workspace,
)
from coordinator.document.compactor import Folded
from coordinator.files import SYSTEM_FILES
from coordinator.tasks import NoTask, idle
from coordinator.testing import Call, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def open_as(workspace: Workspace) -> Iterator[Callable[..., TaskBoard]]:
    """Opens the workspace anew, as another process would, and a board in it."""
    opened: list[Workspace] = []

    def run(agent: str, name: str = "tasks.json", *, options: dict[str, Any] | None = None, **how: Any) -> TaskBoard:
        opened.append(Workspace(workspace.directory, agent=agent, **how))
        return opened[-1].tasks(name, **(options or {}))

    yield run
    for each in opened:
        each.close()


@pytest.fixture
def board(open_as: Callable[..., TaskBoard]) -> TaskBoard:
    """A board of three tasks, for the agent ``ann``."""
    opened = open_as("ann")
    opened.add([{"id": "a", "title": "A"}, {"id": "b", "title": "B"}, {"id": "c", "title": "C"}])
    return opened


def status_of(board: TaskBoard, task_id: str) -> str:
    found = board.get(task_id)
    assert found is not None
    status: str = found["status"]
    return status


def claim(board: TaskBoard, **how: Any) -> Task:
    """A claim that is given something."""
    task = board.claim_next(**how)
    assert isinstance(task, Task)
    return task


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


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_there_and_what_has_no_tasks(workspace: Workspace, open_as: Callable[..., TaskBoard]) -> None:
    with pytest.raises(NoSuchDocument):
        open_as("ann", "nowhere.json").claim_next(wait=0.1)
    with pytest.raises(NoSuchDocument):
        open_as("ann", "nowhere.json").claim_next(op_id="again")
    with pytest.raises(NoSuchDocument):
        open_as("ann", "nowhere.json").list()
    workspace.document("plan.json").commit(b'{"master": {"tasks": []}, "tasks": 1}', if_revision=0)
    for options in ({}, {"format": "taskmaster", "tag": "other"}, {"format": "list"}):
        board = open_as("ann", "plan.json", options=options)
        refuse_all(board)
    workspace.document("text.json").commit(b"no JSON", if_revision=0)
    refuse_all(open_as("ann", "text.json"))


def refuse_all(board: TaskBoard) -> None:
    calls: list[Callable[[], object]] = [
        board.claim_next,
        board.list,
        board.stats,
        lambda: board.get("a"),
        lambda: board.add({"id": 1}),
        lambda: board.complete("a", 1),
    ]
    for call in calls:
        with pytest.raises(MalformedDocument):
            call()


def test_a_claim_waits_for_a_document_to_come(open_as: Callable[..., TaskBoard]) -> None:
    waiting = open_as("waiting")
    with in_thread(lambda: waiting.claim_next(wait=30)) as outcome:
        open_as("ann").add({"id": "first"})
    assert outcome[0].id == "first"


def test_a_plain_file_that_was_never_committed(workspace: Workspace, open_as: Callable[..., TaskBoard]) -> None:
    with open(f"{workspace.directory}/tasks.json", "w", encoding="utf-8") as file:
        file.write('{"tasks": [{"id": "mine", "status": "pending"}]}')
    board = open_as("ann")
    assert [told["id"] for told in board.list()] == ["mine"]
    assert claim(board).id == "mine"


@pytest.mark.parametrize(
    "call",
    [
        lambda board: board.claim_next(ttl=0.001),
        lambda board: board.claim_next(ttl=-1),
        lambda board: board.claim_next(ttl=True),
        lambda board: board.claim_next(ttl=float("nan")),
        lambda board: board.claim_next(wait="long"),
        lambda board: board.claim_next(count=0),
        lambda board: board.claim_next(needs="python"),
        lambda board: board.claim_next(needs=[1]),
        lambda board: board.claim_next(ids=[None]),
        lambda board: board.claim_next(where={"a": {"b": 1}}),
        lambda board: board.add([]),
        lambda board: board.add([1]),
        lambda board: board.add({"id": True}),
        lambda board: board.complete("a", 0),
        lambda board: board.complete(None, 1),
        lambda board: board.heartbeat("a", 1, ttl=1e9),
        lambda board: board.fail("a", 1, "e", delay=-1),
        lambda board: board.fail("a", 1, "e", retryable="yes"),
        lambda board: board.cancel("a", "x" * 10_000),
    ],
)
def test_bad_values(board: TaskBoard, call: Callable[[TaskBoard], object]) -> None:
    before = board.stats()
    with pytest.raises(BadValue):
        call(board)
    after = board.stats()
    assert {**after, "now_ms": 0} == {**before, "now_ms": 0}


@pytest.mark.parametrize("options", [{"format": "xml"}, {"format": "default", "tag": "x"}, {"format": "list", "at": 1}])
def test_bad_formats(workspace: Workspace, options: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        workspace.tasks("tasks.json", **options)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_told_is_the_callers_own(board: TaskBoard) -> None:
    board.list()[0]["task"]["title"] = "altered"
    told = board.get("a")
    assert told is not None
    told["task"]["title"] = "altered"
    task = claim(board)
    task.task["title"] = "altered"
    assert board.list()[0]["title"] == "A"
    assert board.get("zzz") is None


def test_watch_tells_each_change(open_as: Callable[..., TaskBoard], board: TaskBoard) -> None:
    changes = board.watch(timeout=30)
    other = open_as("other")
    task = claim(other)
    told = next(changes)
    assert (told["id"], told["was"], told["status"], told["holder"]) == ("a", "pending", "in-progress", "other")
    task.complete()
    other.add({"id": "new"})
    both = [next(changes), next(changes)]
    assert [(each["id"], each["was"], each["status"]) for each in both] == [
        ("a", "in-progress", "done"),
        ("new", None, "pending"),
    ]
    assert list(board.watch(timeout=0)) == []


# ── other people's files ─────────────────────────────────────────────────────────────────────────────────────────────

TASKMASTER = """{
   "master": {
      "tasks": [
         {"id": 1, "title": "Caf\\u00e9",   "status": "done", "dependencies": [], "priority": "high"},
         {
            "id": 2,
            "status": "pending",
            "dependencies": [1],
            "estimate": 1.50,
            "huge": 123456789012345678901234567890,
            "subtasks": [
               {"id": 1, "title": "sub", "status": "pending"},
               {"id": 2, "title": "sub two", "status": "pending", "dependencies": [1]}
            ]
         }
      ],
      "metadata": {"created": "2025-01-01"}
   }
}
"""


def test_a_taskmaster_file_is_kept_but_for_the_statuses(
    workspace: Workspace, open_as: Callable[..., TaskBoard]
) -> None:
    with open(f"{workspace.directory}/tm.json", "w", encoding="utf-8") as file:
        file.write(TASKMASTER)
    board = open_as("ann", "tm.json", options={"format": "taskmaster"})
    first = claim(board)
    assert first.id == "2.1"
    assert not board.claim_next(), "2.2 waits for 2.1, and 2 for both"
    first.complete({"kept": "beside"})
    text = workspace.document("tm.json").read().decode()
    assert text == TASKMASTER.replace('"title": "sub", "status": "pending"', '"title": "sub", "status": "done"')
    second = claim(board)
    assert second.id == "2.2"
    second.complete()
    whole = claim(board)
    assert whole.id == "2"
    assert (
        json.loads(workspace.document("tm.json").read())["master"]["tasks"][1]["huge"] == 123456789012345678901234567890
    )
    whole.complete()
    assert workspace.document("tm.json").read().decode() == TASKMASTER.replace('"pending"', '"done"')
    told = board.get("2.1")
    assert told is not None
    assert told["result"] == {"kept": "beside"}


def test_a_list_with_names_of_its_own(workspace: Workspace, open_as: Callable[..., TaskBoard]) -> None:
    items: list[dict[str, Any]] = [{"key": "A-1", "state": "todo", "n": 1}, {"key": "A-2", "state": "closed"}]
    workspace.document("l.json").commit(json.dumps({"work": {"items": items}}).encode(), if_revision=0)
    states = {"pending": ["todo"], "in-progress": "doing", "done": ["closed"]}
    options = {"format": "list", "at": "/work/items", "id": "key", "status": "state", "states": states}
    board = open_as("ann", "l.json", options=options)
    task = claim(board)
    assert task.id == "A-1"
    assert json.loads(workspace.document("l.json").read())["work"]["items"][0] == {**items[0], "state": "doing"}
    task.complete()
    assert json.loads(workspace.document("l.json").read())["work"]["items"][0] == {**items[0], "state": "closed"}


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
