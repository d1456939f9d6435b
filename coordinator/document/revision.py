r"""Fold lines: what a fold publishes, and how they are found again (P25, P26).

Each process that folds has files of its own below a resource's state folder, written by nobody else (P19)::

    fold/<incarnation>.<file, 6 digits>.log       one line a fold:   F1 <crc32, 8 hex> {json}\n
                                                  (F+ when an integer in it is beyond 64 bits)

(``incarnation`` is the file's writer's: fresh for each process and each fork.)

The record names the newest line (``fold=<revision>.<incarnation>.<file>.<offset>.<bytes>``), and each line the one
before it, so that the lines that count are those reached from the record; a line whose record was never accepted is
reached from nowhere. A line costs what was changed, not what is there::

    {"rev":17,
     "prev":[revision, incarnation, file, offset, bytes, sha256],
     "base":[revision, n, incarnation, sha256, bytes],     the whole content (snap/) that edits above it are applied to
     "at_ms":…, "by":agent, "inc":incarnation,
     "pos":{incarnation: [agent, incarnation, segment, offset, chain, seq, state], …},   those that moved
     "gone":[incarnation, …],                               logs that are deleted: forgotten
     "full":{"pos":…, "ids":…, "side":…},                  only in a checkpoint: all of it; "base" is then this revision
     "ops":[\t[op_id, agent, incarnation, seq, outcome, info, edits],\t …\t]}

``outcome`` is ``applied`` (info: the result), ``rejected`` (info: why, text, winner) or ``again`` (info: the revision
and outcome of the first time). Edits are those of tree.py. A tab stands between operations and nowhere else (in JSON
text it is escaped), so that a waiter finds its own outcome without reading the crowd's.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from coordinator.clock import elapsed_max_ms
from coordinator.document.snapshot import sha256_of
from coordinator.errors import CorruptSnapshot
from coordinator.folders import list_surely, make_dirs, refresh_down
from coordinator.limits import FOLD_FILE_BYTES, FOLD_TRIES, ORPHAN_KEEP_MS
from coordinator.names import new_id
from coordinator.record.record import FoldAt
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.clock import Instant
    from coordinator.files import NewFile
    from coordinator.names import Resource
    from coordinator.record.member import Member

_MARK: Final = b"F1 "
_EXACT: Final = b"F+ "  # holds an integer beyond 64 bits, which a fast reader would take for a float
_HEAD_BYTES: Final = len(b"F1 01234567 ")
_READ_BACK_BYTES: Final = 64 << 10  # lines are mostly read backwards, and a read costs a round trip on NFS
_PREV: Final = re.compile(rb'"prev":\[(\d+),"([a-z2-7]+)",(\d+),(\d+),(\d+),')
_PREV_WITHIN: Final = 640  # "prev" stands before everything that is long
_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE, errno.ENOTDIR})


class LineAt(NamedTuple):
    """Where a line stands and what it is: as lines and checkpoints name each other."""

    revision: int
    incarnation: str
    file: int
    offset: int
    size_bytes: int
    sha256: str

    @property
    def place(self) -> FoldAt:
        """The same, as the record names it."""
        return FoldAt(*self[:5])


class Line(NamedTuple):
    """A fold line that was read, and where."""

    at: LineAt
    body: dict[str, Any]


class LineGoneError(Exception):
    """A line's file is not there (any more): it was collected, or the record that named it is not the newest."""


def encode_line(body: dict[str, Any]) -> bytes:
    """The line as written; ``ops`` is put last. TypeError when something in it is not JSON."""
    parts = [dump_json(operation) for operation in body["ops"]]
    head, is_exact = dump_json({key: value for key, value in body.items() if key != "ops"})
    text = b'%s,"ops":[\t%s\t]}' % (head[:-1], b",\t".join(part for part, _ in parts))
    is_exact = is_exact or any(exact for _, exact in parts)
    return b"%s%08x %s\n" % (_EXACT if is_exact else _MARK, zlib.crc32(text), text)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The inverse of ``encode_line``; None when it was cut or altered."""
    if not is_whole(line):
        return None
    body = load_json(line[_HEAD_BYTES:-1], exact=line[:3] == _EXACT)
    return body if isinstance(body, dict) else None


def is_whole(line: bytes) -> bool:
    """Whether a line is as it was written."""
    has_form = line[:3] in {_MARK, _EXACT} and line[-1:] == b"\n"
    return has_form and line[3:11] == b"%08x" % zlib.crc32(memoryview(line)[_HEAD_BYTES:-1])


def outcome_in(line: bytes, op_id: str) -> list[Any] | None:
    """What a line says of one operation, without reading the rest of it; None when it says nothing."""
    start = line.find(b'\t["%s",' % op_id.encode())
    if start < 0:
        return None
    found = load_json(line[start + 1 : line.find(b"\t", start + 1)].rstrip(b","), exact=line[:3] == _EXACT)
    return found if isinstance(found, list) else None


def is_fenced_in(line: bytes, incarnation: str) -> bool:
    """Whether a line says that a log is no longer read."""
    start = line.find(b'"%s":["' % incarnation.encode())
    return start >= 0 and b',"open"]' not in line[start : line.find(b"]", start) + 1]


def dump_json(value: Any) -> tuple[bytes, bool]:
    """Compact JSON, and whether it holds an integer that orjson can neither write nor read exactly."""
    try:
        return orjson.dumps(value), False
    except orjson.JSONEncodeError:
        import json  # noqa: PLC0415 - rarely needed

        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), True


def load_json(text: bytes, *, exact: bool) -> Any:
    """The inverse of ``dump_json``."""
    if not exact:
        return orjson.loads(text)
    import json  # noqa: PLC0415 - rarely needed

    return json.loads(text)


class FoldLog:
    """This process's own fold lines. Not thread-safe: the compactor has a lock.

    After any error nothing more is written to a file (P21): what its end holds then is not known.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._folder = member.places.of(resource, "fold")
        self._resource = resource
        self._pid = 0
        self._incarnation = ""
        self._file = 0
        self._open: NewFile | None = None
        self._offset = 0
        self._as_of = 0  # the revision of the last line in it that stands, or that it was begun on
        self._begun: Instant = member.clock.now()

    def published(self, revision: int) -> None:
        """The line that was appended last stands, as this revision."""
        self._as_of = revision

    def append(self, line: bytes, *, on_revision: int, checkpoint: int) -> FoldAt:
        """Writes a line; when this returns it is durable. ``revision`` of what is returned is 0: the record says it.

        A file in which nothing stands that is younger than the last checkpoint may be deleted by anybody (tidy.py): it
        is left for a new one. Whoever does not know of that checkpoint yet is beaten at the record.

        Args:
            line: See encode_line.
            on_revision: The revision that it is made on.
            checkpoint: The revision of the last checkpoint, as of that.

        Raises:
            StoreUnavailable: It could not be written; nothing names it, so a retry is safe.
        """
        if self._pid != os.getpid():  # the first line, or a forked child's: it never writes its parent's file (P19)
            self._pid, self._incarnation, self._file, self._open = os.getpid(), new_id(), 0, None
        if self._as_of < checkpoint or self._is_stray():
            self._abandon()
        for left in reversed(range(FOLD_TRIES)):
            try:
                if self._open is None or self._offset + len(line) > FOLD_FILE_BYTES:
                    self._begin()
                    self._as_of, self._begun = on_revision, self._member.clock.now()
                assert self._open is not None  # noqa: S101 - begun just now
                offset = self._offset
                self._open.write(line)
                self._open.sync()
                self._offset = offset + len(line)
                return FoldAt(0, self._incarnation, self._file, offset, len(line))
            except OSError as error:
                self._abandon()
                if not left or error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
                    raise unavailable(error, self._resource, "writing a fold of") from error
        raise AssertionError("the last try raised or returned")

    def _is_stray(self) -> bool:
        """Whether nobody may have heard of this file for so long that it is taken for a stranger's."""
        return elapsed_max_ms(self._begun, self._member.clock.now()) > ORPHAN_KEEP_MS // 2

    def _begin(self) -> None:
        self._abandon()
        files = self._member.files
        if self._file == 0:
            make_dirs(files, self._member.places.resources, self._folder)
        self._file += 1
        self._open = files.create(f"{self._folder}/{FoldAt(0, self._incarnation, self._file, 0, 0).name}")
        self._offset = 0
        files.sync_dir(self._folder)

    def _abandon(self) -> None:
        file, self._open = self._open, None
        if file is not None:
            try:
                file.close()
            except OSError:
                return  # what was acknowledged was synced before


class Lines:
    """Reads fold lines, mostly from the newest backwards.

    Args:
        member: Through whom.
        resource: Whose.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self._folder = member.places.of(resource, "fold")
        self._block: tuple[str, int, bytes] = ("", 0, b"")

    def read(self, place: FoldAt, sha256: str = "") -> Line:
        """One line.

        Raises:
            LineGoneError: Its file is not there.
            CorruptSnapshot: It is there, and not what was written.
            StoreUnavailable: It cannot be read.
        """
        line = self.bytes_of(place)
        body = decode_line(line) if len(line) == place.size_bytes else None
        found = sha256_of(line)
        if body is None or (sha256 and found != sha256) or (place.revision and body.get("rev") != place.revision):
            path = f"{self._folder}/{place.name}"
            raise CorruptSnapshot(
                f"the fold line of revision {place.revision} of {str(self._resource)!r} is damaged: {path}, "
                f"{place.size_bytes} bytes from {place.offset}",
                resource=str(self._resource),
                path=path,
                revision=place.revision,
            )
        return Line(LineAt(body["rev"], *_place_of(place), found), body)

    def bytes_of(self, place: FoldAt, *, read_back_bytes: int = _READ_BACK_BYTES) -> bytes:
        """A line as it stands there, unchecked. Raises as ``read`` does, but for damage."""
        name, start, data = self._block
        at = place.offset - start
        if name == place.name and at >= 0 and at + place.size_bytes <= len(data):
            return data[at : at + place.size_bytes]
        start = min(max(place.offset + place.size_bytes - read_back_bytes, 0), place.offset)
        data = self._fetch(place.name, start, place.offset + place.size_bytes - start)
        self._block = (place.name, start, data)
        return data[place.offset - start : place.offset - start + place.size_bytes]

    def _fetch(self, name: str, offset: int, size_bytes: int) -> bytes:
        files, path = self._member.files, f"{self._folder}/{name}"
        try:
            try:
                return files.read_at(path, offset, size_bytes)
            except FileNotFoundError:  # absent by this host's cache, perhaps (P6)
                refresh_down(files, self._member.places.resources, self._folder)
                return files.read_at(path, offset, size_bytes)
        except OSError as error:
            if error.errno in _GONE:
                raise LineGoneError(path) from error
            raise unavailable(error, self._resource, "reading a fold of") from error

    def raw_back(self, place: FoldAt, *, after: int, newest: bytes | None = None) -> Iterator[tuple[FoldAt, bytes]]:
        """The bytes of lines from the newest back to the one after revision ``after``, newest first; unchecked.

        Args:
            place: The newest.
            after: Where to stop.
            newest: The newest line, if the caller has it.

        Raises: As ``bytes_of``.
        """
        at: FoldAt | None = place
        while at is not None and at.revision > after:
            line = newest or self.bytes_of(at, read_back_bytes=0 if at is place else _READ_BACK_BYTES)
            newest = None
            yield at, line
            before = _PREV.search(line, 0, _PREV_WITHIN)
            at = FoldAt(int(before[1]), before[2].decode(), *map(int, before.groups()[2:])) if before else None

    def back(self, place: FoldAt, sha256: str, *, after: int) -> list[Line]:
        """The lines from the newest back to the one after revision ``after``; with 0, to a checkpoint. Oldest first.

        Raises: As ``read``.
        """
        found = [self.read(place, sha256)]
        while found[-1].body["prev"] and found[-1].body["prev"][0] > after and (after or "full" not in found[-1].body):
            before = LineAt(*found[-1].body["prev"])
            found.append(self.read(before.place, before.sha256))
        return found[::-1]

    def walk(self, newest: LineAt) -> Iterator[Line]:
        """All lines that are kept, newest first. Raises CorruptSnapshot and StoreUnavailable as ``read`` does."""
        at: LineAt | None = newest
        while at is not None:
            try:
                line = self.read(at.place, at.sha256)
            except LineGoneError:
                return
            yield line
            at = LineAt(*line.body["prev"]) if line.body["prev"] else None

    def files(self) -> list[str]:
        """Names of the files that are there."""
        try:
            return list_surely(self._member.files, self._member.places.resources, self._folder)
        except OSError as error:
            raise unavailable(error, self._resource, "listing the folds of") from error

    def forget(self) -> None:
        """Drops what was read: another look is to see what is there now."""
        self._block = ("", 0, b"")


def _place_of(place: FoldAt) -> tuple[str, int, int, int]:
    return place.incarnation, place.file, place.offset, place.size_bytes


def decided_at(lines: Lines, newest: FoldAt | None, op_id: str, revision: int) -> tuple[str, Any] | None:
    """What the line of a revision says of an operation that was decided there: outcome and info.

    None: that line is collected, and only what the state remembers is known.
    """
    if newest is None:
        return None
    try:
        for at, line in lines.raw_back(newest, after=revision - 1):
            if not is_whole(line):
                raise LineGoneError(at.name)
            found = outcome_in(line, op_id) if at.revision == revision else None
            if found is not None and found[4] != "again":
                return found[4], found[5]
    except LineGoneError:
        pass
    return None
