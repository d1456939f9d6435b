"""Faults inside a process: a disk that is full for a while, a write that tears, a wall clock that is off."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from typing import TYPE_CHECKING

from coordinator.clock import Instant, SystemClock
from coordinator.files import SystemFiles

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from coordinator.files import NewFile


class FaultyFiles(SystemFiles):
    """This machine's files, until told otherwise.

    Args:
        seed: Draws at which byte a write tears.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._full_until = 0.0
        self._tears = False

    def fill(self, seconds: float) -> None:
        """Nothing more can be written for so long."""
        self._full_until = time.monotonic() + seconds

    def tear(self) -> None:
        """The next write ends after some of its bytes, and this process with it."""
        self._tears = True

    def check(self, path: str) -> None:
        """Refuses, while the disk is full."""
        if time.monotonic() < self._full_until:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def write(self, inner: NewFile, data: bytes, path: str) -> None:
        """Writes, as far as it goes: a disk that is full takes some of it."""
        if self._tears:
            inner.write(data[: self._random.randrange(len(data) + 1)])
            os.kill(os.getpid(), signal.SIGKILL)
        if time.monotonic() < self._full_until:
            inner.write(data[: self._random.randrange(len(data) + 1)])
            self.check(path)
        inner.write(data)

    def create(self, path: str, mode: int | None = None) -> NewFile:
        """See Files."""
        self.check(path)
        return _FaultyNewFile(self, super().create(path, mode), path)

    def symlink(self, target: str, path: str) -> None:
        """See Files."""
        self.check(path)
        super().symlink(target, path)

    def mkdir(self, path: str) -> None:
        """See Files."""
        self.check(path)
        super().mkdir(path)


class _FaultyNewFile:
    def __init__(self, files: FaultyFiles, inner: NewFile, path: str) -> None:
        self._files, self._inner, self._path = files, inner, path

    def write(self, data: bytes) -> None:
        self._files.write(self._inner, data, self._path)

    def sync(self) -> None:
        self._inner.sync()

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)


class SkewedClock(SystemClock):
    """This machine's clocks, with a wall clock that is off.

    Args:
        off_s: By how much.
    """

    def __init__(self, off_s: float) -> None:
        self._off_ns = round(off_s * 1e9)

    def now(self) -> Instant:
        """See Clock."""
        now = super().now()
        return now._replace(wall_ns=now.wall_ns + self._off_ns)
