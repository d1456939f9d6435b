"""A Taskmaster file stays one: nothing but statuses changes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from board_steps import TASKMASTER_TEXT, Play

OWN: dict[str, Any] = {"format": "taskmaster", "tag": "master", "subtasks": "own"}
LOOP = {**OWN, "tag": "loop"}
PARENT = {**OWN, "subtasks": "parent"}


def play_of(spec: dict[str, Any]) -> Play:
    return Play(json.loads(TASKMASTER_TEXT), spec)


def changed_lines(play: Play) -> list[str]:
    """The lines of the file that are not as they were."""
    now = json.dumps(play.value, indent=2, ensure_ascii=False) + "\n"
    assert len(now.splitlines()) == len(TASKMASTER_TEXT.splitlines())
    return [new.strip() for old, new in zip(TASKMASTER_TEXT.splitlines(), now.splitlines(), strict=True) if old != new]


def finish(play: Play, name: str) -> None:
    ((_, epoch),) = play.claim(ids=[name])
    play.do("complete", id=name, epoch=epoch)


def test_a_file_as_the_tool_writes_it() -> None:
    assert json.dumps(json.loads(TASKMASTER_TEXT), indent=2, ensure_ascii=False) + "\n" == TASKMASTER_TEXT


def test_subtasks_are_claimed_on_their_own_and_their_task_after_them() -> None:
    play = play_of(OWN)
    assert play.names(count=99) == ["1.1", "1.2", "1.3", "1.4", "1.5"]
    play = play_of(OWN)
    for name in ("1.1", "1.2", "1.3", "1.4"):
        finish(play, name)
    assert play.tasks()["1"]["blocked_by"] == ["1.5"]
    finish(play, "1.5")
    assert play.names(count=99) == ["1"]


def test_a_subtask_waits_for_what_its_task_waits_for_and_for_its_siblings() -> None:
    play = play_of(OWN)
    assert play.tasks()["2.2"]["blocked_by"] == ["2.1", "1"]
    assert play.names(ids=["2.1", "2.2"]) == []
    for name in ("1.1", "1.2", "1.3", "1.4", "1.5", "1"):
        finish(play, name)
    assert play.names(count=99) == ["2.1"]
    play.do("complete", id="2.1", epoch=7)
    assert play.names(count=99) == ["2.2", "2.3"]


def test_plain_numbers_in_a_subtask_are_its_siblings() -> None:
    play = play_of(LOOP)
    # 11 is under way, without a claim of ours: its open subtask can be had, it cannot; 12 waits for it, 13 does not
    assert play.names(count=99) == ["11.3", "13.1"]
    assert play.tasks()["12.2"]["blocked_by"] == ["12.1", "11"]


def test_a_task_of_another_tag_is_another_task() -> None:
    play = play_of({**OWN, "tag": "orphan"})
    assert play.names() == []
    assert play.tasks()["1"]["blocked_by"] == ["16"]


def test_nothing_but_statuses_changes() -> None:
    play = play_of(OWN)
    claims = dict(play.claim(count=3))
    play.do("complete", id="1.1", epoch=claims["1.1"], result={"big": ["result"]})
    play.do("fail", id="1.2", epoch=claims["1.2"], error="broken", retryable=False)
    play.do("cancel", id="2.5")
    assert changed_lines(play) == [
        '"status": "done",',
        '"status": "blocked",',
        '"status": "in-progress",',
        '"status": "cancelled",',
    ]
    told = play.tasks()
    assert told["1.1"]["result"] == {"big": ["result"]}
    assert (told["1.2"]["status"], told["1.2"]["error"]) == ("failed", "broken")
    assert set(play.tree.side["board"]["tasks"]) == {"master:1.1", "master:1.2", "master:1.3", "master:2.5"}


def test_ids_with_and_without_the_tag_are_the_same() -> None:
    play = play_of(LOOP)
    ((name, epoch),) = play.claim(ids=["loop:13.1"])
    assert name == "13.1"
    assert play.do("complete", id="loop:13.1", epoch=epoch)["id"] == "13.1"
    assert play.do("cancel", id=12)["id"] == "12"


def test_the_board_of_every_tag_keeps_its_own_claims() -> None:
    play = play_of(OWN)
    play.claim(ids=["1.1"])
    play.spec = LOOP
    play.claim(count=9)
    play.now_ms += 9999
    play.names(count=9)
    play.spec = OWN
    assert play.stats()["overdue"] == 1
    assert play.names("bob", ids=["1.1"]) == ["1.1"]
    assert play.tree.side["board"]["epoch"] == 6


def test_of_tasks_and_subtasks_with_one_id_the_first_is_it() -> None:
    subtasks = [{"id": 1, "n": 1}, {"id": "1", "n": 2}]
    twice = {"id": "1", "subtasks": [{"id": 2}]}
    play = Play({"master": {"tasks": [{"id": 1, "status": "deferred", "subtasks": subtasks}, twice]}}, OWN)
    assert play.names(count=9) == []
    play.tree.replace(["value", "master", "tasks", 0, "status"], "in-progress")
    assert [one["task"]["n"] for one in play.do("claim", count=9)["tasks"]] == [1]
    assert play.stats()["unreadable"] == 3


def test_a_cancelled_subtask_does_not_keep_its_task() -> None:
    play = play_of(LOOP)
    finish(play, "13.1")
    play.do("cancel", id="13.2")
    assert play.names(ids=[13]) == ["13"]


def test_subtasks_of_a_task_that_was_ended_are_not_offered() -> None:
    play = play_of(OWN)
    play.do("cancel", id=1)
    assert play.names(count=99) == []


def test_with_their_task_subtasks_start_and_finish() -> None:
    play = play_of(PARENT)
    play.do("cancel", id="1.3")
    assert play.names(ids=["1.1"]) == []
    ((name, epoch),) = play.claim(count=99)
    assert name == "1"
    told = play.tasks()
    assert [told[f"1.{at}"]["status"] for at in range(1, 6)] == [
        "in-progress", "in-progress", "cancelled", "in-progress", "in-progress",
    ]  # fmt: skip
    play.do("complete", id=1, epoch=epoch)
    told = play.tasks()
    assert [told[f"1.{at}"]["status"] for at in range(1, 6)] == ["done", "done", "cancelled", "done", "done"]
    assert play.names() == ["2"]


@pytest.mark.parametrize("how", ["release", "fail", "retry", "cancel", "lapse"])
def test_with_their_task_subtasks_go_back(how: str) -> None:
    play = play_of(PARENT)
    before = copy.deepcopy(play.value["master"]["tasks"][0]["subtasks"])
    for at, status in ((1, "done"), (2, "in-progress")):
        before[at]["status"] = status
        play.tree.replace(["value", "master", "tasks", 0, "subtasks", at, "status"], status)
    ((_, epoch),) = play.claim()
    if how == "release":
        play.do("release", id=1, epoch=epoch)
    elif how in {"fail", "retry"}:
        play.do("fail", id=1, epoch=epoch, error="", retryable=how == "retry")
    elif how == "cancel":
        play.do("cancel", id=1)
    else:
        play.now_ms += 9999
        play.do("cancel", id=2)
    assert play.value["master"]["tasks"][0]["subtasks"] == before
    if how == "lapse":
        play.do("heartbeat", id=1, epoch=epoch)
        play.do("complete", id=1, epoch=epoch)
        assert {task["status"] for task in play.value["master"]["tasks"][0]["subtasks"]} == {"done"}


def test_adding_gives_the_next_number() -> None:
    play = play_of(OWN)
    assert play.add({"title": "x"}, {"id": 9, "dependencies": [2, "1.2"]}, {"title": "y"}) == [10, 9, 11]
    assert play.value["master"]["tasks"][2] == {"id": 10, "title": "x", "status": "pending"}
    assert play.refused("add", tasks=[{"dependencies": ["1.9"]}]).facts["missing"] == ["12 on 1.9"]
    assert play.refused("add", tasks=[{"id": "2"}]).why == "duplicate"


def test_adding_where_numbers_are_text() -> None:
    play = play_of(LOOP)
    (made,) = play.add({"title": "x"})
    assert isinstance(made, str)


def test_adding_a_task_with_subtasks() -> None:
    play = play_of(OWN)
    play.add({"id": 5, "subtasks": [{"id": 1}, {"id": 2, "dependencies": [1]}]})
    assert play.names(ids=["5", "5.1", "5.2"]) == ["5.1"]
    refusal = play.refused("add", tasks=[{"id": 6, "subtasks": [{"id": 1, "dependencies": ["7.1"]}]},
                                         {"id": 7, "dependencies": [6], "subtasks": [{"id": 1}]}])  # fmt: skip
    assert refusal.why == "cycle"
    assert play.refused("add", tasks=[{"id": 6, "subtasks": [{"title": "?"}]}]).why == "format"


def test_a_document_that_has_no_such_tag() -> None:
    play = play_of({**OWN, "tag": "main"})
    refusal = play.refused("claim")
    assert refusal.why == "format"
    assert "'master', 'loop', 'orphan'" in refusal.text
    others: list[Any] = [None, [], "text", {"main": {"tasks": {}}}, {"main": []}]
    for value in others:
        assert Play(value, {**OWN, "tag": "main"}).refused("claim").why == "format"


def test_words_of_the_tool_that_are_nobodys_to_claim() -> None:
    for status in ("review", "deferred", "blocked", "in-progress", "done"):
        value: dict[str, Any] = {"master": {"tasks": [{"id": 1, "status": status, "subtasks": []}]}}
        assert Play(value, OWN).names() == []
