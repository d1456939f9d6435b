"""The tasks that can be claimed, first things first, for each kind of agent.

Tasks with the same needs share a bucket; an agent is offered the first of all buckets whose needs it meets. A filter
on fields (``where``) gets a queue of its own in each bucket when it is first used, so that an agent which always asks
for the same does not pass over the same tasks again and again.
"""

from __future__ import annotations

import heapq
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.document.board.formats import Entry

WHERES_MAX: Final = 16  # limit: filters that have queues of their own
_ALL: Final = ""


class Queue:
    """Entries by order. One that left stays where it was until it comes to the front.

    Those that were there from the start stand in a line, from which the first is taken without looking at others; those
    that came later are in a heap.
    """

    __slots__ = ("_heap", "_line", "_serial", "alone", "count")

    def __init__(self) -> None:
        self._line: list[tuple[Any, ...]] = []  # the first is the last
        self._heap: list[tuple[Any, ...]] = []
        self._serial = 0  # entries themselves are not compared
        self.alone: tuple[Queue, ...] = (self,)
        self.count = 0

    def enter(self, entry: Entry) -> None:
        """Takes an entry in."""
        self._serial += 1
        self.count += 1
        heapq.heappush(self._heap, (*entry.order, self._serial, entry))
        if len(self._heap) > 2 * self.count + 64:
            self.line_up()

    def line_up(self) -> None:
        """Puts all of them in a line."""
        self._line = sorted({item[-1]: item for item in (*self._line, *self._heap) if item[-1].ready}.values())
        self._line.reverse()
        self._heap = []

    def first(self) -> Entry | None:
        """The first entry that is still ready."""
        line, heap = self._line, self._heap
        while line and not line[-1][-1].ready:
            line.pop()
        while heap and not heap[0][-1].ready:
            heapq.heappop(heap)
        if heap and (not line or heap[0] < line[-1]):
            return _entry(heap[0])
        return _entry(line[-1]) if line else None

    def entries(self) -> list[Entry]:
        """All that are ready."""
        return [entry for entry in dict.fromkeys(item[-1] for item in (*self._line, *self._heap)) if entry.ready]


def _entry(item: tuple[Any, ...]) -> Entry:
    entry: Entry = item[-1]
    return entry


class Queues:
    """Every entry that is ready."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, ...], dict[str, Queue]] = {}
        self._wheres: dict[str, dict[str, Any]] = {}
        self._last: dict[str, Any] | None = None
        self._last_key = _ALL
        self.fields: set[str] = set()
        """Fields of tasks that a filter looks at."""

    def clear(self) -> None:
        """Forgets all."""
        self._buckets.clear()
        self._wheres.clear()
        self._last = None
        self.fields.clear()

    def line_up(self) -> None:
        """Many have entered."""
        for bucket in self._buckets.values():
            for queue in bucket.values():
                queue.line_up()

    def enter(self, entry: Entry) -> None:
        """An entry is ready."""
        bucket = self._buckets.get(entry.needs)
        if bucket is None:
            bucket = self._buckets[entry.needs] = {key: Queue() for key in (_ALL, *self._wheres)}
        entry.queues = queues = bucket[_ALL].alone
        if self._wheres:
            found = (bucket[key] for key, where in self._wheres.items() if matches(entry, where))
            entry.queues = queues = (*queues, *found)
        for queue in queues:
            queue.enter(entry)

    @staticmethod
    def leave(entry: Entry) -> None:
        """An entry is not ready any more; its ``ready`` says so already."""
        for queue in entry.queues:
            queue.count -= 1
        entry.queues = ()

    def first(self, needs: Sequence[str] | None = None, where: dict[str, Any] | None = None) -> Entry | None:
        """The first entry that an agent may have.

        Args:
            needs: What it can do; None: everything.
            where: What the task's fields have to be.
        """
        best = None
        for queue in self._for_agent(needs, where):
            entry = queue.first()
            if entry is not None and (best is None or entry.order < best.order):
                best = entry
        return best

    def count(self, needs: Sequence[str] | None = None, where: dict[str, Any] | None = None) -> int:
        """How many entries an agent may have."""
        return sum(queue.count for queue in self._for_agent(needs, where))

    def _for_agent(self, needs: Sequence[str] | None, where: dict[str, Any] | None) -> list[Queue]:
        key = self._where(where) if where else _ALL
        if needs is None:
            return [bucket[key] for bucket in self._buckets.values()]
        able = frozenset(needs)
        return [bucket[key] for wanted, bucket in self._buckets.items() if able.issuperset(wanted)]

    def _where(self, where: dict[str, Any]) -> str:
        if where is self._last:  # asked for once more in the same operation
            return self._last_key
        key = self._last_key = json.dumps(where, sort_keys=True)
        self._last = where
        known = self._wheres.pop(key, None)
        if known is None:
            if len(self._wheres) >= WHERES_MAX:
                self._forget(next(iter(self._wheres)))
            for bucket in self._buckets.values():
                queue = bucket[key] = Queue()
                for entry in bucket[_ALL].entries():
                    if matches(entry, where):
                        queue.enter(entry)
                        entry.queues = (*entry.queues, queue)
                queue.line_up()
        self._wheres[key] = where if known is None else known  # the one used last stands last
        self.fields.update(where)
        return key

    def _forget(self, key: str) -> None:
        del self._wheres[key]
        for bucket in self._buckets.values():
            del bucket[key]  # entries go on counting in it, and nobody asks


def matches(entry: Entry, where: dict[str, Any]) -> bool:
    """Whether a task's fields are what a filter asks for; a field that is a list has to contain it."""
    for field, wanted in where.items():
        given = entry.task.get(field)
        values = given if isinstance(given, list) else [given]
        accepted = wanted if isinstance(wanted, list) else [wanted]
        if not any(_same(value, one) for value in values for one in accepted):
            return False
    return True


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
