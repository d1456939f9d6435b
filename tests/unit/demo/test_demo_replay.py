"""The second judge of the act over logs: changes made by hand, with one thing wrong in each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from coordinator import Change, Workspace
from coordinator.demo.ledger import CLAIM, COMPLETE, Entry
from coordinator.demo.plan import Plan, board_options
from coordinator.demo.replay import Replay, check_replay

PLAN = Plan("plain", (("", "1"), ("", "2")))
TTL_MS = 1000
DOING, DONE, PENDING = "in-progress", "done", "pending"


def text(first: str = "pending", second: str = "pending") -> bytes:
    tasks = [{"id": 1, "status": first}, {"id": 2, "status": second}, {"id": 3, "status": "pending"}]
    return json.dumps({"tasks": tasks}).encode()


def change(revision: int, *operations: dict[str, Any], at_ms: int | None = None, whole: bool = False) -> Change:
    return Change(revision, 100 * revision if at_ms is None else at_ms, "folder", whole, operations)


def operation(agent: str, *steps: tuple[int, str], op_id: str = "", outcome: str = "applied") -> dict[str, Any]:
    patch = [{"op": "replace", "path": f"/tasks/{task - 1}/status", "value": status} for task, status in steps]
    return {"op_id": op_id or f"{agent} {steps}", "agent": agent, "outcome": outcome, "patch": patch}


def claimed(worker: str, task: int, fence: int) -> Entry:
    return Entry(worker, 1, "ack", CLAIM, "", str(task), fence=fence)


def completed(worker: str, task: int, fence: int, revision: int, op_id: str) -> Entry:
    return Entry(worker, 1, "ack", COMPLETE, "", str(task), revision=revision, fence=fence, op_id=op_id)


def refused(worker: str, task: int, fence: int) -> Entry:
    return Entry(worker, 1, "refused", COMPLETE, "", str(task), fence=fence)


# a claims 1 and sleeps; b claims 2, completes it, is given 1 when a's claim has run out, and completes that; a is late.
CHANGES = [
    change(1, whole=True),
    change(2, operation("a", (1, DOING)), operation("b", (2, DOING))),
    change(3, operation("b", (2, DONE), op_id="b2")),
    change(4, operation("b", (1, PENDING), (1, DOING)), at_ms=1300),
    change(5, operation("b", (1, DONE), op_id="b1"), operation("a", op_id="late"), operation("x", outcome="rejected")),
]
ENTRIES = [
    claimed("a", 1, 1),
    claimed("b", 2, 2),
    completed("b", 2, 2, 3, "b2"),
    claimed("b", 1, 3),
    completed("b", 1, 3, 5, "b1"),
    refused("a", 1, 1),
]


def wrong(
    changes: list[Change], entries: list[Entry], final: bytes = text(DONE, DONE), *, killed: int = 0
) -> list[str]:
    replay = Replay(text(), PLAN, TTL_MS)
    replay.feed(changes)
    return check_replay(replay, entries, final, killed=killed)


def test_changes_that_account_for_all_are_right() -> None:
    assert wrong(CHANGES, ENTRIES) == []


def test_a_task_that_was_given_up_is_no_claim_and_its_last_worker_may_still_be_in_time() -> None:
    changes = [*CHANGES[:2], change(3, operation("b", (1, "failed"), (2, DONE), op_id="b2"), at_ms=1300)]
    changes.append(change(4, operation("a", (1, DONE), op_id="a1")))
    entries = [*ENTRIES[:3], completed("a", 1, 1, 4, "a1")]
    assert wrong(changes, entries) == []
    assert wrong(changes[:3], ENTRIES[:3], text("failed", DONE)) == []
    changes[2] = replace(changes[2], at_ms=1199)
    assert any("before its time" in line for line in wrong(changes, entries))


def test_they_may_be_taken_in_as_they_come() -> None:
    replay = Replay(text(), PLAN, TTL_MS)
    replay.feed(CHANGES[:3])
    assert (replay.revision, replay.passed("a"), replay.passed("b"), replay.passed("nobody")) == (
        3,
        False,
        False,
        False,
    )
    replay.feed(CHANGES[3:])
    assert (replay.revision, replay.passed("a"), replay.passed("b")) == (5, True, False)
    assert check_replay(replay, ENTRIES, text(DONE, DONE), killed=0) == []


def with_(index: int, *operations: dict[str, Any], **more: Any) -> list[Change]:
    return [*CHANGES[:index], replace(CHANGES[index], operations=operations, **more), *CHANGES[index + 1 :]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (CHANGES[:2] + CHANGES[3:], "revision 4 follows 2"),
        ([*CHANGES[:3], replace(CHANGES[3], whole=True), CHANGES[4]], "committed whole"),
        (with_(3, operation("b", (1, DOING)), at_ms=1300), "given to b while another had it"),
        (with_(3, operation("b", (1, PENDING), (1, DOING)), at_ms=1199), "before its time"),
        (with_(4, operation("a", (1, DONE), op_id="b1")), "completed by a, which did not have it"),
        (with_(4, operation("b", (1, DONE), op_id="b1"), operation("b", (1, DONE), op_id="x")), "did not have it"),
        (with_(4, operation("b", (1, DONE), op_id="b2")), "applied twice"),
        (with_(4, *CHANGES[4].operations, operation("x", (1, DONE), outcome="rejected")), "changed something"),
        (with_(4, *CHANGES[4].operations, operation("x", (3, DONE))), "changed /tasks/2/status"),
        (with_(4), "do not lead to the file"),
        (with_(4), "not in the changes"),
    ],
)
def test_a_history_that_cannot_be_is_seen(changes: list[Change], says: str) -> None:
    assert any(says in line for line in wrong(changes, ENTRIES)), wrong(changes, ENTRIES)


def but(index: int, **changes: Any) -> list[Entry]:
    return [*ENTRIES[:index], replace(ENTRIES[index], **changes), *ENTRIES[index + 1 :]]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (but(0, fence=9), "acknowledged (claim) and not in the changes"),
        (but(0, worker="c"), "acknowledged (claim) and not in the changes"),
        ([*ENTRIES, ENTRIES[1]], "acknowledged (claim) and not in the changes, or not once"),
        ([*ENTRIES, ENTRIES[2]], "acknowledged (complete) and not in the changes, or not once"),
        ([*ENTRIES, completed("a", 1, 1, 5, "late")], "acknowledged (complete) and not in the changes"),
        (but(2, revision=4), "not at that revision"),
        (but(2, op_id="b3"), "do not know"),
        (but(4, fence=1), "acknowledged (complete)"),
        (ENTRIES[:-1], "whose holder was not refused"),
        ([*ENTRIES, ENTRIES[-1]], "or twice"),
        ([*ENTRIES, refused("b", 1, 3)], "nobody had taken over"),
        (ENTRIES[1:], "1 updates were not acknowledged"),
    ],
)
def test_an_acknowledgement_that_the_changes_do_not_bear_out_is_seen(entries: list[Entry], says: str) -> None:
    assert any(says in line for line in wrong(CHANGES, entries)), wrong(CHANGES, entries)


@pytest.mark.parametrize(("more", "killed"), [([], 1), ([Entry("b", 1, "unknown")], 0)])
def test_an_update_in_flight_is_excused_by_a_kill_or_an_unknown_outcome(more: list[Entry], killed: int) -> None:
    entries = [entry for entry in ENTRIES if entry.op_id != "b1"]
    assert wrong(CHANGES, [*entries, *more], killed=killed) == []
    assert wrong(CHANGES, entries) != []


def test_a_completion_that_was_said_twice_is_one(workspace: Workspace) -> None:
    """A worker is killed before it can acknowledge one that counts; its next life says it again. With a real board."""
    document = workspace.document("tasks.json")
    document.commit(text(), if_revision=0)
    board = workspace.tasks("tasks.json", **board_options(PLAN, ""))
    task = board.claim_next(ids=["1"])
    assert task
    board.complete(task.id, task.epoch)
    again = board.complete(task.id, task.epoch)
    entries = [claimed("alice", 1, 1), completed("alice", 1, 1, again.revision, again.op_id)]
    assert wrong(document.changes(), entries, document.read()) == []


def test_a_worker_that_comes_back_before_anybody_else_has_come_is_in_time(workspace: Workspace) -> None:
    document = workspace.document("tasks.json")
    document.commit(text(), if_revision=0)
    board = workspace.tasks("tasks.json", **board_options(PLAN, ""))
    task = board.claim_next(ids=["1"], ttl=0.1)
    other = Workspace(workspace.directory, agent="bob").tasks("tasks.json", **board_options(PLAN, ""))
    assert task
    replay = Replay(text(), PLAN, 100)
    while replay.statuses["", "1"] != PENDING:  # bob's word lets the overdue claim go
        second = other.claim_next(ids=["2"], ttl=60)
        if second:
            second.release()
        replay.feed(document.changes(replay.revision))
    task.complete()
    replay.feed(document.changes(replay.revision))
    assert not [line for line in replay.wrong if "task 1" in line]
    assert replay.statuses["", "1"] == DONE
    assert not replay.passed("alice")
