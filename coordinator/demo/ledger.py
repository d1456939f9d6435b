"""What was acknowledged: one journal for each life of each process, written by it alone, one JSON line an event.

    {"kind": "ready", "pid": 4711}                                          started, waits for the signal to begin
    {"kind": "ack", "op": "claim", "tag": "", "id": "7", "revision": 12, …}  the update returned: it must be in the file
    {"kind": "refused", "op": "complete", …, "reason": "taken", "kept": …}   a stale holder's commit was refused; with
                                                                            the fence of a claim: that is void
    {"kind": "unknown", …}                                                  the outcome could not be told
    {"kind": "restored"}                                                    wrote an old whole copy over a broken file
    {"kind": "reads", "reads": 90, "torn": 3}                               a reader's count since its last line
    {"kind": "end", "reason": "finished"}                                   left of its own accord

Every line may carry ``torn``: how often its writer found the file not whole since its last line. An ``ack`` line is
written *after* the strategy returned, so that a process killed in between has acknowledged nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coordinator.demo.plan import Address

CLAIM = "claim"
COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal. ``worker`` is the slot, ``life`` counts the processes that filled it, from 1."""

    worker: str
    life: int
    kind: str
    op: str = ""
    tag: str = ""
    id: str = ""
    revision: int = 0
    fence: int = 0
    op_id: str = ""
    reason: str = ""
    kept: str = ""
    reads: int = 0
    torn: int = 0
    pid: int = 0

    @property
    def address(self) -> Address:
        """Which task."""
        return self.tag, self.id


class Journal:
    """The writing end.

    Args:
        folder: Where the journals of an act lie.
        worker: The slot.
        life: Which of its processes.
    """

    def __init__(self, folder: str, worker: str, life: int) -> None:
        path = os.path.join(folder, f"{worker}.{life}.jsonl")
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self.write("ready", pid=os.getpid())

    def write(self, kind: str, **fields: Any) -> None:
        """Appends one line, in one write: it is there whole as soon as this returns, whatever happens to the process.

        It need not survive the machine: the one who reads it is the process that started the act.
        """
        line = {"kind": kind, **{key: value for key, value in fields.items() if value}}
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


def parse_lines(worker: str, life: int, data: bytes) -> tuple[list[Entry], int]:
    """The entries of a journal, and how many bytes they took: a last line that is not ended is left for later."""
    end = data.rfind(b"\n") + 1
    return [Entry(worker, life, **json.loads(line)) for line in data[:end].splitlines()], end


class JournalTail:
    """The reading end, for whoever watches: what was added since the last look.

    Args:
        folder: Where the journals of an act lie.
        worker: The slot.
        life: Which of its processes.
    """

    def __init__(self, folder: str, worker: str, life: int) -> None:
        self._path = os.path.join(folder, f"{worker}.{life}.jsonl")
        self._worker, self._life = worker, life
        self._offset = 0

    def new_entries(self) -> list[Entry]:
        """What was added; nothing when the journal is not there yet."""
        try:
            if os.stat(self._path).st_size == self._offset:
                return []
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                entries, taken = parse_lines(self._worker, self._life, file.read())
        except FileNotFoundError:
            return []
        self._offset += taken
        return entries


def void_claims(entries: Iterable[Entry]) -> set[tuple[Address, int]]:
    """Claims whose holder was refused under the claim's own fence: they had run out, and the task was given away.

    Under leases each update has a fence of its own, and there are none of these.
    """
    return {(entry.address, entry.fence) for entry in entries if entry.kind == "refused" and entry.fence}


def unfinished(entries: Sequence[Entry]) -> list[Entry]:
    """The claims that one slot has acknowledged, and has not completed: what its next life does first."""
    acknowledged = [entry for entry in entries if entry.kind == "ack"]
    completed = {entry.address for entry in acknowledged if entry.op == COMPLETE}
    claimed = {entry.address: entry for entry in acknowledged if entry.op == CLAIM}
    void = void_claims(entries)
    return [
        claim for address, claim in claimed.items() if address not in completed and (address, claim.fence) not in void
    ]
