"""Snapshots: the files that hold committed content.

Below a resource's state folder::

    snap/<n>-<incarnation>-<sha256>      content committed by record n, or about to be; written once, never changed
    kept/<n>-<incarnation>-<sha256>      content whose commit was refused: somebody's work, kept ORPHAN_KEEP_MS

A snapshot is written under a scratch name, synced, and renamed to its own name, so that what lies in snap/ is whole.
A reader learns the name from the record, and believes the content only when its sha256 matches.

Deleting (P18): a snapshot below the floor that neither the newest record nor one in the chain names can never be named
again, since no record below the floor will ever be accepted. A writer that was slow or frozen until then finds its
snapshot gone when it decides anew, and writes it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from coordinator.acquire import moved_error
from coordinator.errors import CorruptSnapshot
from coordinator.folders import list_surely, make_dirs, refresh_down, remove_quietly
from coordinator.limits import LIST_TRIES, N_DIGITS, ORPHAN_KEEP_MS
from coordinator.record.record import Head
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


def sha256_of(data: bytes) -> str:
    """The content's identity, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


class Draft:
    """Content on its way to being committed: a snapshot that no record names yet.

    Args:
        member: Whose.
        resource: Of what.
        data: The content; kept in memory until the commit is decided, should the file be collected meanwhile.
        before: The newest record, as far as that is known: the next one is to name this content.
    """

    def __init__(self, member: Member, resource: Resource, data: bytes, before: Record | None) -> None:
        if member.newer:
            raise member.newer
        self._member = member
        # With content committed before, the folder is there, and was durable before that content was.
        self._first = before is None or before.head is None
        self._resource = resource
        self._data = data
        self._sha256 = sha256_of(data)
        self._n = 0
        self.aim(before.n + 1 if before else 1)

    def aim(self, n: int) -> Head:
        """Makes the snapshot the one of record n, durable under its name, and returns the head that names it."""
        if n != self._n:
            old, new = self._head(self._n), self._head(n)
            if not (self._n and self._rename(old, new)):
                self._write("snap", new)
            self._n = n
        return self._head(n)

    def keep(self) -> str:
        """Keeps refused content where it is not collected soon; returns its path."""
        head = self._head(self._n)
        old, new = self._path("snap", head), self._path("kept", head)
        files = self._member.files
        try:
            make_dirs(files, self._member.places.of(self._resource), os.path.dirname(new))
            try:
                files.rename(old, new)
                files.sync_dir(os.path.dirname(new))
            except FileNotFoundError:
                self._write("kept", head)
        except OSError:
            return old  # no room to move it: where it is, it is kept until the next collection
        return new

    def drop(self) -> None:
        """Removes it: the commit was certainly not made, and the caller has the content."""
        remove_quietly(self._member.files, self._path("snap", self._head(self._n)))

    def _head(self, n: int) -> Head:
        return Head(0, n, self._member.incarnation, self._sha256, len(self._data), 0)

    def _path(self, folder: str, head: Head) -> str:
        return self._member.places.of(self._resource, folder, head.snapshot)

    def _write(self, folder: str, head: Head) -> None:
        member, path = self._member, self._path(folder, head)
        try:
            if self._first or folder != "snap":
                self._make_folder(path)
            scratch = member.write_scratch(self._data)
            try:
                try:
                    member.files.rename(scratch, path)
                except FileNotFoundError:
                    self._make_folder(path)
                    member.files.rename(scratch, path)
            except BaseException:
                remove_quietly(member.files, scratch)
                raise
            member.files.sync_dir(os.path.dirname(path))
        except OSError as error:
            raise unavailable(error, self._resource, "writing a snapshot of") from error

    def _make_folder(self, path: str) -> None:
        make_dirs(self._member.files, self._member.places.resources, os.path.dirname(path))

    def _rename(self, old: Head, new: Head) -> bool:
        files, path = self._member.files, self._path("snap", new)
        try:
            files.rename(self._path("snap", old), path)
            files.sync_dir(os.path.dirname(path))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unavailable(error, self._resource, "renaming a snapshot of") from error
        return True


def read_snapshot(member: Member, resource: Resource, head: Head) -> bytes | None:
    """The content that a head names; None when the file is gone.

    Raises:
        CorruptSnapshot: It is there, and is not what was committed.
        StoreUnavailable: It cannot be read.
    """
    path = member.places.of(resource, "snap", head.snapshot)
    try:
        try:
            data = member.files.read(path)
        except FileNotFoundError:
            # Absent by this host's cache, perhaps (P6).
            refresh_down(member.files, member.places.resources, os.path.dirname(path))
            data = member.files.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unavailable(error, resource, "reading a snapshot of") from error
    found = sha256_of(data)
    if found != head.sha256:
        raise CorruptSnapshot(
            f"revision {head.revision} of {str(resource)!r} is damaged: {path} has {len(data)} bytes and sha256 "
            f"{found[:12]}…, committed were {head.size_bytes} bytes and {head.sha256[:12]}…",
            resource=str(resource),
            path=path,
            revision=head.revision,
        )
    return data


def read_head(member: Member, resource: Resource) -> tuple[Record | None, bytes]:
    """The newest record and its content, read as one: a snapshot that was collected meanwhile means a newer record.

    Of a revision that was folded, the record alone: its content is the folding's to tell.

    Raises:
        CorruptSnapshot: The newest content is damaged or missing.
        StoreUnavailable: It cannot be read.
    """
    record = member.store.read(resource)
    for _ in range(LIST_TRIES):
        if record is None or record.head is None or record.is_folded:
            return record, b""
        data = read_snapshot(member, resource, record.head)
        if data is not None:
            return record, data
        newer = member.store.read(resource)
        if newer is not None and newer.head == record.head:
            break
        record = newer
    assert record is not None  # noqa: S101 - the loop returned otherwise
    assert record.head is not None  # noqa: S101 - likewise
    if record.is_closed:  # others, who know where it goes on, have collected
        raise moved_error(member, resource, record)
    path = member.places.of(resource, "snap", record.head.snapshot)
    raise CorruptSnapshot(
        f"revision {record.revision} of {str(resource)!r} is missing: {path}",
        resource=str(resource),
        path=path,
        revision=record.revision,
    )


def collect_snapshots(
    member: Member, resource: Resource, newest: Record, needed: Collection[str] = ()
) -> tuple[int, int]:
    """Deletes snapshots that nobody can need any more, and refused content that is older than its retention.

    Args:
        member: Through whom.
        resource: Whose.
        newest: The newest record, as read before anything else: what is committed or folded on later has a higher
            number than its floor.
        needed: Names that its fold rests on.

    Returns:
        Files deleted, and their bytes.
    """
    named = {
        record.head.snapshot for record in member.store.history(resource) if record.head and _is_live(record, newest)
    }
    if newest.head:
        named.add(newest.head.snapshot)
    named.update(needed)
    now_ms = member.store.now_ms()
    deleted = freed_bytes = 0
    for folder in ("snap", "kept"):
        for name, size_bytes, mtime_ms in _listed(member, resource, folder):
            if folder == "snap":
                unneeded = int(name[:N_DIGITS]) < newest.floor and name not in named
            else:
                unneeded = now_ms - mtime_ms > ORPHAN_KEEP_MS
            if unneeded:
                remove_quietly(member.files, member.places.of(resource, folder, name))
                deleted, freed_bytes = deleted + 1, freed_bytes + size_bytes
    return deleted, freed_bytes


def _is_live(record: Record, newest: Record) -> bool:
    return newest.floor <= record.n <= newest.n


def _listed(member: Member, resource: Resource, folder: str) -> list[tuple[str, int, int]]:
    path = member.places.of(resource, folder)
    found = []
    try:
        names = list_surely(member.files, member.places.resources, path)
    except OSError as error:
        raise unavailable(error, resource, "listing the snapshots of") from error
    for name in names:
        if len(name) > N_DIGITS and name[:N_DIGITS].isdecimal():
            with contextlib.suppress(OSError):
                facts = member.files.stat(f"{path}/{name}")
                found.append((name, facts.size_bytes, facts.mtime_ns // 1_000_000))
    return found
