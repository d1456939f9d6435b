"""A workspace and the processes that share it; the test itself is one more agent."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from coordinator import Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource
from coordinator.record.places import Places

from .processes import Process

if TYPE_CHECKING:
    from coordinator.record.record import Record


class Fleet:
    """Starts processes on one workspace and ends them all.

    Attributes:
        directory: The workspace.
        primitive: What it was made with.
        test: The workspace as the test itself uses it, agent ``test``.
    """

    def __init__(self, directory: str, primitive: str, errors: str) -> None:
        self.directory = directory
        self.primitive = primitive
        self.test = Workspace.init(directory, agent="test", primitive=primitive)
        self._errors = errors
        self._started: list[Process] = []

    def start(self, agent: str, *, queue_lost: bool = False, shared: bool = False) -> Process:
        """A worker that is ready for commands."""
        worker = self.launch("worker.py", agent, *(["--queue-lost"] if queue_lost else ["--shared"] if shared else []))
        worker.answer("that it is ready")
        return worker

    def launch(self, script: str, *arguments: str) -> Process:
        """A script of this folder; its first argument is the directory."""
        errors = f"{self._errors}/stderr-{len(self._started)}"
        process = Process(script, self.directory, *arguments, errors=errors)
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kills every process, stopped ones too."""
        for process in self._started:
            process.end()

    # ── what stands on the disk ──────────────────────────────────────────────────────────────────────────────────────

    def place(self, name: str, *parts: str) -> str:
        """A path in a resource's state folder."""
        return Places(self.test.directory).of(Resource.parse(name), *parts)

    def record_path(self, name: str, n: int) -> str:
        """Where record n stands, or stood."""
        return self.place(name, "chain", f"{n:012d}")

    def newest(self, name: str) -> Record:
        """The newest record."""
        return self.test.history(name)[-1]

    def queue_is_free(self, name: str) -> bool:
        """Whether another process would get the queue lock at once."""
        lock = SYSTEM_FILES.try_lock(self.place(name, "queue.lock"))
        if lock:
            lock.unlock()
        return lock is not None

    def view(self, name: str) -> bytes:
        """The plain file as any program sees it."""
        with open(os.path.join(self.directory, name), "rb") as file:
            return file.read()

    def sidecar(self, name: str) -> dict[str, object]:
        """What is told beside the chain about the plain file."""
        with open(self.place(name, "view.json"), "rb") as file:
            told: dict[str, object] = json.load(file)
        return told

    def revisions(self, name: str) -> list[tuple[int, str, int]]:
        """Every revision: its number, its agent, its fence."""
        return [(one.revision, one.agent, one.fence) for one in self.test.document(name).history()]

    # ── acting in between ────────────────────────────────────────────────────────────────────────────────────────────

    def churn(self, name: str, text: bytes, renewals: int = 200) -> None:
        """Makes hundreds of records and one revision, and collects, so that every record before is deleted."""
        before = self.newest(name)
        with self.test.lease(name, ttl=60, wait=30) as lease:
            for _ in range(renewals):
                lease.renew()
            lease.commit(text)
        self.collect_past(name, before.n)

    def collect_past(self, name: str, n: int) -> None:
        """Collects, and makes sure that record n and the one after it are below the floor and deleted."""
        self.test.document(name).collect()
        assert self.newest(name).floor > n + 1
        assert not os.path.lexists(self.record_path(name, n))
        assert not os.path.lexists(self.record_path(name, n + 1))
