"""A clock that is set by hand: it stops, jumps and runs apart as the test says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from coordinator.clock import Instant

if TYPE_CHECKING:
    from collections.abc import Callable

START_MS = 1_790_000_000_000


class ManualClock:
    """Implements Clock. ``pause`` does not wait: it moves the clock on, and calls ``on_pause`` if there is one.

    Args:
        start_ms: The first reading of the wall clock, Unix milliseconds.
        on_pause: Called with the milliseconds of each pause, after the clock moved: where a test lets others act.
    """

    def __init__(self, start_ms: int = START_MS, on_pause: Callable[[float], None] | None = None) -> None:
        self._guard = threading.Lock()
        self._now = Instant(1_000_000_000, start_ms * 1_000_000, 1_000_000_000)
        self.on_pause = on_pause

    def now(self) -> Instant:
        """See Clock."""
        with self._guard:
            return self._now

    def advance(self, every_ms: float = 0, *, monotonic_ms: float = 0, wall_ms: float = 0, boot_ms: float = 0) -> None:
        """Moves all clocks on by ``every_ms``, and each one by its own figure besides; negative sets it back."""
        with self._guard:
            self._now = Instant(
                self._now.monotonic_ns + round((every_ms + monotonic_ms) * 1e6),
                self._now.wall_ns + round((every_ms + wall_ms) * 1e6),
                self._now.boot_ns + round((every_ms + boot_ms) * 1e6),
            )

    def pause(self, pause_ms: float, wake: threading.Event | None = None) -> bool:
        """See Clock."""
        self.advance(pause_ms)
        if self.on_pause:
            self.on_pause(pause_ms)
        return wake is not None and wake.is_set()

    def wall_ms(self) -> int:
        """The wall clock, Unix milliseconds."""
        return self.now().wall_ns // 1_000_000
