"""Documents and boards: one suite over every kind of workspace."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import in_thread, together, wait_until

from coordinator import (
    BadValue,
    ClaimLost,
    MalformedDocument,
    NoDirectory,
    NoSuchDocument,
    OperationRejected,
    RevisionNotReached,
)
from coordinator.names import new_id

if TYPE_CHECKING:
    from coordinator import ClaimLost as Lost
    from coordinator import TaskBoard
    from remote.faces import Face

TASKS = {"tasks": [{"id": 1, "title": "one"}, {"id": 2, "title": "two", "needs": ["python"], "priority": "high"}]}


def a_board(face: Face, agent: str = "alice", value: Any = TASKS) -> tuple[TaskBoard, str]:
    name = face.with_content("tasks", value)
    return face.agent(agent).tasks(name), name


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_updated_is_read_by_all(face: Face) -> None:
    name = face.with_content("plan", {"owner": None})
    mine, others = face.agent("alice").document(name), face.agent("bob").document(name)
    assert mine.read_json() == {"owner": None}
    receipt = mine.update(
        [{"op": "test", "path": "/owner", "value": None}, {"op": "replace", "path": "/owner", "value": "ä"}]
    )
    assert (receipt.state, receipt.revision, receipt.again) == ("applied", 2, False)
    assert mine.revision == others.revision == 2
    assert others.read_json() == mine.value() == {"owner": "ä"}
    content = others.content()
    assert (content.revision, content.data) == (2, mine.read(at_least=receipt))


def test_an_update_whose_preconditions_do_not_hold_is_rejected_with_the_reason(face: Face) -> None:
    name = face.with_content("plan", {"owner": "bob"})
    document = face.agent("alice").document(name)
    with pytest.raises(OperationRejected) as rejected:
        document.update([{"op": "test", "path": "/owner", "value": None}], op_id=(op_id := new_id()))
    error = rejected.value
    assert (error.resource, error.op_id, error.why, error.revision) == (name, op_id, "test", 2)
    with pytest.raises(OperationRejected) as rejected:
        document.update({"owner": "me"}, if_revision=1)
    assert rejected.value.why == "revision"
    assert document.read_json() == {"owner": "bob"}


def test_an_update_submitted_again_is_applied_once(face: Face) -> None:
    name, op_id = face.with_content("plan", {"n": []}), new_id()
    step = [{"op": "add", "path": "/n/-", "value": 1}]
    first = face.agent("alice").document(name).update(step, op_id=op_id)
    again = face.agent("bob").document(name).update(step, op_id=op_id)
    assert (first.again, again.again, again.revision) == (False, True, first.revision)
    assert face.agent("carol").document(name).read_json() == {"n": [1]}


@pytest.mark.parametrize("change", [[{"op": "jump", "path": "/a"}], "text", [{"op": "add", "path": "a", "value": 1}]])
def test_a_malformed_update_is_refused(face: Face, change: Any) -> None:
    document = face.agent("alice").document(face.with_content("plan", {}))
    with pytest.raises(BadValue):
        document.update(change)
    assert document.revision == 1


def test_changes_are_told_one_by_one_and_watched(face: Face) -> None:
    name = face.with_content("plan", {"n": 0})
    mine, others = face.agent("alice").document(name), face.agent("bob").document(name)
    for n in (1, 2):
        mine.update({"n": n})
    found = others.changes(since=1)
    assert [(change.revision, change.whole) for change in found] == [(2, False), (3, False)]
    assert found[0].patch == [{"op": "replace", "path": "/n", "value": 1}]
    assert found[0].operations[0]["agent"] == "alice"
    assert not [change for change in others.changes(since=3) if change.operations], "an end of a log changes nothing"
    watched = others.watch(since=2, timeout=20)
    assert next(watched).revision == 3
    with in_thread(lambda: next(watched)) as seen:
        mine.update({"n": 3})
    assert seen[0].patch == [{"op": "replace", "path": "/n", "value": 3}]
    assert list(others.watch(since=4, timeout=0.05)) == []


def test_a_document_that_is_not_there_and_a_revision_that_does_not_come(face: Face) -> None:
    alice = face.agent("alice")
    with pytest.raises(NoSuchDocument):
        alice.document(face.name("none.json")).read()
    document = alice.document(face.with_content("plan", {}))
    with pytest.raises(RevisionNotReached) as late:
        document.read(at_least=7, wait=0.1)
    assert (late.value.expected, late.value.current) == (7, 1)


def test_whole_content_is_committed_where_the_directory_is_and_elsewhere_it_is_said_what_to_do(face: Face) -> None:
    name = face.with_content("plan", {"a": 1})
    alice = face.agent("alice")
    with alice.lease(name, ttl=20) as lease:
        assert lease.read_json() == {"a": 1}
        if face.is_remote:
            with pytest.raises(NoDirectory, match="update"):
                lease.commit_json({"a": 2})
        else:
            lease.commit_json({"a": 2})
    if face.is_remote:
        with pytest.raises(NoDirectory):
            alice.document(name).commit(b"{}", if_revision=1)
        with pytest.raises(NoDirectory):
            alice.collect()
    assert alice.document(name).read_json() == {"a": 1 if face.is_remote else 2}


def test_an_update_waits_for_a_lease_to_end_and_is_read_by_who_asks_for_it(face: Face) -> None:
    name = face.with_content("plan", {"n": 0})
    document = face.agent("alice").document(name)
    with face.mounted("bob").lease(name, ttl=30) as lease:
        receipt = document.update({"n": 1}, wait=0)
        assert (receipt.state, receipt.revision) == ("durable", 0)
        with in_thread(lambda: document.update({"m": 2}, wait=30)) as told:
            lease.check()
            lease.release()
    assert told[0].state == "applied"
    assert json.loads(document.read(at_least=receipt, wait=30)) == {"n": 1, "m": 2}


def test_of_a_crowd_every_update_counts_once(face: Face) -> None:
    name = face.with_content("plan", {"n": []})

    def work(i: int) -> None:
        document = face.agent(f"agent-{i}").document(name)
        for k in range(4):
            document.update([{"op": "add", "path": "/n/-", "value": [i, k]}], wait=30)

    together(*(lambda i=i: work(i) for i in range(3)))
    told = face.agent("reader").document(name).read_json()["n"]
    assert sorted(told) == [[i, k] for i in range(3) for k in range(4)]


# ── boards ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_is_claimed_done_and_told(face: Face) -> None:
    board, _ = a_board(face)
    with board.claim_next(needs={"python"}) as task:
        assert task is not None
        assert (task.id, task.attempt) == ("2", 1)
        assert 0 < task.remaining <= 300
        receipt = task.heartbeat(ttl=100)
        assert receipt.state == "applied"
        task.complete(result={"ok": True})
    assert task.is_over
    told = board.get(2)
    assert told is not None
    assert (told["status"], told["by"], told["result"], told["late_results"]) == ("done", "alice", {"ok": True}, [])
    assert board.get("nope") is None
    assert [row["id"] for row in board.list(status="pending")] == ["1"]
    assert board.list(holder="alice") == []
    figures = board.stats()
    assert (figures["tasks"], figures["by_status"], figures["claimable"]) == (2, {"done": 1, "pending": 1}, 1)


def test_a_block_that_raises_gives_its_task_back_to_be_tried_again(face: Face) -> None:
    board, _ = a_board(face)
    with pytest.raises(ZeroDivisionError), board.claim_next(ids=[1]):
        _ = 1 / 0
    told = board.get(1)
    assert told is not None
    assert (told["status"], told["attempts"], told["error"][:17]) == ("pending", 1, "ZeroDivisionError")
    assert told["not_before_ms"] > 0


def test_the_claim_of_another_is_lost_and_a_late_result_is_kept(face: Face) -> None:
    board, name = a_board(face)
    lost: list[Lost] = []
    task = board.claim_next(ids=[1], ttl=0.4, on_lost=lost.append)
    assert task
    others = face.agent("bob").tasks(name)
    again = others.claim_next(ids=[1], wait=20)
    assert again
    assert again.epoch > task.epoch
    assert task.remaining == 0
    with pytest.raises(ClaimLost) as told:
        task.complete(result="late")
    error = told.value
    assert (error.task_id, error.fence, error.successor, error.successor_fence) == ("1", task.epoch, "bob", again.epoch)
    assert error.kept
    assert lost == [error]
    again.complete(result="in time")
    row = board.get(1)
    assert row is not None
    assert (row["result"], [late["result"] for late in row["late_results"]]) == ("in time", ["late"])


def test_nothing_to_claim_is_false_and_what_comes_is_had_by_who_waits(face: Face) -> None:
    board, name = a_board(face, value={"tasks": []})
    none = board.claim_next()
    assert not none
    with none as task:
        assert task is None
    with in_thread(lambda: face.agent("bob").tasks(name).claim_next(wait=20)) as had:
        assert board.add([{"title": "new"}], wait=20)
    assert had[0].task["title"] == "new"
    assert board.claim_next(count=3) == []


def test_what_is_added_twice_under_one_id_is_there_once(face: Face) -> None:
    board, _ = a_board(face)
    op_id = new_id()
    first = board.add([{"title": "a"}, {"title": "b"}], op_id=op_id)
    assert board.add([{"title": "a"}, {"title": "b"}], op_id=op_id) == first
    assert len(board.list()) == 4
    with pytest.raises(OperationRejected) as rejected:
        board.add({"id": 1, "title": "one more"})
    assert rejected.value.why == "duplicate"


def test_a_claim_asked_for_twice_under_one_id_is_one(face: Face) -> None:
    board, name = a_board(face)
    op_id = new_id()
    task = board.claim_next(op_id=op_id)
    again = face.agent("alice").tasks(name).claim_next(op_id=op_id)
    assert task
    assert again
    assert (task.id, task.epoch) == (again.id, again.epoch)


def test_giving_back_failing_and_cancelling(face: Face) -> None:
    board, _ = a_board(face)
    task = board.claim_next(ids=[1])
    assert task
    task.release()
    again = board.claim_next(ids=[1])
    assert again
    assert again.attempt == 1
    again.fail("no use", retryable=False)
    board.cancel(2, "not wanted")
    assert {row["id"]: row["status"] for row in board.list()} == {"1": "failed", "2": "cancelled"}
    with pytest.raises(OperationRejected):
        board.cancel(99)


def test_a_board_of_another_format_and_one_that_is_none(face: Face) -> None:
    name = face.with_content("tasks", {"master": {"tasks": [{"id": 1, "title": "one", "status": "pending"}]}})
    alice = face.agent("alice")
    with alice.tasks(name, format="taskmaster").claim_next() as task:
        assert task is not None
    assert alice.tasks(name, format="taskmaster").stats()["by_status"] == {"done": 1}
    with pytest.raises(MalformedDocument):
        alice.tasks(face.with_content("tasks", {"tasks": 5})).list()
    with pytest.raises(BadValue):
        alice.tasks(name, format="other")
    with pytest.raises(NoSuchDocument):
        alice.tasks(face.name("none.json")).claim_next()


def test_a_wait_for_a_task_ends_when_it_is_cancelled(face: Face) -> None:
    board, _ = a_board(face, value={"tasks": []})
    cancel = threading.Event()
    with in_thread(lambda: board.claim_next(wait=None, cancel=cancel)) as had:
        cancel.set()
    assert had[0] == had[0]
    assert not had[0]


def test_heartbeats_in_the_background_keep_a_claim(face: Face) -> None:
    board, _ = a_board(face)
    task = board.claim_next(ids=[1], ttl=2.0, renew_in_background=True)
    assert task
    until_ms = task.until_ms
    wait_until(lambda: task.until_ms > until_ms, 20)
    told = board.get(1)
    assert told is not None
    assert told["until_ms"] >= task.until_ms
    task.complete()
