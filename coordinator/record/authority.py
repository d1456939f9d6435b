"""Which store rules a workspace: one item of the table, and who may change it (P28).

The item ``workspace`` of a workspace's partition (table_item.py)::

    mode       S  "mount" or "table": which store rules
    epoch      N  1 at first, one more with every move
    born       S  which store ruled first: records of a workspace born in the table need no seal on the mount
    directory  S  a mark of the directory it belongs to; empty: none
    by, at_ms     who wrote it, and when

It is put if absent and changed on the condition that mode and epoch are what they were, never otherwise (P8). An older
client need not know of a move: the chains it would write to are sealed (moving.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import CorruptRecord, StoreUnavailable, TableUnusable
from coordinator.limits import DECIDE_TRIES, TABLE_BUDGET_MS
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.table_calls import ConditionFailed
from coordinator.record.table_item import WORKSPACE, key

if TYPE_CHECKING:
    from coordinator.record.table_calls import TableCalls

_NEW: Final = "attribute_not_exists(pk)"
_UNMOVED: Final = "#mode = :old_mode AND epoch = :old_epoch"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who rules, as the table tells."""

    mode: str
    epoch: int
    born: str
    directory: str
    by: str = ""
    at_ms: int = 0

    @classmethod
    def first(cls, mode: str, directory: str, by: str) -> Authority:
        """Of a workspace that the table does not know yet."""
        return cls(mode, 1, mode, directory, by)

    @property
    def needs_seals(self) -> bool:
        """Whether a chain on the mount may have been written to before the table ruled."""
        return not (self.born == TABLE and self.epoch == 1)


def read_authority(calls: TableCalls, workspace: str) -> Authority | None:
    """What the table says; None: it does not know the workspace.

    Raises:
        TableUnusable, StoreUnavailable: See TableCalls.call.
        CorruptRecord: The item was altered by hand.
    """
    item = calls.call(
        "get_item", "asking who rules", TABLE_BUDGET_MS, Key=key(workspace, WORKSPACE), ConsistentRead=True
    ).get("Item")
    return _parse(item, workspace) if item else None


def register(calls: TableCalls, workspace: str, fresh: Authority) -> Authority:
    """Makes the workspace known to the table, if it is not; the authority that stands.

    Args:
        calls: The table.
        workspace: Its id.
        fresh: What to put if nothing is there. Its directory is compared with what stands.

    Raises:
        TableUnusable: The table knows it as another directory's.
    """
    found = read_authority(calls, workspace)
    if found is None:
        item = {**key(workspace, WORKSPACE), **_values(fresh)}
        try:
            calls.call("put_item", "registering the workspace", TABLE_BUDGET_MS, Item=item, ConditionExpression=_NEW)
        except ConditionFailed:
            found = read_authority(calls, workspace)
            assert found is not None  # noqa: S101 - it is never deleted
        else:
            return fresh
    if fresh.directory and found.directory and found.directory != fresh.directory:
        raise TableUnusable(
            f"the table {calls.table!r} knows the workspace {workspace!r} as another directory's "
            f"({found.directory}, registered by {found.by}); this one is {fresh.directory}",
            table=calls.table,
            cause="another directory with the same workspace id",
            hint="a copied workspace needs an id of its own: coordinator authority adopt --new-id; "
            "if the directory was moved or restored, and the other is gone: coordinator authority adopt",
        )
    return found


def change(calls: TableCalls, workspace: str, old: Authority, new: Authority) -> Authority:
    """Replaces what stands, if it is still that; what stands afterwards."""
    values = {f":{name}": value for name, value in _values(new).items()}
    values |= {":old_mode": {"S": old.mode}, ":old_epoch": {"N": str(old.epoch)}}
    try:
        calls.call(
            "update_item",
            "moving the authority",
            TABLE_BUDGET_MS,
            Key=key(workspace, WORKSPACE),
            UpdateExpression="SET #mode = :mode, epoch = :epoch, born = :born, directory = :directory, "
            "#by = :by, at_ms = :at_ms",
            ConditionExpression=_UNMOVED,
            ExpressionAttributeNames={"#mode": "mode", "#by": "by"},
            ExpressionAttributeValues=values,
        )
    except ConditionFailed:  # somebody else moved it, or an earlier try of this call did
        found = read_authority(calls, workspace)
        assert found is not None  # noqa: S101 - it is never deleted
        return found
    return new


def adopt(calls: TableCalls, workspace: str, fresh: Authority, at_ms: int) -> Authority:
    """Makes the table know the workspace as another directory's: it was moved or restored, and the first one is gone.

    The same store rules, in the same epoch, unless the directory tells of a later one: then the table was restored to a
    point before that move. Of two directories adopted at once, the later stands.

    Args:
        calls: The table.
        workspace: Its id.
        fresh: Whose it is to be, who says so, and who rules as far as the directory tells; put as it is if the table
            does not know the workspace.
        at_ms: When, by the table's clock.

    Returns:
        What stands.
    """
    for _ in range(DECIDE_TRIES):
        old = read_authority(calls, workspace)
        if old is None:
            return register(calls, workspace, fresh)
        told = fresh if fresh.epoch > old.epoch else old
        new = replace(told, born=old.born, directory=fresh.directory, by=fresh.by, at_ms=at_ms)
        if (old.directory, old.epoch) == (new.directory, new.epoch):
            return old
        if change(calls, workspace, old, new) == new:
            return new
        # the rule was moved meanwhile, and the old mark with it
    raise StoreUnavailable(
        f"the rule over {workspace!r} was moved {DECIDE_TRIES} times while it was adopted",
        resource=workspace,
        cause="beaten every time",
        outcome_unknown=False,
    )


def _values(authority: Authority) -> dict[str, Any]:
    return {
        "mode": {"S": authority.mode},
        "epoch": {"N": str(authority.epoch)},
        "born": {"S": authority.born},
        "directory": {"S": authority.directory or "-"},
        "by": {"S": authority.by},
        "at_ms": {"N": str(authority.at_ms)},
    }


def _parse(item: dict[str, Any], workspace: str) -> Authority:
    try:
        directory = item["directory"]["S"]
        found = Authority(
            mode=item["mode"]["S"],
            epoch=int(item["epoch"]["N"]),
            born=item["born"]["S"],
            directory="" if directory == "-" else directory,
            by=item["by"]["S"],
            at_ms=int(item["at_ms"]["N"]),
        )
        if found.mode not in {MOUNT, TABLE} or found.born not in {MOUNT, TABLE} or found.epoch < 1:
            raise ValueError("no such mode or epoch")
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptRecord(
            f"the item that tells who rules {workspace!r} is damaged: {error!r}",
            resource=workspace,
            path=f"item {WORKSPACE}",
            where="mode, epoch",
            hint="restore it from a backup of the table: agents must not guess who rules",
        ) from None
    return found
