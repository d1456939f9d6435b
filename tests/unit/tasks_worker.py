"""A worker of a task board, as a process: ``tasks_worker.py DIRECTORY AGENT``. Lines of JSON in and out."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from coordinator import ClaimLost, Workspace


class Worker:
    """Does what each line says, and answers with one."""

    def __init__(self, directory: str, agent: str) -> None:
        self._agent = agent
        self._workspace = Workspace(directory, agent=agent)
        self._board = self._workspace.tasks("tasks.json")
        self._task: Any = None

    def run(self) -> None:
        self._say({"ready": True})
        for line in sys.stdin:
            order = json.loads(line)
            answer = getattr(self, f"do_{order.pop('do')}")(**order)
            self._say(answer)
        self._workspace.close()

    @staticmethod
    def _say(answer: dict[str, Any]) -> None:
        os.write(1, json.dumps(answer).encode() + b"\n")

    def do_claim(self, **how: Any) -> dict[str, Any]:
        self._task = self._board.claim_next(**how)
        return {"id": self._task.id, "epoch": self._task.epoch} if self._task else {"id": None}

    def do_complete(self, result: Any) -> dict[str, Any]:
        try:
            self._task.complete(result)
        except ClaimLost as error:
            return {"lost": error.task_id, "fence": error.fence, "successor": error.successor, "kept": error.kept}
        return {"done": self._task.id}

    def do_drain(self) -> dict[str, Any]:
        """Works until nothing is left."""
        had = []
        while task := self._board.claim_next():
            had.append([task.id, task.epoch])
            task.complete({"by": self._agent})
        return {"had": had}


if __name__ == "__main__":
    Worker(sys.argv[1], sys.argv[2]).run()
