"""The one seam to the file system: every call that the protocol needs, and no other.

Nothing else in this project opens, syncs, renames, links or locks a file, so that a simulator or a fault injector can
stand in for all of it (``coordinator.testing``). Paths are absolute strings. Errors are ``OSError``, as the system gave
them: what they mean is decided above.

What the calls promise, on a local disk and on NFS (figures: measured on Linux NFSv4.2 clients):

* ``listdir`` and ``refresh`` open the directory itself, which revalidates it: a name that was absent, or whose file was
  replaced on another host, is otherwise answered from this host's cache for up to 30 s (P6).
* ``symlink`` is exclusive and carries its content in one request: no reader can see half of it (P1).
* ``create`` is O_EXCL. What is written is durable after ``sync``, its name after ``sync_dir`` of its folder.
* ``try_lock`` is flock with LOCK_NB, through portalocker. It queues; it protects nothing (P5).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as stat_bits
import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from coordinator.mounts import mount_above

if TYPE_CHECKING:
    from types import TracebackType

    from coordinator.mounts import Mounted


class Stat(NamedTuple):
    """What ``stat`` tells of a path, symbolic links not followed."""

    kind: str  # "file", "directory", "symlink" or "other"
    size_bytes: int
    mtime_ns: int
    inode: int
    mode: int  # permission bits


class NewFile(Protocol):
    """A file just created, not yet durable. A context manager that closes it."""

    def write(self, data: bytes) -> None:
        """Appends all of ``data``."""
        ...

    def sync(self) -> None:
        """fsync: returns when what was written is durable."""
        ...

    def close(self) -> None:
        """Closes it; a second close does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileLock(Protocol):
    """A flock that is held. Process exit or ``unlock`` frees it; no child process inherits it."""

    def unlock(self) -> None:
        """Frees the lock and closes its descriptor; never raises."""
        ...


class Files(Protocol):
    """The seam. ``SystemFiles`` is the real one."""

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, in any order; opens it first (P6)."""
        ...

    def refresh(self, path: str) -> None:
        """Opens and closes a directory, so that the names in it are looked up anew (P6)."""
        ...

    def readlink(self, path: str) -> str:
        """Target of a symbolic link."""
        ...

    def read(self, path: str) -> bytes:
        """All of a regular file, opened anew for this one read."""
        ...

    def read_at(self, path: str, offset: int, max_bytes: int) -> bytes:
        """Part of a regular file that grows at its end, opened anew for this one read; short where the file ends.

        A file that is only appended to is never stale to who opens it anew (measured), unlike one that is replaced.
        """
        ...

    def stat(self, path: str) -> Stat:
        """Facts of a path itself (a symbolic link is not followed)."""
        ...

    def realpath(self, path: str) -> str:
        """The path with every symbolic link resolved; parts that do not exist are kept."""
        ...

    def is_local(self, path: str) -> bool:
        """Whether only this host can reach what is there: what is written is then seen by all, synced or not."""
        ...

    def mount_of(self, path: str) -> Mounted | None:
        """What is mounted there (a real path); None when that cannot be told."""
        ...

    def mkdir(self, path: str) -> None:
        """Makes one directory; FileExistsError when the name is taken."""
        ...

    def create(self, path: str, mode: int | None = None) -> NewFile:
        """Creates a file for writing, O_EXCL. ``mode``: exact permission bits; None: as the umask has it."""
        ...

    def symlink(self, target: str, path: str) -> None:
        """Makes a symbolic link; FileExistsError when the name is taken."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Renames; a file replaces a file, a directory only an empty one (ENOTEMPTY else)."""
        ...

    def exchange(self, one: str, other: str) -> None:
        """Exchanges two names at once; EINVAL, ENOSYS or EOPNOTSUPP where that cannot be done (NFS, macOS)."""
        ...

    def unlink(self, path: str) -> None:
        """Removes a file or link."""
        ...

    def rmdir(self, path: str) -> None:
        """Removes an empty directory."""
        ...

    def sync_dir(self, path: str) -> None:
        """Makes the names in a directory durable."""
        ...

    def try_lock(self, path: str) -> FileLock | None:
        """flock(LOCK_EX | LOCK_NB) on a permanent file, made when absent; None when another has it."""
        ...

    def stamp(self, path: str, number: int) -> None:
        """Makes a number a file's mtime, in ns, and makes the file when it is absent."""
        ...

    def touch(self, path: str) -> int:
        """Sets a file's times to the *server's* now, making it when absent; returns that time, nanoseconds."""
        ...


class _SystemNewFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        """Whoever forgets to close it, as a forked child does its parent's, leaks no descriptor."""
        with contextlib.suppress(OSError):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            # On NFS close may be the first to tell of a write error (measured). When another error is on its way,
            # that one tells more.
            if error is None:
                raise


class _SystemLock:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        _held_locks.add(self)

    def forget(self) -> None:
        """Drops the descriptor only: a forked child's share of its parent's lock (LOCK_UN would free the parent's)."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def unlock(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        from portalocker import LockException, unlock  # noqa: PLC0415 - loaded when it was locked

        # LOCK_UN, not close alone: a child forked by another thread meanwhile shares this open file, and would keep the
        # lock. NFS may report EIO when the lock was lost; it queued, and protected nothing (P2, P5).
        with contextlib.suppress(LockException):
            unlock(descriptor)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def keep_over_exec(lock: FileLock) -> None:
    """Has a lock stay when this process becomes another program (exec), instead of being freed."""
    if isinstance(lock, _SystemLock):
        os.set_inheritable(lock.descriptor, True)


# A fork between opening a lock file and noting it here would leave the child with a share of the lock, which it would
# keep after its parent's death: no fork may fall in between.
_held_locks: weakref.WeakSet[_SystemLock] = weakref.WeakSet()
_no_fork = threading.Lock()


def _forget_locks_of_parent() -> None:
    _no_fork.release()
    for held in list(_held_locks):
        held.forget()


os.register_at_fork(before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_forget_locks_of_parent)


_AT_FDCWD = -100  # Linux: <fcntl.h>
_RENAME_EXCHANGE = 2  # Linux: <linux/fs.h>


class SystemFiles:
    """The file system of this machine."""

    def listdir(self, path: str) -> list[str]:
        """See Files."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return os.listdir(descriptor)
        finally:
            os.close(descriptor)

    def refresh(self, path: str) -> None:
        """See Files."""
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def readlink(self, path: str) -> str:
        """See Files."""
        return os.readlink(path)

    def read(self, path: str) -> bytes:
        """See Files."""
        with open(path, "rb", buffering=0) as file:
            return file.readall()

    def read_at(self, path: str, offset: int, max_bytes: int) -> bytes:
        """See Files."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, max_bytes, offset)
            while 0 < len(data) < max_bytes:
                more = os.pread(descriptor, max_bytes - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data
        finally:
            os.close(descriptor)

    def stat(self, path: str) -> Stat:
        """See Files."""
        found = os.lstat(path)
        kinds = {stat_bits.S_IFREG: "file", stat_bits.S_IFDIR: "directory", stat_bits.S_IFLNK: "symlink"}
        kind = kinds.get(stat_bits.S_IFMT(found.st_mode), "other")
        return Stat(kind, found.st_size, found.st_mtime_ns, found.st_ino, stat_bits.S_IMODE(found.st_mode))

    def realpath(self, path: str) -> str:
        """See Files."""
        return os.path.realpath(path)

    def is_local(self, path: str) -> bool:
        """See Files. Where the system does not tell (macOS), it is taken for shared, which is slower and safe."""
        mount = self.mount_of(path)
        return mount is not None and mount.is_of_one_host

    def mount_of(self, path: str) -> Mounted | None:
        """See Files."""
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                return mount_above(path, file.read())
        except OSError:
            return None

    def mkdir(self, path: str) -> None:
        """See Files."""
        os.mkdir(path)

    def create(self, path: str, mode: int | None = None) -> NewFile:
        """See Files."""
        wanted = 0o666 if mode is None else mode
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, wanted)
        if mode is not None and stat_bits.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)  # a round trip on NFS, only when the umask took something away
        return _SystemNewFile(descriptor)

    def symlink(self, target: str, path: str) -> None:
        """See Files."""
        os.symlink(target, path)

    def rename(self, old: str, new: str) -> None:
        """See Files."""
        os.rename(old, new)

    def exchange(self, one: str, other: str) -> None:
        """See Files."""
        import ctypes  # noqa: PLC0415 - for plain files that are replaced, not for leases

        try:
            renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
        except AttributeError:  # not Linux, or an old libc
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), one) from None
        if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), one)

    def unlink(self, path: str) -> None:
        """See Files."""
        os.unlink(path)

    def rmdir(self, path: str) -> None:
        """See Files."""
        os.rmdir(path)

    def sync_dir(self, path: str) -> None:
        """See Files."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def try_lock(self, path: str) -> FileLock | None:
        """See Files."""
        from portalocker import AlreadyLocked, LockException, LockFlags, lock  # noqa: PLC0415 - 4 ms, not always needed

        # O_RDWR: LOCK_EX over NFS needs a writable descriptor (EBADF, measured). Opened for each turn: a descriptor
        # that lived through a lost lock goes on failing after the lock is free again (measured).
        with _no_fork:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            held = _SystemLock(descriptor)
        try:
            lock(descriptor, LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING)
        except AlreadyLocked:
            held.forget()
            return None
        except LockException as error:
            held.forget()
            cause = error.__cause__
            raise cause if isinstance(cause, OSError) else OSError(*error.args) from error
        return held

    def stamp(self, path: str, number: int) -> None:
        """See Files."""
        try:
            os.utime(path, ns=(number, number))
        except FileNotFoundError:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
            os.utime(path, ns=(number, number))

    def touch(self, path: str) -> int:
        """See Files."""
        try:
            os.utime(path)  # one SETATTR "to server time"; by name, since opening first would cost two more trips
        except FileNotFoundError:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
            os.utime(path)
        return os.lstat(path).st_mtime_ns


SYSTEM_FILES = SystemFiles()
