"""Which tasks a document holds, and which of them there are to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import coordinator.demo
from coordinator.demo.plan import (
    NoTasks,
    Plan,
    any_pending,
    board_options,
    describe,
    find_tasks,
    form_of,
    make_plan,
    next_claimable,
    open_tasks,
    prepare,
    set_status,
    status_pointers,
)


def task(name: Any, status: str = "pending", *dependencies: Any, **more: Any) -> dict[str, Any]:
    return {"id": name, "status": status, "dependencies": list(dependencies), **more}


TAGGED = {
    "master": {"tasks": [task(1, "done"), task(2, "pending", 1)], "metadata": {"created": "2025-01-01"}},
    "side": {"tasks": [task("1"), task("2", "pending", "1")], "metadata": {}},
    "notes": "not a list of tasks",
}


@pytest.mark.parametrize(
    ("document", "form", "addresses"),
    [
        ([task(1), task("b")], "list", [("", "1"), ("", "b")]),
        ({"version": 3, "tasks": [task(1), task("b")]}, "plain", [("", "1"), ("", "b")]),
        (TAGGED, "tagged", [("master", "1"), ("master", "2"), ("side", "1"), ("side", "2")]),
    ],
)
def test_tasks_are_found_in_every_form(document: Any, form: str, addresses: list[tuple[str, str]]) -> None:
    assert form_of(document) == form
    assert list(find_tasks(document)) == addresses


@pytest.mark.parametrize("document", [{}, {"a": {"b": []}}, "text", 3, None, {"tasks": {}}])
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(NoTasks):
        form_of(document)


@pytest.mark.parametrize("document", [[], {"tasks": []}, [{"title": "no id"}], [{"id": True, "status": "pending"}]])
def test_a_document_without_a_task_is_refused(document: Any) -> None:
    with pytest.raises(NoTasks):
        make_plan(document, workers=2, most=10)


def test_an_id_that_stands_twice_addresses_nothing() -> None:
    assert list(find_tasks([task(1), task("1"), task(2)])) == [("", "2")]


def test_a_task_waits_for_its_dependencies_of_its_own_tag() -> None:
    document = {"a": {"tasks": [task(1), task(2, "pending", "1")]}, "b": {"tasks": [task(1, "done")]}}
    plan = Plan("tagged", (("a", "2"), ("a", "1")))
    assert next_claimable(document, plan) == ("a", "1")
    assert set_status(document, ("a", "1"), "in-progress") == "pending"
    assert next_claimable(document, plan) is None
    assert any_pending(document, plan)
    set_status(document, ("a", "1"), "done")
    assert next_claimable(document, plan) == ("a", "2")
    set_status(document, ("a", "2"), "in-progress")
    assert not any_pending(document, plan)


def test_dependencies_may_be_subtasks_and_what_is_not_there_is_not_done() -> None:
    parent = task(3, "in-progress", subtasks=[{"id": 1, "status": "done"}, {"id": 2, "status": "pending"}])
    for dependency, ready in (("3.1", True), ("3.2", False), ("3.9", False), (99, False)):
        document = [parent, task(4, "pending", dependency)]
        assert (next_claimable(document, Plan("list", (("", "4"),))) is not None) is ready


def test_a_plan_honours_dependencies_when_enough_can_be_done_so() -> None:
    document = [task(n) for n in range(6)] + [task(10, "pending", 1), task(11, "pending", 10), task(12, "pending", 99)]
    plan = make_plan(document, workers=2, most=100)
    assert plan.honours_dependencies
    assert plan.chosen[-2:] == (("", "10"), ("", "11"))  # and not 12, whose dependency is nowhere
    assert len(plan.chosen) == 8
    assert make_plan(document, workers=2, most=7).chosen == plan.chosen[:7]


def test_a_plan_leaves_dependencies_aside_when_too_few_are_ready_at_once() -> None:
    chain = [task(n, "pending", *([n - 1] if n else [])) for n in range(20)]
    plan = make_plan(chain, workers=2, most=100)
    assert not plan.honours_dependencies
    assert not plan.reset
    assert len(plan.chosen) == 20
    assert "not honoured" in describe(plan)


def test_tasks_are_set_back_when_too_few_are_pending_and_it_is_said() -> None:
    document = [task(1), *(task(n, "completed") for n in range(2, 12))]
    plan = make_plan(document, workers=2, most=100)
    assert plan.chosen == tuple(("", str(n)) for n in range(1, 7))
    assert plan.reset == plan.chosen[1:]
    assert "5 of them were set back" in describe(plan)
    assert document[1]["status"] == "completed"
    prepare(document, plan)
    assert [t["status"] for t in document] == ["pending"] * 6 + ["completed"] * 5


def test_the_words_are_those_of_the_file() -> None:
    document = [task(1, "todo"), task(2, "in_progress"), task(3, "completed")]
    plan = make_plan(document, workers=2, most=10)
    assert (plan.pending, plan.in_progress, plan.done) == ("todo", "in_progress", "completed")
    plan = make_plan([task(1)], workers=2, most=10)
    assert (plan.pending, plan.in_progress, plan.done) == ("pending", "in-progress", "done")


def test_a_plan_survives_its_way_to_the_workers() -> None:
    plan = make_plan(TAGGED, workers=2, most=10)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_file_that_ships_needs_no_help() -> None:
    path = Path(coordinator.demo.__file__).with_name("tasks.json")
    document = json.loads(path.read_bytes())
    plan = make_plan(document, workers=8, most=120)
    assert 60 <= len(plan.chosen) <= 100
    assert plan.honours_dependencies
    pending = [a for a, t in find_tasks(document).items() if t["status"] == "pending"]
    assert set(plan.chosen) == set(pending)  # no dependency that can never be met


# ── over logs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_open_are_the_chosen_that_are_not_done_and_those_in_progress_are() -> None:
    plan = Plan("tagged", (("master", "2"), ("side", "1"), ("side", "2"), ("side", "gone")))
    assert open_tasks(TAGGED, plan) == {"master": ["2"], "side": ["1"]}
    assert open_tasks(TAGGED, plan, ready=False) == {"master": ["2"], "side": ["1", "2"]}
    document = json.loads(json.dumps(TAGGED))
    set_status(document, ("side", "1"), "in-progress")
    assert open_tasks(document, plan) == {"master": ["2"], "side": ["1"]}
    set_status(document, ("side", "1"), "completed")
    assert open_tasks(document, plan) == {"master": ["2"], "side": ["2"]}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([task(1), "no task", task("b")], {"/0/status": ("", "1"), "/2/status": ("", "b")}),
        ({"tasks": [task(1), task(1), task(2)]}, {"/tasks/2/status": ("", "2")}),
        ({"a/b~c": {"tasks": [task(1)]}, "x": 1}, {"/a~1b~0c/tasks/0/status": ("a/b~c", "1")}),
    ],
)
def test_where_statuses_stand(document: Any, expected: Any) -> None:
    assert status_pointers(document) == expected


@pytest.mark.parametrize(("form", "at"), [("list", ""), ("plain", "/tasks"), ("tagged", "/a~1b~0c/tasks")])
def test_a_board_is_told_where_the_tasks_are_and_the_words_of_the_file(form: str, at: str) -> None:
    plan = Plan(form, (), pending="todo", in_progress="in_progress", done="completed")
    options = board_options(plan, "a/b~c")
    assert (options["format"], options["at"]) == ("list", at)
    assert options["states"] == {
        "pending": ["todo", "pending"],
        "in-progress": ["in_progress", "in-progress"],
        "done": ["completed", "done"],
    }
