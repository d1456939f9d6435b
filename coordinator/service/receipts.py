"""What became of operations, by their ids: asked of the compactor function by callers who lost an answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from coordinator.clock import SYSTEM_CLOCK, elapsed_max_ms
from coordinator.document.receipt import DURABLE, OperationReceipt, receipt_of, receipt_without_details
from coordinator.document.revision import Lines, decided_at
from coordinator.errors import BadValue
from coordinator.names import Resource, parse_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.workspace import Workspace

WAIT_MAX_MS: Final = 2000  # limit: while one waits here, nobody else is served
OP_IDS_MAX: Final = 100
_PAUSE_MS: Final = 50


def receipts(workspace: Workspace, body: dict[str, Any], remaining: Callable[[], float]) -> dict[str, Any]:
    """A receipt for each id, after a fold: ``durable`` where nothing is known of it (yet, or any more)."""
    op_ids = body.get("op_ids")
    if not isinstance(op_ids, list) or not 0 < len(op_ids) <= OP_IDS_MAX:
        raise BadValue(f"op_ids is not a list of 1 to {OP_IDS_MAX} ids", argument="op_ids", value=repr(op_ids)[:80])
    wanted = [parse_id(op_id) for op_id in op_ids]
    resource = Resource.parse(body["document"])
    wait_ms = min(int(body.get("wait_ms") or 0), WAIT_MAX_MS, max(round(remaining() * 1000), 0))
    began = SYSTEM_CLOCK.now()
    document = workspace.document(str(resource))
    while True:
        document.compact()
        found = {op_id: _receipt(workspace, resource, op_id) for op_id in wanted}
        is_known = all(receipt.state != DURABLE for receipt in found.values())
        if is_known or elapsed_max_ms(began, SYSTEM_CLOCK.now()) + _PAUSE_MS > wait_ms:
            return {"receipts": [asdict(found[op_id]) for op_id in wanted]}
        SYSTEM_CLOCK.pause(_PAUSE_MS)


def _receipt(workspace: Workspace, resource: Resource, op_id: str) -> OperationReceipt:
    member = workspace._member  # noqa: SLF001 - the function is its other half
    record = member.store.read(resource)
    if record is None or record.head is None:
        return OperationReceipt(op_id, DURABLE)
    folding = workspace.document(str(resource))._folding  # noqa: SLF001 - likewise
    with folding._guard:  # noqa: SLF001 - likewise
        revision, outcome = folding._up_to(record).ids.get(op_id, (0, ""))  # noqa: SLF001 - likewise
    if not revision:
        return OperationReceipt(op_id, DURABLE)
    told = decided_at(Lines(member, resource), record.fold, op_id, revision)
    if told is None:
        return receipt_without_details(op_id, outcome, revision)
    return receipt_of(op_id, told[0], told[1], revision, again=True)
