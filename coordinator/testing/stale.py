"""One NFS client's memory of names, over a directory that it shares with others: what P6 is about.

    here, there = StaleFiles(SYSTEM_FILES), StaleFiles(SYSTEM_FILES)      two hosts on one directory
    Workspace(directory, files=here), Workspace(directory, files=there)

As measured on Linux NFSv4.2 clients with default mount options:

* A name that was looked up and absent stays absent, a folder and all that is in it too, and a file that was replaced is
  still read in its old version by name, until this client opens the directory that the name is in. The real memory
  fades after 30 s; this one does not, so that a test need not wait to see a reader that forgot to open the directory
  (``listdir``, ``refresh``; ``sync_dir`` opens it, too).
* Exclusive creation is decided by the server, whatever is remembered: "it is taken" is true, and looking at what has
  taken it may say that it is absent nonetheless.

A client's own changes are known to it at once. Not modelled: a file changed in place, of which a real client that opens
it anew learns at once.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Final, TypeVar

from coordinator.testing.files import Call, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.files import Files

T = TypeVar("T")

_LOOKUPS: Final = frozenset({"stat", "read", "readlink"})
_OPENINGS: Final = frozenset({"listdir", "refresh", "sync_dir"})
_GROWING: Final = frozenset({"read_at"})  # whoever opens a file anew learns of what was appended to it
# Of a rename, the new name; the old one is looked up.
_BY_SERVER: Final = frozenset({"mkdir", "create", "symlink", "rename", "try_lock", "stamp", "touch"})


class StaleFiles(InterceptedFiles):
    """Implements Files over another one, remembering names as one NFS client does.

    Args:
        inner: The server.
        hook: See InterceptedFiles; called for what is answered from memory, too.
    """

    def __init__(self, inner: Files, hook: Callable[[Call], None] = lambda _call: None) -> None:
        super().__init__(inner, hook)
        self._absent: set[str] = set()
        self._known: dict[tuple[str, str], Any] = {}

    def is_local(self, path: str) -> bool:  # noqa: ARG002 - it is an NFS client's mount, all of it
        """See Files."""
        return False

    def mount_of(self, path: str) -> None:
        """See Files."""

    def rename(self, old: str, new: str) -> None:
        """See Files."""
        self._run("rename", new, lambda: self._remembering("unlink", old, lambda: self._inner.rename(old, new)))

    def exchange(self, one: str, other: str) -> None:
        """See Files. NFS has no such call (measured)."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), one, None, other)

    def _run(self, op: str, path: str, call: Callable[[], T]) -> T:
        if op == "realpath":
            return super()._run(op, path, call)
        return super()._run(op, path, lambda: self._remembering(op, path, call))

    def _remembering(self, op: str, path: str, call: Callable[[], T]) -> T:
        looked_up = os.path.dirname(path) if op in _BY_SERVER else path
        if self._is_remembered_absent(looked_up):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if (op, path) in self._known:
            known: T = self._known[op, path]
            return known
        try:
            result = call()
        except FileNotFoundError:
            self._note_absent(looked_up)
            raise
        if op in _LOOKUPS:
            self._known[op, path] = result
        elif op in _GROWING:
            return result
        elif op in _OPENINGS:
            self._forget(lambda name: os.path.dirname(name) == path)
        else:  # this client's own change
            self._forget(lambda name: name == path or name.startswith(f"{path}/"))
        return result

    def _is_remembered_absent(self, path: str) -> bool:
        """Whether it is, or a folder above it."""
        while path not in {"", "/"}:
            if path in self._absent:
                return True
            path = os.path.dirname(path)
        return False

    def _note_absent(self, path: str) -> None:
        """Remembers the first part of a path that the server has not."""
        missing = ""
        while path not in {"", "/"} and not self._is_there(path):
            missing, path = path, os.path.dirname(path)
        if missing:
            self._absent.add(missing)

    def _is_there(self, path: str) -> bool:
        try:
            self._inner.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _forget(self, concerns: Callable[[str], bool]) -> None:
        self._absent = {name for name in self._absent if not concerns(name)}
        self._known = {key: known for key, known in self._known.items() if not concerns(key[1])}
