"""An agent's side of an operation: into its own log, then waiting to learn what became of it (P24, P25).

When ``submit`` has appended, the operation is *durable*: it will be folded, whoever dies. Then it waits for a fold line
that holds its outcome. Waiters fold themselves when nobody else does: whoever has folded last has the state in memory
and goes first; one that would have to read up leaves it a moment, so that a crowd has one compactor at a time, and that
one's death costs the crowd that moment.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

from coordinator.clock import elapsed_max_ms
from coordinator.document.fold import AGAIN, EXACT
from coordinator.document.receipt import DURABLE, OperationReceipt, receipt_of, receipt_without_details
from coordinator.document.revision import (
    LineGoneError,
    Lines,
    decided_at,
    dump_json,
    is_fenced_in,
    is_whole,
    outcome_in,
)
from coordinator.document.state import Loader
from coordinator.errors import StoreUnavailable
from coordinator.events import Event
from coordinator.limits import (
    FAR_LEAD_AFTER_MAX_MS,
    FAR_POLL_MAX_MS,
    FOLD_PATIENCE_MAX_MS,
    FOLD_STUCK_PATIENCE_MAX_MS,
    LEAD_AFTER_MAX_MS,
    LEAD_AFTER_MS,
    POLL_MAX_MS,
    QUEUE_STUCK_WAIT_MAX_MS,
    QUEUE_WAIT_MAX_MS,
    READ_UP_BYTES_PER_MS,
    READ_UP_MAX_MS,
)
from coordinator.log.keep import log_files
from coordinator.log.opening import parse_file_name
from coordinator.log.writer import LogWriter
from coordinator.record.record import FoldAt
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coordinator.clock import Instant
    from coordinator.document.compactor import Compactor, Folded
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record

_UNKNOWN = FoldAt(0, "", 0, 0, 0)  # no line was looked at yet


class _Pending:
    """The operations of one call, and how far it has looked for their outcomes."""

    def __init__(self, ids: Sequence[str], seen: FoldAt | None) -> None:
        self.ids = list(ids)
        self.seen = seen
        self.found: dict[str, OperationReceipt] = {}
        self.incarnation = ""
        self.fenced = False
        self.published_here = True
        self.n = 0  # of the newest record that outcomes were found by
        self.is_synced = True
        self.folded: Record | None = None  # published here just now: it need not be read again
        self.progress: Instant | None = None
        self.has_met = False  # somebody else is at work

    @property
    def missing(self) -> list[str]:
        return [op_id for op_id in self.ids if op_id not in self.found]

    def take(self, line: bytes, revision: int) -> None:
        """Looks for outcomes in a line, and whether the log that they are in was fenced."""
        for op_id in self.missing:
            found = outcome_in(line, op_id)
            if found is not None:
                self.found[op_id] = receipt_of(op_id, found[4], found[5], revision)
        self.fenced = self.fenced or is_fenced_in(line, self.incarnation)


class Submissions:
    """Submits one process's operations on one document. Thread-safe; a forked child has a log of its own.

    Args:
        member: Whose.
        resource: On what.
        compactor: Folds when nobody else does.
        folded: Called without any lock after a fold was published here.
    """

    def __init__(
        self, member: Member, resource: Resource, compactor: Compactor, folded: Callable[[Folded], None]
    ) -> None:
        self._member = member
        self._resource = resource
        self._compactor = compactor
        self._folded = folded
        self._writer = LogWriter(member, resource)
        self._scanned: FoldAt | None = _UNKNOWN  # up to where the lines were looked through for a fence of this log
        self._is_stuck = False
        self._is_local = member.files.is_local(member.places.root)
        self._record: Record | None = None  # the newest that was seen here
        self._size_bytes: int | None = None  # of the document
        self._typical_ms = 1.0  # how long an operation waited lately

    def submit(
        self, operations: Sequence[dict[str, Any]], ids: Sequence[str], *, wait_ms: int, again: bool = False
    ) -> list[OperationReceipt]:
        """Appends operations and waits for their outcomes.

        Args:
            operations: Checked ones.
            ids: An id for each.
            wait_ms: How long at most; 0: return as soon as they are durable.
            again: They may have been submitted before, under the same ids.

        Returns:
            A receipt for each, in order.

        Raises:
            StoreUnavailable: With ``outcome_unknown``, submit again under the same ids with ``again``.
            NewerFormat: A log holds what this version does not know. The operations are durable.
        """
        began = self._member.clock.now()
        if self._scanned is _UNKNOWN:  # before this log has any file: a fence of it can only come after this
            record = self._read()
            self._scanned = record.fold if record else None
        pending = _Pending(ids, self._scanned)
        # Those who wait are told when their operation is in a revision, which is synced: on a local disk, where
        # everybody sees what is written, their log need not be, and its syncs would hold up the fold's own.
        pending.is_synced = not (wait_ms and self._is_local)
        self._append(pending, operations, again=again)
        try:
            self._follow(pending, operations, began, wait_ms)
        except BaseException as error:
            with contextlib.suppress(StoreUnavailable):
                self._writer.sync()  # it goes to its caller as durable, or unknown
            if isinstance(error, StoreUnavailable):
                error.outcome_unknown = True
            raise
        return [self._told(pending, op_id) for op_id in pending.ids]

    def _follow(self, pending: _Pending, operations: Sequence[dict[str, Any]], began: Instant, wait_ms: int) -> None:
        """Waits for the outcomes of what was appended, as long as it may."""
        pending.progress = self._member.clock.now()
        if wait_ms and self._compactor.is_current(self._record):
            self._fold(pending)  # nothing to look at before
        while True:
            record, pending.folded = pending.folded or self._read(), None
            self._look(pending, record)
            if pending.fenced and pending.missing:
                self._append(pending, operations, again=True)
                names = pending.missing
                self._member.events.tell(
                    Event("resubmitted", str(self._resource), self._member.agent, detail={"operations": names})
                )
                continue
            waited_ms = elapsed_max_ms(began, self._member.clock.now())
            if not pending.missing or waited_ms >= wait_ms:
                break
            self._wait(pending, record, wait_ms - waited_ms)
        self._make_sure(pending)
        if pending.found:
            self._typical_ms += 0.1 * (elapsed_max_ms(began, self._member.clock.now()) - self._typical_ms)

    def close(self) -> None:
        """Ends this process's log (P27): it is collected as soon as it is folded."""
        self._writer.close()

    def _read(self) -> Record | None:
        self._record = self._member.store.read(self._resource)
        return self._record

    # ── into the log ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _append(self, pending: _Pending, operations: Sequence[dict[str, Any]], *, again: bool) -> None:
        at_ms = self._member.clock.now().wall_ns // 1_000_000
        wanted = {*pending.missing}
        entries = [
            payload_of(op_id, op, at_ms, again=again)
            for op_id, op in zip(pending.ids, operations, strict=True)
            if op_id in wanted
        ]
        written = self._writer.append(entries, sync=pending.is_synced)
        pending.incarnation, pending.fenced = written.incarnation, False

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _leads(self, pending: _Pending, record: Record | None) -> bool:
        """Whether it is this one's to fold: it need not read up first, or nobody else did for a while.

        Who has to read the whole document first waits about as long as that takes. When eight processes each took
        over at the first hitch of another, reading it was a third of what all of them did (measured, 1.5 MB).
        """
        if self._compactor.is_current(record):
            return True
        assert pending.progress is not None  # noqa: S101 - set when it was appended
        idle_ms: float = elapsed_max_ms(pending.progress, self._member.clock.now())
        patience_ms = min(max(LEAD_AFTER_MS, 2 * self._typical_ms), LEAD_AFTER_MAX_MS)
        if not self._is_local:  # there a try for the turn is three round trips, which whoever has it needs, too
            longest_ms = FAR_LEAD_AFTER_MAX_MS * random.uniform(0.8, 1.6)
            patience_ms = min(max(LEAD_AFTER_MS, 1.2 * self._typical_ms * random.uniform(0.8, 1.6)), longest_ms)
        elif not pending.has_met:  # it may be alone
            idle_ms = max(idle_ms, self._age_ms(record))
        return idle_ms >= patience_ms + self._read_up_ms()

    def _read_up_ms(self) -> float:
        """About how long reading up takes, before a first fold here: nothing once the state is in memory."""
        if self._compactor.state is not None:
            return 0
        if self._size_bytes is None:  # as the plain file has it: near enough, and one look
            try:
                self._size_bytes = self._member.files.stat(f"{self._member.places.root}/{self._resource}").size_bytes
            except OSError:
                self._size_bytes = 0
        return min(self._size_bytes / READ_UP_BYTES_PER_MS, READ_UP_MAX_MS)

    def _age_ms(self, record: Record | None) -> float:
        """For how long nobody has changed the document, by this host's clock, about."""
        return self._member.clock.now().wall_ns / 1_000_000 - record.at_ms if record else READ_UP_MAX_MS * 2

    def _fold(self, pending: _Pending) -> bool:
        """Folds, if the turn can be had; whether that made a revision."""
        assert pending.progress is not None  # noqa: S101 - as above
        with self._member.store.turn(self._resource, wait_ms=0) as has_turn:
            idle_ms = elapsed_max_ms(pending.progress, self._member.clock.now())
            if not has_turn and idle_ms < self._turn_patience_ms():
                pending.has_met = True
                return False
            # Without the turn only when whoever has it seems to be frozen: P1 decides between the two. Once waited for
            # in vain it is waited for only shortly, until it could be had again, as for any other turn.
            self._is_stuck = not has_turn
            folded = self._compactor.fold_once(has_turn=True)
        if folded.revision:
            self._folded(folded)
            pending.folded = self._record = folded.record
        return folded.revision > 0

    def _turn_patience_ms(self) -> float:
        """How long a turn that cannot be had is waited for, without news.

        Longer where operations take long: whoever is slow is not frozen. And never the same for two waiters, so that
        one folds without the turn and the others see its revision: all at once they beat each other, and all starve
        (measured: five folds for one that stood with 24 agents on NFS, twenty with 256 on one host).
        """
        least_ms = QUEUE_STUCK_WAIT_MAX_MS if self._is_stuck else QUEUE_WAIT_MAX_MS
        most_ms = FOLD_STUCK_PATIENCE_MAX_MS if self._is_stuck else FOLD_PATIENCE_MAX_MS
        return min(max(least_ms, 2 * self._typical_ms), most_ms) * random.uniform(1, 3) + self._read_up_ms()

    def _wait(self, pending: _Pending, record: Record | None, left_ms: int) -> None:
        """Folds, if it is this one's to do; else pauses."""
        assert pending.progress is not None  # noqa: S101 - as above
        idle_ms = elapsed_max_ms(pending.progress, self._member.clock.now())
        if self._leads(pending, record) and self._fold(pending):
            return
        if self._is_local:
            pause_ms = min(max(self._typical_ms / 4, idle_ms / 8, 0.2), POLL_MAX_MS, left_ms)
        else:  # a look is a round trip: the first when news are due, then more often
            due_ms = 0.7 * self._typical_ms - idle_ms
            pause_ms = min(max(due_ms, self._typical_ms / 6, idle_ms / 8, 1), FAR_POLL_MAX_MS, left_ms)
        self._member.clock.pause(pause_ms * random.uniform(0.7, 1.3))

    def _look(self, pending: _Pending, record: Record | None) -> None:
        """Reads the fold lines that came since the last look: for outcomes, and for a fence of this log (P27)."""
        place = record.fold if record else None
        if place is None or place == pending.seen or record is None:
            return
        pending.progress = self._member.clock.now()
        published = self._compactor.line_at(place)
        pending.published_here, pending.n = published is not None, record.n
        after = pending.seen.revision if pending.seen else 0
        try:
            for at, line in Lines(self._member, self._resource).raw_back(place, after=after, newest=published):
                if not is_whole(line):
                    raise LineGoneError(at.name)
                pending.take(line, at.revision)
        except LineGoneError:
            self._look_up(pending, record)
        pending.seen = place
        if pending.fenced:
            self._writer.restart(pending.incarnation)
        # Only now: whoever takes this place over writes to the log that is begun next.
        if self._scanned is None or self._scanned.revision < place.revision:
            self._scanned = place

    def _look_up(self, pending: _Pending, record: Record) -> None:
        """The lines in between are collected: what the state remembers will have to do."""
        state = Loader(self._member, self._resource).up_to(None, record)
        for op_id in pending.missing:
            if op_id in state.ids:
                revision, outcome = state.ids[op_id]
                pending.found[op_id] = receipt_without_details(op_id, outcome, revision)
        position = state.positions.get(pending.incarnation)
        if position is not None:
            pending.fenced = position.state != "open"
            return
        try:  # not folded yet, or retired, deleted and forgotten
            names = map(parse_file_name, log_files(self._member, self._resource, pending.incarnation))
            # What is not folded yet has its first segment; a later one may have been begun after the rest was deleted.
            pending.fenced = not any(name is not None and name.segment == 1 for name in names)
        except OSError as error:
            raise unavailable(error, self._resource, "listing the logs of", outcome_unknown=True) from error

    def _make_sure(self, pending: _Pending) -> None:
        """What is acknowledged must outlive a power failure: neither log nor record may be synced yet."""
        if pending.found and not pending.published_here:
            self._member.store.make_durable(self._resource, pending.n)
        if pending.missing and not pending.is_synced:
            self._writer.sync()

    def _told(self, pending: _Pending, op_id: str) -> OperationReceipt:
        receipt = pending.found.get(op_id)
        if receipt is None:
            return OperationReceipt(op_id, DURABLE)
        return self._first(receipt) if receipt.state == AGAIN else receipt

    def _first(self, receipt: OperationReceipt) -> OperationReceipt:
        """The receipt of the first time, for an operation that was tried again."""
        record = self._read()
        newest = record.fold if record else None
        found = decided_at(Lines(self._member, self._resource), newest, receipt.op_id, receipt.revision)
        if found is not None:
            return receipt_of(receipt.op_id, *found, receipt.revision, again=True)
        return receipt_without_details(receipt.op_id, str(receipt.result), receipt.revision)


def payload_of(op_id: str, op: dict[str, Any], at_ms: int, *, again: bool) -> bytes:
    """An operation as the JSON of a frame, without its seq."""
    frame = {"id": op_id, "at": at_ms, "op": op}
    if again:
        frame["again"] = True
    text, is_exact = dump_json(frame)
    return text[:-1] + b"," + EXACT + b"}" if is_exact else text


__all__ = ["DURABLE", "OperationReceipt", "Submissions", "payload_of"]
