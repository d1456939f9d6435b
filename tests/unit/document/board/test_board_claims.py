"""Holding a task: deadlines, coming too late, failing, giving back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from board_steps import NOW_MS, Play, board

from coordinator.document.board.late import LATE_MAX, LATE_MAX_BYTES
from coordinator.document.board.rules import BACKOFF_MAX_MS, BACKOFF_MS


def claimed(*names: str, **fields: Any) -> tuple[Play, list[int]]:
    """A board whose tasks ann holds, and their epochs."""
    play = Play(board(*names, **fields))
    return play, [epoch for _, epoch in play.claim(count=len(names))]


# ── the end of a claim ───────────────────────────────────────────────────────────────────────────────────────────────


def test_done() -> None:
    play, [epoch] = claimed("a")
    assert play.do("complete", id="a", epoch=epoch, result={"lines": [1]}) == {"id": "a", "epoch": 1, "status": "done"}
    assert play.value["tasks"][0] == {"id": "a", "title": "Task a", "status": "done", "result": {"lines": [1]}}
    play.tree.add(["value", "tasks", 0, "result", "lines", "-"], 2)
    play.add({"id": "b", "deep": []})
    play.tree.add(["value", "tasks", 1, "deep", "-"], 2)
    play.names()  # which makes sure that the operations were not changed by that
    play.tree.replace(["value", "tasks", 0, "result"], {"lines": [1]})
    told = play.tasks()["a"]
    assert (told["status"], told["by"], told["holder"], told["result"]) == ("done", "ann", None, {"lines": [1]})


def test_the_same_completion_once_more_changes_nothing() -> None:
    play, [epoch] = claimed("a")
    play.do("complete", id="a", epoch=epoch, result=1)
    side = copy.deepcopy(play.tree.side)
    assert play.do("complete", id="a", epoch=epoch, result=2) == {
        "id": "a",
        "epoch": 1,
        "status": "done",
        "again": True,
    }
    assert play.value["tasks"][0]["result"] == 1
    assert play.tree.side == side


def test_given_back_is_as_though_it_had_not_been_taken() -> None:
    play, [epoch] = claimed("a", max_attempts=1)
    assert play.do("release", id="a", epoch=epoch) == {"id": "a", "epoch": 1, "status": "pending"}
    granted = play.do("claim", "bob")["tasks"][0]
    assert (granted["epoch"], granted["attempt"]) == (2, 1)
    refusal = play.refused("release", id="a", epoch=epoch)
    assert (refusal.why, refusal.winner, refusal.facts["winner_epoch"]) == ("superseded", "bob", 2)


def test_who_gave_back_is_not_the_holder_any_more() -> None:
    play, [epoch] = claimed("a")
    play.do("release", id="a", epoch=epoch)
    refusal = play.refused("heartbeat", id="a", epoch=epoch)
    assert (refusal.why, refusal.winner, refusal.facts["status"]) == ("superseded", "", "released")


def test_cancelled_whoever_holds_it() -> None:
    play, [epoch, _] = claimed("a", "b")
    assert play.do("cancel", "eve", id="a", reason="obsolete") == {"id": "a", "status": "cancelled", "holder": "ann"}
    told = play.tasks()["a"]
    assert (told["status"], told["by"], told["reason"], told["holder"]) == ("cancelled", "eve", "obsolete", None)
    assert play.refused("heartbeat", id="a", epoch=epoch).winner == "eve"
    late = play.do("complete", id="a", epoch=epoch, result="anyway")
    assert (late["refused"], late["winner"], late["kept"]) == ("superseded", "eve", True)
    assert play.status("a") == "cancelled"
    assert play.do("cancel", id="a")["holder"] is None
    assert play.tasks()["a"]["by"] == "eve"


def test_what_is_done_cannot_be_cancelled() -> None:
    play, [epoch] = claimed("a")
    play.do("complete", id="a", epoch=epoch)
    refusal = play.refused("cancel", "eve", id="a")
    assert (refusal.why, refusal.winner) == ("done", "ann")
    assert play.refused("cancel", id="zzz").why == "unknown"


# ── failing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_failed_for_good() -> None:
    play, [epoch] = claimed("a")
    answer = play.do("fail", id="a", epoch=epoch, error="no such file", retryable=False)
    assert answer == {
        "id": "a", "epoch": 1, "attempts": 1, "max_attempts": 3, "status": "failed", "not_before_ms": None,
    }  # fmt: skip
    assert play.value["tasks"][0]["error"] == "no such file"
    assert play.names() == []
    assert play.tasks()["a"]["error"] == "no such file"


def test_failed_and_tried_again_after_a_pause_that_doubles() -> None:
    play = Play(board("a", max_attempts=3))
    for attempt, least_ms in ((1, BACKOFF_MS), (2, 2 * BACKOFF_MS)):
        ((_, epoch),) = play.claim()
        answer = play.do("fail", id="a", epoch=epoch, error=f"try {attempt}", retryable=True)
        assert answer["status"] == play.status("a") == "pending"
        pause_ms = answer["not_before_ms"] - play.now_ms
        assert least_ms <= pause_ms <= least_ms * 1.25
        assert play.do("claim") == {"tasks": [], "next_ms": answer["not_before_ms"], "claimable": 0}
        play.now_ms = answer["not_before_ms"] - 1
        assert play.names() == []
        assert play.tasks()["a"]["error"] == f"try {attempt}"
        play.now_ms += 1
    ((_, epoch),) = play.claim()
    assert play.do("fail", id="a", epoch=epoch, error="x", retryable=True)["status"] == "failed"
    assert play.tasks()["a"]["attempts"] == 3


@pytest.mark.parametrize(("given_ms", "paused_ms"), [(0, 0), (77, 77)])
def test_a_pause_as_asked_for(given_ms: int, paused_ms: int) -> None:
    play, [epoch] = claimed("a")
    answer = play.do("fail", id="a", epoch=epoch, error="", retryable=True, delay_ms=given_ms)
    assert answer["not_before_ms"] == NOW_MS + paused_ms
    play.now_ms += paused_ms
    assert play.names() == ["a"]


def test_no_pause_grows_beyond_all_bounds() -> None:
    play = Play(board("a", max_attempts=100))
    for _ in range(99):
        ((_, epoch),) = play.claim()
        pause_ms = play.do("fail", id="a", epoch=epoch, error="", retryable=True)["not_before_ms"] - play.now_ms
        assert pause_ms <= BACKOFF_MAX_MS
        play.now_ms += pause_ms
    assert pause_ms == BACKOFF_MAX_MS


def test_pauses_of_tasks_that_fail_together_end_apart() -> None:
    play, epochs = claimed(*"abcdef")
    ends = {
        play.do("fail", id=name, epoch=epoch, error="", retryable=True)["not_before_ms"]
        for name, epoch in zip("abcdef", epochs, strict=True)
    }
    assert len(ends) > 3


def test_a_failed_task_that_somebody_sets_back_begins_anew() -> None:
    play, [epoch] = claimed("a", max_attempts=1)
    play.do("fail", id="a", epoch=epoch, error="x", retryable=True)
    play.tree.replace(["value", "tasks", 0, "status"], "pending")
    granted = play.do("claim", "bob")["tasks"][0]
    assert granted["attempt"] == 1
    play.do("complete", "bob", id="a", epoch=granted["epoch"])
    assert "error" not in play.value["tasks"][0]


# ── workers that are not heard of any more ───────────────────────────────────────────────────────────────────────────


def test_the_task_of_a_dead_worker_comes_back_by_itself() -> None:
    play, [epoch] = claimed("a")
    play.now_ms += 1000
    assert play.names("bob") == []
    play.now_ms += 1
    granted = play.do("claim", "bob")["tasks"][0]
    assert (granted["id"], granted["attempt"]) == ("a", 2)
    late = play.do("complete", "ann", id="a", epoch=epoch, result={"found": 1})
    assert late == {
        "refused": "superseded",
        "id": "a",
        "epoch": epoch,
        "winner": "bob",
        "winner_epoch": granted["epoch"],
        "kept": True,
        "text": "task a was claimed anew by bob (epoch 2)",
    }
    assert play.tree.side["board"]["late"]["a"] == [
        {"epoch": epoch, "agent": "ann", "at_ms": play.now_ms, "result": {"found": 1}}
    ]
    assert play.tasks()["a"]["holder"] == "bob"
    play.do("complete", "bob", id="a", epoch=granted["epoch"], result="bob's")
    assert play.do("complete", "ann", id="a", epoch=epoch)["text"] == "task a is done already, by bob"
    assert play.value["tasks"][0]["result"] == "bob's"


@pytest.mark.parametrize("do", ["heartbeat", "complete", "fail", "release", "cancel"])
def test_every_word_of_another_lets_dead_workers_go(do: str) -> None:
    play, [_, epoch] = claimed("a", "b")
    play.do("heartbeat", id="b", epoch=epoch, ttl_ms=50_000)
    play.now_ms += 1001
    more: dict[str, Any] = {"error": "", "retryable": False} if do == "fail" else {}
    if do != "cancel":
        more["epoch"] = epoch
    play.do(do, id="b", **more)
    assert (play.status("a"), play.tasks()["a"]["holder"]) == ("pending", None)


def test_a_task_that_kills_its_workers_is_given_up() -> None:
    play = Play(board("a", max_attempts=2))
    for attempt in (1, 2):
        assert play.do("claim")["tasks"][0]["attempt"] == attempt
        play.now_ms += 1001
    assert play.do("claim") == {"tasks": [], "next_ms": None, "claimable": 0}
    assert play.value["tasks"][0]["status"] == "failed"
    assert play.value["tasks"][0]["error"] == play.tasks()["a"]["error"] == "abandoned"


@pytest.mark.parametrize("most", [1, 3])
def test_who_is_late_but_was_not_replaced_may_finish(most: int) -> None:
    play, [epoch] = claimed("a", max_attempts=most)
    play.now_ms += 5000
    play.do("cancel", id=play.add({"id": "z"})[0])
    assert play.status("a") == ("failed" if most == 1 else "pending")
    assert play.do("complete", id="a", epoch=epoch, result=1)["status"] == "done"
    assert play.value["tasks"][0] == {
        "id": "a", "title": "Task a", "status": "done", "max_attempts": most, "result": 1,
    }  # fmt: skip


@pytest.mark.parametrize("most", [1, 3])
def test_who_is_late_but_was_not_replaced_may_go_on(most: int) -> None:
    play, [epoch] = claimed("a", max_attempts=most)
    play.now_ms += 5000
    play.do("cancel", id=play.add({"id": "z"})[0])
    until_ms = play.now_ms + 700
    assert play.do("heartbeat", id="a", epoch=epoch, ttl_ms=700) == {"id": "a", "epoch": 1, "until_ms": until_ms}
    assert play.value["tasks"][0] == {"id": "a", "title": "Task a", "status": "in-progress", "max_attempts": most}
    assert play.names("bob") == []
    play.now_ms = until_ms + 1
    assert play.names("bob") == (["a"] if most == 3 else [])


def test_overdue_is_not_over_for_the_holder_who_speaks_first() -> None:
    play, [epoch] = claimed("a")
    play.now_ms += 5000
    play.do("heartbeat", id="a", epoch=epoch)
    assert (play.status("a"), play.names("bob")) == ("in-progress", [])


def test_a_heartbeat_never_shortens() -> None:
    play, [epoch] = claimed("a")
    assert play.do("heartbeat", id="a", epoch=epoch, ttl_ms=100)["until_ms"] == NOW_MS + 1000
    assert play.do("heartbeat", id="a", epoch=epoch, ttl_ms=9000)["until_ms"] == NOW_MS + 9000
    play.now_ms += 9000
    assert play.do("claim", "bob") == {"tasks": [], "next_ms": NOW_MS + 9001, "claimable": 0}


def test_late_results_are_kept_within_bounds() -> None:
    play = Play(board("a", max_attempts=99))
    for attempt in range(12):
        play.claim(f"w{attempt}")
        play.now_ms += 1001
    play.names("winner")
    for attempt in range(12):
        kept = play.do("complete", f"w{attempt}", id="a", epoch=attempt + 1, result=attempt)["kept"]
        assert kept
    assert [one["result"] for one in play.tree.side["board"]["late"]["a"]] == list(range(12))[-LATE_MAX:]
    assert play.tasks()["a"]["late"] == LATE_MAX
    assert play.do("complete", id="a", epoch=1, result="x" * (LATE_MAX_BYTES - 2))["kept"]
    assert not play.do("complete", id="a", epoch=2, result="é" * (LATE_MAX_BYTES // 2))["kept"]
    assert not play.do("complete", id="a", epoch=3)["kept"]
    play.do("complete", id="a", epoch=1, result="again")
    assert [one["epoch"] for one in play.tree.side["board"]["late"]["a"]].count(1) == 1


def test_an_epoch_that_was_never_given_is_not_one_that_was_lost() -> None:
    play, _ = claimed("a")
    for do in ("heartbeat", "complete", "release"):
        assert play.refused(do, id="a", epoch=9).why == "unknown"
        assert play.refused(do, id="b", epoch=1).why == "unknown"


def test_epochs_only_grow() -> None:
    play = Play(board("a", "b"))
    seen = []
    for _ in range(3):
        seen += [epoch for _, epoch in play.claim(count=2)]
        play.do("release", id="a", epoch=seen[-2])
        play.now_ms += 1001
    assert seen == [1, 2, 3, 4, 5, 6]


# ── changes by hand ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_claims_follow_their_tasks_when_the_file_is_put_in_another_order() -> None:
    play, epochs = claimed("a", "b", "c")
    tasks = play.value["tasks"]
    play.tree.replace(["value", "tasks"], [tasks[2], {"id": "new"}, tasks[0]])
    play.do("complete", id="c", epoch=epochs[2])
    play.do("complete", id="a", epoch=epochs[0])
    assert [task["status"] for task in play.value["tasks"] if task["id"] != "new"] == ["done", "done"]
    assert play.refused("heartbeat", id="b", epoch=epochs[1]).why == "gone"
    late = play.do("complete", id="b", epoch=epochs[1], result="work")
    assert (late["refused"], late["kept"]) == ("gone", True)
    play.now_ms += 9999
    assert play.names(count=9) == ["new"]


@pytest.mark.parametrize("status", ["cancelled", "failed", "deferred"])
def test_what_a_person_took_away_is_lost(status: str) -> None:
    play, [epoch] = claimed("a")
    play.tree.replace(["value", "tasks", 0, "status"], status)
    assert play.refused("heartbeat", id="a", epoch=epoch).why == "superseded"
    assert play.refused("fail", id="a", epoch=epoch, error="", retryable=True).why == "superseded"
    late = play.do("complete", id="a", epoch=epoch, result=1)
    assert (late["refused"], late["kept"]) == ("superseded", True)
    play.now_ms += 9999
    assert play.names() == []
    assert play.status("a") == status


def test_what_was_given_up_and_then_cancelled_by_hand_stays_so() -> None:
    play, [epoch] = claimed("a", max_attempts=1)
    play.now_ms += 1001
    play.names()
    play.tree.replace(["value", "tasks", 0, "status"], "cancelled")
    assert play.do("complete", id="a", epoch=epoch)["refused"] == "superseded"


def test_a_worker_may_mark_its_task_done_with_its_own_tool_first() -> None:
    play, [epoch] = claimed("a")
    play.tree.replace(["value", "tasks", 0, "status"], "done")
    assert play.do("heartbeat", id="a", epoch=epoch)["id"] == "a"
    assert play.refused("release", id="a", epoch=epoch).facts["status"] == "done"
    assert play.do("complete", id="a", epoch=epoch, result=1)["status"] == "done"
    assert play.value["tasks"][0]["result"] == 1


def test_a_claim_on_what_was_done_by_hand_ends_quietly() -> None:
    play, _ = claimed("a")
    play.tree.replace(["value", "tasks", 0, "status"], "done")
    play.now_ms += 9999
    assert play.do("claim") == {"tasks": [], "next_ms": None, "claimable": 0}
    assert play.status("a") == "done"


def test_a_held_task_set_to_pending_by_hand_is_held_until_its_time_is_over() -> None:
    play, _ = claimed("a")
    play.tree.replace(["value", "tasks", 0, "status"], "pending")
    assert play.names("bob") == []
    play.now_ms += 1001
    assert play.names("bob") == ["a"]


def test_a_task_set_to_pending_by_hand_still_counts_its_attempts() -> None:
    play, _ = claimed("a", max_attempts=1)
    play.tree.replace(["value", "tasks", 0, "status"], "pending")
    play.now_ms += 1001
    assert play.names("bob") == []
    assert play.status("a") == "failed"


def test_who_comes_back_leaves_what_a_person_said_meanwhile() -> None:
    play, [epoch] = claimed("a")
    play.now_ms += 1001
    play.tree.replace(["value", "tasks", 0, "status"], "review")
    assert play.names("bob") == []
    play.do("heartbeat", id="a", epoch=epoch)
    assert play.status("a") == "review"
    play.do("complete", id="a", epoch=epoch)
    assert play.status("a") == "done"


def test_in_progress_by_hand_is_nobody_elses() -> None:
    play = Play(board("a", status="in-progress"))
    play.now_ms += 99_999
    assert play.names() == []
