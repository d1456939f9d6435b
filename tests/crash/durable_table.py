"""A table that a power failure does not touch: what was acknowledged is there. In memory, with a hook at each write.

It answers the requests that moving a workspace's rule makes, and refuses every other expression: the real engines are
in tests/engines, tests/contract and tests/failover. Here each crash needs the table as it was then, thousands of times.
"""

from __future__ import annotations

import re
from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_EQUALS = re.compile(r"(#?\w+) = (:\w+)")
_NEW = "attribute_not_exists(pk)"

Item = dict[str, Any]


class RefusedError(Exception):
    """As boto3 tells that a condition does not hold."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("the condition does not hold")
        code = {"Code": "ConditionalCheckFailedException"}
        self.response = {"Error": code, "Item": item, "ResponseMetadata": {"HTTPStatusCode": 400}}


class DurableTable:
    """A client of one table.

    Attributes:
        version: How many writes were made.
        hook: Called after each of them.
    """

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.version = 0
        self.hook: Callable[[str], object] = lambda _where: None
        events = SimpleNamespace(register=lambda *_args, **_more: None)
        self.meta = SimpleNamespace(events=events, endpoint_url="http://localhost:1", region_name="here")

    def copy(self) -> DurableTable:
        """The table as it is, for another life."""
        other = DurableTable()
        other.items, other.version = deepcopy(self.items), self.version
        return other

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_item(self, *, Key: Item, **_request: Any) -> Item:  # noqa: N803 - boto3's names, here and below
        item = self.items.get(_place(Key))
        return {"Item": deepcopy(item)} if item else {}

    def put_item(self, *, Item: Item, ConditionExpression: str, **_request: Any) -> Item:  # noqa: N803
        assert ConditionExpression == _NEW
        if _place(Item) in self.items:
            raise RefusedError(None)
        return self._written(f"put {Item['sk']['S']}", _place(Item), Item)

    def update_item(
        self,
        *,
        Key: Item,  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Item,  # noqa: N803
        ExpressionAttributeNames: dict[str, str],  # noqa: N803
        **_request: Any,
    ) -> Item:
        item, names = self.items.get(_place(Key)), ExpressionAttributeNames
        if ConditionExpression == _NEW:
            holds = item is None
        else:
            clauses = [_EQUALS.fullmatch(clause) for clause in ConditionExpression.split(" AND ")]
            assert all(clauses), ConditionExpression
            told = [(names.get(clause[1], clause[1]), clause[2]) for clause in clauses if clause]
            holds = item is not None and all(item[name] == ExpressionAttributeValues[value] for name, value in told)
        if not holds:
            raise RefusedError(deepcopy(item))
        assert UpdateExpression.startswith("SET ")
        assert not re.search("ADD|REMOVE", UpdateExpression)
        sets = _EQUALS.findall(UpdateExpression)
        changes = {names.get(name, name): ExpressionAttributeValues[value] for name, value in sets}
        return self._written(f"update {Key['sk']['S']}", _place(Key), {**(item or Key), **changes})

    def query(self, *, ExpressionAttributeValues: Item, **_request: Any) -> Item:  # noqa: N803
        pk, prefix = (ExpressionAttributeValues[name]["S"] for name in (":pk", ":prefix"))
        found = [place for place in sorted(self.items) if place[0] == pk and place[1].startswith(prefix)]
        return {"Items": [deepcopy(self.items[place]) for place in found]}

    def _written(self, what: str, place: tuple[str, str], item: Item) -> Item:
        self.items[place] = deepcopy(item)
        self.version += 1
        self.hook(f"after the table's {what}")
        return {}


def _place(key: Item) -> tuple[str, str]:
    return key["pk"]["S"], key["sk"]["S"]
