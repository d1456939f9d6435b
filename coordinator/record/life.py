"""A sign of life of each process that holds leases, on a disk of one host (B13): its death is seen at once.

``.coordinator/live/<incarnation>`` is locked (flock) by the process as long as it lives; the system frees the lock with
it, however it dies. Who can lock it knows that the holder is gone, and need not wait for the ttl (P9). A frozen process
keeps its lock, so a freeze is told by the ttl, as ever.

Only where no other host writes: on NFS a lock is also lost by a host that is cut off or frozen and goes on later. And
only a help (P2): without a sign, or where it cannot be had, the ttl counts.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from coordinator.files import keep_over_exec
from coordinator.folders import make_dirs, remove_quietly

if TYPE_CHECKING:
    from coordinator.files import FileLock, Files
    from coordinator.record.places import Places
    from coordinator.record.record import Holding


class Lives:
    """Signs of life in one workspace.

    Args:
        places: Its paths.
        files: The seam.
    """

    def __init__(self, places: Places, files: Files) -> None:
        self._places = places
        self._files = files
        self._shown: tuple[int, str, FileLock | None] = (0, "", None)

    def show(self, incarnation: str) -> None:
        """Gives a sign until this process ends. What cannot be done is left: it only saves others a wait."""
        if self._shown[:2] == (os.getpid(), incarnation):
            return
        self.end()
        lock = None
        with contextlib.suppress(OSError):
            try:
                lock = self._files.try_lock(self._path(incarnation))
            except FileNotFoundError:
                make_dirs(self._files, self._places.state, self._places.lives)
                lock = self._files.try_lock(self._path(incarnation))
        if lock is not None:
            # Whoever becomes another program under a lease is not dead, nor is a command that was started under one: as
            # long as one of them lives, the ttl tells.
            keep_over_exec(lock)
        self._shown = (os.getpid(), incarnation, lock)

    def is_gone(self, lease: Holding) -> bool:
        """Whether the process that holds a lease has ended, for certain."""
        if lease.detached:
            return False  # it is to outlive its process (P12)
        path = self._path(lease.incarnation)
        try:
            self._files.stat(path)
            lock = self._files.try_lock(path)
        except OSError:
            return False  # it never gave one, or that cannot be told
        if lock is None:
            return False
        lock.unlock()
        return True

    def sweep(self) -> int:
        """Removes the signs of those that have ended; returns how many. OSError."""
        removed = 0
        try:
            names = self._files.listdir(self._places.lives)
        except FileNotFoundError:
            return 0
        for name in names:
            lock = self._files.try_lock(self._path(name))
            if lock is not None:
                remove_quietly(self._files, self._path(name))
                lock.unlock()
                removed += 1
        return removed

    def end(self) -> None:
        """Takes this process's sign away: from now on nobody can tell."""
        pid, incarnation, lock = self._shown
        self._shown = (0, "", None)
        if lock is not None and pid == os.getpid():
            remove_quietly(self._files, self._path(incarnation))
            lock.unlock()

    def __del__(self) -> None:
        """A workspace that is dropped without being closed keeps no descriptor; as after ``end``, the ttl counts."""
        self.end()

    def _path(self, incarnation: str) -> str:
        return f"{self._places.lives}/{incarnation}"
