"""The server's flocks: held by processes, and lost by who was silent for longer than the server's lease (P5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.files import FileLock
    from coordinator.testing.simulation.client import SimFiles, SimProcess
    from coordinator.testing.simulation.world import World


class Locks:
    """The server's table of flocks: one holder a file."""

    def __init__(self, world: World, lease_ns: int) -> None:
        self._world = world
        self._lease_ns = lease_ns
        self._held: dict[str, tuple[SimProcess, object]] = {}
        self.taken_from_the_silent = 0

    def take(self, path: str, process: SimProcess, files: SimFiles) -> FileLock | None:
        """A lock, unless another has it: alive, or not silent for longer than the server's lease."""
        standing = self._held.get(path)
        if standing is not None:
            holder = standing[0]
            silent_ns = holder.host.silent_since_ns
            if silent_ns >= 0:
                if self._world.scheduler.now_ns - silent_ns <= self._lease_ns:
                    return None
                self.taken_from_the_silent += 1
            elif not holder.is_dead:
                return None
        lock = SimFileLock(self, path, files)
        self._held[path] = (process, lock)
        return lock

    def free(self, path: str, lock: object) -> None:
        """Frees a lock, if it is still this one."""
        if self._held.get(path, (None, None))[1] is lock:
            del self._held[path]

    def forget(self) -> None:
        """The server was started anew, and nobody reclaimed."""
        self._held.clear()


class SimFileLock:
    """Implements FileLock."""

    def __init__(self, locks: Locks, path: str, files: SimFiles) -> None:
        self._locks, self._path, self._files = locks, path, files

    def unlock(self) -> None:
        """See FileLock."""
        try:
            self._files.unlock()
        except OSError:
            return
        self._locks.free(self._path, self)
