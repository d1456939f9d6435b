"""Reading one log: from where it was folded, through its segments, up to what cannot be read (yet) (P22).

What a reader finds at the end of what it can read:

==================================  ==========================================================================
nothing more                        that is all
the beginning of a frame            a write in flight: stop before it, look again at the next fold
NUL bytes, nothing valid after      the same, on a file system that wrote its pages in another order
NUL bytes, valid frames after       the same for HOLE_SETTLE_MS since the file was last changed; then damage
a whole frame out of its chain      damage: one before it is missing, or it is another writer's
anything else that is no frame      damage: what a writer writes is never wrong, only cut
==================================  ==========================================================================

What a segment's successor tells decides over this: up to the end that it names the segment has to be whole, and what
stands beyond counts no more (P21). Frames beyond may have been read before the successor was there; it repeats them
under the same seqs, and they are passed over. Segments in between that are not named held nothing that counts.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - a NamedTuple's field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from zlib import crc32

from coordinator.errors import NewerFormat
from coordinator.log.frame import CUT, LINE_MAX_BYTES, NUL, Frames, has_valid_after, scan
from coordinator.log.opening import OPENING_MAX_BYTES, VERSION, LogName, Opening, file_name, parse_opening

if TYPE_CHECKING:
    from coordinator.log.opening import After

OPEN: Final = "open"
FENCED: Final = "fenced"
ENDED: Final = "ended"
QUARANTINED: Final = "quarantined"
INBOX_SEGMENT: Final = 0  # of a position in the inbox (inbox.py); a log's segments begin at 1

_CHUNK_BYTES: Final = 128 << 10  # a segment at a time, mostly
_REST_MAX_BYTES: Final = 64 << 20  # looked through for valid frames behind a hole
_SEQ: Final = b'{"seq":'
_END: Final = b'{"end":'
_WHAT: Final = {
    "form": "there is no frame",
    "length": "a frame is not as long as it says",
    "crc": "a frame's crc32 is not that of its content",
    "chain": "a whole frame does not continue the chain: one before it is missing, or it is another writer's",
    NUL: "NUL bytes in place of what was written",
}


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


class Damage(NamedTuple):
    """Where a log is not what its writer wrote, and how."""

    incarnation: str
    agent: str
    path: str
    offset: int
    what: str


class Log(NamedTuple):
    """A log, and which segments of it are there, ascending."""

    agent: str
    incarnation: str
    segments: Sequence[int]

    def file(self, segment: int) -> str:
        """The name of a segment's file."""
        return file_name(LogName(self.agent, self.incarnation, segment))


class DamagedError(Exception):
    """What is there is not what was written."""

    def __init__(self, segment: int, offset: int, what: str) -> None:
        super().__init__(what)
        self.segment = segment
        self.offset = offset
        self.what = what


class Source(Protocol):
    """Where the segments of one log are."""

    resource: str

    def read_at(self, name: str, offset: int, max_bytes: int) -> bytes | None:
        """Part of a file, read anew; None when it is not there."""
        ...

    def has_settled(self, name: str) -> bool:
        """Whether a file was last changed so long ago that no write to it is in flight."""
        ...

    def path(self, name: str) -> str:
        """For messages."""
        ...


class Walk:
    """One look at one log.

    Args:
        source: Where it is.
        log: Which.
        before: How far it was folded; None: not known.
        max_bytes: How much to read, about; a frame is always read whole.

    Attributes:
        payloads: New operations, in order.
        damage: What is wrong with the next one.
        read_bytes: How much was read.
    """

    def __init__(self, source: Source, log: Log, before: Position | None, max_bytes: int) -> None:
        self._source = source
        self._log = log
        self._before = before
        self._left_bytes = max_bytes
        # Segment 0 stands for what is before the first one.
        self._segment, self._offset, self._chain, self._seq = before[2:6] if before else (0, 0, 0, 0)
        self._asked_bytes = _CHUNK_BYTES
        self._ahead: tuple[int, bytes] = (0, b"")  # the beginning of a segment, read for its opening
        self._ended = False
        self.payloads: list[bytes] = []
        self.damage: DamagedError | None = None
        self.read_bytes = 0

    @property
    def after(self) -> Position | None:
        """How far it was read; None: no segment of it could be read yet."""
        if self._segment == 0:
            return None
        state = self._before.state if self._before else OPEN
        at = (self._segment, self._offset, self._chain, self._seq)
        return Position(*self._log[:2], *at, ENDED if self._ended else state)

    @property
    def has_more(self) -> bool:
        """Whether it stopped because it had read enough: there may be more."""
        return self._left_bytes <= 0 and not self._ended and self.damage is None

    def run(self) -> None:
        """Reads as far as it goes.

        Raises:
            NewerFormat: A segment was begun by a newer version.
            OSError: A file cannot be read.
        """
        try:
            while not self._ended and self._left_bytes > 0:
                opening, trouble = self._successor()
                if opening is None:
                    self._read_tail()
                    if trouble is not None and not self._ended:
                        raise trouble
                    return
                if not self._read_up_to(opening.after):
                    return
                self._segment, self._offset, self._chain = opening.name.segment, opening.size_bytes, opening.chain
                self._asked_bytes = _CHUNK_BYTES
        except DamagedError as damage:
            self.damage = damage

    # ── from segment to segment ──────────────────────────────────────────────────────────────────────────────────────

    def _successor(self) -> tuple[Opening | None, DamagedError | None]:
        """The next segment that counts, as far as it can be told yet, or what is wrong with those that are there."""
        trouble: DamagedError | None = None
        for segment in self._log.segments:
            if segment <= self._segment:
                continue
            try:
                opening = self._opening(segment)
            except DamagedError as damage:
                trouble = trouble or damage  # unless a later one says that it does not count
                continue
            if opening is None:
                continue  # just created, or failed at its beginning
            after = opening.after
            if after is None or after.segment <= self._segment:
                return opening, None
            missing = DamagedError(after.segment, 0, f"segment {segment} comes after this one, which cannot be read")
            return None, trouble if trouble and trouble.segment == after.segment else missing
        return None, trouble

    def _opening(self, segment: int) -> Opening | None:
        """A segment's opening frame; None when it cannot be read yet.

        Raises:
            DamagedError: It is not what this segment was begun with.
        """
        data = self._source.read_at(self._log.file(segment), 0, _CHUNK_BYTES) or b""
        self._ahead = (segment, data)
        first = data[: data.find(b"\n") + 1] or data[:OPENING_MAX_BYTES]
        frames = scan(first, 0)
        if frames.stop:
            self._judge(segment, 0, frames.stop)
        if not frames.payloads:
            return None
        opening = parse_opening(frames.payloads[0])
        if opening is None:
            raise DamagedError(segment, 0, "it does not begin with an opening frame")
        if opening.version > VERSION:
            path = self._source.path(self._log.file(segment))
            raise NewerFormat(
                f"the log of {self._log.agent} ({self._log.incarnation}) is of version {opening.version}, from byte 0 "
                f"of {path}; this library reads version {VERSION}",
                path=path,
                needs=opening.version,
                have=VERSION,
                agent=self._log.agent,
                offset=0,
            )
        if opening.name != (*self._log[:2], segment) or opening.resource != self._source.resource:
            found = f"{file_name(opening.name)} of {opening.resource!r}"
            raise DamagedError(segment, 0, f"it was copied or renamed: it was begun as {found}")
        return opening._replace(size_bytes=frames.ends[0], chain=frames.chain)

    def _read_up_to(self, after: After | None) -> bool:
        """Reads what still counts of this segment; False: not all of it yet."""
        if after is None or after.segment < self._segment:
            return True  # nothing of it counts; what was read of it is repeated
        while self._offset < after.end and not self._ended:
            if self._left_bytes <= 0:
                return False
            left = after.end - self._offset
            asked = min(left, self._asked_bytes)
            data = self._data(asked)
            if data is None:
                raise DamagedError(self._segment, self._offset, "it is missing, and its successor is there")
            stop = self._take(scan(data, self._chain))
            if stop not in {"", CUT}:
                self._judge(self._segment, self._offset, stop, has_successor=True)
                return False
            if len(data) < asked or (stop and asked == left):
                what = f"it is cut: its successor goes on from byte {after.end}"
                raise DamagedError(self._segment, self._offset, what)
            self._asked_bytes = LINE_MAX_BYTES
        if self._offset == after.end and self._chain != after.chain:
            raise DamagedError(self._segment, after.end, "its chain is not the one that its successor goes on from")
        return True

    def _read_tail(self) -> None:
        """Reads a segment that has no successor yet."""
        while self._segment and not self._ended and self._left_bytes > 0:
            asked = self._asked_bytes
            data = self._data(asked)
            if not data:
                return  # nothing new, or gone between list and read
            stop = self._take(scan(data, self._chain))
            if stop not in {"", CUT}:
                self._judge(self._segment, self._offset, stop)
                return
            if len(data) < asked:
                return
            self._asked_bytes = LINE_MAX_BYTES  # a frame of any length

    # ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _data(self, asked: int) -> bytes | None:
        """Bytes of this segment from where it was read to."""
        segment, ahead = self._ahead
        if segment == self._segment and self._offset < len(ahead):
            self._ahead = (0, b"")
            data = ahead[self._offset : self._offset + asked]
            if len(data) == asked or len(ahead) < _CHUNK_BYTES:
                return data
        return self._source.read_at(self._log.file(self._segment), self._offset, asked)

    def _take(self, frames: Frames) -> str:
        """Takes what was scanned from where it was read to; returns why there was no more."""
        ops = frames.payloads
        if not ops:
            return frames.stop
        is_end = ops[-1].startswith(_END)
        if is_end:
            ops = ops[:-1]
        if ops:
            first = _seq_of(ops[0])
            if not 0 < first <= self._seq + 1 or not _count_up(ops, first):
                self._take_some(frames)
            self.payloads += ops[self._seq + 1 - first :]  # those before were moved here from elsewhere (P21)
            self._seq = max(self._seq, first + len(ops) - 1)
        self._ended = is_end
        self._move(frames.ends[-1], frames.chain)
        return frames.stop

    def _take_some(self, frames: Frames) -> None:
        """Takes what counts up by one, and raises DamagedError for what does not."""
        chain, end, last = self._chain, 0, 0
        for payload, next_end in zip(frames.payloads, frames.ends, strict=True):
            seq = _seq_of(payload)
            if not 0 < seq <= self._seq + 1 or (last and seq != last + 1):
                self._move(end, chain)
                what = f"operation {seq} stands" if seq else "what is no operation stands"
                raise DamagedError(self._segment, self._offset, f"{what} after operation {last or self._seq}")
            if seq > self._seq:
                self.payloads.append(payload)
                self._seq = seq
            chain, end, last = crc32(payload, chain), next_end, seq

    def _move(self, size_bytes: int, chain: int) -> None:
        self._offset += size_bytes
        self._left_bytes -= size_bytes
        self.read_bytes += size_bytes
        self._chain = chain

    def _judge(self, segment: int, offset: int, stop: str, *, has_successor: bool = False) -> None:
        """Raises DamagedError for what is not a write in flight."""
        if stop == CUT:
            return
        if stop == NUL:
            name = self._log.file(segment)
            rest = self._source.read_at(name, offset, _REST_MAX_BYTES) or b""
            if not (has_successor or has_valid_after(rest, 0)) or not self._source.has_settled(name):
                return
        raise DamagedError(segment, offset, _WHAT[stop])


def _count_up(ops: list[bytes], first: int) -> bool:
    """Whether all are operations, numbered from a seq on."""
    return all(payload.startswith(b'{"seq":%d,' % seq) for seq, payload in enumerate(ops, first))


def _seq_of(payload: bytes) -> int:
    """The seq of an operation; 0 when it is none."""
    if not payload.startswith(_SEQ):
        return 0
    digits = payload[len(_SEQ) : payload.find(b",", len(_SEQ))]
    return int(digits) if digits.isdigit() else 0
