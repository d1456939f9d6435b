"""Making a table, and checking that one is fit: ``coordinator table create|check``.

What is asked of a table, each with what happens without it:

* the key ``pk`` (S, partition) and ``sk`` (S, sort): table_item.py;
* billing by request: a crowd of agents comes unannounced, and provisioned throughput throttles it;
* point-in-time recovery, and protection from deletion: the records are the only word on who holds what;
* no TTL: a record that vanished would let fences begin anew (P3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordinator.clock import elapsed_max_ms
from coordinator.errors import StoreUnavailable, TableUnusable
from coordinator.limits import TABLE_BUDGET_MS
from coordinator.record.table_item import SCHEMA

if TYPE_CHECKING:
    from coordinator.clock import Clock
    from coordinator.record.table_calls import TableCalls

_WAIT_MS: Final = 120_000  # for a new table: some seconds, mostly
_POLL_MS: Final = 500


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table is like. ``wrong`` makes it unusable; ``unwise`` is what it lacks."""

    table: str
    status: str
    wrong: tuple[str, ...]
    unwise: tuple[str, ...]
    items: int


def create_table(calls: TableCalls, clock: Clock, *, protect: bool = True) -> TableFacts:
    """Makes the table, as it should be; one that is there is left as it is, and checked.

    Args:
        calls: The table.
        clock: For waiting until it can be used.
        protect: From deletion.

    Raises:
        TableUnusable: It is of another shape, or may not be made.
        StoreUnavailable: No answer, or it is not ready in two minutes. A retry is safe.
    """
    try:
        calls.call(
            "create_table",
            "making the table",
            TABLE_BUDGET_MS,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in SCHEMA],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in SCHEMA],
            BillingMode="PAY_PER_REQUEST",
            DeletionProtectionEnabled=protect,
        )
    except (TableUnusable, StoreUnavailable) as error:
        if not error.cause.startswith("ResourceInUseException"):
            raise
        check_table(calls)  # of another shape, it is somebody else's, and left alone
    began = clock.now()
    while _described(calls)["TableStatus"] != "ACTIVE":
        if elapsed_max_ms(began, clock.now()) > _WAIT_MS:
            raise StoreUnavailable(
                f"the table {calls.table!r} is not ready after {_WAIT_MS // 1000} s",
                resource=calls.table,
                cause="not ACTIVE",
                outcome_unknown=False,
            )
        clock.pause(_POLL_MS)
    _recoverable(calls)
    return check_table(calls)


def _recoverable(calls: TableCalls) -> None:
    """Turns point-in-time recovery on. An engine for tests may not have it: check_table tells."""
    try:
        calls.call(
            "update_continuous_backups",
            "turning on point-in-time recovery",
            TABLE_BUDGET_MS,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
    except (TableUnusable, StoreUnavailable) as error:
        if not error.cause.startswith("UnknownOperationException"):
            raise


def check_table(calls: TableCalls) -> TableFacts:
    """Looks whether a table is fit for use.

    Raises:
        TableUnusable: It is not there, may not be looked at, or has another key.
        StoreUnavailable: No answer.
    """
    found = _described(calls)
    wrong, unwise = [], []
    key = tuple((part["AttributeName"], part["KeyType"]) for part in found["KeySchema"])
    types = {part["AttributeName"]: part["AttributeType"] for part in found["AttributeDefinitions"]}
    if key != SCHEMA or any(types.get(name) != "S" for name, _ in SCHEMA):
        shown = ", ".join(f"{name} ({types.get(name)}, {kind})" for name, kind in key)
        wrong.append(f"its key is {shown}; it has to be pk (S, HASH), sk (S, RANGE)")
    if found.get("BillingModeSummary", {}).get("BillingMode") != "PAY_PER_REQUEST":
        unwise.append("it is billed by provisioned throughput: a crowd is throttled (BillingMode=PAY_PER_REQUEST)")
    if not found.get("DeletionProtectionEnabled"):
        unwise.append("it is not protected from deletion (DeletionProtectionEnabled)")
    unwise += [text for text in (_without_recovery(calls), _with_ttl(calls)) if text]
    if wrong:
        raise TableUnusable(
            f"the table {calls.table!r} is of another shape: {'; '.join(wrong)}",
            table=calls.table,
            cause="; ".join(wrong),
            hint="name another table, or make one: coordinator table create NAME",
        )
    return TableFacts(calls.table, found["TableStatus"], tuple(wrong), tuple(unwise), found.get("ItemCount", 0))


def _described(calls: TableCalls) -> dict[str, Any]:
    table: dict[str, Any] = calls.call("describe_table", "looking at the table", TABLE_BUDGET_MS)["Table"]
    return table


def _asked(calls: TableCalls, action: str, about: str) -> dict[str, Any] | None:
    """What else can be told of a table; None where the engine, or a policy, does not tell."""
    try:
        return calls.call(action, about, TABLE_BUDGET_MS)
    except (TableUnusable, StoreUnavailable):
        return None


def _without_recovery(calls: TableCalls) -> str:
    answer = _asked(calls, "describe_continuous_backups", "looking for point-in-time recovery")
    if answer is None:
        return "whether it has point-in-time recovery cannot be told (dynamodb:DescribeContinuousBackups)"
    recovery = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    is_on = recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
    return "" if is_on else "it has no point-in-time recovery"


def _with_ttl(calls: TableCalls) -> str:
    answer = _asked(calls, "describe_time_to_live", "looking for a TTL")
    if answer is None:
        return "whether it has a TTL cannot be told (dynamodb:DescribeTimeToLive)"
    ttl = answer["TimeToLiveDescription"]
    is_on = ttl.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    return f"it has a TTL, on {ttl.get('AttributeName')!r}: nothing here may vanish by itself" if is_on else ""
