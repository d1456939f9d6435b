"""An operation's way when the mount cannot be reached: into the inbox of the table, and waiting to be told.

The same operations, ids and receipts as through a log; whoever compacts folds them (log/inbox.py, drain.py).
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

from coordinator.clock import elapsed_max_ms
from coordinator.document.receipt import DURABLE, OperationReceipt, receipt_of
from coordinator.document.submit import payload_of
from coordinator.errors import StoreUnavailable
from coordinator.events import Event
from coordinator.limits import INBOX_ASK_MAX_MS, INBOX_ASK_MIN_MS
from coordinator.log.inbox import Inbox, InboxWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.log.inbox import Answer
    from coordinator.names import Resource
    from coordinator.record.member import Member


class DistantSubmissions:
    """Submits one process's operations on one document through the table. Thread-safe; fork-safe.

    Args:
        member: Whose.
        resource: On what.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        assert member.table is not None  # noqa: S101 - where there is no directory there is a table
        self._member = member
        self._resource = resource
        self._inbox = Inbox(member.table, resource)
        self._writer = InboxWriter(member, self._inbox)

    def submit(
        self, operations: Sequence[dict[str, Any]], ids: Sequence[str], *, wait_ms: int, again: bool = False
    ) -> list[OperationReceipt]:
        """Appends operations and waits for their outcomes.

        Args:
            operations: Checked ones.
            ids: An id for each.
            wait_ms: How long at most; 0: return as soon as they are durable.
            again: They may have been submitted before, under the same ids.

        Returns:
            A receipt for each, in order.

        Raises:
            BadValue: One is too long for the inbox. Nothing was submitted.
            StoreUnavailable: With ``outcome_unknown``, submit again under the same ids with ``again``.
        """
        began = self._member.clock.now()
        found: dict[str, Answer] = {}
        incarnation = self._append(operations, ids, found, again=again)
        self._tell_compactor(fresh=True)
        pause_ms = float(INBOX_ASK_MIN_MS)
        while wait_ms:
            try:
                item = self._inbox.item(incarnation)
            except StoreUnavailable as error:
                error.outcome_unknown = True  # they are durable; what became of them is not known
                raise
            if item is not None:
                found |= {op_id: item.outcomes[op_id] for op_id in ids if op_id in item.outcomes}
            missing = [op_id for op_id in ids if op_id not in found]
            if missing and (item is None or (item.state != "open" and item.first > item.seq)):
                # Fenced and emptied while this process stood still; what was folded is recognised (P27).
                incarnation = self._append_again(operations, ids, found)
                name = str(self._resource)
                self._member.events.tell(Event("resubmitted", name, self._member.agent, detail={"operations": missing}))
                continue
            self._tell_compactor(fresh=False)
            left_ms = wait_ms - elapsed_max_ms(began, self._member.clock.now())
            if not missing or left_ms <= 0:
                break
            self._member.clock.pause(min(pause_ms * random.uniform(0.7, 1.3), left_ms))
            pause_ms = min(pause_ms * 1.5, INBOX_ASK_MAX_MS)
        return [_receipt(op_id, found.get(op_id)) for op_id in ids]

    def _tell_compactor(self, *, fresh: bool) -> None:
        if self._member.tell_compactor is not None:
            self._member.tell_compactor(str(self._resource), fresh)

    def _append(
        self, operations: Sequence[dict[str, Any]], ids: Sequence[str], found: dict[str, Answer], *, again: bool
    ) -> str:
        at_ms = self._member.clock.now().wall_ns // 1_000_000
        payloads = [
            payload_of(op_id, op, at_ms, again=again)
            for op_id, op in zip(ids, operations, strict=True)
            if op_id not in found
        ]
        return self._writer.append(payloads)

    def _append_again(self, operations: Sequence[dict[str, Any]], ids: Sequence[str], found: dict[str, Answer]) -> str:
        """Appends what was durable before, and may have been folded: whatever fails, what became of it is unknown."""
        try:
            return self._append(operations, ids, found, again=True)
        except StoreUnavailable as error:
            error.outcome_unknown = True
            raise

    def close(self) -> None:
        """Says that nothing more comes. If that cannot be said, the item is fenced when it has been silent for long."""
        with contextlib.suppress(StoreUnavailable):
            self._writer.close()


def _receipt(op_id: str, answer: Answer | None) -> OperationReceipt:
    if answer is None or not answer.outcome:
        return OperationReceipt(op_id, DURABLE)
    return receipt_of(op_id, answer.outcome, answer.info, answer.revision, again=answer.again)
