"""Reading everybody's logs: what is new in them, and whether what is there is whole (P22).

A bad frame with nothing valid behind it is a write in flight: it is stopped at, and looked at again in the next fold.
With valid frames behind it, it is damage. A segment's successor says where the part of it that counts ends (P21): what
stands behind that is ignored, and what stands before it has to be whole.
"""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.errors import NewerFormat
from coordinator.files import list_surely, make_dirs, remove_quietly
from coordinator.limits import FRAME_MAX_BYTES
from coordinator.log.frame import has_frame_after, scan
from coordinator.log.writer import VERSION
from coordinator.names import is_id
from coordinator.record.mount import unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordinator.names import Resource
    from coordinator.record.member import Member

_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE})
_OPENING_MAX_BYTES: Final = 4096
_READ_MIN_BYTES: Final = FRAME_MAX_BYTES + 64  # a frame of any lawful length is read whole
OVER: Final = frozenset({"ended", "quarantined"})


class Position(NamedTuple):
    """How far a log was folded: the segment, where in it, the chain there, and the seq of the last operation.

    ``state`` is ``open``; ``fenced`` (to be read once more, and no further); ``ended``; or ``quarantined``.
    """

    agent: str
    incarnation: str
    segment: int
    offset: int
    chain: int
    seq: int
    state: str


class NewFrames(NamedTuple):
    """What is new in one log: the operations' payloads, and the position behind them."""

    before: Position | None
    after: Position
    payloads: list[bytes]
    ended: bool


class Damage(NamedTuple):
    """Where a log is not what its writer wrote."""

    incarnation: str
    agent: str
    path: str
    offset: int
    what: str


class LogBatch(NamedTuple):
    """What is new in all logs.

    Attributes:
        logs: Those with something new, in order of their incarnations.
        damaged: Those that are not whole.
        absent: Incarnations of the positions that have no file any more.
        orphans: Files of incarnations that no position knows and whose beginning is missing: never folded (P27).
    """

    logs: list[NewFrames]
    damaged: list[Damage]
    absent: list[str]
    orphans: list[str]


class _Damaged(Exception):  # noqa: N818 - caught in this module
    def __init__(self, segment: int, offset: int, what: str) -> None:
        super().__init__(what)
        self.segment = segment
        self.offset = offset
        self.what = what


class _Cursor:
    """Where one log is being read."""

    def __init__(self, agent: str, incarnation: str, before: Position | None) -> None:
        self.agent = agent
        self.incarnation = incarnation
        self.segment, self.offset, self.chain, self.seq = before[2:6] if before else (0, 0, 0, 0)
        self.payloads: list[bytes] = []
        self.ended = False

    def position(self, state: str) -> Position:
        return Position(self.agent, self.incarnation, self.segment, self.offset, self.chain, self.seq, state)


class LogReader:
    """Reads the logs of one document. Not thread-safe: the compactor has a lock.

    Args:
        member: Through whom.
        resource: Whose logs.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._files = member.files
        self._resource = resource
        self._top = member.places.resources
        self._folder = member.places.of(resource, "log")
        # On a local disk a stat tells at once that a log has grown. On NFS it may be seconds late; opening the file
        # anew asks the server (measured), and costs a round trip.
        self._stats = member.files.is_local(member.places.root)

    def read(self, positions: Mapping[str, Position], *, max_bytes: int) -> LogBatch:
        """Everything new, as far as ``max_bytes`` go; what is left is for the next fold.

        Args:
            positions: How far each log was folded.
            max_bytes: How much to read, about.

        Raises:
            NewerFormat: A log was begun by a version that this one does not know; says whose.
            StoreUnavailable: A retry is safe.
        """
        try:
            names = list_surely(self._files, self._top, self._folder)
        except OSError as error:
            raise unavailable(error, self._resource, "listing the logs of") from error
        logs = _by_incarnation(names)
        batch = LogBatch([], [], [name for name in positions if name not in logs], [])
        left_bytes = max_bytes
        for incarnation in sorted(logs):
            before = positions.get(incarnation)
            if left_bytes <= 0 or (before and before.state in OVER):
                continue
            agent, segments = logs[incarnation]
            left_bytes -= self._read_log(batch, _Cursor(agent, incarnation, before), before, segments, left_bytes)
        return batch

    def _read_log(
        self, batch: LogBatch, cursor: _Cursor, before: Position | None, segments: list[int], max_bytes: int
    ) -> int:
        """Reads one log; returns how much that was."""
        if before and len(segments) == 1 and self._stats and self._size(cursor) == before.offset:
            return 0
        start = cursor.offset
        try:
            if before is None and not self._begin(cursor, segments):
                batch.orphans.extend(self._name(cursor, segment) for segment in segments)
                return 0
            self._read_on(cursor, segments, max_bytes)
        except _Damaged as damage:
            path = f"{self._folder}/{self._name(cursor, damage.segment)}"
            batch.damaged.append(Damage(cursor.incarnation, cursor.agent, path, damage.offset, damage.what))
        state = "ended" if cursor.ended else before.state if before else "open"
        after = cursor.position(state)
        if cursor.segment and after != before:
            batch.logs.append(NewFrames(before, after, cursor.payloads, cursor.ended))
        return max(cursor.offset - start, sum(map(len, cursor.payloads)))

    def _begin(self, cursor: _Cursor, segments: list[int]) -> bool:
        """Finds a log's first segment: the one that comes after none. False: there is none (yet)."""
        for segment in segments:
            opening = self._opening(cursor, segment)
            if opening is not None:
                if opening["after"] is not None:
                    return False
                cursor.segment = segment
                return True
        return False

    def _read_on(self, cursor: _Cursor, segments: list[int], max_bytes: int) -> None:
        """Reads from where the cursor is, through as many segments as there are."""
        while not cursor.ended and len(cursor.payloads) * 64 < max_bytes:
            later = self._successor(cursor, [segment for segment in segments if segment > cursor.segment])
            end = later[1]["end"] if later else None
            wanted = max(max_bytes, _READ_MIN_BYTES) if end is None else max(end - cursor.offset, 0)
            self._read_segment(cursor, wanted, end)
            if later is None or cursor.ended:
                return
            if cursor.offset < end:  # more of it than was asked for at once, or gone between list and read
                return
            if cursor.offset == end and cursor.chain != later[1].get("chain", cursor.chain):
                raise _Damaged(cursor.segment, end, "its chain is not the one that its successor goes on from")
            cursor.segment, cursor.offset, cursor.chain = later[0], 0, 0

    def _read_segment(self, cursor: _Cursor, wanted: int, end: int | None) -> None:
        data = self._read_at(cursor, cursor.segment, cursor.offset, wanted)
        if data is None or not data:
            return
        frames = scan(data, cursor.chain)
        base, segment = cursor.offset, cursor.segment
        if cursor.offset == 0 and frames.payloads:
            self._check_opening(cursor, segment, frames.payloads[0])
        for i, payload in enumerate(frames.payloads):
            self._take(cursor, payload, base + (frames.ends[i - 1] if i else 0), is_first=base == 0 and i == 0)
            cursor.offset, cursor.chain = base + frames.ends[i], frames.chains[i]
        if not frames.stop:
            return
        done = frames.ends[-1] if frames.ends else 0
        was_cut_here = frames.stop == "cut" and len(data) == wanted and end is None
        if end is not None or (not was_cut_here and has_frame_after(data, done + 1)):
            raise _Damaged(segment, base + done, f"a bad frame ({frames.stop}) with others behind it")

    def _take(self, cursor: _Cursor, payload: bytes, at: int, *, is_first: bool) -> None:
        if payload.startswith(b'{"seq":'):
            seq = int(payload[7 : payload.find(b",", 7)])
            if seq <= cursor.seq:
                return  # moved here from a segment that failed under its writer, and folded from there (P21)
            if seq != cursor.seq + 1:
                raise _Damaged(cursor.segment, at, f"operation {seq} stands behind operation {cursor.seq}")
            cursor.seq = seq
            cursor.payloads.append(payload)
        elif payload.startswith(b'{"end":'):
            cursor.ended = True
        elif not is_first:
            raise _Damaged(cursor.segment, at, "an opening frame in the middle of a segment")

    # ── openings ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _successor(self, cursor: _Cursor, later: list[int]) -> tuple[int, dict[str, Any]] | None:
        """The segment that goes on after this one, and where it says that this one ends.

        Those in between that cannot be read are segments that failed at their beginning.
        """
        for segment in later:
            opening = self._opening(cursor, segment)
            after = opening["after"] if opening else None
            if after is not None and after["segment"] == cursor.segment:
                return segment, after
            if opening is not None and after is None and cursor.offset == 0:
                return segment, {"end": 0}  # a second beginning: nothing of this one was ever acknowledged
        return None

    def _opening(self, cursor: _Cursor, segment: int) -> dict[str, Any] | None:
        data = self._read_at(cursor, segment, 0, _OPENING_MAX_BYTES)
        frames = scan(data or b"", 0)
        if not frames.payloads:
            if data and has_frame_after(data, 1):
                raise _Damaged(segment, 0, f"a bad opening frame ({frames.stop}) with others behind it")
            return None
        return self._check_opening(cursor, segment, frames.payloads[0])

    def _check_opening(self, cursor: _Cursor, segment: int, payload: bytes) -> dict[str, Any]:
        try:
            opening: dict[str, Any] = json.loads(payload)["open"]
            version = opening["version"]
        except (ValueError, KeyError, TypeError):
            raise _Damaged(segment, 0, "it does not begin with an opening frame") from None
        if version != VERSION:
            raise NewerFormat(
                f"the log of {cursor.agent} ({cursor.incarnation}) is of version {version}, from byte 0 of "
                f"{self._folder}/{self._name(cursor, segment)}; this library knows {VERSION}",
                path=f"{self._folder}/{self._name(cursor, segment)}",
                needs=version,
                have=VERSION,
            )
        found = (opening.get("agent"), opening.get("incarnation"), opening.get("segment"), opening.get("resource"))
        if found != (cursor.agent, cursor.incarnation, segment, str(self._resource)):
            raise _Damaged(segment, 0, f"it was begun as segment {found[2]} of {found[0]} ({found[1]}) on {found[3]}")
        return opening

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _name(self, cursor: _Cursor, segment: int) -> str:
        return f"{cursor.agent}.{cursor.incarnation}.{segment:06d}.log"

    def _size(self, cursor: _Cursor) -> int:
        try:
            return self._files.stat(f"{self._folder}/{self._name(cursor, cursor.segment)}").size_bytes
        except OSError:
            return -1  # reading it tells more

    def _read_at(self, cursor: _Cursor, segment: int, offset: int, max_bytes: int) -> bytes | None:
        try:
            return self._files.read_at(f"{self._folder}/{self._name(cursor, segment)}", offset, max_bytes)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise unavailable(error, self._resource, "reading a log of") from error


def _by_incarnation(names: list[str]) -> dict[str, tuple[str, list[int]]]:
    """Agents and segments, ascending, by incarnation; what is not the name of a log is none."""
    found: dict[str, tuple[str, list[int]]] = {}
    for name in sorted(names):
        parts = name.rsplit(".", 3)
        if len(parts) == 4 and parts[3] == "log" and is_id(parts[1]) and parts[2].isdecimal():  # noqa: PLR2004
            found.setdefault(parts[1], (parts[0], []))[1].append(int(parts[2]))
    return found


def quarantine(member: Member, resource: Resource, damage: Damage) -> list[str]:
    """Keeps a damaged log as it was found, and what is wrong with it, beside the document's state. Idempotent."""
    places, files = member.places, member.files
    folder = places.of(resource, "quarantine")
    kept = []
    try:
        make_dirs(files, places.resources, folder)
        there = set(files.listdir(folder))
        for name in log_files(member, resource, damage.incarnation):
            kept.append(f"{folder}/{name}")
            if name not in there:
                data = files.read(f"{places.of(resource, 'log')}/{name}")
                files.rename(member.write_scratch(data), f"{folder}/{name}")
        report = f"{folder}/{damage.agent}.{damage.incarnation}.json"
        files.rename(member.write_scratch(json.dumps(damage._asdict(), indent=2).encode() + b"\n"), report)
        files.sync_dir(folder)
    except OSError as error:
        raise unavailable(error, resource, "keeping a damaged log of") from error
    return [*kept, report]


def log_files(member: Member, resource: Resource, incarnation: str) -> list[str]:
    """Names of an incarnation's segments, ascending."""
    names = list_surely(member.files, member.places.resources, member.places.of(resource, "log"))
    agent, segments = _by_incarnation(names).get(incarnation, ("", []))
    return [f"{agent}.{incarnation}.{segment:06d}.log" for segment in segments]


def remove_logs(member: Member, resource: Resource, incarnation: str) -> None:
    """Deletes a log. Its position is kept until none of its files is listed: what is left of it is never read again."""
    for name in log_files(member, resource, incarnation):
        remove_quietly(member.files, f"{member.places.of(resource, 'log')}/{name}")
