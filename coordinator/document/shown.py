"""What the plain file was lately made to show (P16, P17): copies of renderings of folded revisions.

Below a resource's state folder::

    shown/<revision, 12 digits>-<sha256>      what was written into the plain file, whole; about SHOWN_KEEP are kept

A revision that is committed whole lies in snap/; one that is folded has no bytes of its own until it is rendered, which
is done at a bounded rate. The copy is there, and durable, before the plain file is replaced, so that bytes found in the
plain file later are known for ours, and an edit made to them by hand can be told from what they were. A rendering that
is not known for ours would be taken for somebody's edit, and what came after it for taken back: so before copies are
deleted, what the plain file shows by then is made durable, and after a power failure it shows one that is still kept.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from coordinator.document.displaced import removed_on_error
from coordinator.document.snapshot import sha256_of
from coordinator.folders import list_surely, make_dirs, remove_quietly
from coordinator.limits import N_DIGITS, SHOWN_KEEP

if TYPE_CHECKING:
    from coordinator.names import Resource
    from coordinator.record.member import Member


class Renderings:
    """One resource's renderings. Raises OSError as the files do.

    Args:
        member: Through whom.
        resource: Whose.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self._folder = member.places.of(resource, "shown")
        self._known: dict[str, int] = {}
        self._has_folder = False

    def revision_of(self, sha256: str) -> int:
        """The revision that bytes are a rendering of; 0 when they are none that is kept."""
        if sha256 not in self._known:
            for name in self._names():
                self._known[name[N_DIGITS + 1 :]] = int(name[:N_DIGITS])
        return self._known.get(sha256, 0)

    def note(self, revision: int, data: bytes) -> None:
        """Keeps a copy of what is about to be shown."""
        files, sha256 = self._member.files, sha256_of(data)
        if self._known.get(sha256) == revision:
            return
        scratch = self._member.write_scratch(data)
        with removed_on_error(files, scratch):
            self._put(scratch, f"{self._folder}/{revision:0{N_DIGITS}}-{sha256}")
        files.sync_dir(self._folder)
        self._known[sha256] = revision
        names = self._names()
        if len(names) > SHOWN_KEEP + SHOWN_KEEP // 2:
            files.sync_dir(os.path.dirname(f"{self._member.places.root}/{self._resource}"))
            for name in names[:-SHOWN_KEEP]:
                remove_quietly(files, f"{self._folder}/{name}")

    def _put(self, scratch: str, path: str) -> None:
        files = self._member.files
        if self._has_folder:  # made durable by this process: each sync of it is one of the disk's
            with contextlib.suppress(FileNotFoundError):  # removed since, by a restore perhaps
                files.rename(scratch, path)
                return
        make_dirs(files, self._member.places.resources, self._folder)
        self._has_folder = True
        files.rename(scratch, path)

    def contents(self) -> list[tuple[int, bytes]]:
        """Revisions and bytes of all that are kept, oldest first. One that is not what its name says is left out."""
        found = []
        for name in self._names():
            with contextlib.suppress(FileNotFoundError):
                data = self._member.files.read(f"{self._folder}/{name}")
                if sha256_of(data) == name[N_DIGITS + 1 :]:
                    found.append((int(name[:N_DIGITS]), data))
        return found

    def _names(self) -> list[str]:
        names = list_surely(self._member.files, self._member.places.resources, self._folder)
        return sorted(name for name in names if name[:N_DIGITS].isdecimal() and name[N_DIGITS : N_DIGITS + 1] == "-")


__all__ = ["Renderings"]
