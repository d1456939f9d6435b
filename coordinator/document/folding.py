"""The side of a document that goes through logs: updates, folds, and what was changed when."""

from __future__ import annotations

import atexit
import contextlib
import random
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordinator.acquire import pause
from coordinator.clock import elapsed_max_ms
from coordinator.document.compactor import Compactor, Folded
from coordinator.document.displaced import SETTLE_MS
from coordinator.document.operations import as_patch
from coordinator.document.state import Loader, State
from coordinator.document.submit import Submissions
from coordinator.errors import BadValue, CoordinatorError, NoSuchDocument, RevisionNotReached, StoreUnavailable
from coordinator.events import Event
from coordinator.limits import POLL_MIN_MS, VIEW_BYTES_PER_MS, VIEW_PAUSE_MIN_MS, WATCH_POLL_MAX_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coordinator.document.fold import Operation
    from coordinator.document.view import Refreshed, View
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


@dataclass(frozen=True, slots=True)
class Change:
    """One revision, as a change of the one before.

    Attributes:
        revision: Which.
        at_ms: When, by the store's clock, Unix milliseconds; 0 when it is no longer known.
        agent: Who folded or committed it.
        whole: The content was committed whole: what was changed in it is not told; read it.
        operations: What was folded: ``{"op_id", "agent", "outcome", "patch"}`` each, in order; ``patch`` is RFC 6902,
            and what a rejected one would have done is not in it.
    """

    revision: int
    at_ms: int
    agent: str
    whole: bool
    operations: tuple[dict[str, Any], ...]

    @property
    def patch(self) -> list[dict[str, Any]]:
        """All of it as one RFC 6902 patch."""
        return [step for operation in self.operations for step in operation["patch"]]


_PUT_OFF_MAX: Final = 8  # times for the sake of others' refreshes: the store's clock may stand still

_live: weakref.WeakSet[Folding] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A process that ends says so in its logs (P27), and leaves no plain file behind the folds it made."""
    for folding in list(_live):
        with contextlib.suppress(CoordinatorError):
            folding.close()


class Folding:
    """What one process has in memory of one document's folds. Thread-safe.

    Args:
        member: Who.
        resource: Which document.
        adopt: See Compactor.
        edits: See Compactor.
        view: The plain file.
        refresh: Makes the plain file show a revision.
        tidy: Deletes what is no longer needed.
    """

    def __init__(
        self,
        member: Member,
        resource: Resource,
        *,
        adopt: Callable[[Record | None], Record | None],
        edits: Callable[[State, Record], Sequence[Operation]],
        view: View,
        refresh: Callable[[Record, bytes], Refreshed | None],
        tidy: Callable[[], object],
    ) -> None:
        self._member = member
        self._resource = resource
        self._refresh = refresh
        self._view = view
        self._tidy = tidy
        self._loader = Loader(member, resource)
        self._guard = threading.RLock()
        self._state: State | None = None  # for reading: the compactor's own is nobody else's to see
        self._text: tuple[int, bytes] | None = None  # the newest render, by revision
        self.compactor = Compactor(member, resource, adopt=adopt, edits=edits)
        self.submissions = Submissions(member, resource, self.compactor, self.folded)
        self._later: threading.Timer | None = None
        self._refreshed_at = self._folded_at = member.clock.now()
        self._next_ms = 0.0
        self._put_off = 0
        self._closed = False
        member.also_after_fork(self)
        _live.add(self)

    def after_fork(self) -> None:
        """In a forked child: locks that another thread held at the fork would never be released here."""
        self._guard = threading.RLock()
        self._later = self._state = self._text = None  # another thread may have been in the middle of them

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def value(self, record: Record) -> tuple[Any, str]:
        """The content of a record, shared with later calls, and why it is not JSON if it is not."""
        with self._guard:
            state = self._up_to(record)
            return state.value, state.malformed

    def side(self, record: Record) -> tuple[Any, dict[str, Any], int]:
        """The content, what is kept beside it, and the time of the last fold; shared with later calls."""
        with self._guard:
            state = self._up_to(record)
            return state.value, state.tree.side, state.at_ms

    def text(self, record: Record) -> tuple[int, bytes]:
        """The content of a record as text, and its revision."""
        with self._guard:
            state = self._up_to(record)
            if self._text is None or self._text[0] != state.revision:
                self._text = (state.revision, _render(state, self._resource))
            return self._text

    def _up_to(self, record: Record) -> State:
        try:
            self._state = self._loader.up_to(self._state, record)
        except BaseException:
            self._state = None
            raise
        return self._state

    def revision_of(self, op_id: str, record: Record) -> int:
        """The revision that decided an operation; 0 when it is not decided, or was so long ago."""
        with self._guard:
            return self._up_to(record).ids.get(op_id, (0, ""))[0]

    def at(self, record: Record) -> bytes | None:
        """The content of an earlier record; None when its lines or its base are collected."""
        try:
            state = Loader(self._member, self._resource).exactly(record)
        except CoordinatorError as error:
            if isinstance(error, StoreUnavailable):
                raise
            return None
        return _render(state, self._resource) if state is not None else None

    def changes(self, since: int, record: Record) -> list[Change]:
        """The revisions after one, oldest first.

        Raises:
            BadValue: Some of them are no longer kept.
        """
        found: list[Change] = []
        if since < record.revision:
            with self._guard:
                found = self._changes(since, record)
        return found

    def _changes(self, since: int, record: Record) -> list[Change]:
        lines = {}
        if record.fold is not None and record.fold.revision > since:
            newest = self._loader.lines.read(record.fold)
            for line in self._loader.lines.walk(newest.at):
                if line.at.revision <= since:
                    break
                lines[line.at.revision] = line
                last = line
            if last.at.revision > since + 1 and last.body["prev"] and last.body["prev"][0] > since:
                raise BadValue(
                    f"the changes of {str(self._resource)!r} since revision {since} are no longer kept; "
                    f"{last.at.revision} is the oldest that is",
                    argument="since",
                    value=since,
                    hint="read the document, and go on from its revision",
                )
        found = []
        for revision in range(since + 1, record.revision + 1):
            if revision in lines:
                found.append(_change(lines[revision].body))
            else:
                found.append(Change(revision, 0, "", whole=True, operations=()))
        return found

    # ── after a fold ─────────────────────────────────────────────────────────────────────────────────────────────────

    def folded(self, done: Folded) -> None:
        """What follows a fold that was published here. Nothing of it can undo the fold, so nothing raises."""
        if done.record is None:
            return
        self.compactor.collect_chain(done.record)
        if done.checkpoint:
            self._tidy()
            with contextlib.suppress(CoordinatorError):  # the next checkpoint tries again
                self.compactor.retire_silent()
        # Who updates once, and looks at the file, is to see it.
        is_rare = elapsed_max_ms(self._folded_at, self._member.clock.now()) > self._next_ms
        self._folded_at = self._member.clock.now()
        self._refresh_when_due(at_once=is_rare)

    def _refresh_when_due(self, *, at_once: bool = False) -> None:
        """Refreshes the plain file, now or as soon as the bounded rate allows it (P26).

        Args:
            at_once: Whatever others do.
        """
        due_ms = self._next_ms - elapsed_max_ms(self._refreshed_at, self._member.clock.now())
        if due_ms <= 0 and not at_once:
            due_ms = self._others_due_ms()
        if due_ms <= 0:
            self.refresh_now()
        elif self._later is None:
            self._start_later(due_ms, self._refresh_later)

    def _refresh_later(self) -> None:
        due_ms = self._others_due_ms()
        self._put_off += 1
        if due_ms <= 0 or self._closed or self._put_off > _PUT_OFF_MAX:
            self.refresh_now()
        else:
            self._start_later(due_ms, self._refresh_later)

    def _others_due_ms(self) -> float:
        """Those who fold all the time share one rate: in how many milliseconds that allows a refresh.

        When each of eight had a rate of its own, their writing 500 KB in turns cost a third of the disk's time.
        """
        try:
            facts = self._view.facts()
            age_ms = self._member.store.now_ms() - facts.mtime_ns // 1_000_000 if facts else -1
        except StoreUnavailable:
            return 0  # the refresh will tell
        if not 0 <= age_ms < self._next_ms:
            return 0
        spread = int(self._member.incarnation[-2:], 36) / 36**2  # not all of them at the same moment
        return (self._next_ms - age_ms) * (1 + spread / 2)

    def refresh_now(self) -> None:
        """Makes the plain file show the newest revision, and notes when that may be done again."""
        later, self._later, self._put_off = self._later, None, 0
        if later is not None:
            later.cancel()
        behind = waiting = False
        size_bytes = 0
        try:
            record = self._member.store.read(self._resource)
            if record is None or not record.is_folded:
                return
            data = self._text_for(record)
            size_bytes = len(data)
            done = self._refresh(record, data)
            behind, waiting = (done.behind, done.waiting) if done is not None else (False, False)
        except NoSuchDocument:
            return  # there is nothing to show
        except CoordinatorError as error:
            self._tell("view_failed", reason=getattr(error, "cause", error.message))
        self._refreshed_at = self._member.clock.now()
        self._next_ms = VIEW_PAUSE_MIN_MS + size_bytes / VIEW_BYTES_PER_MS
        if self._closed:
            return
        if waiting:
            self._start_later(SETTLE_MS, self._fold_edit)
        elif behind:
            self._refresh_when_due()

    def _fold_edit(self) -> None:
        """Folds what somebody wrote into the plain file by hand, if no fold has come by since (P17)."""
        with contextlib.suppress(CoordinatorError):  # the next fold or read tries again
            self.compactor.fold_once()
        self.refresh_now()

    def _start_later(self, pause_ms: float, call: Callable[[], None]) -> None:
        self._later = threading.Timer(pause_ms / 1000, call)
        self._later.daemon = True
        self._later.start()

    def _text_for(self, record: Record) -> bytes:
        with self.compactor.guard:  # its state is at hand, mostly; a reader's own would have to be read
            state = self.compactor.state
            if state is not None and state.is_at(record):
                return _render(state, self._resource)
        return self.text(record)[1]

    def is_view_due(self, record: Record) -> bool:
        """Whether the plain file is behind a record for too long, or not what it was made last."""
        try:
            behind_ms = self._view.behind_ms(record)
        except StoreUnavailable:
            return False  # the content can be had all the same
        return behind_ms is None or behind_ms > VIEW_PAUSE_MIN_MS + self._next_ms

    def close(self) -> None:
        """Ends this process's log, and does what was put off."""
        self._closed = True
        self.flush()
        self.submissions.close()
        _live.discard(self)

    def flush(self) -> None:
        """Does now what was put off: before the process ends."""
        if self._later is not None:
            self.refresh_now()

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def watch(self, since: int, timeout_ms: int | None) -> Iterator[Change]:
        """The revisions after one, as they come."""
        began, idle = self._member.clock.now(), self._member.clock.now()
        while True:
            record = self._member.store.read(self._resource)
            if record is not None and record.revision > since:
                for change in self.changes(since, record):
                    yield change
                    since = change.revision
                idle = self._member.clock.now()
            left_ms = None if timeout_ms is None else timeout_ms - elapsed_max_ms(began, self._member.clock.now())
            if left_ms is not None and left_ms <= 0:
                return
            quiet_ms = elapsed_max_ms(idle, self._member.clock.now())
            pause_ms = min(max(quiet_ms / 8, POLL_MIN_MS), WATCH_POLL_MAX_MS) * random.uniform(0.5, 1.0)
            self._member.clock.pause(pause_ms if left_ms is None else min(pause_ms, left_ms))

    def wait_for(self, revision: int, op_id: str, wait_ms: int) -> None:
        """Waits until the document is at a revision, or has decided an operation; folds, if nobody else does.

        Raises:
            RevisionNotReached: Not in that time.
        """
        began = self._member.clock.now()
        while True:
            record = self._member.store.read(self._resource)
            current = record.revision if record else 0
            wanted = revision or (self.revision_of(op_id, record) if record else 0)
            if current >= wanted > 0:
                return
            waited_ms = elapsed_max_ms(began, self._member.clock.now())
            if waited_ms >= wait_ms:
                break
            done = self.compactor.fold_once()
            if done.revision:
                self.folded(done)
            else:
                pause(self._member, 0, waited_ms, wait_ms - waited_ms)
        name = str(self._resource)
        raise RevisionNotReached(
            f"{name!r} is at revision {current}, and did not come to {wanted or 'the update'} in {wait_ms / 1000:g} s",
            resource=name,
            expected=wanted,
            current=current,
        )

    def _tell(self, kind: str, *, reason: str = "", **detail: Any) -> None:
        self._member.events.tell(Event(kind, str(self._resource), self._member.agent, reason=reason, detail=detail))


def _render(state: State, resource: Resource) -> bytes:
    if state.malformed:
        return state.text or b""  # no operation was applied to it
    if state.is_nothing:
        name = str(resource)
        raise NoSuchDocument(f"there is no document {name!r}: no operation on it was applied yet", resource=name)
    from coordinator.document.json_text import render  # noqa: PLC0415 - a log alone does without

    return render(state.value, state.text, resource, parsed=True)


def _change(body: dict[str, Any]) -> Change:
    operations = tuple(
        {"op_id": op_id, "agent": agent, "outcome": outcome, "patch": as_patch(edits or [])}
        for op_id, agent, _, _, outcome, _, edits in body["ops"]
    )
    return Change(body["rev"], body["at_ms"], body["by"], whole=False, operations=operations)
