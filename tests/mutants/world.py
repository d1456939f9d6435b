"""The stage of the mutants: agents on one real directory, with clocks set by hand, who can act in mid-call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource
from coordinator.testing import Call, InterceptedFiles, ManualClock
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.clock import Clock
    from coordinator.files import Files
    from coordinator.record.record import Record

NAME = "plan.md"


class Violation(AssertionError):
    """A check found that a rule's promise was broken."""


def promise(holds: object, what: str) -> None:
    """Raises Violation unless ``holds``."""
    if not holds:
        raise Violation(what)


class _ServerTime(InterceptedFiles):
    """A server whose clock is set by hand."""

    def __init__(self, inner: Files, server: ManualClock, hook: Callable[[Call], None]) -> None:
        super().__init__(inner, hook)
        self._server = server

    def touch(self, path: str) -> int:
        super().touch(path)
        return self._server.now().wall_ns


class World:
    """A workspace, a server's clock, and a clock that all agents share unless they bring their own."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.server = ManualClock()
        self.clock = self.server
        Workspace.init(root, agent="init")
        self._hooks: dict[str, Callable[[Call], None]] = {}

    def agent(self, name: str, clock: Clock | None = None, files: Files = SYSTEM_FILES) -> Workspace:
        """An agent, as on a host of its own."""
        self._hooks.setdefault(name, lambda _call: None)
        seam = _ServerTime(files, self.server, lambda call: self._hooks[name](call))  # noqa: PLW0108 - the hook changes
        return Workspace(self.root, agent=name, files=seam, clock=clock or self.clock)

    def when(self, name: str, matches: Callable[[Call], bool], act: Callable[[], Any]) -> None:
        """Lets ``act`` happen in the midst of the first of an agent's calls that matches; once."""

        def hook(call: Call) -> None:
            if matches(call):
                self._hooks[name] = lambda _call: None
                act()

        self._hooks[name] = hook

    def watch(self, name: str, hook: Callable[[Call], None]) -> None:
        """Shows an agent's calls to ``hook`` from now on."""
        self._hooks[name] = hook

    @property
    def view(self) -> str:
        return f"{self.root}/{NAME}"

    @property
    def state(self) -> str:
        return f"{self.root}/.coordinator/resources/{Resource.parse(NAME).state_path}"

    def newest(self) -> Record:
        """The newest record, as a process that knows nothing yet reads it."""
        record = self.agent("reader").history(NAME)[-1]
        assert record is not None
        return record

    def many_records(self, workspace: Workspace, count: int) -> None:
        """Lets ``count`` records pass, two for each lease."""
        for _ in range(count // 2):
            workspace.lease(NAME, wait=5).release()


def appends(call: Call) -> bool:
    """The moment before a record is put."""
    return call.when == "before" and call.op == "symlink"


def appended(call: Call) -> bool:
    """The moment after a record was put, before its writer knows."""
    return call.when == "after" and call.op == "symlink"


def content(path: str) -> bytes | None:
    """What a file says; None when it is not there."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()
