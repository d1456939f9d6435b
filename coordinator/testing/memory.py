"""A store in memory: the contract without a file system, for users' tests and for simulation."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordinator.clock import SYSTEM_CLOCK
from coordinator.limits import CHAIN_KEEP, CHAIN_MAX, MOUNT_SKEW_MS, QUEUE_WAIT_MAX_MS
from coordinator.record.agree import settle
from coordinator.record.decide import Author, Raise
from coordinator.record.record import MOUNT, Record, decode, encode
from coordinator.record.store import Appended, Beaten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coordinator.clock import Clock
    from coordinator.names import Resource
    from coordinator.record.record import Holding


@dataclass
class _Chain:
    live: dict[int, str] = field(default_factory=dict)
    archive: dict[int, str] = field(default_factory=dict)


class MemoryStore:
    """Implements Store. Shared by all threads that hold it; gone with its process.

    Records are kept encoded, as on a mount, so that what does not fit a record fails here too.

    Args:
        clock: Whose wall clock is the store's.
    """

    mode = MOUNT
    skew_ms = MOUNT_SKEW_MS
    live_keep = CHAIN_KEEP
    live_max = CHAIN_MAX

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._guard = threading.RLock()
        self._chains: dict[Resource, _Chain] = {}
        self._turns: dict[Resource, threading.Lock] = {}

    def read(self, resource: Resource) -> Record | None:
        """See Store."""
        with self._guard:
            chain = self._chains.get(resource)
            return self._decode(resource, chain.live[max(chain.live)]) if chain else None

    def remembered(self, resource: Resource) -> Record | None:  # noqa: ARG002 - a seam like any other
        """See Store: a look is cheap."""
        return None

    def append(self, resource: Resource, record: Record, *, durable: bool) -> Appended | Beaten:  # noqa: ARG002
        """See Store."""
        text = encode(record)
        with self._guard:
            newest = self.read(resource)
            chain = self._chains.get(resource)
            standing = chain and (chain.live.get(record.n) or chain.archive.get(record.n))
            if standing:
                if self._decode(resource, standing).request != record.request:
                    assert newest is not None  # noqa: S101 - something stands there
                    return Beaten(newest)
            else:
                expected = newest.n + 1 if newest else 1
                if record.n != expected:
                    raise AssertionError(f"record {record.n} of {resource!r} was decided on nothing that was read")
                chain = self._chains.setdefault(resource, _Chain())
                chain.live[record.n] = text
            assert chain is not None  # noqa: S101 - it is there by now
            return Appended(record, len(chain.live))

    def append_together(self, appends: Sequence[tuple[Resource, Record]]) -> None:
        """See Store: one at a time here."""

    def make_durable(self, resource: Resource, n: int) -> None:
        """See Store."""

    def now_ms(self) -> int:
        """See Store."""
        return self._clock.now().wall_ns // 1_000_000

    @contextmanager
    def turn(self, resource: Resource, *, wait_ms: int | None = None) -> Iterator[bool]:
        """See Store."""
        with self._guard:
            turn = self._turns.setdefault(resource, threading.Lock())
        has_turn = turn.acquire(timeout=(QUEUE_WAIT_MAX_MS if wait_ms is None else wait_ms) / 1000)
        try:
            yield has_turn
        finally:
            if has_turn:
                turn.release()

    def history(self, resource: Resource) -> list[Record]:
        """See Store."""
        with self._guard:
            chain = self._chains.get(resource, _Chain())
            texts = {**chain.archive, **chain.live}
        return [self._decode(resource, texts[n]) for n in sorted(texts)]

    def collect(self, resource: Resource, author: Author, *, keep: int) -> int:
        """See Store."""
        newest = self.read(resource)
        if newest is None:
            return 0
        floor = newest.n - keep + 1
        if floor > newest.floor:
            settle(self, resource, lambda _n, _now_ms: Raise(author, floor))
        with self._guard:
            chain, newest = self._chains[resource], self.read(resource)
            assert newest is not None  # noqa: S101 - it was there
            below = [n for n in chain.live if n < newest.floor]
            chain.archive.update({n: chain.live.pop(n) for n in below})
            return len(below)

    def resources(self) -> Iterable[Resource]:
        """See Store."""
        with self._guard:
            return sorted(self._chains)

    def show_life(self, incarnation: str) -> None:
        """See Store: that cannot be told here."""

    def is_gone(self, lease: Holding) -> bool:  # noqa: ARG002 - a seam like any other
        """See Store: that cannot be told here."""
        return False

    def close(self) -> None:
        """See Store."""

    def after_fork(self) -> None:
        """See Store."""
        self._guard = threading.RLock()
        self._turns = {}

    @staticmethod
    def _decode(resource: Resource, text: str) -> Record:
        return decode(text, resource=resource, path=f"memory:{resource}")
