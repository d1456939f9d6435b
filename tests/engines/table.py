"""A small table, and what a client is told, for the tests of the engines."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine

TABLE: Final = "records"
KEY: Final = {"k": {"S": "a"}}
ONE: Final = {":one": {"N": "1"}}


def create_table(engine: Engine, **more: Any) -> None:
    engine.client().create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        **more,
    )


def add_one(client: Any, key: str = "a", **more: Any) -> Any:
    """Counts how often the engine got the request."""
    return client.update_item(
        TableName=TABLE,
        Key={"k": {"S": key}},
        UpdateExpression="ADD v :one",
        ExpressionAttributeValues=ONE,
        ReturnValues="UPDATED_NEW",
        **more,
    )


def count(engine: Engine, key: str = "a") -> int:
    item = engine.client().get_item(TableName=TABLE, Key={"k": {"S": key}}, ConsistentRead=True).get("Item")
    return int(item["v"]["N"]) if item else 0


def code_of(call: Callable[[], Any]) -> str:
    """The service's error code, or the kind of the failure, or ``ok``."""
    try:
        call()
    except Exception as failure:  # noqa: BLE001 - named, to be compared
        response = getattr(failure, "response", None) or {}
        return str(response.get("Error", {}).get("Code") or type(failure).__name__)
    return "ok"


def answers(endpoint_url: str) -> bool:
    parts = urlsplit(endpoint_url)
    try:
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), 5).close()
    except OSError:
        return False
    return True
