"""The simulated table against DynamoDB Local: the same random requests to both, and the same answers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator.log import inbox
from coordinator.record import authority, table, table_archive
from coordinator.testing.simulation.expressions import UnknownExpression
from coordinator.testing.simulation.items import Items, RefusedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine

TABLE: Final = "records"
SEEDS: Final = range(2)
REQUESTS: Final = 200
_SORT_KEYS: Final = ("record/a/@", "record/b/@", "inbox/a/@/1", "workspace", "past/a/@/1", "past/a/@/2", "past/b/@/1")

Request = tuple[str, dict[str, Any]]


def number(rng: random.Random) -> dict[str, str]:
    return {"N": str(rng.randrange(4))}


def key(rng: random.Random) -> dict[str, Any]:
    return {"pk": {"S": rng.choice("vw")}, "sk": {"S": rng.choice(_SORT_KEYS)}}


def some(rng: random.Random) -> dict[str, Any]:
    """Attributes, some of them missing."""
    known = {
        "n": number(rng),
        "epoch": number(rng),
        "mode": {"S": rng.choice(("mount", "table"))},
        "born": {"S": rng.choice(("mount", "table"))},
        "state": {"S": rng.choice(("open", "ended"))},
        "record": {"S": "text"},
        "past": {"B": b"bytes"},
        "seq": number(rng),
        "first": number(rng),
        "bytes": number(rng),
        "frames": {"L": [{"B": b"%d" % one} for one in range(rng.randrange(4))]},
        "outcomes": {"M": {f"op{one}": {"S": "told"} for one in range(rng.randrange(3))}},
        "at_ms": number(rng),
    }
    return {name: value for name, value in known.items() if rng.random() < 0.9}


# ── the requests that the library sends, on what may or may not stand ───────────────────────────────────────────────


def first_record(rng: random.Random) -> Request:
    return "update_item", {**_record(rng), "Key": key(rng), "ConditionExpression": table_archive.NEW}


def next_record(rng: random.Random) -> Request:
    request = _record(rng)
    request["ExpressionAttributeValues"][":before"] = number(rng)
    return "update_item", {**request, "Key": key(rng), "ConditionExpression": table.FOLLOWS}


def _record(rng: random.Random) -> dict[str, Any]:
    return {
        "UpdateExpression": table._SET,
        "ExpressionAttributeNames": dict(table._NAMES),
        "ExpressionAttributeValues": {":n": number(rng), ":record": {"S": "other"}, ":past": {"B": b"more"}},
    }


def several_records(rng: random.Random) -> Request:
    check: dict[str, Any] = {
        "TableName": TABLE,
        "Key": key(rng),
        "ConditionExpression": table.RULES,
        "ExpressionAttributeNames": {"#mode": "mode"},
        "ExpressionAttributeValues": {":table": {"S": "table"}, ":first": number(rng)},
    }
    updates = [rng.choice((first_record, next_record))(rng)[1] | {"TableName": TABLE} for _ in range(2)]
    for sort_key, one in zip(rng.sample(_SORT_KEYS, 3), (check, *updates), strict=True):
        one["Key"]["sk"] = {"S": sort_key}  # no two of one item
    items = [{"ConditionCheck": check}, *({"Update": update} for update in updates)]
    return "transact_write_items", {"TransactItems": rng.sample(items, rng.randrange(1, 4))}


def put(rng: random.Random) -> Request:
    item = {**key(rng), **some(rng)}
    return "put_item", {"Item": item, "ConditionExpression": rng.choice((inbox._NEW, authority._NEW))}


def move(rng: random.Random) -> Request:
    values = {name: {"S": "table"} for name in (":mode", ":born", ":directory", ":by")}
    values |= {name: number(rng) for name in (":epoch", ":at_ms", ":old_epoch")} | {":old_mode": {"S": "mount"}}
    return "update_item", {
        "Key": key(rng),
        "UpdateExpression": "SET #mode = :mode, epoch = :epoch, born = :born, directory = :directory, "
        "#by = :by, at_ms = :at_ms",
        "ConditionExpression": authority._UNMOVED,
        "ExpressionAttributeNames": {"#mode": "mode", "#by": "by"},
        "ExpressionAttributeValues": values,
    }


def append_frames(rng: random.Random) -> Request:
    values: dict[str, Any] = {name: number(rng) for name in (":seq", ":before", ":size", ":at")}
    values |= {":most": {"N": "9"}, ":open": {"S": "open"}, ":new": {"L": [{"B": b"new"}]}}
    return "update_item", {
        "Key": key(rng),
        "UpdateExpression": "SET frames = list_append(frames, :new), seq = :seq, at_ms = :at ADD #bytes :size",
        "ConditionExpression": inbox._NEXT,
        "ExpressionAttributeNames": {"#state": "state", "#bytes": "bytes"},
        "ExpressionAttributeValues": values,
    }


def answer_frames(rng: random.Random) -> Request:
    removed = ", ".join(f"frames[{at}]" for at in range(rng.randrange(1, 4)))
    return "update_item", {
        "Key": key(rng),
        "UpdateExpression": f"SET #first = :next, outcomes.#o0 = :o0 REMOVE {removed}, outcomes.#x0 ADD #bytes :less",
        "ConditionExpression": inbox._UNANSWERED,
        "ExpressionAttributeNames": {"#first": "first", "#bytes": "bytes", "#o0": "op7", "#x0": "op0"},
        "ExpressionAttributeValues": {
            ":first": number(rng),
            ":next": number(rng),
            ":o0": {"S": "new"},
            ":less": {"N": "-2"},
        },
    }


def close(rng: random.Random) -> Request:
    return "update_item", {
        "Key": key(rng),
        "UpdateExpression": "SET #state = :state",
        "ConditionExpression": inbox._OPEN,
        "ExpressionAttributeNames": {"#state": "state"},
        "ExpressionAttributeValues": {":state": {"S": "fenced"}, ":open": {"S": "open"}},
    }


def delete(rng: random.Random) -> Request:
    return "delete_item", {"Key": key(rng), "ConditionExpression": table_archive.THERE}


def delete_empty(rng: random.Random) -> Request:
    return "delete_item", {
        "Key": key(rng),
        "ConditionExpression": inbox._EMPTY,
        "ExpressionAttributeNames": {"#state": "state", "#first": "first"},
        "ExpressionAttributeValues": {":open": {"S": "open"}},
    }


def get(rng: random.Random) -> Request:
    request: dict[str, Any] = {"Key": key(rng), "ConsistentRead": True}
    return "get_item", request | ({"ProjectionExpression": "pk"} if rng.random() < 0.3 else {})


def query(rng: random.Random) -> Request:
    prefix = rng.choice(("past/", "past/a/", "record/", "none/"))
    request: dict[str, Any] = {
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
        "ExpressionAttributeValues": {":pk": {"S": rng.choice("vw")}, ":prefix": {"S": prefix}},
        "ConsistentRead": True,
    }
    if rng.random() < 0.5:
        request["Limit"] = rng.randrange(1, 4)
    if rng.random() < 0.3:
        request["ProjectionExpression"] = "pk, sk, at_ms"
    return "query", request


def not_all_used(rng: random.Random) -> Request:
    action, request = close(rng)
    request["ExpressionAttributeValues"][":unused"] = number(rng)
    return action, request


REQUESTED: Final[tuple[Callable[[random.Random], Request], ...]] = (
    *(put, put, put, get, query, query, first_record, next_record, next_record, several_records, move),
    *(append_frames, append_frames, answer_frames, answer_frames, close, delete, delete_empty, not_all_used),
)


def told(answer: dict[str, Any]) -> Any:
    """What counts of an answer."""
    return {name: answer[name] for name in ("Item", "Items", "LastEvaluatedKey") if answer.get(name)}


def of_engine(client: Any, action: str, request: dict[str, Any]) -> Any:
    named = request if action == "transact_write_items" else {**request, "TableName": TABLE}
    try:
        return told(getattr(client, action)(**named))
    except client.exceptions.ClientError as error:
        response = error.response
        reasons = [reason["Code"] for reason in response.get("CancellationReasons", [])]
        return response["Error"]["Code"], reasons


def of_simulation(items: Items, action: str, request: dict[str, Any]) -> Any:
    try:
        return told(items.perform(action, request))
    except RefusedRequest as refused:
        return refused.code, [reason["Code"] for reason in refused.reasons or []]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_requests_have_the_same_answers(dynamodb: Engine, seed: int) -> None:
    rng, items, client = random.Random(seed), Items(), dynamodb.client()
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    )
    outcomes: set[tuple[str, str]] = set()
    for _ in range(REQUESTS):
        make = rng.choice(REQUESTED)
        action, request = make(rng)
        expected = of_engine(client, action, request)
        assert of_simulation(items, action, request) == expected, (action, request)
        outcomes.add((make.__name__, expected[0] if isinstance(expected, tuple) else "ok"))
    standing = client.scan(TableName=TABLE, ConsistentRead=True)["Items"]
    assert {(item["pk"]["S"], item["sk"]["S"]): item for item in standing} == items.standing
    for often in ("first_record", "answer_frames", "put", "get", "query"):
        assert (often, "ok") in outcomes, "something was asked, and not only refused"


@pytest.mark.parametrize(
    "request_of",
    [
        {"ConditionExpression": "NOT seq = :seq"},
        {"ConditionExpression": "size(frames) < :seq"},
        {"ConditionExpression": "seq = :seq OR seq = :seq"},
        {"UpdateExpression": "SET seq = seq + :seq"},
        {"UpdateExpression": "DELETE tags :seq"},
        {"ReturnValues": "ALL_NEW"},
        {"ConditionExpression": None},
    ],
)
def test_what_the_library_never_asked_before_is_refused_loudly(request_of: dict[str, Any]) -> None:
    usual = {
        "Key": key(random.Random(0)),
        "UpdateExpression": "SET seq = :seq",
        "ConditionExpression": "attribute_not_exists(pk)",
        "ExpressionAttributeValues": {":seq": {"N": "1"}},
    }
    Items().perform("update_item", usual)
    with pytest.raises(UnknownExpression):
        Items().perform("update_item", usual | request_of)
