"""Operations on their way through the coordinator function: submitted, waited for, told; and the changes they made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordinator.document.folding import Change
from coordinator.document.receipt import DURABLE, OperationReceipt
from coordinator.errors import StoreUnavailable
from coordinator.remote.asking import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.remote.asking import Asker

_FIELDS: Final = ("op_id", "state", "revision", "result", "why", "text", "winner", "facts", "again")
_SURELY: Final = ("op_id", "state")


class RemoteSubmissions:
    """What ``Submissions`` and ``DistantSubmissions`` are: operations go in, receipts come out. Thread-safe.

    Args:
        member: Whose.
        resource: On what.
        asker: Asks the function.
    """

    def __init__(self, member: Member, resource: Resource, asker: Asker) -> None:
        self._member, self._resource, self._asker = member, resource, asker

    def submit(
        self,
        operations: Sequence[dict[str, Any]],
        ids: Sequence[str],
        *,
        wait_ms: int,
        again: bool = False,  # noqa: ARG002 - over there an id is looked up in any case
    ) -> list[OperationReceipt]:
        """Submits operations and waits for their outcomes. Raises as ``DistantSubmissions.submit``."""
        name, waiting = str(self._resource), Waiting(self._member.clock, wait_ms)
        who: dict[str, Any] = {"document": name, "agent": self._member.agent}
        body = who | {"operations": [_told(op, op_id) for op, op_id in zip(operations, ids, strict=True)]}
        portion_ms = waiting.portion_ms()
        told = self._asker.ask("operations/submit", {**body, "wait_ms": portion_ms}, resource=name, wait_ms=portion_ms)
        found = {row["op_id"]: receipt_from(row) for row in told.rows("receipts")}
        while (
            missing := [one for one in ids if one not in found or found[one].state == DURABLE]
        ) and waiting.goes_on():
            portion_ms = waiting.portion_ms()
            body = {**who, "op_ids": missing, "wait_ms": portion_ms}
            try:
                told = self._asker.ask("operations/receipts", body, resource=name, wait_ms=portion_ms)
            except StoreUnavailable as error:
                error.outcome_unknown = True  # they are durable; what became of them is not known
                raise
            found |= {row["op_id"]: receipt_from(row) for row in told.rows("receipts")}
        return [found.get(one) or OperationReceipt(one, DURABLE) for one in ids]

    def close(self) -> None:
        """Nothing is open here."""


def _told(op: dict[str, Any], op_id: str) -> dict[str, Any]:
    """An operation as it is sent."""
    told = {"op_id": op_id, "change": op["patch"]}
    return {**told, "if_revision": op["if"]} if "if" in op else told


def receipt_from(row: dict[str, Any]) -> OperationReceipt:
    """A receipt from its fields; those of a newer version are left out."""
    told = {name: row[name] for name in _FIELDS if row.get(name) is not None}
    return OperationReceipt(row["op_id"], row["state"], **{name: told[name] for name in told if name not in _SURELY})


def change_from(row: dict[str, Any]) -> Change:
    """A change from its fields."""
    return Change(row["revision"], row["at_ms"], row["agent"], row["whole"], tuple(row["operations"]))
