"""The finer rules of the cells of ``decide``: when trust ends, who may take over, and whose turn it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from decide_support import ASKER, MINE, NEW_HEAD, REQUESTS, SKEW_MS, SPENT
from support import NOW_MS, a_lease, a_record, an_author, an_id

from coordinator.limits import TURN_MS, WAITING_MAX
from coordinator.record.decide import (
    Acquire,
    Ask,
    Break,
    Commit,
    Detach,
    Leave,
    Put,
    Raise,
    Readings,
    Refusal,
    Renew,
    Resume,
    Transition,
    Why,
    decide,
    over_reason,
    standing,
)
from coordinator.record.record import Holding, Record, Waiter

# ── the trust boundary (P10) ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ttl_ms", [100, 101, 104, 105, 10_000, 86_400_000])
def test_trust_ends_at_exactly_80_percent_of_the_records_ttl(ttl_ms: int) -> None:
    record = a_record(lease=a_lease(ttl_ms=ttl_ms))
    boundary_ms = -(-ttl_ms * 4 // 5)  # the first whole millisecond that is not below 0.8 ttl
    for held_ms, column in ((boundary_ms - 1, MINE), (boundary_ms, SPENT)):
        assert standing(record, REQUESTS[Renew], Readings(NOW_MS, SKEW_MS, held_ms=held_ms)) is column


def test_a_holders_trust_does_not_hang_on_the_stores_clock() -> None:
    late = Readings(NOW_MS + 10**7, SKEW_MS, held_ms=0)
    assert standing(a_record(), REQUESTS[Commit], late) is MINE


# ── taking over (P9) ─────────────────────────────────────────────────────────────────────────────────────────────────


# (ttl_ms, dead_by_ms): each reason at its last ms before and its first ms after
BOUNDARIES: Final = [
    ("expired", a_lease(), Readings(NOW_MS - 1000 + 10_000 + SKEW_MS, SKEW_MS), "now_ms"),
    ("expired", a_lease(ttl_ms=137), Readings(NOW_MS - 1000 + 137 + SKEW_MS, SKEW_MS), "now_ms"),
    ("expired", a_lease(), Readings(NOW_MS - 1000 + 10_000, 0), "now_ms"),
    ("silent", a_lease(), Readings(NOW_MS, SKEW_MS, watched_ms=10_999), "watched_ms"),
    ("silent", a_lease(ttl_ms=101), Readings(NOW_MS - 1000, SKEW_MS, watched_ms=111), "watched_ms"),
    ("dead", a_lease(dead_by_ms=NOW_MS + 50), Readings(NOW_MS + 50 + SKEW_MS, SKEW_MS), "now_ms"),
]


@pytest.mark.parametrize(("reason", "lease", "last", "clock"), BOUNDARIES)
def test_a_lease_is_over_from_exactly_this_millisecond(reason: str, lease: Holding, last: Readings, clock: str) -> None:
    first = last._replace(**{clock: getattr(last, clock) + 1})
    assert over_reason(lease, last) == ""
    assert over_reason(lease, first) == reason
    record, request = a_record(lease=lease), Acquire(ASKER, 20_000)
    assert decide(record, request, last) == Refusal(Why.HELD, record)
    granted = decide(record, request, first)
    assert isinstance(granted, Transition)
    assert (granted.record.why, granted.record.lease and granted.record.lease.fence) == (reason, 8)


def test_the_ttl_is_the_holders_and_not_the_contenders() -> None:
    readings = Readings(NOW_MS, SKEW_MS, watched_ms=5000)
    assert isinstance(decide(a_record(), Acquire(ASKER, 100), readings), Refusal)
    short = a_record(lease=a_lease(ttl_ms=500))
    assert isinstance(decide(short, Acquire(ASKER, 86_400_000), readings), Transition)


def test_no_deadline_is_no_reason() -> None:
    assert over_reason(a_lease(ttl_ms=10**8, dead_by_ms=0), Readings(NOW_MS, SKEW_MS)) == ""


def test_a_deadline_does_not_lengthen_a_lease() -> None:
    lease = a_lease(dead_by_ms=NOW_MS + 10**6)
    assert lease.until_ms == NOW_MS + 9000
    assert over_reason(lease, Readings(NOW_MS + 9000 + SKEW_MS + 1, SKEW_MS)) == "expired"
    assert a_lease(dead_by_ms=NOW_MS + 1).until_ms == NOW_MS + 1


def test_a_grant_carries_the_hosts_deadline() -> None:
    free = a_record(lease=None, freed_ms=NOW_MS)
    granted = decide(free, Acquire(ASKER, 20_000, NOW_MS + 5000), Readings(NOW_MS, SKEW_MS))
    assert isinstance(granted, Transition)
    assert granted.record.lease is not None
    assert granted.record.lease.dead_by_ms == NOW_MS + 5000


# ── the line (P12) ───────────────────────────────────────────────────────────────────────────────────────────────────


LINE: Final = tuple(Waiter(an_id(60 + i), NOW_MS - 1000 + i) for i in range(4))


def line_case(place: int | None, **changes: Any) -> tuple[Record, Acquire]:
    record = a_record(waiting=LINE, **changes)
    return record, Acquire(ASKER, 20_000, 0, LINE[place].request if place is not None else "")


@pytest.mark.parametrize("place", [0, 1, 2, 3, None])
def test_a_free_lease_is_left_for_one_turn_to_each_ahead_by_the_stores_clock(place: int | None) -> None:
    ahead = 4 if place is None else place
    record, request = line_case(place, lease=None, freed_ms=NOW_MS)
    due = Readings(NOW_MS + ahead * TURN_MS, SKEW_MS)
    if ahead:
        early = due._replace(now_ms=due.now_ms - 1)
        assert decide(record, request, early) == Refusal(Why.IN_LINE, record)
    granted = decide(record, request, due)
    assert isinstance(granted, Transition)
    assert granted.record.waiting == LINE[ahead + 1 :]  # those ahead had their turn


@pytest.mark.parametrize("place", [1, 3, None])
def test_a_turn_comes_by_watching_too_should_the_stores_clock_be_set_back(place: int | None) -> None:
    ahead = 4 if place is None else place
    record, request = line_case(place, lease=None, freed_ms=NOW_MS)
    back = Readings(NOW_MS - 10**6, SKEW_MS, watched_ms=ahead * TURN_MS)
    assert isinstance(decide(record, request, back), Transition)
    assert decide(record, request, back._replace(watched_ms=back.watched_ms - 1)) == Refusal(Why.IN_LINE, record)


@pytest.mark.parametrize("place", [1, 3, None])
def test_a_lease_that_ran_out_is_left_for_a_turn_each_as_well(place: int | None) -> None:
    ahead = 4 if place is None else place
    record, request = line_case(place)
    over_ms = NOW_MS - 1000 + 10_000 + SKEW_MS
    due = Readings(over_ms + ahead * TURN_MS, SKEW_MS)
    assert isinstance(decide(record, request, due), Transition)
    assert decide(record, request, due._replace(now_ms=due.now_ms - 1)) == Refusal(Why.IN_LINE, record)
    silent = Readings(NOW_MS, SKEW_MS, watched_ms=11_000 + ahead * TURN_MS)
    assert isinstance(decide(record, request, silent), Transition)
    assert decide(record, request, silent._replace(watched_ms=silent.watched_ms - 1)) == Refusal(Why.IN_LINE, record)


def test_the_first_in_line_need_not_wait() -> None:
    record, request = line_case(0, lease=None, freed_ms=NOW_MS)
    granted = decide(record, request, Readings(NOW_MS, SKEW_MS))
    assert isinstance(granted, Transition)
    assert granted.record.waiting == LINE[1:]


def test_a_place_that_is_no_longer_in_line_counts_as_none() -> None:
    record, _ = line_case(0, lease=None, freed_ms=NOW_MS)
    request = Acquire(ASKER, 20_000, 0, an_id(88))
    assert decide(record, request, Readings(NOW_MS + 4 * TURN_MS - 1, SKEW_MS)) == Refusal(Why.IN_LINE, record)


def test_the_line_has_an_end() -> None:
    record, _ = line_case(None)
    assert len(LINE) == WAITING_MAX
    assert decide(record, Ask(ASKER), Readings(NOW_MS, SKEW_MS)) == Refusal(Why.LINE_FULL, record)


def test_who_is_in_line_already_does_not_enter_twice_even_into_a_full_line() -> None:
    record, _ = line_case(None)
    again = Ask(an_author(0)._replace(request=LINE[2].request))
    assert decide(record, again, Readings(NOW_MS, SKEW_MS)) == Refusal(Why.NOTHING, record)


def test_leaving_a_line_takes_only_the_own_place() -> None:
    record, _ = line_case(None)
    left = decide(record, Leave(ASKER, LINE[1].request), Readings(NOW_MS, SKEW_MS))
    assert isinstance(left, Transition)
    assert left.record.waiting == (LINE[0], LINE[2], LINE[3])
    nobody = Leave(ASKER, an_id(88))
    assert decide(record, nobody, Readings(NOW_MS, SKEW_MS)) == Refusal(Why.NOTHING, record)


# ── the rest of the cells' own rules ─────────────────────────────────────────────────────────────────────────────────


def test_a_fence_is_the_position_of_its_grant_whatever_came_between() -> None:
    record = a_record(n=41, lease=None, freed_ms=NOW_MS)
    granted = decide(record, Acquire(ASKER, 20_000), Readings(NOW_MS, SKEW_MS))
    assert isinstance(granted, Transition)
    assert granted.record.lease is not None
    assert (granted.record.n, granted.record.lease.fence) == (42, 42)


def test_break_wants_the_very_fence() -> None:
    record = a_record()
    assert decide(record, Break(ASKER, 4), Readings(NOW_MS, SKEW_MS)) == Refusal(Why.TAKEN, record)


@pytest.mark.parametrize(("on_revision", "agrees"), [(2, False), (3, True), (4, False)])
def test_put_wants_the_very_revision(on_revision: int, agrees: bool) -> None:
    record = a_record(lease=None, freed_ms=NOW_MS - 9)
    decision = decide(record, Put(ASKER, NEW_HEAD, on_revision, "adopted"), Readings(NOW_MS, SKEW_MS))
    if not agrees:
        assert decision == Refusal(Why.REVISION, record)
        return
    assert isinstance(decision, Transition)
    assert (decision.record.why, decision.record.revision) == ("adopted", 4)
    assert decision.record.freed_ms == NOW_MS - 9  # it freed nothing: those in line keep their turns


@pytest.mark.parametrize(("on_revision", "agrees"), [(None, True), (2, False), (3, True)])
def test_commit_wants_the_revision_only_when_it_names_one(on_revision: int | None, agrees: bool) -> None:
    decision = decide(a_record(), replace(REQUESTS[Commit], on_revision=on_revision), Readings(NOW_MS, SKEW_MS))
    assert isinstance(decision, Transition if agrees else Refusal)
    if isinstance(decision, Refusal):
        assert decision.why is Why.REVISION


def test_put_on_an_over_lease_frees_it_and_fences_its_holder_out() -> None:
    over = Readings(NOW_MS + 10**6, SKEW_MS)
    put = decide(a_record(), Put(ASKER, NEW_HEAD, 3), over)
    assert isinstance(put, Transition)
    assert (put.record.lease, put.record.freed_ms) == (None, over.now_ms)
    thawed = decide(put.record, replace(REQUESTS[Commit], on_revision=None), Readings(NOW_MS, SKEW_MS, held_ms=0))
    assert thawed == Refusal(Why.RELEASED, put.record)


@pytest.mark.parametrize(("floor", "agrees"), [(1, False), (2, False), (3, True), (7, True), (8, False)])
def test_the_floor_only_rises_and_never_above_what_is_there(floor: int, agrees: bool) -> None:
    decision = decide(a_record(), Raise(ASKER, floor), Readings(NOW_MS, SKEW_MS))
    if agrees:
        assert isinstance(decision, Transition)
        assert decision.record.floor == floor
    else:
        assert decision == Refusal(Why.NOTHING, a_record())


def test_resume_wants_a_detached_lease() -> None:
    record = a_record()
    assert decide(record, REQUESTS[Resume], Readings(NOW_MS, SKEW_MS)) == Refusal(Why.TAKEN, record)


def test_a_token_is_good_once() -> None:
    record = a_record(lease=a_lease(detached=True))
    first = decide(record, REQUESTS[Resume], Readings(NOW_MS, SKEW_MS))
    assert isinstance(first, Transition)
    second = decide(first.record, Resume(an_author(2), an_id(51), 5, an_id(98)), Readings(NOW_MS, SKEW_MS))
    assert second == Refusal(Why.TAKEN, first.record)


@pytest.mark.parametrize(
    "readings",
    [
        Readings(NOW_MS + 9000 + SKEW_MS + 1, SKEW_MS),
        Readings(NOW_MS, SKEW_MS, watched_ms=11_000),
    ],
)
def test_a_detached_lease_cannot_be_resumed_once_others_may_take_it(readings: Readings) -> None:
    record = a_record(lease=a_lease(detached=True))
    assert decide(record, REQUESTS[Resume], readings) == Refusal(Why.EXPIRED, record)


@pytest.mark.parametrize("verb", [Renew, Detach, Resume])
def test_every_sign_of_life_renews_and_never_backwards(verb: type) -> None:
    record = a_record(lease=a_lease(detached=verb is Resume))
    for now_ms, expected_ms in ((NOW_MS + 77, NOW_MS + 77), (NOW_MS - 10**6, NOW_MS - 999)):
        decision = decide(record, REQUESTS[verb], Readings(now_ms, SKEW_MS))
        assert isinstance(decision, Transition)
        assert decision.record.lease is not None
        assert decision.record.lease.renewed_ms == expected_ms
        assert decision.record.lease.granted_ms == NOW_MS - 3000


def test_a_commit_leaves_the_lease_as_it_is() -> None:
    decision = decide(a_record(), REQUESTS[Commit], Readings(NOW_MS + 500, SKEW_MS))
    assert isinstance(decision, Transition)
    assert decision.record.lease == a_lease()
