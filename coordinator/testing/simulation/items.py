"""One simulated DynamoDB table: items, and the requests that the library sends. No time, no network, no errors of them.

Refuses what DynamoDB refuses, and loudly whatever the library never asked of it before (expressions.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordinator.testing.simulation.expressions import (
    Given,
    Invalid,
    UnknownExpression,
    condition_of,
    holds,
    update_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coordinator.testing.simulation.expressions import Change, Item, Path

    Key = tuple[str, str]
    Changes = dict[Key, Item | None]

ACTIONS: Final = ("get_item", "put_item", "update_item", "delete_item", "query", "transact_write_items")
READS: Final = frozenset({"get_item", "query"})
_TRANSACTION_MAX: Final = 100

_COMMON: Final = {"TableName", "ExpressionAttributeNames", "ExpressionAttributeValues"}
_WRITE: Final = _COMMON | {"ConditionExpression", "ReturnValuesOnConditionCheckFailure"}
_KNOWN: Final = {
    "get_item": {"TableName", "Key", "ConsistentRead", "ProjectionExpression"},
    "put_item": _WRITE | {"Item"},
    "update_item": _WRITE | {"Key", "UpdateExpression"},
    "delete_item": _WRITE | {"Key"},
    "query": _COMMON
    | {"KeyConditionExpression", "ConsistentRead", "Limit", "ProjectionExpression", "ExclusiveStartKey"},
    "transact_write_items": {"TransactItems"},
}
_IN_TRANSACTIONS: Final = {"Update": "update_item", "Put": "put_item", "Delete": "delete_item"}


class RefusedRequest(Exception):
    """An answer that is an error.

    Attributes:
        code: DynamoDB's.
        item: What stands there, where that is told.
        reasons: Of a transaction, for each of its writes: a code, and the item likewise.
    """

    def __init__(
        self, code: str, text: str = "", *, item: Item | None = None, reasons: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.item = item
        self.reasons = reasons


class Items:
    """The items of one table.

    Args:
        tells_old: Whether a refused condition tells what stands: AWS does, older engines do not.
        page_items: How many a query answers with at once.
    """

    def __init__(self, *, tells_old: bool = True, page_items: int = 1000) -> None:
        self.tells_old = tells_old
        self.page_items = page_items
        self.standing: dict[Key, Item] = {}
        self.on_change: Callable[[Key, Item | None], None] = lambda _key, _item: None

    def copy(self) -> Items:
        """Another table with the same items."""
        other = Items(tells_old=self.tells_old, page_items=self.page_items)
        other.standing = dict(self.standing)  # items are replaced, never altered
        return other

    def perform(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request, at once.

        Raises:
            RefusedRequest: It is refused.
            UnknownExpression: Nobody taught this table what is asked of it.
        """
        unknown = request.keys() - _KNOWN[action]
        if unknown:
            raise UnknownExpression(f"{action} with {sorted(unknown)}")
        try:
            if action == "get_item":
                return self._get(request)
            if action == "query":
                return self._query(request)
            if action == "transact_write_items":
                return self._transact(request)
            self._put(dict([self._changed(action, request)]))
        except Invalid as invalid:
            raise RefusedRequest("ValidationException", str(invalid)) from None
        return {}

    def _put(self, changes: Changes) -> None:
        for where, item in changes.items():
            if item is None:
                self.standing.pop(where, None)
            else:
                self.standing[where] = item
            self.on_change(where, item)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _get(self, request: Mapping[str, Any]) -> dict[str, Any]:
        item = self.standing.get(_key(request["Key"]))
        return {} if item is None else {"Item": _projected(item, request)}

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        given = Given(request)
        wanted = request["KeyConditionExpression"]
        clauses = condition_of(wanted)
        if [clause.word for clause in clauses] != ["=", "begins_with"]:
            raise UnknownExpression(wanted)
        given.mention(*(path for clause in clauses for path in clause.operands))
        start = _key(request["ExclusiveStartKey"]) if "ExclusiveStartKey" in request else ("", "")
        keys = sorted(key for key in self.standing if key > start and holds(wanted, self.standing[key], given))
        given.refuse_unused()
        most = min(request.get("Limit", self.page_items), self.page_items)
        answer: dict[str, Any] = {"Items": [_projected(self.standing[key], request) for key in keys[:most]]}
        if len(keys) > most or (keys and len(keys) == most):
            last = self.standing[keys[most - 1]]
            answer["LastEvaluatedKey"] = {"pk": last["pk"], "sk": last["sk"]}
        return answer

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _transact(self, request: Mapping[str, Any]) -> dict[str, Any]:
        changes: Changes = {}
        reasons: list[dict[str, Any]] = []
        seen: set[Key] = set()
        for entry in request["TransactItems"]:
            ((kind, inner),) = entry.items()
            where = _key(inner["Item"] if kind == "Put" else inner["Key"])
            if where in seen or len(seen) == _TRANSACTION_MAX:
                raise Invalid("two operations on one item, or too many")
            seen.add(where)
            reason: dict[str, Any] = {"Code": "None"}
            try:
                if kind == "ConditionCheck":
                    self._check(inner, self.standing.get(where), Given(inner))
                elif kind in _IN_TRANSACTIONS:
                    changes |= [self._changed(_IN_TRANSACTIONS[kind], inner)]
                else:
                    raise UnknownExpression(kind)
            except RefusedRequest as refused:
                reason = {"Code": "ConditionalCheckFailed"} | ({"Item": refused.item} if refused.item else {})
            reasons.append(reason)
        if any(reason["Code"] != "None" for reason in reasons):
            raise RefusedRequest("TransactionCanceledException", reasons=reasons)
        self._put(changes)
        return {}

    def _changed(self, action: str, request: Mapping[str, Any]) -> tuple[Key, Item | None]:
        """What a write makes of an item, if its condition holds."""
        where = _key(request["Item"] if action == "put_item" else request["Key"])
        standing, given = self.standing.get(where), Given(request)
        parts = update_of(request["UpdateExpression"]) if action == "update_item" else ()
        for part in parts:
            given.mention(part.path, part.value) if part.value else given.mention(part.path)
        self._check(request, standing, given)
        if action == "put_item":
            return where, dict(request["Item"])
        if action == "delete_item":
            return where, None
        fresh = _updated(standing or dict(request["Key"]), parts, given)
        if _key(fresh) != where:
            raise Invalid("the key cannot be changed")
        return where, fresh

    def _check(self, request: Mapping[str, Any], standing: Item | None, given: Given) -> None:
        condition = request.get("ConditionExpression")
        if condition is None:
            raise UnknownExpression("a write without a condition")
        is_met = self.holds(condition, standing, given)
        given.refuse_unused()
        if not is_met:
            tells = self.tells_old and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            raise RefusedRequest("ConditionalCheckFailedException", item=standing if tells else None)

    def holds(self, condition: str, standing: Item | None, given: Given) -> bool:
        """Whether a condition holds for what stands: mutants switch clauses off here."""
        return holds(condition, standing, given)


def _key(item: Mapping[str, Any]) -> Key:
    return item["pk"]["S"], item["sk"]["S"]


def _projected(item: Item, request: Mapping[str, Any]) -> Item:
    only = request.get("ProjectionExpression")
    if only is None:
        return dict(item)
    names = [name.strip() for name in only.split(",")]
    if not all(name.isidentifier() for name in names):
        raise UnknownExpression(only)
    return {name: item[name] for name in names if name in item}


def _updated(item: Item, parts: tuple[Change, ...], given: Given) -> Item:
    """An item after an update. Every part sees the item as it was, so removals from one list do not move each other."""
    fresh: Any = {"M": dict(item)}
    gone: dict[Path, list[int]] = {}
    for part in parts:
        *above, last = [given.name(one) for one in part.path]
        holder = _opened(fresh, above)
        if part.word == "REMOVE":
            if isinstance(last, int):
                gone.setdefault(tuple(above), []).append(last)
            else:
                holder["M"].pop(last, None)
            continue
        if isinstance(last, int):
            raise UnknownExpression(f"{part.word} at {part.path}")
        old, value = given.find(item, part.path), given.value(part.value)
        if part.word == "APPEND":
            if old is None or "L" not in old:
                raise Invalid(f"{part.path} is no list")
            value = {"L": [*old["L"], *value["L"]]}
        elif part.word == "ADD":
            if "N" not in value or (old is not None and "N" not in old):
                raise Invalid(f"{part.path} is no number")
            value = {"N": str(int(old["N"] if old else 0) + int(value["N"]))}
        holder["M"][last] = value
    for path, numbers in gone.items():
        found = _opened(fresh, list(path))["L"]
        found[:] = [one for number, one in enumerate(found) if number not in numbers]
    result: Item = fresh["M"]
    return result


def _opened(value: Any, path: list[str | int]) -> Any:
    """The map or list at a path, copied all the way down, so that it can be altered."""
    for part in path:
        inner = value["M"].get(part) if isinstance(part, str) and "M" in value else None
        if inner is None or not inner.keys() & {"M", "L"}:
            raise Invalid(f"the document path {path} is not there")
        kind = "M" if "M" in inner else "L"
        inner = {kind: inner[kind].copy()}
        value["M"][part] = inner
        value = inner
    return value
