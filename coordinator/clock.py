"""The only reader of time.

A process has three clocks, and none of them can be trusted across a freeze: the monotonic clock may stop while a
sandbox is frozen, the wall clock jumps, boot time is not kept everywhere. So a span is measured on all of them, and the
reading that errs on the safe side is taken: a *holder* believes the longest (P10), a *contender* the shortest (P9).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from coordinator.errors import BadValue

if TYPE_CHECKING:
    import threading


class Instant(NamedTuple):
    """One reading of all three clocks, nanoseconds."""

    monotonic_ns: int
    wall_ns: int
    boot_ns: int


class Clock(Protocol):
    """What the rest of the project asks of time. Replaced by ``coordinator.testing.ManualClock`` and by simulators."""

    def now(self) -> Instant:
        """Reads all clocks."""
        ...

    def pause(self, pause_ms: float, wake: threading.Event | None = None) -> bool:
        """Waits, at most ``pause_ms``; returns True when ``wake`` was set."""
        ...


def elapsed_max_ms(since: Instant, now: Instant) -> int:
    """The longest of the spans that the clocks tell: what a holder must assume has passed (P10). Never negative."""
    span_ns = max(
        now.monotonic_ns - since.monotonic_ns,
        now.wall_ns - since.wall_ns,
        now.boot_ns - since.boot_ns,
        0,
    )
    return -(-span_ns // 1_000_000)  # rounded up: the safe side for a holder


def elapsed_min_ms(since: Instant, now: Instant) -> int:
    """The shortest span of monotonic and wall clock: what a contender may assume has passed (P9). Never negative."""
    span_ns = min(now.monotonic_ns - since.monotonic_ns, now.wall_ns - since.wall_ns)
    return max(span_ns, 0) // 1_000_000


def millis_of(seconds: Any, argument: str, most_ms: float = 1e12) -> int:
    """A user's seconds as whole milliseconds.

    Raises:
        BadValue: Not a finite, non-negative number, or too many.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds * 1000 <= most_ms:
        raise BadValue(
            f"{argument}={seconds!r} is not a number of seconds up to {most_ms / 1000:,.0f}",
            argument=argument,
            value=seconds,
        )
    millis: int = round(seconds * 1000)
    return millis


class CautiousTimer:
    """How long something has been so, at the least, by one process's repeated looks (P9).

    Each span between two looks counts as the shorter of what monotonic and wall clock say of it. Adding up the spans,
    instead of comparing the last look with the first, makes a wall clock that is set back cost one span, and not as
    long as it takes that clock to come back to where it was.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.now()
        self._total_ns = 0

    def restart(self) -> None:
        """It changed just now."""
        self._last, self._total_ns = self._clock.now(), 0

    def elapsed_ms(self) -> int:
        """Looks at the clocks, and tells the sum."""
        now = self._clock.now()
        span_ns = min(now.monotonic_ns - self._last.monotonic_ns, now.wall_ns - self._last.wall_ns)
        self._last, self._total_ns = now, self._total_ns + max(span_ns, 0)
        return self._total_ns // 1_000_000


class SystemClock:
    """This machine's clocks."""

    # macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC is the one of the two that counts sleep.
    _boot_clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> Instant:
        """Reads all clocks; about half a microsecond."""
        return Instant(time.monotonic_ns(), time.time_ns(), time.clock_gettime_ns(self._boot_clock))

    def pause(self, pause_ms: float, wake: threading.Event | None = None) -> bool:
        """Sleeps, or waits for ``wake``."""
        if wake is not None:
            return wake.wait(pause_ms / 1000)
        time.sleep(pause_ms / 1000)
        return False


SYSTEM_CLOCK = SystemClock()
