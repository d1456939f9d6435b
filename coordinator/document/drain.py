"""The inbox as one more source of a fold (P19, P25): looked at, folded, answered; see log/inbox.py.

What is read from it is folded with everybody's logs, under positions of its own, so that a compactor that dies after
the commit folds nothing twice: the next one finds the frames behind the position, and answers them from the lines.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from coordinator.clock import elapsed_max_ms
from coordinator.document.fold import AGAIN
from coordinator.document.revision import Lines, decided_at, load_json
from coordinator.errors import BadValue, CoordinatorError, StoreUnavailable
from coordinator.events import Event
from coordinator.limits import INBOX_POLL_MS, INBOX_UNREAD_MS, RETIRE_AFTER_MS
from coordinator.log.inbox import Answer, Inbox, InboxItem, InboxLog, read_item
from coordinator.log.walk import ENDED, INBOX_SEGMENT, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coordinator.clock import Instant
    from coordinator.log.walk import Position
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import FoldAt
    from coordinator.record.table import TableStore


class Drain:
    """One compactor's look at one document's inbox. Not thread-safe: the compactor has a lock.

    Args:
        member: Who folds.
        resource: Which document.
        table: Where the inbox is.
    """

    def __init__(self, member: Member, resource: Resource, table: TableStore) -> None:
        self._member = member
        self._resource = resource
        self._inbox = Inbox(table, resource)
        self._looked: Instant | None = None
        self._pause_ms = INBOX_POLL_MS
        self._logs: list[InboxLog] | None = None  # of this fold; None: it did not look
        self._gaps: dict[str, int] = {}  # items with frames missing, and behind which one

    def look(self, positions: Mapping[str, Position]) -> list[InboxLog]:
        """What is in the inbox, at most every INBOX_POLL_MS; nothing in between.

        A table that does not answer is no reason to fold nothing else: it is asked again after INBOX_UNREAD_MS.
        """
        now = self._member.clock.now()
        self._logs = None
        if self._looked is None or elapsed_max_ms(self._looked, now) >= self._pause_ms:
            self._looked = now
            try:
                self._logs, self._pause_ms = self._read(positions), INBOX_POLL_MS
            except StoreUnavailable as error:
                self._looked, self._pause_ms = self._member.clock.now(), INBOX_UNREAD_MS
                event = Event("inbox_unread", str(self._resource), self._member.agent, reason=error.cause)
                self._member.events.tell(event)
        return self._logs or []

    def look_at_once(self) -> None:
        """The next look is a real one, however short ago the last one was."""
        self._looked = None

    def _read(self, positions: Mapping[str, Position]) -> list[InboxLog]:
        found = []
        for item in self._inbox.items():
            try:
                found.append(read_item(item, positions.get(item.incarnation)))
            except BadValue as damage:  # nobody else's operations wait for that
                if self._may_be_behind(item, positions.get(item.incarnation)):
                    continue
                detail = {"incarnation": item.incarnation}
                name = str(self._resource)
                event = Event("inbox_damaged", name, self._member.agent, 0, item.agent, damage.message, detail=detail)
                self._member.events.tell(event)
        return found

    def _may_be_behind(self, item: InboxItem, before: Position | None) -> bool:
        """Whether frames that are missing may have been folded and answered by others, since what is known was read.

        Then the next look finds more known; what is still missing then, behind the same position, is missing indeed.
        """
        known = before.seq if before else 0
        was, self._gaps[item.incarnation] = self._gaps.get(item.incarnation), known
        return item.first > known + 1 and was != known

    def moved(self, positions: Mapping[str, Position]) -> dict[str, Position]:
        """The positions that a fold of what was looked at makes."""
        fresh = {}
        for log in self._logs or ():
            before = positions.get(log.item.incarnation)
            if log.payloads or (before is not None and before.state != log.after.state):
                fresh[log.item.incarnation] = log.after
        return fresh

    def gone(self, positions: Mapping[str, Position]) -> list[str]:
        """Incarnations that are over and have no item any more: nothing of them need be known."""
        if self._logs is None:
            return []
        there = {log.item.incarnation for log in self._logs}
        over = (name for name, at in positions.items() if at.segment == INBOX_SEGMENT and at.state != OPEN)
        return [name for name in over if name not in there]

    def answer(
        self,
        newest: FoldAt | None,
        ids: Mapping[str, tuple[int, str]],
        outcomes: Sequence[Sequence[Any]] = (),
        revision: int = 0,
    ) -> None:
        """Takes out what is folded, with its outcomes, and deletes what is closed. Whatever fails the next fold does.

        Args:
            newest: The newest fold line: it is committed.
            ids: What the state there remembers of operations: revision and outcome by id.
            outcomes: Of the fold just now, if there was one.
            revision: That it made.
        """
        decided = {(one[2], one[3]): Answer(one[0], one[4], one[5], revision) for one in outcomes}
        logs, self._logs = self._logs or [], None
        for log in logs:
            answers = []
            for seq, frame in enumerate(log.item.frames, log.item.first):
                told = decided.get((log.item.incarnation, seq)) or self._known(frame, ids)
                answers.append(self._in_full(told, newest))
            with contextlib.suppress(CoordinatorError):
                if answers:
                    self._inbox.answer(log.item, answers)
                    self._looked = None  # its writer goes on, most likely
                if log.after.state == ENDED:
                    self._inbox.delete(log.item.incarnation)

    def _known(self, frame: bytes, ids: Mapping[str, tuple[int, str]]) -> Answer:
        """What is remembered of a frame that was folded before, by a compactor that did not come to answer."""
        op_id = str(load_json(frame[frame.index(b"{") :], exact=True)["id"])
        return Answer(op_id, AGAIN, ids.get(op_id, (0, "")), 0)

    def _in_full(self, told: Answer, newest: FoldAt | None) -> Answer:
        """Of what had been decided before, what was decided then: the writer cannot look it up."""
        if told.outcome != AGAIN:
            return told
        revision, outcome = told.info
        found = decided_at(Lines(self._member, self._resource), newest, told.op_id, revision) if revision else None
        outcome, info = found or (outcome, {"why": "gone", "text": "the details of this outcome were collected"})
        return Answer(told.op_id, outcome, info, revision, again=True)

    def fence_silent(self, positions: Mapping[str, Position], now_ms: int) -> int:
        """Closes the items of writers that have been silent for long (P27); returns how many. Raises StoreUnavailable.

        A writer that wakes up later finds its item closed, or gone, and submits again in another.
        """
        silent = 0
        for item in self._inbox.items():
            if item.state == OPEN and item.at_ms < now_ms - RETIRE_AFTER_MS:
                self._inbox.fence(item.incarnation)
                silent += 1
                if not item.frames and item.incarnation not in positions:
                    self._inbox.delete(item.incarnation)  # made, and never used
        self._looked = None
        return silent
