"""The coordinator function by its real handler, in processes: leases, retries, who may, what is refused."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from coordinator_fixtures import compactor, one, other, stack, variables  # noqa: F401 - fixtures
from coordinator_support import SESSION, Environment, counted, of, url_event, wish

if TYPE_CHECKING:
    from compactor_support import Stack
    from coordinator_support import Compactor

pytest.importorskip("aws_lambda_powertools", reason="the functions need the extra `lambda`")
READS = {"get_item", "query", "scan", "batch_get_item"}


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_from_acquire_to_release(one: Environment, other: Environment) -> None:
    status, held = one.call("leases/acquire", **wish("r-1"))
    assert (status, held["agent"], held["fence"]) == (200, "reviewer-1", 1)
    refused = other.invoke(url_event("leases/acquire", wish("r-2", "reviewer-2")))
    status, told = of(refused)
    assert (status, told["error"]) == (409, "LeaseHeld")
    assert (told["fields"]["holder"], told["fields"]["fence"]) == ("reviewer-1", 1)
    assert 1 <= int(refused["returned"]["headers"]["Retry-After"]) <= 31
    assert other.call("leases/renew", token=held["token"], agent="reviewer-1")[0] == 200
    assert other.call("leases/inspect", name="tasks.json")[1]["holder"] == "reviewer-1"
    assert one.call("leases/release", token=held["token"], agent="reviewer-1") == (200, {"released": True})
    assert other.call("leases/acquire", **wish("r-2", "reviewer-2"))[1]["fence"] > held["fence"]
    assert one.call("leases/renew", token=held["token"], agent="reviewer-1")[0] == 412
    rows = one.call("leases/history", name="tasks.json")[1]["records"]
    assert [row["kind"] for row in rows] == ["grant", "renew", "release", "grant"]
    assert not any("lease_id" in (row["lease"] or {}) for row in rows), "tokens could be made of it"


def test_a_retry_gives_the_same_grant_wherever_it_comes(one: Environment, other: Environment) -> None:
    first = one.call("leases/acquire", **wish("r-1"))[1]
    other.call("leases/acquire", **wish("r-2", "reviewer-2"))
    other.call("leases/request_release", name="tasks.json", agent="reviewer-2", grace_ms=0)  # records after the grant
    status, again = other.call("leases/acquire", **wish("r-1"))
    assert (status, again["fence"], again["token"]) == (200, first["fence"], first["token"])
    status, told = one.call("leases/history", name="tasks.json")
    assert status == 200, told
    assert sum(row["kind"] == "grant" for row in told["records"]) == 1


def test_a_replay_after_the_release_grants_nothing(one: Environment, other: Environment) -> None:
    held = one.call("leases/acquire", **wish("r-1"))[1]
    one.call("leases/release", token=held["token"], agent="reviewer-1", request_id="r-1")
    status, told = other.call("leases/acquire", **wish("r-1"))
    assert (status, told["error"], told["fields"]["reason"]) == (410, "LeaseLost", "released")
    assert other.call("leases/inspect", name="tasks.json")[1]["holder"] == ""


def test_a_release_that_is_tried_again_is_done_though_another_holds_it_now(
    one: Environment, other: Environment
) -> None:
    held = one.call("leases/acquire", **wish("r-1"))[1]
    freeing = {"token": held["token"], "agent": "reviewer-1", "request_id": "f-1"}
    assert one.call("leases/release", **freeing)[0] == 200
    other.call("leases/acquire", **wish("r-2", "reviewer-2"))
    assert other.call("leases/release", **freeing) == (200, {"released": True})
    assert one.call("leases/inspect", name="tasks.json")[1]["holder"] == "reviewer-2"


def test_killed_at_the_deadline_after_the_write_a_retry_finds_the_grant(
    variables: dict[str, str], other: Environment
) -> None:
    with Environment(variables) as dying:
        dying.send(url_event("leases/acquire", wish("r-1")), stop_at="written", seconds=8.0)
        dying.wait_stopped()
        dying.__exit__()  # SIGKILL, which ends one that is frozen as well: it never runs again
        before = other.call("leases/history", name="tasks.json")[1]["records"]
        assert [row["kind"] for row in before] == ["grant"]
        status, again = other.call("leases/acquire", **wish("r-1"))
    assert (status, again["fence"]) == (200, before[0]["n"])


def test_a_frozen_environment_trusts_nothing_that_it_knew(one: Environment, other: Environment) -> None:
    held = one.call("leases/acquire", **wish("r-1"))[1]
    one.freeze()
    other.call("leases/release", token=held["token"], agent="reviewer-1")
    taken = other.call("leases/acquire", **wish("r-2", "reviewer-2"))[1]
    one.thaw()
    assert one.call("leases/renew", token=held["token"], agent="reviewer-1")[0] == 412
    assert one.call("leases/inspect", name="tasks.json")[1]["fence"] == taken["fence"]
    assert one.call("leases/acquire", **wish("r-1"))[1]["fields"]["reason"] == "taken"


def test_frozen_between_the_write_and_the_answer_it_tells_what_it_wrote(one: Environment, other: Environment) -> None:
    one.send(url_event("leases/acquire", wish("r-1")), stop_at="written")
    one.wait_stopped()
    retried = other.call("leases/acquire", **wish("r-1"))[1]
    one.thaw()
    assert of(one.receive())[1]["token"] == retried["token"]


def test_many_at_once_and_one_is_granted(one: Environment, other: Environment) -> None:
    _crowd(one, other, 300)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_on_one_name(one: Environment, other: Environment) -> None:
    _crowd(one, other, 10_000)


def _crowd(one: Environment, other: Environment, number: int) -> None:
    """Asks that are refused cost a bounded number of reads each, the last as the first, and write nothing."""
    one.call("leases/acquire", **wish("r-0") | {"ttl_ms": 3_600_000})  # longer than all this takes
    costs = []
    for i in range(0, number, 2):
        for at, environment in enumerate((one, other)):
            environment.send(url_event("leases/acquire", wish(f"x-{i + at}", f"reviewer-{(i + at) % 50 + 2}")))
        for told in (one.receive(), other.receive()):
            assert of(told)[0] == 409
            costs.append(told["calls"])
    assert not {action for calls in costs for action in calls} - READS
    assert not {action for calls in costs for action in calls} & {"query", "scan"}
    settled = [len(calls) for calls in costs[110:]]  # each agent's workspace has been opened by then
    assert max(settled) <= 2, settled  # the record, and now and then the service's time
    assert sorted(settled)[len(settled) * 9 // 10] == 1
    assert len(one.call("leases/history", name="tasks.json")[1]["records"]) == 1


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arn", "agent", "status"),
    [
        (SESSION, "reviewer-9", 200),
        (SESSION, "writer-1", 403),
        ("arn:aws:sts::111122223333:assumed-role/reviewers/writer-1", "writer-1", 200),
        ("arn:aws:sts::111122223333:assumed-role/reviewers/*", "writer-1", 403),
        ("arn:aws:sts::999999999999:assumed-role/reviewers/reviewer-1", "reviewer-1", 403),
        ("arn:aws:iam::111122223333:user/idle", "reviewer-1", 403),
        (None, "reviewer-1", 403),
    ],
)
def test_the_identity_decides_and_refusals_are_counted(
    one: Environment, arn: str | None, agent: str, status: int
) -> None:
    told = one.invoke(url_event("leases/acquire", wish("r-1", agent), arn=arn))
    assert of(told)[0] == status
    refused = int(status == 403)
    assert counted(told, "RefusedNotAllowed") == counted(told, "Refusals") == refused
    assert any('"refused"' in line for line in told["printed"]) is bool(refused)
    assert bool(told["calls"]) is not bool(refused), "the table is not touched for those who may not"


def test_a_direct_invocation_is_its_alias_and_cannot_pass_for_another(one: Environment) -> None:
    event = {"call": "leases/acquire", "body": wish("r-1", "a-1")}
    assert one.invoke(event, alias=":agents")["returned"]["status"] == 200
    assert one.invoke(event)["returned"]["status"] == 403
    assert one.invoke({**event, "body": wish("r-2")}, alias=":agents")["returned"]["status"] == 403
    assert of(one.invoke(url_event("leases/acquire", wish("r-3")), alias=":agents"))[0] == 403
    posing = {**event, "headers": {"x": "y"}, "identity": SESSION}
    assert one.invoke(posing)["returned"]["status"] == 403


def test_neither_a_known_request_id_nor_a_token_makes_anybody_another(one: Environment) -> None:
    held = one.call("leases/acquire", **wish("r-1"))[1]
    assert one.call("leases/acquire", **wish("r-1", "reviewer-2"))[0] == 409
    for call in ("leases/renew", "leases/release"):
        assert one.call(call, token=held["token"], agent="reviewer-2")[0] == 403
    assert one.call("leases/inspect", name="tasks.json")[1]["holder"] == "reviewer-1"


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("", 422),
        ("[]", 422),
        ("null", 422),
        ("[" * 100_000, 422),
        ('{"name": "\\ud800"}', 422),
        ("x" * (1 << 21), 413),
        (wish("r-1", extra=1), 422),
        (wish("r-1", ttl_ms=10**9), 422),
        (wish("r-1", ttl_ms="30000"), 422),
        (wish("r-1", wait_ms=-1), 422),
        (wish("r-1", name="../../etc/passwd"), 422),
        (wish("r-1", name="/etc/passwd"), 422),
        (wish("r-1", name="a/../../b"), 422),
        (wish("r-1", name="a\x00b"), 422),
        (wish("x" * 1000), 422),
        (wish("r-1", "reviewer-../x"), 422),
    ],
)
def test_bad_input_is_refused_and_the_next_is_served(one: Environment, body: Any, status: int) -> None:
    told = one.invoke(url_event("leases/acquire", body))
    found, answer = of(told)
    assert found in {status, 400} if isinstance(body, str) else found == status, answer
    assert set(answer) == {"error", "message", "hint", "fields"}
    assert counted(told, "Refusals") == 1
    assert set(told["calls"]) <= {"get_item"}, "opening the workspace, and nothing after that"
    assert one.call("leases/acquire", **wish("fine"))[0] == 200


def test_what_there_is_not(one: Environment) -> None:
    assert one.call("leases/steal")[0] == 404
    events: list[Any] = [{}, [], None, {"call": 7}, {"call": "../x", "body": []}]
    for event in events:
        assert one.invoke(event)["returned"]["status"] in {403, 404, 422}


# ── operations and boards ────────────────────────────────────────────────────────────────────────────────────────────


def test_operations_are_applied_once_and_the_compactor_is_told_seldom(
    stack: Stack, compactor: Compactor, one: Environment, other: Environment
) -> None:
    stack.mounted.document("a.json").commit_json({"done": []}, if_revision=0)
    change = [{"op": "add", "path": "/done/-", "value": 1}]
    asked = {"document": "a.json", "agent": "reviewer-1", "operations": [{"op_id": "o-1", "change": change}]}
    first = one.call("operations/submit", **asked, wait_ms=4000)
    assert (first[0], first[1]["receipts"][0]["state"]) == (200, "applied")
    again = other.call("operations/submit", **asked, wait_ms=4000)
    assert again[1]["receipts"][0]["revision"] == first[1]["receipts"][0]["revision"]
    assert json.loads(one.call("documents/read", document="a.json")[1]["text"]) == {"done": [1]}
    compactor.folds.clear()
    for i in range(10):
        more = {**asked, "operations": [{"op_id": f"p-{i}", "change": change}]}
        assert one.call("operations/submit", **more)[0] == 200
    assert len(compactor.folds) < 10


def test_a_board_by_retries(stack: Stack, compactor: Compactor, one: Environment, other: Environment) -> None:
    stack.mounted.document("t.json").commit_json({"tasks": []}, if_revision=0)
    on = {"document": "t.json", "agent": "reviewer-1", "wait_ms": 4000}
    assert one.call("tasks/add", **on, op_id="o-1", tasks=[{"id": "t-1", "title": "x"}])[0] == 200
    claims = [who.call("tasks/claim_next", **on, op_id="o-2") for who in (one, other)]
    tasks = [told["receipt"]["result"]["tasks"] for status, told in claims if status == 200]
    assert len(tasks) == 2
    assert tasks[0] == tasks[1]
    compactor.busy = 2
    assert one.call("tasks/get", document="t.json", id="t-1")[1]["task"]["status"] == "in-progress"
    compactor.busy = 1000
    began = compactor.asks
    refused = one.invoke(url_event("tasks/get", {"document": "t.json", "id": "t-1"}), seconds=3.0)
    assert of(refused)[0] == 503
    assert refused["returned"]["headers"]["Retry-After"]
    assert compactor.asks == began


# ── by its own description ───────────────────────────────────────────────────────────────────────────────────────────


def test_no_request_that_fits_or_does_not_makes_it_fail(one: Environment) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="the fuzz needs schemathesis")
    from hypothesis import HealthCheck, Phase, given, seed, settings

    described = of(one.invoke(url_event("openapi.json", "", method="GET")))[1]
    schema = schemathesis.openapi.from_dict(described)
    chosen = 20_260_301
    print(f"seed {chosen}")  # noqa: T201 - told when it fails
    spoiled = random.Random(chosen)
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.method.upper() != "POST":
            continue

        @seed(chosen)
        @settings(
            max_examples=6,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def probe(case: Any) -> None:
            body = case.body if isinstance(case.body, dict) else {}
            if "wait_ms" in body and isinstance(body["wait_ms"], int):
                body["wait_ms"] = 0
            if spoiled.random() < 0.3 and body:
                body[spoiled.choice(sorted(body))] = spoiled.choice([None, -1, "", [], {}, "\ud800"])
            body["agent"] = "reviewer-1" if "agent" in body else body.get("agent")
            told = one.invoke(url_event(case.path.removeprefix("/v1/"), body), seconds=20.0)
            status, answer = of(told)
            assert status < 500, (case.path, body, answer)

        probe()
