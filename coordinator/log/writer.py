"""One process's own log of one document: what it appends is durable when the call returns (P19 to P21).

Below a resource's state folder, one writer each, ever (opening.py tells the names, frame.py the lines)::

    log/<agent>.<incarnation>.<segment, 6 digits>.log

The incarnation is the log's own, 100 fresh random bits: a process begins another log when this one was fenced, and a
forked child has its own. A segment is left for the next one at SEGMENT_BYTES, and after any error (segments.py).

*Group commit* (P20): whoever comes first writes and syncs; those who come meanwhile queue up, and the first of them
does the same for all. Nobody waits for more than the sync under way and the one that covers it.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.errors import BadValue, CoordinatorError, StoreUnavailable
from coordinator.log.frame import check
from coordinator.log.segments import FailedError, Segments, TakenError
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.names import Resource
    from coordinator.record.member import Member

_SEQ_MAX_BYTES: Final = len(b'"seq":18446744073709551615,')


class Written(NamedTuple):
    """Where appended operations stand."""

    incarnation: str
    first_seq: int
    last_seq: int
    segment: int
    end: int


class _Call:
    """A call that waits for its turn or its outcome."""

    __slots__ = ("failure", "gate", "is_end", "ops", "sync", "written")

    def __init__(self, ops: Sequence[bytes], *, sync: bool, is_end: bool = False) -> None:
        self.ops = ops
        self.sync = sync
        self.is_end = is_end
        self.gate = threading.Lock()  # closed while it waits
        self.written: Written | None = None
        self.failure: FailedError | None = None


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
        self._leader: _Call | None = None
        self._log: Segments | None = None
        self._over: list[Segments] = []  # left, and to be closed by whoever leads
        self._closed = False
        member.also_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the log is the parent's, and so are those who wait (P19)."""
        self._guard = threading.Lock()
        self._queue = []
        self._leader = None
        over, self._over = self._over, []
        log, self._log = self._log, None
        for left in [*over, log] if log is not None else over:
            left.drop()

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
            check(op, _SEQ_MAX_BYTES)  # its own caller is told what is wrong with it, not those in the same group
        return self._run(_Call(ops, sync=sync))

    def sync(self) -> None:
        """Makes durable what was appended without. Raises StoreUnavailable."""
        if self._log is not None:
            self._run(_Call((), sync=True))

    def _run(self, call: _Call) -> Written:
        try:
            with self._guard:
                if self._closed and not call.is_end:
                    hint = "open the document anew"
                    raise BadValue("this log was closed", argument="log", value=str(self._resource), hint=hint)
                self._queue.append(call)
                if self._leader is None:
                    self._leader = call
                else:
                    call.gate.acquire()
            if self._leader is not call:
                call.gate.acquire()  # opened when it is done, or is to lead
            if self._leader is call:
                self._lead(call)
        except BaseException:  # interrupted, most likely: nobody else may wait for it to lead
            with self._guard:
                if call in self._queue:
                    self._queue.remove(call)
                self._hand_on(call)
            raise
        if call.failure is not None:
            raise self._told(call.failure)
        assert call.written is not None  # noqa: S101 - it was led, or failed
        return call.written

    def _lead(self, leader: _Call) -> None:
        """Writes all that is queued, and lets those who wait know."""
        with self._guard:
            calls, self._queue = self._queue, []
            log = self._current()
        try:
            self._write(log, calls)
        except BaseException as error:  # this thread's alone; but the others' operations are in the same writing
            text = f"the thread that wrote was interrupted by {type(error).__name__}"
            lost = FailedError(InterruptedError(errno.EINTR, text), touched=True)
            for call in calls:
                call.failure = lost
            raise
        finally:
            with self._guard:
                for call in calls:
                    if call is not leader:
                        call.gate.release()
                self._hand_on(leader)
                over, self._over = self._over, []
            for left in over:
                left.drop()

    def _hand_on(self, leader: _Call) -> None:
        """The next in the queue leads. Under the guard."""
        if self._leader is leader:
            self._leader = self._queue[0] if self._queue else None
            if self._leader is not None:
                self._leader.gate.release()

    def _write(self, log: Segments, calls: list[_Call]) -> None:
        payloads: list[bytes] = []
        seq = log.seq
        for call in calls:
            for op in call.ops:
                seq += 1
                payloads.append(b'{"seq":%d,%b' % (seq, op[1:]))
            if call.is_end and (log.is_begun or payloads):
                payloads.append(b'{"end":{"seq":%d}}' % seq)
        first = log.seq + 1
        sync = any(call.sync for call in calls)
        try:
            if payloads or (sync and log.has_unsynced):
                log.append(payloads, seq, sync=sync)
        except FailedError as failure:
            if isinstance(failure.error, TakenError):
                with self._guard:
                    self._leave(log)
            for call in calls:
                call.failure = failure
            return
        for call in calls:
            last = first + len(call.ops) - 1
            call.written = Written(log.incarnation, first, last, log.segment, log.offset)
            first = last + 1

    def _current(self) -> Segments:
        """The log that is written to, under the guard."""
        if self._log is None:
            self._log = Segments(self._member, self._resource)
        return self._log

    def _told(self, failure: FailedError) -> CoordinatorError:
        """The error for one caller; each has its own."""
        error = failure.error
        if not isinstance(error, TakenError):
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

        What was left of it to repeat is dropped: it is not read any further, and a caller who was told "unknown"
        submits again under the same ids.

        Args:
            incarnation: Only if it is this one's: another thread may have done so already.
        """
        with self._guard:
            log = self._log
            if log is None or incarnation not in {"", log.incarnation}:
                return
            self._leave(log)
            if self._leader is not None:
                return  # who closes it then
            over, self._over = self._over, []
        for left in over:
            left.drop()

    def _leave(self, log: Segments) -> None:
        """Under the guard."""
        if self._log is log:
            self._log = None
            self._over.append(log)

    def close(self) -> None:
        """Says in the log that there will be no more (P27), as well as it can. A second call does nothing."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            if self._log is None and self._leader is None:
                return
        with contextlib.suppress(CoordinatorError):  # the log is retired instead
            self._run(_Call((), sync=True, is_end=True))
        self.restart()
