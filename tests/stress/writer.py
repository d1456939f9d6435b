"""A worker of test_killed_writers: updates and claims until it is killed, and keeps a journal of what it was told."""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

from coordinator import CoordinatorError, Workspace


def main() -> None:
    folder, journal, number = sys.argv[1:]
    chance = random.Random(f"{number}.{os.getpid()}")
    workspace = Workspace(folder, agent=f"worker-{number}")
    document, board = workspace.document("plan.json"), workspace.tasks("tasks.json")
    out = os.open(f"{journal}/{number}.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(*told: Any) -> None:
        os.write(out, json.dumps(told).encode() + b"\n")  # one write: whole, or not there

    tell("ready")
    for count in range(10**6):
        key = f"w{number}-{os.getpid()}-{count}"
        try:
            if chance.random() < 0.2:
                task = board.claim_next(ttl=600)
                if task:
                    tell("claimed", task.id, task.epoch)
                continue
            holds = chance.random() < 0.8
            test = {"op": "test", "path": "/n", "value": 0 if holds else 1}
            tell("asks", key)
            patch = [test, {"op": "add", "path": f"/{key}", "value": count}]
            wait = 0 if chance.random() < 0.2 else 10
            receipt = document.perform([{"do": "patch", "patch": patch}], wait=wait)[0]
            tell("told", key, receipt.state, receipt.revision, "applied" if holds else "rejected")
        except CoordinatorError as error:
            tell("error", key, type(error).__name__, str(error))


main()
