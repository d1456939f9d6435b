"""One agent of a stress run: ``python -m coordinator.stress.worker``, with one JSON object as its argument.

It works until its standard input ends: a commit under a lease, an update through its log, a task that is added, claimed
and completed; whichever the seed draws. Each step is noted before it is taken and when it was answered.
"""

from __future__ import annotations

import json
import random
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import (
    ClaimLost,
    CoordinatorError,
    LeaseHeld,
    LeaseLost,
    OperationRejected,
    RevisionConflict,
    StoreUnavailable,
)
from coordinator.names import new_id
from coordinator.stress.journal import Journal
from coordinator.stress.plan import TTL_S
from coordinator.stress.seams import FaultyFiles, SkewedClock
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

LEASED: Final = "leased.json"
LOGGED: Final = "logged.json"
TASKS: Final = "tasks.json"
FULL_S: Final = 0.7
_WAIT_S: Final = 10.0
_REST_S: Final = 0.05  # after trouble: a disk that is full is not asked a thousand times a second


class Worker:
    """Takes steps. See above."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._journal = Journal(facts["journal"])
        self._random = random.Random(facts["seed"])
        self.files = FaultyFiles(facts["seed"])
        self._workspace = Workspace(
            facts["directory"],
            agent=facts["agent"],
            table=facts["table"],
            region=facts["region"],
            fallback="table" if facts["table"] else None,
            files=self.files,
            clock=SkewedClock(facts["off_s"]),
        )
        self._board = self._workspace.tasks(TASKS)

    def run(self) -> None:
        """Works until standard input ends."""
        steps = (self._commit, self._update, self._update, self._work)
        self._journal.note("ready")
        while not select.select([sys.stdin], [], [], 0)[0]:
            step = self._random.choice(steps)
            try:
                step()
            except (LeaseHeld, LeaseLost, StoreUnavailable) as error:
                self._journal.note("trouble", error=type(error).__name__, text=str(error)[:200])
                time.sleep(_REST_S)
        try:
            self._workspace.close()
        except CoordinatorError as error:
            self._journal.note("trouble", error=type(error).__name__, text=str(error)[:200])
        self._journal.note("done")

    def _told(self, kind: str, tag: str, call: Callable[[], Any]) -> Any:
        """Notes a step, takes it, and notes the answer; None when there was none, or it was refused."""
        self._journal.note("try", kind=kind, tag=tag)
        try:
            answer = call()
        except (LeaseHeld, LeaseLost, OperationRejected, RevisionConflict) as error:
            self._journal.note("no", kind=kind, tag=tag, error=type(error).__name__)
            return None
        except StoreUnavailable as error:
            self._journal.note("unknown" if error.outcome_unknown else "no", kind=kind, tag=tag, error=error.cause[:80])
            time.sleep(_REST_S)
            return None
        self._journal.note("ack", kind=kind, tag=tag, revision=getattr(answer, "revision", 0))
        return answer

    def _commit(self) -> None:
        tag = new_id()
        with self._workspace.lease(LEASED, ttl=TTL_S, wait=_WAIT_S) as lease:
            since_ns = time.monotonic_ns()
            content = lease.read_json()
            content["tags"].append(tag)
            self._told("commit", tag, lambda: lease.commit_json(content))
            until_ns = time.monotonic_ns()  # noted before the trust is looked at: it may end in between
            if lease.remaining > 0:
                self._journal.note("held", name=LEASED, fence=lease.fence, since=since_ns, until=until_ns)

    def _update(self) -> None:
        tag, document = new_id(), self._workspace.document(LOGGED)
        patch = [{"op": "add", "path": f"/tags/{tag}", "value": self._random.randrange(10**6)}]
        receipt = self._told("update", tag, lambda: document.update(patch, op_id=tag, wait=_WAIT_S))
        if receipt is not None and self._random.random() < 0.1:  # noqa: PLR2004 - now and then
            self._told("update", tag, lambda: document.update(patch, op_id=tag, wait=_WAIT_S))  # a retry is no other

    def _work(self) -> None:
        tag = new_id()
        if self._told("add", tag, lambda: self._board.add({"id": tag, "title": "stress"}, op_id=tag)) is None:
            return
        task = self._board.claim_next(ttl=TTL_S, wait=0)
        if not task:
            return
        self._journal.note("claimed", task=str(task.id), epoch=task.epoch)
        try:
            self._told("complete", str(task.id), lambda: task.complete(result={"by": tag}))
        except ClaimLost:
            return


def main() -> None:
    """See above."""
    worker = Worker(json.loads(sys.argv[1]))
    signal.signal(signal.SIGUSR1, lambda *_: worker.files.fill(FULL_S))
    signal.signal(signal.SIGUSR2, lambda *_: worker.files.tear())
    worker.run()


if __name__ == "__main__":
    main()
