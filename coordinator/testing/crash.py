"""A file system in memory that forgets what was not synced: what a power failure leaves behind.

    files = CrashFiles(clock)
    files.mkdir("/shared")
    workspace = Workspace.init("/shared", files=files, clock=clock)
    …
    for state in files.crash_states(seed=1):        # the trees that may be found if the power fails now
        assert Workspace("/shared", files=state.files).document("tasks.json").read() in …, state.lost

What a file holds is durable after ``sync`` of it; a name (made, replaced or removed) after ``sync_dir`` of its folder.
Everything else may survive or not, in any combination: an effect may survive without those before it, and unsynced
content may be there, gone, or torn at a byte. Three things are indivisible: a symbolic link, which is there whole or
not at all; a rename within one folder; and the entry of one name. A rename across folders is an entry in each: the
thing may be found under both names, or under none.

That is harsher than any one real file system, and it is what their documentation promises when read literally.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from coordinator.clock import SYSTEM_CLOCK
from coordinator.files import Stat
from coordinator.testing.tree import (
    File,
    Folder,
    Found,
    Link,
    Node,
    apply,
    find,
    real_path,
    recovered,
    refusal,
    refuse_rename,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from types import TracebackType

    from coordinator.clock import Clock
    from coordinator.files import FileLock, NewFile

_TARGET_MAX_BYTES: Final = 4095


class Effect(NamedTuple):
    """One thing that was done: ``op`` is a call of Files, or ``write`` or ``sync`` of a new file.

    A rename across folders has two effects: ``rename to`` and ``rename from``.
    """

    op: str
    path: str


class CrashState(NamedTuple):
    """What may be found after a power failure.

    Attributes:
        files: The tree, all of it durable; nothing is locked.
        lost: The effects that did not survive, those of torn content included; where several losses come to the same
            tree, one of them is told.
        key: The same for two states of one CrashFiles that hold the same tree, times apart.
    """

    files: CrashFiles
    lost: tuple[Effect, ...]
    key: Hashable


class _Pending(NamedTuple):
    """An effect on the names of one folder that is not durable yet; None: the name was removed."""

    effect: Effect
    folder: Folder
    changes: Mapping[str, Node | None]


class _Choice(NamedTuple):
    """Which pending effects survive, and how many bytes of each file that was not synced."""

    names: Sequence[bool]
    sizes: Sequence[int]


class _CrashNewFile:
    def __init__(self, files: CrashFiles, file: File, path: str) -> None:
        self._files, self._file, self._path = files, file, path
        self._open = True

    def write(self, data: bytes) -> None:
        self._refuse_closed()
        self._files._write(self._file, data, self._path)  # noqa: SLF001 - one room, two halves

    def sync(self) -> None:
        self._refuse_closed()
        self._files._sync(self._file, self._path)  # noqa: SLF001 - as above

    def close(self) -> None:
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


class _CrashLock:
    def __init__(self, locked: set[Node], node: Node) -> None:
        self._locked, self._node = locked, node

    def unlock(self) -> None:
        self._locked.discard(self._node)
        self._locked = set()  # a second call does nothing


class CrashFiles:
    """Implements Files. Thread-safe. Paths are absolute; ``/`` is there, and empty.

    Args:
        clock: Whose wall clock gives files their times.
        umask: What is taken from the mode of a file that is created without one.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, *, umask: int = 0o022) -> None:
        self._clock = clock
        self._umask = umask
        self._guard = threading.RLock()
        self._inodes = itertools.count(2)
        self._root = Folder(1, 0o777 & ~umask, self._now_ns())
        self._pending: list[_Pending] = []
        self._unsynced: list[File] = []
        self._locked: set[Node] = set()
        self.effects: list[Effect] = []

    # ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def listdir(self, path: str) -> list[str]:
        """See Files."""
        with self._guard:
            return list(self._folder(path).names)

    def refresh(self, path: str) -> None:
        """See Files."""
        with self._guard:
            self._folder(path)

    def readlink(self, path: str) -> str:
        """See Files."""
        with self._guard:
            node = self._there(path).node
            if not isinstance(node, Link):
                raise refusal(errno.EINVAL, path)
            return node.target

    def read(self, path: str) -> bytes:
        """See Files."""
        with self._guard:
            node = self._there(path, follow=True).node
            if not isinstance(node, File):
                raise refusal(errno.EISDIR, path)
            return bytes(node.data)

    def read_at(self, path: str, offset: int, max_bytes: int) -> bytes:
        """See Files."""
        return self.read(path)[offset : offset + max_bytes]

    def stat(self, path: str) -> Stat:
        """See Files."""
        with self._guard:
            node = self._there(path).node
            kind, size_bytes = "directory", 0
            if isinstance(node, File):
                kind, size_bytes = "file", len(node.data)
            elif isinstance(node, Link):
                kind, size_bytes = "symlink", len(os.fsencode(node.target))
            assert node is not None  # noqa: S101 - _there raises otherwise
            return Stat(kind, size_bytes, node.mtime_ns, node.inode, node.mode)

    def realpath(self, path: str) -> str:
        """See Files."""
        with self._guard:
            return real_path(self._root, path)

    def is_local(self, path: str) -> bool:  # noqa: ARG002 - one host's disk, all of it
        """See Files."""
        return True

    def mount_of(self, path: str) -> None:
        """See Files."""

    def mkdir(self, path: str) -> None:
        """See Files."""
        with self._guard:
            found = self._free(path)
            self._change("mkdir", path, found.folder, {found.name: Folder(*self._facts(0o777 & ~self._umask))})

    def create(self, path: str, mode: int | None = None) -> NewFile:
        """See Files."""
        with self._guard:
            found = self._free(path)
            return _CrashNewFile(self, self._make_file("create", path, found, mode), path)

    def symlink(self, target: str, path: str) -> None:
        """See Files."""
        with self._guard:
            if not target:
                raise refusal(errno.ENOENT, path)
            if len(os.fsencode(target)) > _TARGET_MAX_BYTES:
                raise refusal(errno.ENAMETOOLONG, path)
            found = self._free(path)
            self._change("symlink", path, found.folder, {found.name: Link(*self._facts(0o777), target)})

    def rename(self, old: str, new: str) -> None:
        """See Files."""
        with self._guard:
            source, target = find(self._root, old), find(self._root, new)
            refuse_rename(source, target, old, new)
            if source.node is target.node:
                return
            gained, gone = {target.name: source.node}, {source.name: None}
            if source.folder is target.folder:
                self._change("rename", new, source.folder, {**gone, **gained})
            else:
                self._change("rename to", new, target.folder, gained)
                self._change("rename from", old, source.folder, gone)

    def exchange(self, one: str, other: str) -> None:  # noqa: ARG002 - a seam like any other
        """See Files. Not to be had here: a rename leaves the same trees."""
        raise refusal(errno.EINVAL, one)

    def unlink(self, path: str) -> None:
        """See Files."""
        with self._guard:
            found = self._there(path)
            if isinstance(found.node, Folder):
                raise refusal(errno.EISDIR, path)
            self._change("unlink", path, found.folder, {found.name: None})

    def rmdir(self, path: str) -> None:
        """See Files."""
        with self._guard:
            found = self._there(path)
            if not isinstance(found.node, Folder):
                raise refusal(errno.ENOTDIR, path)
            if found.node.names:
                raise refusal(errno.ENOTEMPTY, path)
            self._change("rmdir", path, found.folder, {found.name: None})

    def sync_dir(self, path: str) -> None:
        """See Files."""
        with self._guard:
            folder = self._folder(path)
            folder.durable = dict(folder.names)
            self._pending = [pending for pending in self._pending if pending.folder is not folder]
            self.effects.append(Effect("sync_dir", path))

    def try_lock(self, path: str) -> FileLock | None:
        """See Files."""
        with self._guard:
            found = find(self._root, path, follow=True)
            if isinstance(found.node, Folder):
                raise refusal(errno.EISDIR, path)
            node = found.node or self._make_file("try_lock", path, found)
            if node in self._locked:
                return None
            self._locked.add(node)
            return _CrashLock(self._locked, node)

    def stamp(self, path: str, number: int) -> None:
        """See Files."""
        with self._guard:
            found = find(self._root, path, follow=True)
            node = found.node or self._make_file("stamp", path, found)
            node.mtime_ns = number

    def touch(self, path: str) -> int:
        """See Files."""
        with self._guard:
            found = find(self._root, path, follow=True)
            node = found.node or self._make_file("touch", path, found)
            node.mtime_ns = self._now_ns()
            return self.stat(path).mtime_ns

    # ── what a power failure leaves ──────────────────────────────────────────────────────────────────────────────────

    def sync_all(self) -> None:
        """Makes everything durable, as a system does by itself after some seconds."""
        with self._guard:
            for pending in self._pending:
                pending.folder.durable = dict(pending.folder.names)
            for file in self._unsynced:
                file.durable_bytes = len(file.data)
            self._pending, self._unsynced = [], []
            self.effects.append(Effect("sync_all", "/"))

    def crash_states(
        self, *, exhaustive_max: int = 64, samples: int = 8, seed: int = 0, clock: Clock | None = None
    ) -> Iterator[CrashState]:
        """The trees that may be found if the power fails now, each one once. This one is left as it is.

        Args:
            exhaustive_max: All of them, if there are no more combinations than this (content torn in the middle only).
                Otherwise: all kept; all dropped; each effect alone dropped, torn or kept; and random ones.
            samples: How many random ones.
            seed: Of the random ones, and of where content is torn.
            clock: Whose wall clock gives files their times in the trees that are found; None: this one's.
        """
        with self._guard:
            pending, files = list(self._pending), list(self._unsynced)
            seen: set[Hashable] = set()
            for choice in _choices(len(pending), files, exhaustive_max, samples, random.Random(seed)):
                state = self._after(pending, files, choice, clock or self._clock)
                if state.key not in seen:
                    seen.add(state.key)
                    yield state

    def _after(self, pending: list[_Pending], files: list[File], choice: _Choice, clock: Clock) -> CrashState:
        names: dict[Folder, dict[str, Node]] = {}
        for (_, folder, changes), kept in zip(pending, choice.names, strict=True):
            if kept:
                apply(names.setdefault(folder, dict(folder.durable)), changes)
        sizes = dict(zip(files, choice.sizes, strict=True))
        lost = [told.effect for told, kept in zip(pending, choice.names, strict=True) if not kept]
        lost += [Effect("write", file.made_as) for file, size in sizes.items() if size < len(file.data)]
        found = CrashFiles(clock, umask=self._umask)
        found._inodes = itertools.count(next(self._inodes))
        root, key = recovered(self._root, names, sizes)
        assert isinstance(root, Folder)  # noqa: S101 - a copy is of the same kind
        found._root = root
        return CrashState(found, tuple(lost), key)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _now_ns(self) -> int:
        return self._clock.now().wall_ns

    def _facts(self, mode: int) -> tuple[int, int, int]:
        return next(self._inodes), mode, self._now_ns()

    def _make_file(self, op: str, path: str, found: Found, mode: int | None = None) -> File:
        file = File(*self._facts(0o666 & ~self._umask if mode is None else mode), path)
        self._change(op, path, found.folder, {found.name: file})
        return file

    def _change(self, op: str, path: str, folder: Folder, changes: Mapping[str, Node | None]) -> None:
        apply(folder.names, changes)
        folder.mtime_ns = self._now_ns()
        effect = Effect(op, path)
        self._pending.append(_Pending(effect, folder, changes))
        self.effects.append(effect)

    def _write(self, file: File, data: bytes, path: str) -> None:
        with self._guard:
            file.data += data
            file.mtime_ns = self._now_ns()
            if file not in self._unsynced:
                self._unsynced.append(file)
            self.effects.append(Effect("write", path))

    def _sync(self, file: File, path: str) -> None:
        with self._guard:
            file.durable_bytes = len(file.data)
            self._unsynced = [other for other in self._unsynced if other is not file]
            self.effects.append(Effect("sync", path))

    def _there(self, path: str, *, follow: bool = False) -> Found:
        found = find(self._root, path, follow=follow)
        if found.node is None:
            raise refusal(errno.ENOENT, path)
        return found

    def _free(self, path: str) -> Found:
        found = find(self._root, path)
        if found.node is not None:
            raise refusal(errno.EEXIST, path)
        return found

    def _folder(self, path: str) -> Folder:
        node = self._there(path, follow=True).node
        if not isinstance(node, Folder):
            raise refusal(errno.ENOTDIR, path)
        return node


def _choices(
    count: int, files: Sequence[File], exhaustive_max: int, samples: int, chance: random.Random
) -> Iterator[_Choice]:
    least = [file.durable_bytes for file in files]
    most = [len(file.data) for file in files]
    if 2**count * 3 ** len(files) <= exhaustive_max:
        middles = [sorted({low, (low + high) // 2, high}, reverse=True) for low, high in zip(least, most, strict=True)]
        for kept in itertools.product((True, False), repeat=count):
            for sizes in itertools.product(*middles):
                yield _Choice(kept, sizes)
        return
    dropped, whole = [False] * count, [True] * count
    yield _Choice(whole, most)
    yield _Choice(dropped, least)
    for i in range(count):
        yield _Choice(_but(whole, i, value=False), most)
        yield _Choice(_but(dropped, i, value=True), least)
        yield _Choice(_but(dropped, i, value=True), most)
    for i, (low, high) in enumerate(zip(least, most, strict=True)):
        for size in (low, chance.randint(low, high)):
            yield _Choice(whole, [*most[:i], size, *most[i + 1 :]])
    for _ in range(samples):
        torn = [chance.choice([low, chance.randint(low, high), high]) for low, high in zip(least, most, strict=True)]
        yield _Choice([chance.random() < 0.5 for _ in range(count)], torn)  # noqa: PLR2004 - a coin


def _but(flags: list[bool], i: int, *, value: bool) -> list[bool]:
    return [*flags[:i], value, *flags[i + 1 :]]
