"""Any array of objects, by whatever names; and what a spec may say."""

from __future__ import annotations

from typing import Any

import pytest
from board_steps import Play, tasks

from coordinator.document.board import check_spec, make_spec
from coordinator.document.board.rules import apply
from coordinator.document.outcome import BadOperation, Context
from coordinator.document.tree import Tree
from coordinator.errors import BadValue

JIRA = make_spec(
    "list",
    at="/work/0/items~1all",
    id="key",
    status="state",
    title="summary",
    priority="rank",
    dependencies="after",
    needs="skills",
    max_attempts="tries",
    states={
        "pending": ["todo", "open"],
        "in-progress": "doing",
        "done": ["closed", "done"],
        "failed": "stuck",
        "cancelled": ["wontfix"],
        "deferred": ["later"],
    },
)


def jira() -> dict[str, Any]:
    return {
        "work": [
            {
                "items/all": [
                    {"key": 7, "state": "open", "summary": "Seven", "rank": "low", "skills": ["sql"]},
                    {"key": "8", "state": "todo", "summary": "Eight", "after": ["7"], "tries": 1},
                    {"key": "9", "state": "later"},
                    {"key": "10", "state": "pending"},
                ]
            }
        ]
    }


def test_fields_and_words_by_other_names() -> None:
    play = Play(jira(), JIRA)
    assert play.names(needs=["python"]) == []
    ((name, epoch),) = play.claim(needs=["sql"], count=9)
    items = play.value["work"][0]["items/all"]
    assert (name, items[0]["state"]) == ("7", "doing")
    play.do("complete", id=7, epoch=epoch, result="r")
    assert items[0] == {"key": 7, "state": "closed", "summary": "Seven", "rank": "low", "skills": ["sql"]}
    play.names()
    play.now_ms += 1001
    play.names()
    assert [item["state"] for item in items] == ["closed", "stuck", "later", "pending"]
    told = play.tasks()
    assert told["7"]["result"] == "r"
    assert (told["8"]["title"], told["8"]["status"], told["8"]["error"]) == ("Eight", "failed", "abandoned")
    assert (told["9"]["status"], told["10"]["status"]) == ("deferred", "?pending")  # not a word of this board


def test_a_word_that_says_the_same_already_is_left() -> None:
    play = Play(jira(), JIRA)
    ((_, epoch),) = play.claim(ids=[7])
    play.tree.replace(["value", "work", 0, "items/all", 0, "state"], "done")
    play.do("complete", id=7, epoch=epoch)
    assert play.value["work"][0]["items/all"][0]["state"] == "done"
    assert play.names() == ["8"]


def test_an_array_at_the_root() -> None:
    play = Play(tasks("a", "b"), make_spec("list"))
    (_, epoch), _ = play.claim(count=2)
    play.do("complete", id="a", epoch=epoch, result=1)
    assert [task["status"] for task in play.value] == ["done", "in-progress"]
    assert "result" not in play.value[0]
    assert play.add({"title": "c"})[0].startswith("t")
    assert len(play.value) == 3


def test_ids_of_a_foreign_array() -> None:
    assert Play([{"id": 3}, {"id": 9}], make_spec("list")).add({}, {}) == [10, 11]
    assert isinstance(Play([{"id": 3}, {"id": "x"}], make_spec("list")).add({})[0], str)
    assert isinstance(Play([], make_spec("list")).add({})[0], str)


def test_the_list_around_the_board_may_change() -> None:
    play = Play(jira(), JIRA)
    assert play.names() == ["7"]
    play.tree.add(["value", "work", 0], {"items/all": tasks("x")})
    assert play.names(count=9) == []
    play.spec = {**JIRA, "status": "status", "id": "id", "states": {}}
    assert play.names() == ["x"]
    play.tree.remove(["value", "work", 0])
    play.spec = JIRA
    assert play.status("7") == "in-progress"
    play.do("cancel", id=7)
    assert play.value["work"][0]["items/all"][0]["state"] == "wontfix"


def test_a_list_before_the_board_may_be_taken_out() -> None:
    play = Play([[], tasks("a"), tasks("b")], make_spec("list", at="/1"))
    assert play.names() == ["a"]
    play.tree.remove(["value", 0])
    assert play.names() == ["b"]


def test_elements_that_are_no_tasks_are_passed_over() -> None:
    play = Play([None, 1, [], {}, {"id": None}, {"id": ""}, {"id": True}, {"id": 1.5}, {"id": "a"}], make_spec("list"))
    assert play.names(count=9) == ["a"]
    assert play.stats()["unreadable"] == 8


def test_of_two_with_one_id_the_first_is_the_task() -> None:
    play = Play([{"id": 1, "n": 1}, {"id": "1", "n": 2}, {"id": 2, "dependencies": ["1"]}], make_spec("list"))
    assert play.names(count=9) == ["1"]
    play.do("complete", id=1, epoch=1)
    assert [task.get("status") for task in play.value] == ["done", None, None]
    play.tree.remove(["value", 0])
    assert play.names(count=9) == ["1"]  # the id is the other's now, and that was not done
    play.do("complete", id=1, epoch=2)
    assert play.names() == ["2"]


@pytest.mark.parametrize("value", [None, {}, {"at": []}, {"work": {"items": []}}, {"work": [1]}, "x"])
def test_a_document_that_does_not_fit(value: Any) -> None:
    assert Play(value, JIRA).refused("add", tasks=[{}]).why == "format"
    assert Play({"tasks": {}}).refused("claim").why == "format"


# ── specs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_specs_as_they_are_made() -> None:
    assert make_spec() == {"format": "default"}
    assert make_spec("taskmaster") == {"format": "taskmaster", "tag": "master", "subtasks": "own"}
    assert make_spec("list", at="/x", priority=None) == {"format": "list", "at": "/x"}
    assert check_spec(JIRA).at == ("work", "0", "items/all")


@pytest.mark.parametrize(
    ("spec", "argument"),
    [
        (None, "format"),
        ({}, "format"),
        ({"format": ["list"]}, "format"),
        ({"format": "jira"}, "format"),
        ({"format": "default", "tag": "x"}, "tag"),
        ({"format": "taskmaster", "tag": ""}, "tag"),
        ({"format": "taskmaster", "tag": 1}, "tag"),
        ({"format": "taskmaster", "subtasks": "both"}, "subtasks"),
        ({"format": "taskmaster", "subtasks": ["own"]}, "subtasks"),
        ({"format": "list", "at": "tasks"}, "at"),
        ({"format": "list", "at": 0}, "at"),
        ({"format": "list", "id": ""}, "id"),
        ({"format": "list", "id": "status"}, "list"),
        ({"format": "list", "states": []}, "states"),
        ({"format": "list", "states": {"open": "x"}}, "states"),
        ({"format": "list", "states": {"pending": []}}, "states"),
        ({"format": "list", "states": {"pending": ["done"]}}, "states"),
        ({"format": "list", "states": {"pending": [1]}}, "states"),
        ({"format": "list", "nme": "x"}, "nme"),
    ],
)
def test_specs_that_are_none(spec: Any, argument: str) -> None:
    with pytest.raises(BadValue) as raised:
        check_spec(spec)
    assert raised.value.argument == argument
    with pytest.raises(BadOperation):
        apply(Tree([]), {"do": "task.claim", "board": spec, "ttl_ms": 1000}, Context(1, "a", "o", 1))
