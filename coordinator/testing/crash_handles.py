"""What CrashFiles hands out: a file that is being written, and a lock."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

from coordinator.testing.tree import refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from coordinator.testing.tree import Node


class CrashNewFile:
    """Implements NewFile.

    Args:
        path: What it was created under.
        write: Appends to it.
        sync: Makes it durable.
    """

    def __init__(self, path: str, write: Callable[[bytes], None], sync: Callable[[], None]) -> None:
        self._path, self._write, self._sync = path, write, sync
        self._open = True

    def write(self, data: bytes) -> None:
        """See NewFile."""
        self._refuse_closed()
        self._write(data)

    def sync(self) -> None:
        """See NewFile."""
        self._refuse_closed()
        self._sync()

    def close(self) -> None:
        """See NewFile."""
        self._open = False

    def _refuse_closed(self) -> None:
        if not self._open:
            raise refusal(errno.EBADF, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CrashLock:
    """Implements FileLock."""

    def __init__(self, locked: set[Node], node: Node) -> None:
        self._locked, self._node = locked, node

    def unlock(self) -> None:
        """See FileLock."""
        self._locked.discard(self._node)
        self._locked = set()  # a second call does nothing
