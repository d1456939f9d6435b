"""What left a record item: its archive, item after item (P18; table_item.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordinator.limits import HISTORY_KEEP_MS, TABLE_BUDGET_MS, TABLE_HISTORY_RECORDS
from coordinator.record import table_item
from coordinator.record.table_calls import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coordinator.names import Resource
    from coordinator.record.record import Record
    from coordinator.record.table_calls import TableCalls

# The clauses of conditions (P8); see table.py.
NEW: Final = "attribute_not_exists(pk)"
THERE: Final = "attribute_exists(pk)"
LOOKED_AT: Final = 8  # old archives, by one collection of so many, each of which makes one


class TableArchive:
    """The archives of one workspace.

    Args:
        calls: The table.
        workspace: The partition key.
    """

    def __init__(self, calls: TableCalls, workspace: str) -> None:
        self._calls = calls
        self._workspace = workspace

    def records(self, resource: Resource) -> list[Record]:
        """Every archived record of a resource that is still kept."""
        found = []
        for item in self.query(f"{table_item.PAST}{resource.state_path}/"):
            where = f"item {item['sk']['S']!r}"
            lines = table_item.unpack(item.get("records", {}).get("B"), resource, where)
            found += table_item.decode_all(lines, resource, where)
        return found

    def query(
        self, prefix: str, *, limit: int = 0, only: str = "", after: str = "", backwards: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Items of the workspace whose sort key begins so, in its order, or the opposite one. Consistent.

        Args:
            prefix: Of the sort key.
            limit: One page of so many; 0: all, page by page, as they are taken.
            only: Attributes.
            after: A sort key that is gone on after.
            backwards: The last ones first.
        """
        request: dict[str, Any] = {
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ExpressionAttributeValues": {":pk": {"S": self._workspace}, ":prefix": {"S": prefix}},
            "ConsistentRead": True,
        }
        if limit:
            request["Limit"] = limit
        if after:
            request["ExclusiveStartKey"] = table_item.key(self._workspace, after)
        if backwards:
            request["ScanIndexForward"] = False
        if only:
            request["ProjectionExpression"] = only
        while True:
            answer = self._calls.call("query", f"listing {prefix}…", TABLE_BUDGET_MS, **request)
            yield from answer.get("Items", [])
            if limit or "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def newest(self, resource: Resource, items: int) -> Iterator[list[Record]]:
        """The records of the newest archives, so many at the most, the newest first: one page."""
        prefix = f"{table_item.PAST}{resource.state_path}/"
        for item in self.query(prefix, limit=items, backwards=True):
            where = f"item {item['sk']['S']!r}"
            lines = table_item.unpack(item.get("records", {}).get("B"), resource, where)
            yield table_item.decode_all(lines, resource, where)

    def put(self, resource: Resource, now_ms: int, lines: Sequence[str], first_n: int) -> None:
        """Archives records, of which the first is number ``first_n``. Safe to repeat, and by several at once."""
        item = table_item.key(self._workspace, table_item.archive_key(resource, first_n, first_n + len(lines) - 1))
        item |= {"records": {"B": table_item.pack(lines)}, "at_ms": {"N": str(now_ms)}}
        try:
            self._calls.call(
                "put_item", f"archiving {str(resource)!r}", TABLE_BUDGET_MS, Item=item, ConditionExpression=NEW
            )
        except ConditionFailed:
            return  # another collector, or an earlier try of this one: the same records

    def drop_old(self, resource: Resource, newest_n: int, now_ms: int) -> None:
        """Deletes the oldest archives that are too old, or too many."""
        prefix = f"{table_item.PAST}{resource.state_path}/"
        for item in self.query(prefix, limit=LOOKED_AT, only="pk, sk, at_ms"):
            sort_key = item["sk"]["S"]
            is_many = table_item.last_of(sort_key) < newest_n - TABLE_HISTORY_RECORDS
            if not is_many and int(item.get("at_ms", {}).get("N", "0")) >= now_ms - HISTORY_KEEP_MS:
                return
            try:
                key = table_item.key(self._workspace, sort_key)
                self._calls.call(
                    "delete_item", "dropping old history", TABLE_BUDGET_MS, Key=key, ConditionExpression=THERE
                )
            except ConditionFailed:
                continue  # another collector did
