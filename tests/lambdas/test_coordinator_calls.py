"""Every call of the coordinator function by its real handler: what it does, again when tried again, what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from coordinator_fixtures import compactor, one, other, stack, variables  # noqa: F401 - fixtures
from coordinator_support import Environment, counted, of, url_event, wish

if TYPE_CHECKING:
    from compactor_support import Stack

pytest.importorskip("aws_lambda_powertools", reason="the functions need the extra `lambda`")
ON_BOARD: dict[str, Any] = {"document": "t.json", "agent": "reviewer-1", "wait_ms": 4000}
CHANGE = [{"op": "add", "path": "/done/-", "value": 1}]


def many(request_id: str, *names: str, agent: str = "reviewer-1") -> dict[str, Any]:
    return {"names": list(names), "agent": agent, "request_id": request_id}


def board_of(stack: Stack, one: Environment, *ids: str) -> None:
    stack.mounted.document("t.json").commit_json({"tasks": []}, if_revision=0)
    tasks = [{"id": task, "title": task} for task in ids]
    assert one.call("tasks/add", **ON_BOARD, op_id="add", tasks=tasks)[0] == 200


def claimed(one: Environment, op_id: str, **more: Any) -> dict[str, Any]:
    status, told = one.call("tasks/claim_next", **ON_BOARD, op_id=op_id, **more)
    assert status == 200, told
    (task,) = told["receipt"]["result"]["tasks"]
    assert isinstance(task, dict)
    return task


def status_of(one: Environment, task: str) -> str:
    found = one.call("tasks/get", document="t.json", id=task)
    assert found[0] == 200, found
    return str(found[1]["task"]["status"])


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_several_leases_all_or_none(one: Environment, other: Environment) -> None:
    status, told = one.call("leases/acquire_many", **many("m-1", "b.json", "a.json", "b.json"))
    assert (status, [lease["name"] for lease in told["leases"]]) == (200, ["a.json", "b.json"])
    again = other.call("leases/acquire_many", **many("m-1", "b.json", "a.json", "b.json"))[1]
    assert [lease["token"] for lease in again["leases"]] == [lease["token"] for lease in told["leases"]]
    refused = other.invoke(url_event("leases/acquire_many", many("m-2", "0.json", "b.json", agent="reviewer-2")))
    status, error = of(refused)
    assert (status, error["error"], error["fields"]["holder"]) == (409, "LeaseHeld", "reviewer-1")
    assert refused["returned"]["headers"]["Retry-After"]
    assert one.call("leases/inspect", name="0.json")[1]["state"] == "free", "what was had already is freed"
    for lease in told["leases"]:
        assert one.call("leases/release", token=lease["token"], agent="reviewer-1")[0] == 200


def test_asked_to_let_go_the_holder_is_told(one: Environment, other: Environment) -> None:
    ask = {"name": "tasks.json", "agent": "reviewer-2", "grace_ms": 5000}
    assert other.call("leases/request_release", **ask) == (200, {"released": True}), "nobody holds it"
    held = one.call("leases/acquire", **wish("r-1"))[1]
    other.send(url_event("leases/request_release", ask))
    while not one.call("leases/renew", token=held["token"], agent="reviewer-1")[1]["waiting"]:
        pass
    assert one.call("leases/release", token=held["token"], agent="reviewer-1")[0] == 200
    assert of(other.receive()) == (200, {"released": True})


def test_a_history_tells_who_had_it_and_a_list_what_there_is(one: Environment) -> None:
    for name in ("b.json", "a.json", "c.json"):
        held = one.call("leases/acquire", **wish(f"r-{name}") | {"name": name})[1]
    one.call("leases/release", token=held["token"], agent="reviewer-1")
    records = one.call("leases/history", name="c.json")[1]["records"]
    assert [(row["kind"], row["agent"]) for row in records] == [("grant", "reviewer-1"), ("release", "reviewer-1")]
    assert one.call("leases/history", name="c.json", limit=1)[1]["records"] == records[1:]
    first = one.call("leases/list", limit=2)[1]
    assert [row["resource"] for row in first["resources"]] == ["a.json", "b.json"]
    rest = one.call("leases/list", limit=2, after=first["next"])[1]
    assert ([row["resource"] for row in rest["resources"]], rest["next"]) == (["c.json"], None)


# ── operations, and reading ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_became_of_operations_and_what_they_changed(stack: Stack, one: Environment) -> None:
    stack.mounted.document("a.json").commit_json({"done": []}, if_revision=0)
    about: dict[str, Any] = {"document": "a.json", "agent": "reviewer-1"}
    wrong = [{"op": "test", "path": "/done", "value": "no"}]
    operations = [{"op_id": "o-1", "change": CHANGE}, {"op_id": "o-2", "change": wrong}]
    told = one.call("operations/submit", **about, operations=operations, wait_ms=4000)[1]["receipts"]
    assert [row["state"] for row in told] == ["applied", "rejected"]
    later = one.call("operations/receipts", **about, op_ids=["o-1", "o-2", "never"], wait_ms=0)
    assert [row["state"] for row in later[1]["receipts"]] == ["applied", "rejected", "durable"], later
    changes = one.call("documents/changes", document="a.json", since=1)[1]["changes"]
    assert [(one["op_id"], one["patch"]) for change in changes for one in change["operations"] if one["patch"]] == [
        ("o-1", CHANGE)
    ]
    found = one.call("documents/read", document="a.json", at_least=told[0]["revision"])
    assert (found[0], json.loads(found[1]["text"])) == (200, {"done": [1]})


@pytest.mark.parametrize(
    ("change", "more", "argument"),
    [
        ([{"op": "add"}], {}, "op"),
        ([{"op": "leap", "path": "/a"}], {}, "leap"),
        (CHANGE, {"if_revision": -1}, ""),
        (CHANGE, {"wait_ms": -1}, ""),
        ([{"op": "add", "path": "/a", "value": "x" * 70_000}], {}, "operation"),
    ],
)
def test_an_operation_that_is_none_is_refused_and_says_where(
    one: Environment, change: Any, more: dict[str, Any], argument: str
) -> None:
    """Appended, one that no fold knows would stop every later fold of the document."""
    operation = {"op_id": "o-1", "change": change, **{key: more[key] for key in more if key == "if_revision"}}
    waits = {key: more[key] for key in more if key == "wait_ms"}
    asked = {"document": "a.json", "agent": "reviewer-1", "operations": [operation], **waits}
    told = one.invoke(url_event("operations/submit", asked))
    status, error = of(told)
    assert status == 422, error
    assert error["message"]
    assert not argument or argument in str(error["fields"]), error
    assert counted(told, "Refusals") == 1


def test_of_a_document_that_is_not_there(one: Environment) -> None:
    for call in ("documents/read", "tasks/list", "tasks/stats"):
        status, told = one.call(call, document="nowhere.json")
        assert (status, told["error"]) == (404, "NoSuchDocument"), call


# ── boards ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "words",
    [
        ("complete", {"result": {"n": 1}}, "done"),
        ("fail", {"error": "no", "retryable": False}, "failed"),
        ("fail", {"error": "no", "retryable": True, "delay_ms": 0}, "pending"),
        ("release", {}, "pending"),
        ("heartbeat", {"ttl_ms": 60_000}, "in-progress"),
    ],
    ids=["complete", "fail", "fail-retryable", "release", "heartbeat"],
)
def test_what_the_holder_of_a_claim_says(
    stack: Stack, one: Environment, other: Environment, words: tuple[str, dict[str, Any], str]
) -> None:
    verb, more, becomes = words
    board_of(stack, one, "t-1")
    task = claimed(one, "c-1")
    said = {**ON_BOARD, "op_id": "s-1", "id": "t-1", "epoch": task["epoch"], **more}
    first = one.call(f"tasks/{verb}", **said)
    assert (first[0], first[1]["receipt"]["state"]) == (200, "applied"), first
    again = other.call(f"tasks/{verb}", **said)
    assert (again[0], again[1]["receipt"]["revision"]) == (200, first[1]["receipt"]["revision"])
    assert status_of(one, "t-1") == becomes


def test_a_claim_that_a_successor_has_is_refused_with_its_name(stack: Stack, one: Environment) -> None:
    board_of(stack, one, "t-1")
    late = claimed(one, "c-1")
    freed = {**ON_BOARD, "op_id": "r-1", "id": "t-1", "epoch": late["epoch"]}
    assert one.call("tasks/release", **freed)[0] == 200
    told = one.call("tasks/claim_next", **{**ON_BOARD, "agent": "reviewer-2"}, op_id="c-2")
    assert told[0] == 200
    for verb, more in (("complete", {"result": 7}), ("heartbeat", {}), ("fail", {"error": "x", "retryable": True})):
        said = {**ON_BOARD, "op_id": f"late-{verb}", "id": "t-1", "epoch": late["epoch"], **more}
        refused = one.invoke(url_event(f"tasks/{verb}", said))
        status, error = of(refused)
        receipt = error.get("receipt", {})
        assert status in {200, 410}, error
        assert (error.get("fields", {}).get("successor") or receipt.get("winner")) == "reviewer-2", error
    assert status_of(one, "t-1") == "in-progress"


def test_what_nobody_is_to_do_is_cancelled_and_no_task_is_told_as_such(stack: Stack, one: Environment) -> None:
    board_of(stack, one, "t-1")
    assert one.call("tasks/cancel", **ON_BOARD, op_id="x-1", id="t-1", reason="not needed")[0] == 200
    assert status_of(one, "t-1") == "cancelled"
    status, told = one.call("tasks/claim_next", **ON_BOARD, op_id="c-1")
    assert (status, told["receipt"]["result"]["tasks"]) == (200, [])
    assert one.call("tasks/stats", document="t.json")[1]["stats"]["by_status"] == {"cancelled": 1}


def test_nobody_says_anything_as_another(stack: Stack, one: Environment) -> None:
    board_of(stack, one, "t-1")
    posing = {**ON_BOARD, "agent": "writer-1", "op_id": "p-1"}
    asked: dict[str, dict[str, Any]] = {
        "leases/acquire_many": many("m-1", "a.json", agent="writer-1"),
        "leases/request_release": {"name": "a.json", "agent": "writer-1"},
        "operations/submit": {
            "document": "t.json",
            "agent": "writer-1",
            "operations": [{"op_id": "o-1", "change": CHANGE}],
        },
        "tasks/claim_next": posing,
        "tasks/complete": {**posing, "id": "t-1", "epoch": 1},
        "tasks/cancel": {**posing, "id": "t-1"},
    }
    for call, body in asked.items():
        told = one.invoke(url_event(call, body))
        assert (of(told)[0], of(told)[1]["error"]) == (403, "NotAllowed"), call
        assert counted(told, "RefusedNotAllowed") == 1
        assert not told["calls"], "the table is not touched"
