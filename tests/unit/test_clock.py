"""Spans of time when clocks stop, jump and run apart: every error falls on the safe side."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.clock import SYSTEM_CLOCK, CautiousTimer, Instant, elapsed_max_ms, elapsed_min_ms
from coordinator.testing import ManualClock

MS = 1_000_000


def instant(monotonic_ms: float, wall_ms: float, boot_ms: float) -> Instant:
    return Instant(round(monotonic_ms * MS), round(wall_ms * MS), round(boot_ms * MS))


ZERO = instant(0, 0, 0)


@pytest.mark.parametrize(
    ("now", "longest", "shortest"),
    [
        (instant(100, 100, 100), 100, 100),
        (instant(0, 100, 100), 100, 0),  # the monotonic clock stopped
        (instant(100, 0, 100), 100, 0),  # the wall clock stopped
        (instant(100, 100, 0), 100, 100),  # boot time is not kept here
        (instant(10, 10, 500), 500, 10),  # only boot time counts a suspension
        (instant(100, 10_000, 100), 10_000, 100),  # the wall clock jumped ahead
        (instant(100, -10_000, 100), 100, 0),  # … and back
        (instant(-5, -5, -5), 0, 0),
        (instant(0.000001, 0, 0), 1, 0),  # a holder rounds up, a contender down
        (instant(1.999999, 1.999999, 1.999999), 2, 1),
    ],
)
def test_a_holder_takes_the_longest_span_and_a_contender_the_shortest(
    now: Instant, longest: int, shortest: int
) -> None:
    assert elapsed_max_ms(ZERO, now) == longest
    assert elapsed_min_ms(ZERO, now) == shortest


spans = st.integers(-(10**13), 10**13)


@given(spans, spans, spans)
def test_whatever_clocks_say_the_holder_gives_up_no_later_than_the_contender_takes_over(
    monotonic: int, wall: int, boot: int
) -> None:
    now = Instant(monotonic, wall, boot)
    assert 0 <= elapsed_min_ms(ZERO, now) <= elapsed_max_ms(ZERO, now)


def test_a_cautious_timer_adds_up_the_shorter_span_of_each_look() -> None:
    clock = ManualClock()
    timer = CautiousTimer(clock)
    assert timer.elapsed_ms() == 0
    clock.advance(100)
    assert timer.elapsed_ms() == 100
    clock.advance(monotonic_ms=50)  # the wall clock stands
    assert timer.elapsed_ms() == 100
    clock.advance(wall_ms=50)  # … and now the other
    assert timer.elapsed_ms() == 100
    clock.advance(100)
    assert timer.elapsed_ms() == 200


def test_a_wall_clock_that_is_set_back_costs_one_span_only() -> None:
    clock = ManualClock()
    timer = CautiousTimer(clock)
    for _ in range(10):
        clock.advance(100)
        timer.elapsed_ms()
    clock.advance(100, wall_ms=-3_600_000)
    assert timer.elapsed_ms() == 1000
    clock.advance(100)
    assert timer.elapsed_ms() == 1100


def test_a_wall_clock_that_jumps_ahead_counts_for_nothing() -> None:
    clock = ManualClock()
    timer = CautiousTimer(clock)
    clock.advance(10, wall_ms=3_600_000)
    assert timer.elapsed_ms() == 10


def test_a_timer_does_not_lose_parts_of_milliseconds() -> None:
    clock = ManualClock()
    timer = CautiousTimer(clock)
    for _ in range(1000):
        clock.advance(0.1)
        timer.elapsed_ms()
    assert timer.elapsed_ms() == 100


def test_a_timer_begins_anew() -> None:
    clock = ManualClock()
    timer = CautiousTimer(clock)
    clock.advance(100)
    timer.restart()
    assert timer.elapsed_ms() == 0
    clock.advance(7)
    assert timer.elapsed_ms() == 7


def test_the_real_clocks_go_on_and_a_pause_is_one() -> None:
    began = SYSTEM_CLOCK.now()
    assert SYSTEM_CLOCK.pause(2) is False
    now = SYSTEM_CLOCK.now()
    assert elapsed_max_ms(began, now) >= 2
    assert now.wall_ns > 1_600_000_000 * 10**9


def test_a_pause_ends_when_it_is_woken() -> None:
    wake = threading.Event()
    began = SYSTEM_CLOCK.now()
    wake.set()
    assert SYSTEM_CLOCK.pause(60_000, wake) is True
    assert elapsed_max_ms(began, SYSTEM_CLOCK.now()) < 30_000
    assert SYSTEM_CLOCK.pause(1, threading.Event()) is False


def test_the_manual_clock_moves_on_when_it_pauses_and_lets_others_act() -> None:
    paused: list[float] = []
    clock = ManualClock(on_pause=paused.append)
    before, wake = clock.now(), threading.Event()
    assert clock.pause(5) is False
    wake.set()
    assert clock.pause(5, wake) is True
    assert paused == [5, 5]
    assert elapsed_min_ms(before, clock.now()) == 10
    assert clock.wall_ms() == before.wall_ns // MS + 10
