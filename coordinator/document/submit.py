"""An agent's side of an operation: into its own log, then waiting to learn what became of it (P24, P25).

When ``submit`` has appended, the operation is *durable*: it will be folded, whoever dies. Then it waits for a fold line
that holds its outcome. Waiters fold themselves when nobody else does: whoever has folded last has the state in memory
and goes first; one that would have to read up leaves it a moment, so that a crowd has one compactor at a time, and that
one's death costs the crowd that moment.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordinator.clock import elapsed_max_ms
from coordinator.document.fold import AGAIN, APPLIED, EXACT, REJECTED
from coordinator.document.revision import LineGoneError, Lines, dump_json, is_fenced_in, is_whole, outcome_in
from coordinator.document.state import Loader
from coordinator.events import Event
from coordinator.limits import LEAD_AFTER_MS, POLL_MAX_MS, QUEUE_WAIT_MAX_MS, SYNC_AFTER_MS
from coordinator.log.writer import LogWriter
from coordinator.record.mount import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coordinator.clock import Instant
    from coordinator.document.compactor import Compactor, Folded
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import FoldAt, Record

DURABLE = "durable"
_SEEN_KEEP_MS = 50  # the lines since then are read in search of an outcome


@dataclass(frozen=True, slots=True)
class OperationReceipt:
    """What became of one operation (P25).

    Attributes:
        op_id: The operation's id: with it a retry, from whatever process, is recognised.
        state: ``applied``; ``rejected``; or ``durable``: it is in the log and will be decided, but was not in the time
            that was waited.
        revision: The revision that applied or rejected it; 0 while it is durable only.
        result: What an applied operation gave.
        why: Why it was rejected, as one word.
        text: The same as a sentence.
        winner: Who was first, when somebody was.
        facts: More about a rejection.
        again: Whether it had been decided before, and this was a retry.
    """

    op_id: str
    state: str
    revision: int = 0
    result: Any = None
    why: str = ""
    text: str = ""
    winner: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    again: bool = False


class _Pending:
    """The operations of one call, and how far it has looked for their outcomes."""

    def __init__(self, ids: Sequence[str], seen: FoldAt | None) -> None:
        self.ids = list(ids)
        self.seen = seen
        self.found: dict[str, OperationReceipt] = {}
        self.incarnation = ""
        self.last_seq = 0
        self.fenced = False
        self.published_here = True
        self.n = 0  # of the newest record that outcomes were found by
        self.is_synced = True
        self.progress: Instant | None = None

    @property
    def missing(self) -> list[str]:
        return [op_id for op_id in self.ids if op_id not in self.found]

    def take(self, line: bytes, revision: int) -> None:
        """Looks for outcomes in a line, and whether the log that they are in was fenced."""
        for op_id in self.missing:
            found = outcome_in(line, op_id)
            if found is not None:
                self.found[op_id] = _receipt(op_id, found[4], found[5], revision)
        self.fenced = self.fenced or is_fenced_in(line, self.incarnation)


def _receipt(op_id: str, outcome: str, info: Any, revision: int, *, again: bool = False) -> OperationReceipt:
    if outcome == APPLIED:
        return OperationReceipt(op_id, APPLIED, revision, info, again=again)
    if outcome == REJECTED:
        facts = {key: value for key, value in info.items() if key not in {"why", "text", "winner"}}
        return OperationReceipt(
            op_id, REJECTED, revision, None, info["why"], info["text"], info.get("winner", ""), facts, again
        )
    return OperationReceipt(op_id, AGAIN, info[0], info[1], again=True)


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
        self._guard = threading.Lock()
        self._seen: tuple[Instant | None, Record | None] = (None, None)
        self._is_local = member.files.is_local(member.places.root)
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
        record = self._lately_seen(began)
        pending = _Pending(ids, record.fold if record else None)
        # Those who wait are told when their operation is in a revision, which is synced: on a local disk, where everybody
        # sees what is written, their log need not be. Syncing it would make the fold's own syncs wait in line.
        pending.is_synced = not (wait_ms and self._is_local)
        self._append(pending, operations, again=again)
        pending.progress = self._member.clock.now()
        while True:
            self._look(pending, record)
            if pending.fenced and pending.missing:
                self._resubmit(pending, operations)
                continue
            if wait_ms == 0:
                if self._is_safe(pending):
                    break
                continue
            waited_ms = elapsed_max_ms(began, self._member.clock.now())
            if not pending.missing or (waited_ms >= wait_ms > 0):
                break
            self._wait(pending, record, wait_ms - waited_ms)
            record = self._read()
        self._make_sure(pending)
        if pending.found:
            self._typical_ms += 0.1 * (elapsed_max_ms(began, self._member.clock.now()) - self._typical_ms)
        return [self._told(pending, op_id) for op_id in pending.ids]

    def close(self) -> None:
        """Ends this process's log (P27): it is collected as soon as it is folded."""
        self._writer.close()

    def _lately_seen(self, now: Instant) -> Record | None:
        """The record from which on outcomes are looked for: anything from before the operations are appended will do."""
        at, record = self._seen
        if at is not None and elapsed_max_ms(at, now) < _SEEN_KEEP_MS:
            return record
        return self._read()

    def _read(self) -> Record | None:
        record = self._member.store.read(self._resource)
        self._seen = (self._member.clock.now(), record)
        return record

    # ── into the log ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _append(self, pending: _Pending, operations: Sequence[dict[str, Any]], *, again: bool) -> None:
        at_ms = self._member.clock.now().wall_ns // 1_000_000
        wanted = {*pending.missing}
        entries = []
        for op_id, op in zip(pending.ids, operations, strict=True):
            if op_id in wanted:
                frame = {"id": op_id, "at": at_ms, "op": op}
                if again:
                    frame["again"] = True
                entries.append(_encode(frame))
        written = self._writer.append(entries, sync=pending.is_synced)
        pending.incarnation, pending.last_seq, pending.fenced = written.incarnation, written.last_seq, False

    def _resubmit(self, pending: _Pending, operations: Sequence[dict[str, Any]]) -> None:
        """The log was fenced or set aside after the operations were synced: they go into a new one, same ids (P27)."""
        self._writer.restart(pending.incarnation)
        self._append(pending, operations, again=True)
        event = Event("resubmitted", str(self._resource), self._member.agent, detail={"operations": pending.missing})
        self._member.events.tell(event)

    def _is_safe(self, pending: _Pending) -> bool:
        """For those who do not wait: whether the log is still one that is read (P27)."""
        files, places = self._member.files, self._member.places
        folder = places.of(self._resource, "log")
        try:
            names = files.listdir(folder)
        except OSError as error:
            raise unavailable(error, self._resource, "listing the logs of", outcome_unknown=True) from error
        if any(f".{pending.incarnation}." in name for name in names) or not pending.missing:
            return True
        pending.fenced = True
        return False

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _wait(self, pending: _Pending, record: Record | None, left_ms: int) -> None:
        """Folds, if it is this one's to do; else pauses."""
        assert pending.progress is not None  # noqa: S101 - set when it was appended
        idle_ms = elapsed_max_ms(pending.progress, self._member.clock.now())
        if idle_ms > SYNC_AFTER_MS and not pending.is_synced:
            self._writer.sync()
            pending.is_synced = True
        leads = self._compactor.is_current(record) or idle_ms >= max(LEAD_AFTER_MS, 2 * self._typical_ms)
        if leads:
            with self._member.store.turn(self._resource, wait_ms=0) as has_turn:
                # Without the turn only when whoever has it seems to be frozen: P1 decides between the two.
                folded = self._compactor.fold_once(has_turn=True) if has_turn or idle_ms >= QUEUE_WAIT_MAX_MS else None
            if folded is not None and folded.revision:
                self._folded(folded)
                return
        pause_ms = min(max(self._typical_ms / 4, idle_ms / 8, 0.2), POLL_MAX_MS, left_ms)
        self._member.clock.pause(pause_ms * random.uniform(0.7, 1.3))

    def _look(self, pending: _Pending, record: Record | None) -> None:
        """Reads the fold lines that came since the last look."""
        place = record.fold if record else None
        if place is None or place == pending.seen or record is None:
            return
        pending.progress = self._member.clock.now()
        pending.published_here, pending.n = self._compactor.has_published(place), record.n
        after = pending.seen.revision if pending.seen else 0
        try:
            for at, line in Lines(self._member, self._resource).raw_back(place, after=after):
                if not is_whole(line):
                    raise LineGoneError(at.name)
                pending.take(line, at.revision)
        except LineGoneError:
            self._look_up(pending, record)
        pending.seen = place

    def _look_up(self, pending: _Pending, record: Record) -> None:
        """The lines in between are collected: what the state remembers will have to do."""
        state = Loader(self._member, self._resource).up_to(None, record)
        for op_id in pending.missing:
            if op_id in state.ids:
                revision, outcome = state.ids[op_id]
                gone = {"why": "gone", "text": "the details of this outcome were collected"}
                pending.found[op_id] = _receipt(op_id, outcome, gone if outcome == REJECTED else None, revision)
        position = state.positions.get(pending.incarnation)
        pending.fenced = position is not None and position.state != "open"

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
        record = self._member.store.read(self._resource)
        state = Loader(self._member, self._resource)
        if record is not None and record.fold is not None:
            newest = state.lines.read(record.fold)
            for line in state.lines.walk(newest.at):
                if line.at.revision == receipt.revision:
                    for op_id, _, _, _, outcome, info, _ in line.body["ops"]:
                        if op_id == receipt.op_id and outcome != AGAIN:
                            return _receipt(op_id, outcome, info, line.at.revision, again=True)
                if line.at.revision < receipt.revision:
                    break
        gone = {"why": "gone", "text": "the details of this outcome were collected"}
        info = gone if receipt.result == REJECTED else None
        return _receipt(receipt.op_id, str(receipt.result), info, receipt.revision, again=True)


def _encode(frame: dict[str, Any]) -> bytes:
    text, is_exact = dump_json(frame)
    return text[:-1] + b"," + EXACT + b"}" if is_exact else text


__all__ = ["DURABLE", "OperationReceipt", "Submissions"]
