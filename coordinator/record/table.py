"""The store on DynamoDB: one item per resource, one conditional write per append (P8).

What an item looks like stands in table_item.py. Every write has a condition, whose clauses are named here:

    NEW       attribute_not_exists(pk)    the resource's first record in this table, or an archive nobody made yet
    RULES     #mode = :table AND born = :table AND epoch = :first
                                          no mount can hold records of a name that is not in the table (moving.py)
    FOLLOWS   n = :before                 nobody has put a record since the one that this one was decided on
    THERE     attribute_exists(pk)        an archive that is to be deleted is still there

A refused FOLLOWS is looked into (P7): the item that comes back with the refusal, or that is read after it where the
engine sends none, tells whether the record that stands at n, or stood there, is one's own: the reply to an earlier try
was lost, and the SDK, a proxy or this class sent it again.
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import AuthorityMoved, BadName, StoreUnavailable
from coordinator.limits import (
    QUEUE_WAIT_MAX_MS,
    TABLE_BUDGET_MS,
    TABLE_LIVE_KEEP,
    TABLE_LIVE_MAX,
    TABLE_SKEW_MS,
)
from coordinator.names import Resource
from coordinator.record import table_item
from coordinator.record.agree import settle
from coordinator.record.decide import Author, Raise
from coordinator.record.record import MOUNT, TABLE, Record
from coordinator.record.store import Appended, Beaten
from coordinator.record.table_archive import LOOKED_AT, NEW, TableArchive
from coordinator.record.table_calls import ConditionFailed, TableCalls, TransactionCanceled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from coordinator.clock import Clock
    from coordinator.record.record import Holding
    from coordinator.record.table_item import Chained

FOLLOWS: Final = "n = :before"
RULES: Final = "#mode = :table AND born = :table AND epoch = :first"
_SET: Final = "SET n = :n, #record = :record, past = :past"
_NAMES: Final = {"#record": "record"}


class TableStore:
    """Records as items of one table. See Store for the contract.

    Args:
        calls: The table.
        workspace: The partition key: whose records these are.
        clock: This machine's clocks, for waiting only.
        guarded: There is no directory here whose chains could be sealed: a name is put into the table for the first
            time only in a workspace that was born there.
    """

    mode = TABLE
    skew_ms = TABLE_SKEW_MS
    live_keep = TABLE_LIVE_KEEP
    live_max = TABLE_LIVE_MAX

    def __init__(self, calls: TableCalls, workspace: str, clock: Clock, *, guarded: bool = False) -> None:
        self.calls = calls
        self.archive = TableArchive(calls, workspace)
        self._guarded = guarded
        self.workspace = workspace
        self._clock = clock
        self._seen: dict[Resource, Chained] = {}
        self._guard = threading.Lock()
        self._turns: dict[Resource, threading.Lock] = {}

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, resource: Resource) -> Record | None:
        """See Store. One consistent read."""
        chained = self._get(resource)
        return chained.record if chained else None

    def remembered(self, resource: Resource) -> Record | None:
        """See Store: here a look costs a request."""
        chained = self._seen.get(resource)
        return chained.record if chained else None

    def _get(self, resource: Resource) -> Chained | None:
        before = self._seen.get(resource)
        answer = self.calls.call(
            "get_item", f"reading {str(resource)!r}", TABLE_BUDGET_MS, Key=self._key(resource), ConsistentRead=True
        )
        return self._take(resource, answer.get("Item"), before)

    def _key(self, resource: Resource) -> dict[str, Any]:
        return table_item.key(self.workspace, f"{table_item.RECORD}{resource.state_path}")

    def _take(self, resource: Resource, item: dict[str, Any] | None, before: Chained | None) -> Chained | None:
        """What an item says, never older than what this process had seen when it asked."""
        if item is not None and before is not None and _is_unchanged(item, before):
            found: Chained | None = before
        else:
            found = table_item.parse(item, resource) if item else None
            if before is not None and not _is_later(found, before):
                n = found.record.n if found else 0
                raise StoreUnavailable(
                    f"the record of {str(resource)!r} went back in the table, from {before.record.n} to {n}",
                    resource=str(resource),
                    cause="the table shows an older item than before, or another one under the same number",
                    outcome_unknown=False,
                    hint="was the table restored under running agents? Stop them and start them anew",
                )
        # Another thread may have appended since this one asked: what it put counts.
        return self._remember(resource, found) if found else None

    def _remember(self, resource: Resource, chained: Chained) -> Chained:
        with self._guard:
            seen = self._seen.get(resource)
            if seen is None or seen.record.n < chained.record.n:
                self._seen[resource] = seen = chained
            return seen

    # ── appending ────────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, resource: Resource, record: Record, *, durable: bool) -> Appended | Beaten:  # noqa: ARG002
        """See Store. One conditional write, which is durable when it is acknowledged."""
        known = self._ready(resource, record)
        if isinstance(known, Appended | Beaten):
            return known
        before, chained = known
        return self._put(resource, record, chained, before)

    def _put(self, resource: Resource, record: Record, chained: Chained, before: Record | None) -> Appended | Beaten:
        about, update = f"appending to {str(resource)!r}", self._update(resource, chained, before)
        seen = self._seen.get(resource)
        try:
            if before is None and self._guarded:
                guard = self._ruled_by_table()
                items = [guard, {"Update": {**update, "TableName": self.calls.table}}]
                self.calls.call("transact_write_items", about, _budget_ms(record), TransactItems=items)
            else:
                self.calls.call("update_item", about, _budget_ms(record), **update)
        except ConditionFailed as refused:
            return self._answer(resource, record, refused.item, seen)
        except TransactionCanceled as refused:
            if refused.reasons[0][0] == "ConditionalCheckFailed":
                raise self._not_here(resource) from None
            return self._answer(resource, record, refused.reasons[1][1], seen)
        self._remember(resource, chained)
        return Appended(record, chained.live)

    def _ready(self, resource: Resource, record: Record) -> tuple[Record | None, Chained] | Appended | Beaten:
        """What a record follows on, and what stands after it; or the answer, if it is known already."""
        if record.n == 1:
            return None, table_item.first(record)
        before = self._seen.get(resource)
        if before is None or before.record.n < record.n - 1:
            before = self._get(resource)
        if before is None or before.record.n != record.n - 1:
            return self._judge(resource, record, before)
        return before.record, before.after(record)

    def _update(self, resource: Resource, chained: Chained, before: Record | None) -> dict[str, Any]:
        """The one write that puts a record."""
        values = {f":{name}": value for name, value in table_item.values(chained).items()}
        if before is not None:
            values[":before"] = {"N": str(before.n)}
        return {
            "Key": self._key(resource),
            "UpdateExpression": _SET,
            "ConditionExpression": NEW if before is None else FOLLOWS,
            "ExpressionAttributeNames": _NAMES,
            "ExpressionAttributeValues": values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _ruled_by_table(self) -> dict[str, Any]:
        """The check that goes with a first record."""
        return {
            "ConditionCheck": {
                "TableName": self.calls.table,
                "Key": table_item.key(self.workspace, table_item.WORKSPACE),
                "ConditionExpression": RULES,
                "ExpressionAttributeNames": {"#mode": "mode"},
                "ExpressionAttributeValues": {":table": {"S": TABLE}, ":first": {"N": "1"}},
            }
        }

    def _not_here(self, resource: Resource) -> AuthorityMoved:
        return AuthorityMoved(
            f"{str(resource)!r} is not in the table yet, and the workspace {self.workspace!r} has a directory, whose "
            "chain of it, if there is one, has to be sealed first",
            path=self.workspace,
            mode=MOUNT,
            epoch=0,
            hint="open the workspace once with its directory and the table: coordinator authority move table, or any "
            "use of that name",
        )

    def _answer(
        self, resource: Resource, record: Record, item: dict[str, Any] | None, seen: Chained | None
    ) -> Appended | Beaten:
        """What a refused append came to (P7); ``seen``: what was known when it was sent."""
        try:
            found = self._take(resource, item, seen) if item else self._get(resource)
            return self._judge(resource, record, found)
        except StoreUnavailable as error:
            error.outcome_unknown = True  # the refusal may have been that of a second try
            raise

    def _judge(self, resource: Resource, record: Record, found: Chained | None) -> Appended | Beaten:
        if found is None or found.record.n < record.n:
            raise StoreUnavailable(
                f"record {record.n} of {str(resource)!r} follows on nothing that stands in the table",
                resource=str(resource),
                cause="the record that it was decided on is gone",
                outcome_unknown=False,
                hint="was the table restored, or was the item deleted by hand? Stop the agents and start them anew",
            )
        request = found.request_at(record.n)
        if not request:
            old = next((one for one in self.archive.records(resource) if one.n == record.n), None)
            if old is None:
                raise StoreUnavailable(
                    f"whether record {record.n} of {str(resource)!r} was accepted can no longer be told: "
                    "it was collected while this process stood still",
                    resource=str(resource),
                    cause="below the floor, and not in the archive",
                    outcome_unknown=True,
                    hint="read the resource anew and see whether the change is there",
                )
            return Appended(record, 0) if old.request == record.request else Beaten(found.record)
        return Appended(record, found.live) if request == record.request else Beaten(found.record)

    def put_over(self, resource: Resource, record: Record, before: Record | None) -> Appended | Beaten:
        """Puts a record with which a resource comes from the mount, or goes to it (moving.py): its n may leave a gap.

        What stood in the item is archived first.
        """
        old = self._get(resource)
        if (old.record if old else None) != before:
            assert old is not None  # noqa: S101 - an item is never deleted
            return Beaten(old.record)
        if old is not None:
            self.archive.put(resource, self.now_ms(), (*old.past, old.text), old.record.n - len(old.past))
        return self._put(resource, record, table_item.first(record), before)

    def append_together(self, appends: Sequence[tuple[Resource, Record]]) -> list[Appended] | dict[Resource, Record]:
        """Puts several records, all or none, in one TransactWriteItems.

        Returns:
            What was appended, in order; or the newest record of each resource for which somebody else came first.

        Raises:
            StoreUnavailable: As ``append``. A retry of the same records is safe.
        """
        items: list[dict[str, Any]] = []
        after: list[Chained] = []
        seen = {resource: self._seen.get(resource) for resource, _ in appends}
        is_new = False
        for resource, record in appends:
            known = self._ready(resource, record)
            if isinstance(known, Beaten):
                return {resource: known.current}
            if isinstance(known, Appended):  # all of them are, then: they were put together
                return [Appended(one, 0) for _, one in appends]
            before, chained = known
            is_new = is_new or before is None
            items.append({"Update": {**self._update(resource, chained, before), "TableName": self.calls.table}})
            after.append(chained)
        budget_ms = min(_budget_ms(record) for _, record in appends)
        names = ", ".join(str(resource) for resource, _ in appends)
        guards = [self._ruled_by_table()] if is_new and self._guarded else []
        try:
            self.calls.call("transact_write_items", f"leasing {names}", budget_ms, TransactItems=[*guards, *items])
        except TransactionCanceled as refused:
            if guards and refused.reasons[0][0] == "ConditionalCheckFailed":
                raise self._not_here(appends[0][0]) from None
            return self._untangle(appends, refused.reasons[len(guards) :], seen)
        for (resource, _), chained in zip(appends, after, strict=True):
            self._remember(resource, chained)
        return [Appended(record, chained.live) for (_, record), chained in zip(appends, after, strict=True)]

    def _untangle(
        self,
        appends: Sequence[tuple[Resource, Record]],
        reasons: Sequence[tuple[str, dict[str, Any] | None]],
        seen: Mapping[Resource, Chained | None],
    ) -> list[Appended] | dict[Resource, Record]:
        beaten: dict[Resource, Record] = {}
        for (resource, record), (code, item) in zip(appends, reasons, strict=True):
            if code == "ConditionalCheckFailed":
                found = self._answer(resource, record, item, seen[resource])
                if isinstance(found, Appended):  # the reply to an earlier try was lost: it put all of them
                    return [Appended(one, 0) for _, one in appends]
                beaten[resource] = found.current
        return beaten

    # ── the rest of the contract ─────────────────────────────────────────────────────────────────────────────────────

    def make_durable(self, resource: Resource, n: int) -> None:
        """See Store: what can be read here is durable."""

    def now_ms(self) -> int:
        """The service's own clock, by the dates of its answers (table_time.py)."""
        now_ms = self.calls.time.now_ms()
        if now_ms is not None:
            return now_ms
        if self.calls.time.is_silent and self.calls.is_here():
            return self._clock.now().wall_ns // 1_000_000  # DynamoDB Local: no dates, and this machine's clock
        for _ in range(3):  # answers that took too long tell nothing
            key = table_item.key(self.workspace, table_item.WORKSPACE)
            self.calls.call("get_item", "asking the time", TABLE_BUDGET_MS, Key=key, ProjectionExpression="pk")
            now_ms = self.calls.time.now_ms()
            if now_ms is not None:
                return now_ms
            if self.calls.time.is_silent and self.calls.is_here():
                return self._clock.now().wall_ns // 1_000_000
        raise StoreUnavailable(
            f"the table {self.calls.table!r} does not tell the time: its answers have no date, or take too long",
            resource=self.calls.table,
            cause="no usable date",
            outcome_unknown=False,
        )

    @contextmanager
    def turn(self, resource: Resource, *, wait_ms: int | None = None) -> Iterator[bool]:
        """See Store. Among the threads of this process only: a write that is refused costs others one request."""
        with self._guard:
            own = self._turns.setdefault(resource, threading.Lock())
        has_own = own.acquire(timeout=(QUEUE_WAIT_MAX_MS if wait_ms is None else wait_ms) / 1000)
        try:
            yield has_own
        finally:
            if has_own:
                own.release()

    def history(self, resource: Resource) -> list[Record]:
        """See Store."""
        chained = self._get(resource)  # first: what is collected from it meanwhile is in the archive by then
        known = {record.n: record for record in self.archive.records(resource)}
        if chained is not None:
            where = f"item {table_item.RECORD}{resource.state_path}"
            known |= {record.n: record for record in table_item.decode_all(chained.past, resource, where)}
            known[chained.record.n] = chained.record
        return [known[n] for n in sorted(known)]

    def recent(self, resource: Resource) -> list[Record]:
        """The newest records, oldest first, as many as lie in the one item: one read, and no archive."""
        chained = self._get(resource)
        if chained is None:
            return []
        where = f"item {table_item.RECORD}{resource.state_path}"
        past = table_item.decode_all(chained.past, resource, where)
        return [*sorted(past, key=lambda record: record.n), chained.record]

    def newest(self, resource: Resource, limit: int) -> list[Record]:
        """The newest records, so many at the most, oldest first; no more archives are read than that takes."""
        known = {record.n: record for record in self.recent(resource)}
        if known and len(known) < limit:
            fewest = max(TABLE_LIVE_MAX - TABLE_LIVE_KEEP, 1)  # records in an archive
            for records in self.archive.newest(resource, limit // fewest + 2):
                known |= {record.n: record for record in records}
        return [known[n] for n in sorted(known)][-limit:]

    def page(self, after: str, limit: int) -> list[Resource]:
        """Resources after one, in the order of their items: one page, of so many items at the most."""
        start = f"{table_item.RECORD}{Resource.parse(after).state_path}" if after else ""
        found = []
        for item in self.archive.query(table_item.RECORD, only="sk", limit=limit, after=start):
            with suppress(BadName):  # else it is not of our making
                found.append(Resource.from_state_path(item["sk"]["S"].removeprefix(table_item.RECORD)))
        return found

    def collect(self, resource: Resource, author: Author, *, keep: int) -> int:
        """See Store. What is to leave the item is archived first; the record that raises the floor then drops it."""
        chained = self._seen.get(resource) or self._get(resource)
        if chained is None:
            return 0
        floor = chained.record.n - keep + 1
        old = chained.past[: max(chained.live - keep, 0)]
        if floor <= chained.record.floor or not old:
            return 0
        first_n = chained.record.n - len(chained.past)
        self.archive.put(resource, self.now_ms(), old, first_n)
        settle(self, resource, lambda _n, _now_ms: Raise(author, floor), known=chained.record)
        if random.randrange(LOOKED_AT) == 0:  # a look finds as many as were made since the last one
            self.archive.drop_old(resource, chained.record.n, self.now_ms())
        return len(old)

    def resources(self) -> Iterable[Resource]:
        """See Store."""
        found: set[Resource] = set()
        for item in self.archive.query(table_item.RECORD, only="sk"):
            try:
                found.add(Resource.from_state_path(item["sk"]["S"].removeprefix(table_item.RECORD)))
            except BadName:
                continue  # not of our making
        return sorted(found)

    def show_life(self, incarnation: str) -> None:
        """See Store: that cannot be told here."""

    def is_gone(self, lease: Holding) -> bool:  # noqa: ARG002 - a seam like any other
        """See Store: that cannot be told here."""
        return False

    def close(self) -> None:
        """See Store: nothing of this process is in the table."""

    def after_fork(self) -> None:
        """In a forked child: locks that another thread held at the fork would never be released here."""
        self._guard = threading.Lock()
        self._turns = {}
        self.calls.after_fork()


def _is_unchanged(item: dict[str, Any], before: Chained) -> bool:
    told = (item.get("n", {}).get("N"), item.get("record", {}).get("S"))
    return told == (str(before.record.n), before.text)


def _is_later(found: Chained | None, before: Chained) -> bool:
    if found is None:
        return False
    return found.record.n > before.record.n or (found.record.n, found.text) == (before.record.n, before.text)


def _budget_ms(record: Record) -> int:
    """How long an append may be tried: a grant or renewal that comes later than its ttl is worth nothing."""
    return min(record.lease.ttl_ms, TABLE_BUDGET_MS) if record.lease else TABLE_BUDGET_MS
