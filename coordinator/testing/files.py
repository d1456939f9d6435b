"""A file system that stops, fails or loses replies at a named call: what fault and race tests are made of.

files = InterceptedFiles(SYSTEM_FILES, PauseAt("after_append"))         # the process stops itself there (SIGSTOP)
files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.ENOSPC, "sync"))    # the first fsync fails
files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.EIO, "symlink", when="after"))   # done, but the reply is lost
Workspace(directory, files=files)
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self, TypeVar

from coordinator.names import STATE_DIR

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from coordinator.files import FileLock, Files, NewFile, Stat
    from coordinator.mounts import Mounted

T = TypeVar("T")
When = Literal["before", "after"]


class Call(NamedTuple):
    """One call at the seam, before or after it took effect. For a rename, ``path`` is the new name."""

    when: When
    op: str
    path: str


if TYPE_CHECKING:
    Hook = Callable[[Call], None]


class _InterceptedNewFile:
    def __init__(self, inner: NewFile, path: str, hook: Hook) -> None:
        self._inner, self._path, self._hook = inner, path, hook

    def write(self, data: bytes) -> None:
        self._hook(Call("before", "write", self._path))
        self._inner.write(data)
        self._hook(Call("after", "write", self._path))

    def sync(self) -> None:
        self._hook(Call("before", "sync", self._path))
        self._inner.sync()
        self._hook(Call("after", "sync", self._path))

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)


class InterceptedFiles:
    """Implements Files over another one, with a hook called before and after every call.

    Args:
        inner: What does the work.
        hook: May stop the process, look, act as another agent, or raise OSError: before the call, so that it is not
            made, or after it, so that it is made and its reply is lost.
    """

    def __init__(self, inner: Files, hook: Hook) -> None:
        self._inner = inner
        self.hook = hook

    def _run(self, op: str, path: str, call: Callable[[], T]) -> T:
        self.hook(Call("before", op, path))
        result = call()
        self.hook(Call("after", op, path))
        return result

    def listdir(self, path: str) -> list[str]:
        """See Files."""
        return self._run("listdir", path, lambda: self._inner.listdir(path))

    def refresh(self, path: str) -> None:
        """See Files."""
        self._run("refresh", path, lambda: self._inner.refresh(path))

    def readlink(self, path: str) -> str:
        """See Files."""
        return self._run("readlink", path, lambda: self._inner.readlink(path))

    def read(self, path: str) -> bytes:
        """See Files."""
        return self._run("read", path, lambda: self._inner.read(path))

    def read_at(self, path: str, offset: int, max_bytes: int) -> bytes:
        """See Files."""
        return self._run("read_at", path, lambda: self._inner.read_at(path, offset, max_bytes))

    def stat(self, path: str) -> Stat:
        """See Files."""
        return self._run("stat", path, lambda: self._inner.stat(path))

    def realpath(self, path: str) -> str:
        """See Files."""
        return self._run("realpath", path, lambda: self._inner.realpath(path))

    def is_local(self, path: str) -> bool:
        """See Files. Never intercepted: it is a property of the machine, not an event."""
        return self._inner.is_local(path)

    def mount_of(self, path: str) -> Mounted | None:
        """See Files. Never intercepted, likewise."""
        return self._inner.mount_of(path)

    def mkdir(self, path: str) -> None:
        """See Files."""
        self._run("mkdir", path, lambda: self._inner.mkdir(path))

    def create(self, path: str, mode: int | None = None) -> NewFile:
        """See Files."""
        inner = self._run("create", path, lambda: self._inner.create(path, mode))
        return _InterceptedNewFile(inner, path, self.hook)

    def symlink(self, target: str, path: str) -> None:
        """See Files."""
        self._run("symlink", path, lambda: self._inner.symlink(target, path))

    def rename(self, old: str, new: str) -> None:
        """See Files."""
        self._run("rename", new, lambda: self._inner.rename(old, new))

    def exchange(self, one: str, other: str) -> None:
        """See Files. To a hook it is a rename like any other."""
        self._run("rename", other, lambda: self._inner.exchange(one, other))

    def unlink(self, path: str) -> None:
        """See Files."""
        self._run("unlink", path, lambda: self._inner.unlink(path))

    def rmdir(self, path: str) -> None:
        """See Files."""
        self._run("rmdir", path, lambda: self._inner.rmdir(path))

    def sync_dir(self, path: str) -> None:
        """See Files."""
        self._run("sync_dir", path, lambda: self._inner.sync_dir(path))

    def try_lock(self, path: str) -> FileLock | None:
        """See Files."""
        return self._run("try_lock", path, lambda: self._inner.try_lock(path))

    def stamp(self, path: str, number: int) -> None:
        """See Files."""
        self._run("stamp", path, lambda: self._inner.stamp(path, number))

    def touch(self, path: str) -> int:
        """See Files."""
        return self._run("touch", path, lambda: self._inner.touch(path))


def is_chain(path: str) -> bool:
    """Whether a path is a record's place in a chain."""
    return "/@/chain/" in path


def is_scratch(path: str) -> bool:
    """Whether a path is a scratch name."""
    return f"/{STATE_DIR}/scratch/" in path


def is_view(path: str) -> bool:
    """Whether a path is a plain file."""
    return f"/{STATE_DIR}" not in path


# The named points of a commit, in the order in which it passes them.
POINTS: Final[dict[str, Callable[[Call], bool]]] = {
    "before_snapshot_sync": lambda call: call[:2] == ("before", "sync") and is_scratch(call.path),
    "after_snapshot_sync": lambda call: call[:2] == ("after", "sync") and is_scratch(call.path),
    "before_append": lambda call: call.when == "before" and call.op in {"symlink", "rename"} and is_chain(call.path),
    "after_append": lambda call: call.when == "after" and call.op in {"symlink", "rename"} and is_chain(call.path),
    "before_view_rename": lambda call: call[:2] == ("before", "rename") and is_view(call.path),
    "after_view_rename": lambda call: call[:2] == ("after", "rename") and is_view(call.path),
}


class PauseAt:
    """A hook that stops the process at the nth passing of a point: really, by SIGSTOP, until somebody continues it.

    Whoever started the process waits for the stop with ``os.waitpid(pid, os.WUNTRACED)``: no sleeping, no guessing.

    Args:
        point: A key of ``POINTS``.
        nth: Which passing, from 1.
        armed: Whether it counts from the start; else from when ``armed`` is set to True.
    """

    def __init__(self, point: str, nth: int = 1, *, armed: bool = True) -> None:
        self._matches = POINTS[point]
        self._left = nth
        self.armed = armed

    def __call__(self, call: Call) -> None:
        """Stops the process when its time has come."""
        if self.armed and self._matches(call):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGSTOP)


class FailAt:
    """A hook that makes calls fail.

    Args:
        code: The errno.
        op: Which call: a name of Files, or ``write`` or ``sync`` of a new file; empty: any call.
        contains: Only paths that hold this text.
        nth: The first one that fails, from 1.
        times: How many fail, from that one on.
        when: ``before``: not done; ``after``: done, and the reply lost.
    """

    def __init__(
        self, code: int, op: str = "", *, contains: str = "", nth: int = 1, times: int = 1, when: When = "before"
    ) -> None:
        self._code, self._op, self._contains, self._when = code, op, contains, when
        self._first, self._last = nth, nth + times - 1
        self.seen = 0

    def __call__(self, call: Call) -> None:
        """Raises OSError when it is this call's turn."""
        if call.when == self._when and (not self._op or call.op == self._op) and self._contains in call.path:
            self.seen += 1
            if self._first <= self.seen <= self._last:
                raise OSError(self._code, os.strerror(self._code), call.path)
