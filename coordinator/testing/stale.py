"""One NFS client's memory of names, over a shared directory: what P6 is about.

As measured on Linux NFSv4.2 clients with default mount options: a name that was looked up and absent stays absent, and
a file that another client replaced is still read in its old version, for up to 30 s; until this client opens the
directory. Exclusive creation is decided by the server, whatever this client remembers. Two ``StaleFiles`` over one
directory are two hosts; here their memory does not fade at all.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, TypeVar

from coordinator.testing.files import Call, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.files import Files

T = TypeVar("T")
_LOOKUPS = {"stat", "read", "readlink"}


class StaleFiles(InterceptedFiles):
    """Implements Files over another one, remembering names as an NFS client does.

    Args:
        inner: The server.
        hook: As of InterceptedFiles.
    """

    def __init__(self, inner: Files, hook: Callable[[Call], None] = lambda _call: None) -> None:
        super().__init__(inner, hook)
        self._absent: set[str] = set()
        self._known: dict[tuple[str, str], object] = {}

    def _run(self, op: str, path: str, call: Callable[[], T]) -> T:
        if op in {"listdir", "refresh"}:
            self._forget(lambda name: os.path.dirname(name) == path)
            return super()._run(op, path, call)
        if op not in _LOOKUPS:
            result = super()._run(op, path, call)
            self._forget(lambda name: name == path)  # this client's own changes are known to it
            return result
        if path in self._absent:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if (op, path) in self._known:
            return self._known[op, path]  # type: ignore[return-value]
        try:
            result = super()._run(op, path, call)
        except FileNotFoundError:
            self._absent.add(path)
            raise
        self._known[op, path] = result
        return result

    def _forget(self, concerns: Callable[[str], bool]) -> None:
        self._absent = {path for path in self._absent if not concerns(path)}
        self._known = {key: value for key, value in self._known.items() if not concerns(key[1])}
