"""Sixteen processes update one document and claim from another, killed and frozen at any moment, beside an editor.

Afterwards every acknowledged operation is accounted for exactly once: by the journals that the workers kept, the
document, and the revisions, replayed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator import Workspace

if TYPE_CHECKING:
    from coordinator import Document

WORKERS: Final = 16
SECONDS: Final = 8.0
WRITER: Final = Path(__file__).parent / "writer.py"


class Fleet:
    def __init__(self, folder: Path, journal: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self._args = [str(folder), str(journal)]
        self._workers = [self._start(number) for number in range(WORKERS)]
        self._frozen: list[tuple[float, subprocess.Popen[bytes]]] = []
        self.kills = self.freezes = 0

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(WRITER), *self._args, str(number)])

    def harm(self) -> None:
        """Kills one or freezes one, and lets those go on whose time is over."""
        number = self.chance.randrange(WORKERS)
        if self.chance.random() < 0.4:
            self._workers[number].kill()
            self._workers[number].wait()
            self._workers[number] = self._start(number)
            self.kills += 1
        else:
            self._workers[number].send_signal(signal.SIGSTOP)
            self._frozen.append((time.monotonic() + self.chance.uniform(0.05, 2), self._workers[number]))
            self.freezes += 1
        for until, worker in list(self._frozen):
            if time.monotonic() > until:
                worker.send_signal(signal.SIGCONT)
                self._frozen.remove((until, worker))

    def end(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()


def edit(path: Path, key: str) -> None:
    """What an editor does: reads the plain file, changes it, and puts it back by temp + rename."""
    value = json.loads(path.read_bytes())
    value[key] = "by hand"
    (path.parent / f".{key}.tmp").write_text(json.dumps(value, indent=2) + "\n")
    os.replace(path.parent / f".{key}.tmp", path)


def told(journal: Path) -> list[list[Any]]:
    lines = [line for path in sorted(journal.iterdir()) for line in path.read_bytes().splitlines()]
    return [json.loads(line) for line in lines]


def settled(document: Document) -> Any:
    while document.compact().revision:
        pass
    return document.read_json()


@pytest.mark.timeout(120)
def test_every_acknowledged_operation_is_accounted_for_exactly_once(tmp_path: Path) -> None:
    seed = int(os.environ.get("STRESS_SEED", "0")) or random.randrange(1, 10**9)
    print(f"STRESS_SEED={seed}")  # noqa: T201 - replays the plan of faults
    folder, journal = tmp_path / "shared", tmp_path / "journal"
    folder.mkdir()
    journal.mkdir()
    (folder / "plan.json").write_text('{\n  "n": 0\n}\n')
    tasks = [{"id": f"t{i}", "status": "pending"} for i in range(400)]
    (folder / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    Workspace.init(folder, agent="start")
    fleet = Fleet(folder, journal, seed)
    edits: list[str] = []
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(fleet.chance.uniform(0, 0.3))
            fleet.harm()
            if fleet.chance.random() < 0.3:
                edits.append(f"edit-{len(edits)}")
                edit(folder / "plan.json", edits[-1])
    finally:
        fleet.end()
    check(folder, told(journal), edits)
    assert fleet.kills > 3
    assert fleet.freezes > 3


def check(folder: Path, lines: list[list[Any]], edits: list[str]) -> None:
    workspace = Workspace(folder, agent="judge")
    document = workspace.document("plan.json")
    found = settled(document)
    assert [line for line in lines if line[0] == "error"] == []
    asked = {line[1] for line in lines if line[0] == "asks"}
    receipts = [line for line in lines if line[0] == "told"]
    assert len(receipts) > 200
    for _, key, state, revision, expected in receipts:
        assert state in {"durable", expected}, f"{key} was told {state}"
        assert (key in found) == (expected == "applied"), f"{key} was {state} at {revision}"
    assert set(found) - {"n"} - set(edits) <= asked, "something is there that nobody asked for"
    kept = [json.loads(Path(path).read_bytes()) for path in document.conflicts()]
    lost = [key for key in edits if key not in found and not any(key in text for text in kept)]
    # A save in the instant between a process's last look and its rename is lost: docs/guarantees.md. More is not.
    assert len(lost) <= 1 + len(edits) // 10, f"{lost} are neither there nor kept, of {len(edits)} edits"
    applied = Counter(
        step["path"][1:]
        for change in document.changes(document.history()[0].revision - 1)
        for operation in change.operations
        for step in operation["patch"]
        if step["op"] == "add"
    )
    assert max(applied.values(), default=0) == 1, "something was applied twice"
    board = workspace.document("tasks.json")
    settled(board)
    claims = [tuple(line[1:]) for line in lines if line[0] == "claimed"]
    assert len({task_id for task_id, _ in claims}) == len(claims), "a task was given twice"
    rows = {row["id"]: row for row in workspace.tasks("tasks.json").list()}
    assert all(rows[task_id]["epoch"] == epoch for task_id, epoch in claims)
