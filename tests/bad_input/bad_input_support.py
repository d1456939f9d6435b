"""A whole cycle of a document's life on the real file system, a fault at its nth call, and what must hold then."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordinator import Workspace
from coordinator.errors import CoordinatorError
from coordinator.files import SYSTEM_FILES
from coordinator.testing import InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coordinator.document.lease import DocumentLease
    from coordinator.testing import Call
    from coordinator.testing.files import When

NAME: Final = "tasks.json"
PLAIN: Final = b'{"v": 0}\n'
MUTATING: Final = frozenset(
    {
        "create",
        "write",
        "sync",
        "symlink",
        "rename",
        "mkdir",
        "sync_dir",
        "touch",
        "try_lock",
        "unlink",
        "rmdir",
    }
)


class FailNth:
    """A hook that fails the nth of all calls of some kinds, once or from then on; with ``nth=0`` it only counts.

    Args:
        code: The errno.
        ops: Which calls count.
        nth: Which one fails, from 1.
        when: ``before``: not done; ``after``: done, and the reply lost.
        onwards: All later ones fail, too.
    """

    def __init__(self, code: int, ops: frozenset[str], nth: int, *, when: When = "before", onwards: bool) -> None:
        self._code, self._ops, self._nth, self._when, self._onwards = code, ops, nth, when, onwards
        self.armed = True
        self.seen: list[Call] = []
        self.failed: list[Call] = []

    def __call__(self, call: Call) -> None:
        if not self.armed or call.when != self._when or call.op not in self._ops:
            return
        self.seen.append(call)
        if len(self.seen) == self._nth or (self._onwards and 0 < self._nth < len(self.seen)):
            self.failed.append(call)
            raise OSError(self._code, os.strerror(self._code), call.path)


@dataclass
class Cycle:
    """init, lease, adopt, commit twice, release, commit without a lease, collect; it ends at its first error."""

    folder: Path
    primitive: str
    hook: FailNth
    clock: ManualClock = field(default_factory=ManualClock)  # a wait for a lease that was not released costs no time
    workspace: Workspace | None = None
    acknowledged: bytes = PLAIN
    offered: bytes = PLAIN  # what the step at work is committing; of unknown outcome if that step fails
    error: Exception | None = None
    step: str = ""
    _lease: DocumentLease | None = None

    def run(self) -> None:
        """Carries it through, as far as it comes."""
        (self.folder / NAME).write_bytes(PLAIN)
        steps: list[tuple[str, Callable[[], object]]] = [
            ("init", self._init),
            ("lease", self._acquire),
            ("read", lambda: self._held().read()),
            ("commit 1", lambda: self._commit(b'{"v": 1}\n')),
            ("commit 2", lambda: self._commit(b'{"v": 2}\n')),
            ("release", lambda: self._held().release()),
            ("commit without lease", self._commit_without_lease),
            ("collect the document", lambda: self.opened().document(NAME).collect(keep=2)),
            ("collect", self._collect),
        ]
        for name, step in steps:
            self.step = name
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whether it is one of ours is what is asked
                self.error = error
                return

    def opened(self) -> Workspace:
        assert self.workspace is not None
        return self.workspace

    def _held(self) -> DocumentLease:
        assert self._lease is not None
        return self._lease

    def _init(self) -> None:
        files = InterceptedFiles(SYSTEM_FILES, self.hook)
        self.workspace = Workspace.init(
            self.folder, agent="alice", primitive=self.primitive, files=files, clock=self.clock
        )

    def _acquire(self) -> None:
        self._lease = self.opened().lease(NAME, ttl=30)

    def _commit(self, data: bytes) -> None:
        self.offered = data
        self._held().commit(data)
        self.acknowledged = data

    def _commit_without_lease(self) -> None:
        document = self.opened().document(NAME)
        self.offered = b'{"v": 3}\n'
        document.commit(self.offered, if_revision=document.revision)
        self.acknowledged = self.offered

    def _collect(self) -> None:
        scratch = self.folder / ".coordinator" / "scratch"
        (scratch / "old-folder").mkdir(exist_ok=True)
        for name in ("old-folder/record", "old-file"):
            (scratch / name).write_bytes(b"left by one who was killed")
        for name in ("old-folder", "old-file"):
            os.utime(scratch / name, (1, 1))
        self.opened().collect()

    # ── what must hold afterwards ────────────────────────────────────────────────────────────────────────────────────

    def troubles(self, *allowed: type[CoordinatorError]) -> Iterator[str]:
        """Everything that is not as it must be, once the fault is gone."""
        self.hook.armed = False
        yield from self._troubles_of_error(allowed or (CoordinatorError,))
        yield from self._troubles_of_view("before the repair")
        for whose in ("the same process", "a fresh process"):
            try:
                yield from self._troubles_of_workspace(whose)
            except Exception as error:  # noqa: BLE001 - told with the call that failed
                yield f"{whose}, after the fault: {error!r}"
        yield from self._troubles_of_view("at the end")
        yield from wrong_snapshots(self.folder)

    def _troubles_of_error(self, allowed: tuple[type[CoordinatorError], ...]) -> Iterator[str]:
        if self.error is None:
            return
        if not isinstance(self.error, allowed):
            yield f"raised {self.error!r}"
        elif isinstance(self.error, CoordinatorError):
            if not self.error.hint:
                yield f"no hint: {self.error}"
            if str(self.folder) not in str(self.error) and NAME not in str(self.error):
                yield f"does not say what failed: {self.error}"

    def _troubles_of_workspace(self, whose: str) -> Iterator[str]:
        if whose == "the same process" and self.workspace is not None:
            workspace = self.workspace
        else:
            workspace = Workspace.init(self.folder, agent="bob", primitive=self.primitive, clock=ManualClock())
        found = workspace.document(NAME).read()
        lawful = {self.acknowledged}
        # The step that failed may have committed, if it does not say that it certainly did not.
        if self.error is not None and getattr(self.error, "outcome_unknown", True):
            lawful.add(self.offered)
        if found not in lawful:
            yield f"{whose} reads {found!r}; lawful are {lawful}"
        if self._lease is not None and whose == "the same process":
            return  # its lease may still run: a fresh process waits for that
        after = f'{{"after": "{whose}"}}\n'.encode()
        with workspace.lease(NAME, ttl=30, wait=90) as lease:
            lease.commit(after)
        if workspace.document(NAME).read() != after:
            yield f"{whose} cannot read its own commit"
        if (self.folder / NAME).read_bytes() != after:
            yield f"{whose} left the plain file at {(self.folder / NAME).read_bytes()!r}"
        self.acknowledged = self.offered = after

    def _troubles_of_view(self, when: str) -> Iterator[str]:
        ever = {PLAIN, *(b'{"v": %d}\n' % i for i in (1, 2, 3))}
        data = (self.folder / NAME).read_bytes()
        if data not in ever and not data.startswith(b'{"after": "'):
            yield f"the plain file is not whole {when}: {data!r}"


def wrong_snapshots(folder: Path) -> Iterator[str]:
    """Every file in a snap folder whose content is not what its name says."""
    for path in folder.glob(".coordinator/resources/**/snap/*"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name[-64:]:
            yield f"{path.name} has other content than its name says"
