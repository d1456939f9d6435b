"""The store's clock by the dates of the service's answers: never ahead of it, and never far behind (P9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

import pytest
from engines.faults import DROP_REPLY, Script
from hypothesis import given
from hypothesis import strategies as st
from table_support import NAME, RESOURCE, Table

from coordinator.errors import StoreUnavailable
from coordinator.limits import TABLE_DATE_KEEP_MS, TABLE_DATE_RTT_MS, TABLE_SKEW_MS
from coordinator.record import table_time
from coordinator.record.table_time import ServiceTime
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from engines import Engine
    from engines.fixtures import ProxyFactory

DAY_MS: Final = 24 * 3600 * 1000
PPM: Final = 1_000_000


@dataclass
class World:
    """A service, and a process that asks it; true time is the service's."""

    true_ms: float = 1_790_000_000_000
    drift_ppm: int = 0  # of the process's clocks
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.time = ServiceTime(self.clock)

    def passes(self, span_ms: float) -> None:
        self.true_ms += span_ms
        self.clock.advance(span_ms * (PPM + self.drift_ppm) / PPM)

    def ask(self, there_ms: float, back_ms: float, date: str | None = None) -> None:
        """One request, with the time that it took each way."""
        sent = self.clock.now()
        self.passes(there_ms)
        date = formatdate(self.true_ms / 1000, usegmt=True) if date is None else date
        self.passes(back_ms)
        self.time.note(date, sent, self.clock.now())

    def told(self) -> int | None:
        return self.time.now_ms()

    @property
    def is_within(self) -> bool:
        told = self.told()
        return told is None or self.true_ms - TABLE_SKEW_MS <= told <= self.true_ms


halves = st.floats(0, TABLE_DATE_RTT_MS / 2 - 1)
spans = st.floats(0, TABLE_DATE_KEEP_MS * 1.5)
begins = st.integers(1_600_000_000_000, 1_990_000_000_000).map(float)


@given(begins, st.lists(st.tuples(halves, halves, spans), min_size=1, max_size=30), st.integers(-DAY_MS, DAY_MS))
def test_it_is_never_ahead_and_never_further_behind_than_the_skew(
    begin_ms: float, asked: list[tuple[float, float, float]], host_is_off_ms: int
) -> None:
    world = World(begin_ms, clock=ManualClock(int(begin_ms) + host_is_off_ms))
    for there_ms, back_ms, pause_ms in asked:
        world.ask(there_ms, back_ms)
        told = world.told()
        assert told is not None
        assert world.is_within, (told, world.true_ms)
        world.passes(pause_ms)
        assert world.is_within, (world.told(), world.true_ms)
        assert (world.told() is None) is (pause_ms > TABLE_DATE_KEEP_MS - 1) or abs(pause_ms - TABLE_DATE_KEEP_MS) < 2


@given(begins, st.lists(st.tuples(halves, halves), min_size=2, max_size=2), st.lists(spans, max_size=5))
def test_two_processes_are_no_further_apart_than_the_skew(
    begin_ms: float, asked: list[tuple[float, float]], pauses: list[float]
) -> None:
    world = World(begin_ms)
    other = ServiceTime(world.clock)
    world.ask(*asked[0])
    first, world.time = world.time, other
    world.ask(*asked[1])
    for pause_ms in [0.0, *pauses]:
        world.passes(pause_ms)
        one, two = first.now_ms(), other.now_ms()
        assert one is None or two is None or abs(one - two) <= TABLE_SKEW_MS


@given(begins, st.lists(st.tuples(halves, halves, st.floats(0, 3000)), min_size=2, max_size=30))
def test_more_answers_only_raise_it(begin_ms: float, asked: list[tuple[float, float, float]]) -> None:
    world, before = World(begin_ms), 0
    for there_ms, back_ms, pause_ms in asked:
        world.ask(there_ms, back_ms)
        told = world.told()
        assert told is not None
        assert told >= before
        before = told
        world.passes(pause_ms)


@pytest.mark.parametrize("drift_ppm", [-500, -50, 50, 500])
def test_clocks_that_run_apart_from_the_services_for_a_day(drift_ppm: int) -> None:
    """500 ppm is the most that NTP slews by; a quartz is off by some tens. What is off must not add up."""
    world = World(drift_ppm=drift_ppm)
    drifts_ms = 120_000 * abs(drift_ppm) / PPM + 10
    worst_ms = 0.0
    for _ in range(DAY_MS // 7013):
        world.ask(2, 2)
        told = world.told()
        assert told is not None
        assert told >= world.true_ms - TABLE_SKEW_MS - drifts_ms
        worst_ms = max(worst_ms, told - world.true_ms)
        world.passes(7013)
    assert worst_ms <= drifts_ms


# ── when it gives up ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "apart",
    [
        {"wall_ms": 5000},
        {"wall_ms": -5000},
        {"boot_ms": 5000},
        {"wall_ms": 60_000, "boot_ms": 60_000},
        {"monotonic_ms": 200},
    ],
)
def test_it_is_given_up_when_the_clocks_disagree(apart: dict[str, float]) -> None:
    world = World()
    world.ask(5, 5)
    assert world.told() is not None
    world.clock.advance(150, **apart)
    assert world.told() is None
    assert world.told() is None, "until the next answer"
    world.ask(5, 5)
    assert world.told() is not None
    assert world.is_within


def test_it_is_given_up_when_nothing_was_heard_for_long() -> None:
    world = World()
    world.ask(5, 5)
    world.passes(TABLE_DATE_KEEP_MS)
    assert world.told() is not None
    world.passes(1)
    assert world.told() is None


def test_an_answer_under_way_while_the_process_stood_still_is_not_used() -> None:
    """Its clocks may not have counted the freeze, all but one."""
    for clock in ("wall_ms", "boot_ms", "monotonic_ms"):
        world = World()
        sent = world.clock.now()
        date = formatdate(world.true_ms / 1000, usegmt=True)
        world.clock.advance(5, **{clock: TABLE_DATE_RTT_MS})
        world.time.note(date, sent, world.clock.now())
        assert world.told() is None, clock


@pytest.mark.parametrize(("took_ms", "is_used"), [(TABLE_DATE_RTT_MS, True), (TABLE_DATE_RTT_MS + 1, False)])
def test_a_slow_answer_tells_nothing(took_ms: int, is_used: bool) -> None:
    world = World()
    world.ask(0, took_ms)
    assert (world.told() is not None) is is_used


def test_a_slow_answer_does_not_keep_an_old_bound_alive() -> None:
    world = World()
    world.ask(1, 1)
    world.passes(TABLE_DATE_KEEP_MS - 2000)
    world.ask(1, 1500)
    world.passes(1000)
    assert world.told() is None


@pytest.mark.parametrize("set_ms", [-3600_000, 3600_000])
def test_a_service_whose_clock_was_set_is_believed(set_ms: int) -> None:
    world = World()
    for _ in range(3):
        world.ask(5, 5)
    world.true_ms += set_ms
    world.ask(5, 5)
    assert world.told() is not None
    assert world.is_within


GARBAGE: Final = [
    "yesterday",
    "0",
    "1790000000",
    "Mon, 99 Nov 2026 12:27:25 GMT",
    "Mon, 23 Nov 99999 12:27:25 GMT",
    "Mon, 23 Nov 2026 12:27:25 +9999999999",
    "Mon, 23 Nov 2026 25:61:61 GMT",
    "\x00\xff",
    "é" * 1000,
    ", , ,",
]


@pytest.mark.parametrize("date", GARBAGE)
def test_a_date_that_is_none_tells_nothing(date: str) -> None:
    world = World()
    world.ask(5, 5, date)
    assert world.told() is None
    world.ask(5, 5)
    world.ask(5, 5, date)
    assert world.told() is not None
    assert world.is_within


@given(st.text(max_size=60))
def test_no_date_is_too_strange(date: str) -> None:
    World().ask(5, 5, date)


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000", "UT"])
def test_each_way_to_write_greenwich(zone: str) -> None:
    world = World()
    world.ask(0, 0, formatdate(world.true_ms / 1000, usegmt=True).replace("GMT", zone))
    assert world.is_within
    assert world.told() is not None


# ── through the store ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_store_goes_by_the_services_clock_not_the_hosts(dynamodb: Engine, fault_proxy: ProxyFactory) -> None:
    table, service_s = Table.made(dynamodb), [1_700_000_000.0]
    proxy = fault_proxy(dynamodb, clock=lambda: service_s[0])
    clock = ManualClock()
    store = table.store(through=dynamodb.at(proxy.endpoint_url), clock=clock)
    assert store.now_ms() == 1_700_000_000_000
    clock.advance(2500)
    service_s[0] += 2.5
    assert 0 <= 1_700_000_002_500 - store.now_ms() <= 2, "reckoned, rather low than high, without a request"
    assert len(proxy.log) == 1
    clock.advance(wall_ms=DAY_MS)
    assert store.now_ms() == 1_700_000_002_000, "the host's clock was set: asked anew"
    workspace = table.open(through=dynamodb.at(proxy.endpoint_url), clock=clock)
    workspace.lease(NAME, ttl=60)
    (record,) = workspace.history(NAME)
    assert record.at_ms // 1000 == 1_700_000_002


def test_a_lost_answer_does_not_set_the_hosts_clock_in_the_services_place(
    dynamodb: Engine, fault_proxy: ProxyFactory
) -> None:
    table, clock = Table.made(dynamodb), ManualClock()
    behind_ms = clock.wall_ms() - 1_700_000_000_000
    proxy = fault_proxy(dynamodb, clock=lambda: (clock.wall_ms() - behind_ms) / 1000)
    store = table.store(through=dynamodb.at(proxy.endpoint_url), clock=clock)
    assert store.now_ms() == 1_700_000_000_000
    proxy.plan = Script("GetItem", [DROP_REPLY] * 100)
    with pytest.raises(StoreUnavailable):
        store.read(RESOURCE)
    proxy.plan = Script("GetItem", [])
    clock.advance(TABLE_DATE_KEEP_MS)
    assert 0 <= clock.wall_ms() - behind_ms - store.now_ms() < 1000


@pytest.mark.parametrize("date", ["", "garbage"])
def test_a_service_that_tells_no_time_is_not_used_for_it(
    dynamodb: Engine, monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    """DynamoDB Local sends no dates, and is believed to share this host's clock only where it runs on this host."""
    store: Any = Table.made(dynamodb).store()
    monkeypatch.setattr(store.calls, "is_here", lambda: False)
    note = store.calls.time.note
    monkeypatch.setattr(store.calls.time, "note", lambda _date, sent, came: note(date, sent, came))
    with pytest.raises(StoreUnavailable, match="does not tell the time") as refused:
        store.now_ms()
    assert refused.value.outcome_unknown is False


def test_a_bound_that_is_too_high_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties above notice a date that is taken for the end of its second."""
    parse = table_time._parse
    monkeypatch.setattr(table_time, "_parse", lambda date: (parse(date) or 0) + 1000)
    world = World()
    world.ask(1, 1)
    assert not world.is_within
