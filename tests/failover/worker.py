"""One agent of a fleet whose authority moves: works through leases and logs, and writes down what was acknowledged.

``python worker.py DIRECTORY TABLE AGENT LEDGER [POINT NTH]``: prints a line when it is ready, works until its standard
input ends, then writes LEDGER, a JSON object. With POINT it stops itself (SIGSTOP) there, at the NTH passing.
"""

from __future__ import annotations

import json
import select
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from coordinator import LeaseHeld, LeaseLost, RevisionConflict, StoreUnavailable, Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.names import new_id
from coordinator.testing import InterceptedFiles, PauseAt

if TYPE_CHECKING:
    from coordinator import Event

LEASED: Final = "leased.json"
LOGGED: Final = "logged.json"


class Worker:
    """Adds ids to two documents, one under its lease, one through a log."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.committed: list[str] = []
        self.committed_perhaps: list[str] = []
        self.updated: list[str] = []
        self.updated_perhaps: list[str] = []
        self.held: list[tuple[int, int, int]] = []

    def commit_one(self) -> None:
        """Reads, adds an id, commits, under the lease."""
        mine = new_id()
        try:
            with self.workspace.lease(LEASED, ttl=3, wait=20) as lease:
                began = time.monotonic_ns()
                try:
                    content = lease.read_json()
                    content["ids"].append(mine)
                    lease.commit_json(content)
                except StoreUnavailable as error:
                    if error.outcome_unknown:
                        self.committed_perhaps.append(mine)
                else:
                    self.committed.append(mine)
                    if lease.remaining > 0:
                        self.held.append((lease.fence, began, time.monotonic_ns()))
        except (LeaseHeld, LeaseLost, RevisionConflict, StoreUnavailable):
            return  # nothing was acknowledged, or it is noted already

    def update_one(self) -> None:
        """Adds a field, through this process's own log."""
        mine = new_id()
        document = self.workspace.document(LOGGED)
        try:
            document.update([{"op": "add", "path": f"/{mine}", "value": 1}], op_id=mine, wait=20)
        except StoreUnavailable:
            self.updated_perhaps.append(mine)
        else:
            self.updated.append(mine)


def main() -> None:
    """See above."""
    directory, table, agent, ledger, *pause = sys.argv[1:]
    files: Any = SYSTEM_FILES
    if pause:
        files = InterceptedFiles(SYSTEM_FILES, PauseAt(pause[0], int(pause[1])))
    events: list[Event] = []
    workspace = Workspace(directory, agent=agent, table=table, fallback="table", files=files, on_event=events.append)
    worker = Worker(workspace)
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    while not select.select([sys.stdin], [], [], 0)[0]:
        worker.commit_one()
        worker.update_one()
    workspace.close()
    told = {
        name: getattr(worker, name) for name in ("committed", "committed_perhaps", "updated", "updated_perhaps", "held")
    }
    told["events"] = [event.kind for event in events]
    with open(ledger, "w", encoding="utf-8") as file:
        json.dump(told, file)


if __name__ == "__main__":
    main()
