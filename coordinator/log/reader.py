"""Reading everybody's logs: what is new in them, and whether what is there is whole (P22).

How one log is read stands in walk.py; here is which ones are looked at, and at what cost. Each look lists the folder
(opening it first, P6). Then, of every log that is neither ended nor set aside:

* where only this host can reach the files, a ``stat`` of the segment that the position is in tells if it has grown;
* on a shared file system a stat may be answered from this host's memory for seconds (the longer, the quieter the log
  was), so that the file is opened anew and read from the position on: opening it asks the server (measured), and a log
  without news costs that one round trip.

Damage is not believed at first sight: the folder is listed and the log read once more, since another compactor may have
deleted, and a writer added to, what was listed first.
"""

from __future__ import annotations

import contextlib
import errno
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.folders import list_surely
from coordinator.limits import FOLD_BATCH_BYTES
from coordinator.log.keep import log_files, quarantine, remove_logs
from coordinator.log.opening import parse_file_name
from coordinator.log.walk import ENDED, OPEN, QUARANTINED, Damage, Log, Position, Walk
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordinator.names import Resource
    from coordinator.record.member import Member

HOLE_SETTLE_MS: Final = 10_000  # limit: a hole in a file that was changed within this time is a write in flight
_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE})
_NO_FILE: Final = frozenset({errno.EISDIR, errno.ELOOP})  # a folder, or a link to itself, under a log's name
_OVER: Final = frozenset({ENDED, QUARANTINED})


class NewFrames(NamedTuple):
    """What is new in one log.

    Attributes:
        before: The position it was read from; None: it was not known.
        after: The position behind what is new.
        payloads: Of the operations, raw, in order.
        ended: Its writer is done.
    """

    before: Position | None
    after: Position
    payloads: list[bytes]
    ended: bool


class LogBatch(NamedTuple):
    """What is new in all logs.

    Attributes:
        logs: Those with something new. What precedes damage is here, too.
        damaged: Those that are not whole, and where.
        absent: Incarnations of the positions that have no file any more; for those that were over, durably so.
        orphans: Files that are nobody's: their log's first segment is missing and no position knows it, or the name is
            not that of a log, or it is a copy under another agent's name. Never folded (P27).
        left: Incarnations that have ended and whose files are there nonetheless: to be deleted (again).
        unread: Incarnations that ``max_bytes`` did not suffice for: there may be more in them.
    """

    logs: list[NewFrames]
    damaged: list[Damage]
    absent: list[str]
    orphans: list[str]
    left: list[str]
    unread: set[str]


class _Files:
    """Reads files in ``log/`` of one resource. Implements ``Source``."""

    def __init__(self, member: Member, resource: Resource) -> None:
        self.resource = str(resource)
        self._member = member
        self._folder = member.places.of(resource, "log")

    def read_at(self, name: str, offset: int, max_bytes: int) -> bytes | None:
        try:
            return self._member.files.read_at(f"{self._folder}/{name}", offset, max_bytes)
        except OSError as error:
            if error.errno in _GONE or error.errno in _NO_FILE:
                return None
            raise

    def size_bytes(self, name: str) -> int | None:
        try:
            return self._member.files.stat(f"{self._folder}/{name}").size_bytes
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def has_settled(self, name: str) -> bool:
        changed_ms = self._member.files.stat(f"{self._folder}/{name}").mtime_ns // 1_000_000
        return self._member.store.now_ms() - changed_ms > HOLE_SETTLE_MS

    def path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def names(self) -> list[str]:
        return list_surely(self._member.files, self._member.places.resources, self._folder)

    def sync_names(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._member.files.sync_dir(self._folder)

    def is_local(self) -> bool:
        return self._member.files.is_local(self._member.places.root)


class _Listing(NamedTuple):
    """What ``log/`` holds."""

    logs: dict[str, list[Log]]  # by incarnation; more than one when somebody copied or renamed files
    newest: dict[str, str]  # by incarnation, the name of the newest segment of the first of these
    strangers: list[str]


class LogReader:
    """Reads the logs of one document. Not thread-safe: the compactor has a lock.

    Args:
        member: Through whom.
        resource: Whose logs.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._files = _Files(member, resource)
        self._resource = resource
        self._is_local: bool | None = None
        self._listed: tuple[list[str], _Listing] = ([], _Listing({}, {}, []))
        self._next = ""  # where the last look ended, when it had read enough

    def read(self, positions: Mapping[str, Position], *, max_bytes: int = FOLD_BATCH_BYTES) -> LogBatch:
        """Everything new, as far as ``max_bytes`` go; what is left comes first the next time.

        Args:
            positions: How far each log was folded.
            max_bytes: How much to read, about.

        Raises:
            NewerFormat: A log was begun by a version that this one does not know; says whose, and where.
            StoreUnavailable: A retry is safe.
        """
        try:
            return self._read(positions, max_bytes)
        except OSError as error:
            raise unavailable(error, self._resource, "reading the logs of") from error

    def _read(self, positions: Mapping[str, Position], max_bytes: int) -> LogBatch:
        listing = self._list()
        absent = [incarnation for incarnation in positions if incarnation not in listing.logs]
        if any(positions[incarnation].state != OPEN for incarnation in absent):
            # Whoever forgets a position rests on this: a file that a power failure brought back would be folded anew.
            self._files.sync_names()
        batch = LogBatch([], [], absent, list(listing.strangers), [], set())
        incarnations = sorted(listing.logs)
        start = bisect_left(incarnations, self._next)
        left_bytes, self._next = max_bytes, ""
        for i, incarnation in enumerate(turn := incarnations[start:] + incarnations[:start]):
            if left_bytes <= 0:
                self._next = incarnation
                batch.unread.update(turn[i:])
                break
            left_bytes -= self._look(batch, listing, incarnation, positions.get(incarnation), left_bytes)
        return batch

    def _list(self) -> _Listing:
        names = self._files.names()
        if names != self._listed[0]:
            self._listed = (names, _sorted_out(names))
        return self._listed[1]

    def _look(
        self, batch: LogBatch, listing: _Listing, incarnation: str, before: Position | None, max_bytes: int
    ) -> int:
        """Reads one log, if it is to be read; returns how many bytes of it were new."""
        logs = listing.logs[incarnation]
        log = logs[0]
        if before is not None:
            if before.state in _OVER:  # whoever was to delete it was killed before
                batch.left.append(incarnation)
                return 0
            is_newest = len(logs) == 1 and log.segments[-1] == before.segment
            if is_newest and self._has_size(listing.newest[incarnation], before.offset):
                return 0
        if len(logs) > 1:
            log = self._true_one(logs, before)
        for other in logs:
            if other is not log or (before is None and other.segments[0] != 1):
                batch.orphans.extend(map(other.file, other.segments))
        if before is None and log.segments[0] != 1:
            return 0
        return self._walk(batch, log, before, max_bytes)

    def _has_size(self, name: str, size_bytes: int) -> bool:
        """Whether a file is known to have this size still."""
        if self._is_local is None:
            self._is_local = self._files.is_local()
        return self._is_local and self._files.size_bytes(name) == size_bytes

    def _walk(self, batch: LogBatch, log: Log, before: Position | None, max_bytes: int) -> int:
        walk = Walk(self._files, log, before, max_bytes)
        walk.run()
        if walk.damage is not None:
            again = [other for other in self._list().logs.get(log.incarnation, []) if other.agent == log.agent]
            log = again[0] if again else log
            walk = Walk(self._files, log, before, max_bytes)
            walk.run()
        if walk.damage is not None:
            path = self._files.path(log.file(walk.damage.segment))
            batch.damaged.append(Damage(log.incarnation, log.agent, path, walk.damage.offset, walk.damage.what))
        if walk.has_more:
            batch.unread.add(log.incarnation)
        after = walk.after
        # A position that moved without operations is not worth a revision: the next look finds the same again.
        if after is not None and (walk.payloads or before is None or after.state != before.state):
            batch.logs.append(NewFrames(before, after, walk.payloads, after.state == ENDED))
        return walk.read_bytes

    def _true_one(self, logs: list[Log], before: Position | None) -> Log:
        """Which of the logs that bear one incarnation it is: that of the agent who opened it."""
        for log in logs:
            if before is not None:
                is_true = log.agent == before.agent
            else:
                walk = Walk(self._files, log, None, 1)
                walk.run()
                is_true = walk.after is not None and walk.damage is None
            if is_true:
                return log
        return logs[0]


def _sorted_out(names: list[str]) -> _Listing:
    found: dict[tuple[str, str], list[int]] = {}
    strangers = []
    for text in sorted(names):
        name = parse_file_name(text)
        if name is None:
            strangers.append(text)
        else:
            found.setdefault((name.incarnation, name.agent), []).append(name.segment)
    listing = _Listing({}, {}, strangers)
    for (incarnation, agent), segments in found.items():
        # By number: beyond six digits the names are not in order.
        listing.logs.setdefault(incarnation, []).append(Log(agent, incarnation, sorted(segments)))
    for incarnation, logs in listing.logs.items():
        listing.newest[incarnation] = logs[0].file(logs[0].segments[-1])
    return listing


__all__ = ["Damage", "LogBatch", "LogReader", "NewFrames", "Position", "log_files", "quarantine", "remove_logs"]
