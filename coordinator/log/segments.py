"""The segments of one log, on the side of its writer: what is written, what is synced, what is to be repeated (P21).

After an error nobody knows what the end of a segment holds, or will hold after a power failure. So nothing more is
written to it, and the next segment says where its synced part ended and repeats all that came after, byte for byte,
under the same seqs. It is *repeated, never dropped*: a reader may have seen and folded it already, and would take
anything else under its seq for the same. When the tries of one call are used up, its caller is told that the outcome is
unknown, and the next append begins with what was left. Only what was never given to any segment (no file could be
created) is taken back, and its caller is told that it was not done.

A name that exists already is either this log's own, from a creation whose reply was lost: it is passed over. Or, when
it was never tried, somebody else's who has the same 100 random bits (a machine or a folder that was copied while it was
in use): then this log is over, and the process begins another.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final

from coordinator.folders import make_dirs, remove_quietly
from coordinator.limits import LOG_TRIES, SEGMENT_BYTES
from coordinator.log.frame import encode
from coordinator.log.opening import After, LogName, file_name, opening_payload
from coordinator.names import new_id

if TYPE_CHECKING:
    from coordinator.files import NewFile
    from coordinator.names import Resource
    from coordinator.record.member import Member

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # another segment would have none either


class FailedError(Exception):
    """An append failed for good. ``touched``: a segment may hold what was to be appended."""

    def __init__(self, error: OSError, *, touched: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.touched = touched


class TakenError(OSError):
    """The name of the next segment is another's."""


class Segments:
    """The log of one incarnation, as its writer has it. Not thread-safe: one thread at a time leads (writer.py).

    Args:
        member: Whose log.
        resource: Of which document.

    Attributes:
        incarnation: Whose; nobody else's, ever.
        segment: The newest.
        offset: Its end.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self.incarnation = new_id()
        self.segment = 0
        self.offset = 0
        self._member = member
        self._resource = resource
        self._folder = member.places.of(resource, "log")
        self._has_folder = False
        self._after: After | None = None  # up to where everything is synced
        # The seq of the last operation that a segment may hold, and what came after what is synced; changed as one.
        self._held: tuple[int, list[bytes]] = (0, [])
        self._has_lent = False  # some of that was acknowledged, for it can be read
        self._file: NewFile | None = None
        self._is_sound = True  # no error and no interrupt left the segment other than these fields have it
        self._is_named = False  # the newest segment's name is synced
        self._next = 1  # the number of the segment after the newest
        self._in_doubt = 0  # a segment that could not be created, and may be there nonetheless
        self._chain = 0

    @property
    def seq(self) -> int:
        """Of the last operation that a segment may hold."""
        return self._held[0]

    @property
    def is_begun(self) -> bool:
        """Whether any of it is in a file."""
        return self.segment > 0

    @property
    def has_unsynced(self) -> bool:
        """Whether there is anything to sync, or to repeat."""
        return bool(self._held[1])

    def append(self, payloads: list[bytes], last_seq: int, *, sync: bool) -> None:
        """Writes payloads, the last operation of which has this seq, and syncs.

        Raises:
            FailedError: The tries are used up.
        """
        fresh = payloads
        for left in reversed(range(LOG_TRIES)):
            try:
                if not self._is_sound:
                    self._poison()
                lines = self._make_room(fresh)
                # From here on a segment may hold them: they keep their seqs, and are repeated until one is synced.
                self._held = (last_seq, self._held[1] + fresh)
                fresh = []
                self._is_sound = False
                self._write(lines)
                if sync:
                    self._sync()
                self._has_lent = not sync
                self._is_sound = True
            except OSError as error:
                self._poison()
                if not left or error.errno in _NO_ROOM or isinstance(error, TakenError):
                    raise FailedError(error, touched=not fresh) from error
            else:
                return

    def _make_room(self, fresh: list[bytes]) -> list[bytes]:
        """What is to be written, for which there is a segment then."""
        if self._file is not None and self.offset >= SEGMENT_BYTES:
            if self._held[1]:
                self._sync()  # the next one says that everything before it is
            self.drop()
        if self._file is None:
            self._begin()
            opening = opening_payload(self._name(self.segment), str(self._resource), self._after)
            return [opening, *self._held[1], *fresh]
        return fresh

    def _write(self, payloads: list[bytes]) -> None:
        if payloads:
            lines, chain = [], self._chain
            for payload in payloads:
                line, chain = encode(payload, chain)
                lines.append(line)
            data = b"".join(lines)
            assert self._file is not None  # noqa: S101 - there is room
            self._file.write(data)
            self.offset, self._chain = self.offset + len(data), chain

    def _sync(self) -> None:
        assert self._file is not None  # noqa: S101 - there is something to sync
        self._file.sync()
        if not self._is_named:
            self._member.files.sync_dir(self._folder)
            self._is_named = True
        self._after = After(self.segment, self.offset, self._chain)
        self._held = (self.seq, [])

    def _begin(self) -> None:
        """Creates the next segment. A number is passed over only when its file is there: segment 1 always is (P27)."""
        files = self._member.files
        if not self._has_folder:
            make_dirs(files, self._member.places.resources, self._folder)
            self._has_folder = True
        self._is_sound = False
        while self._file is None:
            number = self._next
            was_in_doubt, self._in_doubt = self._in_doubt == number, number
            try:
                self._file = files.create(self._path(number))
            except FileExistsError as error:
                if not was_in_doubt:
                    raise TakenError(error.errno, error.strerror, error.filename) from error
                self._next += 1  # this log's own: it was created, and the reply was lost
        self.segment, self.offset, self._chain, self._is_named = self._next, 0, 0, False
        self._next += 1
        self._in_doubt = 0
        self._is_sound = True

    def _poison(self) -> None:
        """After an error: nothing more is written to this segment.

        One that never held anything that counts is removed, so that a disk that is full for a day is not littered; but
        not the first, by which a log is known to be whole at its beginning.
        """
        was_open = self._file is not None
        self.drop()
        self._is_sound = True  # there is no segment now
        self._has_folder = False
        counts = self._has_lent or (self._after is not None and self._after.segment == self.segment)
        if was_open and self.segment > 1 and not counts:
            remove_quietly(self._member.files, self._path(self.segment))

    def drop(self) -> None:
        """Closes the file; an error tells nothing new: what was acknowledged was synced before."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _name(self, segment: int) -> LogName:
        return LogName(self._member.agent, self.incarnation, segment)

    def _path(self, segment: int) -> str:
        return f"{self._folder}/{file_name(self._name(segment))}"
