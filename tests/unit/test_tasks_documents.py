"""The task board and its document: bad values, what is told of it, and files that others lay out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support import in_thread
from tasks_support import board_of_three, claim, opened_as  # noqa: F401 - fixtures

from coordinator import BadValue, MalformedDocument, NoSuchDocument, TaskBoard, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable


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
