"""A file system in memory that forgets what was not synced: what a power failure leaves behind.

    files = CrashFiles(clock)
    files.mkdir("/shared")
    workspace = Workspace.init("/shared", files=files, clock=clock)
    …
    for state in files.crash_states(seed=1):        # the trees that may be found if the power fails now
        assert Workspace("/shared", files=state.files).document("tasks.json").read() in …, state.lost

What a file holds is durable after ``sync`` of it; a name (made, replaced or removed) after ``sync_dir`` of its folder.
Everything else may survive or not, in any combination: an effect may survive without those before it, and unsynced
content may be there, gone, or torn at a byte. Indivisible are: a symbolic link, which is there whole or not at all; a
rename within one folder; an exchange of two names, which only file systems with a journal offer; and the entry of one
name. A rename across folders is an entry in each: the thing may be found under both names, or under none.

That is harsher than any one real file system, and it is what their documentation promises when read literally.

``crash_states`` takes samples where there are many; ``every_crash_state`` leaves none out (crash_choices.py), and
``CrashPoints`` (crash_points.py) takes them at every point of an action.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.clock import SYSTEM_CLOCK
from coordinator.files import Stat
from coordinator.testing.crash_choices import (
    ALL_KEPT,
    Choice,
    Tears,
    blank,
    every_choice,
    inodes_below,
    some_choices,
)
from coordinator.testing.crash_handles import CrashLock, CrashNewFile
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
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

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
        holed: Files of which unsynced bytes are NUL, and later ones were written.
    """

    files: CrashFiles
    lost: tuple[Effect, ...]
    key: Hashable
    holed: tuple[str, ...] = ()


class _Pending(NamedTuple):
    """An indivisible effect on names that is not durable yet: by folder; None: the name was removed."""

    effect: Effect
    changes: Mapping[Folder, Mapping[str, Node | None]]


class CrashFiles:
    """Implements Files. Thread-safe. Paths are absolute; ``/`` is there, and empty.

    Args:
        clock: Whose wall clock gives files their times.
        umask: What is taken from the mode of a file that is created without one.
        local: Whether it passes for a disk of one host.
        exchanges: Whether two names can be exchanged.
    """

    def __init__(
        self, clock: Clock = SYSTEM_CLOCK, *, umask: int = 0o022, local: bool = True, exchanges: bool = False
    ) -> None:
        self._clock = clock
        self._umask = umask
        self._local = local
        self._exchanges = exchanges
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

    def is_local(self, path: str) -> bool:  # noqa: ARG002 - one disk, all of it
        """See Files."""
        return self._local

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
            file = self._make_file("create", path, found, mode)
            return CrashNewFile(path, lambda data: self._write(file, data, path), lambda: self._sync(file, path))

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

    def exchange(self, one: str, other: str) -> None:
        """See Files."""
        with self._guard:
            if not self._exchanges:
                raise refusal(errno.EINVAL, one)
            first, second = self._there(one), self._there(other)
            changes: dict[Folder, dict[str, Node | None]] = {first.folder: {first.name: second.node}}
            changes.setdefault(second.folder, {})[second.name] = first.node
            self._change_all("exchange", other, changes)

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
            for pending in self._pending:
                if folder in pending.changes:  # indivisible: with one half the other is durable, too
                    for other, changes in pending.changes.items():
                        apply(other.durable, changes if other is not folder else {})
            self._pending = [pending for pending in self._pending if folder not in pending.changes]
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
            return CrashLock(self._locked, node)

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
                for folder in pending.changes:
                    folder.durable = dict(folder.names)
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
            chance = random.Random(seed)
            pending = list(self._pending)
            choices = some_choices(len(pending), list(self._unsynced), exhaustive_max, samples, chance)
            yield from self._each_once(pending, choices, clock, set())

    def every_crash_state(
        self,
        *,
        tears: Tears | None = None,
        aside: Callable[[str], bool] = lambda _path: False,
        names_max: int = 12,
        clock: Clock | None = None,
    ) -> Iterator[CrashState]:
        """All trees that may be found if the power fails now, each one once. This one is left as it is.

        Args:
            tears: How files may be torn. Default: at both ends and in the middle.
            aside: Paths of names that nobody looks for. Their effects are lost all together, or not at all: trees that
                differ in which of them are there are the same to everybody.
            names_max: Up to so many effects on other names every subset is taken. Of more, those in which at most two
                are lost, or at most two are kept: ``effects_pending`` tells.
            clock: As for ``crash_states``.
        """
        with self._guard:
            pending, files = list(self._pending), list(self._unsynced)
            beside = [aside(told.effect.path) for told in pending]
            seen: set[Hashable] = set()
            for names in every_choice(beside, names_max):
                # Files that no name leads to in this tree cannot be found torn.
                whole = self._after(pending, Choice(names, ALL_KEPT), clock or self._clock)
                there = inodes_below(whole.files._root) if files else frozenset()  # noqa: SLF001 - one of these
                found = [file for file in files if file.inode in there]
                torn = (tears or Tears()).combinations(found)
                yield from self._each_once(pending, (Choice(names, left) for left in torn), clock, seen)

    def effects_pending(self, aside: Callable[[str], bool] = lambda _path: False) -> list[Effect]:
        """The effects on names that are not durable, but for those aside."""
        with self._guard:
            return [pending.effect for pending in self._pending if not aside(pending.effect.path)]

    def _each_once(
        self, pending: list[_Pending], choices: Iterable[Choice], clock: Clock | None, seen: set[Hashable]
    ) -> Iterator[CrashState]:
        for choice in choices:
            state = self._after(pending, choice, clock or self._clock)
            if state.key not in seen:
                seen.add(state.key)
                yield state

    def _after(self, pending: list[_Pending], choice: Choice, clock: Clock) -> CrashState:
        names: dict[Folder, dict[str, Node]] = {}
        for told, kept in zip(pending, choice.names, strict=True):
            for folder, changes in told.changes.items() if kept else ():
                apply(names.setdefault(folder, dict(folder.durable)), changes)
        sizes = {file: left.size_bytes for file, left in choice.left.items()}
        lost = [told.effect for told, kept in zip(pending, choice.names, strict=True) if not kept]
        torn = [file for file, left in choice.left.items() if left.nul_to or left.size_bytes < len(file.data)]
        lost += [Effect("write", file.made_as) for file in torn]
        found = CrashFiles(clock, umask=self._umask, local=self._local, exchanges=self._exchanges)
        found._inodes = itertools.count(next(self._inodes))
        root, key = recovered(self._root, names, sizes)
        assert isinstance(root, Folder)  # noqa: S101 - a copy is of the same kind
        found._root = root
        nuls = blank(root, choice.left)
        holed = tuple(file.made_as for file in torn if 0 < choice.left[file].nul_to < choice.left[file].size_bytes)
        return CrashState(found, tuple(lost), (key, nuls) if nuls else key, holed)

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
        self._change_all(op, path, {folder: changes})

    def _change_all(self, op: str, path: str, changes: Mapping[Folder, Mapping[str, Node | None]]) -> None:
        for folder, names in changes.items():
            apply(folder.names, names)
            folder.mtime_ns = self._now_ns()
        effect = Effect(op, path)
        self._pending.append(_Pending(effect, changes))
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
