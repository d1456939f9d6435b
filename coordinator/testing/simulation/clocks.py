"""A host's three clocks: each runs at its own rate, stops in some freezes, and jumps.

What a simulated clock may do is what was seen or reported of sandboxes: the monotonic clock stops while the host is
frozen, boot time with it or not; the wall clock jumps when somebody sets it; and all of them run a little fast or slow.
No run breaks what the protocol rests on (P9, P10): a host's clocks are not all wrong in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordinator.clock import Instant
from coordinator.testing.simulation.locks import SimEvent

if TYPE_CHECKING:
    import threading

    from coordinator.testing.simulation.schedule import Scheduler

EPOCH_NS: Final = 1_790_000_000_000 * 1_000_000  # the server's clock when a run starts


@dataclass(eq=False, slots=True)
class Hand:
    """One clock: what it showed at a moment, and how fast it has run since."""

    shown_ns: int
    since_ns: int
    rate: float

    def at(self, now_ns: int) -> int:
        """What it shows at a moment of true time."""
        return self.shown_ns + round((now_ns - self.since_ns) * self.rate)

    def set_back(self, now_ns: int, span_ns: int) -> None:
        """Jumps; forward, if the span is negative."""
        self.shown_ns, self.since_ns = self.at(now_ns) - span_ns, now_ns


class HostClock:
    """Implements Clock for all processes of one host.

    Args:
        scheduler: Whose time.
        wall_off_ns: How far the wall clock is ahead of the server's.
        rates: Of the monotonic, the wall and the boot clock.
    """

    def __init__(
        self, scheduler: Scheduler, wall_off_ns: int = 0, rates: tuple[float, float, float] = (1, 1, 1)
    ) -> None:
        self._scheduler = scheduler
        now_ns = scheduler.now_ns
        started_ns = 1_000_000_000
        self.monotonic = Hand(started_ns, now_ns, rates[0])
        self.wall = Hand(EPOCH_NS + now_ns + wall_off_ns, now_ns, rates[1])
        self.boot = Hand(started_ns, now_ns, rates[2])

    def now(self) -> Instant:
        """See Clock."""
        now_ns = self._scheduler.now_ns
        return Instant(self.monotonic.at(now_ns), self.wall.at(now_ns), self.boot.at(now_ns))

    def pause(self, pause_ms: float, wake: threading.Event | None = None) -> bool:
        """See Clock: gives way to everybody who is due meanwhile."""
        span_ns = max(int(pause_ms * 1_000_000), 0)
        event: object = wake
        if isinstance(event, SimEvent):
            return event.pause(span_ns)
        self._scheduler.give_way(span_ns)
        return False
