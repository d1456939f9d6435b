"""Folding everybody's logs into the document: read, fold, publish once (P24).

Any number of processes may try at once. Whoever has the turn folds what all have appended; whoever is beaten at the
record puts its state back and looks again. What is read, decided and published is in this order, so that a crash
anywhere leaves operations in the logs, or a revision that tells how far they were folded:

    read the logs -> fold (pure) -> [checkpoint: the content, whole] -> fold line, synced -> record n + 1 -> tidy up
"""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.acquire import moved_error
from coordinator.clock import Instant, elapsed_max_ms, elapsed_min_ms
from coordinator.document.drain import Drain
from coordinator.document.fold import APPLIED, REJECTED, fold, order, parse
from coordinator.document.retire import remove_orphans, silent_logs
from coordinator.document.revision import FoldLog, Line, LineAt, encode_line
from coordinator.document.snapshot import Draft, sha256_of
from coordinator.document.state import Base, Loader, State, remember
from coordinator.errors import CoordinatorError, LeaseHeld, MalformedDocument, NewerFormat, StoreUnavailable
from coordinator.events import Event
from coordinator.limits import CHECKPOINT_FILES, CHECKPOINT_MIN_BYTES, FOLD_BATCH_BYTES
from coordinator.log.keep import locate
from coordinator.log.reader import LogReader, Position, quarantine, remove_logs
from coordinator.record.agree import Refusal, Spans, settle
from coordinator.record.decide import Put, Readings, Why, over_reason
from coordinator.record.record import FoldAt, Head
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from coordinator.document.fold import Operation
    from coordinator.log.reader import LogBatch
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record

OVER = frozenset({"ended", "quarantined"})
FOLDS_MAX = 1000  # for reading every log to its end: 1 GiB of them
_CLOCK_KEEP_MS = 1000  # how long the store's time is reckoned before it is asked anew


class Folded(NamedTuple):
    """What one fold did.

    Attributes:
        revision: What it made; 0 when there was nothing to fold.
        applied: Operations whose preconditions held.
        rejected: Operations that were refused.
        quarantined: Logs that were found damaged and set aside.
        waiting_for: Who holds the lease, when that is why nothing was published.
        record: The record that stands now, as far as it is known.
        checkpoint: Whether the content was written down whole: what came before can be tidied away.
    """

    revision: int = 0
    applied: int = 0
    rejected: int = 0
    quarantined: int = 0
    waiting_for: str = ""
    record: Record | None = None
    checkpoint: bool = False


class _Plan(NamedTuple):
    """What a fold is about to publish."""

    positions: dict[str, Position]
    gone: list[str]
    outcomes: list[list[Any]]
    quarantined: int
    left: list[str]  # logs that are over already, and whose files are there nonetheless
    advanced: dict[str, int]  # logs that go on in a later segment than they were folded to before


class Compactor:
    """Folds one document. Thread-safe.

    Args:
        member: Who folds.
        resource: Which document.
        adopt: Takes a plain file over that was never committed; returns the newest record.
        edits: Tells, under the turn, what somebody wrote into the plain file by hand, as operations (P17).
    """

    def __init__(
        self,
        member: Member,
        resource: Resource,
        *,
        adopt: Callable[[Record | None], Record | None],
        edits: Callable[[State, Record], Sequence[Operation]] = lambda _state, _record: (),
    ) -> None:
        self._member = member
        self._resource = resource
        self._adopt = adopt
        self._edits = edits
        self._loader = Loader(member, resource)
        self._reader = LogReader(member, resource)
        self._log = FoldLog(member, resource)
        self._drain = Drain(member, resource, member.table) if member.table is not None else None
        self.guard = threading.RLock()
        self._state: State | None = None
        self._asked: tuple[Instant, int] | None = None
        self._mark: tuple[int, int] = (0, 0)
        self._unread: set[str] = set()  # logs that the last fold did not read to their end
        self._published_line: tuple[FoldAt | None, bytes] = (None, b"")
        member.also_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: a fold under way in another thread at the fork is the parent's."""
        self.guard = threading.RLock()
        self._state = self._asked = None

    # ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def is_current(self, record: Record | None) -> bool:
        """Whether this process could fold on a record without reading anything but logs."""
        state = self._state
        return state is not None and state.is_at(record)

    def line_at(self, place: FoldAt) -> bytes | None:
        """The line there, if it is the last one that was published here: then its record is synced, too."""
        at, line = self._published_line
        return line if at == place else None

    @property
    def state(self) -> State | None:
        """The state as of the last fold here; of this object alone to change."""
        return self._state

    def now_ms(self) -> int:
        """The store's time, asked for at most once a second and reckoned, low rather than high, in between."""
        now = self._member.clock.now()
        if self._asked is None or elapsed_max_ms(self._asked[0], now) >= _CLOCK_KEEP_MS:
            self._asked = (now, self._member.store.now_ms())
        return self._asked[1] + elapsed_min_ms(self._asked[0], now)

    # ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def fold_once(self, *, retire: Collection[str] = (), has_turn: bool = False) -> Folded:
        """Reads what is new in all logs and publishes it as one revision.

        Args:
            retire: Incarnations to fence: what they append after this is no longer folded (P27).
            has_turn: The caller has the turn.

        Returns:
            What was done; ``revision`` 0 when there was nothing to do, or somebody holds the document's lease.

        Raises:
            NewerFormat: A log holds what this version does not know; nothing was published.
            StoreUnavailable: A retry is safe: what may have been published is recognised.
        """
        with self.guard, contextlib.ExitStack() as stack:
            if not has_turn:
                stack.enter_context(self._member.store.turn(self._resource))
            try:
                return self._fold(retire)
            except NewerFormat as unknown:
                raise self._located(unknown) from None
            except LeaseHeld as held:  # a plain file that was never committed cannot be taken over now
                return Folded(waiting_for=held.holder)

    def _fold(self, retire: Collection[str]) -> Folded:
        record = self._member.store.read(self._resource)
        while True:
            if record is not None and record.is_closed:  # what follows it is elsewhere: nothing here is the newest
                raise moved_error(self._member, self._resource, record)
            state, record = self._ready(record)
            try:
                with _uncollected():
                    done = self._fold_on(state, record, retire)
            except BaseException:
                self._state = None  # what stands in it may be half of something: it is read anew
                raise
            if done is not None:
                return done
            record = self._member.store.read(self._resource)  # beaten: somebody else has published

    def _located(self, unknown: NewerFormat) -> NewerFormat:
        """The error again, telling in which file and at which byte the frame stands."""
        fields = unknown.fields
        if not fields.get("seq"):
            return unknown
        try:
            path, offset = locate(self._member, self._resource, fields["incarnation"], fields["seq"])
        except OSError:
            return unknown
        fields |= {"path": path, "offset": offset}
        return NewerFormat(f"{unknown.message}; it stands at byte {offset} of {path}", **fields)

    def _ready(self, record: Record | None) -> tuple[State, Record | None]:
        state, self._state = self._state, None  # what fails half-way is read anew
        self._state = self._loader.up_to(state, record)
        return self._state, record

    def _fold_on(self, state: State, record: Record | None, retire: Collection[str]) -> Folded | None:
        holder = self._holder(record)
        if holder:
            return Folded(waiting_for=holder, record=record)
        inbox = self._drain.look(state.positions) if self._drain else []
        batch = self._reader.read(state.mounted(), max_bytes=FOLD_BATCH_BYTES)
        self._unread = batch.unread
        if batch.damaged and self._member.store.read(self._resource) != record:
            return None  # what seems damaged may be what somebody who was ahead has deleted
        read = [(new.payloads, new.after) for new in batch.logs] + [(new.payloads, new.after) for new in inbox]
        logs = [parse(payloads, after.agent, after.incarnation) for payloads, after in read]
        edits = self._edits(state, record) if record is not None else ()
        now_ms = max(self.now_ms(), state.at_ms)
        sequence = order([*logs, edits], floor_ms=state.at_ms, now_ms=now_ms)
        positions = self._positions(state, batch, retire)
        gone = [name for name in batch.absent if name not in positions and state.positions[name].state != "open"]
        if self._drain:
            positions |= self._drain.moved(state.positions)
            gone += self._drain.gone(state.positions)
        if not sequence and not positions:
            if self._drain:
                self._drain.answer(record.fold if record else None, state.ids)
            return Folded(record=record)
        if record is None or record.head is None:  # a plain file that was never committed is what they are about
            record = self._adopt(record)
            if record is not None and record.head is not None:
                return None
        self._mark = state.tree.mark()
        outcomes = fold(state, sequence, now_ms=now_ms, known=self._known(state, sequence))
        advanced = {
            name: position.segment
            for name, position in positions.items()
            if name in state.positions and position.segment > state.positions[name].segment
        }
        plan = _Plan(positions, gone, outcomes, len(batch.damaged), batch.left, advanced)
        return self._publish(state, record, plan, now_ms)

    def _holder(self, record: Record | None) -> str:
        """Who holds the document's lease, so that nothing can be published; whoever is over is not waited for."""
        lease = record.lease if record else None
        store = self._member.store
        if lease is None or over_reason(lease, Readings(store.now_ms(), store.skew_ms, gone=store.is_gone(lease))):
            return ""
        return lease.agent

    def _positions(self, state: State, batch: LogBatch, retire: Collection[str]) -> dict[str, Position]:
        positions = {new.after.incarnation: new.after for new in batch.logs if new.after != new.before}
        for damage in batch.damaged:
            paths = quarantine(self._member, self._resource, damage)
            before = positions.get(damage.incarnation) or state.positions.get(damage.incarnation)
            positions[damage.incarnation] = (
                before._replace(state="quarantined")
                if before
                else Position(damage.agent, damage.incarnation, 1, 0, 0, 0, "quarantined")
            )
            self._tell("log_quarantined", holder=damage.agent, reason=damage.what, at=damage.offset, kept=paths)
        for name, position in state.positions.items():
            if name in positions and positions[name].state != "open":
                continue
            if name in retire and position.state == "open":
                positions[name] = positions.get(name, position)._replace(state="fenced")
            elif position.state == "fenced" and name not in batch.unread:  # by an earlier fold, and read to its end
                positions[name] = positions.get(name, position)._replace(state="ended")
        return positions

    def _known(self, state: State, sequence: Sequence[Operation]) -> dict[str, tuple[int, str]]:
        """What the lines that are kept tell of operations that are tried again and are not remembered."""
        wanted = {operation.op_id for operation in sequence if operation.again and operation.op_id not in state.ids}
        if not wanted or state.last is None:
            return {}
        return self._loader.outcomes_of(wanted, state.last)

    def _publish(self, state: State, record: Record | None, plan: _Plan, now_ms: int) -> Folded | None:
        revision = state.revision + 1
        body: dict[str, Any] = {
            "rev": revision,
            "prev": list(state.last) if state.last else None,
            "base": list(state.base),
            "at_ms": now_ms,
            "by": self._member.agent,
            "inc": self._member.incarnation,
            "ops": plan.outcomes,
            "pos": {key: list(position) for key, position in plan.positions.items()},
            "gone": plan.gone,
        }
        draft = self._checkpoint(state, record, plan, body)
        line = encode_line(body)
        try:
            place = self._log.append(line, on_revision=state.revision, checkpoint=state.checkpoint)
            decision = self._settle(record, line, place)
        except StoreUnavailable as error:
            if draft and not error.outcome_unknown:
                draft.drop()
            raise
        if isinstance(decision, Refusal):
            if draft:
                draft.drop()
            state.tree.undo_to(self._mark)
            return self._refused(decision)
        at = LineAt(revision, *_place(place), sha256_of(line))
        self._take(state, body, at, plan)
        self._published_line = (at.place, line)
        self._log.published(revision)
        if self._drain:
            self._drain.answer(at.place, state.ids, plan.outcomes, revision)
        return self._published(plan, decision.record, revision)._replace(checkpoint=draft is not None)

    def _settle(self, record: Record | None, line: bytes, place: FoldAt) -> Any:
        author = self._member.author()
        head = Head(0, 0, self._member.incarnation, sha256_of(line), len(line), 0)
        revision = record.revision if record else 0
        put = Put(author, head, revision, "", place)
        return settle(
            self._member.store,
            self._resource,
            lambda _n, _now_ms: put,
            known=record,
            spans=self._spans,
            asked_ms=self.now_ms,
            in_turn=True,
        )

    def _spans(self, record: Record | None) -> Spans:
        lease = record.lease if record else None
        return Spans(gone=lease is not None and self._member.store.is_gone(lease))

    def _refused(self, refusal: Refusal) -> Folded | None:
        if refusal.why is Why.REVISION:
            return None
        if refusal.why is Why.MOVED:
            raise moved_error(self._member, self._resource, refusal.record)
        lease = refusal.record.lease
        return Folded(waiting_for=lease.agent if lease else "", record=refusal.record)

    def _checkpoint(self, state: State, record: Record | None, plan: _Plan, body: dict[str, Any]) -> Draft | None:
        """Writes the whole content down when the lines since the last time outweigh it (P26)."""
        outweighed = state.lines_bytes >= max(CHECKPOINT_MIN_BYTES, state.full_bytes)
        if not (outweighed or len(state.files) >= CHECKPOINT_FILES) or state.malformed or state.is_nothing:
            return None
        from coordinator.document.json_text import render  # noqa: PLC0415 - one fold in some hundred

        try:
            data = render(state.value, state.text, self._resource, parsed=True)
        except MalformedDocument:
            return None
        draft = Draft(self._member, self._resource, data, record)
        head = draft.aim(record.n + 1 if record else 1)
        body["base"] = list(Base(body["rev"], head.n, head.incarnation, head.sha256, head.size_bytes))
        full = state.full()
        full["pos"] |= body["pos"]
        for name in plan.gone:
            full["pos"].pop(name, None)
        full["ids"] = remember({**state.ids}, plan.outcomes, body["rev"])
        body["full"] = full
        return draft

    def _take(self, state: State, body: dict[str, Any], at: LineAt, plan: _Plan) -> None:
        """What was folded stands: the state is that revision's."""
        state.tree.settle()
        state.positions.update(plan.positions)
        for name in plan.gone:
            state.positions.pop(name, None)
        remember(state.ids, plan.outcomes, at.revision)
        state.note(Line(at, body))

    def _published(self, plan: _Plan, record: Record, revision: int) -> Folded:
        applied = sum(outcome[4] == APPLIED for outcome in plan.outcomes)
        rejected = sum(outcome[4] == REJECTED for outcome in plan.outcomes)
        self._tell("folded", revision=revision, applied=applied, rejected=rejected)
        # Deleted only now that a revision says they are over; the evidence of damage is kept elsewhere.
        over = [position.incarnation for position in plan.positions.values() if position.state in OVER]
        unneeded: dict[str, int | None] = {**plan.advanced, **dict.fromkeys([*over, *plan.left])}
        for incarnation, below in unneeded.items():
            with contextlib.suppress(CoordinatorError):  # the next fold tries again
                remove_logs(self._member, self._resource, incarnation, below=below)
        return Folded(revision, applied, rejected, plan.quarantined, "", record)

    def retire_silent(self) -> int:
        """Fences the logs of writers that are silent for long, reads them once more, and ends them (P27).

        Returns:
            How many. Raises StoreUnavailable; a retry is safe.
        """
        with self.guard:
            if not self._fold_all():
                return 0
            state = self._state
            assert state is not None  # noqa: S101 - it was folded just now
            try:
                now_ms = self._member.store.now_ms()
                if self._drain and self._drain.fence_silent(state.positions, now_ms):
                    self._fold_all()
                silent = silent_logs(self._member, self._resource, state.mounted().values(), now_ms)
                remove_orphans(self._member, self._resource, state.positions, now_ms)
            except OSError as error:
                raise unavailable(error, self._resource, "looking for silent logs of") from error
            if silent:
                self.fold_once(retire=silent)
                self._fold_all()
                self._tell("log_retired", logs=silent)
            return len(silent)

    def _fold_all(self) -> bool:
        """Folds until every log was read to its end, as it was then; whether that could be done."""
        for _ in range(FOLDS_MAX):
            done = self.fold_once()
            if done.waiting_for or self._state is None:
                return False
            is_fencing = any(position.state == "fenced" for position in self._state.positions.values())
            if not self._unread and not is_fencing:
                return True
        return False

    def collect_chain(self, record: Record) -> None:
        """Keeps the chain short (P18); to be called without the turn."""
        store = self._member.store
        if record.n - record.floor > store.live_max:
            with contextlib.suppress(CoordinatorError):  # the next fold tries again
                store.collect(self._resource, self._member.author(), keep=store.live_keep)

    def _tell(self, kind: str, *, holder: str = "", reason: str = "", **detail: Any) -> None:
        name = str(self._resource)
        self._member.events.tell(Event(kind, name, self._member.agent, 0, holder, reason, detail=detail))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Stops Python's collector of cycles for one fold.

    A fold makes many small objects that stay, and no cycles. The collector would go through the whole document again
    and again meanwhile: that doubled the time of large folds (measured).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _place(place: FoldAt) -> tuple[str, int, int, int]:
    return place.incarnation, place.file, place.offset, place.size_bytes
