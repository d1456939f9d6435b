"""When time alone changes a board: claims that are over, and pauses that are."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELD: Final = "held"
_OVER_MAX: Final = 256  # ended pauses, before those that are history are thrown out


class Times:
    """Deadlines and pauses, earliest first. What was extended or ended is found out when its turn comes.

    Args:
        claim_of: The newest claim of a task of this board, or None.
        pause_of: Until when a task that could be claimed otherwise is paused after a failure; 0: it is not.
    """

    def __init__(self, claim_of: Callable[[str], Any], pause_of: Callable[[str], int]) -> None:
        self._claim_of = claim_of
        self._pause_of = pause_of
        self._deadlines: list[tuple[int, str]] = []
        self._due: dict[str, int] = {}
        self._pauses: list[tuple[int, str]] = []
        self._over: list[tuple[int, str]] = []  # pauses that are over, the latest first
        self._over_max = _OVER_MAX

    def clear(self) -> None:
        """Forgets all."""
        self._deadlines, self._due, self._pauses, self._over = [], {}, [], []

    def note(self, key: str, now_ms: int) -> None:
        """Takes notice of a task's newest claim."""
        claim = self._claim_of(key)
        if claim is None:
            return
        if claim["state"] == HELD:
            until_ms = claim["until_ms"]
            known_ms = self._due.get(key)
            if known_ms is None or until_ms < known_ms:
                self._due[key] = until_ms
                heapq.heappush(self._deadlines, (until_ms, key))
        elif (until_ms := self._pause_of(key)) > now_ms:
            heapq.heappush(self._pauses, (until_ms, key))
        elif until_ms:
            self._end(until_ms, key)

    def turned(self, now_ms: int) -> Iterator[str]:
        """Those whose pause is over at a time and was not before, or the other way round.

        Time goes back when a fold is given up, or when a reader's clock was ahead of the next fold's.
        """
        while self._pauses and self._pauses[0][0] <= now_ms:
            until_ms, key = heapq.heappop(self._pauses)
            self._end(until_ms, key)
            yield key
        while self._over and -self._over[0][0] > now_ms:
            until_ms, key = heapq.heappop(self._over)
            heapq.heappush(self._pauses, (-until_ms, key))
            yield key

    def _end(self, until_ms: int, key: str) -> None:
        heapq.heappush(self._over, (-until_ms, key))
        if len(self._over) > self._over_max:
            self._over = sorted({item for item in self._over if self._pause_of(item[1]) == -item[0]})
            self._over_max = max(_OVER_MAX, 2 * len(self._over))

    def first_deadline(self) -> tuple[int, str] | None:
        """The claim that is over first: until when, and of which task."""
        heap = self._deadlines
        while heap:
            until_ms, key = heap[0]
            claim = self._claim_of(key)
            held_ms = claim["until_ms"] if claim is not None and claim["state"] == HELD else None
            if held_ms == until_ms:
                return heap[0]
            heapq.heappop(heap)
            if self._due.get(key) == until_ms:
                del self._due[key]
                if held_ms is not None:  # it was extended meanwhile
                    self._due[key] = held_ms
                    heapq.heappush(heap, (held_ms, key))
        return None

    def next_ms(self) -> int | None:
        """When time alone may make a task claimable next."""
        heap = self._pauses
        while heap and self._pause_of(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        first = self.first_deadline()
        over_ms = None if first is None else first[0] + 1
        if not heap:
            return over_ms
        return heap[0][0] if over_ms is None else min(heap[0][0], over_ms)
