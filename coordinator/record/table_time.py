"""The store's clock, told by the dates in the service's answers (P9).

A date is a whole second: when it was written the service's clock stood in [date, date + 1 s). An answer took its time,
too, so what is known on its arrival is a lower bound that is too low by less than a second and the round trip. Later
answers can only raise it; in between it grows a little slower than this process's clocks, which may run fast. So two
processes that reckon from it differ by less than TABLE_SKEW_MS, if answers that took longer than TABLE_DATE_RTT_MS are
not used.

Between answers this process's own clocks go on; once they disagree with each other, as after a freeze, or after a
while, the bound is given up and a new date is asked for.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from coordinator.clock import elapsed_max_ms, elapsed_min_ms
from coordinator.limits import TABLE_DATE_KEEP_MS, TABLE_DATE_RTT_MS

if TYPE_CHECKING:
    from coordinator.clock import Clock, Instant

DRIFT_PPM: Final = 500  # the most that NTP slews a clock by: ours may run so much faster than the service's
_DISAGREE_MS: Final = 100  # clocks of one machine that ran are nearer to each other than this


class ServiceTime:
    """A lower bound of the service's time. Thread-safe.

    Args:
        clock: This machine's clocks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._bound: tuple[Instant, int] | None = None  # when an answer came, and what it was then at least
        self.is_silent = False  # whether the last answer had no date
        self._dated: Instant | None = None  # when the newest of the answers came

    def note(self, date: str, sent: Instant, came: Instant) -> None:
        """Takes down an answer's date, if it has one."""
        self.is_silent = not date
        if not date or elapsed_max_ms(sent, came) > TABLE_DATE_RTT_MS:
            return
        date_ms = _parse(date)
        if date_ms is None:
            return
        with self._guard:
            reckoned_ms = self._reckoned(came)
            if reckoned_ms is None or reckoned_ms <= date_ms or reckoned_ms > date_ms + 1000 + TABLE_DATE_RTT_MS:
                # The better bound; or the service's clock was set back, or ours ran away: the newest date is believed.
                self._bound = (came, date_ms)
            self._dated = came

    def now_ms(self) -> int | None:
        """What the time is at least; None: a date must be asked for first."""
        with self._guard:
            return self._reckoned(self._clock.now())

    def _reckoned(self, now: Instant) -> int | None:
        if self._bound is None or self._dated is None:
            return None
        if elapsed_max_ms(self._dated, now) > TABLE_DATE_KEEP_MS:
            return None
        since, bound_ms = self._bound
        least_ms = elapsed_min_ms(since, now)
        if elapsed_max_ms(since, now) - least_ms > _DISAGREE_MS + least_ms * DRIFT_PPM // 1_000_000:
            self._bound = None
            return None
        return bound_ms + least_ms - least_ms * DRIFT_PPM // 1_000_000


def _parse(date: str) -> int | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - botocore has loaded it by then

    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, TypeError):
        return None
