"""The sidecar: which revision the plain file was last made to show, for whoever knows nothing of chains (P16).

Beside the chain::

    resources/<name>/@/view.json      {"revision": 7, "sha256": "…", "bytes": 1558491, "n": 40, "at_ms": 1790000000000}

Nothing is decided by it.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from coordinator.document.displaced import removed_on_error

if TYPE_CHECKING:
    from coordinator.files import Stat
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


class Sidecar:
    """One resource's sidecar. Raises OSError as the files do.

    Args:
        member: Through whom.
        resource: Whose.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._path = member.places.of(resource, "view.json")
        self._told: tuple[str, Stat] | None = None  # what it tells, and its facts as it was last looked at

    def check(self, record: Record, sha256: str, size_bytes: int) -> None:
        """Writes it anew if it tells of another revision: a frozen writer's late one may."""
        files = self._member.files
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            if self._told == (sha256, files.stat(self._path)):
                return
            files.refresh(os.path.dirname(self._path))
            if json.loads(files.read(self._path))["sha256"] == sha256:
                self._told = (sha256, files.stat(self._path))
                return
        self.tell(record, sha256, size_bytes)

    def tell(self, record: Record, sha256: str, size_bytes: int) -> None:
        """Writes which revision the plain file shows."""
        about = {"revision": record.revision, "sha256": sha256, "bytes": size_bytes, "n": record.n}
        if record.head is not None and not record.is_folded:
            about["n"] = record.head.n
        scratch = self._member.write_scratch(json.dumps(about | {"at_ms": record.at_ms}).encode() + b"\n")
        with removed_on_error(self._member.files, scratch):
            self._member.files.rename(scratch, self._path)
        self._told = (sha256, self._member.files.stat(self._path))
