"""Waiting for a task without asking: a claim is submitted only when it may be given something.

A look reads the document's chain, and its content only when that has moved; nothing is written. When a task comes and
many wait for it, each looks at a moment of its own, and most of them see that it is taken already.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from coordinator.clock import elapsed_max_ms
from coordinator.errors import NoSuchDocument
from coordinator.limits import UPDATE_WAIT_DEFAULT_MS, WATCH_POLL_MAX_MS

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from coordinator.document.receipt import OperationReceipt
    from coordinator.record.record import Holding
    from coordinator.tasks.access import Access

POLL_MIN_MS: Final = 5  # limit: an idle claim's first pause; grows to WATCH_POLL_MAX_MS
FOLD_MIN_MS: Final = 1000  # limit: what a writer left in its log and died is folded by idle claims: after this,
FOLD_MAX_MS: Final = 16_000  # and ever more rarely


class Idle:
    """One claim that waits.

    Args:
        board: Where.
        op: The claim.
        wait_ms: How long; None: for as long as it takes.
        cancel: Ends the waiting when it is set.

    Attributes:
        next_ms: When time alone may make a task claimable; None: never.
    """

    def __init__(self, board: Access, op: dict[str, Any], wait_ms: int | None, cancel: threading.Event | None) -> None:
        self.next_ms: int | None = None
        self._board, self._op, self._wait_ms, self._cancel = board, op, wait_ms, cancel
        self._clock = board.clock
        self._began = self._asked = self._folded = self._clock.now()
        self._revision = 0  # of the last look
        self._may = False
        self._rest_ms = 0.0
        self._fold_ms = 0.0  # at once the first time: a look must see as much as a claim would
        self._held: Holding | None = None
        self._missing: NoSuchDocument | None = None

    def may_claim(self) -> bool:
        """Whether it is worth to ask."""
        if self._rest_ms and elapsed_max_ms(self._asked, self._clock.now()) < self._rest_ms:
            return False
        record = self._board.newest()
        revision = record.revision if record else 0
        if revision == 0 or revision != self._revision or self._is_time():
            self._look(revision)
        if not self._may and self._is_fold_due() and self._board.compact():
            return self.may_claim()
        self._held = self._board.lease_in_the_way(record) if self._may else None
        return self._may and self._held is None

    def _look(self, revision: int) -> None:
        self._revision = revision
        try:
            self._may, self.next_ms = self._board.may_claim(self._op)
            self._missing = None
        except NoSuchDocument as missing:
            self._may, self.next_ms, self._missing = False, None, missing

    def _is_time(self) -> bool:
        return self.next_ms is not None and self._board.now_ms() >= self.next_ms

    def _is_fold_due(self) -> bool:
        now = self._clock.now()
        if elapsed_max_ms(self._folded, now) < self._fold_ms:
            return False
        self._folded = now
        self._fold_ms = min(max(2 * self._fold_ms, FOLD_MIN_MS), FOLD_MAX_MS) * random.uniform(0.8, 1.2)
        return True

    def came_up_empty(self, receipt: OperationReceipt) -> None:
        """It was asked, and somebody else was first: not again at once, whatever a look says."""
        # The revision that decided it is looked at all the same: what was added after it may be in that same fold.
        self._revision, self.next_ms, self._may = -1, receipt.result["next_ms"], False
        self._asked = self._clock.now()
        self._rest_ms = min(max(2 * self._rest_ms, POLL_MIN_MS), WATCH_POLL_MAX_MS)

    def pause(self) -> bool:
        """Waits until the next look; False when the time is over, or it was cancelled.

        Raises:
            LeaseHeld: The time is over, there are tasks, and somebody's lease keeps them from being given out.
            NoSuchDocument: The time is over, and there is none.
        """
        left_ms = self._left_ms()
        if self._cancel is not None and self._cancel.is_set():
            return False
        if left_ms is not None and left_ms <= 0:
            if self._held is not None:
                raise self._board.lease_held(self._held)
            if self._missing is not None:
                raise self._missing
            return False
        pause_ms = _pause_ms(elapsed_max_ms(self._began, self._clock.now()))
        if left_ms is not None:
            pause_ms = min(pause_ms, left_ms)
        if self.next_ms is not None:  # not past it; and whose clocks differ a little do not come all at once
            pause_ms = min(pause_ms, max(self.next_ms - self._board.now_ms(), POLL_MIN_MS))
        return not self._clock.pause(pause_ms, self._cancel)

    def _left_ms(self) -> int | None:
        """What is left of the time. What is there, and only waits for a lease to end, is waited for somewhat longer."""
        if self._wait_ms is None:
            return None
        wait_ms = max(self._wait_ms, UPDATE_WAIT_DEFAULT_MS) if self._held is not None else self._wait_ms
        return wait_ms - elapsed_max_ms(self._began, self._clock.now())


def revisions(board: Access, since: int, timeout_ms: int | None) -> Iterator[int]:
    """New revisions of a document, the newest at each look."""
    began = quiet = board.clock.now()
    while True:
        revision = board.revision()
        if revision > since:
            since = revision
            yield revision
            quiet = board.clock.now()
        now = board.clock.now()
        left_ms = None if timeout_ms is None else timeout_ms - elapsed_max_ms(began, now)
        if left_ms is not None and left_ms <= 0:
            return
        pause_ms = _pause_ms(elapsed_max_ms(quiet, now))
        board.clock.pause(pause_ms if left_ms is None else min(pause_ms, left_ms))


def _pause_ms(quiet_ms: int) -> float:
    """Longer the longer nothing has happened, and never two the same: a crowd must not look all at once."""
    return min(max(quiet_ms / 8, POLL_MIN_MS), WATCH_POLL_MAX_MS) * random.uniform(0.5, 1.0)
