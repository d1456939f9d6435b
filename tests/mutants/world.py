"""The stage of the mutants: agents on one real directory, with clocks set by hand, who can act in mid-call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource
from coordinator.record.agree import Transition, settle
from coordinator.record.decide import Acquire, Ask
from coordinator.testing import Call, InterceptedFiles, ManualClock
from coordinator.testing.stale import StaleFiles
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.clock import Clock
    from coordinator.events import Event
    from coordinator.files import Files
    from coordinator.record.record import Record

NAME = "plan.md"
RESOURCE = Resource.parse(NAME)


class Violation(AssertionError):
    """A check found that a rule's promise was broken. Raised by checks only, never by what they check."""


def promise(holds: object, what: str) -> None:
    """Raises Violation unless ``holds``."""
    if not holds:
        raise Violation(what)


class Moment:
    """What is to happen in the midst of an agent's call. A check whose moment never came has shown nothing."""

    def __init__(self, who: str, matches: Callable[[Call], bool], act: Callable[[], Any]) -> None:
        self.who, self._matches, self._act = who, matches, act
        self.came = False

    def __call__(self, call: Call) -> None:
        if not self.came and self._matches(call):
            self.came = True
            self._act()


class _ServerTime(InterceptedFiles):
    """A server whose clock is set by hand."""

    def __init__(self, inner: Files, server: ManualClock, hook: Callable[[Call], None]) -> None:
        super().__init__(inner, hook)
        self._server = server

    def touch(self, path: str) -> int:
        def touch() -> int:
            self._inner.touch(path)
            return self._server.now().wall_ns

        return self._run("touch", path, touch)


class World:
    """A workspace, and a server whose clock all agents share unless they bring one of their own."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.server = ManualClock()
        Workspace.init(root, agent="init")
        self.moments: list[Moment] = []
        self._hooks: dict[str, Callable[[Call], None]] = {}

    def agent(
        self,
        name: str,
        clock: Clock | None = None,
        files: Files = SYSTEM_FILES,
        on_event: Callable[[Event], None] | None = None,
    ) -> Workspace:
        """An agent, in a process of its own as far as it can know."""

        def hook(call: Call) -> None:
            self._hooks.get(name, _nothing)(call)  # looked up at each call: it changes

        seam = _ServerTime(files, self.server, hook)
        return Workspace(self.root, agent=name, files=seam, clock=clock or self.server, on_event=on_event)

    def host(self, name: str) -> Workspace:
        """An agent on a host of its own, which remembers names as an NFS client does."""
        return self.agent(name, files=StaleFiles(SYSTEM_FILES))

    def when(self, name: str, matches: Callable[[Call], bool], act: Callable[[], Any]) -> None:
        """Lets ``act`` happen in the midst of the first of an agent's calls that matches; once."""
        moment = Moment(name, matches, act)
        self.moments.append(moment)
        self._hooks[name] = moment

    def watch(self, name: str, hook: Callable[[Call], None]) -> None:
        """Shows an agent's calls to ``hook`` from now on."""
        self._hooks[name] = hook

    @property
    def view(self) -> str:
        return f"{self.root}/{NAME}"

    @property
    def state(self) -> str:
        return f"{self.root}/.coordinator/resources/{RESOURCE.state_path}"

    def newest(self) -> Record:
        """The newest record, as a process that knows nothing yet reads it."""
        record = self.agent("reader")._member.store.read(RESOURCE)
        assert record is not None
        return record


def _nothing(_call: Call) -> None:
    """What most calls are answered with."""


def appends(call: Call) -> bool:
    """The moment before a record is put."""
    return call.when == "before" and call.op == "symlink"


def appended(call: Call) -> bool:
    """The moment after a record was put, before its writer knows."""
    return call.when == "after" and call.op == "symlink"


def many_records(workspace: Workspace, count: int) -> None:
    """Lets ``count`` records pass, two for each lease."""
    for _ in range(count // 2):
        workspace.lease(NAME, wait=5).release()


def content(path: str) -> bytes | None:
    """What a file says; None when it is not there."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def write(path: str, data: bytes) -> None:
    """Writes a file as any program does."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def can_be_had(path: str) -> bool:
    """Whether a lock is free."""
    lock = SYSTEM_FILES.try_lock(path)
    if lock:
        lock.unlock()
    return lock is not None


def wait_in_line(workspace: Workspace) -> str:
    """Takes a place in line; returns what it is known by."""
    member = workspace._member
    author = member.author()
    assert isinstance(settle(member.store, RESOURCE, lambda _n, _now_ms: Ask(author)), Transition)
    return author.request


def acquire_from(workspace: Workspace, place: str) -> bool:
    """One try by somebody who waits in line; whether it was granted."""
    member = workspace._member
    author = member.author()
    decision = settle(member.store, RESOURCE, lambda _n, _now_ms: Acquire(author, 30_000, place=place))
    return isinstance(decision, Transition)
