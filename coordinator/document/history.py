"""What a document was before: its revisions, and their content as far as it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coordinator.acquire import moved_error
from coordinator.document.snapshot import read_snapshot
from coordinator.errors import BadValue
from coordinator.folders import list_surely
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record

_COMMITS = frozenset({"commit", "fold"})


@dataclass(frozen=True, slots=True)
class Revision:
    """One line of a document's history.

    Attributes:
        revision: Counted from 1.
        at_ms: When, by the store's clock, Unix milliseconds.
        agent: Who committed it, or folded it.
        fence: Under which lease; 0 without one.
        why: ``adopted`` for a plain file taken over as it was found; ``folded`` for operations out of the agents' logs;
            mostly empty.
        sha256: Of its content; of the fold line, if it was folded.
        size_bytes: Likewise.
        available: Whether its content can, as far as names tell, still be read (``Document.at``).
    """

    revision: int
    at_ms: int
    agent: str
    fence: int
    why: str
    sha256: str
    size_bytes: int
    available: bool


def whole_history(member: Member, resource: Resource) -> list[Record]:
    """All records that are still known: by these it can be told what the document was.

    Raises:
        AuthorityMoved: They end where another store, which this process does not know, went on (P29).
        StoreUnavailable: They cannot be read.
    """
    history = member.store.history(resource)
    if not history or not history[-1].is_closed:
        return history
    newest = member.store.read(resource)  # brings it over, where the other store is known
    if newest is not None and newest.is_closed:
        raise moved_error(member, resource, newest)
    return member.store.history(resource)


def revisions(member: Member, resource: Resource) -> list[Revision]:
    """Every revision that is still known, oldest first."""
    records = member.store.history(resource)
    folds, snapshots = _names(member, resource, "fold"), _names(member, resource, "snap")
    found = []
    for record in records:
        head = record.head
        if record.kind not in _COMMITS or head is None:
            continue
        is_there = record.fold.name in folds if record.is_folded and record.fold else head.snapshot in snapshots
        why = "folded" if record.is_folded else record.why
        found.append(
            Revision(head.revision, record.at_ms, record.agent, head.fence, why, head.sha256, head.size_bytes, is_there)
        )
    return found


def _names(member: Member, resource: Resource, folder: str) -> set[str]:
    places = member.places
    try:
        return set(list_surely(member.files, places.resources, places.of(resource, folder)))
    except OSError as error:
        raise unavailable(error, resource, "listing the snapshots of") from error


def content_at(member: Member, resource: Resource, revision: int, folded_at: Callable[[Record], bytes | None]) -> bytes:
    """The content at an earlier revision.

    Raises:
        BadValue: There was no such revision, or its content was collected.
    """
    for record in member.store.history(resource):
        if record.head and record.head.revision == revision and record.kind in _COMMITS:
            data = folded_at(record) if record.is_folded else read_snapshot(member, resource, record.head)
            if data is not None:
                return data
    raise BadValue(
        f"the content of revision {revision} of {str(resource)!r} is not, or no longer, there",
        argument="revision",
        value=revision,
        hint="history() tells which are available",
    )
