"""Operations of callers without a mount: into the inbox, with their receipts; boards likewise; reads, asked of others.

An operation's id makes a retry safe from wherever it comes (P25): the fold applies it once and tells both.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from coordinator.document.operations import as_operation, validate
from coordinator.tasks.access import Access

if TYPE_CHECKING:
    from coordinator.service import models
    from coordinator.workspace import Workspace

    Body = dict[str, Any]

_NOT_OF_THE_OPERATION: Final = frozenset({"document", "agent", "op_id", "wait_ms", "board"})


def submit(workspace: Workspace, body: models.Submit) -> Body:
    """Appends operations; waits for their outcomes. A rejected one is told in its receipt."""
    operations = [as_operation(one.change, one.if_revision) for one in body.operations]
    for operation in operations:  # one that no fold knows would stop all of them
        validate(operation, body.document)
    ids = [one.op_id for one in body.operations]
    done = workspace.document(body.document).perform(operations, ids=ids, wait=body.wait_ms / 1000)
    return {"receipts": [asdict(receipt) for receipt in done]}


def on_board(verb: str, workspace: Workspace, body: models.OnBoard) -> Body:
    """One operation on a board. Refusals are raised, as by ``TaskBoard``."""
    given = body.model_dump(exclude_unset=True)
    fields = {name: value for name, value in given.items() if name not in _NOT_OF_THE_OPERATION}
    for name, default in (("ttl_ms", None), ("retryable", True)):  # what a fold wants said
        if name not in fields and name in type(body).model_fields:
            fields[name] = getattr(body, name) if default is None else default
    access = Access(workspace._member, workspace.document(body.document), body.board)  # noqa: SLF001 - its other half
    op = access.op(verb, **fields)
    if "result" in fields:
        op["result"] = fields["result"]  # null is a result, too
    return {"receipt": asdict(access.submit(op, body.op_id, body.wait_ms / 1000))}
