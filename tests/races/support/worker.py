"""An agent in a process of its own, told what to do line by line: ``worker.py DIRECTORY AGENT [SEAM]``.

Each line that comes in is ``{"do": "acquire", …}``, each line that goes out is its answer, or what a longer task tells
meanwhile. ``pause`` makes the process stop itself, really, by SIGSTOP, when it next passes a named point.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from coordinator import CoordinatorError, DocumentLease, LeaseLost, Receipt, RevisionConflict, Workspace
from coordinator.files import SYSTEM_FILES, SystemFiles
from coordinator.testing import Call, InterceptedFiles, PauseAt

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.files import FileLock


class Shared(SystemFiles):
    """A mount that other hosts write to."""

    def is_local(self, path: str) -> bool:  # noqa: ARG002 - all of it
        return False


class QueueLost(Shared):
    """The queue lock of a client that was frozen: the server gave it to others, and the client is not told (P5)."""

    def try_lock(self, path: str) -> FileLock | None:
        lock = super().try_lock(path)
        if lock:
            lock.unlock()
        return lock


def say(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")  # one write: lines of several processes do not mix


def failure(error: CoordinatorError) -> dict[str, Any]:
    return {"error": type(error).__name__, "text": str(error), **error.fields}


class Worker:
    """Every ``do_…`` is a command; what it returns is the answer."""

    def __init__(self, directory: str, agent: str, *, seam: SystemFiles) -> None:
        self._hooks: list[Callable[[Call], None]] = []
        files = InterceptedFiles(seam, self._on_call)
        self._workspace = Workspace(directory, agent=agent, files=files)
        self._held: DocumentLease | None = None

    def _on_call(self, call: Call) -> None:
        for hook in self._hooks:
            hook(call)

    def run(self) -> None:
        say({"ready": os.getpid()})
        for line in sys.stdin:
            command = json.loads(line)
            action = getattr(self, "do_" + command.pop("do"))
            try:
                say(action(**command))
            except CoordinatorError as error:
                say(failure(error))

    # ── where it stops ───────────────────────────────────────────────────────────────────────────────────────────────

    def do_pause(self, point: str, nth: int) -> dict[str, Any]:
        self._hooks.append(PauseAt(point, nth))
        return {}

    def do_pause_before(self, op: str, contains: str, nth: int = 1) -> dict[str, Any]:
        """Stops before the nth of some calls that have no name among the points."""
        passings = itertools.count(1)

        def stop(call: Call) -> None:
            if call[:2] == ("before", op) and contains in call.path and next(passings) == nth:
                os.kill(os.getpid(), signal.SIGSTOP)

        self._hooks.append(stop)
        return {}

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _lease(self) -> DocumentLease:
        if self._held is None:
            raise AssertionError("the test has not made this worker acquire a lease")
        return self._held

    def do_acquire(self, name: str, ttl: float, wait: float | None) -> dict[str, Any]:
        self._held = self._workspace.lease(name, ttl=ttl, wait=wait)
        return {"fence": self._held.fence}

    def do_resume(self, token: str) -> dict[str, Any]:
        self._held = self._workspace.resume(token)
        return {"fence": self._held.fence}

    def do_check(self) -> dict[str, Any]:
        self._lease.check()
        return {}

    def do_detach(self) -> dict[str, Any]:
        return {"token": self._lease.detach()}

    def do_renew(self) -> dict[str, Any]:
        self._lease.renew()
        return {}

    def do_release(self) -> dict[str, Any]:
        self._lease.release()
        return {}

    def do_leave_block(self) -> dict[str, Any]:
        """What the end of a ``with`` block does when its body ended well."""
        self._lease.__exit__(None, None, None)
        return {}

    def do_commit(self, text: str) -> dict[str, Any]:
        return _told(self._lease.commit(text.encode()))

    # ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────

    def do_read(self, name: str) -> dict[str, Any]:
        content = self._workspace.document(name).content()
        return {"text": content.data.decode(), "revision": content.revision}

    def do_put(self, name: str, text: str, on: int) -> dict[str, Any]:
        return _told(self._workspace.document(name).commit(text.encode(), if_revision=on))

    def do_collect(self, name: str, keep: int) -> dict[str, Any]:
        return {"records": self._workspace.document(name).collect(keep=keep)[0]}

    def do_history(self, name: str) -> dict[str, Any]:
        return {"numbers": [record.n for record in self._workspace.history(name)]}

    # ── longer tasks ─────────────────────────────────────────────────────────────────────────────────────────────────

    def do_increments(self, name: str, ops: list[str], ttl: float) -> dict[str, Any]:
        """Counts each op up once, under a lease of its own; tells of each one when it was acknowledged."""
        for op in ops:
            while not self._increment(name, op, ttl):
                pass
            say({"acknowledged": op})
        return {"done": len(ops)}

    def _increment(self, name: str, op: str, ttl: float) -> bool:
        """False: the lease was lost on the way, to one who took this process for dead; the op is tried anew."""
        try:
            with self._workspace.lease(name, ttl=ttl, wait=None) as lease:
                board = lease.read_json()
                task = board["tasks"][len(board["done"]) % len(board["tasks"])]
                if op in board["done"]:  # committed before the lease was lost; the receipt did not come
                    return True
                task["attempts"] += 1
                board["done"].append(op)
                lease.commit_json(board)
        except LeaseLost:
            return False
        return True

    def do_count_and_collect(self, name: str, ops: list[str], every: int) -> dict[str, Any]:
        """Adds each op to a list, without a lease, and collects the workspace again and again."""
        document = self._workspace.document(name)
        for i, op in enumerate(ops):
            while not self._add(name, op):
                pass
            if i % every == 0:
                self._workspace.collect()
        return {"done": len(ops), "revision": document.revision}

    def _add(self, name: str, op: str) -> bool:
        document = self._workspace.document(name)
        content = document.content()
        try:
            document.commit(content.data + op.encode() + b"\n", if_revision=content.revision)
        except RevisionConflict:
            return False
        return True


def _told(receipt: Receipt) -> dict[str, Any]:
    return {"revision": receipt.revision, "fence": receipt.fence, "view": receipt.view}


if __name__ == "__main__":
    seams = {"--queue-lost": QueueLost(), "--shared": Shared()}
    seam = next((seams[flag] for flag in sys.argv[3:]), SYSTEM_FILES)
    Worker(sys.argv[1], sys.argv[2], seam=seam).run()
