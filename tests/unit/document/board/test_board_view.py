"""What readers are told."""

from __future__ import annotations

import json

import pytest
from board_steps import NOW_MS, TASKMASTER_TEXT, Play, board

from coordinator.document.board import stats_of, tasks_of
from coordinator.document.outcome import Rejected
from coordinator.errors import BadValue


def test_everything_about_a_task() -> None:
    play = Play({"tasks": [{"id": 1, "title": "One", "needs": ["b", "a"], "priority": "high", "dependencies": ["x"]}]})
    assert play.tasks()["1"] == {
        "id": "1",
        "title": "One",
        "status": "pending",
        "priority": "high",
        "dependencies": ["x"],
        "needs": ["a", "b"],
        "holder": None,
        "epoch": None,
        "until_ms": None,
        "since_ms": None,
        "attempts": 0,
        "max_attempts": 3,
        "not_before_ms": None,
        "by": None,
        "error": None,
        "reason": None,
        "result": None,
        "late": 0,
        "parent": None,
        "blocked_by": ["x"],
        "task": play.value["tasks"][0],
    }


def test_who_holds_it_and_until_when() -> None:
    play = Play(board("a"))
    play.claim("bob", ttl_ms=500)
    told = play.tasks()["a"]
    assert (told["holder"], told["epoch"], told["until_ms"], told["since_ms"], told["attempts"]) == (
        "bob", 1, NOW_MS + 500, NOW_MS, 1,
    )  # fmt: skip


def test_figures() -> None:
    play = Play(board("a", "b", "c", "d", "e"))
    play.add({"id": "f", "dependencies": ["a"]}, {"id": "g", "status": "deferred"})
    play.claim("bob", ids=["b"], ttl_ms=100)
    play.now_ms += 50
    play.claim("ann", ids=["a"])
    ((_, epoch),) = play.claim(ids=["c"])
    play.do("complete", id="c", epoch=epoch)
    ((_, epoch),) = play.claim(ids=["d"])
    play.do("fail", id="d", epoch=epoch, error="", retryable=True, delay_ms=10)
    assert play.stats() == {
        "tasks": 7,
        "by_status": {"in-progress": 2, "done": 1, "pending": 3, "deferred": 1},
        "claimable": 1,
        "blocked": 1,
        "held": 2,
        "overdue": 0,
        "oldest_claim": {"id": "b", "holder": "bob", "since_ms": NOW_MS},
        "next_ms": NOW_MS + 60,
        "epoch": 4,
        "unreadable": 0,
    }
    play.now_ms += 10
    assert (play.stats()["claimable"], play.stats()["next_ms"]) == (2, NOW_MS + 101)
    play.now_ms += 41
    assert play.stats()["overdue"] == 1
    assert stats_of(play.value, play.tree.side, play.spec)["claimable"] == 1


def test_figures_of_nothing() -> None:
    assert stats_of(None, {}, {"format": "default"}) == {
        "tasks": 0, "by_status": {}, "claimable": 0, "blocked": 0, "held": 0, "overdue": 0,
        "oldest_claim": None, "next_ms": None, "epoch": 0, "unreadable": 0,
    }  # fmt: skip
    assert list(tasks_of(None, {}, {"format": "default"})) == []


def test_readers_change_nothing_and_are_told_what_is_wrong() -> None:
    value = json.loads(TASKMASTER_TEXT)
    told = list(tasks_of(value, {}, {"format": "taskmaster", "tag": "loop"}))
    assert [task["id"] for task in told][:4] == ["8", "8.1", "8.2", "8.3"]
    assert told[1]["parent"] == "8"
    assert value == json.loads(TASKMASTER_TEXT)
    with pytest.raises(Rejected):
        tasks_of(value, {}, {"format": "taskmaster", "tag": "none"})
    with pytest.raises(BadValue):
        stats_of(value, {}, {"format": "none"})
