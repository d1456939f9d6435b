"""A board of our own format: adding, and who is given what."""

from __future__ import annotations

import pytest
from board_steps import NOW_MS, Play, board

from coordinator.document.board.index import index_of
from coordinator.document.board.queues import WHERES_MAX

# ── adding ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_task_makes_the_board() -> None:
    play = Play(None)
    assert play.names() == []
    assert play.add({"id": "t1", "title": "First"}) == ["t1"]
    assert play.value == {"tasks": [{"id": "t1", "title": "First", "status": "pending"}]}


def test_a_document_without_tasks_is_given_some_and_keeps_the_rest() -> None:
    play = Play({"project": "x"})
    play.add({"id": 1})
    assert play.value == {"project": "x", "tasks": [{"id": 1, "status": "pending"}]}


def test_what_else_a_task_says_is_kept_as_it_is() -> None:
    play = Play(None)
    given = {"notes": [{"a": None}], "id": "t1", "status": "deferred", "owner": None}
    play.add(given)
    assert play.value["tasks"] == [given]


def test_ids_are_made_where_there_are_none() -> None:
    play = Play(board("t1"))
    ids = play.add({"title": "a"}, {"id": "mine"}, {"title": "b"})
    assert ids[1] == "mine"
    assert len({*ids, "t1"}) == 4
    assert all(isinstance(one, str) and len(one) < 12 for one in ids)
    assert play.value["tasks"][1]["id"] == ids[0]


def test_an_id_that_is_taken_is_not_made_again() -> None:
    first = Play(None)
    made = first.add({})[0]
    second = Play(board(made))
    assert second.add({})[0] != made


def test_two_tasks_with_one_id_are_refused() -> None:
    play = Play(board("t1", "7"))
    refusal = play.refused("add", tasks=[{"id": "t2"}, {"id": 7}, {"id": "t1"}])
    assert (refusal.why, refusal.facts["ids"]) == ("duplicate", ["7", "t1"])
    assert play.refused("add", tasks=[{"id": "x"}, {"id": "x"}]).facts["ids"] == ["x"]
    assert len(play.value["tasks"]) == 2


def test_a_dependency_on_nothing_is_refused() -> None:
    play = Play(board("t1"))
    refusal = play.refused("add", tasks=[{"id": "t2", "dependencies": ["t1", "t9"]}, {"id": "t3", "dependencies": [2]}])
    assert refusal.why == "dependency"
    assert refusal.facts["missing"] == ["t2 on t9", "t3 on 2"]
    assert play.add({"id": "t2", "dependencies": ["t3"]}, {"id": "t3", "dependencies": ["t1"]}) == ["t2", "t3"]


@pytest.mark.parametrize(
    ("there", "added", "around"),
    [
        ({}, {"a": ["a"]}, ["a"]),
        ({}, {"a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c"]),
        ({"old": ["a"]}, {"a": ["old"]}, ["a", "old"]),
        ({"x": ["y"], "y": ["b"]}, {"a": ["x"], "b": ["a"]}, ["a", "x", "y", "b"]),
    ],
)
def test_tasks_that_would_wait_for_each_other_are_refused(
    there: dict[str, list[str]], added: dict[str, list[str]], around: list[str]
) -> None:
    play = Play({"tasks": [{"id": name, "dependencies": deps} for name, deps in there.items()]})
    refusal = play.refused("add", tasks=[{"id": name, "dependencies": deps} for name, deps in added.items()])
    assert (refusal.why, refusal.facts["ids"]) == ("cycle", around)


def test_many_ways_to_one_task_are_not_walked_one_by_one() -> None:
    layers = [[f"{layer}l", f"{layer}r"] for layer in range(40)]
    tasks = [
        {"id": name, "dependencies": layers[at - 1] if at else []} for at, two in enumerate(layers) for name in two
    ]
    assert len(Play(None).add(*tasks)) == 80


def test_a_diamond_is_no_cycle_and_neither_is_one_that_was_there_before() -> None:
    play = Play({"tasks": [{"id": "x", "dependencies": ["y", "new"]}, {"id": "y", "dependencies": ["x"]}]})
    play.add({"id": "top"}, {"id": "l", "dependencies": ["top"]}, {"id": "r", "dependencies": ["top"]})
    assert play.add({"id": "end", "dependencies": ["l", "r"]}) == ["end"]
    assert play.add({"id": "new"}, {"id": "late", "dependencies": ["x"]}) == ["new", "late"]


def test_a_task_added_again_after_it_was_deleted_begins_anew() -> None:
    play = Play(board("t1"))
    ((_, epoch),) = play.claim()
    play.tree.remove(["value", "tasks", 0])
    play.add({"id": "t1"})
    refusal = play.refused("heartbeat", id="t1", epoch=epoch)
    assert refusal.why == "superseded"
    granted = play.do("claim", "bob")["tasks"][0]
    assert granted["epoch"] > epoch
    assert granted["attempt"] == 1


# ── who is given what ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_says_all_that_its_holder_has_to_know() -> None:
    play = Play(board("t1", "t2"))
    result = play.do("claim", "ann", ttl_ms=5000)
    assert result == {
        "tasks": [
            {
                "id": "t1",
                "epoch": 1,
                "until_ms": NOW_MS + 5000,
                "attempt": 1,
                "task": {"id": "t1", "title": "Task t1", "status": "in-progress"},
            }
        ],
        "next_ms": NOW_MS + 5001,
        "claimable": 1,
    }
    assert play.value["tasks"][0] == {"id": "t1", "title": "Task t1", "status": "in-progress"}


def test_priority_goes_before_position_and_numbers_before_greater_ones() -> None:
    given = {"a": None, "b": "low", "c": "high", "d": 5, "e": 0, "f": "medium", "g": 1, "h": -1, "i": "whatever"}
    play = Play({"tasks": [{"id": name, "priority": priority} for name, priority in given.items()]})
    assert play.names(count=99) == ["h", "e", "c", "g", "a", "f", "i", "b", "d"]


def test_a_claim_takes_no_more_than_it_asks_for() -> None:
    play = Play(board("a", "b", "c"))
    result = play.do("claim", count=2)
    assert [one["id"] for one in result["tasks"]] == ["a", "b"]
    assert result["claimable"] == 1
    assert play.names(count=2) == ["c"]
    assert play.do("claim") == {"tasks": [], "next_ms": NOW_MS + 1001, "claimable": 0}


def test_only_what_is_pending_can_be_claimed() -> None:
    statuses = ["in-progress", "done", "failed", "cancelled", "deferred", "review", 7, None, "pending"]
    play = Play({"tasks": [{"id": at, "status": status} for at, status in enumerate(statuses)]})
    assert play.names(count=99) == ["7", "8"]


def test_a_task_waits_for_all_it_depends_on() -> None:
    play = Play({"tasks": [{"id": 1}, {"id": "2"}, {"id": 3, "dependencies": ["1", 2, 2]}]})
    claims = play.claim(count=9)
    assert [name for name, _ in claims] == ["1", "2"]
    play.do("complete", id=1, epoch=claims[0][1])
    assert play.names() == []
    assert play.tasks()["3"]["blocked_by"] == ["2"]
    play.do("complete", id="2", epoch=claims[1][1])
    assert play.names() == ["3"]


def test_a_task_whose_dependency_is_not_done_but_ended_stays_where_it_is() -> None:
    play = Play({"tasks": [{"id": "a"}, {"id": "b", "dependencies": ["a"]}, {"id": "c", "dependencies": ["zzz"]}]})
    play.do("cancel", id="a")
    assert play.names(count=9) == []


def test_what_was_done_stays_done_for_others_when_it_is_deleted() -> None:
    play = Play({"tasks": [{"id": "a"}, {"id": "b", "dependencies": ["a"]}]})
    ((_, epoch),) = play.claim()
    play.do("complete", id="a", epoch=epoch)
    play.tree.remove(["value", "tasks", 0])
    play.add({"id": "c", "dependencies": ["a"]})
    assert play.names(count=9) == ["b", "c"]


def test_an_agent_is_given_only_what_it_can_do() -> None:
    play = Play(
        {
            "tasks": [
                {"id": "gpu", "needs": ["python", "gpu"]},
                {"id": "py", "needs": ["python"]},
                {"id": "any", "needs": []},
                {"id": "rust", "needs": ["rust"], "priority": "high"},
                {"id": "odd", "needs": "python"},
            ]
        }
    )
    assert play.do("claim", needs=["python", "go"])["claimable"] == 1
    assert play.names(needs=["python"], count=9) == ["any"]
    assert play.names(needs=[]) == []
    assert play.names(count=9) == ["rust", "gpu"]
    assert play.stats()["unreadable"] == 1


def test_what_somebody_marked_done_is_not_done_once_it_is_deleted() -> None:
    for first in (True, False):
        done, waiting = {"id": "a", "status": "done"}, {"id": "b", "dependencies": ["a"]}
        play = Play({"tasks": [{"id": "c"}, *((done, waiting) if first else (waiting, done))]})
        assert play.names(ids=["c"]) == ["c"]
        play.tree.remove(["value", "tasks", 1 if first else 2])
        assert play.names(count=9) == []


def test_a_filter_on_fields() -> None:
    play = Play(
        {
            "tasks": [
                {"id": "a", "area": "ui", "size": 1},
                {"id": "b", "area": "db", "size": True},
                {"id": "c", "area": ["db", "ui"]},
                {"id": "d", "area": "db", "size": 1},
                {"id": "e"},
            ]
        }
    )
    assert play.names(where={"area": "db", "size": 1}, count=9) == ["d"]
    assert play.names(where={"area": ["db", "x"]}) == ["b"]
    assert play.do("claim", where={"area": "ui"})["claimable"] == 1
    assert play.names(where={"area": "ui"}, count=9) == ["c"]
    assert play.names(where={"area": None}) == ["e"]


def test_a_filter_sees_what_changes_later() -> None:
    play = Play(board("a", "b", "c", area="x"))
    assert play.names(where={"area": "y"}) == []
    play.tree.put(["value", "tasks", 1, "area"], "y")
    assert play.names(where={"area": "x"}, count=9) == ["a", "c"]
    assert play.names(where={"area": "y"}, count=9) == ["b"]


def test_more_filters_than_are_remembered() -> None:
    play = Play({"tasks": [{"id": str(at), "kind": at % 40} for at in range(80)]})
    for kind in [*range(40), *range(40)]:
        assert len(play.names(where={"kind": kind})) == 1
    assert play.stats()["claimable"] == 0
    assert len(index_of(play.tree, play.spec).queues._wheres) == WHERES_MAX


def test_only_those_that_are_named() -> None:
    play = Play({"tasks": [{"id": 1}, {"id": "2", "priority": "high"}, {"id": 3}, {"id": 4, "dependencies": [1]}]})
    result = play.do("claim", ids=["1", 2, 4, "nope"], count=1)
    assert ([one["id"] for one in result["tasks"]], result["claimable"]) == (["2"], 1)
    assert result["next_ms"] == NOW_MS + 1001
    assert play.names(ids=[4, 2, 1, 1], count=9) == ["1"]
    assert play.names(ids=[]) == []


def test_another_board_in_the_document_has_claims_of_its_own() -> None:
    play = Play({"tasks": [{"id": "a"}, {"id": "b", "dependencies": ["a"]}], "more": [{"id": "a"}, {"id": "b"}]})
    assert play.names(count=9) == ["a"]
    play.spec = {"format": "list", "at": "/more"}
    assert play.names(count=9) == ["a", "b"]
    play.do("complete", id="a", epoch=2)
    assert play.refused("complete", id="b", epoch=9).why == "unknown"
    play.spec = {"format": "list", "at": "/tasks"}
    assert play.names(count=9) == []
    play.do("complete", id="a", epoch=1)
    play.spec = {"format": "default"}
    assert play.claim(count=9) == [("b", 4)]
