"""One process's own log of one document: what it appends is durable when the call returns (P19 to P21).

Below a resource's state folder, one writer each, ever (opening.py tells the names, frame.py the lines)::

    log/<agent>.<incarnation>.<segment, 6 digits>.log

The incarnation is the log's own, 100 fresh random bits: a process has one log after the other when it is fenced, and a
forked child begins one of its own. A segment is left for the next one at SEGMENT_BYTES, and after any error.

*Group commit* (P20): whoever comes first writes and syncs; those who come meanwhile queue up, and the first of them
does the same for all. Nobody waits for more than the sync under way and the one that covers it.

*Errors* (P21). After an error nobody knows what the end of a segment holds, or will hold after a power failure. So
nothing more is written to it, and the next segment says where its synced part ended and repeats all that came after,
byte for byte, under the same seqs. It is *repeated, never dropped*: a reader may have seen and folded it already, and
would take anything else under its seq for the same. When the tries of one call are used up, its caller is told that the
outcome is unknown, and the next append, or ``close``, begins with what was left. Only what was never given to any
segment (no file could be created) is taken back, and its caller is told that it was not done.

``restart`` alone drops what was left, for the log is not read any further then, and a caller who was told "unknown"
submits again under the same ids.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from coordinator.errors import BadValue, CoordinatorError, StoreUnavailable
from coordinator.files import make_dirs, remove_quietly
from coordinator.limits import FRAME_MAX_BYTES, LOG_TRIES, SEGMENT_BYTES
from coordinator.log.frame import encode, too_long
from coordinator.log.opening import After, LogName, file_name, opening_payload
from coordinator.names import new_id
from coordinator.record.mount import is_out_of_room, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.files import NewFile
    from coordinator.names import Resource
    from coordinator.record.member import Member

_SEQ_MAX_BYTES = len(b'"seq":18446744073709551615,')


class Written(NamedTuple):
    """Where appended operations stand."""

    incarnation: str
    first_seq: int
    last_seq: int
    segment: int
    end: int


class _FailedError(Exception):
    """An append failed for good. ``touched``: a segment may hold what was to be appended."""

    def __init__(self, error: OSError, *, touched: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.touched = touched


class _TakenError(OSError):
    """The name of the next segment is another's."""


class _Log:
    """The log of one incarnation. Not thread-safe: one thread at a time leads.

    Attributes:
        incarnation: Whose; nobody else's, ever.
        seq: Of the last operation that a segment may hold.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self.incarnation = new_id()
        self.seq = 0
        self._member = member
        self._resource = resource
        self._folder = member.places.of(resource, "log")
        self._has_folder = False
        self._after: After | None = None  # up to where everything is synced
        self._unsynced: list[bytes] = []  # what came after that
        self._file: NewFile | None = None
        self._is_named = False  # whether the newest segment's name is synced
        self._in_doubt = 0  # a segment that could not be created, and may be there nonetheless
        self._chain = 0
        self.segment = 0
        self.offset = 0

    @property
    def is_begun(self) -> bool:
        """Whether anything of it may be in a file."""
        return self.segment > 0

    def append(self, payloads: list[bytes], last_seq: int, *, sync: bool) -> None:
        """Writes payloads, the last operation of which has this seq, and syncs.

        Raises:
            _FailedError: The tries are used up.
        """
        fresh = payloads
        for left in reversed(range(LOG_TRIES)):
            try:
                lines = self._make_room(fresh)
                # From here on a segment may hold them: they keep their seqs.
                self._unsynced += fresh
                self.seq, fresh = last_seq, []
                self._write(lines)
                if sync:
                    self._sync()
            except OSError as error:
                self._poison()
                if not left or is_out_of_room(error) or isinstance(error, _TakenError):
                    raise _FailedError(error, touched=not fresh) from error
            except BaseException:
                self._poison()
                raise
            else:
                return

    def _make_room(self, fresh: list[bytes]) -> list[bytes]:
        """What is to be written, for which there is a segment then."""
        if self._file is not None and self.offset >= SEGMENT_BYTES:
            if self._unsynced:
                self._sync()  # the next one says that everything before it is
            self.drop()
        if self._file is None:
            self._begin()
            opening = opening_payload(self._name(self.segment), str(self._resource), self._after)
            return [opening, *self._unsynced, *fresh]
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
        self._unsynced = []

    def _begin(self) -> None:
        """Creates the next segment. A number is passed over only when its file is there: segment 1 always is (P27)."""
        files = self._member.files
        if not self._has_folder:
            make_dirs(files, self._member.places.resources, self._folder)
            self._has_folder = True
        number = self.segment + 1
        while self._file is None:
            try:
                self._file = files.create(self._path(number))
            except FileExistsError as error:
                if self._in_doubt != number:
                    raise _TakenError(error.errno, error.strerror, error.filename) from error
                number += 1  # this log's own: it was created, and the reply was lost
            except OSError:
                self._in_doubt = number
                raise
        self.segment, self.offset, self._chain, self._is_named = number, 0, 0, False

    def _poison(self) -> None:
        """After an error: nothing more is written to this segment.

        One that never held anything durable is removed, so that a disk that is full for a day is not filled with them;
        but not the first, by which a log is known to be whole at its beginning.
        """
        was_open = self._file is not None
        self.drop()
        self._has_folder = False
        if was_open and self.segment > 1 and (self._after is None or self._after.segment < self.segment):
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


class _Call:
    """A call that waits for its turn or its outcome."""

    __slots__ = ("failure", "gate", "is_end", "ops", "sync", "written")

    def __init__(self, ops: Sequence[bytes], *, sync: bool, is_end: bool = False) -> None:
        self.ops = ops
        self.sync = sync
        self.is_end = is_end
        self.gate: threading.Lock | None = None  # opened when it is done, or to lead
        self.written: Written | None = None
        self.failure: _FailedError | None = None


class LogWriter:
    """Appends to this process's own log. Thread-safe; a forked child goes on in a log of its own.

    Args:
        member: Whose log.
        resource: Of which document.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self._guard = threading.Lock()
        self._queue: list[_Call] = []
        self._is_led = False
        self._log: _Log | None = None
        self._closed = False
        member.also_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the log is the parent's, and so are those who wait (P19)."""
        self._guard = threading.Lock()
        self._queue = []
        self._is_led = False
        log, self._log = self._log, None
        if log is not None:
            log.drop()

    @property
    def incarnation(self) -> str:
        """Under which this process writes now."""
        with self._guard:
            return self._current().incarnation

    # ── appending ────────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, ops: Sequence[bytes], *, sync: bool = True) -> Written:
        """Appends operations; one sync covers all that wait (P20).

        Args:
            ops: The JSON object of each frame, compact, without its seq.
            sync: Return when they survive a power failure. Without: when other processes of this host can read them;
                ``sync()``, or any append that syncs, makes up for it.

        Raises:
            BadValue: One is too long or no JSON object, or the log was closed. Nothing was appended.
            StoreUnavailable: With ``outcome_unknown``, they may be folded; the next append repeats them, under the same
                seqs, before anything else.
        """
        for op in ops:
            if len(op) + _SEQ_MAX_BYTES > FRAME_MAX_BYTES:
                raise too_long(len(op))
            encode(op, 0)  # says what is wrong with it to its own caller, not to those in the same group
        return self._run(_Call(ops, sync=sync))

    def sync(self) -> None:
        """Makes durable what was appended without. Raises StoreUnavailable."""
        if self._log is not None:
            self._run(_Call((), sync=True))

    def _run(self, call: _Call) -> Written:
        with self._guard:
            if self._closed and not call.is_end:
                hint = "open the document anew"
                raise BadValue("this log was closed", argument="log", value=str(self._resource), hint=hint)
            self._queue.append(call)
            leads = not self._is_led
            self._is_led = True
            if not leads:
                call.gate = threading.Lock()
                call.gate.acquire()
        if call.gate is not None:
            self._await(call, call.gate)
        if call.written is None and call.failure is None:
            self._lead()
        if call.failure is not None:
            raise self._told(call.failure)
        assert call.written is not None  # noqa: S101 - it was led, or failed
        return call.written

    def _await(self, call: _Call, gate: threading.Lock) -> None:
        """Waits until the call is done, or is to lead."""
        try:
            gate.acquire()
        except BaseException:  # interrupted: nobody is left to lead in its name
            with self._guard:
                if call in self._queue:
                    self._queue.remove(call)
                    if gate.acquire(blocking=False):
                        self._hand_on()
            raise

    def _lead(self) -> None:
        """Writes all that is queued, and lets those who wait know."""
        with self._guard:
            calls, self._queue = self._queue, []
            log = self._current()
        try:
            self._write(log, calls)
        except BaseException as error:  # of this thread alone; the others' operations are in the same writing
            lost = _FailedError(InterruptedError(4, f"interrupted by {type(error).__name__}"), touched=True)
            for call in calls:
                call.failure = lost
            raise
        finally:
            with self._guard:
                for call in calls:
                    if call.gate is not None:
                        call.gate.release()
                self._hand_on()
                is_left = self._log is not log
            if is_left:
                log.drop()

    def _hand_on(self) -> None:
        """The next in the queue leads. Under the guard."""
        if self._queue:
            gate = self._queue[0].gate
            assert gate is not None  # noqa: S101 - it came while another led
            gate.release()
        else:
            self._is_led = False

    def _write(self, log: _Log, calls: list[_Call]) -> None:
        payloads: list[bytes] = []
        seq = log.seq
        for call in calls:
            for op in call.ops:
                seq += 1
                payloads.append(b'{"seq":%d,%b' % (seq, op[1:]))
            if call.is_end and (log.is_begun or payloads):
                payloads.append(b'{"end":{"seq":%d}}' % seq)
        first = log.seq + 1
        try:
            if payloads or log.is_begun:
                log.append(payloads, seq, sync=any(call.sync for call in calls))
        except _FailedError as failure:
            if isinstance(failure.error, _TakenError):
                self._leave(log)
            for call in calls:
                call.failure = failure
            return
        for call in calls:
            last = first + len(call.ops) - 1
            call.written = Written(log.incarnation, first, last, log.segment, log.offset)
            first = last + 1

    def _current(self) -> _Log:
        """The log that is written to, under the guard."""
        if self._log is None:
            self._log = _Log(self._member, self._resource)
        return self._log

    def _told(self, failure: _FailedError) -> CoordinatorError:
        """The error for one caller; each has its own."""
        error = failure.error
        if not isinstance(error, _TakenError):
            doing = "appending to the log of"
            told: CoordinatorError = unavailable(error, self._resource, doing, outcome_unknown=failure.touched)
        else:
            told = StoreUnavailable(
                f"appending to the log of {str(self._resource)!r} failed: its next file is there already, and it is "
                f"not this process's: {error.filename}",
                resource=str(self._resource),
                cause="EEXIST: File exists",
                outcome_unknown=failure.touched,
                hint="was this machine, or the folder, copied while it was in use? Trying again begins a fresh log",
            )
        told.__cause__ = error
        return told

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def restart(self, incarnation: str = "") -> None:
        """Leaves a log that was fenced or set aside, without an end; the next append begins another.

        Args:
            incarnation: Only if it is this one's: another thread may have done so already.
        """
        with self._guard:
            log = self._log
            if log is None or incarnation not in {"", log.incarnation}:
                return
            self._log = None
            is_led = self._is_led  # whoever leads closes it
        if not is_led:
            log.drop()

    def _leave(self, log: _Log) -> None:
        with self._guard:
            if self._log is log:
                self._log = None

    def close(self) -> None:
        """Says in the log that there will be no more (P27), as well as it can. A second call does nothing."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            if self._log is None and not self._is_led:
                return
        with contextlib.suppress(CoordinatorError):  # the log is retired instead
            self._run(_Call((), sync=True, is_end=True))
        self.restart()
