"""``decide``, cell by cell, and the finer rules of its cells."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW_MS, SHA256, a_head, a_lease, a_record, an_author, an_id

from coordinator.limits import MOUNT_SKEW_MS, RECORD_MAX_BYTES, TURN_MS, WAITING_MAX
from coordinator.record.decide import (
    TABLE,
    Acquire,
    Ask,
    Break,
    Commit,
    Decision,
    Detach,
    Leave,
    Put,
    Raise,
    Readings,
    Refusal,
    Release,
    Renew,
    Request,
    Resume,
    Standing,
    Transition,
    Why,
    decide,
    over_reason,
    standing,
)
from coordinator.record.record import Head, Holding, Record, Waiter, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

FREE, MINE, SPENT = Standing.FREE, Standing.MINE, Standing.SPENT
LIVE, OVER, SEALED = Standing.LIVE, Standing.OVER, Standing.SEALED
SKEW_MS: Final = MOUNT_SKEW_MS
ASKER: Final = an_author(1)
FIRST_IN_LINE: Final = Waiter(an_id(61), NOW_MS - 500)
NEW_HEAD: Final = a_head(revision=0, n=8, incarnation=ASKER.incarnation, sha256="b" * 64, size_bytes=23, fence=0)

# One request of each verb, by the holder of ``a_lease()`` where the verb is a holder's.
REQUESTS: Final[dict[type, Any]] = {
    Acquire: Acquire(ASKER, 20_000, 0, FIRST_IN_LINE.request),
    Ask: Ask(ASKER),
    Leave: Leave(ASKER, FIRST_IN_LINE.request),
    Break: Break(ASKER, 5),
    Put: Put(ASKER, NEW_HEAD, 3),
    Raise: Raise(ASKER, 6),
    Renew: Renew(ASKER, an_id(51), 5),
    Release: Release(ASKER, an_id(51), 5),
    Detach: Detach(ASKER, an_id(51), 5),
    Resume: Resume(ASKER, an_id(51), 5, an_id(99)),
    Commit: Commit(ASKER, an_id(51), 5, NEW_HEAD, 3),
}
HOLDERS: Final = {Renew, Release, Detach, Resume, Commit}


class Situation(NamedTuple):
    record: Record
    request: Request
    readings: Readings


def situation(verb: type, column: Standing) -> Situation:
    """A record and readings under which the verb's request has that standing."""
    detached = verb is Resume
    record = a_record(lease=a_lease(detached=detached), waiting=(FIRST_IN_LINE,))
    request, readings = REQUESTS[verb], Readings(NOW_MS, SKEW_MS)
    if column is FREE:
        record = replace(record, lease=None, freed_ms=NOW_MS - 400)
    elif column is SPENT:
        readings = readings._replace(held_ms=8000)
    elif column is SEALED:
        record = replace(record, kind="sealed")
    elif column in {LIVE, OVER} and verb in HOLDERS:
        request = replace(request, lease_id=an_id(50))
    if column is OVER:
        readings = readings._replace(now_ms=NOW_MS - 1000 + 10_000 + SKEW_MS + 1)
    return Situation(record, request, readings)


class Yes(NamedTuple):
    """The next record: its kind, its why, and how else it differs from the one before."""

    kind: str
    why: str = ""
    changes: Callable[[Situation], dict[str, Any]] = lambda _: {}


IMPOSSIBLE: Final = "impossible"


def new_lease(case: Situation) -> dict[str, Any]:
    now_ms = case.readings.now_ms
    lease = Holding(8, ASKER.request, "asker", ASKER.incarnation, 20_000, now_ms, now_ms, 0, detached=False)
    return {"lease": lease, "freed_ms": 0, "waiting": ()}


def one_more_waits(case: Situation) -> dict[str, Any]:
    return {"waiting": (FIRST_IN_LINE, Waiter(ASKER.request, case.readings.now_ms))}


def nobody_waits(_: Situation) -> dict[str, Any]:
    return {"waiting": ()}


def freed(case: Situation) -> dict[str, Any]:
    return {"lease": None, "freed_ms": case.readings.now_ms}


def content_without_lease(_: Situation) -> dict[str, Any]:
    return {"head": Head(4, 8, ASKER.incarnation, "b" * 64, 23, 0)}


def content_and_freed(case: Situation) -> dict[str, Any]:
    return {**content_without_lease(case), **freed(case)}


def content_under_lease(_: Situation) -> dict[str, Any]:
    return {"head": Head(4, 8, ASKER.incarnation, "b" * 64, 23, 5)}


def floor_at_6(_: Situation) -> dict[str, Any]:
    return {"floor": 6}


def renewed(_: Situation) -> dict[str, Any]:
    return {"lease": a_lease(renewed_ms=NOW_MS)}


def renewed_and_detached(_: Situation) -> dict[str, Any]:
    return {"lease": a_lease(renewed_ms=NOW_MS, detached=True)}


def handed_on(_: Situation) -> dict[str, Any]:
    return {"lease": a_lease(renewed_ms=NOW_MS, lease_id=an_id(99), agent="asker", incarnation=ASKER.incarnation)}


CELLS: Final[dict[tuple[type, Standing], Yes | Why | str]] = {
    (Acquire, FREE): Yes("grant", "free", new_lease),
    (Acquire, MINE): IMPOSSIBLE,
    (Acquire, SPENT): IMPOSSIBLE,
    (Acquire, LIVE): Why.HELD,
    (Acquire, OVER): Yes("grant", "expired", new_lease),
    (Acquire, SEALED): Why.MOVED,
    (Ask, FREE): Yes("ask", "", one_more_waits),
    (Ask, MINE): IMPOSSIBLE,
    (Ask, SPENT): IMPOSSIBLE,
    (Ask, LIVE): Yes("ask", "", one_more_waits),
    (Ask, OVER): Yes("ask", "", one_more_waits),
    (Ask, SEALED): Why.MOVED,
    (Leave, FREE): Yes("leave", "", nobody_waits),
    (Leave, MINE): IMPOSSIBLE,
    (Leave, SPENT): IMPOSSIBLE,
    (Leave, LIVE): Yes("leave", "", nobody_waits),
    (Leave, OVER): Yes("leave", "", nobody_waits),
    (Leave, SEALED): Why.MOVED,
    (Break, FREE): Why.RELEASED,
    (Break, MINE): IMPOSSIBLE,
    (Break, SPENT): IMPOSSIBLE,
    (Break, LIVE): Yes("break", "forced", freed),
    (Break, OVER): Yes("break", "forced", freed),
    (Break, SEALED): Why.MOVED,
    (Put, FREE): Yes("commit", "", content_without_lease),
    (Put, MINE): IMPOSSIBLE,
    (Put, SPENT): IMPOSSIBLE,
    (Put, LIVE): Why.HELD,
    (Put, OVER): Yes("commit", "expired", content_and_freed),
    (Put, SEALED): Why.MOVED,
    (Raise, FREE): Yes("floor", "", floor_at_6),
    (Raise, MINE): IMPOSSIBLE,
    (Raise, SPENT): IMPOSSIBLE,
    (Raise, LIVE): Yes("floor", "", floor_at_6),
    (Raise, OVER): Yes("floor", "", floor_at_6),
    (Raise, SEALED): Why.MOVED,
    (Renew, FREE): Why.RELEASED,
    (Renew, MINE): Yes("renew", "", renewed),
    (Renew, SPENT): Why.EXPIRED,
    (Renew, LIVE): Why.TAKEN,
    (Renew, OVER): Why.TAKEN,
    (Renew, SEALED): Why.MOVED,
    (Release, FREE): Why.RELEASED,
    (Release, MINE): Yes("release", "", freed),
    (Release, SPENT): Yes("release", "", freed),
    (Release, LIVE): Why.TAKEN,
    (Release, OVER): Why.TAKEN,
    (Release, SEALED): Why.MOVED,
    (Detach, FREE): Why.RELEASED,
    (Detach, MINE): Yes("detach", "", renewed_and_detached),
    (Detach, SPENT): Why.EXPIRED,
    (Detach, LIVE): Why.TAKEN,
    (Detach, OVER): Why.TAKEN,
    (Detach, SEALED): Why.MOVED,
    (Resume, FREE): Why.RELEASED,
    (Resume, MINE): Yes("resume", "", handed_on),
    (Resume, SPENT): Why.EXPIRED,
    (Resume, LIVE): Why.TAKEN,
    (Resume, OVER): Why.TAKEN,
    (Resume, SEALED): Why.MOVED,
    (Commit, FREE): Why.RELEASED,
    (Commit, MINE): Yes("commit", "", content_under_lease),
    (Commit, SPENT): Why.EXPIRED,
    (Commit, LIVE): Why.TAKEN,
    (Commit, OVER): Why.TAKEN,
    (Commit, SEALED): Why.MOVED,
}


def cell_name(cell: tuple[type, Standing]) -> str:
    return f"{cell[0].__name__}-{cell[1].name}"


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_exactly_these_cells() -> None:
    assert len(CELLS) == 11 * 6
    assert set(TABLE) == set(CELLS)


@pytest.mark.parametrize("cell", [cell for cell, told in CELLS.items() if told != IMPOSSIBLE], ids=cell_name)
def test_cell(cell: tuple[type, Standing]) -> None:
    verb, column = cell
    case = situation(verb, column)
    assert standing(*case) is column
    decision, told = decide(*case), CELLS[cell]
    if isinstance(told, Yes):
        expected = replace(
            case.record,
            n=8,
            kind=told.kind,
            why=told.why,
            request=ASKER.request,
            agent="asker",
            incarnation=ASKER.incarnation,
            at_ms=case.readings.now_ms,
        )
        assert decision == Transition(replace(expected, **told.changes(case)))
    else:
        assert decision == Refusal(Why(told), case.record)


@pytest.mark.parametrize("cell", [cell for cell, told in CELLS.items() if told == IMPOSSIBLE], ids=cell_name)
def test_impossible_cell_is_never_reached_and_says_so(cell: tuple[type, Standing]) -> None:
    verb, column = cell
    readings = (
        Readings(NOW_MS, SKEW_MS),
        Readings(NOW_MS, SKEW_MS, held_ms=8000),
        Readings(NOW_MS, SKEW_MS, watched_ms=11_000, held_ms=8000),
        Readings(NOW_MS + 10**7, SKEW_MS),
    )
    records = [situation(verb, other).record for other in Standing]
    reached = {standing(record, REQUESTS[verb], reading) for record in records for reading in readings}
    assert reached == {FREE, LIVE, OVER, SEALED}
    case = situation(verb, LIVE)
    with pytest.raises(AssertionError, match=f"{verb.__name__} names no lease"):
        TABLE[verb, column](*case)


@pytest.mark.parametrize("verb", [Acquire, Ask, Put])
def test_a_resource_without_record_is_free(verb: type) -> None:
    request = replace(REQUESTS[verb], on_revision=0) if verb is Put else REQUESTS[verb]
    decision = decide(None, request, Readings(NOW_MS, SKEW_MS))
    assert isinstance(decision, Transition)
    assert (decision.record.n, decision.record.floor) == (1, 1)
    assert encode(decision.record)


@pytest.mark.parametrize("verb", [Break, Renew, Release, Detach, Resume, Commit])
def test_nothing_is_held_where_no_record_is(verb: type) -> None:
    decision = decide(None, REQUESTS[verb], Readings(NOW_MS, SKEW_MS))
    assert isinstance(decision, Refusal)
    assert decision.why is Why.RELEASED


def test_a_holder_is_told_by_lease_id_and_fence_together() -> None:
    readings = Readings(NOW_MS, SKEW_MS)
    assert standing(a_record(), Renew(ASKER, an_id(51), 5), readings) is MINE
    assert standing(a_record(), Renew(ASKER, an_id(51), 4), readings) is LIVE
    assert standing(a_record(), Renew(ASKER, an_id(50), 5), readings) is LIVE


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


def test_fields_of_a_newer_version_are_carried_along_by_every_verb() -> None:
    for verb, column in CELLS:
        case = situation(verb, column)
        newer = replace(case.record, extra=(("quota", "a/b=c"),), epoch=3)
        if isinstance(CELLS[verb, column], Yes):
            decision = decide(newer, case.request, case.readings)
            assert isinstance(decision, Transition)
            assert (decision.record.extra, decision.record.epoch) == (newer.extra, 3), (verb, column)


def test_decide_is_deterministic_and_does_not_touch_its_arguments() -> None:
    for verb, column in CELLS:
        if CELLS[verb, column] != IMPOSSIBLE:
            case, same = situation(verb, column), situation(verb, column)
            assert decide(*case) == decide(*case)
            assert case == same


# ── any sequence of requests ─────────────────────────────────────────────────────────────────────────────────────────


class Step(NamedTuple):
    """One actor's request. ``stale``: it names the lease before the present one, as a frozen holder would."""

    verb: type
    actor: int
    after_ms: int
    watched_ms: int
    held_ms: int
    stale: bool
    figure: int


STEPS: Final = st.builds(
    Step,
    st.sampled_from(sorted(REQUESTS, key=lambda verb: verb.__name__)),
    st.integers(0, 5),
    st.one_of(st.integers(-200, 400), st.integers(0, 12_000)),
    st.sampled_from([0, 300, 1200, 11_000, 20_000]),
    st.sampled_from([0, 4000, 7999, 8000, 20_000]),
    st.booleans(),
    st.integers(0, 12),
)


class Walk:
    """A chain grown by ``decide`` alone, and what must hold of each step."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.now_ms = NOW_MS
        self.counter = 0
        self.leases: list[tuple[str, int]] = [(an_id(9999), 9999)]
        self.fences: list[int] = []
        self.places = [an_id(60 + i) for i in range(6)]

    def request(self, step: Step) -> Request:
        self.counter += 1
        author = an_author(100_000 + self.counter, f"agent-{step.actor}")
        lease_id, fence = self.leases[-2 if step.stale and len(self.leases) > 1 else -1]
        revision = max((self.record.revision if self.record else 0) - step.stale, 0)
        head = Head(0, 0, author.incarnation, SHA256, step.figure, 0)
        if step.verb is Ask:
            self.places[step.actor] = author.request
        requests: dict[type, Request] = {
            Acquire: Acquire(author, 10_000, 0, self.places[step.actor]),
            Ask: Ask(author),
            Leave: Leave(author, self.places[step.actor]),
            Break: Break(author, fence),
            Put: Put(author, head, revision),
            Raise: Raise(author, step.figure),
            Renew: Renew(author, lease_id, fence),
            Release: Release(author, lease_id, fence),
            Detach: Detach(author, lease_id, fence),
            Resume: Resume(author, lease_id, fence, an_id(200_000 + self.counter)),
            Commit: Commit(author, lease_id, fence, head, revision if step.figure % 2 else None),
        }
        return requests[step.verb]

    def take(self, step: Step) -> None:
        self.now_ms += step.after_ms
        request = self.request(step)
        decision = decide(self.record, request, Readings(self.now_ms, SKEW_MS, step.watched_ms, step.held_ms))
        if isinstance(decision, Transition):
            self.must_hold(request, decision.record)
            self.record = decision.record
            if decision.record.lease and decision.record.kind in {"grant", "resume"}:
                self.leases.append((decision.record.lease.lease_id, decision.record.lease.fence))

    def must_hold(self, request: Request, after: Record) -> None:
        before = self.record
        assert after.n == (before.n if before else 0) + 1
        assert after.floor >= (before.floor if before else 1)
        assert after.floor <= after.n
        assert len(after.waiting) <= WAITING_MAX
        assert after.lease is None or after.freed_ms == 0
        assert len(encode(after)) <= RECORD_MAX_BYTES
        assert decode(encode(after), resource="r", path="p") == after
        held = before.lease if before else None
        if after.kind == "grant":
            assert after.lease is not None
            assert after.lease.fence == after.n
            assert after.lease.fence > max(self.fences, default=0)
            self.fences.append(after.lease.fence)
        elif after.lease is not None:
            assert held is not None
            assert after.lease.fence == held.fence
            assert after.lease.renewed_ms >= held.renewed_ms
        self.must_hold_of_content(request, after)

    def must_hold_of_content(self, request: Request, after: Record) -> None:
        before = self.record
        held = before.lease if before else None
        if after.kind != "commit":
            assert after.head == (before.head if before else None)
            return
        assert after.head is not None
        assert after.revision == (before.revision if before else 0) + 1
        assert after.head.n == after.n
        if isinstance(request, Commit):
            assert held is not None
            assert (request.lease_id, request.fence) == (held.lease_id, held.fence)
            assert after.head.fence == held.fence
        else:
            assert after.head.fence == 0
            assert after.lease is None


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=60))
def test_what_holds_for_any_sequence_of_requests(steps: list[Step]) -> None:
    walk = Walk()
    for step in steps:
        walk.take(step)


def test_what_holds_for_long_random_walks_which_reach_every_kind_of_record() -> None:
    kinds: set[str] = set()
    for seed in range(10):
        dice, walk = random.Random(seed), Walk()
        for _ in range(400):
            walk.take(
                Step(
                    dice.choice(list(REQUESTS)),
                    dice.randrange(6),
                    dice.choice([-100, 0, 5, 300, 3000]),
                    dice.choice([0, 0, 0, 300, 11_000]),
                    dice.choice([0, 0, 0, 7999, 8000]),
                    dice.random() < 0.25,
                    dice.randrange(13) if dice.random() < 0.5 else walk.counter // 4,
                )
            )
            if walk.record:
                kinds.add(walk.record.kind)
    assert kinds == {"grant", "ask", "leave", "break", "commit", "floor", "renew", "release", "detach", "resume"}


def test_a_retry_of_the_same_request_gives_the_same_record() -> None:
    decisions: set[Decision] = {decide(a_record(), REQUESTS[Renew], Readings(NOW_MS, SKEW_MS)) for _ in range(3)}
    assert len(decisions) == 1
