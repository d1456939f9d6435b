"""An agent as a Lambda function with the workspace mounted: it takes the next task of a board, and does it.

Three ways to change what is shared, each for what it is good for::

    claim    the task board: many agents, none waits for a lock, no task is done twice at one time
    append   an update of a document: a line in this process's own log, folded by the compactor
    lease    exclusive, fenced: read, think, commit; for what cannot be told as an update

Whatever happens here, at the end of the invocation's block leases are released and logs are synced, so that nothing is
under way when the sandbox is frozen. If it runs out of time there is no such end: the claim then runs out, and the task
is given to another.
"""
# ruff: noqa: INP001 - the code of one function, and no package

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from coordinator import NoSuchDocument, Workspace

if TYPE_CHECKING:
    from coordinator.invocation import LambdaContext

# The compactor is another user of the same group, and has to fold and collect what is written here.
os.umask(0o002)


@cache
def workspace() -> Workspace:
    """The workspace, opened once in a sandbox; not at import, for a late mount would fail the sandbox's start."""
    return Workspace(
        os.environ["COORDINATOR_DIRECTORY"],
        agent=os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "example-agent"),
        table=os.environ.get("COORDINATOR_TABLE"),
    )


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Does one task of ``tasks.json``.

    Args:
        event: ``{"needs": ["python"]}``: what this agent can do; left out, it can do everything.
        context: The invocation's: no lease and no claim is granted for longer than it lasts.
    """
    shared = workspace()
    with shared.invocation(context), shared.tasks("tasks.json").claim_next(needs=event.get("needs")) as task:
        if not task:
            return {"task": None}
        result = work(task.task)
        # A merge patch. Its id makes it one update, however often the invocation is repeated for the same claim.
        shared.document("journal.json").update(
            {task.id: {"result": result, "attempt": task.attempt}}, op_id=f"journal-{task.id}-{task.epoch}", wait=0
        )
        done = add_to_report(shared)
        task.complete(result=result)  # ClaimLost, if another was given the task in the meantime: the other's counts
        return {"task": task.id, "result": result, "done": done}


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Where a real agent would call its model. ``task`` is a copy of the object on the board."""
    return {"length": len(str(task.get("title", "")))}


def add_to_report(shared: Workspace) -> int:
    """Counts one more in ``report.json``, under its lease. Returns the count."""
    with shared.lease("report.json", ttl=5, wait=20) as lease:
        try:
            report = lease.read_json()
        except NoSuchDocument:
            report = {"done": 0}
        report["done"] += 1
        lease.commit_json(report)  # LeaseLost or StaleFence, and nothing is written, if it is not held any more
        return int(report["done"])
