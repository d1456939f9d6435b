"""What somebody wrote into the plain file by hand, and where it is kept when it cannot be folded (P17).

Below a resource's state folder, until somebody removes it::

    conflicts/<at_ms>-<sha256>     the whole text
    conflicts/<sha256>.json        which of its changes were folded all the same, and why others were not

The report is there before the text, and the text under its name is whole: who finds it there has nothing left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from coordinator.document.snapshot import sha256_of
from coordinator.events import Event
from coordinator.folders import list_surely, make_dirs, remove_quietly

if TYPE_CHECKING:
    from coordinator.files import Stat
    from coordinator.names import Resource
    from coordinator.record.member import Member

_REPORT = ".json"


class Edit(NamedTuple):
    """What somebody wrote into the plain file by hand, whole, and the file's facts at the time."""

    facts: Stat
    data: bytes
    sha256: str


class Became(NamedTuple):
    """What became of an edit.

    Attributes:
        is_waiting: No fold has looked at it yet: the file stays as it is.
        is_absorbed: All of it was folded.
        report: What is kept beside its text, if it was decided and not all of it was folded.
    """

    is_waiting: bool = False
    is_absorbed: bool = False
    report: bytes = b""


class Conflicts:
    """One resource's edits that were kept. Raises OSError as the files do.

    Args:
        member: Through whom.
        resource: Whose.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self._folder = member.places.of(resource, "conflicts")

    def paths(self) -> list[str]:
        """Where they are, oldest first."""
        names = list_surely(self._member.files, self._member.places.resources, self._folder)
        return [f"{self._folder}/{name}" for name in sorted(names) if not name.endswith(_REPORT)]

    def keep(self, data: bytes, report: bytes = b"") -> list[str]:
        """Keeps a text, once; returns where, and nothing when it was kept already."""
        files, sha256 = self._member.files, sha256_of(data)
        make_dirs(files, self._member.places.resources, self._folder)
        if report:
            self._put(report, f"{sha256}{_REPORT}")
        if any(name.endswith(sha256) for name in files.listdir(self._folder)):
            files.sync_dir(self._folder)  # kept by another reader, who may have been killed before it did so
            return []
        path = self._put(data, f"{self._member.store.now_ms()}-{sha256}")
        files.sync_dir(self._folder)
        event = Event("view_edited", str(self._resource), self._member.agent, detail={"kept": path})
        self._member.events.tell(event)
        return [path]

    def _put(self, data: bytes, name: str) -> str:
        path, scratch = f"{self._folder}/{name}", self._member.write_scratch(data)
        try:
            self._member.files.rename(scratch, path)
        except BaseException:
            remove_quietly(self._member.files, scratch)
            raise
        return path


__all__ = ["Became", "Conflicts", "Edit"]
